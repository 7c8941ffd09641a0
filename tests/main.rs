//! All tests of the service, in one binary. docs/testing.md says what each module shows; in short:
//!
//! - The service as a device sees it: `grpc`, `hostile` (requests made to do harm), `tokens` (who may call), `tls`.
//! - The program as an operator sees it: `commands`, `demo`, `questions`, `accounts`, `library`, `refusals` (what a
//!   newcomer is told when something is wrong), `logs`, `metrics`, `spans` (with the feature `otlp`), `containers`.
//! - What lies below: `store`, `embedded` (the private Postgres); `together` and `unchanged` (what waits is done together).
//! - Whole histories: `sim` (over the core), `faults` (over the real service, which is broken meanwhile), `killed`.
//! - What must not be seen or used up: `canaries`, `memory`.
//! - The house: `architecture`, `docs` (pages held to what they describe), `examples`, `fuzz` (the targets' checks).

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
mod unchanged;
