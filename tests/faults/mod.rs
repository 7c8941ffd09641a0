//! The histories of [`crate::sim`] over the real service and real Postgres: through a road that loses, cuts,
//! delays and doubles, with kill -9 of the service, of a backend, of the postmaster, with a service that is
//! frozen, with two instances and rolling restarts. docs/testing.md tells how to run more of them.

mod chaos;
mod peer;
mod rig;
mod road;
mod runs;
mod tables;
mod watcher;
