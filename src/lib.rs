//! Ironflow Sync: the backend that keeps the devices of a person in step, safely.
//!
//! A pure [`domain`] decides, [`store`] is the only place with SQL, [`grpc`] the only place with
//! protobuf, and the verbs [`push`], [`pull`] and [`watch`] stand between them. Reading order:
//! [`server`] puts it all together, [`push`] is the life of a batch, [`domain::decide`] the rules,
//! [`store::batch`] how they become durable; [`pull`] reads what changed, [`watch`] follows it, woken
//! by [`feed`]. [`inbox`], [`history`] and [`status`] read what else there is; [`retention`] removes what is
//! old; [`export`] and [`erasure`] are how a user takes everything along, and goes. Who calls decides [`auth`],
//! with the keys of [`keyring`]; how much, [`connections`] and [`admission`]; who is next, [`turns`] and
//! [`places`]. [`tls`] encrypts what is said; [`metrics`], [`telemetry`] and [`trace`] tell how it goes.
//! [`commands`] is what the program does, with the settings of [`config`] and, given no database, a private
//! one ([`postgres`]).
//!
//! The onlys, checked by `tests/architecture.rs`: only `domain` decides; only `store` speaks SQL;
//! only `grpc` and `server` know tonic and prost (and the app of the demo, as a client); only `config`
//! reads the environment; only `server` spawns long-lived tasks; only `push` writes entities (`retention`
//! empties old versions); only the edge reads the clock, below it `now` is an argument.

#![forbid(unsafe_code)]

pub mod admission;
pub mod auth;
pub mod commands;
pub mod config;
pub mod connections;
mod der;
pub mod domain;
pub mod erasure;
pub mod error;
pub mod export;
pub mod feed;
pub mod grpc;
pub mod history;
pub mod inbox;
pub mod keyring;
pub mod metrics;
pub mod places;
pub mod postgres;
pub mod presence;
pub mod pull;
pub mod push;
pub mod retention;
pub mod server;
pub mod status;
pub mod store;
pub mod telemetry;
pub mod tls;
pub mod trace;
pub mod turns;
pub mod watch;
