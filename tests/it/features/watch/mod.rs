//! Watch: every event is returned once in a stream, as soon as it is committed. A stream that resumes from a cursor may
//! return some events again, but loses none.

mod all;
mod cursors;
mod ends;
mod processes;
mod storage;

use std::collections::BTreeSet;
use std::time::Duration;

use invitations::proto::WatchRequest;
use sqlx::PgConnection;
use tonic::Code;
use uuid::Uuid;

use crate::support::watch_stream::{open_watch, watch_request};
use crate::support::{InvitationClient, START, World, numbered_emails, status_reason};

/// A poll interval that no test has to wait for.
const SHORT_INTERVAL: Duration = Duration::from_millis(50);
/// A poll interval that does not end during a test.
const LONG_INTERVAL: Duration = Duration::from_hours(1);

fn from_now_request() -> WatchRequest {
    WatchRequest {
        from_now: true,
        ..watch_request()
    }
}

fn resume_request(cursor: &str) -> WatchRequest {
    WatchRequest {
        cursor: cursor.to_owned(),
        ..watch_request()
    }
}

/// The status with which a watch is refused or ends.
async fn refused_watch(client: InvitationClient, request: WatchRequest) -> (Code, String) {
    let status = match open_watch(client, request).await {
        Ok(mut stream) => loop {
            match stream.message().await {
                Ok(response) => assert!(response.is_some()),
                Err(status) => break status,
            }
        },
        Err(status) => status,
    };
    (status.code(), status_reason(&status))
}

/// The ids of all stored events of ACME.
async fn all_event_ids(database: &mut PgConnection) -> BTreeSet<String> {
    let ids: Vec<String> = sqlx::query_scalar(
        "SELECT transaction_id || '-' || seq || '-' || (ordinal - 1)
           FROM invitation_events, UNNEST(invitation_ids) WITH ORDINALITY AS t (id, ordinal)
          WHERE organization_id = 'acme'",
    )
    .fetch_all(database)
    .await
    .unwrap();
    ids.into_iter().collect()
}

/// Inserts a row of events directly into the database.
async fn insert_events(database: &mut PgConnection, batch_id: Uuid, count: i32) {
    sqlx::query(
        "INSERT INTO invitation_events
                (created_at, organization_id, batch_id, event_type, new_state, new_delivery_state, invitation_ids)
         SELECT $1, 'acme', $2, 'created', 'pending', 'queued', array_agg(gen_random_uuid())
           FROM generate_series(1, $3)",
    )
    .bind(START)
    .bind(batch_id)
    .bind(count)
    .execute(database)
    .await
    .unwrap();
}

/// Begins a transaction that has a transaction id and has written nothing yet. Later events are not final until it ends.
async fn begin_transaction(database: &mut PgConnection) {
    sqlx::query("BEGIN").execute(&mut *database).await.unwrap();
    sqlx::query("SELECT pg_current_xact_id()")
        .execute(database)
        .await
        .unwrap();
}

async fn commit(database: &mut PgConnection) {
    sqlx::query("COMMIT").execute(database).await.unwrap();
}

/// Invites `{prefix}0@b.co` and so on. Returns the id of the batch.
async fn invite_many(world: &World, prefix: &str, count: usize) -> String {
    let emails = numbered_emails(prefix, "b.co", 0..count);
    world.invite(&emails).await.batch_id
}
