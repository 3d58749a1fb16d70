//! The size of responses: ten thousand basic results fit into what gRPC clients receive by default, and what a full
//! response has no room for is named.

use std::collections::BTreeSet;

use invitations::domain::new_invitation::KEY_BYTES_MAX;
use invitations::domain::role::ROLE_BYTES_MAX;
use invitations::grpc::limits::{
    ECHOED_EMAIL_BYTES_MAX, ECHOED_ID_BYTES_MAX, LARGE_FIELDS_BYTES_MAX,
};
use invitations::proto::invitation_service_client::InvitationServiceClient;
use invitations::proto::{
    AcceptPolicy, BulkCreateRequest, BulkCreateResponse, CreateOutcome, ErrorReason, Invitation,
    InvitationView, NewInvitation, new_invitation,
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
    create_request, created_ids, item, item_without_email, metadata, new_request_id,
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

#[tokio::test]
async fn a_long_address_is_not_repeated_in_the_response() {
    let world = World::start().await;
    let emails = ["x".repeat(ECHOED_EMAIL_BYTES_MAX), "x".repeat(5 << 20)];
    let items = emails.iter().map(|email| item(email));
    let request = create_request(items.collect());
    let results = default_client(&world).bulk_create(request).await;
    let results = results.unwrap().into_inner().results;
    let repeated = results.iter().map(|result| result.email.as_str());
    assert!(repeated.eq([emails[0].as_str(), ""]));
}

#[tokio::test]
async fn large_fields_beyond_the_size_of_a_response_are_omitted_and_named() {
    let issuer = UserIssuer::start().await;
    let world = World::builder().issuers(&issuer.table()).start().await;
    let large = metadata("x", &"y".repeat(8_000));
    let items = (0..400).map(|number| NewInvitation {
        public_metadata: Some(large.clone()),
        private_metadata: Some(large.clone()),
        redirect_url: format!("https://app.example.com/{:0>2000}", ""),
        message: "\u{1f600}".repeat(500),
        accept_policy: AcceptPolicy::InvitedEmail.into(),
        ..item_without_email(&format!("{number}@b.co"))
    });
    let request = BulkCreateRequest {
        request_id: new_request_id(),
        ..create_request(items.collect())
    };
    let mut client = default_client(&world);
    let created = client.bulk_create(request.clone()).await.unwrap();
    let again = client.bulk_create(request).await.unwrap();
    assert!(created.get_ref() == again.get_ref());
    let ids = created_ids(created.get_ref());
    let found = client.bulk_get(bulk_get_request(&ids)).await.unwrap();
    let created = created.into_inner().results.into_iter();
    let found = found.into_inner().results.into_iter();
    for invitations in [
        created.map(|it| it.invitation.unwrap()).collect::<Vec<_>>(),
        found.map(|it| it.invitation.unwrap()).collect(),
    ] {
        let names = BTreeSet::from([
            "message",
            "private_metadata",
            "public_metadata",
            "redirect_url",
        ]);
        assert_eq!(omitted_fields(&invitations), names);
        let complete = invitations.iter().filter(|it| it.omitted_fields.is_none());
        let bytes = complete.map(Invitation::encoded_len);
        let bytes: usize = bytes.sum();
        assert!(
            (LARGE_FIELDS_BYTES_MAX * 9 / 10..LARGE_FIELDS_BYTES_MAX * 11 / 10).contains(&bytes)
        );
        assert!(invitations.iter().all(|it| !it.email.is_empty()));
    }
    // A user learns nothing about private metadata.
    let found = world.client_of(&issuer.token(&world, "ada"));
    let found = found
        .clone()
        .bulk_get(bulk_get_request(&ids))
        .await
        .unwrap();
    let found = found.into_inner().results.into_iter();
    let found: Vec<_> = found.map(|it| it.invitation.unwrap()).collect();
    let names = BTreeSet::from(["message", "public_metadata", "redirect_url"]);
    assert_eq!(omitted_fields(&found), names);
    let read = world.get(&ids[399]).await;
    assert!(read.omitted_fields.is_none() && read.private_metadata == Some(large));
}

/// An address of 57 characters.
fn usual_email(number: usize) -> String {
    format!("{number:0>40}@mail.example.com")
}

#[tokio::test]
async fn ten_thousand_full_results_reach_a_client_with_default_limits() {
    let mut world = World::start().await;
    world.may_leave_mail();
    assert_eq!(usual_email(0).len(), 57);
    let text = metadata("team", &"x".repeat(238));
    let items = (0..10_000).map(|number| NewInvitation {
        public_metadata: Some(text.clone()),
        ..item(&usual_email(number))
    });
    let request = BulkCreateRequest {
        request_id: new_request_id(),
        ..create_request(items.collect())
    };
    let mut client = default_client(&world);
    let first = client.bulk_create(request.clone()).await.unwrap();
    let first = first.into_inner();
    let again = client.bulk_create(request.clone()).await.unwrap();
    assert!(again.into_inner() == first);
    let ids = created_ids(&first);
    let bytes = first.encoded_len();
    assert!((3_900_000..CLIENT_BYTES_MAX).contains(&bytes), "{bytes}");
    let complete = first.results[0].invitation.clone().unwrap();
    assert!(complete.public_metadata == Some(text) && complete.omitted_fields.is_none());
    let last = &first.results[9_999];
    assert!(last.email.is_empty());
    let last = last.invitation.clone().unwrap();
    assert!(last.email.is_empty() && last.expire_time.is_some());
    assert_eq!(last.omitted_fields.unwrap().paths, ["*"]);
    // Nothing changes, so that each call returns every invitation.
    let other = BulkCreateRequest {
        request_id: new_request_id(),
        ..request
    };
    let exists = client.bulk_create(other).await.unwrap().into_inner();
    assert_eq!(exists.failed_count, 10_000);
    let found = client.bulk_get(bulk_get_request(&ids)).await.unwrap();
    let mut resend = bulk_resend_request(&ids);
    resend.validate_only = true;
    let resent = client.bulk_resend(resend).await.unwrap();
    let revoked = client.bulk_revoke(bulk_revoke_request(&ids)).await.unwrap();
    for bytes in [
        exists.encoded_len(),
        found.get_ref().encoded_len(),
        resent.get_ref().encoded_len(),
        revoked.get_ref().encoded_len(),
    ] {
        assert!((3_000_000..CLIENT_BYTES_MAX).contains(&bytes), "{bytes}");
    }
}
