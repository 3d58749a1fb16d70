//! Crashes inside of a transaction: nothing of it is left, its locks are released, and the call can be repeated.

use std::time::Duration;

use invitations::proto::{BulkCreateRequest, BulkCreateResponse};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use sqlx::{Executor as _, PgConnection};
use tokio::time::{Instant, sleep};
use tonic::Status;
use tonic::transport::Channel;

use crate::support::database::count;
use crate::support::deployment::{Deployment, client};
use crate::support::waiting::wait_until;
use crate::support::{created_ids, invite_request, new_request_id, numbered_emails};

/// As many as a call may have.
const ITEMS: usize = 10_000;
/// Locks that are held for longer than the test, so that the crash comes first.
const SETTINGS: [(&str, &str); 3] = [
    ("INVITATIONS_ROLE", "api"),
    ("INVITATIONS_DATABASE_LOCK_TIMEOUT", "10m"),
    ("INVITATIONS_DATABASE_STATEMENT_TIMEOUT", "10m"),
];
const SESSIONS: &str =
    "pg_stat_activity WHERE datname = current_database() AND application_name = 'invitations'";
/// What the call writes.
const TABLES: [&str; 5] = [
    "invitations",
    "outbox",
    "batches",
    "idempotency_keys",
    "invitation_events",
];

fn request() -> BulkCreateRequest {
    BulkCreateRequest {
        request_id: new_request_id(),
        ..invite_request(&numbered_emails("p", "b.co", 0..ITEMS))
    }
}

async fn create(
    channel: Channel,
    request: BulkCreateRequest,
) -> Result<BulkCreateResponse, Status> {
    let mut client = client(&channel).max_decoding_message_size(64 << 20);
    let response = client.bulk_create(request).await?;
    Ok(response.into_inner())
}

/// Asserts that another process creates every invitation, whether a crashed one has committed them or not.
async fn assert_repeatable(
    channel: &Channel,
    request: BulkCreateRequest,
    database: &mut PgConnection,
) {
    let first = create(channel.clone(), request.clone()).await.unwrap();
    assert_eq!(first.failed_count, 0);
    assert_eq!(created_ids(&first).len(), ITEMS);
    let second = create(channel.clone(), request).await.unwrap();
    assert!(first == second, "the repeated call has another response");
    for table in ["invitations", "outbox"] {
        let rows = count(database, table).await;
        assert_eq!(usize::try_from(rows).unwrap(), ITEMS, "{table}");
    }
}

#[tokio::test]
async fn a_crash_in_the_middle_of_a_large_call_leaves_nothing_and_the_call_can_be_repeated() {
    let deployment = Deployment::create().await;
    let (process, channel) = deployment.serve_populated(&SETTINGS).await;
    let mut database = deployment.database.connect().await;
    let mut blocker = deployment.database.connect().await;
    // The call writes its batch after its invitations.
    blocker
        .execute("BEGIN; LOCK TABLE batches IN SHARE MODE")
        .await
        .unwrap();
    let request = request();
    let calling = tokio::spawn(create(channel, request.clone()));
    let blocked = format!(
        "{SESSIONS} AND wait_event_type = 'Lock' AND query LIKE '-- store::batches::add_items%'"
    );
    wait_until("the call to have inserted its invitations", async || {
        let mut database = deployment.database.connect().await;
        count(&mut database, &blocked).await == 1
    })
    .await;
    process.crash().await;
    assert!(calling.await.unwrap().is_err());
    // Postgres notices that the client is gone when the statement ends.
    blocker.execute("ROLLBACK").await.unwrap();
    wait_until("the sessions of the crashed process to end", async || {
        let mut database = deployment.database.connect().await;
        count(&mut database, SESSIONS).await == 0
    })
    .await;
    for table in TABLES {
        assert_eq!(count(&mut database, table).await, 0, "{table}");
    }
    // No lock is left.
    database
        .execute("BEGIN; LOCK TABLE invitations, outbox, organizations, memberships IN ACCESS EXCLUSIVE MODE NOWAIT; ROLLBACK")
        .await
        .unwrap();

    let (_other, channel) = deployment.serve(&SETTINGS).await;
    assert_repeatable(&channel, request, &mut database).await;
}

#[tokio::test]
#[ignore = "takes minutes"]
async fn crashes_at_random_times_of_a_large_call_leave_all_of_it_or_nothing() {
    let seed: u64 = rand::random();
    eprintln!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let mut longest = Duration::from_secs(2);
    for _ in 0..20 {
        let deployment = Deployment::create().await;
        let (process, channel) = deployment.serve_populated(&SETTINGS).await;
        let (_other, other) = deployment.serve(&SETTINGS).await;
        let request = request();
        let begin = Instant::now();
        let calling = tokio::spawn(create(channel, request.clone()));
        sleep(longest.mul_f64(random.random_range(0.0..1.0))).await;
        process.crash().await;
        if calling.await.unwrap().is_ok() {
            longest = begin.elapsed();
        }
        let mut database = deployment.database.connect().await;
        let rows = count(&mut database, "invitations").await;
        assert!(
            rows == 0 || usize::try_from(rows).unwrap() == ITEMS,
            "{rows}"
        );
        assert_repeatable(&other, request, &mut database).await;
    }
}
