//! Whole histories of devices that sync to the end, over the core without Postgres: bad networks, wrong
//! clocks, copied and restored devices, a restored server. docs/testing.md tells how to run more of them.

mod answers;
pub mod call;
pub mod catalog;
pub mod device;
pub mod history;
mod laws;
pub mod memory;
pub mod oracle;
mod page;
mod people;
mod plants;
mod seeds;
mod server;
mod shrink;
mod text;
pub mod trace;
pub mod world;
