//! The reference of everything that writes in bulk: the statement alone, over a pool like the service's.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::ensure;
use invitations::store::{Store, StoreConfig, StoreError, invitations as table};

use crate::people::Batch;

/// As many connections as the program has by default, and time for all that queue for them.
pub(crate) const STORE_CONFIG: StoreConfig = StoreConfig {
    connections_max: 16,
    acquire_timeout: Duration::from_secs(20),
    statement_timeout: Duration::from_secs(30),
    lock_timeout: Duration::from_secs(2),
};

/// Inserts the rows: begin, the statement, commit. Returns how long it took.
pub(crate) async fn insert(store: &Store, batch: Batch) -> anyhow::Result<Duration> {
    let batch = Arc::new(batch);
    let shared = Arc::clone(&batch);
    let started = Instant::now();
    let written = store
        .with_tx::<_, StoreError, _>("bench", move |connection| {
            let batch = Arc::clone(&shared);
            Box::pin(async move { table::insert_many(connection, batch.row(), &batch.rows).await })
        })
        .await?;
    let took = started.elapsed();
    ensure!(
        written.len() == batch.rows.len(),
        "an address was not fresh"
    );
    Ok(took)
}
