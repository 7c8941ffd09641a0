//! The service as a device sees it.

mod convergence;
mod pull;
mod races;
mod sync;
mod watch;
