//! The pages that are held to what they describe: the README and those of `docs/`.

mod api;
mod clients;
mod links;
mod readme;

use std::fs;
use std::path::{Path, PathBuf};

use ironflow_sync::grpc::proto;
use prost::Message;
use prost_types::FileDescriptorSet;

/// A file of the repository.
fn path(relative: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(relative)
}

fn read(relative: &str) -> String {
    fs::read_to_string(path(relative)).expect(relative)
}

/// What `proto/` says, comments included.
fn descriptors() -> FileDescriptorSet {
    FileDescriptorSet::decode(proto::DESCRIPTORS).expect("descriptors")
}
