//! Delivery over providers that accept many messages in one call.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use invitations::delivery::{LaneConfig, LaneTransport};
use invitations::mail::providers::{ProviderConfig, ProviderKind, ProviderTransport};
use invitations::proto::{DeliveryState, Organization};

use crate::support::directory::organization;
use crate::support::lanes::lane;
use crate::support::provider::{ProviderReply, ProviderServer};
use crate::support::relay::Relay;
use crate::support::{ACME, START, World, by_state, created};

const KINDS: [ProviderKind; 2] = [ProviderKind::Resend, ProviderKind::Postmark];

/// A lane to a provider that makes one call at a time, so that each scripted reply meets the call that it is for.
fn lane_to(server: &ProviderServer, kind: ProviderKind, relay: &Relay) -> LaneConfig {
    let config = ProviderConfig {
        kind,
        base_url: Some(server.base_url()),
        api_key: "key-hunter2-hunter2".into(),
        timeout: Duration::from_secs(20),
        batch_max: kind.batch_max_default(),
        message_stream: "outbound".to_owned(),
        extra_roots_pem: None,
    };
    LaneConfig {
        name: "provider".to_owned(),
        transport: LaneTransport::Batches {
            provider: ProviderTransport::new(config).unwrap(),
            calls: 1,
            calls_rate_max: None,
        },
        ..lane(relay)
    }
}

fn with_calls_rate(mut lane: LaneConfig, rate: f64) -> LaneConfig {
    if let LaneTransport::Batches { calls_rate_max, .. } = &mut lane.transport {
        *calls_rate_max = Some(rate);
    }
    lane
}

async fn world(kind: ProviderKind) -> (World, ProviderServer) {
    let server = ProviderServer::start(kind).await;
    let world = World::builder()
        .lanes(|relay| vec![lane_to(&server, kind, relay)])
        .start()
        .await;
    (world, server)
}

fn recipients(server: &ProviderServer) -> HashMap<String, usize> {
    let mut counts = HashMap::new();
    for mail in server.delivered() {
        *counts.entry(mail.to).or_default() += 1;
    }
    counts
}

/// Fails unless this many recipients got exactly one message each.
fn assert_each_delivered_once(server: &ProviderServer, count: usize) {
    let recipients = recipients(server);
    assert_eq!(recipients.len(), count);
    assert!(recipients.values().all(|got| *got == 1), "{recipients:?}");
}

/// How often each idempotency key was used.
fn key_counts(server: &ProviderServer) -> HashMap<String, usize> {
    let mut counts = HashMap::new();
    for call in server.requests() {
        *counts
            .entry(call.header("idempotency-key").to_owned())
            .or_default() += 1;
    }
    counts
}

#[tokio::test]
async fn many_messages_are_sent_in_few_calls() {
    for (kind, calls) in KINDS.into_iter().zip([3, 5]) {
        let (mut world, server) = world(kind).await;
        let ids = world.invite_numbered("b.co", 250).await;
        assert_eq!(world.deliver_all().await, 250);
        assert_each_delivered_once(&server, 250);
        assert_eq!(server.requests().len(), calls);
        assert_eq!(world.outbox_states().await, by_state([("sent", 250)]));
        assert_eq!(world.outbox_attempts().await, [1]);
        assert_eq!(world.count("mail_batches").await, 0);
        let named = server
            .delivered()
            .into_iter()
            .map(|mail| mail.reference.unwrap());
        let named: HashSet<String> = named
            .map(|reference| reference.invitation_id.to_string())
            .collect();
        assert_eq!(named, ids.into_iter().collect());
    }
}

#[tokio::test]
async fn a_refused_message_does_not_affect_the_others_in_its_batch() {
    let (mut world, server) = world(ProviderKind::Postmark).await;
    server.reply_once(ProviderReply::Refuse(vec![
        (
            3,
            406,
            "You tried to send to a recipient that has been marked as inactive.",
        ),
        (7, 300, "Invalid 'To' address."),
    ]));
    let ids = world.invite_numbered("b.co", 20).await;
    world.deliver_all().await;
    assert_eq!(server.delivered().len(), 18);
    let mut seen = HashMap::new();
    for id in &ids {
        let delivery = world.delivery(id).await;
        *seen.entry(delivery.state()).or_insert(0) += 1;
    }
    let expected = HashMap::from([
        (DeliveryState::Sent, 18),
        (DeliveryState::Bounced, 1),
        (DeliveryState::Failed, 1),
    ]);
    assert_eq!(seen, expected);
    assert_eq!(world.count("suppressions").await, 1);
    assert_eq!(world.count("mail_batches").await, 0);
}

#[tokio::test]
async fn retry_after_pauses_the_lane_and_counts_no_attempt() {
    for kind in KINDS {
        let (mut world, server) = world(kind).await;
        let retry_later = vec![("retry-after", "30".to_owned())];
        server.reply_once(ProviderReply::Say(429, retry_later, "{}".to_owned()));
        let ids = world.invite_numbered("b.co", 120).await;
        world.deliver_all().await;
        assert_eq!(server.requests().len(), 1, "the other calls wait too");
        assert_eq!(world.outbox_states().await, by_state([("queued", 120)]));
        assert_eq!(world.outbox_attempts().await, [0]);
        let mut deferred = 0;
        for id in &ids {
            let delivery = world.delivery(id).await;
            if delivery.state() == DeliveryState::Deferred {
                deferred += 1;
                // The lane pauses and not the message, so another lane could send it immediately.
                let due = delivery.next_attempt_time.unwrap();
                assert_eq!(due.seconds, START.unix_timestamp());
            }
        }
        assert_eq!(deferred, kind.batch_max_default());
        assert_eq!(world.count("mail_batches").await, 0);
        world.may_leave_mail();
    }
}

#[tokio::test]
async fn a_call_waits_until_the_rate_limit_permits_a_full_batch() {
    let server = ProviderServer::start(ProviderKind::Resend).await;
    let mut world = World::builder()
        .lanes(|relay| {
            vec![LaneConfig {
                rate_max: Some(200.0),
                ..lane_to(&server, ProviderKind::Resend, relay)
            }]
        })
        .start()
        .await;
    world.invite_numbered("b.co", 250).await;
    world.deliver_all().await;
    // A full batch immediately, a full batch half a second later, and the rest.
    assert!(server.requests().len() <= 4, "{}", server.requests().len());
    assert_each_delivered_once(&server, 250);
}

#[tokio::test]
async fn the_limit_of_calls_per_second_counts_calls_and_not_messages() {
    let server = ProviderServer::start(ProviderKind::Postmark).await;
    let mut world = World::builder()
        .lanes(|relay| {
            let lane = lane_to(&server, ProviderKind::Postmark, relay);
            vec![with_calls_rate(lane, 2.0)]
        })
        .start()
        .await;
    world.invite_numbered("b.co", 200).await;
    let begin = Instant::now();
    world.deliver_all().await;
    assert_eq!(server.requests().len(), 4);
    // Two calls immediately, and two more, half a second apart.
    assert!(begin.elapsed() >= Duration::from_millis(990));
}

#[tokio::test]
async fn an_ambiguous_call_is_repeated_with_the_same_body_and_idempotency_key() {
    for ambiguous in [
        ProviderReply::AcceptAndSay(500, "{}".to_owned()),
        ProviderReply::AcceptAndClose,
        ProviderReply::AcceptAndCut,
        ProviderReply::Close,
    ] {
        let (mut world, server) = world(ProviderKind::Resend).await;
        server.reply_once(ambiguous);
        world.invite_numbered("b.co", 50).await;
        world.deliver_all().await;
        assert_eq!(world.count("mail_batches").await, 1);
        world.clock.advance(time::Duration::seconds(2));
        world.deliver_all().await;
        let calls = server.requests();
        assert_eq!(calls.len(), 2);
        assert_eq!(calls[0].body, calls[1].body);
        assert_eq!(key_counts(&server).len(), 1);
        assert_each_delivered_once(&server, 50);
        assert_eq!(world.outbox_states().await, by_state([("sent", 50)]));
        assert_eq!(world.count("mail_batches").await, 0);
    }
}

#[tokio::test]
async fn a_call_keeps_its_idempotency_key_when_its_repetition_is_refused() {
    let (mut world, server) = world(ProviderKind::Resend).await;
    server.reply_once(ProviderReply::AcceptAndSay(500, "{}".to_owned()));
    let retry_now = vec![("retry-after", "0".to_owned())];
    server.reply_once(ProviderReply::Say(429, retry_now, "{}".to_owned()));
    server.reply_once(ProviderReply::Say(401, Vec::new(), "{}".to_owned()));
    server.reply_once(ProviderReply::CloseUnread);
    world.invite_numbered("b.co", 50).await;
    for _ in 0..6 {
        world.deliver_all().await;
        world.clock.advance(time::Duration::minutes(1));
    }
    assert_eq!(key_counts(&server).len(), 1);
    assert_each_delivered_once(&server, 50);
    assert_eq!(world.outbox_states().await, by_state([("sent", 50)]));
    assert_eq!(world.count("mail_batches").await, 0);
}

#[tokio::test]
async fn an_ambiguous_call_whose_content_changed_since_counts_as_accepted() {
    let (mut world, server) = world(ProviderKind::Resend).await;
    server.reply_once(ProviderReply::AcceptAndSay(500, "{}".to_owned()));
    world.invite_numbered("b.co", 10).await;
    world.deliver_all().await;
    world
        .upsert_organization(organization(ACME, "Acme Engines Inc"))
        .await;
    world.clock.advance(time::Duration::seconds(2));
    world.deliver_all().await;
    assert_each_delivered_once(&server, 10);
    assert_eq!(world.outbox_states().await, by_state([("sent", 10)]));
    assert_eq!(world.count("mail_batches").await, 0);
}

#[tokio::test]
async fn without_idempotency_keys_an_ambiguous_call_is_delivered_at_most_twice() {
    for ambiguous in [
        ProviderReply::AcceptAndSay(500, "{}".to_owned()),
        ProviderReply::AcceptAndCut,
    ] {
        let (mut world, server) = world(ProviderKind::Postmark).await;
        server.reply_once(ambiguous);
        world.invite_numbered("b.co", 120).await;
        world.deliver_all().await;
        assert_eq!(world.count("mail_batches").await, 0);
        world.clock.advance(time::Duration::seconds(30));
        world.deliver_all().await;
        let recipients = recipients(&server);
        assert_eq!(recipients.len(), 120);
        let twice = recipients.values().filter(|got| **got == 2).count();
        assert_eq!((twice, server.delivered().len()), (50, 170));
        assert_eq!(world.outbox_states().await, by_state([("sent", 120)]));
        assert_eq!(world.outbox_attempts().await, [2, 1]);
    }
}

#[tokio::test]
async fn a_message_that_makes_its_batch_fail_is_isolated_and_the_others_are_sent() {
    let (mut world, server) = world(ProviderKind::Resend).await;
    // Each refused call is split in half: 50, 25, 12, 6, 3 and 1. The bad message is always in the first half.
    for _ in 0..6 {
        let invalid = r#"{"statusCode":422,"name":"validation_error","message":"invalid"}"#;
        server.reply_once(ProviderReply::Say(422, Vec::new(), invalid.to_owned()));
    }
    world.invite_numbered("b.co", 50).await;
    world.deliver_all().await;
    assert_eq!(server.delivered().len(), 49);
    assert_eq!(world.count("mail_batches").await, 0);
    let expected = by_state([("queued", 1), ("sent", 49)]);
    assert_eq!(world.outbox_states().await, expected);
    world.clock.advance(time::Duration::seconds(30));
    world.deliver_all().await;
    assert_each_delivered_once(&server, 50);
}

#[tokio::test]
async fn the_halves_of_a_refused_batch_count_as_calls() {
    let server = ProviderServer::start(ProviderKind::Resend).await;
    let mut world = World::builder()
        .lanes(|relay| {
            let lane = lane_to(&server, ProviderKind::Resend, relay);
            vec![with_calls_rate(lane, 2.0)]
        })
        .start()
        .await;
    let invalid = r#"{"statusCode":422,"name":"validation_error","message":"invalid"}"#;
    server.reply_once(ProviderReply::Say(422, Vec::new(), invalid.to_owned()));
    world.invite_numbered("b.co", 2).await;
    let begin = Instant::now();
    world.deliver_all().await;
    assert_each_delivered_once(&server, 2);
    assert_eq!(server.requests().len(), 3);
    // Two calls immediately, and one more half a second later.
    assert!(begin.elapsed() >= Duration::from_millis(490));
}

#[tokio::test]
async fn an_ambiguous_call_of_a_removed_lane_is_dissolved_after_a_day() {
    let (mut world, server) = world(ProviderKind::Resend).await;
    server.reply_once(ProviderReply::Close);
    world.invite_numbered("b.co", 10).await;
    world.deliver_all().await;
    assert_eq!(world.count("mail_batches").await, 1);
    world
        .execute("UPDATE mail_batches SET lane = 'removed'")
        .await;
    world.clock.advance(time::Duration::hours(23));
    assert_eq!((world.reap().await, world.deliver_all().await), (0, 0));
    world.clock.advance(time::Duration::hours(2));
    assert_eq!(world.reap().await, 1);
    assert_eq!(world.count("mail_batches").await, 0);
    assert_eq!(world.deliver_all().await, 10);
    assert_each_delivered_once(&server, 10);
}

#[tokio::test]
async fn a_relay_replaces_a_provider_that_is_down() {
    for kind in KINDS {
        for is_there in [true, false] {
            let server = ProviderServer::start(kind).await;
            server.reply_once(ProviderReply::Say(401, Vec::new(), "{}".to_owned()));
            let mut world = World::builder()
                .lanes(|relay| {
                    let provider = LaneConfig {
                        pause: Duration::from_mins(5),
                        ..lane_to(&server, kind, relay)
                    };
                    let spare = LaneConfig {
                        weight: 0,
                        ..lane(relay)
                    };
                    vec![provider, spare]
                })
                .start()
                .await;
            let server = is_there.then_some(server);
            world.invite_numbered("b.co", 120).await;
            world.deliver_all().await;
            assert_eq!(world.relay.received().len(), 120);
            assert_eq!(world.outbox_attempts().await, [1]);
            assert_eq!(world.count("mail_batches").await, 0);
            assert!(server.is_none_or(|server| server.delivered().is_empty()));
        }
    }
}

#[tokio::test]
async fn a_reminder_has_its_own_text_and_is_sent_once() {
    let (mut world, server) = world(ProviderKind::Resend).await;
    let reminding = Organization {
        reminder_lead: Some(prost_types::Duration {
            seconds: 86_400,
            nanos: 0,
        }),
        ..organization(ACME, "Acme Engines")
    };
    world.upsert_organization(reminding).await;
    let results = world.invite(&["a@b.co", "b@b.co"]).await.results;
    let expires = created(&results[0]).expire_time.unwrap().seconds;
    world.deliver_all().await;
    let lead = time::Duration::seconds(expires - START.unix_timestamp() - 86_400);
    world.clock.advance(lead);
    assert_eq!(world.service.remind().await.unwrap(), 2);
    // One recipient unsubscribes in the meantime.
    world.suppress("", &["b@b.co"]).await;
    world.deliver_all().await;
    let mails = server.delivered();
    let to_a: Vec<_> = mails.iter().filter(|mail| mail.to == "a@b.co").collect();
    assert_eq!((to_a.len(), mails.len()), (2, 3));
    assert_ne!(to_a[0].subject, to_a[1].subject);
    assert_ne!(to_a[0].text, to_a[1].text);
    assert_eq!(to_a[1].reference.as_ref().unwrap().send_seq, 2);
    let id = created(&results[1]).id;
    let delivery = world.delivery(&id).await;
    assert_eq!(delivery.state(), DeliveryState::Suppressed);
}
