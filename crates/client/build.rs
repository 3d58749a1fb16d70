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
/// Messages that the JSON file of `directory apply` contains.
const DESERIALIZED: [&str; 2] = ["Organization", "User"];
/// Fields that an item of that file may leave out. `reminder_lead` is another one.
const OPTIONAL_FIELDS: [&str; 11] = [
    "Organization.roles",
    "Organization.default_role",
    "Organization.allowed_email_domains",
    "Organization.redirect_origins",
    "Organization.locale",
    "Organization.recheck_inviter",
    "Organization.logo_url",
    "Organization.brand_color",
    "Organization.support_email",
    "User.name",
    "User.verified_emails",
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed={PROTO_FOLDER}");
    let mut compiler = protox::Compiler::new([PROTO_FOLDER])?;
    compiler.include_imports(true).open_files(SOURCES)?;
    let mut builder = tonic_prost_build::configure()
        .extern_path(".google.rpc", "::tonic_types::pb")
        // Messages contain addresses and tokens. Without Debug they cannot be printed by mistake.
        .skip_debug([".invitation.v1"])
        .enum_attribute(".invitation.v1", "#[derive(Debug)]");
    for message in SERIALIZED {
        let path = format!(".invitation.v1.{message}");
        builder = builder.type_attribute(path, "#[derive(serde::Serialize)]");
    }
    for message in DESERIALIZED {
        let attributes = "#[derive(serde::Deserialize)]\n#[serde(deny_unknown_fields)]";
        builder = builder.type_attribute(format!(".invitation.v1.{message}"), attributes);
    }
    for field in OPTIONAL_FIELDS {
        builder = builder.field_attribute(format!(".invitation.v1.{field}"), "#[serde(default)]");
    }
    builder = builder.field_attribute(
        ".invitation.v1.Organization.reminder_lead",
        "#[serde(default, deserialize_with = \"crate::commands::directory::apply::parse_duration\")]",
    );
    builder.compile_fds(compiler.file_descriptor_set())?;
    Ok(())
}
