//! Erasing an address while other calls, workers and reports concern the same address.

use std::collections::BTreeSet;

use invitations::proto::{
    BulkCreateRequest, CreateOutcome, DeliveryState, ErrorReason, InvitationState,
};
use invitations::service::{Feedback, FeedbackKind, FeedbackOutcome, RecordFeedback};
use invitations::store::settlements::Settlement;

use super::{CANARY, NOTHING, counts, personal_item, places_of, state_of};
use crate::support::feedback::feedback;
use crate::support::other_worker::ClaimedMessage;
use crate::support::{ACME, KEY_2, OTHER, START, World, created, item_reason, reason};

#[tokio::test]
async fn concurrent_erasures_of_both_addresses_of_a_user_remove_the_name() {
    let world = World::start().await;
    for round in 0..10 {
        let emails = [format!("one{round}@b.co"), format!("two{round}@b.co")];
        let emails = [emails[0].as_str(), emails[1].as_str()];
        world.add_user("u-1", "Two Addresses", &emails).await;
        let (one, two) = tokio::join!(
            world.erase_address(emails[0], false),
            world.erase_address(emails[1], false)
        );
        assert_eq!(one.nameless_user_count + two.nameless_user_count, 1);
    }
    let mut database = world.database().await;
    let name: String = sqlx::query_scalar("SELECT name FROM users WHERE id = 'u-1'")
        .fetch_one(&mut database)
        .await
        .unwrap();
    assert_eq!(name, "");
}

#[tokio::test]
async fn a_concurrent_accept_succeeds_or_fails_and_leaves_no_address() {
    let mut world = World::start().await;
    let (mut won, mut lost) = (0, 0);
    for round in 0..20 {
        let (email, user) = (format!("person{round}@b.co"), format!("user{round}"));
        let (invitation, token) = world.invite_one(&email).await;
        let (accepted, erased) = tokio::join!(
            world.accept(&token, &user, &email),
            world.erase_address(&email, false)
        );
        assert_eq!(erased.erased_invitation_count, 1);
        let (state, left) = state_of(&world, &invitation.id).await;
        assert_eq!(left, "");
        if accepted.is_ok() {
            assert_eq!(
                (state, erased.revoked_invitation_count),
                (InvitationState::Accepted, 0)
            );
            won += 1;
        } else {
            assert_eq!(
                (state, erased.revoked_invitation_count),
                (InvitationState::Revoked, 1)
            );
            let refused = reason(accepted);
            assert!(
                ["INVITATION_REVOKED", "TOKEN_INVALID"].contains(&refused.as_str()),
                "{refused}"
            );
            lost += 1;
        }
        assert_eq!(places_of(&world, &email).await, BTreeSet::new());
        let members = world
            .count(&format!("memberships WHERE user_id = '{user}'"))
            .await;
        assert_eq!(members == 1, state == InvitationState::Accepted);
    }
    assert_eq!(won + lost, 20);
}

#[tokio::test]
async fn invitations_created_during_an_erasure_are_not_sent_and_the_next_erasure_removes_them() {
    let mut world = World::start().await;
    for round in 0..10 {
        let email = format!("person{round}@b.co");
        let calls = (0..4).map(|number| {
            let mut client = world.client();
            let (organization_id, inviter) = [(ACME, "ada"), (OTHER, "eve")][number % 2];
            let request = BulkCreateRequest {
                organization_id: organization_id.to_owned(),
                inviter_user_id: inviter.to_owned(),
                invitations: vec![personal_item(&email)],
                ..Default::default()
            };
            async move { client.bulk_create(request).await.unwrap().into_inner() }
        });
        let (answers, erased) = tokio::join!(
            futures::future::join_all(calls),
            world.erase_address(&email, true)
        );
        let made = answers
            .iter()
            .filter(|it| it.results[0].outcome() == CreateOutcome::Created)
            .count();
        world.deliver_all().await;
        assert!(world.mailbox().is_empty());
        let again = world.erase_address(&email, true).await;
        let total = erased.erased_invitation_count + again.erased_invitation_count;
        assert_eq!(total, i64::try_from(made).unwrap());
        assert_eq!(places_of(&world, &email).await, BTreeSet::new());
        assert_eq!(counts(&world.erase_address(&email, true).await), NOTHING);
    }
}

#[tokio::test]
async fn a_claimed_message_of_an_erased_address_stores_no_address_and_is_not_retried() {
    let mut world = World::start().await;
    let invitation = created(&world.invite(&[CANARY]).await.results[0]);
    let claimed = ClaimedMessage::claim(&world).await;
    let erased = world.erase_address(CANARY, false).await;
    // A message that a worker has claimed is not canceled.
    assert_eq!(
        (
            erased.revoked_invitation_count,
            erased.canceled_message_count
        ),
        (1, 0)
    );
    let deferred = Settlement::Deferred {
        next_attempt_at: START,
        is_counted: true,
        error: "the canary is busy".to_owned(),
        reply_code: Some(451),
    };
    assert!(claimed.settle(&world, deferred).await);
    assert_eq!(places_of(&world, "canary").await, BTreeSet::new());
    // The retry claims the message and cancels it.
    assert_eq!(world.deliver_all().await, 1);
    assert!(world.mailbox().is_empty());
    let delivery = world.delivery(&invitation.id).await;
    assert_eq!(delivery.state(), DeliveryState::Canceled);
}

#[tokio::test]
async fn a_bounce_reported_after_the_erasure_suppresses_the_address() {
    let mut world = World::start().await;
    let (invitation, _) = world.invite_one("Canary.Person@example.com").await;
    world.erase_address(CANARY, false).await;
    let bounce = || Feedback {
        text: "no canary here".to_owned(),
        reply_code: Some(550),
        ..feedback(&invitation.id, FeedbackKind::HardBounce)
    };
    // A process without the key of the tag does not write to the suppression list, because it could not find the entry.
    let newer = world.service_with_keys(KEY_2);
    let outcome = newer.run(RecordFeedback(bounce())).await.unwrap();
    assert_eq!(outcome, FeedbackOutcome::Recorded);
    assert_eq!(world.count("suppressions").await, 0);
    let outcome = world.service.run(RecordFeedback(bounce())).await.unwrap();
    assert_eq!(outcome, FeedbackOutcome::Recorded);
    let answer = world.invite(&[CANARY]).await;
    assert_eq!(
        item_reason(&answer.results[0]),
        ErrorReason::EmailSuppressed
    );
    assert_eq!(places_of(&world, "canary").await, BTreeSet::new());
    let delivery = world.delivery(&invitation.id).await;
    assert_eq!(delivery.state(), DeliveryState::Bounced);
}
