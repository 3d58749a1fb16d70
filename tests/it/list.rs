//! List: an organization's invitations, newest first, in pages and through filters.

use invitations::proto::{
    BulkCreateRequest, DeliveryState, InvitationState, ListRequest, ListResponse, NewInvitation,
    RevokeRequest,
};
use time::Duration;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::harness::{ACME, OTHER, World, invite_request, item, reason};

fn everything() -> ListRequest {
    ListRequest {
        organization_id: ACME.to_owned(),
        ..Default::default()
    }
}

async fn list(world: &World, request: &ListRequest) -> Result<ListResponse, Status> {
    let answer = world.client().list(request.clone()).await?;
    Ok(answer.into_inner())
}

/// The addresses on one page.
async fn emails(world: &World, request: &ListRequest) -> Vec<String> {
    let page = list(world, request).await.unwrap();
    assert!(page.next_page_token.is_empty(), "there is more");
    let invitations = page.invitations.into_iter();
    invitations.map(|invitation| invitation.email).collect()
}

/// Invites without mails; returns the batch.
async fn invite_quietly(world: &World, emails: &[&str]) -> String {
    let invitations = emails.iter().map(|email| NewInvitation {
        notify: Some(false),
        ..item(email)
    });
    let request = BulkCreateRequest {
        invitations: invitations.collect(),
        ..invite_request(&[])
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
async fn pages_show_each_of_2500_once_while_new_ones_are_made() {
    let world = World::start().await;
    let names: Vec<String> = (0..2_500)
        .map(|number| format!("old{number}@b.co"))
        .collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    // Not one batch, so that pages do not end where batches do.
    for batch in names.chunks(700) {
        invite_quietly(&world, batch).await;
        world.clock.advance(Duration::seconds(1));
    }
    let mut newest_first: Vec<String> = names.iter().rev().map(|name| (*name).to_owned()).collect();
    for (page_size, seen_size) in [(0, 100), (999, 999), (1_000_000, 1_000)] {
        let expected = newest_first.clone();
        let mut request = ListRequest {
            page_size,
            ..everything()
        };
        let (mut seen, mut sizes) = (Vec::new(), Vec::new());
        loop {
            let page = list(&world, &request).await.unwrap();
            sizes.push(page.invitations.len());
            seen.extend(page.invitations.into_iter().map(|found| found.email));
            if page.next_page_token.is_empty() {
                break;
            }
            request.page_token = page.next_page_token;
            let new = format!("new{page_size}-{}@b.co", seen.len());
            invite_quietly(&world, &[&new]).await;
            newest_first.insert(0, new);
        }
        assert!(seen == expected, "each once, and none that came later");
        let last = sizes.pop().unwrap();
        assert!(sizes.iter().all(|size| *size == seen_size) && last <= seen_size);
    }
    let request = ListRequest {
        page_size: -1,
        ..everything()
    };
    let status = list(&world, &request).await.err().unwrap();
    assert_eq!(status.code(), Code::InvalidArgument);
    assert_eq!(reason(Err::<(), _>(status)), "FIELD_INVALID");
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
async fn a_page_token_opens_the_list_it_came_from_alone() {
    let world = World::start().await;
    let batch_id = invite_quietly(&world, &["1@b.co", "2@b.co", "3@b.co"]).await;
    let first = ListRequest {
        page_size: 1,
        state: InvitationState::Pending.into(),
        ..everything()
    };
    let token = list(&world, &first).await.unwrap().next_page_token;
    let next = ListRequest {
        page_token: token.clone(),
        ..first
    };
    let resized = ListRequest {
        page_size: 2,
        ..next.clone()
    };
    assert_eq!(emails(&world, &resized).await, ["2@b.co", "1@b.co"]);

    let changed = |change: fn(&mut String)| {
        let mut request = next.clone();
        change(&mut request.page_token);
        request
    };
    let elsewhere = |change: &dyn Fn(&mut ListRequest)| {
        let mut request = next.clone();
        change(&mut request);
        request
    };
    let foreign = [
        changed(|token| token.truncate(20)),
        changed(|token| token.push('A')),
        changed(|token| {
            let first = if token.remove(0) == 'A' { 'B' } else { 'A' };
            token.insert(0, first);
        }),
        changed(|token| "x".clone_into(token)),
        changed(|token| "\u{1f600}".clone_into(token)),
        elsewhere(&|request| request.state = 0),
        elsewhere(&|request| request.state = InvitationState::Accepted.into()),
        elsewhere(&|request| request.delivery_state = DeliveryState::NotRequested.into()),
        elsewhere(&|request| "1@b.co".clone_into(&mut request.email)),
        elsewhere(&|request| "ada".clone_into(&mut request.inviter_user_id)),
        elsewhere(&|request| request.batch_id.clone_from(&batch_id)),
        elsewhere(&|request| OTHER.clone_into(&mut request.organization_id)),
    ];
    for (number, request) in foreign.iter().enumerate() {
        let status = list(&world, request).await.err().unwrap();
        assert_eq!(status.code(), Code::InvalidArgument, "{number}");
        assert_eq!(
            reason(Err::<(), _>(status)),
            "PAGE_TOKEN_INVALID",
            "{number}"
        );
    }
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
