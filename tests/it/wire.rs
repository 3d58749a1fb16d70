//! Calls as octets: any path, any header, any message, as no generated client would send them.

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
}

/// Calls a method. It knows no deadline of its own, so what it says about one is the server's word.
pub(crate) async fn call(
    address: SocketAddr,
    path: &str,
    headers: &[(&str, &str)],
    message: &[u8],
) -> Result<Vec<u8>, Status> {
    exchange(&address.to_string(), address, path, headers, Some(message)).await
}

/// Calls a method of a server under a name of the caller's choice.
pub(crate) async fn call_under_name(
    authority: &str,
    address: SocketAddr,
    path: &str,
    headers: &[(&str, &str)],
    message: &[u8],
) -> Result<Vec<u8>, Status> {
    exchange(authority, address, path, headers, Some(message)).await
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
    message: Option<&[u8]>,
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
    if let Some(message) = message {
        sending.send_data(frame(message), true).unwrap();
    }
    let (head, mut body) = response.await.unwrap().into_parts();
    let mut octets = Vec::new();
    while let Some(data) = body.data().await {
        let data = data.unwrap();
        body.flow_control().release_capacity(data.len()).unwrap();
        octets.extend_from_slice(&data);
    }
    let trailers = body.trailers().await.unwrap().unwrap_or_default();
    connection.abort();
    let status = status(&head.headers, &trailers);
    if status.code() == tonic::Code::Ok {
        Ok(octets.split_off(5))
    } else {
        Err(status)
    }
}

/// Every method of this service's own protocol.
pub(crate) fn methods() -> Vec<Method> {
    files().iter().flat_map(methods_of).collect()
}

/// A message with every text in it set to `text` and every switch on; the organization may be another.
pub(crate) fn filled(message: &str, text: &str, organization_id: &str) -> Vec<u8> {
    let mut octets = Vec::new();
    for field in fields_of(message) {
        let tag = u32::try_from(field.number()).unwrap();
        match field.r#type() {
            Type::String if field.name() == "organization_id" => {
                string::encode(tag, &organization_id.to_owned(), &mut octets);
            }
            Type::String => string::encode(tag, &text.to_owned(), &mut octets),
            Type::Bool => {
                encode_key(tag, WireType::Varint, &mut octets);
                encode_varint(1, &mut octets);
            }
            Type::Message if field.type_name().starts_with(".invitation.v1.") => {
                let inner = filled(field.type_name(), text, organization_id);
                encode_key(tag, WireType::LengthDelimited, &mut octets);
                encode_varint(inner.len() as u64, &mut octets);
                octets.extend(inner);
            }
            _ => {}
        }
    }
    octets
}

/// A message with these texts in the fields of these names and nothing else; fields that it does not have are left out.
pub(crate) fn with_texts(message: &str, texts: &[(&str, &str)]) -> Vec<u8> {
    let mut octets = Vec::new();
    for field in fields_of(message) {
        let text = texts.iter().find(|(name, _)| *name == field.name());
        if let Some((_, text)) = text.filter(|_| field.r#type() == Type::String) {
            let tag = u32::try_from(field.number()).unwrap();
            string::encode(tag, &(*text).to_owned(), &mut octets);
        }
    }
    octets
}

/// Whether a message has a field of this name.
pub(crate) fn has_field(message: &str, name: &str) -> bool {
    fields_of(message).iter().any(|field| field.name() == name)
}

/// Whether a message names the one organization that its call is for.
pub(crate) fn names_organization(message: &str) -> bool {
    fields_of(message)
        .iter()
        .any(|field| field.name() == "organization_id")
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
            let (_, scope) = comment.split_once("Scope: ").unwrap();
            let scope = scope.split([';', '.', ',']).next().unwrap();
            methods.push(Method {
                path: format!("/{}.{}/{}", file.package(), service.name(), method.name()),
                input: method.input_type().to_owned(),
                scope: scope.to_owned(),
            });
        }
    }
    methods
}

fn frame(message: &[u8]) -> Bytes {
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    Bytes::from([&[0], length.as_slice(), message].concat())
}

/// The status of an answer; one without a body has it in its head.
fn status(head: &HeaderMap, trailers: &HeaderMap) -> Status {
    Status::from_header_map(trailers)
        .or_else(|| Status::from_header_map(head))
        .unwrap()
}
