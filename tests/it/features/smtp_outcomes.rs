//! How the reply of a mail server decides about retries, and about the suppression of the address.

use invitations::delivery::{AmbiguousPolicy, DeliveryConfig};
use invitations::domain::bounce_address::SentMail;
use invitations::domain::keyring::Keyring;
use invitations::proto::{DeliveryState, ErrorReason};
use uuid::Uuid;

use crate::support::delivery_attempts::state_and_attempts;
use crate::support::lanes::{delivery_config, lane};
use crate::support::relay::{RelayAction, SmtpStep};
use crate::support::{
    KEYS, START, World, by_state, invite_to_other_request, item_reason, requeue_request,
};

/// Returns whether another organization cannot invite an address.
async fn is_suppressed(world: &World, email: &str) -> bool {
    let request = invite_to_other_request(&[email]);
    let answer = world.bulk_create(request).await;
    let result = &answer.results[0];
    if result.error.is_none() {
        return false;
    }
    assert_eq!(item_reason(result), ErrorReason::EmailSuppressed);
    true
}

#[tokio::test]
async fn a_retry_waits_as_long_as_the_server_asked() {
    let mut world = World::start().await;
    let reply = "450 4.2.0 greylisted, try again in 300 seconds";
    world.relay.reply_once(SmtpStep::Rcpt, reply);
    let ids = world.invite_numbered("b.co", 1).await;
    world.deliver_all().await;
    let delivery = world.get(&ids[0]).await.delivery.unwrap();
    let wait = delivery.next_attempt_time.unwrap().seconds - START.unix_timestamp();
    assert!((300..=360).contains(&wait), "{wait}");
    world.clock.advance(time::Duration::seconds(360));
    assert_eq!(world.deliver_all().await, 1);
}

#[tokio::test]
async fn a_full_mailbox_is_retried_for_a_day() {
    let mut world = World::start().await;
    world.relay.refuse("p0@b.co", "552 5.2.2 mailbox full");
    let ids = world.invite_numbered("b.co", 1).await;
    for attempt in 1..=3 {
        assert_eq!(world.deliver_all().await, 1);
        let expected = (DeliveryState::Deferred, attempt);
        assert_eq!(state_and_attempts(&world, &ids[0]).await, expected);
        world.clock.advance(time::Duration::hours(8));
    }
    assert_eq!(world.deliver_all().await, 1);
    let expected = (DeliveryState::Failed, 4);
    assert_eq!(state_and_attempts(&world, &ids[0]).await, expected);
    assert!(!is_suppressed(&world, "p0@b.co").await);
    world.may_leave_mail();
}

#[tokio::test]
async fn only_a_nonexistent_address_is_suppressed() {
    let mut world = World::start().await;
    for (reply, state, suppresses) in [
        ("550 5.1.1 no such user", DeliveryState::Bounced, true),
        ("550 5.2.1 disabled", DeliveryState::Bounced, true),
        ("550 5.7.1 not from you", DeliveryState::Failed, false),
        ("554 5.6.0 not like this", DeliveryState::Failed, false),
    ] {
        let domain = format!("{}.example", reply.replace(['.', ' '], "-"));
        world.relay.reply_once(SmtpStep::Rcpt, reply);
        let ids = world.invite_numbered(&domain, 1).await;
        world.deliver_all().await;
        assert_eq!(
            state_and_attempts(&world, &ids[0]).await,
            (state, 1),
            "{reply}"
        );
        let email = format!("p0@{domain}");
        assert_eq!(is_suppressed(&world, &email).await, suppresses, "{reply}");
        world.deliver_all().await;
    }
}

#[tokio::test]
async fn an_address_suppressed_after_queueing_receives_no_email() {
    let mut world = World::start().await;
    let ids = world.invite_numbered("b.co", 2).await;
    world.suppress("", &["p0@b.co"]).await;
    world.deliver_all().await;
    assert_eq!(world.recipients(), ["p1@b.co"]);
    let expected = (DeliveryState::Suppressed, 0);
    assert_eq!(state_and_attempts(&world, &ids[0]).await, expected);
}

#[tokio::test]
async fn an_ambiguous_email_can_be_held_for_an_operator() {
    let mut world = World::builder()
        .delivery(|relay| DeliveryConfig {
            ambiguous: AmbiguousPolicy::Hold,
            ..delivery_config(vec![lane(relay)])
        })
        .start()
        .await;
    world.relay.act_once(SmtpStep::Message, RelayAction::Close);
    let ids = world.invite_numbered("b.co", 1).await;
    world.deliver_all().await;
    let expected = (DeliveryState::Failed, 1);
    assert_eq!(state_and_attempts(&world, &ids[0]).await, expected);
    world.clock.advance(time::Duration::days(1));
    assert_eq!(world.deliver_all().await, 0, "the email was not held");
    world
        .mails()
        .requeue_messages(requeue_request(&ids))
        .await
        .unwrap();
    assert_eq!(world.deliver_all().await, 1);
    let mails = world.mailbox();
    assert_eq!(mails.len(), 2);
    assert_eq!(mails[0].raw, mails[1].raw);
}

#[tokio::test]
async fn invalid_rows_do_not_delay_other_emails() {
    let mut world = World::start().await;
    let ids = world.invite_numbered("b.co", 2_000).await;
    let invalid_ids: Vec<Uuid> = ids
        .iter()
        .step_by(100)
        .map(|id| id.parse().unwrap())
        .collect();
    sqlx::query("UPDATE invitations SET email = E'x@b.co\\r\\nBcc: x@y.zz' WHERE id = ANY($1)")
        .bind(&invalid_ids)
        .execute(&mut world.database().await)
        .await
        .unwrap();
    world.deliver_all().await;
    let expected = by_state([("dead", 20), ("sent", 1_980)]);
    assert_eq!(world.outbox_states().await, expected);
    assert_eq!(world.relay.received().len(), 1_980);
}

#[tokio::test]
async fn each_email_has_its_own_bounce_address() {
    let mut world = World::start().await;
    let ids = world.invite_numbered("b.co", 3).await;
    world.deliver_all().await;
    let keyring = Keyring::parse(KEYS).unwrap();
    let conversations: String = world
        .relay
        .connections()
        .iter()
        .map(|connection| String::from_utf8_lossy(&connection.bytes).into_owned())
        .collect();
    for id in &ids {
        let mail = SentMail {
            invitation_id: id.parse().unwrap(),
            send_seq: 1,
        };
        let address = mail
            .bounce_address(&keyring, "bounces@example.com")
            .unwrap();
        let command = format!("MAIL FROM:<{address}>");
        assert!(conversations.contains(&command), "{conversations}");
        assert_eq!(SentMail::of_bounce_address(&keyring, &address), Some(mail));
    }
    for mail in world.mailbox() {
        let raw = String::from_utf8(mail.raw).unwrap();
        assert!(
            raw.contains("\r\nList-Unsubscribe: <https://invitations.example.com/"),
            "{raw}"
        );
        let one_click = "\r\nList-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n";
        assert!(raw.contains(one_click), "{raw}");
    }
}
