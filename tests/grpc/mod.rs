//! The service as a device sees it.

mod sync;
