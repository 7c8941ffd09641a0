//! All tests of the service, in one binary. Where to look: `accounts` what an operator does with one,
//! `architecture` the rules of the house, `canaries` what must not be seen, `commands` the program, `containers` its image, `demo` its
//! demo, `questions` what an operator asks, `refusals` what a newcomer is told when something is wrong, `embedded` the private Postgres, `store`
//! what lies below gRPC, `grpc` the service as a device sees it, `hostile` requests made to do harm, `sim` whole
//! histories of devices over the core, `faults` the same over the real service, which is broken meanwhile, `killed`
//! kill -9 of everything, `library` shared reference data, `logs` what is told of
//! calls, `metrics` what the service tells of itself,
//! `docs` pages that are held to what they describe, `examples` the examples, `spans` exported ones (feature `otlp`), `tokens` who may call, `tls`
//! encryption, towards callers and towards Postgres.

// The model server shares a file with the unit tests of the core, which call the core so.
use ironflow_sync::domain;

mod accounts;
mod architecture;
mod canaries;
mod commands;
mod containers;
mod demo;
mod docs;
mod embedded;
mod examples;
mod faults;
mod fuzz;
mod grpc;
mod hostile;
mod killed;
mod library;
mod logs;
mod memory;
mod metrics;
mod questions;
mod refusals;
mod sim;
#[cfg(feature = "otlp")]
mod spans;
mod store;
mod support;
mod tls;
mod together;
mod tokens;
