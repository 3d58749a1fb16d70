//! Events: each thing that can happen to an invitation is told once, with the invitation and the batch it happened to.

use std::collections::BTreeSet;

use invitations::domain::bounce_address::SentMail;
use invitations::proto::{
    DeclineRequest, EraseAddressRequest, Event, EventType, NewInvitation, RequeueRequest,
    ResendRequest, RevokeRequest, new_invitation,
};
use invitations::service::{Feedback, FeedbackKind, FeedbackSource, RecordFeedback};
use time::Duration;
use uuid::Uuid;

use crate::features::watch::{Watching, acme};
use crate::support::relay::SmtpStep;
use crate::support::{ACME, World, create_request, created, item};

/// A world, what is told in it, and how much of that a test has looked at.
struct Scene {
    world: World,
    watching: Watching,
    seen: usize,
}

/// An invitation and its batch.
#[derive(Clone)]
struct Invited {
    id: String,
    batch_id: String,
}

impl Scene {
    async fn start() -> Self {
        let world = World::start().await;
        let watching = Watching::begin(world.client(), acme()).await;
        Self {
            world,
            watching,
            seen: 0,
        }
    }

    /// Fails unless just these came, each of this invitation.
    async fn expect(&mut self, invited: &Invited, types: &[EventType]) {
        self.watching.until(self.seen + types.len()).await;
        let told: Vec<&Event> = self.watching.events[self.seen..].iter().collect();
        let found: Vec<_> = told.iter().map(|event| event.r#type()).collect();
        assert_eq!(found, types);
        for event in told {
            assert_eq!(event.invitation_id, invited.id);
            assert_eq!(event.batch_id, invited.batch_id);
        }
        self.seen = self.watching.events.len();
    }

    /// Invites somebody, for four days, with a reminder two days before: a watch bears no silence of a week.
    async fn invite(&mut self, email: &str) -> Invited {
        let seconds = |days: i64| prost_types::Duration {
            seconds: 86_400 * days,
            nanos: 0,
        };
        let mut request = create_request(vec![]);
        request.invitations = vec![NewInvitation {
            expiry: Some(new_invitation::Expiry::Ttl(seconds(4))),
            reminder_lead: Some(seconds(2)),
            ..item(email)
        }];
        let answer = self.world.client().bulk_create(request).await.unwrap();
        let answer = answer.into_inner();
        let invited = Invited {
            id: created(&answer.results[0]).id,
            batch_id: answer.batch_id,
        };
        self.expect(&invited, &[EventType::Created]).await;
        invited
    }

    /// Invites somebody whose mail arrives.
    async fn reach(&mut self, email: &str) -> (Invited, String) {
        let invited = self.invite(email).await;
        self.world.deliver_all().await;
        self.expect(&invited, &[EventType::Sent]).await;
        (invited, self.world.mail_to(email).token())
    }

    async fn report(&self, invited: &Invited, kind: FeedbackKind) {
        let feedback = Feedback {
            mail: SentMail {
                invitation_id: Uuid::parse_str(&invited.id).unwrap(),
                send_seq: 1,
            },
            kind,
            text: String::new(),
            reply_code: None,
            source: FeedbackSource::Dsn,
            event_id: Uuid::new_v4().to_string(),
        };
        self.world
            .service
            .run(RecordFeedback(feedback.clone()))
            .await
            .unwrap();
    }

    async fn revoke(&self, invited: &Invited) {
        let request = RevokeRequest {
            organization_id: ACME.to_owned(),
            invitation_id: invited.id.clone(),
            user_id: String::new(),
        };
        self.world.client().revoke(request).await.unwrap();
    }
}

#[tokio::test]
async fn every_type_comes_once_with_its_invitation_and_batch() {
    let mut scene = Scene::start().await;

    let (accepted, token) = scene.reach("accepted@b.co").await;
    let email = "accepted@b.co";
    scene.world.accept(&token, "new", email).await.unwrap();
    scene.expect(&accepted, &[EventType::Accepted]).await;
    // A repetition is no event.
    scene.world.accept(&token, "new", email).await.unwrap();

    let (declined, token) = scene.reach("declined@b.co").await;
    let request = DeclineRequest {
        token,
        suppress: false,
    };
    scene.world.client().decline(request).await.unwrap();
    scene.expect(&declined, &[EventType::Declined]).await;

    let (bounced, _) = scene.reach("bounced@b.co").await;
    scene.report(&bounced, FeedbackKind::HardBounce).await;
    scene.expect(&bounced, &[EventType::Bounced]).await;
    scene.report(&bounced, FeedbackKind::HardBounce).await;

    let (complained, _) = scene.reach("complained@b.co").await;
    scene.report(&complained, FeedbackKind::Complaint).await;
    scene.expect(&complained, &[EventType::Complained]).await;

    let deferred = scene.invite("deferred@b.co").await;
    scene
        .world
        .relay
        .reply_once(SmtpStep::Rcpt, "450 4.7.1 try again later");
    scene.world.deliver_all().await;
    scene.expect(&deferred, &[EventType::Deferred]).await;
    // Deferred once more is no event.
    scene
        .world
        .relay
        .reply_once(SmtpStep::Rcpt, "450 4.7.1 try again later");
    scene.world.clock.advance(Duration::hours(1));
    assert_eq!(scene.world.deliver_all().await, 1);
    scene.revoke(&deferred).await;
    scene.expect(&deferred, &[EventType::Revoked]).await;

    let failed = scene.invite("failed@b.co").await;
    scene
        .world
        .relay
        .reply_once(SmtpStep::Rcpt, "554 5.7.1 not from you");
    scene.world.deliver_all().await;
    scene.expect(&failed, &[EventType::Failed]).await;
    let request = RequeueRequest {
        organization_id: ACME.to_owned(),
        invitation_ids: vec![failed.id.clone()],
        all_dead: false,
    };
    scene.world.mails_of("all").requeue(request).await.unwrap();
    scene.expect(&failed, &[EventType::Requeued]).await;
    scene.world.deliver_all().await;
    scene.expect(&failed, &[EventType::Sent]).await;

    let suppressed = scene.invite("suppressed@b.co").await;
    crate::features::suppression::add(&scene.world, ACME, &["suppressed@b.co"]).await;
    scene.world.deliver_all().await;
    scene.expect(&suppressed, &[EventType::Suppressed]).await;

    let (erased, _) = scene.reach("erased@b.co").await;
    let request = EraseAddressRequest {
        email: "erased@b.co".to_owned(),
        suppress: false,
    };
    scene
        .world
        .directory()
        .erase_address(request)
        .await
        .unwrap();
    scene.expect(&erased, &[EventType::Revoked]).await;

    let (resent, _) = scene.reach("resent@b.co").await;
    let request = ResendRequest {
        organization_id: ACME.to_owned(),
        invitation_id: resent.id.clone(),
        ..Default::default()
    };
    scene.world.client().resend(request).await.unwrap();
    scene.expect(&resent, &[EventType::Resent]).await;
    scene.world.deliver_all().await;
    scene.expect(&resent, &[EventType::Sent]).await;
    scene.revoke(&resent).await;
    scene.expect(&resent, &[EventType::Revoked]).await;

    reminded_and_expired(&mut scene).await;
    let told: BTreeSet<i32> = scene.watching.events.iter().map(|it| it.r#type).collect();
    // A mail is canceled by its invitation's end, which is the event.
    let expected: BTreeSet<i32> = (1..=15)
        .filter(|number| *number != i32::from(EventType::Canceled))
        .collect();
    assert_eq!(told, expected);
    crate::features::get_batch::assert_counts(&scene.world).await;
}

async fn reminded_and_expired(scene: &mut Scene) {
    for email in [
        "failed@b.co",
        "suppressed@b.co",
        "bounced@b.co",
        "complained@b.co",
    ] {
        let request = EraseAddressRequest {
            email: email.to_owned(),
            suppress: false,
        };
        scene
            .world
            .directory()
            .erase_address(request)
            .await
            .unwrap();
        scene.watching.until(scene.seen + 1).await;
        scene.seen += 1;
    }
    let (reminded, _) = scene.reach("reminded@b.co").await;
    scene.world.clock.advance(Duration::days(2));
    assert_eq!(scene.world.service.remind().await.unwrap(), 1);
    scene.expect(&reminded, &[EventType::Reminded]).await;
    scene.world.deliver_all().await;
    scene.expect(&reminded, &[EventType::Sent]).await;
    scene.world.clock.advance(Duration::days(3));
    scene.world.service.sweep().await.unwrap();
    scene.expect(&reminded, &[EventType::Expired]).await;
}

#[tokio::test]
async fn a_mail_that_nobody_wants_any_more_is_told_where_its_invitation_does_not_say_it() {
    let mut scene = Scene::start().await;
    let invited = scene.invite("a@b.co").await;
    // Its organization goes while the mail is queued: the end of the invitation says it all.
    let request = invitations::proto::DeleteOrganizationRequest {
        organization_id: ACME.to_owned(),
    };
    let deleted = scene.world.directory().delete_organization(request).await;
    deleted.unwrap();
    scene.expect(&invited, &[EventType::Revoked]).await;
    assert_eq!(scene.world.deliver_all().await, 0);
    crate::features::get_batch::assert_counts(&scene.world).await;
}
