//! The programs of `examples/`, run as a newcomer runs them.

mod import_strong;
