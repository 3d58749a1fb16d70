//! Lanes: weights, spare lanes, rate limits, and how the replies of a relay close a lane.

use std::time::Duration;

use invitations::delivery::{LaneConfig, LaneTransport};
use invitations::domain::bounce_address::SentMail;
use invitations::domain::keyring::Keyring;
use invitations::mail::smtp::{SmtpConfig, SmtpTls, SmtpTransport};
use invitations::mail::transport::Transport;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::support::lanes::lane;
use crate::support::relay::{Encryption, Relay, RelayAction, SmtpStep};
use crate::support::smtp_session::smtp_config;
use crate::support::{KEYS, World, by_state};

/// Longer than a test, so that a failed lane stays closed until the test ends.
const LONG_PAUSE: Duration = Duration::from_mins(5);

fn named(name: &str, weight: u32, relay: &Relay) -> LaneConfig {
    LaneConfig {
        name: name.to_owned(),
        weight,
        ..lane(relay)
    }
}

fn with_connections(mut lane: LaneConfig, count: usize) -> LaneConfig {
    if let LaneTransport::PerMessage { connections, .. } = &mut lane.transport {
        *connections = count;
    }
    lane
}

/// A lane that stays closed once it has failed.
fn with_long_pause(lane: LaneConfig) -> LaneConfig {
    LaneConfig {
        pause: LONG_PAUSE,
        ..lane
    }
}

fn with_rate(rate: f64, relay: &Relay) -> LaneConfig {
    LaneConfig {
        rate_max: Some(rate),
        ..lane(relay)
    }
}

fn with_smtp(config: SmtpConfig, lane: LaneConfig) -> LaneConfig {
    LaneConfig {
        transport: LaneTransport::PerMessage {
            transport: Transport::Smtp(SmtpTransport::new(config).unwrap()),
            connections: 4,
        },
        ..lane
    }
}

#[tokio::test]
async fn lanes_share_the_messages_by_their_weights() {
    let other = Relay::start(Encryption::None).await;
    let mut world = World::builder()
        .lanes(|relay| {
            vec![
                with_connections(named("heavy", 3, relay), 64),
                with_connections(named("light", 1, &other), 64),
            ]
        })
        .start()
        .await;
    world.invite_numbered("b.co", 40).await;
    assert_eq!(world.deliver_all().await, 40);
    let shares = [world.relay.received().len(), other.received().len()];
    assert_eq!(shares, [30, 10]);
}

#[tokio::test]
async fn a_full_lane_leaves_messages_to_other_lanes() {
    let other = Relay::start(Encryption::None).await;
    let mut world = World::builder()
        .lanes(|relay| {
            vec![
                with_connections(named("heavy", 3, relay), 2),
                with_connections(named("light", 1, &other), 64),
            ]
        })
        .start()
        .await;
    world.invite_numbered("b.co", 40).await;
    world.deliver_all().await;
    let shares = [world.relay.received().len(), other.received().len()];
    assert_eq!(shares, [2, 38]);
}

#[tokio::test]
async fn a_spare_lane_is_used_only_while_no_other_lane_works() {
    let spare = Relay::start(Encryption::None).await;
    let mut world = World::builder()
        .lanes(|relay| {
            vec![
                with_long_pause(named("main", 1, relay)),
                with_connections(named("spare", 0, &spare), 64),
            ]
        })
        .start()
        .await;
    world.invite_numbered("b.co", 20).await;
    world.deliver_all().await;
    assert_eq!(world.relay.received().len(), 20);
    assert_eq!(spare.received().len(), 0);

    world
        .relay
        .reply_always(SmtpStep::Mail, "421 4.3.2 closing");
    world.invite_numbered("c.co", 20).await;
    world.deliver_all().await;
    assert_eq!(
        spare.received().len(),
        20,
        "the spare lane sends all messages"
    );
    assert_eq!(
        world.outbox_attempts().await,
        [1],
        "the failed lane counts no attempt"
    );
}

#[tokio::test]
async fn messages_of_a_lane_with_a_wrong_password_are_sent_over_another_lane() {
    let locked = Relay::start(Encryption::Implicit).await;
    locked.reply_always(SmtpStep::Auth, "535 5.7.8 wrong password");
    let mut world = World::builder()
        .lanes(|relay| {
            let refused = with_smtp(
                smtp_config(&locked, SmtpTls::Implicit),
                named("locked", 1, &locked),
            );
            vec![with_long_pause(refused), named("main", 1, relay)]
        })
        .start()
        .await;
    world.invite_numbered("b.co", 20).await;
    world.deliver_all().await;
    assert_eq!(world.relay.received().len(), 20);
    assert_eq!(world.outbox_attempts().await, [1]);
}

#[tokio::test]
async fn no_message_is_lost_while_every_lane_is_down() {
    let other = Relay::start(Encryption::None).await;
    let mut world = World::builder()
        .lanes(|relay| vec![named("one", 1, relay), named("other", 1, &other)])
        .start()
        .await;
    for relay in [&world.relay, &other] {
        for _ in 0..10 {
            let closing = RelayAction::ReplyAndClose("554 5.3.2 not now".to_owned());
            relay.act_once(SmtpStep::Greeting, closing);
        }
    }
    world.invite_numbered("b.co", 20).await;
    world.deliver_all().await;
    assert_eq!(world.relay.received().len() + other.received().len(), 20);
    assert_eq!(world.outbox_states().await, by_state([("sent", 20)]));
    assert_eq!(world.outbox_attempts().await, [1]);
}

#[tokio::test]
async fn an_unusable_lane_counts_no_attempt() {
    for encryption in [Encryption::Implicit, Encryption::StartTls] {
        let tls = match encryption {
            Encryption::Implicit => SmtpTls::Implicit,
            _ => SmtpTls::StartTls,
        };
        let locked = Relay::start(encryption).await;
        locked.reply_always(SmtpStep::Auth, "535 5.7.8 wrong password");
        let expired = Relay::start_expired(encryption).await;
        let mut world = World::builder()
            .lanes(|_| {
                [&locked, &expired]
                    .map(|relay| {
                        let name = relay.port().to_string();
                        with_long_pause(with_smtp(smtp_config(relay, tls), named(&name, 1, relay)))
                    })
                    .into()
            })
            .start()
            .await;
        world.invite_numbered("b.co", 20).await;
        world.deliver_all().await;
        assert_eq!(world.outbox_states().await, by_state([("queued", 20)]));
        assert_eq!(world.outbox_attempts().await, [0]);
        assert!(locked.received().is_empty() && expired.received().is_empty());
        world.may_leave_mail();
    }
}

#[tokio::test]
async fn a_relay_that_refuses_most_messages_by_policy_closes_its_lane() {
    let mut world = World::builder()
        .lanes(|relay| vec![with_long_pause(with_connections(lane(relay), 1))])
        .start()
        .await;
    for _ in 0..20 {
        world
            .relay
            .reply_once(SmtpStep::Rcpt, "550 5.7.1 looks like spam");
    }
    world.invite_numbered("b.co", 25).await;
    world.deliver_all().await;
    let expected = by_state([("dead", 10), ("queued", 15)]);
    assert_eq!(world.outbox_states().await, expected);
    world.may_leave_mail();
}

#[tokio::test]
async fn one_refusal_by_policy_fails_only_its_message() {
    let mut world = World::builder()
        .lanes(|relay| vec![with_long_pause(lane(relay))])
        .start()
        .await;
    world
        .relay
        .reply_once(SmtpStep::Rcpt, "550 5.7.1 looks like spam");
    world.invite_numbered("b.co", 25).await;
    world.deliver_all().await;
    let expected = by_state([("dead", 1), ("sent", 24)]);
    assert_eq!(world.outbox_states().await, expected);
}

#[tokio::test]
async fn a_421_reply_to_two_new_connections_rests_the_lane() {
    for stage in [
        SmtpStep::Greeting,
        SmtpStep::Ehlo,
        SmtpStep::Mail,
        SmtpStep::Rcpt,
        SmtpStep::Message,
    ] {
        let mut world = World::builder()
            .lanes(|relay| vec![with_long_pause(with_connections(lane(relay), 1))])
            .start()
            .await;
        let closing = RelayAction::ReplyAndClose("421 4.3.2 closing".to_owned());
        world.relay.act_always(stage, closing);
        world.invite_numbered("b.co", 5).await;
        world.deliver_all().await;
        assert_eq!(
            world.outbox_states().await,
            by_state([("queued", 5)]),
            "{stage:?}"
        );
        assert_eq!(world.relay.connections().len(), 2, "{stage:?}");
        let counted = usize::from(matches!(stage, SmtpStep::Rcpt | SmtpStep::Message));
        assert_eq!(
            world.outbox_attempts().await.len(),
            1 + counted,
            "{stage:?}"
        );
        world.may_leave_mail();
    }
}

#[tokio::test]
async fn a_message_that_makes_the_relay_disconnect_is_retried_after_the_others() {
    let mut world = World::builder()
        .lanes(|relay| vec![with_connections(lane(relay), 1)])
        .start()
        .await;
    let closing = RelayAction::ReplyAndClose("421 4.3.2 closing".to_owned());
    world.relay.act_once(SmtpStep::Mail, closing);
    world.invite_numbered("b.co", 8).await;
    world.clock.advance(time::Duration::seconds(1));
    world.deliver_all().await;
    assert_eq!(world.outbox_states().await, by_state([("sent", 8)]));
    let received = String::from_utf8(world.relay.connections()[0].bytes.clone()).unwrap();
    let from = received.split("MAIL FROM:<").nth(1).unwrap();
    let from = from.split('>').next().unwrap();
    let tried_first = SentMail::of_bounce_address(&Keyring::parse(KEYS).unwrap(), from).unwrap();
    let id = tried_first.invitation_id;
    let sent_last = world.mailbox().pop().unwrap().message_id;
    assert_eq!(sent_last, format!("inv.{id}.1.1@example.com"));
}

#[tokio::test]
async fn the_rate_limit_of_a_lane_covers_all_connections() {
    let mut world = World::builder()
        .lanes(|relay| vec![with_rate(2.0, relay)])
        .start()
        .await;
    world.invite_numbered("b.co", 5).await;
    let begin = Instant::now();
    world.deliver_all().await;
    assert_eq!(world.relay.received().len(), 5);
    // Two messages immediately, and three more, half a second apart.
    assert!(begin.elapsed() >= Duration::from_millis(1_490));
}

#[tokio::test]
async fn a_deferral_for_volume_slows_the_lane_down() {
    let mut world = World::builder()
        .lanes(|relay| vec![with_connections(lane(relay), 1)])
        .start()
        .await;
    world
        .relay
        .reply_once(SmtpStep::Rcpt, "450 4.7.1 too much mail");
    world.invite_numbered("b.co", 2).await;
    let begin = Instant::now();
    world.deliver_all().await;
    assert_eq!(world.relay.received().len(), 1);
    // Half of ten messages a second, which is the rate after an hour without messages.
    assert!(begin.elapsed() >= Duration::from_millis(190));
    world.may_leave_mail();
}

#[tokio::test]
async fn a_domain_at_its_cap_does_not_delay_other_domains() {
    let mut world = World::builder()
        .lanes(|relay| {
            let mut lane = lane(relay);
            lane.domain_caps.in_flight_max = Some(1);
            vec![lane]
        })
        .start()
        .await;
    // The relay never replies to the first message.
    world
        .relay
        .act_once(SmtpStep::Message, RelayAction::Silence);
    world.invite_numbered("slow.example", 200).await;
    let worker = world.take_worker();
    let running = tokio::spawn(worker.run(CancellationToken::new()));
    world.relay.wait_until_received(1).await;
    // One message for each domain, because a message that is put back waits for the clock, which stands still.
    for number in 0..10 {
        world.invite_numbered(&format!("b{number}.co"), 1).await;
    }
    world.relay.wait_until_received(11).await;
    let seen = world.relay.connections();
    let to_slow = seen.iter().map(|seen| {
        String::from_utf8_lossy(&seen.bytes)
            .matches("@slow.example>\r\n")
            .count()
    });
    assert_eq!(
        to_slow.sum::<usize>(),
        1,
        "a second message to the domain at the same time"
    );
    running.abort();
    world.may_leave_mail();
}

#[tokio::test]
async fn a_domain_with_a_cap_gets_all_messages_eventually() {
    let mut world = World::builder()
        .lanes(|relay| {
            let mut lane = lane(relay);
            lane.domain_caps.in_flight_max = Some(1);
            vec![lane]
        })
        .start()
        .await;
    world.invite_numbered("slow.example", 100).await;
    world.invite_numbered("b.co", 10).await;
    while world.relay.received().len() < 110 {
        world.deliver_all().await;
        world.clock.advance(time::Duration::seconds(2));
    }
    assert_eq!(
        world.outbox_attempts().await,
        [1],
        "waiting counts no attempt"
    );
    assert_eq!(world.relay.received().len(), 110);
}

#[tokio::test]
async fn a_buffered_message_is_checked_again_before_it_is_sent() {
    let mut world = World::builder()
        .lanes(|relay| vec![with_rate(0.1, relay)])
        .start()
        .await;
    world.invite_numbered("b.co", 2).await;
    let mut worker = world.take_worker();
    let suppressing = async {
        world.relay.wait_until_received(1).await;
        world.suppress("", &["p0@b.co", "p1@b.co"]).await;
    };
    let (tried, ()) = tokio::join!(worker.deliver_all(), suppressing);
    assert_eq!(tried.unwrap(), 2);
    assert_eq!(world.relay.received().len(), 1);
    let expected = by_state([("sent", 1), ("canceled", 1)]);
    assert_eq!(world.outbox_states().await, expected);
}

#[tokio::test]
async fn a_buffered_message_whose_lease_was_lost_is_not_sent() {
    let mut world = World::builder()
        .lanes(|relay| vec![with_rate(0.1, relay)])
        .start()
        .await;
    world.invite_numbered("b.co", 2).await;
    let mut worker = world.take_worker();
    let stealing = async {
        world.relay.wait_until_received(1).await;
        sqlx::query("UPDATE outbox SET lease_token = gen_random_uuid() WHERE state = 'sending'")
            .execute(&mut world.database().await)
            .await
            .unwrap();
    };
    let (tried, ()) = tokio::join!(worker.deliver_all(), stealing);
    assert_eq!(tried.unwrap(), 2);
    assert_eq!(world.relay.received().len(), 1);
    world.may_leave_mail();
}

#[tokio::test]
async fn a_stopping_worker_returns_its_buffered_messages_to_the_queue() {
    let mut world = World::builder()
        .lanes(|relay| {
            vec![LaneConfig {
                rate_max: Some(0.01),
                ..lane(relay)
            }]
        })
        .start()
        .await;
    world.invite_numbered("b.co", 8).await;
    let stopping = CancellationToken::new();
    let worker = world.take_worker();
    let stop = async {
        world.relay.wait_until_received(1).await;
        stopping.cancel();
    };
    tokio::join!(worker.run(stopping.clone()), stop);
    let expected = by_state([("sent", 1), ("queued", 7)]);
    assert_eq!(world.outbox_states().await, expected);
    assert_eq!(world.outbox_attempts().await, [1, 0]);
    world.may_leave_mail();
}
