//! How long a relay that closes connections or asks for less email slows delivery down.

use std::time::Duration;

use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::support::lanes::lane;
use crate::support::relay::{RelayAction, SmtpStep};
use crate::support::waiting::wait_until;
use crate::support::{World, by_state};

/// Long for a busy machine, and short for a lane that sends a few emails a second.
const DELIVERY_MAX: Duration = Duration::from_secs(40);
const MESSAGES: usize = 600;

fn closing() -> RelayAction {
    RelayAction::ReplyAndClose("421 4.7.0 closing".to_owned())
}

/// A world whose failed lanes rest until the test ends.
async fn world_with_long_rests() -> World {
    let builder = World::builder().lanes(|relay| {
        let mut lane = lane(relay);
        lane.pause = Duration::from_mins(5);
        vec![lane]
    });
    builder.start().await
}

/// Delivers everything that is due, fast.
async fn deliver_fast(world: &mut World) -> usize {
    let delivered = timeout(DELIVERY_MAX, world.deliver_all()).await;
    delivered.expect("delivery was slowed down")
}

#[tokio::test]
async fn one_421_reply_slows_nothing_down() {
    for on in [
        SmtpStep::Greeting,
        SmtpStep::Ehlo,
        SmtpStep::Mail,
        SmtpStep::Rcpt,
        SmtpStep::Data,
        SmtpStep::Message,
    ] {
        let mut world = world_with_long_rests().await;
        let is_opening = matches!(on, SmtpStep::Greeting | SmtpStep::Ehlo);
        if !is_opening {
            world.invite_numbered("a.co", 20).await;
            deliver_fast(&mut world).await;
        }
        world.relay.act_once(on, closing());
        world.invite_numbered("b.co", 300).await;
        deliver_fast(&mut world).await;
        let count = if is_opening { 300 } else { 320 };
        let expected = by_state([("sent", count)]);
        assert_eq!(world.outbox_states().await, expected, "{on:?}");
        assert_eq!(world.outbox_attempts().await, [1], "{on:?}");
    }
}

#[tokio::test]
async fn a_relay_that_closes_connections_after_twenty_emails_slows_nothing_down() {
    let mut world = world_with_long_rests().await;
    world.relay.close_after(20);
    world.invite_numbered("b.co", MESSAGES).await;
    deliver_fast(&mut world).await;
    assert_eq!(world.relay.received_count(), MESSAGES);
    assert_eq!(world.outbox_attempts().await, [1]);
    let connections = world.relay.connections().len();
    assert!(connections <= MESSAGES / 20 + 4, "{connections}");
}

#[tokio::test]
async fn a_relay_that_allows_two_connections_gets_few_more() {
    let mut world = World::builder()
        .lanes(|relay| {
            let mut lane = lane(relay);
            lane.pause = Duration::from_secs(5);
            vec![lane]
        })
        .start()
        .await;
    world.relay.limit_connections(2);
    world.invite_numbered("b.co", MESSAGES).await;
    let stopping = CancellationToken::new();
    let running = tokio::spawn(world.take_worker().run(stopping.clone()));
    wait_until("every message", async || {
        world.relay.received_count() == MESSAGES
    })
    .await;
    stopping.cancel();
    running.await.unwrap();
    assert_eq!(world.outbox_attempts().await, [1]);
    // Two further connections are refused twice each, and tried again after the pause.
    let connections = world.relay.connections().len();
    assert!(connections < 60, "{connections}");
}

#[tokio::test]
async fn a_relay_that_asked_for_less_email_gets_more_within_seconds() {
    let mut world = World::start().await;
    world
        .relay
        .reply_once(SmtpStep::Rcpt, "450 4.7.1 too much mail");
    world.invite_numbered("b.co", MESSAGES).await;
    deliver_fast(&mut world).await;
    assert_eq!(world.relay.received_count(), MESSAGES - 1);
    world.clock.advance(time::Duration::minutes(1));
    deliver_fast(&mut world).await;
    assert_eq!(world.relay.received_count(), MESSAGES);
}
