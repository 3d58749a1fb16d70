//! Compiles the protocol to Rust, and writes its descriptors for server reflection. Does not need protoc.

use std::path::PathBuf;

const SOURCES: [&str; 8] = [
    "invitation/v1/invitation.proto",
    "invitation/v1/directory.proto",
    "invitation/v1/mail.proto",
    "invitation/v1/suppression.proto",
    "invitation/v1/audit.proto",
    "invitation/v1/error.proto",
    "invitation/v1/feedback.proto",
    // In the descriptors, so that grpcurl can print error details.
    "google/rpc/error_details.proto",
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto");
    println!("cargo:rerun-if-changed=migrations");

    let mut compiler = protox::Compiler::new(["proto"])?;
    compiler.include_imports(true).include_source_info(true);
    compiler.open_files(SOURCES)?;

    // The encoded set contains custom options such as field_behavior. The struct below does not.
    #[expect(
        clippy::disallowed_methods,
        reason = "cargo passes values to build scripts in the environment"
    )]
    let out_dir = PathBuf::from(std::env::var("OUT_DIR")?);
    let descriptors = out_dir.join("descriptors.bin");
    std::fs::write(descriptors, compiler.encode_file_descriptor_set())?;

    tonic_prost_build::configure()
        .extern_path(".google.rpc", "::tonic_types::pb")
        // Messages contain addresses, tokens and notes. Without Debug they cannot be logged by mistake.
        .skip_debug([".invitation.v1"])
        .codec_path("crate::proto::codec::RequestCodec")
        .enum_attribute(".invitation.v1", "#[derive(Debug)]")
        .compile_fds(compiler.file_descriptor_set())?;
    Ok(())
}
