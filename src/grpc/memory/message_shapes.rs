//! The shapes of messages, from the descriptors of the protocol: which fields are lists and messages, and how many bytes
//! the generated structs have.

use std::collections::HashMap;
use std::sync::LazyLock;

use prost::Message as _;
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{DescriptorProto, FieldDescriptorProto, FileDescriptorSet};

use crate::proto::FILE_DESCRIPTOR_SET;

/// Upper bounds of what a field takes in a struct, with padding.
const SCALAR_BYTES: usize = 8;
const TEXT_BYTES: usize = size_of::<String>();
const LIST_BYTES: usize = size_of::<Vec<u8>>();
const MAP_BYTES: usize = size_of::<HashMap<String, String>>();
/// What `Option` and the enum of a oneof add.
const TAG_BYTES: usize = 8;

pub(crate) static MESSAGE_SHAPES: LazyLock<MessageShapes> = LazyLock::new(|| {
    let files = FileDescriptorSet::decode(FILE_DESCRIPTOR_SET);
    MessageShapes::new(&files.expect("the build has encoded it"))
});

pub(crate) struct MessageShapes {
    shapes: Vec<MessageShape>,
    /// By the path of the method.
    requests: HashMap<String, RequestShape>,
}

/// What a method receives.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RequestShape {
    /// The number of the shape of its messages.
    pub(crate) message: usize,
    /// Whether a call may send more than one message.
    pub(crate) is_stream: bool,
}

pub(crate) struct MessageShape {
    /// An upper bound of the size of the struct.
    pub(crate) bytes: usize,
    pub(crate) fields: Vec<FieldShape>,
}

pub(crate) struct FieldShape {
    pub(crate) number: u64,
    pub(crate) name: String,
    pub(crate) is_list: bool,
    pub(crate) content: FieldContent,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FieldContent {
    Scalar,
    /// A string or bytes.
    Text,
    /// A message, with the number of its shape.
    Message(usize),
    /// An entry of a map, with the number of its shape.
    MapEntry(usize),
}

/// The messages of all files by their full name, with a leading dot.
#[derive(Default)]
struct Descriptors<'a> {
    messages: Vec<&'a DescriptorProto>,
    numbers: HashMap<String, usize>,
}

impl MessageShapes {
    fn new(files: &FileDescriptorSet) -> Self {
        let mut descriptors = Descriptors::default();
        for file in &files.file {
            let package = format!(".{}", file.package());
            for message in &file.message_type {
                descriptors.add(&package, message);
            }
        }
        let shapes = descriptors.messages.iter();
        let shapes = shapes.map(|message| descriptors.shape(message)).collect();
        let mut requests = HashMap::new();
        for file in &files.file {
            for service in &file.service {
                for method in &service.method {
                    let (package, service) = (file.package(), service.name());
                    let path = format!("/{package}.{service}/{}", method.name());
                    let shape = RequestShape {
                        message: descriptors.numbers[method.input_type()],
                        is_stream: method.client_streaming(),
                    };
                    requests.insert(path, shape);
                }
            }
        }
        Self { shapes, requests }
    }

    pub(crate) fn of_request(&self, path: &str) -> Option<RequestShape> {
        self.requests.get(path).copied()
    }

    pub(crate) fn shape(&self, number: usize) -> &MessageShape {
        &self.shapes[number]
    }
}

impl<'a> Descriptors<'a> {
    fn add(&mut self, scope: &str, message: &'a DescriptorProto) {
        let name = format!("{scope}.{}", message.name());
        for nested in &message.nested_type {
            self.add(&name, nested);
        }
        self.numbers.insert(name, self.messages.len());
        self.messages.push(message);
    }

    fn shape(&self, message: &DescriptorProto) -> MessageShape {
        let fields = message.field.iter().map(|field| FieldShape {
            number: u64::try_from(field.number()).unwrap_or_default(),
            name: field.name().to_owned(),
            is_list: field.label() == Label::Repeated,
            content: self.content(field),
        });
        MessageShape {
            bytes: self.bytes(message),
            fields: fields.collect(),
        }
    }

    fn content(&self, field: &FieldDescriptorProto) -> FieldContent {
        match field.r#type() {
            Type::String | Type::Bytes => FieldContent::Text,
            Type::Message | Type::Group => {
                let number = self.numbers[field.type_name()];
                let options = self.messages[number].options.as_ref();
                if options.is_some_and(prost_types::MessageOptions::map_entry) {
                    FieldContent::MapEntry(number)
                } else {
                    FieldContent::Message(number)
                }
            }
            _ => FieldContent::Scalar,
        }
    }

    fn bytes(&self, message: &DescriptorProto) -> usize {
        // Of the fields of a oneof, the struct has room for the largest.
        let mut oneofs = vec![0; message.oneof_decl.len()];
        let mut bytes = 0;
        for field in &message.field {
            let field_bytes = self.field_bytes(field);
            let number = field.oneof_index.map(usize::try_from);
            match number.and_then(|number| oneofs.get_mut(number.ok()?)) {
                Some(largest) => field_bytes.max(*largest).clone_into(largest),
                None => bytes += field_bytes,
            }
        }
        bytes + oneofs.iter().sum::<usize>()
    }

    fn field_bytes(&self, field: &FieldDescriptorProto) -> usize {
        match (self.content(field), field.label() == Label::Repeated) {
            (FieldContent::MapEntry(_), _) => MAP_BYTES,
            (_, true) => LIST_BYTES,
            (FieldContent::Scalar, _) => SCALAR_BYTES,
            (FieldContent::Text, _) => TEXT_BYTES,
            (FieldContent::Message(number), _) => TAG_BYTES + self.bytes(self.messages[number]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto;

    #[test]
    fn no_struct_is_larger_than_its_shape() {
        let shapes = &MESSAGE_SHAPES;
        let request = |name: &str| {
            let number = shapes.of_request(&format!("/invitation.v1.{name}"));
            shapes.shape(number.unwrap().message)
        };
        let item = |name: &str| {
            let list = request(name).fields.iter().find(|field| field.is_list);
            match list.unwrap().content {
                FieldContent::Message(number) => shapes.shape(number).bytes,
                _ => unreachable!(),
            }
        };
        let bulk_create = item("InvitationService/BulkCreate");
        assert!(size_of::<proto::NewInvitation>() <= bulk_create);
        assert!(bulk_create <= 2 * size_of::<proto::NewInvitation>());
        let organizations = item("DirectoryService/UpsertOrganizations");
        assert!(size_of::<proto::Organization>() <= organizations);
        let users = item("DirectoryService/UpsertUsers");
        assert!(size_of::<proto::User>() <= users);
        let memberships = item("DirectoryService/UpsertMemberships");
        assert!(size_of::<proto::Membership>() <= memberships);
        let watch = request("InvitationService/Watch");
        assert!(size_of::<proto::WatchRequest>() <= watch.bytes);
    }
}
