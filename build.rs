//! Compiles `proto/` with protox (no `protoc` to install) into message types, service stubs
//! and the descriptor set that gRPC reflection serves, comments included.

use std::path::PathBuf;
use std::{env, error::Error, fs};

use protox::prost::Message as _;

const PROTOS: [&str; 1] = ["ironflow/sync/v1/sync.proto"];
const PACKAGE: &str = ".ironflow.sync.v1";
const CODEC: &str = "crate::grpc::codec::Codec";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    let descriptors = protox::Compiler::new(["proto"])?
        .include_imports(true)
        .include_source_info(true)
        .open_files(PROTOS)?
        .file_descriptor_set();
    let out_dir = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out_dir.join("descriptors.bin"), descriptors.encode_to_vec())?;
    tonic_prost_build::configure()
        .codec_path(CODEC)
        .build_server(false)
        .compile_fds(descriptors.clone())?;
    // The server answers with pages that are packed from the rows they were read as.
    let server_dir = out_dir.join("server");
    fs::create_dir_all(&server_dir)?;
    tonic_prost_build::configure()
        .codec_path(CODEC)
        .build_client(false)
        .extern_path(PACKAGE, "crate::grpc::proto")
        .extern_path(
            format!("{PACKAGE}.PullResponse"),
            "crate::grpc::packed::PullResponse",
        )
        .extern_path(
            format!("{PACKAGE}.WatchResponse"),
            "crate::grpc::packed::WatchResponse",
        )
        .out_dir(server_dir)
        .compile_fds(descriptors)?;
    Ok(())
}
