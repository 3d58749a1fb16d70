//! Requests as a whole: lists, ids, credentials, frames, and unknown fields and enum values.

use invitations::proto::{
    AcceptPolicy, BulkCreateRequest, BulkResendRequest, ErrorReason, NewInvitation,
};
use prost::Message as _;
use prost::encoding::{WireType, encode_key, encode_varint, string};
use tonic::{Code, Status};

use super::{AS_ALL, assert_call_refused, assert_items_refused, row_counts};
use crate::support::raw_grpc;
use crate::support::{
    World, bulk_resend_request, create_request, created, invite_request, item_reason,
    item_without_email, requeue_request,
};

const BULK_CREATE: &str = "/invitation.v1.InvitationService/BulkCreate";
const ID: &str = "0c7b8a52-9ad6-4fd5-9a2a-07f1c6a0b1d3";

#[tokio::test]
async fn an_empty_list_and_a_list_that_is_too_long_are_refused_and_write_nothing() {
    let world = World::start().await;
    let before = row_counts(&world).await;
    let many: Vec<_> = (0..10_001)
        .map(|number| item_without_email(&format!("{number}@b.co")))
        .collect();
    for (items, reason) in [(vec![], "ITEMS_EMPTY"), (many, "TOO_MANY_ITEMS")] {
        let answer = world.client().bulk_create(create_request(items)).await;
        assert_call_refused(answer, Code::InvalidArgument, reason, "");
    }
    let resend = |ids: &[String]| BulkResendRequest {
        request_id: ID.to_owned(),
        ..bulk_resend_request(ids)
    };
    for (ids, reason) in [
        (vec![], "ITEMS_EMPTY"),
        (vec![ID.to_owned(); 10_001], "TOO_MANY_ITEMS"),
    ] {
        let answer = world.client().bulk_resend(resend(&ids)).await;
        assert_call_refused(answer, Code::InvalidArgument, reason, ID);
        let answer = world.mails().requeue_messages(requeue_request(&ids)).await;
        assert_call_refused(answer, Code::InvalidArgument, reason, ID);
    }
    assert_eq!(row_counts(&world).await, before);
}

#[tokio::test]
async fn ten_thousand_invalid_items_get_ten_thousand_errors_and_write_nothing() {
    let world = World::start().await;
    let before = row_counts(&world).await;
    let items = (0..10_000).map(|number| item_without_email(&format!("canary {number}")));
    let answer = world.bulk_create(create_request(items.collect())).await;
    assert_eq!((answer.succeeded_count, answer.failed_count), (0, 10_000));
    for (index, result) in (0..).zip(&answer.results) {
        assert_eq!(
            (result.index, item_reason(result)),
            (index, ErrorReason::EmailInvalid)
        );
    }
    assert_eq!(row_counts(&world).await, before);
}

#[tokio::test]
async fn a_malformed_organization_id_is_refused() {
    let world = World::start().await;
    let long = "o".repeat(65);
    for (id, reason) in [
        ("", "FIELD_REQUIRED"),
        ("ac\nme", "FIELD_INVALID"),
        ("ac\0me", "FIELD_INVALID"),
        ("acme ", "FIELD_INVALID"),
        ("\u{430}cme", "FIELD_INVALID"),
        (&long, "FIELD_INVALID"),
    ] {
        let request = BulkCreateRequest {
            organization_id: id.to_owned(),
            ..invite_request(&["a@b.co"])
        };
        let answer = world.client().bulk_create(request).await;
        assert_call_refused(answer, Code::InvalidArgument, reason, id);
    }
    let request = BulkCreateRequest {
        organization_id: "acme' OR '1'='1".replace(' ', "_"),
        ..invite_request(&["a@b.co"])
    };
    let answer = world.client().bulk_create(request).await;
    assert_call_refused(answer, Code::NotFound, "ORGANIZATION_NOT_FOUND", "'1'='1");
}

#[tokio::test]
async fn a_request_id_must_have_the_form_of_rfc_9562_in_either_case() {
    let world = World::start().await;
    let long = "x".repeat(10 << 10);
    let simple = ID.replace('-', "");
    let shifted = format!("{}-{}", &simple[..9], &simple[9..]);
    for id in [
        "abc",
        &simple,
        &shifted,
        &format!("{{{ID}}}"),
        &format!("urn:uuid:{ID}"),
        &format!(" {ID}"),
        &format!("{ID}\n"),
        &ID.replace('0', "g"),
        &ID.replace('0', "\u{ff10}"),
        &"-".repeat(36),
        &long,
    ] {
        let request = BulkCreateRequest {
            request_id: id.to_owned(),
            ..invite_request(&["a@b.co"])
        };
        let answer = world.client().bulk_create(request).await;
        assert_call_refused(answer, Code::InvalidArgument, "REQUEST_ID_INVALID", id);
    }
    let request = |id: &str| BulkCreateRequest {
        request_id: id.to_owned(),
        ..create_request(vec![item_without_email("a@b.co")])
    };
    let first = world.bulk_create(request(ID)).await;
    created(&first.results[0]);
    let in_upper_case = world.bulk_create(request(&ID.to_ascii_uppercase())).await;
    assert!(
        in_upper_case == first,
        "the id in upper case is the same id"
    );
}

#[tokio::test]
async fn a_request_id_that_was_used_for_another_request_is_refused() {
    let world = World::start().await;
    let request = |email: &str| BulkCreateRequest {
        request_id: ID.to_owned(),
        ..create_request(vec![item_without_email(email)])
    };
    world.bulk_create(request("a@b.co")).await;
    let before = row_counts(&world).await;
    let answer = world.client().bulk_create(request("canary@b.co")).await;
    assert_call_refused(
        answer,
        Code::FailedPrecondition,
        "REQUEST_ID_REUSED",
        "canary",
    );
    assert_eq!(row_counts(&world).await, before);
}

#[tokio::test]
async fn invalid_credentials_are_refused_before_the_message_is_parsed() {
    let world = World::start().await;
    let invalid_credentials: [&[(&str, &str)]; 7] = [
        &[],
        &[("authorization", "")],
        &[("authorization", "Bearer")],
        &[("authorization", "Bearer ")],
        &[("authorization", "Basic YWxsOmFsbA==")],
        &[("authorization", "Bearer canary7265")],
        &[("authorization", "Bearer all all")],
    ];
    for headers in invalid_credentials {
        let answer = raw_grpc::call(world.address(), BULK_CREATE, headers, b"\xff\xff").await;
        assert_call_refused(
            answer,
            Code::Unauthenticated,
            "CREDENTIALS_INVALID",
            "canary7265",
        );
    }
    let message = create_request(vec![item_without_email("a@b.co")]).encode_to_vec();
    let unscoped = [("authorization", "Bearer all-but-invitations:write")];
    let answer = raw_grpc::call(world.address(), BULK_CREATE, &unscoped, &message).await;
    assert_call_refused(answer, Code::PermissionDenied, "SCOPE_MISSING", "a@b.co");
}

#[tokio::test]
async fn bytes_that_are_not_a_message_are_a_malformed_request() {
    let world = World::start().await;
    let before = row_counts(&world).await;
    let whole = create_request(vec![item_without_email("canary@b.co")]).encode_to_vec();
    // A varint without an end, a length beyond the message, field number zero, an unknown wire type, a group without an
    // end, and a truncated message.
    for bytes in [
        &b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"[..],
        b"\x0a\xff\xff\xff\xff\x0fcanary",
        b"\x00\x01",
        b"\x0f\x01",
        b"\x0b\x0b\x0b",
        &whole[..whole.len() - 1],
    ] {
        let answer = raw_grpc::call(world.address(), BULK_CREATE, &[AS_ALL], bytes).await;
        assert_call_refused(answer, Code::InvalidArgument, "REQUEST_MALFORMED", "canary");
    }
    assert_eq!(row_counts(&world).await, before);
}

#[tokio::test]
async fn a_compressed_message_is_refused_as_unsupported() {
    let world = World::start().await;
    let message = create_request(vec![item_without_email("a@b.co")]).encode_to_vec();
    let mut framed = vec![1];
    framed.extend(u32::try_from(message.len()).unwrap().to_be_bytes());
    framed.extend(message);
    let answer = raw_grpc::call_raw(world.address(), BULK_CREATE, &[AS_ALL], framed.clone()).await;
    assert_eq!(
        answer.as_ref().err().map(Status::code),
        Some(Code::Internal)
    );
    let headers = [AS_ALL, ("grpc-encoding", "gzip")];
    let answer = raw_grpc::call_raw(world.address(), BULK_CREATE, &headers, framed).await;
    assert_eq!(
        answer.as_ref().err().map(Status::code),
        Some(Code::Unimplemented)
    );
}

#[tokio::test]
async fn an_unknown_field_is_ignored() {
    let world = World::start().await;
    let mut message = create_request(vec![item_without_email("a@b.co")]).encode_to_vec();
    string::encode(4_000, &"canary\0".to_owned(), &mut message);
    encode_key(4_001, WireType::SixtyFourBit, &mut message);
    message.extend([255; 8]);
    encode_key(4_002, WireType::Varint, &mut message);
    encode_varint(u64::MAX, &mut message);
    let answer = raw_grpc::call(world.address(), BULK_CREATE, &[AS_ALL], &message).await;
    let answer = invitations::proto::BulkCreateResponse::decode(answer.unwrap().as_slice());
    created(&answer.unwrap().results[0]);
}

#[tokio::test]
async fn an_unknown_enum_value_is_refused() {
    let world = World::start().await;
    for value in [-1, 999, i32::MAX, i32::MIN] {
        let rule = ("accept_policy", ErrorReason::FieldInvalid);
        assert_items_refused(&world, &[""], rule, |_, _| NewInvitation {
            accept_policy: value,
            ..item_without_email("a@b.co")
        })
        .await;
        let request = BulkCreateRequest {
            on_existing: value,
            ..create_request(vec![item_without_email("a@b.co")])
        };
        let answer = world.client().bulk_create(request).await;
        assert_call_refused(answer, Code::InvalidArgument, "FIELD_INVALID", "");
    }
    let unspecified = NewInvitation {
        accept_policy: AcceptPolicy::Unspecified.into(),
        ..item_without_email("a@b.co")
    };
    let answer = world.bulk_create(create_request(vec![unspecified])).await;
    assert_eq!(
        created(&answer.results[0]).accept_policy(),
        AcceptPolicy::InvitedEmail
    );
}

#[tokio::test]
async fn a_duplicate_or_malformed_id_fails_without_affecting_the_others() {
    let mut world = World::start().await;
    let (invitation, _) = world.invite_one("a@b.co").await;
    let ids = [
        invitation.id.as_str(),
        &invitation.id.to_ascii_uppercase(),
        ID,
        "",
        "canary7265",
        "canary\0",
    ];
    let request = BulkResendRequest {
        request_id: ID.to_owned(),
        ..bulk_resend_request(&ids)
    };
    let answer = world.client().bulk_resend(request).await.unwrap();
    let results = answer.into_inner().results;
    let reasons: Vec<_> = results
        .iter()
        .map(|result| {
            result
                .error
                .as_ref()
                .map_or("", |error| error.reason().as_str_name())
        })
        .collect();
    let expected = [
        "",
        "ERROR_REASON_DUPLICATE_IN_REQUEST",
        "ERROR_REASON_INVITATION_NOT_FOUND",
        "ERROR_REASON_FIELD_INVALID",
        "ERROR_REASON_FIELD_INVALID",
        "ERROR_REASON_FIELD_INVALID",
    ];
    assert_eq!(reasons, expected);
    assert_eq!(world.deliver_all().await, 1);
}
