//! The size of responses: ten thousand basic results fit into what gRPC clients receive by default, and what a full
//! response has no room for is named.

use std::collections::BTreeSet;

use invitations::domain::new_invitation::KEY_BYTES_MAX;
use invitations::domain::role::ROLE_BYTES_MAX;
use invitations::grpc::limits::{
    ECHOED_ID_BYTES_MAX, METADATA_IN_RESPONSE_BYTES_MAX, TEXTS_IN_RESPONSE_BYTES_MAX,
};
use invitations::proto::invitation_service_client::InvitationServiceClient;
use invitations::proto::{
    AcceptPolicy, BulkCreateRequest, BulkCreateResponse, CreateOutcome, ErrorReason, Invitation,
    InvitationView, ListRequest, NewInvitation, new_invitation,
};
use prost::Message as _;
use prost_types::value::Kind;
use prost_types::{Duration, FieldMask, Struct, Value};
use time::Duration as Span;

use crate::support::callers::caller_channel;
use crate::support::directory::organization;
use crate::support::user_issuer::UserIssuer;
use crate::support::{
    ACME, InvitationClient, World, bulk_get_request, bulk_resend_request, bulk_revoke_request,
    create_request, created_ids, item, item_without_email, list_request, metadata, new_request_id,
};

/// What gRPC clients receive by default.
const CLIENT_BYTES_MAX: usize = 4 * 1024 * 1024;

/// A client with the limits of every gRPC library.
fn default_client(world: &World) -> InvitationClient {
    InvitationServiceClient::new(caller_channel(&world.channel(), "all"))
}

/// A world whose ACME has the longest role, and whose times have the longest encoding.
async fn largest_world() -> (World, String) {
    let mut world = World::start().await;
    world.may_leave_mail();
    world.clock.advance(Span::microseconds(999_999));
    let role = "r".repeat(ROLE_BYTES_MAX);
    let mut acme = organization(ACME, "Acme Engines");
    acme.roles = ["admin", "member", &role]
        .map(|id| invitations::proto::Role {
            id: id.to_owned(),
            ..Default::default()
        })
        .into();
    world.upsert_organization(acme).await;
    (world, role)
}

/// A call of ten thousand items of the largest results.
fn largest_request(item: impl Fn(usize) -> NewInvitation) -> BulkCreateRequest {
    let key = |number: usize| format!("{number:0KEY_BYTES_MAX$}");
    let items = (0..10_000).map(|number| NewInvitation {
        key: key(number),
        ..item(number)
    });
    BulkCreateRequest {
        request_id: new_request_id(),
        view: InvitationView::Basic.into(),
        ..create_request(items.collect())
    }
}

/// The first response and that of a repetition, which must be equal. Asserts that a client with default limits receives
/// both, with a result for each item.
async fn create_twice(world: &World, request: &BulkCreateRequest) -> BulkCreateResponse {
    let mut client = default_client(world);
    let first = client.bulk_create(request.clone()).await;
    let first = first.unwrap().into_inner();
    let again = client.bulk_create(request.clone()).await;
    assert!(again.unwrap().into_inner() == first);
    let bytes = first.encoded_len();
    assert!(bytes < CLIENT_BYTES_MAX, "{bytes}");
    let keys = first.results.iter().map(|result| &result.key);
    assert!(keys.eq(request.invitations.iter().map(|item| &item.key)));
    first
}

fn valid_item(role: &str, number: usize) -> NewInvitation {
    NewInvitation {
        role: role.to_owned(),
        reminder_lead: Some(Duration {
            seconds: 86_400,
            nanos: 0,
        }),
        message: "Welcome aboard.".to_owned(),
        ..item(&format!("person{number}@b.co"))
    }
}

/// Metadata that JSON cannot hold.
fn not_a_number() -> Struct {
    let value = Value {
        kind: Some(Kind::NumberValue(f64::NAN)),
    };
    Struct {
        fields: [("x".to_owned(), value)].into(),
    }
}

/// Breaks a rule of every field but the address and the key.
fn invalid_item(number: usize) -> NewInvitation {
    NewInvitation {
        role: format!("unknown{number}"),
        inviter_user_id: "nobody".to_owned(),
        redirect_url: "http://evil.example".to_owned(),
        public_metadata: Some(not_a_number()),
        private_metadata: Some(not_a_number()),
        expiration: Some(new_invitation::Expiration::Ttl(Duration::default())),
        locale: "?".to_owned(),
        message: "https://evil.example".to_owned(),
        accept_policy: 99,
        reminder_lead: Some(Duration {
            seconds: 1,
            nanos: 0,
        }),
        ..item(&format!("person{number}@b.co"))
    }
}

#[tokio::test]
async fn ten_thousand_of_the_largest_basic_results_reach_a_client_with_default_limits() {
    let (world, role) = largest_world().await;
    let created = create_twice(&world, &largest_request(|it| valid_item(&role, it))).await;
    assert_eq!(created.succeeded_count, 10_000);
    let largest = created.results[9_999].invitation.clone().unwrap();
    assert!(largest.remind_time.is_some() && largest.role == role);

    let failing = largest_request(|number| NewInvitation {
        email: "\u{fc}@b.co".to_owned(),
        ..invalid_item(number)
    });
    let failed = create_twice(&world, &failing).await;
    assert_eq!(failed.failed_count, 10_000);
    let error = failed.results[0].error.clone().unwrap();
    assert_eq!(error.reason(), ErrorReason::EmailUnsupported);
    assert_eq!(error.violations[0].reason(), ErrorReason::EmailUnsupported);
    assert!(error.violations.len() > 1 && error.omitted_violation_count > 5);

    // The addresses of these have pending invitations, which the results hold.
    let failed = create_twice(&world, &largest_request(invalid_item)).await;
    assert_eq!(failed.failed_count, 10_000);
    let result = &failed.results[0];
    assert!(result.invitation.as_ref().unwrap().role == role);
    let error = result.error.clone().unwrap();
    assert_eq!(error.reason(), ErrorReason::RoleUnknown);
    assert!(error.omitted_violation_count > 5);
}

#[tokio::test]
async fn a_key_that_is_too_long_fails_its_item_and_is_not_repeated() {
    let mut world = World::start().await;
    let key = |length: usize| "k".repeat(length);
    let items = [KEY_BYTES_MAX, KEY_BYTES_MAX + 1].map(|length| NewInvitation {
        key: key(length),
        ..item(&format!("{length}@b.co"))
    });
    let results = world
        .bulk_create(create_request(items.into()))
        .await
        .results;
    assert_eq!(results[0].outcome(), CreateOutcome::Created);
    assert_eq!(results[0].key, key(KEY_BYTES_MAX));
    assert_eq!(results[1].key, "");
    let error = results[1].error.clone().unwrap();
    assert_eq!(error.reason(), ErrorReason::FieldInvalid);
    assert_eq!(error.violations[0].field, "key");
    assert_eq!(world.deliver_all().await, 1);
}

/// The names of the fields that are left out of some of the invitations.
fn omitted_fields(invitations: &[Invitation]) -> BTreeSet<&str> {
    let masks = invitations
        .iter()
        .filter_map(|it| it.omitted_fields.as_ref());
    masks
        .flat_map(|FieldMask { paths }| paths.iter().map(String::as_str))
        .collect()
}

#[tokio::test]
async fn a_long_id_is_not_repeated_in_the_response() {
    let world = World::start().await;
    let ids = ["x".repeat(ECHOED_ID_BYTES_MAX), "x".repeat(1 << 20)];
    let mut client = default_client(&world);
    let revoked = client.bulk_revoke(bulk_revoke_request(&ids)).await;
    let revoked = revoked.unwrap().into_inner().results;
    let resent = client.bulk_resend(bulk_resend_request(&ids)).await;
    let resent = resent.unwrap().into_inner().results;
    let revoked = revoked.iter().map(|result| result.invitation_id.as_str());
    assert!(revoked.eq([ids[0].as_str(), ""]));
    let resent = resent.iter().map(|result| result.invitation_id.as_str());
    assert!(resent.eq([ids[0].as_str(), ""]));
}

async fn list_all(world: &World, caller: &str) -> Vec<Invitation> {
    let request = ListRequest {
        page_size: 1_000,
        ..list_request()
    };
    let answer = world.client_of(caller).list(request).await.unwrap();
    answer.into_inner().invitations
}

#[tokio::test]
async fn metadata_beyond_the_size_of_a_response_are_omitted_and_named() {
    let issuer = UserIssuer::start().await;
    let world = World::builder().issuers(&issuer.table()).start().await;
    let large = metadata("x", &"y".repeat(8_000));
    let items = (0..400).map(|number| NewInvitation {
        public_metadata: Some(large.clone()),
        private_metadata: Some(large.clone()),
        message: "Welcome aboard.".to_owned(),
        ..item_without_email(&format!("{number}@b.co"))
    });
    let response = world.bulk_create(create_request(items.collect())).await;
    let ids = created_ids(&response);
    let created = response
        .results
        .into_iter()
        .map(|it| it.invitation.unwrap());
    let found = world.client().bulk_get(bulk_get_request(&ids)).await;
    let found = found.unwrap().into_inner().results;
    let found = found.into_iter().map(|it| it.invitation.unwrap());
    for invitations in [
        created.collect(),
        found.collect(),
        list_all(&world, "all").await,
    ] {
        let names = BTreeSet::from(["private_metadata", "public_metadata"]);
        assert_eq!(omitted_fields(&invitations), names);
        let metadata = invitations
            .iter()
            .flat_map(|it| [&it.public_metadata, &it.private_metadata]);
        let bytes: usize = metadata.flatten().map(Struct::encoded_len).sum();
        let room_left = METADATA_IN_RESPONSE_BYTES_MAX.checked_sub(bytes).unwrap();
        assert!(room_left < 2 * large.encoded_len());
        assert!(invitations.iter().all(|it| !it.message.is_empty()));
    }
    // A user learns nothing about private metadata.
    let seen = list_all(&world, &issuer.token(&world, "ada")).await;
    assert_eq!(omitted_fields(&seen), BTreeSet::new());
    let read = world.get(&ids[399]).await;
    assert!(read.omitted_fields.is_none() && read.private_metadata == Some(large));
}

#[tokio::test]
async fn texts_beyond_the_size_of_a_response_are_omitted_and_named() {
    let world = World::start().await;
    let url = format!("https://app.example.com/{:0>2000}", "");
    let message = "\u{1f600}".repeat(500);
    let items = (0..2_200).map(|number| NewInvitation {
        redirect_url: url.clone(),
        message: message.clone(),
        accept_policy: AcceptPolicy::InvitedEmail.into(),
        ..item_without_email(&format!("{number}@b.co"))
    });
    let request = BulkCreateRequest {
        view: InvitationView::Basic.into(),
        ..create_request(items.collect())
    };
    let ids = created_ids(&world.bulk_create(request).await);
    let found = world.client().bulk_get(bulk_get_request(&ids)).await;
    let found = found.unwrap().into_inner().results;
    let found: Vec<_> = found.into_iter().map(|it| it.invitation.unwrap()).collect();
    let names = BTreeSet::from(["message", "redirect_url"]);
    assert_eq!(omitted_fields(&found), names);
    let texts = found
        .iter()
        .map(|it| it.redirect_url.len() + it.message.len());
    let bytes: usize = texts.sum();
    let room_left = TEXTS_IN_RESPONSE_BYTES_MAX.checked_sub(bytes).unwrap();
    assert!(room_left < url.len() + message.len());
}
