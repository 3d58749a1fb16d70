//! Compiles the messages and the clients of the protocol to Rust. Does not need protoc.

const PROTO_FOLDER: &str = "../../proto";
const SOURCES: [&str; 7] = [
    "invitation/v1/invitation.proto",
    "invitation/v1/directory.proto",
    "invitation/v1/mail.proto",
    "invitation/v1/suppression.proto",
    "invitation/v1/audit.proto",
    "invitation/v1/error.proto",
    "invitation/v1/feedback.proto",
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed={PROTO_FOLDER}");
    let mut compiler = protox::Compiler::new([PROTO_FOLDER])?;
    compiler.include_imports(true).open_files(SOURCES)?;
    tonic_prost_build::configure()
        .extern_path(".google.rpc", "::tonic_types::pb")
        // Messages contain addresses and tokens. Without Debug they cannot be printed by mistake.
        .skip_debug([".invitation.v1"])
        .enum_attribute(".invitation.v1", "#[derive(Debug)]")
        .compile_fds(compiler.file_descriptor_set())?;
    Ok(())
}
