//! Verdicts: what becomes of a mail and its address by what its server says, and by what was said before.

use invitations::delivery::{Ambiguous, DeliveryConfig};
use invitations::domain::bounce_address::SentMail;
use invitations::domain::keyring::Keyring;
use invitations::proto::{BulkCreateRequest, DeliveryState, ErrorReason, RequeueRequest};
use uuid::Uuid;

use crate::support::lanes::{delivery_config, lane};
use crate::support::relay::{RelayAction, SmtpStep};
use crate::support::{ACME, KEYS, OTHER, START, World, by_state, invite_request, item_reason};

async fn delivery_of(world: &World, id: &str) -> (DeliveryState, i32) {
    let delivery = world.get(id).await.delivery.unwrap();
    (delivery.state(), delivery.attempt_count)
}

/// Whether an address may be invited by somebody else.
async fn is_suppressed(world: &World, email: &str) -> bool {
    let request = BulkCreateRequest {
        organization_id: OTHER.to_owned(),
        inviter_user_id: "eve".to_owned(),
        ..invite_request(&[email])
    };
    let answer = world.client().bulk_create(request).await.unwrap();
    let result = &answer.into_inner().results[0];
    if result.error.is_none() {
        return false;
    }
    assert_eq!(item_reason(result), ErrorReason::EmailSuppressed);
    true
}

#[tokio::test]
async fn a_server_that_asks_for_time_gets_it() {
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
async fn a_full_mailbox_is_tried_for_a_day() {
    let mut world = World::start().await;
    world.relay.refuse("p0@b.co", "552 5.2.2 mailbox full");
    let ids = world.invite_numbered("b.co", 1).await;
    for attempt in 1..=3 {
        assert_eq!(world.deliver_all().await, 1);
        let expected = (DeliveryState::Deferred, attempt);
        assert_eq!(delivery_of(&world, &ids[0]).await, expected);
        world.clock.advance(time::Duration::hours(8));
    }
    assert_eq!(world.deliver_all().await, 1);
    let expected = (DeliveryState::Failed, 4);
    assert_eq!(delivery_of(&world, &ids[0]).await, expected);
    assert!(!is_suppressed(&world, "p0@b.co").await);
    world.may_leave_mail();
}

#[tokio::test]
async fn only_an_address_that_is_not_there_is_suppressed() {
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
        assert_eq!(delivery_of(&world, &ids[0]).await, (state, 1), "{reply}");
        let email = format!("p0@{domain}");
        assert_eq!(is_suppressed(&world, &email).await, suppresses, "{reply}");
        world.deliver_all().await;
    }
}

#[tokio::test]
async fn an_address_that_was_suppressed_since_it_was_queued_gets_no_mail() {
    let mut world = World::start().await;
    let ids = world.invite_numbered("b.co", 2).await;
    world.suppress("", &["p0@b.co"]).await;
    world.deliver_all().await;
    let recipients: Vec<String> = world.mailbox().into_iter().map(|mail| mail.to).collect();
    assert_eq!(recipients, ["p1@b.co"]);
    let expected = (DeliveryState::Suppressed, 0);
    assert_eq!(delivery_of(&world, &ids[0]).await, expected);
}

#[tokio::test]
async fn a_doubtful_mail_may_be_held_for_a_person_to_decide() {
    let mut world = World::builder()
        .delivery(|relay| DeliveryConfig {
            ambiguous: Ambiguous::Hold,
            ..delivery_config(vec![lane(relay)])
        })
        .start()
        .await;
    world.relay.act_once(SmtpStep::Message, RelayAction::Close);
    let ids = world.invite_numbered("b.co", 1).await;
    world.deliver_all().await;
    let expected = (DeliveryState::Failed, 1);
    assert_eq!(delivery_of(&world, &ids[0]).await, expected);
    world.clock.advance(time::Duration::days(1));
    assert_eq!(world.deliver_all().await, 0, "held");
    let request = RequeueRequest {
        organization_id: ACME.to_owned(),
        invitation_ids: ids,
        all_dead: false,
    };
    world.mails_of("all").requeue(request).await.unwrap();
    assert_eq!(world.deliver_all().await, 1);
    let mails = world.mailbox();
    assert_eq!(mails.len(), 2);
    assert_eq!(mails[0].raw, mails[1].raw);
}

#[tokio::test]
async fn many_poisoned_rows_hold_nothing_up() {
    let mut world = World::start().await;
    let ids = world.invite_numbered("b.co", 2_000).await;
    let poisoned: Vec<Uuid> = ids
        .iter()
        .step_by(100)
        .map(|id| id.parse().unwrap())
        .collect();
    sqlx::query("UPDATE invitations SET email = E'x@b.co\\r\\nBcc: x@y.zz' WHERE id = ANY($1)")
        .bind(&poisoned)
        .execute(&mut world.database().await)
        .await
        .unwrap();
    world.deliver_all().await;
    let expected = by_state([("dead", 20), ("sent", 1_980)]);
    assert_eq!(world.outbox_states().await, expected);
    assert_eq!(world.relay.received().len(), 1_980);
}

#[tokio::test]
async fn each_mail_can_be_told_by_where_its_bounce_goes() {
    let mut world = World::start().await;
    let ids = world.invite_numbered("b.co", 3).await;
    world.deliver_all().await;
    let keyring = Keyring::parse(KEYS).unwrap();
    let said: String = world
        .relay
        .connections()
        .iter()
        .map(|seen| String::from_utf8_lossy(&seen.bytes).into_owned())
        .collect();
    for id in &ids {
        let mail = SentMail {
            invitation_id: id.parse().unwrap(),
            send_seq: 1,
        };
        let address = mail
            .bounce_address(&keyring, "bounces@example.com")
            .unwrap();
        assert!(said.contains(&format!("MAIL FROM:<{address}>")), "{said}");
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
