//! List: an organization's invitations, newest first, in pages and through filters.

use invitations::proto::{
    BulkCreateRequest, DeliveryState, InvitationState, ListRequest, ListResponse, NewInvitation,
    RevokeRequest,
};
use time::Duration;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::support::{ACME, OTHER, World, create_request, invite_request, item};

pub(crate) fn everything() -> ListRequest {
    ListRequest {
        organization_id: ACME.to_owned(),
        ..Default::default()
    }
}

pub(crate) async fn list(world: &World, request: &ListRequest) -> Result<ListResponse, Status> {
    let answer = world.client().list(request.clone()).await?;
    Ok(answer.into_inner())
}

/// The addresses on one page.
pub(crate) async fn emails(world: &World, request: &ListRequest) -> Vec<String> {
    let page = list(world, request).await.unwrap();
    assert!(page.next_page_token.is_empty(), "there is more");
    let invitations = page.invitations.into_iter();
    invitations.map(|invitation| invitation.email).collect()
}

/// Invites without mails; returns the batch.
pub(crate) async fn invite_quietly(world: &World, emails: &[&str]) -> String {
    let invitations = emails.iter().map(|email| NewInvitation {
        notify: Some(false),
        ..item(email)
    });
    let request = BulkCreateRequest {
        invitations: invitations.collect(),
        ..create_request(vec![])
    };
    let answer = world.client().bulk_create(request).await.unwrap();
    let answer = answer.into_inner();
    assert_eq!(answer.failed_count, 0);
    answer.batch_id
}

#[tokio::test]
async fn the_newest_come_first_over_all_batches() {
    let world = World::start().await;
    assert!(emails(&world, &everything()).await.is_empty());
    for batch in [
        ["a1@b.co", "a2@b.co"],
        ["b1@b.co", "b2@b.co"],
        ["c1@b.co", "c2@b.co"],
    ] {
        invite_quietly(&world, &batch).await;
        world.clock.advance(Duration::milliseconds(1));
    }
    let expected = [
        "c2@b.co", "c1@b.co", "b2@b.co", "b1@b.co", "a2@b.co", "a1@b.co",
    ];
    assert_eq!(emails(&world, &everything()).await, expected);
    let other = ListRequest {
        organization_id: OTHER.to_owned(),
        ..Default::default()
    };
    assert!(emails(&world, &other).await.is_empty());
}

#[tokio::test]
async fn filters_narrow_alone_and_together() {
    let mut world = World::start().await;
    world.add_user("bob", "Bob", &[]).await;
    world.add_member(ACME, "bob", "admin").await;
    let quiet = invite_quietly(&world, &["quiet@b.co", "revoked@b.co", "declined@b.co"]).await;
    let mailed = world.invite(&["mailed@b.co", "accepted@b.co"]).await;
    world.deliver_all().await;
    let (request, token) = (everything(), world.mail_to("accepted@b.co").token());
    world.accept(&token, "new", "accepted@b.co").await.unwrap();
    let revoked = ListRequest {
        email: "REVOKED@B.CO".to_owned(),
        ..request.clone()
    };
    let revoked = list(&world, &revoked).await.unwrap().invitations.remove(0);
    let revoke = RevokeRequest {
        organization_id: ACME.to_owned(),
        invitation_id: revoked.id,
        user_id: String::new(),
    };
    world.client().revoke(revoke).await.unwrap();
    // All of those expire in 30 days, and this one later.
    world.clock.advance(Duration::days(1));
    let late = BulkCreateRequest {
        inviter_user_id: "bob".to_owned(),
        ..invite_request(&["late@xn--bcher-kva.example"])
    };
    world.client().bulk_create(late).await.unwrap();

    let state = |state: InvitationState| ListRequest {
        state: state.into(),
        ..everything()
    };
    let delivery = |state: DeliveryState| ListRequest {
        delivery_state: state.into(),
        ..everything()
    };
    let email = |email: &str| ListRequest {
        email: email.to_owned(),
        ..everything()
    };
    let inviter = |id: &str| ListRequest {
        inviter_user_id: id.to_owned(),
        ..everything()
    };
    let batch = |id: &str| ListRequest {
        batch_id: id.to_owned(),
        ..everything()
    };
    let late = "late@xn--bcher-kva.example";
    let pending_of_quiet = ListRequest {
        state: InvitationState::Pending.into(),
        inviter_user_id: "ada".to_owned(),
        delivery_state: DeliveryState::NotRequested.into(),
        ..batch(&quiet)
    };
    let nothing = ListRequest {
        email: "quiet@b.co".to_owned(),
        ..inviter("bob")
    };
    let before: [(ListRequest, &[&str]); 14] = [
        (state(InvitationState::Accepted), &["accepted@b.co"]),
        (state(InvitationState::Revoked), &["revoked@b.co"]),
        (state(InvitationState::Declined), &[]),
        (state(InvitationState::Expired), &[]),
        (
            state(InvitationState::Pending),
            &[late, "mailed@b.co", "declined@b.co", "quiet@b.co"],
        ),
        (
            delivery(DeliveryState::Sent),
            &["accepted@b.co", "mailed@b.co"],
        ),
        (delivery(DeliveryState::Queued), &[late]),
        (delivery(DeliveryState::Failed), &[]),
        (email(" Late@B\u{fc}cher.example"), &[late]),
        (inviter("bob"), &[late]),
        (batch(&mailed.batch_id), &["accepted@b.co", "mailed@b.co"]),
        (pending_of_quiet.clone(), &["declined@b.co", "quiet@b.co"]),
        (nothing, &[]),
        (inviter("nobody"), &[]),
    ];
    for (number, (request, expected)) in before.iter().enumerate() {
        assert_eq!(emails(&world, request).await, *expected, "filter {number}");
    }
    // By the clock alone: nothing has swept.
    world.clock.advance(Duration::days(29));
    let expired = ["mailed@b.co", "declined@b.co", "quiet@b.co"];
    assert_eq!(
        emails(&world, &state(InvitationState::Expired)).await,
        expired
    );
    assert_eq!(
        emails(&world, &state(InvitationState::Pending)).await,
        [late]
    );
    assert!(emails(&world, &pending_of_quiet).await.is_empty());
    world.service.sweep().await.unwrap();
    assert_eq!(
        emails(&world, &state(InvitationState::Expired)).await,
        expired
    );
    world.deliver_all().await;
}

#[tokio::test]
async fn every_malformed_filter_is_named_at_once() {
    let world = World::start().await;
    let request = ListRequest {
        page_size: -1,
        page_token: "x".to_owned(),
        state: 99,
        delivery_state: -1,
        email: "nobody".to_owned(),
        inviter_user_id: "a b".to_owned(),
        batch_id: "7".to_owned(),
        ..everything()
    };
    let status = list(&world, &request).await.err().unwrap();
    assert_eq!(status.code(), Code::InvalidArgument);
    let details = status.get_error_details();
    let violations = &details.bad_request().unwrap().field_violations;
    let fields: Vec<_> = violations
        .iter()
        .map(|violation| (violation.field.as_str(), violation.reason.as_str()))
        .collect();
    let expected = [
        ("page_size", "FIELD_INVALID"),
        ("state", "FIELD_INVALID"),
        ("delivery_state", "FIELD_INVALID"),
        ("email", "EMAIL_INVALID"),
        ("batch_id", "FIELD_INVALID"),
        ("inviter_user_id", "FIELD_INVALID"),
        ("page_token", "PAGE_TOKEN_INVALID"),
    ];
    assert_eq!(fields, expected);
}
