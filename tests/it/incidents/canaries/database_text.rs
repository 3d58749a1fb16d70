//! All rows of a database as text.

use sqlx::AssertSqlSafe;

use crate::support::database::Database;

/// The name and the rows of each table, and the error texts of the invitations under the name `errors`.
pub(super) async fn read_tables(database: &Database) -> Vec<(String, String)> {
    let mut connection = database.connect().await;
    let tables: Vec<String> = sqlx::query_scalar(
        "SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY tablename",
    )
    .fetch_all(&mut connection)
    .await
    .unwrap();
    let mut texts = Vec::new();
    for table in tables {
        let statement = format!("SELECT t::text FROM {table} t");
        let rows: Vec<String> = sqlx::query_scalar(AssertSqlSafe(statement))
            .fetch_all(&mut connection)
            .await
            .unwrap();
        texts.push((table, rows.join("\n")));
    }
    let errors: Vec<String> = sqlx::query_scalar(
        "SELECT coalesce(delivery_error, '') || coalesce(last_accept_error, '') FROM invitations",
    )
    .fetch_all(&mut connection)
    .await
    .unwrap();
    texts.push(("errors".to_owned(), errors.join("\n")));
    texts
}
