//! Callers that hang up while the database is slow: whatever is answered OK afterwards is there.

use std::time::Duration;

use futures::future::join_all;
use invitations::proto::{UpsertUsersRequest, User};
use invitations::store::{Store, StoreConfig, StoreError};
use sqlx::postgres::PgPoolOptions;
use sqlx::{Connection as _, Executor as _, PgPool};
use tokio::time::timeout;

use crate::support::callers::DirectoryClient;
use crate::support::database::Database;
use crate::support::database_proxy::DatabaseProxy;
use crate::support::deployment::{Deployment, directory_client};
use crate::support::waiting::wait_until;

/// How long an answer of the database takes in these tests.
const DELAY: Duration = Duration::from_millis(60);

async fn count(database: &Database, statement: &'static str) -> i64 {
    let mut connection = database.connect().await;
    sqlx::query_scalar(statement)
        .fetch_one(&mut connection)
        .await
        .unwrap()
}

async fn make_table(database: &Database) {
    let mut connection = database.connect().await;
    connection
        .execute("CREATE TABLE notes (text text)")
        .await
        .unwrap();
}

/// Whether a write was told to be done and is not.
async fn loses_a_write(pool: &PgPool, database: &Database) -> bool {
    // The sign of life that the pool asks for takes one delay, so this is cut off between BEGIN and its answer.
    let begun = timeout(DELAY * 3 / 2, pool.begin()).await;
    drop(begun);
    let before = count(database, "SELECT count(*) FROM notes").await;
    let written = pool.execute("INSERT INTO notes VALUES ('kept')").await;
    assert_eq!(written.unwrap().rows_affected(), 1);
    count(database, "SELECT count(*) FROM notes").await == before
}

/// The reason for what `store::pool` does. When this test fails, the driver has learned better.
#[tokio::test]
async fn a_bare_pool_loses_what_follows_a_begin_that_was_cut_off() {
    let database = Database::create().await;
    make_table(&database).await;
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
    assert!(is_lost, "sqlx commits what follows a cancelled BEGIN now");
    pool.close().await;
    // It was never there, and will never be.
    let kept = count(&database, "SELECT count(*) FROM notes").await;
    let in_transaction = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state LIKE 'idle in%'";
    wait_until("the connection's end", async || {
        count(&database, in_transaction).await == 0
    })
    .await;
    assert_eq!(count(&database, "SELECT count(*) FROM notes").await, kept);
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

/// Leaves a transaction open on the one connection of a store, in a way the driver knows nothing of.
async fn forget(store: &Store, how: &'static str) {
    let left = store.run("forget", move |connection| {
        Box::pin(async move {
            if how == "half a BEGIN" {
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
async fn a_connection_that_was_left_inside_a_transaction_is_not_lent_again() {
    let database = Database::create().await;
    make_table(&database).await;
    let proxy = DatabaseProxy::to(&database).await;
    let store = store(&proxy.url(), 1);
    store.ping().await.unwrap();
    proxy.delay(DELAY);
    let ways = [
        "half a BEGIN",
        "BEGIN",
        "BEGIN; INSERT INTO notes VALUES ('half done')",
        // One that failed.
        "BEGIN; SELECT 1 / 0",
    ];
    for (number, how) in (1..).zip(ways) {
        forget(&store, how).await;
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
        let kept = count(&database, "SELECT count(*) FROM notes").await;
        assert_eq!(kept, number, "{how}");
    }
    let half_done = "SELECT count(*) FROM notes WHERE text <> 'kept'";
    assert_eq!(count(&database, half_done).await, 0);
}

fn user(id: &str) -> UpsertUsersRequest {
    let user = User {
        id: id.to_owned(),
        name: "Somebody".to_owned(),
        verified_emails: Vec::new(),
    };
    UpsertUsersRequest { users: vec![user] }
}

/// F13: a caller hangs up at every millisecond of the first statements, and others write through the same pool.
#[tokio::test]
async fn what_is_answered_after_callers_hung_up_is_there() {
    let deployment = Deployment::create().await;
    let proxy = DatabaseProxy::to(&deployment.database).await;
    let url = proxy.url();
    let settings = [
        ("INVITATIONS_DATABASE_URL", url.as_str()),
        ("INVITATIONS_DATABASE_CONNECTIONS_MAX", "3"),
        ("INVITATIONS_ROLE", "api"),
    ];
    let (_running, channel) = deployment.serve(&settings).await;
    let directory: DirectoryClient = directory_client(&channel);
    proxy.delay(DELAY);
    let milliseconds: Vec<u64> = (0..=150).collect();
    let mut written = 0;
    for (round, part) in milliseconds.chunks(13).enumerate() {
        let calls = part.iter().map(|after| {
            let mut client = directory.clone();
            async move {
                let call = client.upsert_users(user(&format!("gone{after}")));
                timeout(Duration::from_millis(*after), call).await.is_err()
            }
        });
        let hung_up = join_all(calls).await;
        assert!(hung_up.contains(&true));
        // At once, and more of them than connections, so that each connection has its turn.
        let writes = (0..6).map(|number| {
            let mut client = directory.clone();
            async move {
                let id = format!("kept{round}-{number}");
                let answer = client.upsert_users(user(&id)).await.unwrap();
                assert_eq!(answer.into_inner().failed_count, 0);
            }
        });
        written += join_all(writes).await.len();
    }
    let kept = "SELECT count(*) FROM users WHERE id LIKE 'kept%'";
    assert_eq!(
        usize::try_from(count(&deployment.database, kept).await).unwrap(),
        written
    );
}
