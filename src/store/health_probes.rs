//! The `health_probes` table, to which every process writes from time to time. The transaction of a probe fails or
//! waits if those of calls would: a lock on a table, a full disk, a read-only database, a silent standby, a missing
//! table.

use super::{Connection, Result};

/// How many rows a probe spills to a temporary file: at least six blocks.
const SPILLED_ROWS: i64 = 3_000;

/// Takes the lock on every table that a statement which writes takes. It does not wait for a lock: a probe that holds
/// some and waits for others could deadlock with a migration.
pub async fn lock_tables(connection: &mut Connection<'_>) -> Result<()> {
    let query = sqlx::query!(
        "-- store::health_probes::lock_tables
        LOCK TABLE organizations, users, user_emails, memberships, invitations, outbox, idempotency_keys, signing_keys,
                   mail_batches, suppressions, feedback_events, organization_quotas, address_quotas, audit_events,
                   invitation_events, batches, batch_counts, event_fold, stream_chunks, health_probes
                IN ROW EXCLUSIVE MODE NOWAIT",
    );
    connection.execute(query).await?;
    Ok(())
}

/// Allocates space on the disk of the tables, which fails if it is full. A table may have free space inside, so its
/// rows would not tell.
pub async fn allocate(connection: &mut Connection<'_>) -> Result<()> {
    let work_mem = sqlx::query_scalar!(
        r#"-- store::health_probes::allocate: little memory
        SELECT set_config('work_mem', '64kB', true) AS "work_mem!""#,
    );
    connection.fetch_one(work_mem).await?;
    let spilled = sqlx::query_scalar!(
        r#"-- store::health_probes::allocate
        SELECT count(*) AS "count!" FROM generate_series(1, $1::bigint)"#,
        SPILLED_ROWS,
    );
    connection.fetch_one(spilled).await?;
    Ok(())
}

/// Writes the row of this connection, which no other connection locks, and deletes those of connections that ended.
pub async fn upsert(connection: &mut Connection<'_>) -> Result<()> {
    let query = sqlx::query!(
        "-- store::health_probes::upsert
        WITH outdated AS (
            DELETE FROM health_probes
             WHERE backend_pid IN (SELECT backend_pid FROM health_probes
                                    WHERE probed_at < now() - interval '1 day' AND backend_pid <> pg_backend_pid()
                                      FOR UPDATE SKIP LOCKED)
        )
        INSERT INTO health_probes AS h (backend_pid, probed_at)
        VALUES (pg_backend_pid(), now())
            ON CONFLICT (backend_pid) DO UPDATE SET probed_at = excluded.probed_at",
    );
    connection.execute(query).await?;
    Ok(())
}
