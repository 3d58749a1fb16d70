//! How many pages of tables and indexes a unit of work reads.

use invitations::store::Connection;
use invitations::store::planner::force_custom_plans;
use sqlx::{Connection as _, PgConnection};

/// Counts the pages that `work` reads with plans that are made for the present data. Returns the result of `work` too.
/// Everything that `work` writes is rolled back.
pub(crate) async fn count_pages_read<T>(
    database: &mut PgConnection,
    work: impl AsyncFnOnce(&mut Connection) -> T,
) -> (i64, T) {
    let planned = async |connection: &mut Connection| {
        force_custom_plans(connection).await.unwrap();
        work(connection).await
    };
    count_pages_read_with_kept_plans(database, planned).await
}

/// Does the same with the plans that the connection has cached.
pub(crate) async fn count_pages_read_with_kept_plans<T>(
    database: &mut PgConnection,
    work: impl AsyncFnOnce(&mut Connection) -> T,
) -> (i64, T) {
    let mut transaction = database.begin().await.unwrap();
    let before = pages_fetched(&mut transaction).await;
    let done = work(&mut Connection::new(&mut transaction)).await;
    let after = pages_fetched(&mut transaction).await;
    transaction.rollback().await.unwrap();
    (after - before, done)
}

/// Counts for the current transaction only, because autovacuum and other sessions read pages too.
async fn pages_fetched(connection: &mut PgConnection) -> i64 {
    sqlx::query_scalar(
        "SELECT coalesce(sum(pg_stat_get_xact_blocks_fetched(oid)), 0)::bigint FROM pg_class
          WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'i')",
    )
    .fetch_one(connection)
    .await
    .unwrap()
}
