//! The service as a device sees it.

mod races;
mod sync;
