//! What tests and benches stand on: a real Postgres, a database each, the real service, devices.

#![allow(dead_code)] // every binary that includes this uses a part of it

pub mod account;
pub mod database;
pub mod device;
pub mod frames;
pub mod history;
pub mod inbox;
pub mod program;
pub mod server;
pub mod service;
pub mod serving;
pub mod web;
pub mod wire_count;

pub use database::TestDatabase;
#[allow(unused_imports)] // as above
pub use device::{Device, LocalStore, adopt, delete, put, put_bytes};
#[allow(unused_imports)] // as above
pub use service::TestService;
#[allow(unused_imports)] // as above
pub use wire_count::WireCount;
