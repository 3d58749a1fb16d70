//! Compiles the messages, the clients and the fake server of the tests from the protocol. Does not need protoc.

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
/// Messages of counts, which commands print as JSON.
const SERIALIZED: [&str; 2] = ["AuditCounts", "EraseAddressResponse"];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed={PROTO_FOLDER}");
    let mut compiler = protox::Compiler::new([PROTO_FOLDER])?;
    compiler.include_imports(true).open_files(SOURCES)?;
    let mut builder = tonic_prost_build::configure()
        .extern_path(".google.rpc", "::tonic_types::pb")
        // The fake server of the tests implements only the methods that commands call.
        .generate_default_stubs(true)
        // Messages contain addresses and tokens. Without Debug they cannot be printed by mistake.
        .skip_debug([".invitation.v1"])
        .enum_attribute(".invitation.v1", "#[derive(Debug)]");
    for message in SERIALIZED {
        let path = format!(".invitation.v1.{message}");
        builder = builder.type_attribute(path, "#[derive(serde::Serialize)]");
    }
    builder.compile_fds(compiler.file_descriptor_set())?;
    Ok(())
}
