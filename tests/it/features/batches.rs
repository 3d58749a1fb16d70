//! Batches: mails over providers that take many in one call, whatever the provider does.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use invitations::delivery::{LaneConfig, Route};
use invitations::mail::provider::{ProviderConfig, ProviderKind, ProviderTransport};
use invitations::proto::{DeliveryState, Organization, UpsertOrganizationsRequest};

use crate::features::lanes::{all, attempts, invite, states};
use crate::support::lanes::lane;
use crate::support::provider::{ProviderReply, ProviderServer};
use crate::support::relay::Relay;
use crate::support::{ACME, START, World, created};

const KINDS: [ProviderKind; 2] = [ProviderKind::Resend, ProviderKind::Postmark];

/// The way to a provider, with one call at a time, so that scripts meet the calls they are for.
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
        route: Route::Batches {
            provider: ProviderTransport::new(config).unwrap(),
            calls: 1,
            calls_rate_max: None,
        },
        ..lane(relay)
    }
}

fn with_calls_rate(mut lane: LaneConfig, rate: f64) -> LaneConfig {
    if let Route::Batches { calls_rate_max, .. } = &mut lane.route {
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

/// Everybody got exactly one.
fn assert_each_once(server: &ProviderServer, count: usize) {
    let recipients = recipients(server);
    assert_eq!(recipients.len(), count);
    assert!(recipients.values().all(|got| *got == 1), "{recipients:?}");
}

async fn open_batches(world: &World) -> i64 {
    sqlx::query_scalar("SELECT count(*) FROM mail_batches")
        .fetch_one(&mut world.database().await)
        .await
        .unwrap()
}

/// The keys of all calls, each with how often it was used.
fn keys(server: &ProviderServer) -> HashMap<String, usize> {
    let mut keys = HashMap::new();
    for call in server.requests() {
        *keys
            .entry(call.header("idempotency-key").to_owned())
            .or_default() += 1;
    }
    keys
}

#[tokio::test]
async fn many_mails_go_out_in_few_calls() {
    for (kind, calls) in KINDS.into_iter().zip([3, 5]) {
        let (mut world, server) = world(kind).await;
        let ids = invite(&world, "b.co", 250).await;
        assert_eq!(world.deliver_all().await, 250);
        assert_each_once(&server, 250);
        assert_eq!(server.requests().len(), calls);
        assert_eq!(states(&world).await, all("sent", 250));
        assert_eq!(attempts(&world).await, [1]);
        assert_eq!(open_batches(&world).await, 0);
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
async fn a_refused_mail_in_a_batch_is_judged_alone() {
    let (mut world, server) = world(ProviderKind::Postmark).await;
    server.reply_once(ProviderReply::Refuse(vec![
        (
            3,
            406,
            "You tried to send to a recipient that has been marked as inactive.",
        ),
        (7, 300, "Invalid 'To' address."),
    ]));
    let ids = invite(&world, "b.co", 20).await;
    world.deliver_all().await;
    assert_eq!(server.delivered().len(), 18);
    let mut seen = HashMap::new();
    for id in &ids {
        let delivery = world.get(id).await.delivery.unwrap();
        *seen.entry(delivery.state()).or_insert(0) += 1;
    }
    let expected = HashMap::from([
        (DeliveryState::Sent, 18),
        (DeliveryState::Bounced, 1),
        (DeliveryState::Failed, 1),
    ]);
    assert_eq!(seen, expected);
    let suppressed: i64 = sqlx::query_scalar("SELECT count(*) FROM suppressions")
        .fetch_one(&mut world.database().await)
        .await
        .unwrap();
    assert_eq!(suppressed, 1);
    assert_eq!(open_batches(&world).await, 0);
}

#[tokio::test]
async fn a_provider_that_asks_for_a_pause_gets_it_and_no_attempt_counts() {
    for kind in KINDS {
        let (mut world, server) = world(kind).await;
        let later = vec![("retry-after", "30".to_owned())];
        server.reply_once(ProviderReply::Say(429, later, "{}".to_owned()));
        let ids = invite(&world, "b.co", 120).await;
        world.deliver_all().await;
        assert_eq!(server.requests().len(), 1, "the others wait too");
        assert_eq!(states(&world).await, all("queued", 120));
        assert_eq!(attempts(&world).await, [0]);
        let mut deferred = 0;
        for id in &ids {
            let delivery = world.get(id).await.delivery.unwrap();
            if delivery.state() == DeliveryState::Deferred {
                deferred += 1;
                // The lane waits, and not the mail: another lane could have it at once.
                let due = delivery.next_attempt_time.unwrap();
                assert_eq!(due.seconds, START.unix_timestamp());
            }
        }
        assert_eq!(deferred, kind.batch_max_default());
        assert_eq!(open_batches(&world).await, 0);
        world.may_leave_mail();
    }
}

#[tokio::test]
async fn a_call_waits_until_its_lane_may_send_a_whole_one() {
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
    invite(&world, "b.co", 250).await;
    world.deliver_all().await;
    // A full one at once, a full one half a second later, and the rest.
    assert!(server.requests().len() <= 4, "{}", server.requests().len());
    assert_each_once(&server, 250);
}

#[tokio::test]
async fn calls_are_counted_as_a_provider_counts_them() {
    let server = ProviderServer::start(ProviderKind::Postmark).await;
    let mut world = World::builder()
        .lanes(|relay| {
            let lane = lane_to(&server, ProviderKind::Postmark, relay);
            vec![with_calls_rate(lane, 2.0)]
        })
        .start()
        .await;
    invite(&world, "b.co", 200).await;
    let begin = Instant::now();
    world.deliver_all().await;
    assert_eq!(server.requests().len(), 4);
    // Two at once, and two more half a second apart.
    assert!(begin.elapsed() >= Duration::from_millis(990));
}

#[tokio::test]
async fn a_call_in_doubt_is_repeated_as_it_was_where_keys_are_kept() {
    for doubt in [
        ProviderReply::AcceptAndSay(500, "{}".to_owned()),
        ProviderReply::AcceptAndClose,
        ProviderReply::AcceptAndCut,
        ProviderReply::Close,
    ] {
        let (mut world, server) = world(ProviderKind::Resend).await;
        server.reply_once(doubt);
        invite(&world, "b.co", 50).await;
        world.deliver_all().await;
        assert_eq!(open_batches(&world).await, 1);
        // An invitation that ends meanwhile changes nothing of the call.
        world.clock.advance(time::Duration::seconds(2));
        world.deliver_all().await;
        let calls = server.requests();
        assert_eq!(calls.len(), 2);
        assert_eq!(calls[0].body, calls[1].body);
        assert_eq!(keys(&server).len(), 1);
        assert_each_once(&server, 50);
        assert_eq!(states(&world).await, all("sent", 50));
        assert_eq!(open_batches(&world).await, 0);
    }
}

#[tokio::test]
async fn a_refusal_to_repeat_a_call_does_not_make_it_another_call() {
    let (mut world, server) = world(ProviderKind::Resend).await;
    server.reply_once(ProviderReply::AcceptAndSay(500, "{}".to_owned()));
    let at_once = vec![("retry-after", "0".to_owned())];
    server.reply_once(ProviderReply::Say(429, at_once, "{}".to_owned()));
    server.reply_once(ProviderReply::Say(401, Vec::new(), "{}".to_owned()));
    server.reply_once(ProviderReply::CloseUnread);
    invite(&world, "b.co", 50).await;
    for _ in 0..6 {
        world.deliver_all().await;
        world.clock.advance(time::Duration::minutes(1));
    }
    assert_eq!(keys(&server).len(), 1);
    assert_each_once(&server, 50);
    assert_eq!(states(&world).await, all("sent", 50));
    assert_eq!(open_batches(&world).await, 0);
}

#[tokio::test]
async fn a_call_whose_words_changed_since_counts_as_taken() {
    let (mut world, server) = world(ProviderKind::Resend).await;
    server.reply_once(ProviderReply::AcceptAndSay(500, "{}".to_owned()));
    invite(&world, "b.co", 10).await;
    world.deliver_all().await;
    let renamed = Organization {
        id: ACME.to_owned(),
        name: "Acme Engines Inc".to_owned(),
        ..Default::default()
    };
    let request = UpsertOrganizationsRequest {
        organizations: vec![renamed],
    };
    let answer = world.directory().upsert_organizations(request).await;
    assert_eq!(answer.unwrap().into_inner().failed_count, 0);
    world.clock.advance(time::Duration::seconds(2));
    world.deliver_all().await;
    assert_each_once(&server, 10);
    assert_eq!(states(&world).await, all("sent", 10));
    assert_eq!(open_batches(&world).await, 0);
}

#[tokio::test]
async fn without_keys_a_call_in_doubt_reaches_its_readers_twice_at_most() {
    for doubt in [
        ProviderReply::AcceptAndSay(500, "{}".to_owned()),
        ProviderReply::AcceptAndCut,
    ] {
        let (mut world, server) = world(ProviderKind::Postmark).await;
        server.reply_once(doubt);
        invite(&world, "b.co", 120).await;
        world.deliver_all().await;
        assert_eq!(open_batches(&world).await, 0);
        world.clock.advance(time::Duration::seconds(30));
        world.deliver_all().await;
        let recipients = recipients(&server);
        assert_eq!(recipients.len(), 120);
        let twice = recipients.values().filter(|got| **got == 2).count();
        assert_eq!((twice, server.delivered().len()), (50, 170));
        assert_eq!(states(&world).await, all("sent", 120));
        assert_eq!(attempts(&world).await, [2, 1]);
    }
}

#[tokio::test]
async fn a_mail_that_spoils_its_batch_is_found_and_the_others_are_sent() {
    let (mut world, server) = world(ProviderKind::Resend).await;
    // 50; then 25 with the culprit and 25 without, 12 and 13, 6 and 6, 3 and 3, 1 and 2: it is always in the first half.
    for _ in 0..6 {
        let said = r#"{"statusCode":422,"name":"validation_error","message":"invalid"}"#;
        server.reply_once(ProviderReply::Say(422, Vec::new(), said.to_owned()));
    }
    invite(&world, "b.co", 50).await;
    world.deliver_all().await;
    assert_eq!(server.delivered().len(), 49);
    assert_eq!(open_batches(&world).await, 0);
    let expected = HashMap::from([("sent".to_owned(), 49), ("queued".to_owned(), 1)]);
    assert_eq!(states(&world).await, expected);
    world.clock.advance(time::Duration::seconds(30));
    world.deliver_all().await;
    assert_each_once(&server, 50);
}

#[tokio::test]
async fn halves_of_a_refused_call_are_calls_too() {
    let server = ProviderServer::start(ProviderKind::Resend).await;
    let mut world = World::builder()
        .lanes(|relay| {
            let lane = lane_to(&server, ProviderKind::Resend, relay);
            vec![with_calls_rate(lane, 2.0)]
        })
        .start()
        .await;
    let said = r#"{"statusCode":422,"name":"validation_error","message":"invalid"}"#;
    server.reply_once(ProviderReply::Say(422, Vec::new(), said.to_owned()));
    invite(&world, "b.co", 2).await;
    let begin = Instant::now();
    world.deliver_all().await;
    assert_each_once(&server, 2);
    assert_eq!(server.requests().len(), 3);
    // Two at once, and one more half a second later.
    assert!(begin.elapsed() >= Duration::from_millis(490));
}

#[tokio::test]
async fn a_call_that_nobody_is_left_to_repeat_is_dissolved_after_a_day() {
    let (mut world, server) = world(ProviderKind::Resend).await;
    server.reply_once(ProviderReply::Close);
    invite(&world, "b.co", 10).await;
    world.deliver_all().await;
    assert_eq!(open_batches(&world).await, 1);
    sqlx::query("UPDATE mail_batches SET lane = 'removed'")
        .execute(&mut world.database().await)
        .await
        .unwrap();
    world.clock.advance(time::Duration::hours(23));
    assert_eq!((world.reap().await, world.deliver_all().await), (0, 0));
    world.clock.advance(time::Duration::hours(2));
    assert_eq!(world.reap().await, 1);
    assert_eq!(open_batches(&world).await, 0);
    assert_eq!(world.deliver_all().await, 10);
    assert_each_once(&server, 10);
}

#[tokio::test]
async fn a_relay_stands_in_for_a_provider_that_is_down() {
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
            invite(&world, "b.co", 120).await;
            world.deliver_all().await;
            assert_eq!(world.relay.received().len(), 120);
            assert_eq!(attempts(&world).await, [1]);
            assert_eq!(open_batches(&world).await, 0);
            assert!(server.is_none_or(|server| server.delivered().is_empty()));
        }
    }
}

#[tokio::test]
async fn a_reminder_goes_out_in_its_own_words_and_once() {
    let (mut world, server) = world(ProviderKind::Resend).await;
    let request = UpsertOrganizationsRequest {
        organizations: vec![Organization {
            id: ACME.to_owned(),
            name: "Acme Engines".to_owned(),
            reminder_lead: Some(prost_types::Duration {
                seconds: 86_400,
                nanos: 0,
            }),
            ..Default::default()
        }],
    };
    let answer = world.directory().upsert_organizations(request).await;
    assert_eq!(answer.unwrap().into_inner().failed_count, 0);
    let results = world.invite(&["a@b.co", "b@b.co"]).await.results;
    let expires = created(&results[0]).expire_time.unwrap().seconds;
    world.deliver_all().await;
    let lead = time::Duration::seconds(expires - START.unix_timestamp() - 86_400);
    world.clock.advance(lead);
    assert_eq!(world.service.remind().await.unwrap(), 2);
    // One of them wants no more mail since.
    crate::features::suppression::add(&world, "", &["b@b.co"]).await;
    world.deliver_all().await;
    let mails = server.delivered();
    let to_a: Vec<_> = mails.iter().filter(|mail| mail.to == "a@b.co").collect();
    assert_eq!((to_a.len(), mails.len()), (2, 3));
    assert_ne!(to_a[0].subject, to_a[1].subject);
    assert_ne!(to_a[0].text, to_a[1].text);
    assert_eq!(to_a[1].reference.as_ref().unwrap().send_seq, 2);
    let id = created(&results[1]).id;
    let delivery = world.get(&id).await.delivery.unwrap();
    assert_eq!(delivery.state(), DeliveryState::Suppressed);
}
