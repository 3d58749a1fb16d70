//! Delivery over SMTP: what a message contains, and what happens when the relay or a worker fails.

use invitations::proto::{DeliveryState, ListRequest};
use invitations::store::settlements::Settlement;
use time::Duration;
use uuid::Uuid;

use crate::support::other_worker::ClaimedMessage;
use crate::support::relay::{RelayAction, SmtpStep};
use crate::support::{START, World, created, invite_request, list_request, numbered_emails};

async fn state_of(world: &World, id: &str) -> DeliveryState {
    world.delivery(id).await.state()
}

#[tokio::test]
async fn a_message_contains_everything_that_its_reader_needs() {
    let mut world = World::start().await;
    let mut request = invite_request(&["Alice@Example.com"]);
    request.invitations[0].message = "Welcome, <b>Alice</b>!".to_owned();
    request.invitations[0].role = "admin".to_owned();
    let response = world.bulk_create(request).await;
    let id = created(&response.results[0]).id;
    assert_eq!(state_of(&world, &id).await, DeliveryState::Queued);
    assert_eq!(world.deliver_all().await, 1);

    let mail = world.mail_to("Alice@example.com");
    assert!(mail.subject.contains("Acme Engines"), "{}", mail.subject);
    for part in [&mail.text, &mail.html] {
        for word in ["Acme Engines", "Ada Lovelace", "admin", "22 December 2026"] {
            assert!(part.contains(word), "{word} in {part}");
        }
    }
    assert!(mail.text.contains("Welcome, <b>Alice</b>!"));
    assert!(
        mail.html
            .contains("Welcome, &lt;b&gt;Alice&lt;&#x2f;b&gt;!"),
        "{}",
        mail.html
    );
    assert!(mail.html.contains(&mail.token()));
    assert_eq!(mail.message_id, format!("inv.{id}.1.1@example.com"));
    let delivery = world.delivery(&id).await;
    assert_eq!(
        (delivery.state(), delivery.attempt_count),
        (DeliveryState::Sent, 1)
    );
    assert_eq!(delivery.send_time.unwrap().seconds, START.unix_timestamp());
    assert!(delivery.next_attempt_time.is_none());
}

#[tokio::test]
async fn a_message_to_an_unknown_recipient_bounces_and_the_others_are_delivered() {
    let mut world = World::start().await;
    let emails = numbered_emails("person", "example.com", 0..20);
    for _ in 0..2 {
        let reply = "550 5.1.1 <somebody@example.com> unknown";
        world.relay.reply_once(SmtpStep::Rcpt, reply);
    }
    world.invite(&emails).await;
    assert_eq!(world.deliver_all().await, 20);
    assert_eq!(world.mailbox().len(), 18);
    assert!(
        world.relay.connections().len() <= 4,
        "a refusal closes no connection"
    );

    let request = ListRequest {
        filter: Some(invitations::proto::InvitationFilter {
            delivery_states: vec![DeliveryState::Bounced.into()],
            ..Default::default()
        }),
        ..list_request()
    };
    let bounced = world.list(request).await.invitations;
    assert_eq!(bounced.len(), 2);
    for invitation in bounced {
        let delivery = invitation.delivery.unwrap();
        assert_eq!(delivery.last_reply_code, 550);
        assert_eq!(delivery.last_error, "5.1.1 <[address]> unknown");
    }
}

#[tokio::test]
async fn a_greylisted_message_is_delivered_by_a_retry() {
    let mut world = World::start().await;
    world
        .relay
        .reply_once(SmtpStep::Rcpt, "450 4.7.1 try again later");
    let id = created(&world.invite(&["a@b.co"]).await.results[0]).id;
    assert_eq!(world.deliver_all().await, 1);
    let delivery = world.delivery(&id).await;
    assert_eq!(
        (
            delivery.state(),
            delivery.attempt_count,
            delivery.last_reply_code
        ),
        (DeliveryState::Deferred, 1, 450)
    );
    let wait = delivery.next_attempt_time.unwrap().seconds - START.unix_timestamp();
    assert!((24..=30).contains(&wait), "{wait}");
    assert_eq!(world.deliver_all().await, 0, "a retry before its time");
    world.clock.advance(Duration::seconds(30));
    assert_eq!(world.deliver_all().await, 1);
    let delivery = world.delivery(&id).await;
    assert_eq!(
        (delivery.state(), delivery.attempt_count),
        (DeliveryState::Sent, 2)
    );
    assert_eq!(world.mailbox().len(), 1);
}

#[tokio::test]
async fn a_connection_that_the_relay_refuses_counts_no_attempt() {
    let mut world = World::start().await;
    world.relay.act_once(
        SmtpStep::Greeting,
        RelayAction::ReplyAndClose("421 4.3.2 closing".to_owned()),
    );
    let id = created(&world.invite(&["a@b.co"]).await.results[0]).id;
    world.deliver_all().await;
    let delivery = world.delivery(&id).await;
    assert_eq!(
        (delivery.state(), delivery.attempt_count),
        (DeliveryState::Sent, 1),
        "two connections count as one attempt"
    );
    assert_eq!(world.mailbox().len(), 1);
}

#[tokio::test]
async fn an_ambiguous_message_is_sent_again_with_the_same_bytes() {
    let mut world = World::start().await;
    world.relay.act_once(SmtpStep::Message, RelayAction::Close);
    let id = created(&world.invite(&["a@b.co"]).await.results[0]).id;
    world.deliver_all().await;
    assert_eq!(state_of(&world, &id).await, DeliveryState::Deferred);
    world.clock.advance(Duration::minutes(1));
    world.deliver_all().await;
    let mails = world.mailbox();
    assert_eq!(mails.len(), 2);
    assert_eq!(
        mails[0].raw, mails[1].raw,
        "the retry differs from the first message"
    );
}

#[tokio::test]
async fn a_message_that_is_always_deferred_fails_in_the_end() {
    let mut world = World::start().await;
    let id = created(&world.invite(&["a@b.co"]).await.results[0]).id;
    for attempt in 1..=18 {
        world.relay.reply_once(SmtpStep::Rcpt, "450 4.2.1 not now");
        assert_eq!(world.deliver_all().await, 1, "attempt {attempt}");
        if state_of(&world, &id).await == DeliveryState::Failed {
            assert!(attempt > 10, "{attempt}");
            assert!(world.mailbox().is_empty());
            return;
        }
        world.clock.advance(Duration::hours(4));
    }
    panic!("the message was never given up");
}

#[tokio::test]
async fn a_message_of_a_crashed_worker_is_sent_once_by_another_worker() {
    let mut world = World::start().await;
    let id = created(&world.invite(&["a@b.co"]).await.results[0]).id;
    let claimed = ClaimedMessage::claim(&world).await;
    assert_eq!(state_of(&world, &id).await, DeliveryState::Sending);
    assert_eq!(
        (world.deliver_all().await, world.reap().await),
        (0, 0),
        "the lease has not expired"
    );

    world.clock.advance(Duration::seconds(121));
    assert_eq!(world.reap().await, 1);
    assert_eq!(world.deliver_all().await, 1);
    assert_eq!(world.mailbox().len(), 1);

    // If the first worker was only slow, its result is too late.
    assert!(!claimed.settle(&world, Settlement::Canceled).await);
    let delivery = world.delivery(&id).await;
    assert_eq!(
        (delivery.state(), delivery.attempt_count),
        (DeliveryState::Sent, 2)
    );
}

#[tokio::test]
async fn a_claimed_message_is_canceled_after_its_invitation_was_revoked() {
    let mut world = World::start().await;
    let id = created(&world.invite(&["a@b.co"]).await.results[0]).id;
    ClaimedMessage::claim(&world).await;
    world.revoke(&id).await;
    world.clock.advance(Duration::minutes(3));
    world.reap().await;
    assert_eq!(
        world.deliver_all().await,
        1,
        "the message is claimed again and canceled"
    );
    assert!(world.mailbox().is_empty());
    assert_eq!(state_of(&world, &id).await, DeliveryState::Canceled);
}

#[tokio::test]
async fn an_unsendable_row_fails_and_the_others_are_sent() {
    let mut world = World::start().await;
    let response = world.invite(&["a@b.co", "b@b.co", "c@b.co"]).await;
    let poisoned = created(&response.results[1]).id;
    let mut database = world.database().await;
    // No call can store such an address, so the test writes it into the database.
    sqlx::query("UPDATE invitations SET email = E'b@b.co\\r\\nBcc: x@y.zz' WHERE id = $1")
        .bind(poisoned.parse::<Uuid>().unwrap())
        .execute(&mut database)
        .await
        .unwrap();
    world.deliver_all().await;
    assert_eq!(world.mailbox().len(), 2);
    assert_eq!(state_of(&world, &poisoned).await, DeliveryState::Failed);
}
