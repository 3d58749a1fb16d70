//! Settings of the planner that last until the end of the transaction, for statements over thousands of rows.

use sqlx::Connection as _;

use super::{Connection, Result, StoreError};

/// Plans each statement of this transaction for its parameters and for the tables as they are now.
///
/// By default a connection keeps a plan until the table is analyzed. A plan that was made while a table was empty may
/// read the whole table. Statements over single rows keep their plans, because planning costs more than it saves there.
pub async fn force_custom_plans(connection: &mut Connection<'_>) -> Result<()> {
    let query = sqlx::query(
        "-- store::planner::force_custom_plans\nSET LOCAL plan_cache_mode = force_custom_plan",
    );
    connection.execute(query).await?;
    Ok(())
}

/// Does what [`force_custom_plans`] does, and makes the planner read pages in the order of an index. With old
/// statistics, it may otherwise gather all rows of an organization by a bitmap and sort them.
pub async fn force_index_order(connection: &mut Connection<'_>) -> Result<()> {
    sqlx::raw_sql(
        "-- store::planner::force_index_order
        SET LOCAL plan_cache_mode = force_custom_plan; SET LOCAL enable_bitmapscan = off",
    )
    .execute(connection.driver())
    .await?;
    Ok(())
}

/// Runs reads in a read-only transaction with the settings of [`force_index_order`], which are sent with `BEGIN`.
pub async fn read_in_index_order<T, E>(
    connection: &mut Connection<'_>,
    read: impl AsyncFnOnce(&mut Connection<'_>) -> Result<T, E>,
) -> Result<T, E>
where
    E: From<StoreError>,
{
    let begin = connection.driver().begin_with(
        "-- store::planner::read_in_index_order
        BEGIN READ ONLY; SET LOCAL plan_cache_mode = force_custom_plan; SET LOCAL enable_bitmapscan = off",
    );
    let mut transaction = begin.await.map_err(StoreError::from)?;
    let output = read(&mut Connection::new(&mut transaction)).await?;
    transaction.commit().await.map_err(StoreError::from)?;
    Ok(output)
}
