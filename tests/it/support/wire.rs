//! Calls as bytes: any path, any header, any message, as no generated client would send them.

use std::net::SocketAddr;

use h2::client;
use http::{HeaderMap, Request};
use invitations::proto::FILE_DESCRIPTOR_SET;
use prost::Message as _;
use prost::bytes::Bytes;
use prost::encoding::{WireType, encode_key, encode_varint, string};
use prost_types::field_descriptor_proto::Type;
use prost_types::{FieldDescriptorProto, FileDescriptorProto, FileDescriptorSet};
use tokio::net::TcpStream;
use tonic::Status;

/// A method as the protocol describes it.
pub(crate) struct Method {
    /// What it is called by.
    pub(crate) path: String,
    /// Its message, such as `.invitation.v1.GetRequest`.
    pub(crate) input: String,
    /// The scope its comment names.
    pub(crate) scope: String,
    /// Which users its comment says may call it.
    pub(crate) users: String,
}

/// Calls a method. It knows no deadline of its own, so what it says about one is the server's word.
pub(crate) async fn call(
    address: SocketAddr,
    path: &str,
    headers: &[(&str, &str)],
    message: &[u8],
) -> Result<Vec<u8>, Status> {
    let authority = address.to_string();
    exchange(&authority, address, path, headers, Some(frame(message))).await
}

/// Calls a method with a body that is not a message in its frame.
pub(crate) async fn call_raw(
    address: SocketAddr,
    path: &str,
    headers: &[(&str, &str)],
    body: Vec<u8>,
) -> Result<Vec<u8>, Status> {
    exchange(
        &address.to_string(),
        address,
        path,
        headers,
        Some(body.into()),
    )
    .await
}

/// Calls a method of a server under a name of the caller's choice.
pub(crate) async fn call_under_name(
    authority: &str,
    address: SocketAddr,
    path: &str,
    headers: &[(&str, &str)],
    message: &[u8],
) -> Result<Vec<u8>, Status> {
    exchange(authority, address, path, headers, Some(frame(message))).await
}

/// Begins a call and never sends its message.
pub(crate) async fn call_without_end(
    address: SocketAddr,
    path: &str,
    headers: &[(&str, &str)],
) -> Result<Vec<u8>, Status> {
    exchange(&address.to_string(), address, path, headers, None).await
}

async fn exchange(
    authority: &str,
    address: SocketAddr,
    path: &str,
    headers: &[(&str, &str)],
    body: Option<Bytes>,
) -> Result<Vec<u8>, Status> {
    let stream = TcpStream::connect(address).await.unwrap();
    let (client, connection) = client::handshake(stream).await.unwrap();
    let connection = tokio::spawn(connection);
    let mut request = Request::post(format!("http://{authority}{path}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let mut client = client.ready().await.unwrap();
    let request = request.body(()).unwrap();
    let (response, mut sending) = client.send_request(request, false).unwrap();
    if let Some(bytes) = body {
        sending.send_data(bytes, true).unwrap();
    }
    let (head, mut body) = response.await.unwrap().into_parts();
    let mut bytes = Vec::new();
    while let Some(data) = body.data().await {
        let data = data.unwrap();
        body.flow_control().release_capacity(data.len()).unwrap();
        bytes.extend_from_slice(&data);
        // What is only watched never ends by itself; its first message says that it began.
        if let Some(end) = end_of_first(&bytes).filter(|_| is_endless(path)) {
            connection.abort();
            return Ok(bytes[5..end].to_vec());
        }
    }
    let trailers = body.trailers().await.unwrap().unwrap_or_default();
    connection.abort();
    let status = status(&head.headers, &trailers);
    if status.code() == tonic::Code::Ok {
        Ok(messages(&bytes).concat())
    } else {
        Err(status)
    }
}

/// Where the first message in its frame ends, if all of it is there.
fn end_of_first(bytes: &[u8]) -> Option<usize> {
    let (length, rest) = bytes.get(1..)?.split_first_chunk()?;
    let length = usize::try_from(u32::from_be_bytes(*length)).unwrap();
    (rest.len() >= length).then_some(5 + length)
}

/// Whether a method answers one message with a stream, which ends when its caller goes.
fn is_endless(path: &str) -> bool {
    files().iter().any(|file| {
        file.service.iter().any(|service| {
            service.method.iter().any(|method| {
                let name = format!("/{}.{}/{}", file.package(), service.name(), method.name());
                name == path && method.server_streaming() && !method.client_streaming()
            })
        })
    })
}

/// Every method of this service's own protocol.
pub(crate) fn methods() -> Vec<Method> {
    files().iter().flat_map(methods_of).collect()
}

/// A message with every text in it set to `text` and every switch on; the organization may be another.
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

/// Where a message holds text, such as `invitations.email`.
pub(crate) fn texts(message: &str) -> Vec<String> {
    let mut paths = Vec::new();
    for field in fields_of(message) {
        match field.r#type() {
            Type::String => paths.push(field.name().to_owned()),
            Type::Message if field.type_name().starts_with(".invitation.v1.") => {
                let inner = texts(field.type_name());
                paths.extend(inner.iter().map(|path| format!("{}.{path}", field.name())));
            }
            _ => {}
        }
    }
    paths
}

/// A message that names what there is, but these bytes at one place.
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
        let is_meant = field.name() == name;
        match field.r#type() {
            Type::String if is_meant => write(field.number(), text),
            Type::String | Type::Bytes => {
                if let Some(plausible) = plausible(field.name()) {
                    write(field.number(), plausible.as_bytes());
                }
            }
            Type::Message if is_meant => {
                let inner = with_text(field.type_name(), rest, text);
                write(field.number(), &inner);
            }
            Type::Message if IN_BULK.contains(&field.type_name()) => {
                write(field.number(), &with_text(field.type_name(), "", &[]));
            }
            _ => {}
        }
    }
    bytes
}

/// A message with nothing in it but an organization.
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

/// A message with these texts in the fields of these names and nothing else; fields that it does not have are left out.
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

/// Messages without which a call is refused before anything else of it is looked at.
const IN_BULK: [&str; 3] = [
    ".invitation.v1.NewInvitation",
    HEADER,
    ".invitation.v1.BulkCreateStreamItem",
];
/// Where a stream says what other calls say in the message itself.
const HEADER: &str = ".invitation.v1.BulkCreateStreamHeader";

/// What a caller would write there.
fn plausible(name: &str) -> Option<&'static str> {
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

/// Whether a message names the one organization that its call is for.
pub(crate) fn names_organization(message: &str) -> bool {
    fields_of(message)
        .iter()
        .any(|field| field.name() == "organization_id" || field.type_name() == HEADER)
}

fn fields_of(message: &str) -> Vec<FieldDescriptorProto> {
    let name = message.strip_prefix(".invitation.v1.").unwrap();
    files()
        .into_iter()
        .filter(|file| file.package() == "invitation.v1")
        .flat_map(|file| file.message_type)
        .find_map(|found| (found.name() == name).then_some(found.field))
        .unwrap()
}

fn files() -> Vec<FileDescriptorProto> {
    FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).unwrap().file
}

fn methods_of(file: &FileDescriptorProto) -> Vec<Method> {
    let comment = |service: usize, method: usize| {
        let path = [6, service, 2, method].map(|number| i32::try_from(number).unwrap());
        let locations = &file.source_code_info.as_ref().unwrap().location;
        let location = locations.iter().find(|location| location.path == path);
        location.unwrap().leading_comments().to_owned()
    };
    let mut methods = Vec::new();
    for (service_number, service) in file.service.iter().enumerate() {
        for (number, method) in service.method.iter().enumerate() {
            let comment = comment(service_number, number);
            let comment: Vec<&str> = comment.split_whitespace().collect();
            let comment = comment.join(" ");
            let named = |what: &str| {
                let parts: Vec<&str> = comment.split(what).collect();
                assert_eq!(parts.len(), 2, "{}: {what:?} once", method.name());
                let name = parts[1].split([';', '.', ',']).next().unwrap();
                name.trim().to_owned()
            };
            methods.push(Method {
                path: format!("/{}.{}/{}", file.package(), service.name(), method.name()),
                input: method.input_type().to_owned(),
                scope: named("Scope:"),
                users: named("Users:"),
            });
        }
    }
    methods
}

fn frame(message: &[u8]) -> Bytes {
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    Bytes::from([&[0], length.as_slice(), message].concat())
}

/// The messages of an answer. One after the other they are one message: a stream's is what all of it says together.
fn messages(mut bytes: &[u8]) -> Vec<&[u8]> {
    let mut messages = Vec::new();
    while let Some((head, rest)) = bytes.split_first_chunk::<5>() {
        let length = u32::from_be_bytes(*head.last_chunk().unwrap());
        let (message, rest) = rest.split_at(usize::try_from(length).unwrap());
        messages.push(message);
        bytes = rest;
    }
    messages
}

/// The status of an answer; one without a body has it in its head.
fn status(head: &HeaderMap, trailers: &HeaderMap) -> Status {
    Status::from_header_map(trailers)
        .or_else(|| Status::from_header_map(head))
        .unwrap()
}
