//! Compiles the protos with protox, so that no protoc is needed.

use prost::Message as _;
use std::error::Error;
use std::path::PathBuf;

fn main() -> Result<(), Box<dyn Error>> {
    let root = PathBuf::from("../../proto");
    println!("cargo:rerun-if-changed={}", root.display());
    let files = [root.join("trialogue/v1/chat.proto"), root.join("trialogue/v1/replica.proto")];
    let descriptors = protox::compile(files, [&root])?;
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    // Reflection describes the public service only.
    let public = protox::compile([root.join("trialogue/v1/chat.proto")], [&root])?;
    std::fs::write(out.join("public_descriptors.bin"), public.encode_to_vec())?;
    tonic_prost_build::configure()
        .bytes(".trialogue.v1.Entry.fact")
        .bytes(".trialogue.v1.SnapshotChunk.bytes")
        .compile_fds(descriptors)?;
    Ok(())
}
