//! Events that another process commits.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use invitations::proto::WatchRequest;
use tokio::time::{sleep, timeout};

use super::{LONG_INTERVAL, SHORT_INTERVAL, invite_many};
use crate::support::watch_stream::{EVENT_TIMEOUT, WatchStream, watch_request};
use crate::support::{World, created, invite_request, invite_to_other_request, numbered_emails};

#[tokio::test]
async fn a_commit_in_another_process_wakes_a_watch_before_its_next_poll() {
    let mut world = World::start().await;
    world.may_leave_mail();
    world.listen(LONG_INTERVAL);
    let second = world.start_second_server(LONG_INTERVAL).await;
    wait_until_listening(&world, 2).await;
    let mut watch = WatchStream::begin(second.client.clone(), watch_request()).await;
    let mut longest = Duration::ZERO;
    for number in 0..20 {
        let begin = Instant::now();
        invite_many(&world, &format!("person{number}x"), 1).await;
        watch.wait_for_events(number + 1).await;
        longest = longest.max(begin.elapsed());
    }
    eprintln!("the slowest of 20 took {longest:?} from call to event");
    assert!(longest < EVENT_TIMEOUT, "{longest:?}");
    // The notification also wakes the worker of the other process.
    let queued = second.store.notifier().mail_queued();
    timeout(EVENT_TIMEOUT, queued).await.unwrap();
}

#[tokio::test]
async fn a_commit_in_another_process_wakes_a_watch_of_all_organizations() {
    let mut world = World::start().await;
    world.may_leave_mail();
    world.listen(LONG_INTERVAL);
    let second = world.start_second_server(LONG_INTERVAL).await;
    wait_until_listening(&world, 2).await;
    let mut watch = WatchStream::begin(second.client.clone(), WatchRequest::default()).await;
    invite_many(&world, "person", 1).await;
    watch.wait_for_events(1).await;
    let request = invite_to_other_request(&["person@b.co"]);
    world.bulk_create(request).await;
    watch.wait_for_events(2).await;
}

/// Waits until `count` processes listen for notifications. Returns the process ids of their database sessions.
async fn wait_until_listening(world: &World, count: usize) -> Vec<i32> {
    let mut database = world.database().await;
    let begin = Instant::now();
    loop {
        let pids: Vec<i32> = sqlx::query_scalar(
            "SELECT pid FROM pg_stat_activity
              WHERE datname = current_database() AND application_name = 'invitations-listener'
                AND query LIKE 'LISTEN%'",
        )
        .fetch_all(&mut database)
        .await
        .unwrap();
        if pids.len() == count {
            return pids;
        }
        assert!(begin.elapsed() < EVENT_TIMEOUT, "{pids:?}");
        sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn events_arrive_by_polling_while_the_listening_connection_reconnects() {
    let mut world = World::start().await;
    world.may_leave_mail();
    let second = world.start_second_server(SHORT_INTERVAL).await;
    // The first server sends no notifications, so the second one finds the events by polling.
    let mut watch = WatchStream::begin(second.client.clone(), watch_request()).await;
    invite_many(&world, "untold", 1).await;
    watch.wait_for_events(1).await;
    let mut database = world.database().await;
    let mut last = wait_until_listening(&world, 1).await[0];
    for number in 0..3 {
        sqlx::query("SELECT pg_terminate_backend($1)")
            .bind(last)
            .execute(&mut database)
            .await
            .unwrap();
        invite_many(&world, &format!("broken{number}x"), 1).await;
        watch.wait_for_events(number + 2).await;
        let begin = Instant::now();
        loop {
            let pids = wait_until_listening(&world, 1).await;
            if pids[0] != last {
                last = pids[0];
                break;
            }
            assert!(begin.elapsed() < EVENT_TIMEOUT);
            sleep(Duration::from_millis(20)).await;
        }
    }
}

/// The number of events per second, and of seconds.
fn rate_and_seconds() -> (usize, usize) {
    let from_env = |name: &str, default: usize| {
        let value = std::env::var(name).ok();
        value
            .and_then(|value| value.parse().ok())
            .unwrap_or(default)
    };
    (
        from_env("INVITATIONS_TEST_EVENT_RATE", 200),
        from_env("INVITATIONS_TEST_EVENT_SECONDS", 2),
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_events_arrive_soon_under_load() {
    let (rate, seconds) = rate_and_seconds();
    let mut world = World::start().await;
    world.may_leave_mail();
    world.listen(Duration::from_secs(1));
    let second = world.start_second_server(Duration::from_secs(1)).await;
    wait_until_listening(&world, 2).await;
    let mut watch = WatchStream::begin(second.client.clone(), watch_request()).await;
    // Twenty calls a second at every rate: this test measures events and not calls.
    let per_call = (rate / 20).max(1);
    let (calls, pause) = (rate * seconds / per_call, Duration::from_millis(50));
    let calling = async {
        let mut running = tokio::task::JoinSet::new();
        let mut ticks = tokio::time::interval(pause);
        for call in 0..calls {
            ticks.tick().await;
            let mut client = world.client();
            running.spawn(async move {
                let emails = numbered_emails(&format!("load{call}x"), "b.co", 0..per_call);
                let answer = client.bulk_create(invite_request(&emails)).await.unwrap();
                let answered_at = Instant::now();
                (created(&answer.into_inner().results[0]).id, answered_at)
            });
        }
        running.join_all().await
    };
    let mut received_at = BTreeMap::new();
    let watching = async {
        while watch.events.len() < calls * per_call {
            let known = watch.events.len();
            watch.next().await.unwrap();
            for event in &watch.events[known..] {
                received_at.insert(event.invitation_id.clone(), Instant::now());
            }
        }
    };
    let (answered, ()) = tokio::join!(calling, watching);
    let mut latencies: Vec<Duration> = answered
        .iter()
        .map(|(id, answered_at)| received_at[id].saturating_duration_since(*answered_at))
        .collect();
    latencies.sort_unstable();
    let at = |percent: usize| latencies[(latencies.len() - 1) * percent / 100];
    eprintln!(
        "{} events, {rate} a second: from answer to event in another process p50 {:?}, p99 {:?}, at most {:?}",
        calls * per_call,
        at(50),
        at(99),
        at(100)
    );
    assert_eq!(watch.events.len(), calls * per_call);
    let ids: BTreeSet<_> = watch.event_ids().into_iter().collect();
    assert_eq!(ids.len(), calls * per_call);
}
