//! The only place with protobuf: check, call, map.

pub mod admission;
pub mod authn;
mod batch;
mod changes;
pub mod codec;
pub mod edge;
mod export;
mod fields;
pub mod gate;
mod history;
mod inbox;
mod info;
pub mod metered;
pub mod packed;
mod status;
pub mod sync;
mod teller;

/// The messages and stubs generated from `proto/`, whose comments they carry.
#[allow(missing_docs, clippy::all)]
pub mod proto {
    tonic::include_proto!("ironflow.sync.v1");
    include!(concat!(env!("OUT_DIR"), "/server/ironflow.sync.v1.rs"));

    /// Everything in `proto/` as a `FileDescriptorSet`, for reflection.
    pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
}
