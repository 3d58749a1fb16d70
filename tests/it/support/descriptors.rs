//! The methods and messages of the protocol, read from its descriptors, so that a test covers a new method or field
//! without a change.

use invitations::proto::FILE_DESCRIPTOR_SET;
use prost::Message as _;
use prost::encoding::{WireType, encode_key, encode_varint, string};
use prost_types::field_descriptor_proto::Type;
use prost_types::{DescriptorProto, FieldDescriptorProto, FileDescriptorProto, FileDescriptorSet};

/// A method of the protocol.
pub(crate) struct MethodDescriptor {
    /// The path of a call, such as `/invitation.v1.InvitationService/Get`.
    pub(crate) path: String,
    /// The request message, such as `.invitation.v1.GetRequest`.
    pub(crate) input: String,
    /// The scope that its comment names.
    pub(crate) scope: String,
    /// The users that its comment names.
    pub(crate) users: String,
    /// The whole comment, as one line.
    pub(crate) comment: String,
}

/// All methods of the protocol.
pub(crate) fn methods() -> Vec<MethodDescriptor> {
    files().iter().flat_map(methods_of).collect()
}

/// A message with `text` in each text field except the organization, and each boolean set.
pub(crate) fn filled(message: &str, text: &str, organization_id: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for field in fields_of(message) {
        let tag = u32::try_from(field.number()).unwrap();
        match field.r#type() {
            Type::String if field.name() == "organization_id" => {
                string::encode(tag, &organization_id.to_owned(), &mut bytes);
            }
            Type::String => string::encode(tag, &text.to_owned(), &mut bytes),
            Type::Bool => {
                encode_key(tag, WireType::Varint, &mut bytes);
                encode_varint(1, &mut bytes);
            }
            Type::Message if field.type_name().starts_with(".invitation.v1.") => {
                let inner = filled(field.type_name(), text, organization_id);
                encode_key(tag, WireType::LengthDelimited, &mut bytes);
                encode_varint(inner.len() as u64, &mut bytes);
                bytes.extend(inner);
            }
            _ => {}
        }
    }
    bytes
}

/// The paths of the text fields of a message, such as `invitations.email`.
pub(crate) fn text_paths(message: &str) -> Vec<String> {
    let mut paths = Vec::new();
    for field in fields_of(message) {
        match field.r#type() {
            Type::String => paths.push(field.name().to_owned()),
            Type::Message if field.type_name().starts_with(".invitation.v1.") => {
                let inner = text_paths(field.type_name());
                paths.extend(inner.iter().map(|path| format!("{}.{path}", field.name())));
            }
            _ => {}
        }
    }
    paths
}

/// A message with plausible texts, except for these bytes at one path.
pub(crate) fn with_text(message: &str, path: &str, text: &[u8]) -> Vec<u8> {
    let (name, rest) = path.split_once('.').unwrap_or((path, ""));
    let mut bytes = Vec::new();
    let mut write = |number: i32, value: &[u8]| {
        let tag = u32::try_from(number).unwrap();
        encode_key(tag, WireType::LengthDelimited, &mut bytes);
        encode_varint(value.len() as u64, &mut bytes);
        bytes.extend_from_slice(value);
    };
    for field in fields_of(message) {
        let is_on_path = field.name() == name;
        match field.r#type() {
            Type::String if is_on_path => write(field.number(), text),
            Type::String | Type::Bytes => {
                if let Some(text) = plausible_text(field.name()) {
                    write(field.number(), text.as_bytes());
                }
            }
            Type::Message if is_on_path => {
                let inner = with_text(field.type_name(), rest, text);
                write(field.number(), &inner);
            }
            Type::Message if REQUIRED_MESSAGES.contains(&field.type_name()) => {
                write(field.number(), &with_text(field.type_name(), "", &[]));
            }
            _ => {}
        }
    }
    bytes
}

/// A message with nothing but an organization.
pub(crate) fn of_organization(message: &str, organization_id: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for field in fields_of(message) {
        let tag = u32::try_from(field.number()).unwrap();
        if field.name() == "organization_id" {
            string::encode(tag, &organization_id.to_owned(), &mut bytes);
        } else if field.type_name() == HEADER {
            let inner = of_organization(HEADER, organization_id);
            encode_key(tag, WireType::LengthDelimited, &mut bytes);
            encode_varint(inner.len() as u64, &mut bytes);
            bytes.extend(inner);
        }
    }
    bytes
}

/// A message with nothing but these texts in the fields of these names. Names that the message does not have are
/// ignored.
pub(crate) fn with_texts(message: &str, texts: &[(&str, &str)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for field in fields_of(message) {
        let text = texts.iter().find(|(name, _)| *name == field.name());
        if let Some((_, text)) = text.filter(|_| field.r#type() == Type::String) {
            let tag = u32::try_from(field.number()).unwrap();
            string::encode(tag, &(*text).to_owned(), &mut bytes);
        }
    }
    bytes
}

/// The messages without which a call is refused before its other fields are checked.
const REQUIRED_MESSAGES: [&str; 2] = [".invitation.v1.NewInvitation", HEADER];
/// The header of a stream, which has the fields that other requests have themselves.
const HEADER: &str = ".invitation.v1.BulkCreateStreamHeader";

/// A valid text for a field.
fn plausible_text(name: &str) -> Option<&'static str> {
    Some(match name {
        "organization_id" => "acme",
        "user_id" | "inviter_user_id" => "ada",
        "invitation_id" | "invitation_ids" => "019aacd0-0000-7000-8000-000000000001",
        "email" | "emails" => "a@b.co",
        "id" => "x1",
        "name" => "Name",
        "message" => "Hi",
        _ => return None,
    })
}

/// Whether a message has a field of this name.
pub(crate) fn has_field(message: &str, name: &str) -> bool {
    fields_of(message).iter().any(|field| field.name() == name)
}

/// Whether a message or its header has an `organization_id`.
pub(crate) fn names_organization(message: &str) -> bool {
    fields_of(message)
        .iter()
        .any(|field| field.name() == "organization_id" || field.type_name() == HEADER)
}

/// Whether a method answers one message with a stream.
pub(super) fn is_server_streaming(path: &str) -> bool {
    files().iter().any(|file| {
        file.service.iter().any(|service| {
            service.method.iter().any(|method| {
                let name = format!("/{}.{}/{}", file.package(), service.name(), method.name());
                name == path && method.server_streaming() && !method.client_streaming()
            })
        })
    })
}

fn fields_of(message: &str) -> Vec<FieldDescriptorProto> {
    let name = message.strip_prefix(".invitation.v1.").unwrap();
    let mut messages: Vec<DescriptorProto> = files()
        .into_iter()
        .filter(|file| file.package() == "invitation.v1")
        .flat_map(|file| file.message_type)
        .collect();
    for part in name.split('.') {
        let found = messages.into_iter().find(|found| found.name() == part);
        let found = found.unwrap();
        if found.name() == name.rsplit('.').next().unwrap() {
            return found.field;
        }
        messages = found.nested_type;
    }
    unreachable!("{message} has no last part")
}

/// The files of the protocol and those that they import.
pub(crate) fn files() -> Vec<FileDescriptorProto> {
    FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).unwrap().file
}

/// The comment before an element of a file, as one line. `path` is the one of `SourceCodeInfo.Location`.
pub(crate) fn comment(file: &FileDescriptorProto, path: [usize; 4]) -> String {
    let path = path.map(|number| i32::try_from(number).unwrap());
    let locations = &file.source_code_info.as_ref().unwrap().location;
    let location = locations.iter().find(|location| location.path == path);
    let words = location.unwrap().leading_comments().split_whitespace();
    words.collect::<Vec<_>>().join(" ")
}

fn methods_of(file: &FileDescriptorProto) -> Vec<MethodDescriptor> {
    let mut methods = Vec::new();
    for (service_number, service) in file.service.iter().enumerate() {
        for (number, method) in service.method.iter().enumerate() {
            let comment = comment(file, [6, service_number, 2, number]);
            let named = |what: &str| {
                let parts: Vec<&str> = comment.split(what).collect();
                assert_eq!(parts.len(), 2, "{}: {what:?} once", method.name());
                let name = parts[1].split([';', '.', ',']).next().unwrap();
                name.trim().to_owned()
            };
            methods.push(MethodDescriptor {
                path: format!("/{}.{}/{}", file.package(), service.name(), method.name()),
                input: method.input_type().to_owned(),
                scope: named("Scope:"),
                users: named("Users:"),
                comment,
            });
        }
    }
    methods
}
