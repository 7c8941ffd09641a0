//! The service as a device sees it.

mod pull;
mod races;
mod sync;
mod watch;
