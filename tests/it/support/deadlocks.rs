//! Deadlocks between concurrent calls.

use sqlx::PgConnection;

/// Fails if Postgres has detected a deadlock in the database of the test.
pub(crate) async fn assert_no_deadlocks(mut database: PgConnection) {
    let statement = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()";
    let deadlocks: i64 = sqlx::query_scalar(statement)
        .fetch_one(&mut database)
        .await
        .unwrap();
    assert_eq!(deadlocks, 0);
}
