//! Metadata: numbers that JSON does not have or that grow when they are stored, NUL, size and nesting.

use invitations::proto::{ErrorReason, NewInvitation};
use prost::Message as _;
use prost::encoding::{WireType, encode_key, encode_varint};
use prost_types::value::Kind;
use prost_types::{ListValue, Struct, Value};
use tonic::Code;

use super::{AS_ALL, assert_call_refused, assert_items_refused};
use crate::support::raw_grpc;
use crate::support::{World, create_request, created, item_reason, item_without_email};

fn value(kind: Kind) -> Value {
    Value { kind: Some(kind) }
}

fn single_field(name: &str, inner: Value) -> Struct {
    Struct {
        fields: [(name.to_owned(), inner)].into(),
    }
}

/// Lists within lists, this many.
fn nested(depth: usize) -> Value {
    (0..depth).fold(value(Kind::NullValue(0)), |inner, _| {
        value(Kind::ListValue(ListValue {
            values: vec![inner],
        }))
    })
}

/// Fails unless an item with this metadata is refused, whether it is public or private.
async fn assert_metadata_refused(metadata: Struct, reason: ErrorReason) {
    let world = World::start().await;
    assert_items_refused(&world, &[""], ("public_metadata", reason), |_, _| {
        NewInvitation {
            public_metadata: Some(metadata.clone()),
            ..item_without_email("a@b.co")
        }
    })
    .await;
    assert_items_refused(&world, &[""], ("private_metadata", reason), |_, _| {
        NewInvitation {
            private_metadata: Some(metadata.clone()),
            ..item_without_email("a@b.co")
        }
    })
    .await;
}

#[tokio::test]
async fn a_number_that_json_cannot_represent_is_refused() {
    for number in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        let list = value(Kind::ListValue(ListValue {
            values: vec![value(Kind::NumberValue(number))],
        }));
        assert_metadata_refused(single_field("x", list), ErrorReason::FieldInvalid).await;
    }
}

#[tokio::test]
async fn a_nul_in_a_name_or_a_text_of_metadata_is_refused() {
    let text = |text: &str| value(Kind::StringValue(text.to_owned()));
    for metadata in [
        single_field("x\0", text("y")),
        single_field("x", text("canary\0")),
        single_field("x", value(Kind::StructValue(single_field("\0", text("y"))))),
    ] {
        assert_metadata_refused(metadata, ErrorReason::FieldInvalid).await;
    }
}

#[tokio::test]
async fn metadata_that_is_too_large_or_too_deep_is_refused() {
    let large = value(Kind::StringValue("x".repeat(8 << 10)));
    assert_metadata_refused(single_field("x", large), ErrorReason::MetadataTooLarge).await;
    assert_metadata_refused(single_field("x", nested(16)), ErrorReason::MetadataTooLarge).await;
    assert_metadata_refused(single_field("x", nested(40)), ErrorReason::MetadataTooLarge).await;
    let world = World::start().await;
    let deepest = NewInvitation {
        public_metadata: Some(single_field("x", nested(15))),
        ..item_without_email("a@b.co")
    };
    let results = world
        .bulk_create(create_request(vec![deepest.clone()]))
        .await
        .results;
    assert!(created(&results[0]).public_metadata == deepest.public_metadata);
}

#[tokio::test]
async fn metadata_nested_ten_thousand_levels_deep_does_not_overflow_the_stack() {
    // Built from the innermost: a list that contains a value that contains a list.
    let mut bytes = Vec::new();
    for _ in 0..10_000 {
        for tag in [6, 1] {
            let mut outer = Vec::with_capacity(bytes.len() + 8);
            encode_key(tag, WireType::LengthDelimited, &mut outer);
            encode_varint(bytes.len() as u64, &mut outer);
            outer.extend_from_slice(&bytes);
            bytes = outer;
        }
    }
    // The tags of `invitations` of the request and of `public_metadata` of the item.
    let mut message = create_request(vec![]).encode_to_vec();
    for tag in [2, 1, 5, 4] {
        let mut outer = Vec::with_capacity(bytes.len() + 8);
        encode_key(tag, WireType::LengthDelimited, &mut outer);
        encode_varint(bytes.len() as u64, &mut outer);
        outer.extend_from_slice(&bytes);
        bytes = outer;
    }
    message.extend_from_slice(&bytes);
    let world = World::start().await;
    let path = "/invitation.v1.InvitationService/BulkCreate";
    let answer = raw_grpc::call(world.address(), path, &[AS_ALL], &message).await;
    assert_call_refused(answer, Code::InvalidArgument, "REQUEST_MALFORMED", "");
    let response = world
        .bulk_create(create_request(vec![item_without_email("a@b.co")]))
        .await;
    assert_eq!(response.succeeded_count, 1, "the server still works");
}

#[tokio::test]
async fn numbers_are_returned_unchanged_and_count_by_their_stored_size() {
    let world = World::start().await;
    let numbers = |numbers: &[f64]| {
        let values = numbers
            .iter()
            .map(|number| value(Kind::NumberValue(*number)));
        let list = ListValue {
            values: values.collect(),
        };
        single_field("x", value(Kind::ListValue(list)))
    };
    let kept = numbers(&[
        f64::MAX,
        f64::MIN,
        f64::MIN_POSITIVE,
        5e-324,
        0.1,
        9_007_199_254_740_993.0,
        -0.0,
    ]);
    let invitation = NewInvitation {
        private_metadata: Some(kept.clone()),
        ..item_without_email("a@b.co")
    };
    let results = world
        .bulk_create(create_request(vec![invitation]))
        .await
        .results;
    let id = created(&results[0]).id;
    assert!(world.get(&id).await.private_metadata == Some(kept));
    // A list of these numbers has two KiB as JSON, and a hundred KiB as the database writes it.
    let grows = NewInvitation {
        private_metadata: Some(numbers(&[1e308; 300])),
        ..item_without_email("b@b.co")
    };
    let results = world.bulk_create(create_request(vec![grows])).await.results;
    assert_eq!(item_reason(&results[0]), ErrorReason::MetadataTooLarge);
}
