//! Delivery: everybody who was invited gets one mail, whatever breaks on the way.

use invitations::proto::{DeliveryState, ListRequest};
use invitations::store::Connection;
use invitations::store::outbox;
use invitations::store::settlements::{self, Settled, Settlement};
use time::Duration;
use uuid::Uuid;

use crate::support::relay::{RelayAction, SmtpStep};
use crate::support::{ACME, START, World, created, invite_request};

async fn state_of(world: &World, id: &str) -> DeliveryState {
    world.get(id).await.delivery.unwrap().state()
}

#[tokio::test]
async fn a_mail_tells_its_reader_everything() {
    let mut world = World::start().await;
    let mut request = invite_request(&["Alice@Example.com"]);
    request.invitations[0].message = "Welcome, <b>Alice</b>!".to_owned();
    request.invitations[0].role = "admin".to_owned();
    let response = world
        .client()
        .bulk_create(request)
        .await
        .unwrap()
        .into_inner();
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
    let delivery = world.get(&id).await.delivery.unwrap();
    assert_eq!(
        (delivery.state(), delivery.attempt_count),
        (DeliveryState::Sent, 1)
    );
    assert_eq!(delivery.send_time.unwrap().seconds, START.unix_timestamp());
    assert!(delivery.next_attempt_time.is_none());
}

#[tokio::test]
async fn a_recipient_who_does_not_exist_bounces_and_the_others_are_delivered() {
    let mut world = World::start().await;
    let emails: Vec<String> = (0..20)
        .map(|number| format!("person{number}@example.com"))
        .collect();
    let emails: Vec<&str> = emails.iter().map(String::as_str).collect();
    world
        .relay
        .reply_once(SmtpStep::Rcpt, "550 5.1.1 <somebody@example.com> unknown");
    world
        .relay
        .reply_once(SmtpStep::Rcpt, "550 5.1.1 <somebody@example.com> unknown");
    world.invite(&emails).await;
    assert_eq!(world.deliver_all().await, 20);
    assert_eq!(world.mailbox().len(), 18);
    assert!(
        world.relay.connections().len() <= 4,
        "a refusal costs no connection"
    );

    let request = ListRequest {
        organization_id: ACME.to_owned(),
        delivery_state: DeliveryState::Bounced.into(),
        ..Default::default()
    };
    let bounced = world
        .client()
        .list(request)
        .await
        .unwrap()
        .into_inner()
        .invitations;
    assert_eq!(bounced.len(), 2);
    for invitation in bounced {
        let delivery = invitation.delivery.unwrap();
        assert_eq!(delivery.last_reply_code, 550);
        assert_eq!(delivery.last_error, "5.1.1 <[address]> unknown");
    }
}

#[tokio::test]
async fn a_greylisted_mail_arrives_on_a_later_try() {
    let mut world = World::start().await;
    world
        .relay
        .reply_once(SmtpStep::Rcpt, "450 4.7.1 try again later");
    let id = created(&world.invite(&["a@b.co"]).await.results[0]).id;
    assert_eq!(world.deliver_all().await, 1);
    let delivery = world.get(&id).await.delivery.unwrap();
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
    assert_eq!(world.deliver_all().await, 0, "not before its time");
    world.clock.advance(Duration::seconds(30));
    assert_eq!(world.deliver_all().await, 1);
    let delivery = world.get(&id).await.delivery.unwrap();
    assert_eq!(
        (delivery.state(), delivery.attempt_count),
        (DeliveryState::Sent, 2)
    );
    assert_eq!(world.mailbox().len(), 1);
}

#[tokio::test]
async fn a_relay_that_is_down_costs_no_attempt() {
    let mut world = World::start().await;
    world.relay.act_once(
        SmtpStep::Greeting,
        RelayAction::ReplyAndClose("421 4.3.2 closing".to_owned()),
    );
    let id = created(&world.invite(&["a@b.co"]).await.results[0]).id;
    world.deliver_all().await;
    let delivery = world.get(&id).await.delivery.unwrap();
    assert_eq!(
        (delivery.state(), delivery.attempt_count),
        (DeliveryState::Sent, 1),
        "tried again, counted once"
    );
    assert_eq!(world.mailbox().len(), 1);
}

#[tokio::test]
async fn a_doubtful_mail_is_sent_again_as_the_same_mail() {
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
        "the same bytes, message id and link"
    );
}

#[tokio::test]
async fn a_mail_that_nobody_takes_is_given_up() {
    let mut world = World::start().await;
    let id = created(&world.invite(&["a@b.co"]).await.results[0]).id;
    for attempt in 1..=18 {
        world.relay.reply_once(SmtpStep::Rcpt, "451 4.3.0 not now");
        assert_eq!(world.deliver_all().await, 1, "attempt {attempt}");
        if state_of(&world, &id).await == DeliveryState::Failed {
            assert!(attempt > 10, "{attempt}");
            assert!(world.mailbox().is_empty());
            return;
        }
        world.clock.advance(Duration::hours(4));
    }
    panic!("never given up");
}

#[tokio::test]
async fn a_dead_workers_mail_is_sent_by_another_once() {
    let mut world = World::start().await;
    let id = created(&world.invite(&["a@b.co"]).await.results[0]).id;
    // A worker claims, and is never heard of again.
    let mut database = world.database().await;
    let dead = outbox::Lease {
        token: Uuid::from_u128(1),
        until: START + Duration::minutes(2),
    };
    let claimed = outbox::claim(&mut Connection::new(&mut database), 10, dead, START)
        .await
        .unwrap();
    assert_eq!(claimed.len(), 1);
    assert_eq!(state_of(&world, &id).await, DeliveryState::Sending);
    assert_eq!(
        (world.deliver_all().await, world.reap().await),
        (0, 0),
        "the lease holds"
    );

    world.clock.advance(Duration::seconds(121));
    assert_eq!(world.reap().await, 1);
    assert_eq!(world.deliver_all().await, 1);
    assert_eq!(world.mailbox().len(), 1);

    // The dead one was only slow: what it has to say comes too late.
    let late = Settled {
        key: claimed[0].key.clone(),
        lease_token: dead.token,
        settlement: Settlement::Canceled,
        suppression: None,
    };
    let settled =
        settlements::settle_many(&mut Connection::new(&mut database), &[late], START).await;
    assert!(settled.unwrap().is_empty());
    let delivery = world.get(&id).await.delivery.unwrap();
    assert_eq!(
        (delivery.state(), delivery.attempt_count),
        (DeliveryState::Sent, 2)
    );
}

#[tokio::test]
async fn an_invitation_that_ended_while_its_mail_was_claimed_is_not_mailed() {
    let mut world = World::start().await;
    let id = created(&world.invite(&["a@b.co"]).await.results[0]).id;
    let mut database = world.database().await;
    let dead = outbox::Lease {
        token: Uuid::from_u128(1),
        until: START + Duration::minutes(2),
    };
    outbox::claim(&mut Connection::new(&mut database), 10, dead, START)
        .await
        .unwrap();
    let request = invitations::proto::RevokeRequest {
        organization_id: ACME.to_owned(),
        invitation_id: id.clone(),
        user_id: String::new(),
    };
    world.client().revoke(request).await.unwrap();
    world.clock.advance(Duration::minutes(3));
    world.reap().await;
    assert_eq!(
        world.deliver_all().await,
        1,
        "claimed, looked at and canceled"
    );
    assert!(world.mailbox().is_empty());
    assert_eq!(state_of(&world, &id).await, DeliveryState::Canceled);
}

#[tokio::test]
async fn a_poisoned_row_is_given_up_and_the_others_are_sent() {
    let mut world = World::start().await;
    let response = world.invite(&["a@b.co", "b@b.co", "c@b.co"]).await;
    let poisoned = created(&response.results[1]).id;
    let mut database = world.database().await;
    // Past the service: no call can store such an address.
    sqlx::query("UPDATE invitations SET email = E'b@b.co\\r\\nBcc: x@y.zz' WHERE id = $1")
        .bind(poisoned.parse::<Uuid>().unwrap())
        .execute(&mut database)
        .await
        .unwrap();
    world.deliver_all().await;
    assert_eq!(world.mailbox().len(), 2);
    assert_eq!(state_of(&world, &poisoned).await, DeliveryState::Failed);
}
