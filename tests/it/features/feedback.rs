//! Reports about sent messages: each report counts once, and the order of the reports does not matter.

use invitations::domain::actor::Actor;
use invitations::proto::{Delivery, DeliveryState, ErrorReason, Invitation, ListRequest};
use invitations::service::{
    Feedback, FeedbackKind, FeedbackOutcome, FeedbackSource, RecordFeedback,
};
use invitations::store::settlements::Settlement;
use time::Duration;

use crate::support::feedback::{feedback, sent_mail, unsubscribe_token};
use crate::support::other_worker::ClaimedMessage;
use crate::support::relay::{RelayAction, SmtpStep};
use crate::support::{KEY_2, KEYS, START, UNKNOWN_ID, World, created, item_reason, list_request};

use FeedbackKind::{Bounce, Complaint, Delay, HardBounce};
use FeedbackOutcome::{KnownAlready, Recorded, UnknownMail};

fn reader() -> Actor {
    Actor::from_outside("http:unsubscribe")
}

/// A report with the text `KIND text`.
fn feedback_on(invitation: &Invitation, kind: FeedbackKind) -> Feedback {
    Feedback {
        text: format!("{kind:?} text"),
        reply_code: match kind {
            HardBounce => Some(550),
            Bounce => Some(554),
            Delay => Some(452),
            Complaint => None,
        },
        ..feedback(&invitation.id, kind)
    }
}

async fn report(world: &World, feedback: &Feedback) -> FeedbackOutcome {
    world
        .service
        .run(RecordFeedback(feedback.clone()))
        .await
        .unwrap()
}

async fn delivery(world: &World, invitation: &Invitation) -> Delivery {
    world.delivery(&invitation.id).await
}

/// The organization and reason of each suppression, sorted.
async fn suppressions(world: &World) -> Vec<String> {
    let mut database = world.database().await;
    sqlx::query_scalar("SELECT organization_id || reason FROM suppressions ORDER BY 1")
        .fetch_all(&mut database)
        .await
        .unwrap()
}

#[tokio::test]
async fn a_hard_bounce_shows_in_the_delivery_and_suppresses_the_address() {
    let mut world = World::start().await;
    let (invitation, _) = world.invite_one("a@b.co").await;
    world.clock.advance(Duration::hours(1));
    let bounce = feedback_on(&invitation, HardBounce);
    assert_eq!(report(&world, &bounce).await, Recorded);
    let shown = delivery(&world, &invitation).await;
    assert_eq!(shown.state(), DeliveryState::Bounced);
    assert_eq!(shown.last_error, "HardBounce text");
    assert_eq!(shown.last_reply_code, 550);
    assert_eq!(shown.send_time.unwrap().seconds, START.unix_timestamp());
    assert_eq!(suppressions(&world).await, ["hard_bounce"]);
    let request = ListRequest {
        filter: Some(invitations::proto::InvitationFilter {
            delivery_states: vec![DeliveryState::Bounced.into()],
            ..Default::default()
        }),
        ..list_request()
    };
    let page = world.list(request).await;
    assert_eq!(page.invitations.len(), 1);
    let again = world.invite(&["a@b.co"]).await;
    assert_eq!(item_reason(&again.results[0]), ErrorReason::AlreadyInvited);

    let complaint = feedback_on(&invitation, Complaint);
    assert_eq!(report(&world, &complaint).await, Recorded);
    let shown = delivery(&world, &invitation).await;
    assert_eq!(shown.state(), DeliveryState::Complained);
    assert_eq!(shown.last_error, "Complaint text");
    assert_eq!(suppressions(&world).await, ["complaint"]);
}

#[tokio::test]
async fn reports_in_any_order_have_the_same_effect() {
    let mut world = World::start().await;
    let orders = [
        [Delay, Bounce, HardBounce, Complaint],
        [Delay, Complaint, HardBounce, Bounce],
        [HardBounce, Delay, Bounce, Complaint],
        [HardBounce, Bounce, Complaint, Delay],
        [Bounce, Complaint, Delay, HardBounce],
        [Complaint, HardBounce, Bounce, Delay],
    ];
    for order in orders {
        let (invitation, _) = world.invite_one("a@b.co").await;
        for kind in order {
            assert_eq!(
                report(&world, &feedback_on(&invitation, kind)).await,
                Recorded
            );
        }
        let shown = delivery(&world, &invitation).await;
        assert_eq!(shown.state(), DeliveryState::Complained, "{order:?}");
        assert_eq!(shown.last_error, "Complaint text", "{order:?}");
        assert_eq!(suppressions(&world).await, ["complaint"], "{order:?}");
        world.revoke(&invitation.id).await;
        world.lift_suppression("", "a@b.co").await;
    }
}

#[tokio::test]
async fn a_delay_shows_its_text_and_changes_nothing_else() {
    let mut world = World::start().await;
    let (invitation, _) = world.invite_one("a@b.co").await;
    report(&world, &feedback_on(&invitation, Delay)).await;
    let shown = delivery(&world, &invitation).await;
    assert_eq!(shown.state(), DeliveryState::Sent);
    assert_eq!(
        (shown.last_error.as_str(), shown.last_reply_code),
        ("Delay text", 452)
    );
    assert!(suppressions(&world).await.is_empty());
    report(&world, &feedback_on(&invitation, HardBounce)).await;
    report(&world, &feedback_on(&invitation, Delay)).await;
    let shown = delivery(&world, &invitation).await;
    assert_eq!(shown.state(), DeliveryState::Bounced);
    assert_eq!(shown.last_error, "HardBounce text");
}

/// Such a bounce has a cause like a full mailbox, a policy or a size limit. An operator removes the cause and resends.
#[tokio::test]
async fn a_bounce_that_is_not_hard_shows_and_does_not_suppress_the_address() {
    let mut world = World::start().await;
    let (invitation, _) = world.invite_one("a@b.co").await;
    for kind in [Delay, Bounce, Delay] {
        assert_eq!(
            report(&world, &feedback_on(&invitation, kind)).await,
            Recorded
        );
    }
    let shown = delivery(&world, &invitation).await;
    assert_eq!(shown.state(), DeliveryState::Bounced);
    assert_eq!(
        (shown.last_error.as_str(), shown.last_reply_code),
        ("Bounce text", 554)
    );
    assert!(suppressions(&world).await.is_empty());
    // A hard bounce replaces the bounce, and a later bounce does not replace the hard bounce.
    for kind in [HardBounce, Bounce] {
        report(&world, &feedback_on(&invitation, kind)).await;
        let shown = delivery(&world, &invitation).await;
        assert_eq!(shown.last_error, "HardBounce text", "{kind:?}");
        assert_eq!(suppressions(&world).await, ["hard_bounce"]);
    }
    world.lift_suppression("", "a@b.co").await;
    world.clock.advance(Duration::hours(1));
    world.resend(&invitation.id).await;
    world.deliver_all().await;
    let shown = delivery(&world, &invitation).await;
    assert_eq!(shown.state(), DeliveryState::Sent);
    assert_eq!(shown.last_error, "");
}

#[tokio::test]
async fn a_repeated_report_counts_once() {
    let mut world = World::start().await;
    let (invitation, _) = world.invite_one("a@b.co").await;
    let bounce = feedback_on(&invitation, HardBounce);
    let reports = (0..8).map(|_| report(&world, &bounce));
    let outcomes = futures::future::join_all(reports).await;
    let recorded = outcomes.iter().filter(|one| **one == Recorded).count();
    assert_eq!(recorded, 1, "{outcomes:?}");
    assert_eq!(
        outcomes.iter().filter(|one| **one == KnownAlready).count(),
        7
    );
    // After the suppression was lifted, a repeated report does not suppress again.
    world.lift_suppression("", "a@b.co").await;
    assert_eq!(report(&world, &bounce).await, KnownAlready);
    assert!(suppressions(&world).await.is_empty());
    // Another source may use the same event id.
    let of_another = Feedback {
        source: FeedbackSource::Postmark,
        ..bounce.clone()
    };
    assert_eq!(report(&world, &of_another).await, Recorded);
    world.lift_suppression("", "a@b.co").await;

    // Event ids are remembered for a week.
    for (days, expected) in [(6, KnownAlready), (1, Recorded)] {
        world.clock.advance(Duration::days(days));
        world.service.sweep().await.unwrap();
        assert_eq!(report(&world, &bounce).await, expected);
    }
}

#[tokio::test]
async fn a_report_that_failed_to_commit_counts_when_it_is_repeated() {
    let mut world = World::start().await;
    let (invitation, _) = world.invite_one("a@b.co").await;
    let bounce = feedback_on(&invitation, HardBounce);
    world
        .execute("ALTER TABLE suppressions ADD CONSTRAINT closed CHECK (false)")
        .await;
    world
        .service
        .run(RecordFeedback(bounce.clone()))
        .await
        .unwrap_err();
    assert_eq!(
        delivery(&world, &invitation).await.state(),
        DeliveryState::Sent
    );
    world
        .execute("ALTER TABLE suppressions DROP CONSTRAINT closed")
        .await;
    assert_eq!(report(&world, &bounce).await, Recorded);
    assert_eq!(
        delivery(&world, &invitation).await.state(),
        DeliveryState::Bounced
    );
    assert_eq!(suppressions(&world).await, ["hard_bounce"]);
}

#[tokio::test]
async fn a_report_of_an_unknown_message_changes_nothing() {
    let mut world = World::start().await;
    let (invitation, _) = world.invite_one("a@b.co").await;
    for (invitation_id, send_seq) in [
        (invitation.id.as_str(), 0),
        (invitation.id.as_str(), 2),
        (invitation.id.as_str(), -1),
        (UNKNOWN_ID, 1),
    ] {
        let unknown = Feedback {
            mail: sent_mail(invitation_id, send_seq),
            ..feedback_on(&invitation, Complaint)
        };
        for _ in 0..2 {
            assert_eq!(report(&world, &unknown).await, UnknownMail);
        }
    }
    assert_eq!(
        delivery(&world, &invitation).await.state(),
        DeliveryState::Sent
    );
    assert!(suppressions(&world).await.is_empty());
}

#[tokio::test]
async fn a_report_of_an_older_message_suppresses_and_does_not_change_the_newer_delivery() {
    let mut world = World::start().await;
    let (invitation, _) = world.invite_one("a@b.co").await;
    world.resend(&invitation.id).await;
    world.deliver_all().await;
    report(&world, &feedback_on(&invitation, HardBounce)).await;
    let shown = delivery(&world, &invitation).await;
    assert_eq!(
        (shown.state(), shown.last_error.as_str()),
        (DeliveryState::Sent, "")
    );
    assert_eq!(suppressions(&world).await, ["hard_bounce"]);
}

#[tokio::test]
async fn a_report_after_the_invitation_was_accepted_suppresses_the_address() {
    let mut world = World::start().await;
    let (invitation, token) = world.invite_one("a@b.co").await;
    world.accept(&token, "new", "a@b.co").await.unwrap();
    assert_eq!(
        report(&world, &feedback_on(&invitation, Complaint)).await,
        Recorded
    );
    let shown = delivery(&world, &invitation).await;
    assert_eq!(shown.state(), DeliveryState::Complained);
    assert_eq!(suppressions(&world).await, ["complaint"]);
}

#[tokio::test]
async fn a_report_before_the_worker_settles_is_not_overwritten() {
    let settlements = [
        (Settlement::Sent, "sent"),
        (
            Settlement::Deferred {
                next_attempt_at: START + Duration::hours(2),
                is_counted: true,
                error: "no answer".to_owned(),
                reply_code: None,
            },
            "queued",
        ),
        (
            Settlement::Dead {
                error: "no answer".to_owned(),
                reply_code: None,
            },
            "dead",
        ),
        (Settlement::Canceled, "canceled"),
    ];
    let mut world = World::start().await;
    for (number, (settlement, outbox_state)) in settlements.into_iter().enumerate() {
        let email = format!("a{number}@b.co");
        let invitation = created(&world.invite(&[&email]).await.results[0]);
        let claimed = ClaimedMessage::claim(&world).await;
        assert_eq!(
            delivery(&world, &invitation).await.state(),
            DeliveryState::Sending
        );
        report(&world, &feedback_on(&invitation, HardBounce)).await;
        // The bounce shows before the worker has settled.
        assert_eq!(
            delivery(&world, &invitation).await.state(),
            DeliveryState::Bounced
        );
        for (state, count) in [(DeliveryState::Sending, 0), (DeliveryState::Bounced, 1)] {
            let request = ListRequest {
                filter: Some(invitations::proto::InvitationFilter {
                    email: Some(email.clone()),
                    delivery_states: vec![state.into()],
                    ..Default::default()
                }),
                ..list_request()
            };
            let page = world.list(request).await;
            assert_eq!(page.invitations.len(), count);
        }
        assert!(claimed.settle(&world, settlement.clone()).await);
        let shown = delivery(&world, &invitation).await;
        assert_eq!(shown.state(), DeliveryState::Bounced, "{settlement:?}");
        assert!(shown.next_attempt_time.is_none(), "{settlement:?}");
        let is_sent = settlement == Settlement::Sent;
        assert_eq!(shown.send_time.is_some(), is_sent, "{settlement:?}");
        let row = format!(
            "outbox WHERE invitation_id = '{}' AND state = '{outbox_state}'",
            invitation.id
        );
        assert_eq!(world.count(&row).await, 1, "{settlement:?}");
    }
    world.may_leave_mail();
}

#[tokio::test]
async fn a_concurrent_report_and_settlement_are_both_recorded() {
    let world = World::start().await;
    for round in 0..30 {
        let email = format!("a{round}@b.co");
        let invitation = created(&world.invite(&[&email]).await.results[0]);
        let claimed = ClaimedMessage::claim(&world).await;
        let kind = if round % 2 == 0 {
            HardBounce
        } else {
            Complaint
        };
        let news = feedback_on(&invitation, kind);
        let (outcome, is_settled) = tokio::join!(
            report(&world, &news),
            claimed.settle(&world, Settlement::Sent)
        );
        assert_eq!((outcome, is_settled), (Recorded, true));
        let shown = delivery(&world, &invitation).await;
        let expected = if round % 2 == 0 {
            DeliveryState::Bounced
        } else {
            DeliveryState::Complained
        };
        assert_eq!(shown.state(), expected);
        assert!(shown.send_time.is_some());
    }
    assert_eq!(suppressions(&world).await.len(), 30);
}

#[tokio::test]
async fn a_message_that_bounced_is_not_retried() {
    let mut world = World::start().await;
    world.relay.act_once(SmtpStep::Message, RelayAction::Close);
    let invitation = created(&world.invite(&["a@b.co"]).await.results[0]);
    world.deliver_all().await;
    let shown = delivery(&world, &invitation).await;
    assert_eq!(shown.state(), DeliveryState::Deferred);
    // The message had arrived nevertheless.
    report(&world, &feedback_on(&invitation, HardBounce)).await;
    let shown = delivery(&world, &invitation).await;
    assert_eq!(shown.state(), DeliveryState::Bounced);
    assert!(shown.next_attempt_time.is_none());
    world.clock.advance(Duration::hours(24));
    assert_eq!(world.deliver_all().await, 0);
}

#[tokio::test]
async fn a_resend_after_the_suppression_was_lifted_resets_the_delivery() {
    let mut world = World::start().await;
    let (invitation, _) = world.invite_one("a@b.co").await;
    report(&world, &feedback_on(&invitation, HardBounce)).await;
    world.lift_suppression("", "a@b.co").await;
    world.resend(&invitation.id).await;
    let shown = delivery(&world, &invitation).await;
    assert_eq!(
        (shown.state(), shown.last_error.as_str()),
        (DeliveryState::Queued, "")
    );
    world.deliver_all().await;
    assert_eq!(
        delivery(&world, &invitation).await.state(),
        DeliveryState::Sent
    );
}

#[tokio::test]
async fn an_address_that_unsubscribed_cannot_be_invited_by_any_organization() {
    let world = World::start().await;
    let token = unsubscribe_token(KEYS, "Ada@b.co");
    assert!(world.service.is_unsubscribe_token(&token));
    assert!(
        suppressions(&world).await.is_empty(),
        "checking the token writes nothing"
    );
    for _ in 0..2 {
        assert!(world.service.unsubscribe(&token, reader()).await.unwrap());
    }
    assert_eq!(suppressions(&world).await, ["unsubscribed"]);
    let refused = world.invite(&["ada@B.CO"]).await;
    assert_eq!(
        item_reason(&refused.results[0]),
        ErrorReason::EmailSuppressed
    );

    let foreign = unsubscribe_token(KEY_2, "Ada@b.co");
    for forged in ["", "x", &token[1..], &foreign] {
        assert!(!world.service.is_unsubscribe_token(forged));
        assert!(!world.service.unsubscribe(forged, reader()).await.unwrap());
    }
    assert_eq!(suppressions(&world).await.len(), 1);
    // A token of a key that no longer signs still works.
    let rotated = world.service_with_keys(&format!("{KEY_2}{KEYS}"));
    assert!(rotated.unsubscribe(&token, reader()).await.unwrap());
    let key_id: i16 = sqlx::query_scalar("SELECT key_id FROM suppressions")
        .fetch_one(&mut world.database().await)
        .await
        .unwrap();
    assert_eq!(key_id, 1);
}
