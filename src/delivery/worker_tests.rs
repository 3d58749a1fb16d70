//! Tests of how a worker treats its tasks, without a database.

use super::*;
use crate::clock::SystemClock;
use crate::delivery::{AmbiguousPolicy, DomainCaps, LaneConfig};
use crate::domain::address_tag::AddressTagger;
use crate::domain::keyring::Keyring;
use crate::domain::link::{LinkMode, LinkTemplate};
use crate::mail::message::{Composer, Sender};
use crate::mail::transport::{FileTransport, Transport};
use crate::store::StoreConfig;

const DOMAIN: &str = "b.co";

/// A worker with a database that is never used.
fn worker(lanes: Vec<LaneConfig>) -> Worker {
    let keyring = Keyring::parse("1 AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8\n").unwrap();
    let store = StoreConfig {
        connections_max: 1,
        acquire_timeout: Duration::from_secs(1),
        statement_timeout: Duration::from_secs(1),
        lock_timeout: Duration::from_secs(1),
    };
    let sender = Sender::parse("Invitations", "invitations@example.com", None).unwrap();
    let links = LinkTemplate::new("https://app.example.com/join", LinkMode::Fragment).unwrap();
    let builder = MessageBuilder {
        tagger: AddressTagger::new(&keyring),
        keyring: Arc::new(keyring),
        links: Arc::new(links),
        composer: Composer::new(sender).unwrap(),
        message_id_domain: "example.com".to_owned(),
        bounce_mailbox: None,
        public_url: None,
    };
    let config = DeliveryConfig {
        lanes,
        lease_duration: Duration::from_mins(2),
        poll_interval: Duration::from_secs(1),
        drain_timeout: Duration::from_secs(1),
        ambiguous: AmbiguousPolicy::Retry,
    };
    let store = Store::new("postgres://127.0.0.1:1/none", store).unwrap();
    Worker::new(store, Arc::new(SystemClock), builder, config)
}

fn lane(name: &str, weight: u32) -> LaneConfig {
    LaneConfig {
        name: name.to_owned(),
        weight,
        transport: LaneTransport::PerMessage {
            transport: Transport::File(FileTransport::new("nowhere")),
            connections: 2,
        },
        rate_max: None,
        domain_caps: DomainCaps {
            in_flight_max: Some(1),
            rate_max: None,
        },
        pause: Duration::from_mins(1),
    }
}

fn panic_on_purpose<T>() -> impl Future<Output = T> {
    std::future::poll_fn(|_| panic!("on purpose"))
}

/// Waits for the task that panics, and returns the number of its attempts.
async fn finish_panicked(worker: &mut Worker) -> usize {
    let ended = worker.tasks.join_next().await.unwrap();
    worker.finish(ended).unwrap()
}

#[tokio::test]
async fn an_attempt_that_panics_returns_everything_it_used() {
    let mut worker = worker(vec![lane("one", 1)]);
    let key = MailKey {
        invitation_id: Uuid::nil(),
        send_seq: 1,
        organization_id: "acme".to_owned(),
    };
    let mail = (key, Uuid::nil());
    for _ in 0..10 {
        worker.lanes.get_mut(0).idle_sessions.pop().unwrap();
        assert!(worker.lanes.get_mut(0).lane.domains.try_enter(DOMAIN));
        let in_flight = RunningSend {
            lane: 0,
            messages: vec![mail.clone()],
            domains: vec![DOMAIN.to_owned()],
        };
        worker.spawn_send(in_flight, panic_on_purpose());
        assert_eq!(finish_panicked(&mut worker).await, 1);
        assert_eq!(worker.lanes.get_mut(0).idle_sessions.len(), 2);
        assert!(worker.leases.all().is_empty(), "no heartbeat extends it");
    }
}

#[tokio::test]
async fn a_claim_that_panics_does_not_prevent_the_next() {
    let mut worker = worker(vec![lane("one", 1)]);
    worker.is_claiming = true;
    worker.tasks.spawn(async {
        TaskResult::Claimed {
            reserved_calls: Vec::new(),
            claimed: unless_panicked(panic_on_purpose()).await,
        }
    });
    assert_eq!(finish_panicked(&mut worker).await, 0);
    assert!(!worker.is_claiming);
}

/// How many of the next emails each lane gets.
fn shares(worker: &mut Worker, count: usize) -> [usize; 3] {
    let mut shares = [0; 3];
    for _ in 0..count {
        let next = worker.lanes.choose(1, &[]).unwrap();
        worker.lanes.get_mut(next).assign(1);
        shares[next] += 1;
    }
    shares
}

#[tokio::test(start_paused = true)]
async fn a_lane_does_not_catch_up_after_a_pause() {
    let mut worker = worker(vec![lane("one", 1), lane("two", 1), lane("spare", 0)]);
    assert_eq!(shares(&mut worker, 20), [10, 10, 0]);
    worker
        .lanes
        .get_mut(0)
        .lane
        .breaker
        .close_for(Duration::from_mins(1));
    assert_eq!(shares(&mut worker, 100), [0, 100, 0]);
    tokio::time::advance(Duration::from_mins(2)).await;
    let after = shares(&mut worker, 20);
    assert!(
        (10..=11).contains(&after[0]),
        "{after:?}: it does not get every email"
    );
}
