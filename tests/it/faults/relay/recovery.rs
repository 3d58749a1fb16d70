//! A relay that fails for some time: its lane rests, its emails take another lane, and soon after the relay works again
//! the emails leave.

use std::time::Duration;

use invitations::delivery::LaneConfig;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::support::lanes::lane;
use crate::support::mail_queue::MailQueue;
use crate::support::relay::{Encryption, Relay, RelayAction, SmtpStep};
use crate::support::waiting::{WAIT_MAX, wait_until};
use crate::support::{World, by_state};

const MESSAGES: usize = 12;
/// Longer than a test, so that a lane that rests is not probed.
const LONG_PAUSE: Duration = Duration::from_mins(5);
/// How often a test probes a lane that rests.
const SHORT_PAUSE: Duration = Duration::from_millis(50);

fn say(reply: &str) -> RelayAction {
    RelayAction::Reply(reply.to_owned())
}

fn say_and_close(reply: &str) -> RelayAction {
    RelayAction::ReplyAndClose(reply.to_owned())
}

fn named(name: &str, pause: Duration, relay: &Relay) -> LaneConfig {
    LaneConfig {
        name: name.to_owned(),
        pause,
        ..lane(relay)
    }
}

/// Every way in which a relay fails for all recipients, and whether the emails may be the cause, so that the first
/// attempts count.
fn outages() -> Vec<(SmtpStep, RelayAction, bool)> {
    vec![
        (
            SmtpStep::Greeting,
            say_and_close("421 4.3.2 closing"),
            false,
        ),
        (
            SmtpStep::Greeting,
            say_and_close("554 5.3.2 not now"),
            false,
        ),
        (SmtpStep::Greeting, RelayAction::Close, false),
        (SmtpStep::Ehlo, say_and_close("421 4.3.2 closing"), false),
        (SmtpStep::Mail, say_and_close("421 4.3.2 closing"), false),
        (SmtpStep::Mail, say("452 4.3.1 no space"), false),
        (SmtpStep::Mail, RelayAction::Reset, false),
        (SmtpStep::Rcpt, say("450 4.3.2 not accepting"), false),
        (SmtpStep::Rcpt, say("452 4.3.1 no space"), false),
        (SmtpStep::Rcpt, say("451 local error"), false),
        (SmtpStep::Rcpt, say_and_close("421 4.3.2 closing"), true),
        (SmtpStep::Rcpt, RelayAction::Reset, true),
        (SmtpStep::Data, say("451 4.3.0 queue file error"), false),
        (SmtpStep::Message, say("452 4.3.1 no space"), false),
        (SmtpStep::Message, say_and_close("421 4.3.2 closing"), true),
    ]
}

#[tokio::test]
async fn the_emails_of_a_failing_lane_are_sent_over_another_lane() {
    for (step, action, may_count) in outages() {
        let failing = Relay::start(Encryption::None).await;
        let mut world = World::builder()
            .lanes(|relay| {
                let failing = named("failing", LONG_PAUSE, &failing);
                vec![failing, named("working", LONG_PAUSE, relay)]
            })
            .start()
            .await;
        failing.act_always(step, action.clone());
        world.invite_numbered("b.co", 60).await;
        world.deliver_all().await;
        let tried = failing.attempt_count();
        // Some emails wait, because it was not clear yet that the lane was failing.
        world.clock.advance(time::Duration::minutes(1));
        world.deliver_all().await;
        let case = format!("{step:?} {action:?}");
        assert_eq!(failing.attempt_count(), tried, "{case}: it did not rest");
        assert!(tried <= 10, "{case}: {tried} attempts");
        assert_eq!(
            world.outbox_states().await,
            by_state([("sent", 60)]),
            "{case}"
        );
        let attempts = world.outbox_attempts().await;
        assert!(attempts == [1] || may_count && attempts == [2, 1], "{case}");
    }
}

#[tokio::test]
async fn emails_leave_soon_after_the_only_relay_works_again() {
    for (step, action, may_count) in outages() {
        let case = format!("{step:?} {action:?}");
        let mut world = World::builder()
            .lanes(|relay| vec![named("only", SHORT_PAUSE, relay)])
            .start()
            .await;
        world.relay.act_always(step, action);
        world.invite_numbered("b.co", MESSAGES).await;
        let stopping = CancellationToken::new();
        let running = tokio::spawn(world.take_worker().run(stopping.clone()));
        // Every email was tried, and then the lane was probed.
        wait_until(&case, async || world.relay.attempt_count() > MESSAGES * 2).await;
        world.relay.recover();
        wait_until(&case, async || world.relay.received_count() >= 1).await;
        world.clock.advance(time::Duration::minutes(1));
        wait_until(&case, async || {
            world.outbox_states().await == by_state([("sent", 12)])
        })
        .await;
        let attempts = world.outbox_attempts().await;
        assert!(attempts == [1] || may_count && attempts == [2, 1], "{case}");
        stopping.cancel();
        running.await.unwrap();
    }
}

#[tokio::test]
async fn a_resting_lane_is_probed_with_one_email_at_a_time() {
    let mut world = World::builder()
        .lanes(|relay| vec![named("only", Duration::from_secs(1), relay)])
        .start()
        .await;
    // The relay accepts connections and says nothing.
    world
        .relay
        .act_always(SmtpStep::Greeting, say_and_close("421 4.3.2 closing"));
    world.invite_numbered("b.co", MESSAGES).await;
    world.deliver_all().await;
    let tried = world.relay.attempt_count();
    world
        .relay
        .act_always(SmtpStep::Greeting, RelayAction::Silence);
    let stopping = CancellationToken::new();
    let running = tokio::spawn(world.take_worker().run(stopping.clone()));
    for probes in 1..=3 {
        wait_until("a probe", async || {
            world.relay.attempt_count() >= tried + probes
        })
        .await;
        let states = world.outbox_states().await;
        let sending = states.get("sending").copied().unwrap_or_default();
        let probes = i64::try_from(probes).unwrap();
        assert!(sending <= probes + 1, "{sending} after {probes} probes");
    }
    // A relay that accepts the fourth connection gets everything, although the others still wait for a greeting.
    world.relay.recover();
    world.relay.wait_until_received(MESSAGES - 3).await;
    running.abort();
    world.may_leave_mail();
}

#[tokio::test]
async fn a_relay_that_refuses_every_second_email_for_now_keeps_its_lane() {
    let mut world = World::builder()
        .lanes(|relay| vec![named("only", LONG_PAUSE, relay)])
        .start()
        .await;
    for _ in 0..40 {
        world
            .relay
            .reply_once(SmtpStep::Rcpt, "250 2.1.5 ok")
            .reply_once(SmtpStep::Rcpt, "451 4.3.0 lookup failed");
    }
    world.invite_numbered("b.co", 40).await;
    for _ in 0..10 {
        world.deliver_all().await;
        world.clock.advance(time::Duration::minutes(5));
    }
    assert_eq!(world.outbox_states().await, by_state([("sent", 40)]));
    assert_eq!(world.outbox_attempts().await, [1]);
}

#[tokio::test]
async fn a_relay_that_greylists_every_recipient_keeps_its_lane() {
    let mut world = World::builder()
        .lanes(|relay| vec![named("only", LONG_PAUSE, relay)])
        .start()
        .await;
    world.relay.greylist(1);
    world.invite_numbered("b.co", 60).await;
    assert_eq!(world.deliver_all().await, 60);
    world.clock.advance(time::Duration::minutes(6));
    assert_eq!(world.deliver_all().await, 60);
    assert_eq!(world.outbox_attempts().await, [2]);
}

#[tokio::test]
async fn a_single_email_is_probed_with_until_its_relay_works_again() {
    let queue = MailQueue::with_messages(1).await;
    let relay = &queue.deployment.relay;
    relay.reply_always(SmtpStep::Rcpt, "450 4.3.2 not accepting");
    let _worker = queue.start_worker(&[("INVITATIONS_POLL_INTERVAL", "100ms")]);
    wait_until("probes", async || relay.attempt_count() > 8).await;
    relay.recover();
    timeout(WAIT_MAX, relay.wait_until_received(1))
        .await
        .unwrap();
    queue.wait_until_all_sent().await;
    assert_eq!(queue.attempts().await.into_values().max(), Some(1));
}

#[tokio::test]
#[ignore = "takes ten minutes"]
async fn the_first_email_leaves_within_15_seconds_after_an_outage_of_ten_minutes() {
    let queue = MailQueue::with_messages(2_000).await;
    let relay = &queue.deployment.relay;
    relay.act_always(SmtpStep::Greeting, say_and_close("421 4.3.2 closing"));
    let _worker = queue.start_worker(&[
        ("INVITATIONS_SMTP_PAUSE", "5s"),
        ("INVITATIONS_LEASE_DURATION", "120s"),
    ]);
    tokio::time::sleep(Duration::from_mins(10)).await;
    relay.recover();
    timeout(Duration::from_secs(15), relay.wait_until_received(1))
        .await
        .expect("no email left within 15 seconds");
    queue.wait_until_all_sent().await;
    assert_eq!(queue.attempts().await.into_values().max(), Some(1));
}
