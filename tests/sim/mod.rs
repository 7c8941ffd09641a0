//! Whole histories of devices that sync to the end, over the core without Postgres: bad networks, wrong
//! clocks, copied and restored devices, a restored server. docs/testing.md tells how to run more of them.

mod answers;
mod call;
mod catalog;
mod device;
mod history;
mod laws;
pub mod memory;
mod oracle;
mod page;
mod people;
mod plants;
mod seeds;
mod server;
mod shrink;
mod text;
mod trace;
mod world;
