//! Events: each change of an invitation is one event, with the ids of the invitation and its batch.

use std::collections::BTreeSet;

use invitations::proto::{InvitationEvent, InvitationEventType, NewInvitation, new_invitation};
use invitations::service::{FeedbackKind, RecordFeedback};
use time::Duration;

use crate::support::batch_counts::assert_batch_counts;
use crate::support::feedback::feedback;
use crate::support::relay::SmtpStep;
use crate::support::watch_stream::{WatchStream, watch_request};
use crate::support::{ACME, World, create_request, created, item, requeue_request};

/// A world, a watch of ACME, and how many of its events the test has checked.
struct WatchedWorld {
    world: World,
    watching: WatchStream,
    seen: usize,
}

/// The ids of an invitation and its batch.
#[derive(Clone)]
struct InvitationIds {
    id: String,
    batch_id: String,
}

impl WatchedWorld {
    async fn start() -> Self {
        let world = World::start().await;
        let watching = WatchStream::begin(world.client(), watch_request()).await;
        Self {
            world,
            watching,
            seen: 0,
        }
    }

    /// Fails unless the next events are exactly these, each of this invitation.
    async fn expect(&mut self, invited: &InvitationIds, types: &[InvitationEventType]) {
        self.watching.wait_for_events(self.seen + types.len()).await;
        let events: Vec<&InvitationEvent> = self.watching.events[self.seen..].iter().collect();
        let found: Vec<_> = events.iter().map(|event| event.r#type()).collect();
        assert_eq!(found, types);
        for event in events {
            assert_eq!(event.invitation_id, invited.id);
            assert_eq!(event.batch_id, invited.batch_id);
        }
        self.seen = self.watching.events.len();
    }

    /// Invites an address for four days, with a reminder two days before the end. The time is short because a watch
    /// ends after a week without events.
    async fn invite(&mut self, email: &str) -> InvitationIds {
        let seconds = |days: i64| prost_types::Duration {
            seconds: 86_400 * days,
            nanos: 0,
        };
        let item = NewInvitation {
            expiration: Some(new_invitation::Expiration::Ttl(seconds(4))),
            reminder_lead: Some(seconds(2)),
            ..item(email)
        };
        let answer = self.world.bulk_create(create_request(vec![item])).await;
        let invited = InvitationIds {
            id: created(&answer.results[0]).id,
            batch_id: answer.batch_id,
        };
        self.expect(&invited, &[InvitationEventType::Created]).await;
        invited
    }

    /// Invites an address and delivers the message. Returns the token of its link as well.
    async fn invite_and_deliver(&mut self, email: &str) -> (InvitationIds, String) {
        let invited = self.invite(email).await;
        self.world.deliver_all().await;
        self.expect(&invited, &[InvitationEventType::Sent]).await;
        (invited, self.world.mail_to(email).token())
    }

    async fn report(&self, invited: &InvitationIds, kind: FeedbackKind) {
        let feedback = feedback(&invited.id, kind);
        self.world
            .service
            .run(RecordFeedback(feedback))
            .await
            .unwrap();
    }

    async fn revoke(&self, invited: &InvitationIds) {
        self.world.revoke(&invited.id).await;
    }

    async fn erase(&self, email: &str) {
        self.world.erase_address(email, false).await;
    }
}

#[tokio::test]
async fn each_type_of_event_is_written_once_with_its_invitation_and_batch() {
    let mut watched = WatchedWorld::start().await;

    let (accepted, token) = watched.invite_and_deliver("accepted@b.co").await;
    let email = "accepted@b.co";
    watched.world.accept(&token, "new", email).await.unwrap();
    watched
        .expect(&accepted, &[InvitationEventType::Accepted])
        .await;
    // A repeated accept writes no event.
    watched.world.accept(&token, "new", email).await.unwrap();

    let (declined, token) = watched.invite_and_deliver("declined@b.co").await;
    watched.world.decline(&token).await.unwrap();
    watched
        .expect(&declined, &[InvitationEventType::Declined])
        .await;

    let (bounced, _) = watched.invite_and_deliver("bounced@b.co").await;
    watched.report(&bounced, FeedbackKind::HardBounce).await;
    watched
        .expect(&bounced, &[InvitationEventType::Bounced])
        .await;
    watched.report(&bounced, FeedbackKind::HardBounce).await;

    let (complained, _) = watched.invite_and_deliver("complained@b.co").await;
    watched.report(&complained, FeedbackKind::Complaint).await;
    watched
        .expect(&complained, &[InvitationEventType::Complained])
        .await;

    let deferred = watched.invite("deferred@b.co").await;
    watched
        .world
        .relay
        .reply_once(SmtpStep::Rcpt, "450 4.7.1 try again later");
    watched.world.deliver_all().await;
    watched
        .expect(&deferred, &[InvitationEventType::Deferred])
        .await;
    // A second deferral writes no event.
    watched
        .world
        .relay
        .reply_once(SmtpStep::Rcpt, "450 4.7.1 try again later");
    watched.world.clock.advance(Duration::hours(1));
    assert_eq!(watched.world.deliver_all().await, 1);
    watched.revoke(&deferred).await;
    watched
        .expect(&deferred, &[InvitationEventType::Revoked])
        .await;

    let failed = watched.invite("failed@b.co").await;
    watched
        .world
        .relay
        .reply_once(SmtpStep::Rcpt, "554 5.7.1 not from you");
    watched.world.deliver_all().await;
    watched
        .expect(&failed, &[InvitationEventType::Failed])
        .await;
    let request = requeue_request(&[&failed.id]);
    watched
        .world
        .mails()
        .requeue_messages(request)
        .await
        .unwrap();
    watched
        .expect(&failed, &[InvitationEventType::Requeued])
        .await;
    watched.world.deliver_all().await;
    watched.expect(&failed, &[InvitationEventType::Sent]).await;

    let suppressed = watched.invite("suppressed@b.co").await;
    watched.world.suppress(ACME, &["suppressed@b.co"]).await;
    watched.world.deliver_all().await;
    watched
        .expect(&suppressed, &[InvitationEventType::Suppressed])
        .await;

    let (erased, _) = watched.invite_and_deliver("erased@b.co").await;
    watched.erase("erased@b.co").await;
    watched
        .expect(&erased, &[InvitationEventType::Revoked])
        .await;

    let (resent, _) = watched.invite_and_deliver("resent@b.co").await;
    watched.world.resend(&resent.id).await;
    watched
        .expect(&resent, &[InvitationEventType::Resent])
        .await;
    watched.world.deliver_all().await;
    watched.expect(&resent, &[InvitationEventType::Sent]).await;
    watched.revoke(&resent).await;
    watched
        .expect(&resent, &[InvitationEventType::Revoked])
        .await;

    reminded_and_expired(&mut watched).await;
    let seen: BTreeSet<i32> = watched.watching.events.iter().map(|it| it.r#type).collect();
    // A message is canceled because its invitation ended, and that end is the event.
    let expected: BTreeSet<i32> = (1..=15)
        .filter(|number| *number != i32::from(InvitationEventType::Canceled))
        .collect();
    assert_eq!(seen, expected);
    assert_batch_counts(&watched.world).await;
}

async fn reminded_and_expired(watched: &mut WatchedWorld) {
    for email in [
        "failed@b.co",
        "suppressed@b.co",
        "bounced@b.co",
        "complained@b.co",
    ] {
        watched.erase(email).await;
        watched.watching.wait_for_events(watched.seen + 1).await;
        watched.seen += 1;
    }
    let (reminded, _) = watched.invite_and_deliver("reminded@b.co").await;
    watched.world.clock.advance(Duration::days(2));
    assert_eq!(watched.world.service.remind().await.unwrap(), 1);
    watched
        .expect(&reminded, &[InvitationEventType::Reminded])
        .await;
    watched.world.deliver_all().await;
    watched
        .expect(&reminded, &[InvitationEventType::Sent])
        .await;
    watched.world.clock.advance(Duration::days(3));
    watched.world.service.sweep().await.unwrap();
    watched
        .expect(&reminded, &[InvitationEventType::Expired])
        .await;
}

#[tokio::test]
async fn deleting_an_organization_writes_one_event_for_each_pending_invitation() {
    let mut watched = WatchedWorld::start().await;
    let invited = watched.invite("a@b.co").await;
    // The deletion of the organization ends the invitation and cancels its message.
    watched.world.delete_organization().await;
    watched
        .expect(&invited, &[InvitationEventType::Revoked])
        .await;
    assert_eq!(watched.world.deliver_all().await, 0);
    assert_batch_counts(&watched.world).await;
}
