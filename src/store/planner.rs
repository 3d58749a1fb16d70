//! Settings of the planner that last until the end of the transaction, for statements over thousands of rows.

use sqlx::Connection as _;

use super::{Connection, StoreError};

macro_rules! index_order_settings {
    () => {
        "SET LOCAL plan_cache_mode = force_custom_plan; SET LOCAL enable_bitmapscan = off"
    };
}

/// Plans each statement of this transaction for its parameters and for the tables as they are now.
///
/// By default a connection keeps a plan until the table is analyzed. A plan that was made while a table was empty may
/// read the whole table, which takes too long for thousands of addresses. Statements over single rows keep their plans,
/// because planning costs them more than a better plan saves.
pub async fn force_custom_plans(connection: &mut Connection<'_>) -> Result<(), StoreError> {
    sqlx::query(
        "-- store::planner::force_custom_plans\nSET LOCAL plan_cache_mode = force_custom_plan",
    )
    .execute(connection.driver())
    .await?;
    Ok(())
}

/// Does what [`force_custom_plans`] does, and makes the planner read pages in the order of an index until they are
/// full.
///
/// Without this, a planner whose statistics are old may take an organization for small, gather all of its rows by a
/// bitmap and sort them.
pub async fn force_index_order(connection: &mut Connection<'_>) -> Result<(), StoreError> {
    sqlx::raw_sql(concat!(
        "-- store::planner::force_index_order\n",
        index_order_settings!()
    ))
    .execute(connection.driver())
    .await?;
    Ok(())
}

/// Runs reads in a read-only transaction with the settings of [`force_index_order`]. The settings are sent with
/// `BEGIN`, which saves a round trip.
pub async fn read_in_index_order<T, E>(
    connection: &mut Connection<'_>,
    read: impl AsyncFnOnce(&mut Connection<'_>) -> Result<T, E>,
) -> Result<T, E>
where
    E: From<StoreError>,
{
    let begun = connection.driver().begin_with(concat!(
        "-- store::planner::read_in_index_order\nBEGIN READ ONLY; ",
        index_order_settings!()
    ));
    let mut transaction = begun.await.map_err(StoreError::from)?;
    let output = read(&mut Connection::new(&mut transaction)).await?;
    transaction.commit().await.map_err(StoreError::from)?;
    Ok(output)
}
