//! Metadata: numbers that JSON has not or that grow, NUL, size, and nesting without an end.

use invitations::proto::{ErrorReason, NewInvitation};
use prost::Message as _;
use prost::encoding::{WireType, encode_key, encode_varint};
use prost_types::value::Kind;
use prost_types::{ListValue, Struct, Value};
use tonic::Code;

use super::{AS_ALL, assert_refused, assert_status, bulk_create, quiet, request_of};
use crate::support::raw_grpc;
use crate::support::{World, created, item_reason};

fn value(kind: Kind) -> Value {
    Value { kind: Some(kind) }
}

fn fields(name: &str, inner: Value) -> Struct {
    Struct {
        fields: [(name.to_owned(), inner)].into(),
    }
}

/// Lists in lists, so many.
fn nested(depth: usize) -> Value {
    (0..depth).fold(value(Kind::NullValue(0)), |inner, _| {
        value(Kind::ListValue(ListValue {
            values: vec![inner],
        }))
    })
}

async fn refused(metadata: Struct, reason: ErrorReason) {
    let world = World::start().await;
    assert_refused(&world, &[""], ("public_metadata", reason), |_, _| {
        NewInvitation {
            public_metadata: Some(metadata.clone()),
            ..quiet("a@b.co")
        }
    })
    .await;
    assert_refused(&world, &[""], ("private_metadata", reason), |_, _| {
        NewInvitation {
            private_metadata: Some(metadata.clone()),
            ..quiet("a@b.co")
        }
    })
    .await;
}

#[tokio::test]
async fn a_number_that_json_has_not_is_refused() {
    for number in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        let list = value(Kind::ListValue(ListValue {
            values: vec![value(Kind::NumberValue(number))],
        }));
        refused(fields("x", list), ErrorReason::FieldInvalid).await;
    }
}

#[tokio::test]
async fn a_nul_in_a_name_or_a_text_of_metadata_is_refused() {
    let text = |text: &str| value(Kind::StringValue(text.to_owned()));
    for metadata in [
        fields("x\0", text("y")),
        fields("x", text("canary\0")),
        fields("x", value(Kind::StructValue(fields("\0", text("y"))))),
    ] {
        refused(metadata, ErrorReason::FieldInvalid).await;
    }
}

#[tokio::test]
async fn metadata_over_its_size_or_depth_is_refused() {
    let large = value(Kind::StringValue("x".repeat(8 << 10)));
    refused(fields("x", large), ErrorReason::MetadataTooLarge).await;
    refused(fields("x", nested(16)), ErrorReason::MetadataTooLarge).await;
    refused(fields("x", nested(40)), ErrorReason::MetadataTooLarge).await;
    let world = World::start().await;
    let deepest = NewInvitation {
        public_metadata: Some(fields("x", nested(15))),
        ..quiet("a@b.co")
    };
    let results = bulk_create(&world, request_of(vec![deepest.clone()]))
        .await
        .results;
    assert!(created(&results[0]).public_metadata == deepest.public_metadata);
}

#[tokio::test]
async fn metadata_nested_ten_thousand_deep_costs_no_stack() {
    // The innermost first: a list that holds a value that holds a list.
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
    // public_metadata of an item, which is `invitations` of the request.
    let mut message = request_of(vec![]).encode_to_vec();
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
    assert_status(answer, Code::InvalidArgument, "REQUEST_MALFORMED", "");
    let results = bulk_create(&world, request_of(vec![quiet("a@b.co")])).await;
    assert_eq!(results.created_count, 1, "the server is there");
}

#[tokio::test]
async fn numbers_come_back_as_they_went_and_do_not_grow() {
    let world = World::start().await;
    let numbers = |numbers: &[f64]| {
        let values = numbers
            .iter()
            .map(|number| value(Kind::NumberValue(*number)));
        let list = ListValue {
            values: values.collect(),
        };
        fields("x", value(Kind::ListValue(list)))
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
        ..quiet("a@b.co")
    };
    let results = bulk_create(&world, request_of(vec![invitation]))
        .await
        .results;
    let id = created(&results[0]).id;
    assert!(world.get(&id).await.private_metadata == Some(kept));
    // A list of these is two kibibytes as JSON, and a hundred as the database writes it.
    let grows = NewInvitation {
        private_metadata: Some(numbers(&[1e308; 300])),
        ..quiet("b@b.co")
    };
    let results = bulk_create(&world, request_of(vec![grows])).await.results;
    assert_eq!(item_reason(&results[0]), ErrorReason::MetadataTooLarge);
}
