//! `List`: the invitations of an organization with the newest first, and its filters.

use invitations::proto::{
    BulkCreateRequest, DeliveryState, InvitationFilter, InvitationState, InvitationView,
    ListRequest,
};
use time::Duration;
use tonic::Code;

use crate::support::relay::SmtpStep;
use crate::support::{
    ACME, OTHER, World, create_request, created_ids, field_violations, invite_request,
    item_without_email, list_request,
};

/// The addresses of the invitations that match a request, which must fit on one page.
pub(crate) async fn listed_emails(world: &World, request: &ListRequest) -> Vec<String> {
    let page = world.list(request.clone()).await;
    assert!(page.next_page_token.is_empty(), "there is another page");
    let invitations = page.invitations.into_iter();
    invitations.map(|invitation| invitation.email).collect()
}

/// Invites addresses without emails. Returns the id of the batch.
pub(crate) async fn invite_without_email(world: &World, emails: &[&str]) -> String {
    let items = emails.iter().map(|email| item_without_email(email));
    let response = world.bulk_create(create_request(items.collect())).await;
    assert_eq!(response.failed_count, 0);
    response.batch_id
}

#[tokio::test]
async fn invitations_are_listed_newest_first_across_batches() {
    let world = World::start().await;
    assert!(listed_emails(&world, &list_request()).await.is_empty());
    for batch in [
        ["a1@b.co", "a2@b.co"],
        ["b1@b.co", "b2@b.co"],
        ["c1@b.co", "c2@b.co"],
    ] {
        invite_without_email(&world, &batch).await;
        world.clock.advance(Duration::milliseconds(1));
    }
    let expected = [
        "c2@b.co", "c1@b.co", "b2@b.co", "b1@b.co", "a2@b.co", "a1@b.co",
    ];
    assert_eq!(listed_emails(&world, &list_request()).await, expected);
    let other = ListRequest {
        organization_id: OTHER.to_owned(),
        ..list_request()
    };
    assert!(listed_emails(&world, &other).await.is_empty());
}

#[tokio::test]
async fn filters_select_invitations_alone_and_in_combination() {
    let mut world = World::start().await;
    world.add_user("bob", "Bob", &[]).await;
    world.add_member(ACME, "bob", "admin").await;
    let quiet =
        invite_without_email(&world, &["quiet@b.co", "revoked@b.co", "declined@b.co"]).await;
    let mailed = world.invite(&["mailed@b.co", "accepted@b.co"]).await;
    world.deliver_all().await;
    let token = world.mail_to("accepted@b.co").token();
    world.accept(&token, "new", "accepted@b.co").await.unwrap();
    let revoked = ListRequest {
        filter: Some(invitations::proto::InvitationFilter {
            email: Some("REVOKED@B.CO".to_owned()),
            ..Default::default()
        }),
        ..list_request()
    };
    let revoked = world.list(revoked).await.invitations.remove(0);
    world.revoke(&revoked.id).await;
    // The invitations above expire in 30 days, and this one a day later.
    world.clock.advance(Duration::days(1));
    let late = BulkCreateRequest {
        inviter_user_id: "bob".to_owned(),
        ..invite_request(&["late@xn--bcher-kva.example"])
    };
    world.bulk_create(late).await;

    let state = |state: InvitationState| ListRequest {
        filter: Some(invitations::proto::InvitationFilter {
            states: vec![state.into()],
            ..Default::default()
        }),
        ..list_request()
    };
    let delivery = |state: DeliveryState| ListRequest {
        filter: Some(invitations::proto::InvitationFilter {
            delivery_states: vec![state.into()],
            ..Default::default()
        }),
        ..list_request()
    };
    let email = |email: &str| ListRequest {
        filter: Some(invitations::proto::InvitationFilter {
            email: Some(email.to_owned()),
            ..Default::default()
        }),
        ..list_request()
    };
    let inviter = |id: &str| ListRequest {
        filter: Some(invitations::proto::InvitationFilter {
            inviter_user_id: Some(id.to_owned()),
            ..Default::default()
        }),
        ..list_request()
    };
    let batch = |id: &str| ListRequest {
        filter: Some(invitations::proto::InvitationFilter {
            batch_id: Some(id.to_owned()),
            ..Default::default()
        }),
        ..list_request()
    };
    let late = "late@xn--bcher-kva.example";
    let pending_of_quiet = ListRequest {
        filter: Some(invitations::proto::InvitationFilter {
            states: vec![InvitationState::Pending.into()],
            inviter_user_id: Some("ada".to_owned()),
            delivery_states: vec![DeliveryState::NotRequested.into()],
            batch_id: Some(quiet),
            ..Default::default()
        }),
        ..list_request()
    };
    let nothing = ListRequest {
        filter: Some(invitations::proto::InvitationFilter {
            email: Some("quiet@b.co".to_owned()),
            inviter_user_id: Some("bob".to_owned()),
            ..Default::default()
        }),
        ..list_request()
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
        assert_eq!(
            listed_emails(&world, request).await,
            *expected,
            "filter {number}"
        );
    }
    // The invitations expire without the sweeper.
    world.clock.advance(Duration::days(29));
    let expired = ["mailed@b.co", "declined@b.co", "quiet@b.co"];
    assert_eq!(
        listed_emails(&world, &state(InvitationState::Expired)).await,
        expired
    );
    assert_eq!(
        listed_emails(&world, &state(InvitationState::Pending)).await,
        [late]
    );
    assert!(listed_emails(&world, &pending_of_quiet).await.is_empty());
    world.service.sweep().await.unwrap();
    assert_eq!(
        listed_emails(&world, &state(InvitationState::Expired)).await,
        expired
    );
    world.deliver_all().await;
}

#[tokio::test]
async fn a_filter_selects_several_states_and_several_delivery_states() {
    let mut world = World::start().await;
    world.relay.reply_once(SmtpStep::Rcpt, "550 5.7.1 no");
    let failed = created_ids(&world.invite(&["failed@b.co"]).await);
    world.deliver_all().await;
    world.invite(&["sent@b.co", "revoked@b.co"]).await;
    world.deliver_all().await;
    let revoked = world.mail_to("revoked@b.co").token();
    world.decline(&revoked).await.unwrap();
    world.invite(&["sending@b.co"]).await;
    world
        .execute(
            "UPDATE outbox SET state = 'sending', lease_token = gen_random_uuid(), lease_until = '2100-01-01'
              WHERE state = 'queued'",
        )
        .await;
    world.may_leave_mail();
    invite_without_email(&world, &["quiet@b.co"]).await;
    world.revoke(&failed[0]).await;
    let filtered = async |states: &[InvitationState], delivery_states: &[DeliveryState]| {
        let filter = InvitationFilter {
            states: states.iter().map(|state| (*state).into()).collect(),
            delivery_states: delivery_states
                .iter()
                .map(|state| (*state).into())
                .collect(),
            ..Default::default()
        };
        let request = ListRequest {
            filter: Some(filter),
            ..list_request()
        };
        listed_emails(&world, &request).await
    };
    let ended = [InvitationState::Revoked, InvitationState::Declined];
    assert_eq!(filtered(&ended, &[]).await, ["revoked@b.co", "failed@b.co"]);
    let sent_or_failed = [DeliveryState::Failed, DeliveryState::Sent];
    let expected = ["revoked@b.co", "sent@b.co", "failed@b.co"];
    assert_eq!(filtered(&[], &sent_or_failed).await, expected);
    assert_eq!(
        filtered(&[InvitationState::Revoked], &sent_or_failed).await,
        ["failed@b.co"]
    );
    // Only the queue knows that an email is being sent.
    let sending = [DeliveryState::Sending, DeliveryState::NotRequested];
    assert_eq!(
        filtered(&[], &sending).await,
        ["quiet@b.co", "sending@b.co"]
    );
    let queued = [DeliveryState::Queued, DeliveryState::NotRequested];
    assert_eq!(filtered(&[], &queued).await, ["quiet@b.co"]);
    let both = [DeliveryState::Queued, DeliveryState::Sending];
    assert_eq!(filtered(&[], &both).await, ["sending@b.co"]);
}

#[tokio::test]
async fn a_page_token_is_bound_to_the_filter_and_not_to_the_view() {
    let world = World::start().await;
    invite_without_email(&world, &["a@b.co", "b@b.co"]).await;
    let request = ListRequest {
        page_size: 1,
        ..list_request()
    };
    let token = world.list(request.clone()).await.next_page_token;
    let other_view = ListRequest {
        page_token: token,
        view: InvitationView::Full.into(),
        // A filter without any field is no filter.
        filter: Some(InvitationFilter::default()),
        ..request
    };
    assert_eq!(listed_emails(&world, &other_view).await, ["a@b.co"]);
}

#[tokio::test]
async fn a_refusal_lists_every_malformed_filter() {
    let world = World::start().await;
    let request = ListRequest {
        page_size: -1,
        page_token: "x".to_owned(),
        filter: Some(invitations::proto::InvitationFilter {
            states: vec![99],
            delivery_states: vec![-1],
            email: Some("no address".to_owned()),
            inviter_user_id: Some("a b".to_owned()),
            batch_id: Some("7".to_owned()),
        }),
        ..list_request()
    };
    let status = world.client().list(request).await.err().unwrap();
    assert_eq!(status.code(), Code::InvalidArgument);
    let expected = [
        ("page_size", "FIELD_INVALID"),
        ("filter.states", "FIELD_INVALID"),
        ("filter.delivery_states", "FIELD_INVALID"),
        ("filter.email", "EMAIL_INVALID"),
        ("filter.batch_id", "FIELD_INVALID"),
        ("filter.inviter_user_id", "FIELD_INVALID"),
        ("page_token", "PAGE_TOKEN_INVALID"),
    ]
    .map(|(field, reason)| (field.to_owned(), reason.to_owned()));
    assert_eq!(field_violations(&status), expected);
}
