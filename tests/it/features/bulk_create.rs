//! `BulkCreate`: the outcome of each item, and what a call stores and sends.

mod refusals;

use std::ops::Range;

use invitations::proto::{
    AcceptPolicy, BulkCreateRequest, CreateOutcome, CreateResult, DeliveryState, ErrorReason,
    Invitation, InvitationState, NewInvitation, OnExisting, new_invitation,
};
use prost_types::Duration;
use time::Duration as Span;
use tonic::Code;

use crate::support::{
    ACME, START, World, create_request, created, invite_request, item, item_reason, metadata,
    numbered_emails, reason, run_concurrently,
};

fn emails(numbers: Range<usize>) -> Vec<String> {
    numbered_emails("person", "example.com", numbers)
}

#[tokio::test]
async fn an_invalid_item_fails_without_affecting_the_others() {
    let mut world = World::start().await;
    let mut request = invite_request(&emails(0..1_000));
    for index in (0..1_000).step_by(10) {
        request.invitations[index].email = format!("broken {index}");
    }
    let response = world.bulk_create(request).await;
    assert_eq!(
        (response.succeeded_count, response.failed_count),
        (900, 100)
    );
    for (index, result) in response.results.iter().enumerate() {
        assert_eq!(usize::try_from(result.index).unwrap(), index);
        if index % 10 == 0 {
            assert_eq!(item_reason(result), ErrorReason::EmailInvalid);
            assert_eq!(result.email, format!("broken {index}"));
            assert!(result.invitation.is_none());
        } else {
            let invitation = created(result);
            assert_eq!(invitation.email, format!("person{index}@example.com"));
            assert_eq!(invitation.batch_id, response.batch_id);
        }
    }
    assert_eq!(world.deliver_all().await, 900);
    let mut recipients = world.recipients();
    recipients.dedup();
    assert_eq!(recipients.len(), 900, "each address got exactly one email");
}

#[tokio::test]
async fn a_repeated_call_without_a_request_id_sends_no_second_email() {
    let mut world = World::start().await;
    let request = invite_request(&emails(0..900));
    let first = world.bulk_create(request.clone()).await;
    assert_eq!(first.succeeded_count, 900);
    world.deliver_all().await;
    let second = world.bulk_create(request).await;
    assert_eq!(second.failed_count, 900);
    for (one, other) in first.results.iter().zip(&second.results) {
        assert_eq!(item_reason(other), ErrorReason::AlreadyInvited);
        assert_eq!(
            other.error.as_ref().unwrap().code,
            i32::from(Code::AlreadyExists)
        );
        assert_eq!(
            other.invitation.as_ref().unwrap().id,
            one.invitation.as_ref().unwrap().id
        );
    }
    assert_eq!(world.deliver_all().await, 0);
    assert_eq!(world.mailbox().len(), 900);
}

#[tokio::test]
async fn a_call_accepts_one_to_ten_thousand_items() {
    let mut world = World::start().await;
    world.may_leave_mail();
    let over = world
        .client()
        .bulk_create(invite_request(&emails(0..10_001)))
        .await;
    assert_eq!(reason(over), "TOO_MANY_ITEMS");
    let response = world.bulk_create(invite_request(&emails(0..10_000))).await;
    assert_eq!(response.succeeded_count, 10_000);
    let none = world.client().bulk_create(create_request(vec![])).await;
    assert_eq!(reason(none), "ITEMS_EMPTY");
}

#[tokio::test]
async fn an_invitation_has_every_field_of_its_item() {
    let mut world = World::start().await;
    let item = NewInvitation {
        email: " Barbara.Liskov@Example.com\t".to_owned(),
        role: "admin".to_owned(),
        redirect_url: "https://app.example.com/welcome?x=1".to_owned(),
        public_metadata: Some(metadata("team", "engines")),
        private_metadata: Some(metadata("seat", "7")),
        expiration: Some(new_invitation::Expiration::Ttl(Duration {
            seconds: 7 * 86_400,
            nanos: 0,
        })),
        notify: Some(false),
        locale: "pt-br".to_owned(),
        message: "Welcome!\nSee you.".to_owned(),
        accept_policy: AcceptPolicy::AnyEmail.into(),
        ..Default::default()
    };
    let request = create_request(vec![item]);
    let response = world.bulk_create(request).await;
    let invitation = created(&response.results[0]);
    assert_eq!(response.results[0].email, " Barbara.Liskov@Example.com\t");
    assert_eq!(invitation.email, "Barbara.Liskov@Example.com");
    assert_eq!(
        (invitation.role.as_str(), invitation.state()),
        ("admin", InvitationState::Pending)
    );
    assert_eq!(
        (
            invitation.organization_id.as_str(),
            invitation.organization_name.as_str()
        ),
        (ACME, "Acme Engines")
    );
    assert_eq!(
        (
            invitation.inviter_user_id.as_str(),
            invitation.inviter_name.as_str()
        ),
        ("ada", "Ada Lovelace")
    );
    assert_eq!(
        invitation.redirect_url,
        "https://app.example.com/welcome?x=1"
    );
    assert_eq!(
        invitation.public_metadata,
        Some(metadata("team", "engines"))
    );
    assert_eq!(invitation.private_metadata, Some(metadata("seat", "7")));
    assert_eq!(
        (invitation.locale.as_str(), invitation.message.as_str()),
        ("pt-BR", "Welcome!\nSee you.")
    );
    assert_eq!(invitation.accept_policy(), AcceptPolicy::AnyEmail);
    assert_eq!(
        invitation.expire_time.unwrap().seconds,
        (START + Span::days(7)).unix_timestamp()
    );
    assert_eq!(
        invitation.delivery.as_ref().unwrap().state(),
        DeliveryState::NotRequested
    );
    assert!(!invitation.registered());
    assert!(
        invitation == world.get(&invitation.id).await,
        "the response differs from the stored invitation"
    );
    assert_eq!(world.deliver_all().await, 0, "the item asked for no email");
}

#[tokio::test]
async fn of_several_spellings_of_one_address_only_the_first_is_invited() {
    let mut world = World::start().await;
    let response = world
        .invite(&[
            "a@straße.de",
            "b@b.co",
            " A@STRASSE.de",
            "A@xn--strae-oqa.DE",
            "B@B.co",
        ])
        .await;
    created(&response.results[0]);
    created(&response.results[1]);
    created(&response.results[2]);
    for (index, first) in [(3, "0"), (4, "1")] {
        assert_eq!(
            item_reason(&response.results[index]),
            ErrorReason::DuplicateInRequest
        );
        assert_eq!(
            response.results[index].error.as_ref().unwrap().metadata["first_index"],
            first
        );
    }
    world.deliver_all().await;
    assert_eq!(
        world.recipients(),
        ["A@strasse.de", "a@xn--strae-oqa.de", "b@b.co"]
    );
}

#[tokio::test]
async fn on_existing_decides_what_happens_to_an_address_that_is_already_invited() {
    let mut world = World::start().await;
    let (first, first_token) = world.invite_one("a@b.co").await;
    let again = |on_existing: OnExisting| BulkCreateRequest {
        on_existing: on_existing.into(),
        invitations: vec![
            NewInvitation {
                role: "admin".to_owned(),
                ..item("A@b.co")
            },
            item("new@b.co"),
        ],
        ..create_request(vec![])
    };
    let call = async |world: &World, on_existing: OnExisting| {
        let request = again(on_existing);
        world.bulk_create(request).await.results
    };

    let results = call(&world, OnExisting::Return).await;
    assert_eq!(results[0].outcome(), CreateOutcome::Existing);
    let existing = results[0].invitation.clone().unwrap();
    assert_eq!(
        (existing.id.as_str(), existing.role.as_str()),
        (first.id.as_str(), "member")
    );
    created(&results[1]);
    assert_eq!(
        world.deliver_all().await,
        1,
        "only the new invitation is sent"
    );

    world.clock.advance(Span::hours(1));
    let results = call(&world, OnExisting::Resend).await;
    assert_eq!(
        (results[0].outcome(), results[1].outcome()),
        (CreateOutcome::Resent, CreateOutcome::Resent)
    );
    let resent = results[0].invitation.clone().unwrap();
    assert_eq!(
        (resent.id.as_str(), resent.role.as_str()),
        (first.id.as_str(), "member")
    );
    assert_eq!(
        resent.expire_time.unwrap().seconds,
        first.expire_time.unwrap().seconds + 3_600
    );
    assert_eq!(world.deliver_all().await, 2);
    assert_eq!(
        world.mail_to("a@b.co").token(),
        first_token,
        "the link is the same"
    );

    let results = call(&world, OnExisting::Replace).await;
    assert_eq!(
        (results[0].outcome(), results[1].outcome()),
        (CreateOutcome::Replaced, CreateOutcome::Replaced)
    );
    let replacing = results[0].invitation.clone().unwrap();
    assert_ne!(replacing.id, first.id);
    assert_eq!(replacing.role, "admin");
    assert_eq!(world.get(&first.id).await.state(), InvitationState::Revoked);
    assert_eq!(world.deliver_all().await, 2);
    assert_eq!(
        reason(world.accept(&first_token, "new", "a@b.co").await),
        "INVITATION_REVOKED"
    );
}

fn without_ids(result: &CreateResult) -> Option<Invitation> {
    let invitation = result.invitation.clone()?;
    Some(Invitation {
        id: String::new(),
        batch_id: String::new(),
        ..invitation
    })
}

#[tokio::test]
async fn a_dry_run_predicts_the_response_and_does_nothing() {
    let mut world = World::start().await;
    world.invite_one("invited@b.co").await;
    let request = BulkCreateRequest {
        request_id: "019aacd0-0000-7000-8000-000000000001".to_owned(),
        ..invite_request(&[
            "new@b.co",
            "invited@b.co",
            "grace@example.com",
            "broken",
            "NEW@b.co",
        ])
    };
    let dry = BulkCreateRequest {
        validate_only: true,
        ..request.clone()
    };
    let predicted = world.bulk_create(dry.clone()).await;
    assert_eq!(predicted.batch_id, "");
    assert_eq!(predicted.results[0].invitation.as_ref().unwrap().id, "");
    assert_eq!(world.deliver_all().await, 0);

    let real = world.bulk_create(request).await;
    for (one, other) in predicted.results.iter().zip(&real.results) {
        assert_eq!(one.outcome(), other.outcome());
        assert!(one.error == other.error);
        assert!(without_ids(one) == without_ids(other));
    }
    assert_eq!(world.deliver_all().await, 1);
    let after = world.bulk_create(dry).await;
    assert!(after == real, "the response of a repeated call");
}

#[tokio::test]
async fn an_address_can_be_invited_again_after_its_invitation_expired() {
    let mut world = World::start().await;
    let (first, _) = world.invite_one("a@b.co").await;
    world.clock.advance(Span::days(31));
    let second = created(&world.invite(&["a@b.co"]).await.results[0]);
    assert_ne!(first.id, second.id);
    assert_eq!(world.get(&first.id).await.state(), InvitationState::Expired);
    world.deliver_all().await;
}

#[tokio::test]
async fn concurrent_batches_in_opposite_order_invite_each_address_once() {
    let mut world = World::start().await;
    let forward = emails(0..300);
    let backward: Vec<String> = forward.iter().rev().cloned().collect();
    let calls = (0..16).map(|number| {
        let mut client = world.client();
        let request = invite_request(if number % 2 == 0 { &forward } else { &backward });
        async move { client.bulk_create(request).await.unwrap().into_inner() }
    });
    let mut succeeded_count = 0;
    for answer in run_concurrently(calls).await {
        succeeded_count += answer.succeeded_count;
        let others = answer
            .results
            .iter()
            .filter(|result| result.outcome() != CreateOutcome::Created);
        for result in others {
            assert_eq!(item_reason(result), ErrorReason::AlreadyInvited);
            assert!(result.invitation.is_some());
        }
    }
    assert_eq!(succeeded_count, 300);
    assert_eq!(world.deliver_all().await, 300);
}
