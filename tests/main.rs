//! All tests of the service, in one binary. Where to look: `embedded` the private Postgres, `store`
//! races and faults below gRPC, `grpc` the service as a device sees it, `examples` its examples.

mod architecture;
mod commands;
mod examples;
mod grpc;
mod store;
mod support;
