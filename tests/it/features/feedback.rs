//! What the receiving side reports of mails: each report counts once, in whatever order they come.

use invitations::domain::actor::Actor;
use invitations::domain::address_tag::AddressTagger;
use invitations::domain::bounce_address::SentMail;
use invitations::domain::email_address::EmailAddress;
use invitations::domain::keyring::Keyring;
use invitations::domain::unsubscribe_token;
use invitations::proto::{
    Delivery, DeliveryState, ErrorReason, Invitation, ListRequest, ResendRequest,
};
use invitations::service::{
    Feedback, FeedbackKind, FeedbackOutcome, FeedbackSource, RecordFeedback,
};
use invitations::store::Connection;
use invitations::store::outbox::{self, Lease, MailKey};
use invitations::store::settlements::{self, Settled, Settlement};
use sqlx::PgConnection;
use time::Duration;
use uuid::Uuid;

use crate::features::suppression::{KEY_2, lift};
use crate::support::relay::{RelayAction, SmtpStep};
use crate::support::{ACME, KEYS, START, World, created, item_reason};

use FeedbackKind::{Bounce, Complaint, Delay, HardBounce};
use FeedbackOutcome::{KnownAlready, Recorded, UnknownMail};

fn reader() -> Actor {
    Actor::from_outside("http:unsubscribe")
}

fn feedback(invitation: &Invitation, kind: FeedbackKind) -> Feedback {
    Feedback {
        mail: SentMail {
            invitation_id: Uuid::parse_str(&invitation.id).unwrap(),
            send_seq: 1,
        },
        kind,
        text: format!("{kind:?} it is"),
        reply_code: match kind {
            HardBounce => Some(550),
            Bounce => Some(554),
            Delay => Some(452),
            Complaint => None,
        },
        source: FeedbackSource::Dsn,
        event_id: Uuid::new_v4().to_string(),
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
    world.get(&invitation.id).await.delivery.unwrap()
}

/// The reasons on the list, in their order.
async fn suppressions(world: &World) -> Vec<String> {
    let mut database = world.database().await;
    sqlx::query_scalar("SELECT organization_id || reason FROM suppressions ORDER BY 1")
        .fetch_all(&mut database)
        .await
        .unwrap()
}

async fn resend(world: &World, invitation: &Invitation) {
    let request = ResendRequest {
        organization_id: ACME.to_owned(),
        invitation_id: invitation.id.clone(),
        ..Default::default()
    };
    world.client().resend(request).await.unwrap();
}

/// Claims the one mail that is due, as a worker does.
async fn claim(world: &World) -> (outbox::MailKey, Uuid) {
    let mut database = world.database().await;
    let lease = Lease {
        token: Uuid::new_v4(),
        until: START + Duration::hours(1),
    };
    let [claimed] = outbox::claim(&mut Connection::new(&mut database), 10, lease, START)
        .await
        .unwrap()
        .try_into()
        .unwrap();
    (claimed.key, lease.token)
}

#[tokio::test]
async fn a_bounced_mail_shows_and_its_address_is_not_mailed_again() {
    let mut world = World::start().await;
    let (invitation, _) = world.invite_one("a@b.co").await;
    world.clock.advance(Duration::hours(1));
    let bounce = feedback(&invitation, HardBounce);
    assert_eq!(report(&world, &bounce).await, Recorded);
    let told = delivery(&world, &invitation).await;
    assert_eq!(told.state(), DeliveryState::Bounced);
    assert_eq!(told.last_error, "HardBounce it is");
    assert_eq!(told.last_reply_code, 550);
    assert_eq!(told.send_time.unwrap().seconds, START.unix_timestamp());
    assert_eq!(suppressions(&world).await, ["hard_bounce"]);
    let request = ListRequest {
        organization_id: ACME.to_owned(),
        delivery_state: DeliveryState::Bounced.into(),
        ..Default::default()
    };
    let page = world.client().list(request).await.unwrap().into_inner();
    assert_eq!(page.invitations.len(), 1);
    let again = world.invite(&["a@b.co"]).await;
    assert_eq!(item_reason(&again.results[0]), ErrorReason::AlreadyInvited);

    let complaint = feedback(&invitation, Complaint);
    assert_eq!(report(&world, &complaint).await, Recorded);
    let told = delivery(&world, &invitation).await;
    assert_eq!(told.state(), DeliveryState::Complained);
    assert_eq!(told.last_error, "Complaint it is");
    assert_eq!(suppressions(&world).await, ["complaint"]);
}

#[tokio::test]
async fn reports_in_any_order_end_alike() {
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
            assert_eq!(report(&world, &feedback(&invitation, kind)).await, Recorded);
        }
        let told = delivery(&world, &invitation).await;
        assert_eq!(told.state(), DeliveryState::Complained, "{order:?}");
        assert_eq!(told.last_error, "Complaint it is", "{order:?}");
        assert_eq!(suppressions(&world).await, ["complaint"], "{order:?}");
        let request = invitations::proto::RevokeRequest {
            organization_id: ACME.to_owned(),
            invitation_id: invitation.id,
            user_id: String::new(),
        };
        world.client().revoke(request).await.unwrap();
        lift(&world, "", "a@b.co").await;
    }
}

#[tokio::test]
async fn a_delay_tells_and_changes_nothing_else() {
    let mut world = World::start().await;
    let (invitation, _) = world.invite_one("a@b.co").await;
    report(&world, &feedback(&invitation, Delay)).await;
    let told = delivery(&world, &invitation).await;
    assert_eq!(told.state(), DeliveryState::Sent);
    assert_eq!(
        (told.last_error.as_str(), told.last_reply_code),
        ("Delay it is", 452)
    );
    assert!(suppressions(&world).await.is_empty());
    report(&world, &feedback(&invitation, HardBounce)).await;
    report(&world, &feedback(&invitation, Delay)).await;
    let told = delivery(&world, &invitation).await;
    assert_eq!(told.state(), DeliveryState::Bounced);
    assert_eq!(told.last_error, "HardBounce it is");
}

/// Full, refused by policy, too large: found by its state and sent again once that is mended.
#[tokio::test]
async fn a_final_bounce_shows_and_spares_the_address() {
    let mut world = World::start().await;
    let (invitation, _) = world.invite_one("a@b.co").await;
    for kind in [Delay, Bounce, Delay] {
        assert_eq!(report(&world, &feedback(&invitation, kind)).await, Recorded);
    }
    let told = delivery(&world, &invitation).await;
    assert_eq!(told.state(), DeliveryState::Bounced);
    assert_eq!(
        (told.last_error.as_str(), told.last_reply_code),
        ("Bounce it is", 554)
    );
    assert!(suppressions(&world).await.is_empty());
    // What says more of the address is told of too, and is not taken back.
    for kind in [HardBounce, Bounce] {
        report(&world, &feedback(&invitation, kind)).await;
        let told = delivery(&world, &invitation).await;
        assert_eq!(told.last_error, "HardBounce it is", "{kind:?}");
        assert_eq!(suppressions(&world).await, ["hard_bounce"]);
    }
    lift(&world, "", "a@b.co").await;
    world.clock.advance(Duration::hours(1));
    resend(&world, &invitation).await;
    world.deliver_all().await;
    let told = delivery(&world, &invitation).await;
    assert_eq!(told.state(), DeliveryState::Sent);
    assert_eq!(told.last_error, "");
}

#[tokio::test]
async fn a_report_counts_once_however_often_it_comes() {
    let mut world = World::start().await;
    let (invitation, _) = world.invite_one("a@b.co").await;
    let bounce = feedback(&invitation, HardBounce);
    let twins = (0..8).map(|_| report(&world, &bounce));
    let outcomes = futures::future::join_all(twins).await;
    let recorded = outcomes.iter().filter(|one| **one == Recorded).count();
    assert_eq!(recorded, 1, "{outcomes:?}");
    assert_eq!(
        outcomes.iter().filter(|one| **one == KnownAlready).count(),
        7
    );
    // Somebody lifted it meanwhile: a repetition is no new bounce.
    lift(&world, "", "a@b.co").await;
    assert_eq!(report(&world, &bounce).await, KnownAlready);
    assert!(suppressions(&world).await.is_empty());
    // Ids are each reporter's own.
    let of_another = Feedback {
        source: FeedbackSource::Postmark,
        ..bounce.clone()
    };
    assert_eq!(report(&world, &of_another).await, Recorded);
    lift(&world, "", "a@b.co").await;

    // They are kept for a week.
    for (days, expected) in [(6, KnownAlready), (1, Recorded)] {
        world.clock.advance(Duration::days(days));
        world.service.sweep().await.unwrap();
        assert_eq!(report(&world, &bounce).await, expected);
    }
}

#[tokio::test]
async fn a_report_that_could_not_be_kept_is_taken_when_it_comes_again() {
    let mut world = World::start().await;
    let (invitation, _) = world.invite_one("a@b.co").await;
    let bounce = feedback(&invitation, HardBounce);
    let mut database = world.database().await;
    sqlx::raw_sql("ALTER TABLE suppressions ADD CONSTRAINT closed CHECK (false)")
        .execute(&mut database)
        .await
        .unwrap();
    world
        .service
        .run(RecordFeedback(bounce.clone()))
        .await
        .unwrap_err();
    assert_eq!(
        delivery(&world, &invitation).await.state(),
        DeliveryState::Sent
    );
    sqlx::raw_sql("ALTER TABLE suppressions DROP CONSTRAINT closed")
        .execute(&mut database)
        .await
        .unwrap();
    assert_eq!(report(&world, &bounce).await, Recorded);
    assert_eq!(
        delivery(&world, &invitation).await.state(),
        DeliveryState::Bounced
    );
    assert_eq!(suppressions(&world).await, ["hard_bounce"]);
}

#[tokio::test]
async fn a_report_of_a_mail_that_was_never_sent_changes_nothing() {
    let mut world = World::start().await;
    let (invitation, _) = world.invite_one("a@b.co").await;
    for (invitation_id, send_seq) in [
        (Uuid::parse_str(&invitation.id).unwrap(), 0),
        (Uuid::parse_str(&invitation.id).unwrap(), 2),
        (Uuid::parse_str(&invitation.id).unwrap(), -1),
        (Uuid::nil(), 1),
    ] {
        let unknown = Feedback {
            mail: SentMail {
                invitation_id,
                send_seq,
            },
            ..feedback(&invitation, Complaint)
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
async fn a_report_of_an_older_mail_suppresses_and_says_nothing_of_the_newer() {
    let mut world = World::start().await;
    let (invitation, _) = world.invite_one("a@b.co").await;
    resend(&world, &invitation).await;
    world.deliver_all().await;
    report(&world, &feedback(&invitation, HardBounce)).await;
    let told = delivery(&world, &invitation).await;
    assert_eq!(
        (told.state(), told.last_error.as_str()),
        (DeliveryState::Sent, "")
    );
    assert_eq!(suppressions(&world).await, ["hard_bounce"]);
}

#[tokio::test]
async fn what_happened_to_an_invitation_since_does_not_keep_its_address_off_the_list() {
    let mut world = World::start().await;
    let (invitation, token) = world.invite_one("a@b.co").await;
    world.accept(&token, "new", "a@b.co").await.unwrap();
    assert_eq!(
        report(&world, &feedback(&invitation, Complaint)).await,
        Recorded
    );
    let told = delivery(&world, &invitation).await;
    assert_eq!(told.state(), DeliveryState::Complained);
    assert_eq!(suppressions(&world).await, ["complaint"]);
}

/// Settles as the worker that holds the lease; whether it still did.
async fn settle(
    database: &mut PgConnection,
    key: &MailKey,
    lease_token: Uuid,
    settlement: Settlement,
) -> bool {
    let settled = Settled {
        key: key.clone(),
        lease_token,
        settlement,
        suppression: None,
    };
    let written = settlements::settle_many(&mut Connection::new(database), &[settled], START).await;
    !written.unwrap().is_empty()
}

#[tokio::test]
async fn a_report_that_comes_before_the_worker_settles_stays() {
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
        let (key, token) = claim(&world).await;
        assert_eq!(
            delivery(&world, &invitation).await.state(),
            DeliveryState::Sending
        );
        report(&world, &feedback(&invitation, HardBounce)).await;
        // At once, although the worker has not heard of it.
        assert_eq!(
            delivery(&world, &invitation).await.state(),
            DeliveryState::Bounced
        );
        for (state, count) in [(DeliveryState::Sending, 0), (DeliveryState::Bounced, 1)] {
            let request = ListRequest {
                organization_id: ACME.to_owned(),
                email: email.clone(),
                delivery_state: state.into(),
                ..Default::default()
            };
            let page = world.client().list(request).await.unwrap().into_inner();
            assert_eq!(page.invitations.len(), count);
        }
        let mut database = world.database().await;
        assert!(settle(&mut database, &key, token, settlement.clone()).await);
        let told = delivery(&world, &invitation).await;
        assert_eq!(told.state(), DeliveryState::Bounced, "{settlement:?}");
        assert!(told.next_attempt_time.is_none(), "{settlement:?}");
        let is_sent = settlement == Settlement::Sent;
        assert_eq!(told.send_time.is_some(), is_sent, "{settlement:?}");
        let state: String = sqlx::query_scalar("SELECT state FROM outbox WHERE invitation_id = $1")
            .bind(key.invitation_id)
            .fetch_one(&mut database)
            .await
            .unwrap();
        assert_eq!(state, outbox_state);
    }
    world.may_leave_mail();
}

#[tokio::test]
async fn a_report_and_a_settlement_at_the_same_moment_end_as_one_after_the_other() {
    let world = World::start().await;
    for round in 0..30 {
        let email = format!("a{round}@b.co");
        let invitation = created(&world.invite(&[&email]).await.results[0]);
        let (key, token) = claim(&world).await;
        let mut database = world.database().await;
        let kind = if round % 2 == 0 {
            HardBounce
        } else {
            Complaint
        };
        let news = feedback(&invitation, kind);
        let (outcome, is_settled) = tokio::join!(
            report(&world, &news),
            settle(&mut database, &key, token, Settlement::Sent)
        );
        assert_eq!((outcome, is_settled), (Recorded, true));
        let told = delivery(&world, &invitation).await;
        let expected = if round % 2 == 0 {
            DeliveryState::Bounced
        } else {
            DeliveryState::Complained
        };
        assert_eq!(told.state(), expected);
        assert!(told.send_time.is_some());
    }
    assert_eq!(suppressions(&world).await.len(), 30);
}

#[tokio::test]
async fn a_mail_that_bounced_is_not_tried_again() {
    let mut world = World::start().await;
    world.relay.act_once(SmtpStep::Message, RelayAction::Close);
    let invitation = created(&world.invite(&["a@b.co"]).await.results[0]);
    world.deliver_all().await;
    let told = delivery(&world, &invitation).await;
    assert_eq!(told.state(), DeliveryState::Deferred);
    // It had arrived all the same.
    report(&world, &feedback(&invitation, HardBounce)).await;
    let told = delivery(&world, &invitation).await;
    assert_eq!(told.state(), DeliveryState::Bounced);
    assert!(told.next_attempt_time.is_none());
    world.clock.advance(Duration::hours(24));
    assert_eq!(world.deliver_all().await, 0);
}

#[tokio::test]
async fn a_new_mail_after_the_list_let_it_begins_anew() {
    let mut world = World::start().await;
    let (invitation, _) = world.invite_one("a@b.co").await;
    report(&world, &feedback(&invitation, HardBounce)).await;
    lift(&world, "", "a@b.co").await;
    resend(&world, &invitation).await;
    let told = delivery(&world, &invitation).await;
    assert_eq!(
        (told.state(), told.last_error.as_str()),
        (DeliveryState::Queued, "")
    );
    world.deliver_all().await;
    assert_eq!(
        delivery(&world, &invitation).await.state(),
        DeliveryState::Sent
    );
}

#[tokio::test]
async fn whoever_unsubscribes_gets_no_invitation_from_anybody() {
    let world = World::start().await;
    let keyring = Keyring::parse(KEYS).unwrap();
    let address = EmailAddress::parse("Ada@b.co").unwrap();
    let tag = AddressTagger::new(&keyring).tag(&address);
    let token = unsubscribe_token::seal(&keyring, &tag).unwrap();
    assert!(world.service.is_unsubscribe_token(&token));
    assert!(
        suppressions(&world).await.is_empty(),
        "looking changes nothing"
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

    let foreign = Keyring::parse(KEY_2).unwrap();
    let foreign =
        unsubscribe_token::seal(&foreign, &AddressTagger::new(&foreign).tag(&address)).unwrap();
    for forged in ["", "x", &token[1..], &foreign] {
        assert!(!world.service.is_unsubscribe_token(forged));
        assert!(!world.service.unsubscribe(forged, reader()).await.unwrap());
    }
    assert_eq!(suppressions(&world).await.len(), 1);
    // Sealed under a key that signs no more, it still works.
    let rotated = world.service_with_keys(&format!("{KEY_2}{KEYS}"));
    assert!(rotated.unsubscribe(&token, reader()).await.unwrap());
    let key_id: i16 = sqlx::query_scalar("SELECT key_id FROM suppressions")
        .fetch_one(&mut world.database().await)
        .await
        .unwrap();
    assert_eq!(key_id, 1);
}
