//! No crash loses a mail. What may arrive twice is what the relay took and nobody could write down any more: one mail
//! for each connection, and the same to the byte.

mod batches;
mod outage;

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use sqlx::Executor as _;
use tokio::time::{Instant, sleep};

use crate::support::queue::{self, CONNECTIONS, LONG_LEASE, Queue};
use crate::support::relay::{Act, On};
use crate::support::site::{PATIENCE, until};

/// Processes that are killed, each with a mail on each of its connections: more than fifty mails.
const CRASHES: usize = 13;
/// The most mails that a process holds: on its connections, and as many in stock.
const HELD_MAX: usize = 2 * CONNECTIONS;

#[tokio::test]
async fn what_was_taken_whole_before_the_crash_arrives_twice_as_the_same_mail() {
    let mails = CRASHES * HELD_MAX + 20;
    let queue = Queue::of(mails).await;
    for crash in 1..=CRASHES {
        // The final dot is there; of the answer nobody hears.
        queue.next(On::Message, &Act::Silence);
        let running = queue.worker(&[LONG_LEASE]);
        queue.until_taken(crash * CONNECTIONS).await;
        running.crash().await;
    }
    let doubled = queue::Arrivals::of(&queue.site.relay.taken());
    assert_eq!(doubled.0.len(), CRASHES * CONNECTIONS);

    queue.end_leases().await;
    let _running = queue.worker(&[]);
    queue.until_all_sent().await;
    let arrivals = queue.arrivals(mails);
    assert_eq!(arrivals.that_came(2), doubled.that_came(1));
    assert_eq!(arrivals.duplicates(), CRASHES * CONNECTIONS);
}

#[tokio::test]
async fn what_was_accepted_and_not_committed_before_the_crash_arrives_twice_as_the_same_mail() {
    let mails = CRASHES * HELD_MAX + 20;
    let queue = Queue::of(mails).await;
    let patient = [
        LONG_LEASE,
        ("INVITATIONS_DATABASE_LOCK_TIMEOUT", "10m"),
        ("INVITATIONS_DATABASE_STATEMENT_TIMEOUT", "10m"),
    ];
    // Nobody can write down what became of any mail.
    let mut holder = queue.site.database.connect().await;
    holder.execute("BEGIN").await.unwrap();
    holder
        .execute("SELECT FROM invitations FOR UPDATE")
        .await
        .unwrap();
    for crash in 1..=CRASHES {
        let running = queue.worker(&patient);
        queue.until_taken(crash * CONNECTIONS).await;
        // Statements of the dead wait on: Postgres does not look whether somebody still wants the answer.
        until("the settlement to wait", async || {
            queue.count(SETTLEMENTS_THAT_WAIT).await == crash
        })
        .await;
        running.crash().await;
    }
    let doubled = queue::Arrivals::of(&queue.site.relay.taken());
    assert_eq!(doubled.0.len(), CRASHES * CONNECTIONS);
    holder.execute("ROLLBACK").await.unwrap();
    until("the statements of the dead to end", async || {
        queue.count(SETTLEMENTS).await == 0
    })
    .await;
    assert_eq!(queue.count("outbox WHERE state = 'sent'").await, 0);

    queue.end_leases().await;
    let _running = queue.worker(&[]);
    queue.until_all_sent().await;
    let arrivals = queue.arrivals(mails);
    assert_eq!(arrivals.that_came(2), doubled.that_came(1));
    assert_eq!(arrivals.duplicates(), CRASHES * CONNECTIONS);
}

const SETTLEMENTS: &str = "pg_stat_activity
    WHERE datname = current_database() AND state = 'active' AND query LIKE '-- store::settlements::settle_many%'";
const SETTLEMENTS_THAT_WAIT: &str = "pg_stat_activity
    WHERE datname = current_database() AND wait_event_type = 'Lock'
      AND query LIKE '-- store::settlements::settle_many%'";

#[tokio::test]
async fn what_had_no_final_dot_before_the_crash_arrives_once() {
    let mails = CRASHES * HELD_MAX + 20;
    let queue = Queue::of(mails).await;
    let stages = [(On::Mail, "MAIL"), (On::Rcpt, "RCPT"), (On::Data, "DATA")];
    for (stage, verb) in stages.into_iter().cycle().take(CRASHES) {
        queue.next(stage, &Act::Silence);
        let before = queue.site.relay.seen().len();
        let running = queue.worker(&[LONG_LEASE]);
        until("every connection to come so far", async || {
            let seen = queue.site.relay.seen();
            let last = |at: usize| seen[at].verbs().last().map(String::as_str) == Some(verb);
            (before..seen.len()).filter(|at| last(*at)).count() == CONNECTIONS
        })
        .await;
        running.crash().await;
    }
    assert_eq!(queue.site.relay.taken_count(), 0);

    queue.end_leases().await;
    let _running = queue.worker(&[]);
    queue.until_all_sent().await;
    assert_eq!(queue.arrivals(mails).duplicates(), 0);
}

#[tokio::test]
async fn a_hundred_crashes_at_any_moment_lose_no_mail() {
    let crashes = 100;
    let seed: u64 = rand::random();
    eprintln!("seed {seed}");
    let mut chance = StdRng::seed_from_u64(seed);
    let mut mails = 1000;
    let queue = Queue::of(mails).await;
    for _ in 0..crashes {
        if queue.count("outbox WHERE state = 'queued'").await < 200 {
            queue.invite(mails, 500).await;
            mails += 500;
        }
        let taken = queue.site.relay.taken_count() + chance.random_range(1..16);
        let running = queue.worker(&[]);
        let deadline = Instant::now() + PATIENCE;
        while queue.site.relay.taken_count() < taken {
            assert!(Instant::now() < deadline, "{}", running.log());
            sleep(Duration::from_millis(1)).await;
        }
        // Between any two steps of what follows.
        sleep(Duration::from_micros(chance.random_range(0..4000))).await;
        running.crash().await;
    }

    let _running = queue.worker(&[]);
    queue.until_all_sent().await;
    let arrivals = queue.arrivals(mails);
    let duplicates = arrivals.duplicates();
    eprintln!("{mails} mails, {duplicates} duplicates");
    assert!(duplicates <= crashes * CONNECTIONS, "{duplicates}");
    let attempts = queue.attempts().await;
    for (rcpt, times) in arrivals.0 {
        assert!(times <= attempts[&rcpt], "{rcpt} got a mail nobody claimed");
    }
}

#[tokio::test]
async fn an_orderly_end_under_load_doubles_nothing_and_holds_nothing_back() {
    let ends = 10;
    let mails = 1000;
    let seed: u64 = rand::random();
    eprintln!("seed {seed}");
    let mut chance = StdRng::seed_from_u64(seed);
    let queue = Queue::of(mails).await;
    for _ in 0..ends {
        let taken = queue.site.relay.taken_count() + chance.random_range(1..50);
        let mut running = queue.worker(&[LONG_LEASE]);
        queue.until_taken(taken).await;
        running.terminate().await;
        assert!(running.ended().await.success(), "{}", running.log());
        assert_eq!(queue.count("outbox WHERE state = 'sending'").await, 0);
    }
    let left = queue.count("outbox WHERE state = 'queued'").await;
    assert!(left > 0, "the load ended before the last process");

    let _running = queue.worker(&[LONG_LEASE]);
    queue.until_all_sent().await;
    assert_eq!(queue.arrivals(mails).duplicates(), 0);
}
