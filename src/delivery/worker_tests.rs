//! What a worker does about its own tasks, without a database.

use super::*;
use crate::clock::SystemClock;
use crate::delivery::{Ambiguous, DomainCaps, LaneConfig};
use crate::domain::address_tag::AddressTagger;
use crate::domain::keyring::Keyring;
use crate::domain::link::{LinkMode, LinkTemplate};
use crate::mail::file::FileTransport;
use crate::mail::message::{Composer, Sender};
use crate::mail::transport::Transport;
use crate::store::{Store, StoreConfig};

const DOMAIN: &str = "b.co";

/// A worker whose database nobody asks for anything.
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
    let mailroom = Mailroom {
        tagger: AddressTagger::new(&keyring),
        store: Store::new("postgres://127.0.0.1:1/none", store).unwrap(),
        clock: Arc::new(SystemClock),
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
        ambiguous: Ambiguous::Retry,
    };
    Worker::new(mailroom, config)
}

fn lane(name: &str, weight: u32) -> LaneConfig {
    LaneConfig {
        name: name.to_owned(),
        weight,
        route: Route::Each {
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

/// Runs a task that panics with what it was lent.
async fn panics(worker: &mut Worker, lent: Lent) -> usize {
    let task = worker.running.spawn(async { panic!("on purpose") });
    worker.lent.insert(task.id(), lent);
    let ended = worker.running.join_next_with_id().await.unwrap();
    assert!(ended.is_err());
    worker.take_back(ended).unwrap()
}

#[tokio::test]
async fn an_attempt_that_panics_gives_back_all_it_used() {
    let mut worker = worker(vec![lane("one", 1)]);
    let key = MailKey {
        invitation_id: Uuid::nil(),
        send_seq: 1,
        organization_id: "acme".to_owned(),
    };
    let mail = (key, Uuid::nil());
    for _ in 0..10 {
        worker.slots[0].sessions.pop().unwrap();
        assert!(worker.slots[0].lane.domains.enter(DOMAIN));
        let lent = Lent::Way {
            slot: 0,
            mails: vec![mail.clone()],
            domains: vec![DOMAIN.to_owned()],
        };
        assert_eq!(panics(&mut worker, lent).await, 1);
        assert_eq!(worker.slots[0].sessions.len(), 2);
        assert!(worker.held.all().is_empty(), "no heartbeat keeps it");
    }
}

#[tokio::test]
async fn a_look_that_panics_is_not_the_last_one() {
    let mut worker = worker(vec![lane("one", 1)]);
    worker.is_claiming = true;
    assert_eq!(panics(&mut worker, Lent::Calls(Vec::new())).await, 0);
    assert!(!worker.is_claiming);
}

/// Who gets the next mails.
fn shares(worker: &mut Worker, mails: usize) -> [usize; 3] {
    let mut shares = [0; 3];
    for _ in 0..mails {
        let next = slot::next(&mut worker.slots, 1, &[false; 3]).unwrap();
        worker.slots[next].give(1);
        shares[next] += 1;
    }
    shares
}

#[tokio::test(start_paused = true)]
async fn a_lane_that_was_closed_is_owed_nothing_for_it() {
    let mut worker = worker(vec![lane("one", 1), lane("two", 1), lane("spare", 0)]);
    assert_eq!(shares(&mut worker, 20), [10, 10, 0]);
    worker.slots[0].lane.breaker.failed(Duration::ZERO);
    assert_eq!(shares(&mut worker, 100), [0, 100, 0]);
    tokio::time::advance(Duration::from_mins(2)).await;
    let after = shares(&mut worker, 20);
    assert!((10..=11).contains(&after[0]), "{after:?}: not all to it");
}
