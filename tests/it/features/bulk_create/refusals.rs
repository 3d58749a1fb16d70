//! Items and calls that `BulkCreate` refuses, and the violations that it reports.

use invitations::proto::{
    BulkCreateRequest, CreateResult, ErrorReason, NewInvitation, Organization, new_invitation,
};
use prost_types::{Duration, Timestamp};
use tonic::Code;
use tonic_types::StatusExt as _;

use super::emails;
use crate::support::directory::organization;
use crate::support::{
    ACME, World, create_request, created, field_violations, invite_request, item, item_reason,
    metadata, reason, status_reason,
};

/// An item with as many violations as possible.
fn invalid_item() -> NewInvitation {
    let long = "x".repeat(9_000);
    NewInvitation {
        email: "plain".to_owned(),
        role: "root".to_owned(),
        inviter_user_id: "nobody".to_owned(),
        redirect_url: "https://evil.example".to_owned(),
        public_metadata: Some(metadata("x", &long)),
        private_metadata: Some(metadata("x", &long)),
        expiration: Some(new_invitation::Expiration::ExpireTime(Timestamp {
            seconds: 0,
            nanos: 0,
        })),
        locale: "de_DE".to_owned(),
        message: "https://evil.example".to_owned(),
        accept_policy: 99,
        notify: None,
        key: String::new(),
        reminder_lead: Some(Duration {
            seconds: 60,
            nanos: 0,
        }),
    }
}

fn violations(result: &CreateResult) -> Vec<(&str, ErrorReason)> {
    let violations = result.error.as_ref().unwrap().violations.iter();
    violations
        .map(|violation| (violation.field.as_str(), violation.reason()))
        .collect()
}

#[tokio::test]
async fn a_response_lists_every_violation_of_every_item() {
    let world = World::start().await;
    let items = vec![
        invalid_item(),
        NewInvitation {
            role: "admin".to_owned(),
            inviter_user_id: "grace".to_owned(),
            ..item("a@b.co")
        },
        NewInvitation {
            message: "www.evil.example".to_owned(),
            ..item("GRACE@example.com")
        },
    ];
    let results = world.bulk_create(create_request(items)).await.results;
    let expected = [
        ("email", ErrorReason::EmailInvalid),
        ("role", ErrorReason::RoleUnknown),
        ("redirect_url", ErrorReason::RedirectUrlInvalid),
        ("public_metadata", ErrorReason::MetadataTooLarge),
        ("private_metadata", ErrorReason::MetadataTooLarge),
        ("expire_time", ErrorReason::ExpiryOutOfRange),
        ("locale", ErrorReason::LocaleInvalid),
        ("message", ErrorReason::MessageInvalid),
        ("accept_policy", ErrorReason::FieldInvalid),
        ("reminder_lead", ErrorReason::FieldInvalid),
        ("inviter_user_id", ErrorReason::InviterNotFound),
    ];
    assert_eq!(violations(&results[0]), expected);
    let expected = [
        ("inviter_user_id", ErrorReason::InviterCannotInvite),
        ("role", ErrorReason::RoleNotGrantable),
    ];
    assert_eq!(violations(&results[1]), expected);
    let expected = [
        ("message", ErrorReason::MessageInvalid),
        ("email", ErrorReason::AlreadyMember),
    ];
    assert_eq!(violations(&results[2]), expected);
}

#[tokio::test]
async fn a_refused_atomic_call_lists_every_violation_in_its_status() {
    let world = World::start().await;
    let items = vec![
        NewInvitation {
            role: "root".to_owned(),
            ..item("plain")
        },
        item("fine@b.co"),
        NewInvitation {
            message: "www.evil.example".to_owned(),
            ..item("GRACE@example.com")
        },
    ];
    let request = BulkCreateRequest {
        atomic: true,
        ..create_request(items)
    };
    let status = world.client().bulk_create(request).await.err().unwrap();
    assert_eq!(status.code(), Code::InvalidArgument);
    assert_eq!(status_reason(&status), "ITEMS_FAILED");
    let details = status.get_error_details();
    let metadata = &details.error_info().unwrap().metadata;
    assert_eq!(metadata["violation_count"], "4");
    let expected = [
        ("invitations[0].email", "EMAIL_INVALID"),
        ("invitations[0].role", "ROLE_UNKNOWN"),
        ("invitations[2].message", "MESSAGE_INVALID"),
        ("invitations[2].email", "ALREADY_MEMBER"),
    ]
    .map(|(field, reason)| (field.to_owned(), reason.to_owned()));
    assert_eq!(field_violations(&status), expected);
}

#[tokio::test]
async fn an_atomic_call_with_a_failing_item_creates_nothing() {
    let world = World::start().await;
    let mut request = invite_request(&emails(0..50));
    request.atomic = true;
    request.invitations[49].email = "GRACE@Example.com".to_owned();
    let status = world
        .client()
        .bulk_create(request.clone())
        .await
        .err()
        .unwrap();
    assert_eq!(
        status.code(),
        Code::FailedPrecondition,
        "no item is malformed, but one is a member"
    );
    request.invitations[49].email = "person49@example.com".to_owned();
    request.validate_only = true;
    let response = world.bulk_create(request).await;
    assert_eq!(
        response.succeeded_count, 50,
        "the refused call left nothing behind"
    );
}

#[tokio::test]
async fn an_organization_can_restrict_email_domains_and_roles() {
    let world = World::start().await;
    let restricted = Organization {
        roles: crate::support::directory::roles_named(&["viewer", "editor"]),
        default_role: Some("viewer".to_owned()),
        allowed_email_domains: vec!["b.co".to_owned()],
        ..organization(ACME, "Acme Engines")
    };
    world.upsert_organization(restricted).await;
    let mut request = invite_request(&["a@b.co", "a@c.co", "b@b.co"]);
    request.invitations[2].role = "member".to_owned();
    request.validate_only = true;
    let results = world.bulk_create(request).await.results;
    assert_eq!(created(&results[0]).role, "viewer");
    assert_eq!(item_reason(&results[1]), ErrorReason::DomainNotAllowed);
    assert_eq!(item_reason(&results[2]), ErrorReason::RoleUnknown);
}

#[tokio::test]
async fn only_callers_with_the_link_scope_get_links() {
    let mut world = World::start().await;
    let mut request = invite_request(&["a@b.co", "broken"]);
    request.invitations[0].notify = Some(false);
    request.return_link = true;
    let mut limited = world.client_of("only-invitations:write");
    let answer = limited.bulk_create(request.clone()).await;
    assert_eq!(reason(answer), "SCOPE_MISSING");
    let results = world.bulk_create(request).await.results;
    let token = results[0]
        .link
        .strip_prefix("https://app.example.com/join#token=")
        .unwrap();
    assert_eq!(results[1].link, "");
    let accepted = world.accept(token, "new", "a@b.co").await.unwrap();
    assert_eq!(accepted.membership.unwrap().user_id, "new");
    assert_eq!(world.deliver_all().await, 0);
}
