//! The tables can be distributed by organization: no key of theirs would have to ask another shard.

use crate::support::database::Database;

/// Tables without an organization: `organizations`, whose id is what everything is distributed by, and those that every
/// shard would have as a whole, or one shard alone.
const REFERENCE_TABLES: [&str; 10] = [
    "_sqlx_migrations",
    "address_quotas",
    "event_fold",
    "feedback_events",
    "health_probes",
    "mail_batches",
    "organizations",
    "signing_keys",
    "user_emails",
    "users",
];

#[tokio::test]
async fn every_primary_key_and_unique_index_holds_the_organization_of_its_table() {
    let database = Database::create().await;
    let mut connection = database.connect().await;
    let keys: Vec<(String, bool)> = sqlx::query_as(
        "SELECT i.indexrelid::regclass::text, a.attnum = ANY(i.indkey)
           FROM pg_index i
           JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attname = 'organization_id'
           JOIN pg_class c ON c.oid = i.indrelid AND c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p')
          WHERE i.indisunique AND NOT c.relispartition",
    )
    .fetch_all(&mut connection)
    .await
    .unwrap();
    assert!(
        keys.len() >= 8,
        "the query finds the keys no more: {keys:?}"
    );
    let elsewhere: Vec<_> = keys.iter().filter(|(_, holds)| !holds).collect();
    assert!(elsewhere.is_empty(), "{elsewhere:?}");
}

#[tokio::test]
async fn which_tables_belong_to_no_organization_is_decided_and_not_forgotten() {
    let database = Database::create().await;
    let mut connection = database.connect().await;
    let tables: Vec<String> = sqlx::query_scalar(
        "SELECT c.relname::text
           FROM pg_class c
          WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition
            AND NOT EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname = 'organization_id')
          ORDER BY 1",
    )
    .fetch_all(&mut connection)
    .await
    .unwrap();
    assert_eq!(tables, REFERENCE_TABLES);
}
