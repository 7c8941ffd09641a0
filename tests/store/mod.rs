//! Below gRPC: what the store promises by itself.

mod follow;
mod guards;
mod isolation;
mod logins;
mod migrations;
mod plans;
mod presence;
mod sql;
mod statements;
mod uncontested;
