//! The database is unavailable, read-only, full or busy: the statuses that callers receive, the health status, and the
//! recovery.

use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use invitations::proto::GetRequest;
use invitations::store::Store;
use sqlx::{Executor as _, PgConnection};
use tokio::time::Instant;
use tonic::transport::Channel;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::support::background_calls::print_line;
use crate::support::database::{Database, count};
use crate::support::deployment::{Deployment, client, directory_client, is_serving};
use crate::support::postgres_cluster::PostgresCluster;
use crate::support::waiting::wait_until;
use crate::support::{
    ACME, UNKNOWN_ID, get_membership_request, invite_request, upsert_user_request,
};

/// Writes one row.
async fn write(channel: &Channel, id: &str) -> Result<(), Status> {
    let answer = directory_client(channel)
        .upsert_users(upsert_user_request(id))
        .await?;
    assert_eq!(answer.into_inner().failed_count, 0);
    Ok(())
}

/// Reads one row.
async fn read(channel: &Channel) -> Result<(), Status> {
    let request = get_membership_request("ada");
    directory_client(channel)
        .get_membership(request)
        .await
        .map(drop)
}

fn assert_retryable(status: &Status, code: Code) {
    assert_eq!(status.code(), code, "{}", status.message());
    let details = status.get_error_details();
    assert!(details.retry_info().unwrap().retry_delay.is_some());
}

/// The acquire timeout is the default; other tests wait longer.
const API_SETTINGS: [(&str, &str); 2] = [
    ("INVITATIONS_DATABASE_ACQUIRE_TIMEOUT", "500ms"),
    ("INVITATIONS_ROLE", "api"),
];

#[tokio::test]
async fn a_read_only_database_serves_reads_and_its_connections_are_replaced_when_it_accepts_writes()
{
    let deployment = Deployment::create().await;
    let (_running, channel) = deployment.serve_populated(&API_SETTINGS).await;
    let mut database = deployment.database.connect().await;
    let set_read_only = async |database: &mut PgConnection, setting: &'static str| {
        let statement = format!(
            "DO $$ BEGIN EXECUTE 'ALTER DATABASE ' || current_database() || ' SET default_transaction_read_only = {setting}'; END $$"
        );
        // This session became read-only by the first call.
        database
            .execute("SET transaction_read_only = off")
            .await
            .unwrap();
        database
            .execute(sqlx::AssertSqlSafe(statement))
            .await
            .unwrap();
    };
    set_read_only(&mut database, "on").await;
    database
        .execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()")
        .await
        .unwrap();
    let refused = async || write(&channel, "new").await.err();
    wait_until("a refusal", async || refused().await.is_some()).await;
    assert_retryable(&refused().await.unwrap(), Code::Unavailable);
    read(&channel).await.unwrap();
    // The database is checked every five seconds, and three checks must fail.
    let begin = Instant::now();
    wait_until("NOT_SERVING", async || !is_serving(&channel).await).await;
    print_line(&format!("NOT_SERVING after {:?}", begin.elapsed()));
    assert!(begin.elapsed() < Duration::from_secs(25));
    read(&channel).await.unwrap();

    // Existing connections stay read-only. A call that gets one of them closes it.
    set_read_only(&mut database, "off").await;
    let begin = Instant::now();
    wait_until("a write to succeed", async || {
        write(&channel, "new").await.is_ok()
    })
    .await;
    assert!(begin.elapsed() < Duration::from_secs(10));
    wait_until("SERVING", async || is_serving(&channel).await).await;
}

/// Makes the first `times` inserts of users fail with an SQLSTATE. A sequence counts the attempts, because a rollback
/// does not reset it.
async fn fail_inserts(database: &mut PgConnection, sqlstate: &str, times: u32) {
    let statement = format!(
        "DROP TRIGGER IF EXISTS fail ON users;
         CREATE SEQUENCE IF NOT EXISTS attempts;
         SELECT setval('attempts', 1, false);
         CREATE OR REPLACE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$
         BEGIN
             IF nextval('attempts') <= {times} THEN RAISE EXCEPTION USING ERRCODE = '{sqlstate}'; END IF;
             RETURN NEW;
         END $$;
         CREATE TRIGGER fail BEFORE INSERT ON users FOR EACH ROW EXECUTE FUNCTION fail()"
    );
    let statement = sqlx::AssertSqlSafe(statement);
    sqlx::raw_sql(statement).execute(database).await.unwrap();
}

#[tokio::test]
async fn transactions_that_lose_conflicts_are_tried_four_times_and_then_aborted() {
    let deployment = Deployment::create().await;
    let (_running, channel) = deployment.serve_populated(&API_SETTINGS).await;
    let mut database = deployment.database.connect().await;
    let attempts = async |database: &mut PgConnection| -> i64 {
        let attempts = sqlx::query_scalar("SELECT last_value FROM attempts");
        attempts.fetch_one(database).await.unwrap()
    };
    for sqlstate in ["40001", "40P01", "55P03"] {
        fail_inserts(&mut database, sqlstate, 3).await;
        write(&channel, &format!("slow{sqlstate}")).await.unwrap();
        assert_eq!(attempts(&mut database).await, 4, "{sqlstate}");
        fail_inserts(&mut database, sqlstate, 4).await;
        let lost = write(&channel, &format!("lost{sqlstate}")).await;
        assert_retryable(&lost.unwrap_err(), Code::Aborted);
        assert_eq!(attempts(&mut database).await, 4, "{sqlstate}");
    }
    // Disk full, out of memory, too many connections, administrator shutdown, statement timeout, read-only: the server
    // does not retry these.
    for sqlstate in ["53100", "53200", "53300", "57P01", "57014", "25006"] {
        fail_inserts(&mut database, sqlstate, 1).await;
        let failed = write(&channel, &format!("away{sqlstate}")).await;
        assert_retryable(&failed.unwrap_err(), Code::Unavailable);
        assert_eq!(attempts(&mut database).await, 1, "{sqlstate}");
    }
    write(&channel, "last").await.unwrap();
}

#[tokio::test]
async fn a_row_that_stays_locked_aborts_the_call_and_an_exhausted_pool_refuses_others() {
    let deployment = Deployment::create().await;
    let settings = [
        ("INVITATIONS_DATABASE_CONNECTIONS_MAX", "2"),
        // Between two attempts a call returns its connection. The timeout is so long that the read below has failed
        // before.
        ("INVITATIONS_DATABASE_LOCK_TIMEOUT", "4s"),
        API_SETTINGS[0],
        API_SETTINGS[1],
    ];
    let (_running, channel) = deployment.serve_populated(&settings).await;
    let mut blocker = deployment.database.connect().await;
    blocker
        .execute("BEGIN; LOCK TABLE organizations")
        .await
        .unwrap();
    let mut locked: FuturesUnordered<_> = (0..2)
        .map(|number| {
            let (mut client, email) = (client(&channel), format!("{number}@b.co"));
            async move { client.bulk_create(invite_request(&[&email])).await }
        })
        .collect();
    let read_while_exhausted = async {
        wait_until("both connections to wait", async || {
            let mut database = deployment.database.connect().await;
            let waiting =
                "pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
            count(&mut database, waiting).await == 2
        })
        .await;
        let begin = Instant::now();
        let refused = read(&channel).await.unwrap_err();
        (refused, begin.elapsed())
    };
    let mut first = Box::pin(locked.next());
    let (refused, took) = tokio::select! {
        read = read_while_exhausted => read,
        _ = &mut first => panic!("the row was not locked"),
    };
    assert_retryable(&refused, Code::Unavailable);
    print_line(&format!("refused by an exhausted pool after {took:?}"));
    // The acquire timeout is half a second. The rest of the time is for a busy machine.
    assert!(took < Duration::from_millis(1_500), "{took:?}");
    let aborted = first.await.unwrap().err().unwrap();
    assert_retryable(&aborted, Code::Aborted);
    assert!(locked.next().await.unwrap().is_err());
    blocker.execute("ROLLBACK").await.unwrap();
    read(&channel).await.unwrap();
}

/// A lock of a whole table, as some maintenance commands take it.
#[tokio::test]
async fn a_statement_that_waits_for_a_lock_aborts_its_call_before_the_deadline() {
    let deployment = Deployment::create().await;
    let (_running, channel) = deployment.serve_populated(&API_SETTINGS).await;
    let mut blocker = deployment.database.connect().await;
    blocker
        .execute("BEGIN; LOCK TABLE invitations")
        .await
        .unwrap();
    let request = GetRequest {
        organization_id: ACME.to_owned(),
        invitation_id: UNKNOWN_ID.to_owned(),
    };
    let (mut reader, mut writer) = (client(&channel), client(&channel));
    let (read, created) = tokio::join!(
        reader.get(request),
        writer.bulk_create(invite_request(&["a@b.co"]))
    );
    assert_retryable(&read.err().unwrap(), Code::Aborted);
    assert_retryable(&created.err().unwrap(), Code::Aborted);
    blocker.execute("ROLLBACK").await.unwrap();
    let created = writer.bulk_create(invite_request(&["a@b.co"])).await;
    assert_eq!(created.unwrap().into_inner().failed_count, 0);
}

/// The schema may be that of another version, for example after a failover that lost a migration.
#[tokio::test]
async fn a_missing_table_or_column_makes_calls_unavailable() {
    let deployment = Deployment::create().await;
    let (_running, channel) = deployment.serve_populated(&API_SETTINGS).await;
    let mut database = deployment.database.connect().await;
    for (change, undo) in [
        (
            "ALTER TABLE users RENAME COLUMN name TO old_name",
            "ALTER TABLE users RENAME COLUMN old_name TO name",
        ),
        (
            "ALTER TABLE users RENAME TO old_users",
            "ALTER TABLE old_users RENAME TO users",
        ),
    ] {
        database.execute(change).await.unwrap();
        for attempt in 0..3 {
            let refused = write(&channel, &format!("new{attempt}")).await.unwrap_err();
            assert_retryable(&refused, Code::Unavailable);
        }
        database.execute(undo).await.unwrap();
        write(&channel, "new").await.unwrap();
    }
}

#[tokio::test]
async fn a_database_that_restarts_after_a_crash_is_used_again() {
    let cluster = PostgresCluster::start().await;
    let url = cluster.url().await;
    Store::migrate(&url).await.unwrap();
    let deployment = Deployment::with_database(Database::create_empty().await).await;
    let mut settings = vec![("INVITATIONS_DATABASE_URL", url.as_str())];
    settings.extend(API_SETTINGS);
    let (_running, channel) = deployment.serve_populated(&settings).await;
    let mut written = 0;
    for round in 0..3 {
        cluster.crash().await;
        let begin = Instant::now();
        let failed = write(&channel, "away").await;
        assert_retryable(&failed.unwrap_err(), Code::Unavailable);
        assert!(begin.elapsed() < Duration::from_secs(5));
        cluster.start_again().await;
        let begin = Instant::now();
        wait_until("a write to succeed", async || {
            write(&channel, &format!("user{round}")).await.is_ok()
        })
        .await;
        let took = begin.elapsed();
        assert!(took < Duration::from_secs(10), "{took:?}");
        written += 1;
    }
    let mut database = <PgConnection as sqlx::Connection>::connect(&url)
        .await
        .unwrap();
    let stored = count(&mut database, "users WHERE id LIKE 'user%'").await;
    assert_eq!(stored, written);
}
