//! Reads the clock of the database server.

use sqlx::{PgConnection, Row as _};
use time::OffsetDateTime;

use crate::clock::{Clock as _, SystemClock};
use crate::database_clock::{ClockReading, DatabaseClock};

/// Sets a clock by the clock of the server of this connection.
pub(super) async fn set(
    connection: &mut PgConnection,
    clock: &DatabaseClock,
) -> Result<(), sqlx::Error> {
    let asked_at = clock.elapsed();
    // Without a prepared statement, which would take two round trips.
    let row = sqlx::raw_sql(
        "-- store::database_time::set
        SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint",
    )
    .fetch_one(connection)
    .await?;
    let (answered_at, machine) = (clock.elapsed(), SystemClock.now());
    let micros: i64 = row.try_get(0)?;
    let database = OffsetDateTime::UNIX_EPOCH + time::Duration::microseconds(micros);
    let reading = ClockReading {
        asked_at,
        database,
        answered_at,
    };
    clock.set(reading, machine);
    Ok(())
}
