//! Callers cancel their calls while the database is slow. Every write that is answered with OK afterwards is stored.

use std::time::Duration;

use futures::future::join_all;
use invitations::store::{Store, StoreConfig, StoreError};
use sqlx::postgres::PgPoolOptions;
use sqlx::{Connection as _, Executor as _, PgPool};
use tokio::time::timeout;

use crate::support::database::Database;
use crate::support::database_proxy::DatabaseProxy;
use crate::support::deployment::{Deployment, directory_client};
use crate::support::upsert_user_request;
use crate::support::waiting::wait_until;

/// How long an answer of the database takes in these tests.
const DELAY: Duration = Duration::from_millis(60);

async fn count(database: &Database, from: &str) -> i64 {
    crate::support::database::count(&mut database.connect().await, from).await
}

async fn create_table(database: &Database) {
    let mut connection = database.connect().await;
    connection
        .execute("CREATE TABLE notes (text text)")
        .await
        .unwrap();
}

/// Returns whether a write succeeded and its row is missing.
async fn loses_a_write(pool: &PgPool, database: &Database) -> bool {
    // The pool first pings the connection, which takes one delay. The timeout therefore falls between BEGIN and its
    // answer.
    let begun = timeout(DELAY * 3 / 2, pool.begin()).await;
    drop(begun);
    let before = count(database, "notes").await;
    let written = pool.execute("INSERT INTO notes VALUES ('kept')").await;
    assert_eq!(written.unwrap().rows_affected(), 1);
    count(database, "notes").await == before
}

/// Shows why `store::pool` checks connections itself. A failure of this test means that sqlx has fixed the defect.
#[tokio::test]
async fn sqlx_loses_a_write_that_follows_a_canceled_begin() {
    let database = Database::create().await;
    create_table(&database).await;
    let proxy = DatabaseProxy::to(&database).await;
    let pool = PgPoolOptions::new().max_connections(1);
    let pool = pool.connect(&proxy.url()).await.unwrap();
    proxy.delay(DELAY);
    let mut is_lost = false;
    for _ in 0..20 {
        if loses_a_write(&pool, &database).await {
            is_lost = true;
            break;
        }
    }
    assert!(is_lost, "sqlx now commits a write after a canceled BEGIN");
    pool.close().await;
    // The end of the connection does not bring the row back.
    let kept = count(&database, "notes").await;
    let in_transaction =
        "pg_stat_activity WHERE datname = current_database() AND state LIKE 'idle in%'";
    wait_until("the connection to end", async || {
        count(&database, in_transaction).await == 0
    })
    .await;
    assert_eq!(count(&database, "notes").await, kept);
}

fn store(url: &str, connections_max: u32) -> Store {
    let config = StoreConfig {
        connections_max,
        acquire_timeout: Duration::from_secs(20),
        statement_timeout: Duration::from_secs(20),
        lock_timeout: Duration::from_secs(10),
    };
    Store::new(url, config).unwrap()
}

/// Leaves a transaction open on the only connection of a store, without the knowledge of sqlx.
async fn leave_open_transaction(store: &Store, how: &'static str) {
    let left = store.run("leave", move |connection| {
        Box::pin(async move {
            if how == "a canceled BEGIN" {
                let _ = timeout(DELAY / 2, connection.driver().begin()).await;
            } else {
                let _ = connection.driver().execute(how).await;
            }
            Ok::<_, StoreError>(())
        })
    });
    left.await.unwrap();
}

#[tokio::test]
async fn a_connection_that_is_left_in_a_transaction_is_not_reused() {
    let database = Database::create().await;
    create_table(&database).await;
    let proxy = DatabaseProxy::to(&database).await;
    let store = store(&proxy.url(), 1);
    // Opens the connection.
    let opened = store.run("open", |connection| {
        Box::pin(async {
            connection.driver().execute("SELECT").await?;
            Ok::<_, StoreError>(())
        })
    });
    opened.await.unwrap();
    proxy.delay(DELAY);
    let ways = [
        "a canceled BEGIN",
        "BEGIN",
        "BEGIN; INSERT INTO notes VALUES ('half done')",
        // The transaction has failed.
        "BEGIN; SELECT 1 / 0",
    ];
    for (number, how) in (1..).zip(ways) {
        leave_open_transaction(&store, how).await;
        let written = store.run("write", |connection| {
            Box::pin(async {
                let written = connection
                    .driver()
                    .execute("INSERT INTO notes VALUES ('kept')")
                    .await?;
                Ok::<_, StoreError>(written.rows_affected())
            })
        });
        assert_eq!(written.await.unwrap(), 1, "{how}");
        assert_eq!(count(&database, "notes").await, number, "{how}");
    }
    assert_eq!(count(&database, "notes WHERE text <> 'kept'").await, 0);
}

/// Cancels calls after every number of milliseconds that the first statements take, while other callers write through
/// the same pool.
#[tokio::test]
async fn successful_writes_are_stored_after_other_callers_cancel() {
    let deployment = Deployment::create().await;
    let proxy = DatabaseProxy::to(&deployment.database).await;
    let url = proxy.url();
    let settings = [
        ("INVITATIONS_DATABASE_URL", url.as_str()),
        ("INVITATIONS_DATABASE_CONNECTIONS_MAX", "3"),
        ("INVITATIONS_ROLE", "api"),
    ];
    let (_running, channel) = deployment.serve(&settings).await;
    let directory = directory_client(&channel);
    proxy.delay(DELAY);
    let milliseconds: Vec<u64> = (0..=150).collect();
    let mut written = 0;
    for (round, part) in milliseconds.chunks(13).enumerate() {
        let calls = part.iter().map(|after| {
            let mut client = directory.clone();
            async move {
                let call = client.upsert_users(upsert_user_request(&format!("gone{after}")));
                timeout(Duration::from_millis(*after), call).await.is_err()
            }
        });
        let is_canceled = join_all(calls).await;
        assert!(is_canceled.contains(&true));
        // More concurrent writes than connections, so that every connection is used.
        let writes = (0..6).map(|number| {
            let mut client = directory.clone();
            async move {
                let request = upsert_user_request(&format!("kept{round}-{number}"));
                let answer = client.upsert_users(request).await.unwrap();
                assert_eq!(answer.into_inner().failed_count, 0);
            }
        });
        written += join_all(writes).await.len();
    }
    let stored = count(&deployment.database, "users WHERE id LIKE 'kept%'").await;
    assert_eq!(usize::try_from(stored).unwrap(), written);
}
