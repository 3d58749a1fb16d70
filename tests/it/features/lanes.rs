//! Lanes: several ways out, their shares, spares and limits, and what a relay's answers do to them.

use std::collections::HashMap;
use std::time::Duration;

use invitations::delivery::{LaneConfig, Route};
use invitations::domain::bounce_address::SentMail;
use invitations::domain::keyring::Keyring;
use invitations::mail::smtp::{SmtpConfig, SmtpTls, SmtpTransport};
use invitations::mail::transport::Transport;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::features::suppression::add;
use crate::support::lanes::lane;
use crate::support::relay::{Encryption, Relay, RelayAction, SmtpStep};
use crate::support::smtp_session::smtp_config;
use crate::support::{KEYS, World, created};

/// Long enough that a lane that failed stays closed until the test ends.
const LONG: Duration = Duration::from_mins(5);

fn named(name: &str, weight: u32, relay: &Relay) -> LaneConfig {
    LaneConfig {
        name: name.to_owned(),
        weight,
        ..lane(relay)
    }
}

fn with_connections(mut lane: LaneConfig, count: usize) -> LaneConfig {
    if let Route::Each { connections, .. } = &mut lane.route {
        *connections = count;
    }
    lane
}

/// A lane that is left alone for long once it failed.
fn pausing(lane: LaneConfig) -> LaneConfig {
    LaneConfig {
        pause: LONG,
        ..lane
    }
}

fn at_rate(rate: f64, relay: &Relay) -> LaneConfig {
    LaneConfig {
        rate_max: Some(rate),
        ..lane(relay)
    }
}

fn over(config: SmtpConfig, lane: LaneConfig) -> LaneConfig {
    LaneConfig {
        route: Route::Each {
            transport: Transport::Smtp(SmtpTransport::new(config).unwrap()),
            connections: 4,
        },
        ..lane
    }
}

/// Invites so many people of a domain; their invitations' ids.
pub(crate) async fn invite(world: &World, domain: &str, count: usize) -> Vec<String> {
    let emails: Vec<String> = (0..count)
        .map(|number| format!("p{number}@{domain}"))
        .collect();
    let emails: Vec<&str> = emails.iter().map(String::as_str).collect();
    let results = world.invite(&emails).await.results;
    results.iter().map(|result| created(result).id).collect()
}

/// How many mails are in each state.
pub(crate) async fn states(world: &World) -> HashMap<String, i64> {
    let rows: Vec<(String, i64)> =
        sqlx::query_as("SELECT state, count(*) FROM outbox GROUP BY state")
            .fetch_all(&mut world.database().await)
            .await
            .unwrap();
    rows.into_iter().collect()
}

/// How often the mails were tried, most often first and each number once.
pub(crate) async fn attempts(world: &World) -> Vec<i32> {
    sqlx::query_scalar("SELECT DISTINCT attempts FROM outbox ORDER BY attempts DESC")
        .fetch_all(&mut world.database().await)
        .await
        .unwrap()
}

pub(crate) fn all(state: &str, count: i64) -> HashMap<String, i64> {
    HashMap::from([(state.to_owned(), count)])
}

#[tokio::test]
async fn lanes_with_room_share_the_mails_by_their_weights() {
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
    invite(&world, "b.co", 40).await;
    assert_eq!(world.deliver_all().await, 40);
    let shares = [world.relay.received().len(), other.received().len()];
    assert_eq!(shares, [30, 10]);
}

#[tokio::test]
async fn a_lane_that_is_full_leaves_the_mails_to_others() {
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
    invite(&world, "b.co", 40).await;
    world.deliver_all().await;
    let shares = [world.relay.received().len(), other.received().len()];
    assert_eq!(shares, [2, 38]);
}

#[tokio::test]
async fn a_spare_is_used_while_no_other_lane_works() {
    let spare = Relay::start(Encryption::None).await;
    let mut world = World::builder()
        .lanes(|relay| {
            vec![
                pausing(named("main", 1, relay)),
                with_connections(named("spare", 0, &spare), 64),
            ]
        })
        .start()
        .await;
    invite(&world, "b.co", 20).await;
    world.deliver_all().await;
    assert_eq!(world.relay.received().len(), 20);
    assert_eq!(spare.received().len(), 0);

    for _ in 0..4 {
        world.relay.reply_once(SmtpStep::Mail, "421 4.3.2 closing");
    }
    invite(&world, "c.co", 20).await;
    world.deliver_all().await;
    assert_eq!(spare.received().len(), 20, "all of them, at once");
    assert_eq!(attempts(&world).await, [1], "the other lane cost none");
}

#[tokio::test]
async fn mails_of_a_lane_with_a_wrong_password_go_out_over_the_other() {
    let locked = Relay::start(Encryption::Implicit).await;
    for _ in 0..4 {
        locked.reply_once(SmtpStep::Auth, "535 5.7.8 wrong password");
    }
    let mut world = World::builder()
        .lanes(|relay| {
            let refused = over(
                smtp_config(&locked, SmtpTls::Implicit),
                named("locked", 1, &locked),
            );
            vec![pausing(refused), named("main", 1, relay)]
        })
        .start()
        .await;
    invite(&world, "b.co", 20).await;
    world.deliver_all().await;
    assert_eq!(world.relay.received().len(), 20);
    assert_eq!(attempts(&world).await, [1]);
}

#[tokio::test]
async fn nothing_is_lost_while_every_lane_is_down() {
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
    invite(&world, "b.co", 20).await;
    world.deliver_all().await;
    assert_eq!(world.relay.received().len() + other.received().len(), 20);
    assert_eq!(states(&world).await, all("sent", 20));
    assert_eq!(attempts(&world).await, [1]);
}

#[tokio::test]
async fn a_lane_that_cannot_be_used_costs_no_mail_an_attempt() {
    for encryption in [Encryption::Implicit, Encryption::StartTls] {
        let tls = match encryption {
            Encryption::Implicit => SmtpTls::Implicit,
            _ => SmtpTls::StartTls,
        };
        let locked = Relay::start(encryption).await;
        for _ in 0..4 {
            locked.reply_once(SmtpStep::Auth, "535 5.7.8 wrong password");
        }
        let expired = Relay::start_expired(encryption).await;
        let mut world = World::builder()
            .lanes(|_| {
                [&locked, &expired]
                    .map(|relay| {
                        let name = relay.port().to_string();
                        pausing(over(smtp_config(relay, tls), named(&name, 1, relay)))
                    })
                    .into()
            })
            .start()
            .await;
        invite(&world, "b.co", 20).await;
        world.deliver_all().await;
        assert_eq!(states(&world).await, all("queued", 20));
        assert_eq!(attempts(&world).await, [0]);
        assert!(locked.received().is_empty() && expired.received().is_empty());
        world.may_leave_mail();
    }
}

#[tokio::test]
async fn a_relay_that_refuses_most_mails_for_policy_is_left_alone() {
    let mut world = World::builder()
        .lanes(|relay| vec![pausing(with_connections(lane(relay), 1))])
        .start()
        .await;
    for _ in 0..20 {
        world
            .relay
            .reply_once(SmtpStep::Rcpt, "550 5.7.1 looks like spam");
    }
    invite(&world, "b.co", 25).await;
    world.deliver_all().await;
    let expected = HashMap::from([("dead".to_owned(), 10), ("queued".to_owned(), 15)]);
    assert_eq!(states(&world).await, expected);
    world.may_leave_mail();
}

#[tokio::test]
async fn one_refusal_for_policy_is_the_mails_own() {
    let mut world = World::builder()
        .lanes(|relay| vec![pausing(lane(relay))])
        .start()
        .await;
    world
        .relay
        .reply_once(SmtpStep::Rcpt, "550 5.7.1 looks like spam");
    invite(&world, "b.co", 25).await;
    world.deliver_all().await;
    let expected = HashMap::from([("dead".to_owned(), 1), ("sent".to_owned(), 24)]);
    assert_eq!(states(&world).await, expected);
}

#[tokio::test]
async fn a_relay_that_is_closing_is_left_alone() {
    for stage in [
        SmtpStep::Greeting,
        SmtpStep::Mail,
        SmtpStep::Rcpt,
        SmtpStep::Message,
    ] {
        let mut world = World::builder()
            .lanes(|relay| vec![pausing(with_connections(lane(relay), 1))])
            .start()
            .await;
        let closing = RelayAction::ReplyAndClose("421 4.3.2 closing".to_owned());
        world.relay.act_once(stage, closing);
        invite(&world, "b.co", 5).await;
        world.deliver_all().await;
        assert_eq!(states(&world).await, all("queued", 5), "{stage:?}");
        assert_eq!(world.relay.connections().len(), 1, "{stage:?}");
        let counted = usize::from(matches!(stage, SmtpStep::Rcpt | SmtpStep::Message));
        assert_eq!(attempts(&world).await.len(), 1 + counted, "{stage:?}");
        world.may_leave_mail();
    }
}

#[tokio::test]
async fn a_mail_that_makes_a_relay_hang_up_lets_the_others_go_first() {
    let mut world = World::builder()
        .lanes(|relay| vec![with_connections(lane(relay), 1)])
        .start()
        .await;
    let closing = RelayAction::ReplyAndClose("421 4.3.2 closing".to_owned());
    world.relay.act_once(SmtpStep::Mail, closing);
    invite(&world, "b.co", 8).await;
    world.clock.advance(time::Duration::seconds(1));
    world.deliver_all().await;
    assert_eq!(states(&world).await, all("sent", 8));
    let said = String::from_utf8(world.relay.connections()[0].bytes.clone()).unwrap();
    let from = said.split("MAIL FROM:<").nth(1).unwrap();
    let from = from.split('>').next().unwrap();
    let tried_first = SentMail::of_bounce_address(&Keyring::parse(KEYS).unwrap(), from).unwrap();
    let id = tried_first.invitation_id;
    let came_last = world.mailbox().pop().unwrap().message_id;
    assert_eq!(came_last, format!("inv.{id}.1.1@example.com"));
}

#[tokio::test]
async fn a_ceiling_holds_over_all_connections() {
    let mut world = World::builder()
        .lanes(|relay| vec![at_rate(2.0, relay)])
        .start()
        .await;
    invite(&world, "b.co", 5).await;
    let begin = Instant::now();
    world.deliver_all().await;
    assert_eq!(world.relay.received().len(), 5);
    // Two at once, and three more half a second apart.
    assert!(begin.elapsed() >= Duration::from_millis(1_490));
}

#[tokio::test]
async fn a_relay_that_asks_for_less_gets_less() {
    let mut world = World::builder()
        .lanes(|relay| vec![with_connections(lane(relay), 1)])
        .start()
        .await;
    world
        .relay
        .reply_once(SmtpStep::Rcpt, "450 4.7.1 too much mail");
    invite(&world, "b.co", 2).await;
    let begin = Instant::now();
    world.deliver_all().await;
    assert_eq!(world.relay.received().len(), 1);
    // Half of the ten a second that a quiet hour counts as.
    assert!(begin.elapsed() >= Duration::from_millis(190));
    world.may_leave_mail();
}

#[tokio::test]
async fn a_domain_that_has_its_share_holds_nobody_else_up() {
    let mut world = World::builder()
        .lanes(|relay| {
            let mut lane = lane(relay);
            lane.domain_caps.in_flight_max = Some(1);
            vec![lane]
        })
        .start()
        .await;
    // The first mail is on its way for ever.
    world
        .relay
        .act_once(SmtpStep::Message, RelayAction::Silence);
    invite(&world, "slow.example", 200).await;
    let worker = world.take_worker();
    let running = tokio::spawn(worker.run(CancellationToken::new()));
    world.relay.wait_until_received(1).await;
    // One to each: what is given back for a while waits for a clock that stands still here.
    for number in 0..10 {
        invite(&world, &format!("b{number}.co"), 1).await;
    }
    world.relay.wait_until_received(11).await;
    let seen = world.relay.connections();
    let to_slow = seen.iter().map(|seen| {
        String::from_utf8_lossy(&seen.bytes)
            .matches("@slow.example>\r\n")
            .count()
    });
    assert_eq!(to_slow.sum::<usize>(), 1, "no second one beside it");
    running.abort();
    world.may_leave_mail();
}

#[tokio::test]
async fn a_domain_with_a_cap_gets_all_its_mails_in_the_end() {
    let mut world = World::builder()
        .lanes(|relay| {
            let mut lane = lane(relay);
            lane.domain_caps.in_flight_max = Some(1);
            vec![lane]
        })
        .start()
        .await;
    invite(&world, "slow.example", 100).await;
    invite(&world, "b.co", 10).await;
    while world.relay.received().len() < 110 {
        world.deliver_all().await;
        world.clock.advance(time::Duration::seconds(2));
    }
    assert_eq!(attempts(&world).await, [1], "waiting costs none");
    assert_eq!(world.relay.received().len(), 110);
}

#[tokio::test]
async fn a_mail_that_waits_in_stock_is_looked_at_again() {
    let mut world = World::builder()
        .lanes(|relay| vec![at_rate(0.1, relay)])
        .start()
        .await;
    invite(&world, "b.co", 2).await;
    let mut worker = world.take_worker();
    let suppressing = async {
        world.relay.wait_until_received(1).await;
        add(&world, "", &["p0@b.co", "p1@b.co"]).await;
    };
    let (tried, ()) = tokio::join!(worker.deliver_all(), suppressing);
    assert_eq!(tried.unwrap(), 2);
    assert_eq!(world.relay.received().len(), 1);
    let expected = HashMap::from([("sent".to_owned(), 1), ("canceled".to_owned(), 1)]);
    assert_eq!(states(&world).await, expected);
}

#[tokio::test]
async fn a_mail_whose_lease_was_lost_in_stock_is_left_to_whoever_has_it() {
    let mut world = World::builder()
        .lanes(|relay| vec![at_rate(0.1, relay)])
        .start()
        .await;
    invite(&world, "b.co", 2).await;
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
async fn a_worker_that_stops_gives_its_stock_back() {
    let mut world = World::builder()
        .lanes(|relay| {
            vec![LaneConfig {
                rate_max: Some(0.01),
                ..lane(relay)
            }]
        })
        .start()
        .await;
    invite(&world, "b.co", 8).await;
    let stopping = CancellationToken::new();
    let worker = world.take_worker();
    let stop = async {
        world.relay.wait_until_received(1).await;
        stopping.cancel();
    };
    tokio::join!(worker.run(stopping.clone()), stop);
    let expected = HashMap::from([("sent".to_owned(), 1), ("queued".to_owned(), 7)]);
    assert_eq!(states(&world).await, expected);
    assert_eq!(attempts(&world).await, [1, 0]);
    world.may_leave_mail();
}
