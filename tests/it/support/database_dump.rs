//! The content of tables as one text, to compare the database before and after something that must change nothing.

use sqlx::{AssertSqlSafe, PgConnection};

/// The tables that calls write.
pub(crate) const TABLES: [&str; 11] = [
    "organizations",
    "users",
    "user_emails",
    "memberships",
    "invitations",
    "outbox",
    "suppressions",
    "idempotency_keys",
    "stream_chunks",
    "batches",
    "audit_events",
];

/// All rows of these tables.
pub(crate) async fn dump_tables(database: &mut PgConnection, tables: &[&str]) -> String {
    let mut dump = String::new();
    for table in tables {
        let statement = format!(
            "SELECT coalesce(string_agg(t::text, ';' ORDER BY t::text), '') FROM {table} t"
        );
        let rows: String = sqlx::query_scalar(AssertSqlSafe(statement))
            .fetch_one(&mut *database)
            .await
            .unwrap();
        dump.push_str(&rows);
    }
    dump
}
