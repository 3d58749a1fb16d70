//! The connection that a unit of work is given.

use std::mem;

use futures::TryStreamExt as _;
use futures::stream::BoxStream;
use sqlx::postgres::{PgArguments, PgRow};
use sqlx::query::{Map, Query, QueryScalar};
use sqlx::{FromRow, PgConnection, Postgres};

use super::Result;
use super::pending_notifications::PendingNotifications;
use crate::domain::invitation::LARGE_FIELDS_BYTES_MAX;

/// A connection to the database, for the length of one unit of work, and what to announce once the work is committed.
#[derive(Debug)]
pub struct Connection<'c> {
    driver: &'c mut PgConnection,
    /// What to announce after the commit.
    pub(super) notifications: PendingNotifications,
}

/// A statement whose rows are values of `T`.
pub(super) trait RowQuery<T> {
    fn rows(self, driver: &mut PgConnection) -> BoxStream<'_, sqlx::Result<T>>;
}

impl<T, F> RowQuery<T> for Map<'static, Postgres, F, PgArguments>
where
    T: Send + Unpin + 'static,
    F: FnMut(PgRow) -> sqlx::Result<T> + Send + 'static,
{
    fn rows(self, driver: &mut PgConnection) -> BoxStream<'_, sqlx::Result<T>> {
        self.fetch(driver)
    }
}

impl<T> RowQuery<T> for QueryScalar<'static, Postgres, T, PgArguments>
where
    T: Send + Unpin + 'static,
    (T,): for<'r> FromRow<'r, PgRow>,
{
    fn rows(self, driver: &mut PgConnection) -> BoxStream<'_, sqlx::Result<T>> {
        self.fetch(driver)
    }
}

impl<'c> Connection<'c> {
    /// A connection whose notifications go nowhere unless they are taken.
    pub fn new(driver: &'c mut PgConnection) -> Self {
        Self {
            driver,
            notifications: PendingNotifications::default(),
        }
    }

    /// The connection of the driver, which executes statements.
    pub fn driver(&mut self) -> &mut PgConnection {
        self.driver
    }

    /// Executes a statement, and returns how many rows it changed.
    pub(super) async fn execute(&mut self, query: Query<'_, Postgres, PgArguments>) -> Result<u64> {
        Ok(query.execute(self.driver()).await?.rows_affected())
    }

    pub(super) async fn fetch_one<T>(&mut self, query: impl RowQuery<T>) -> Result<T> {
        let row = self.fetch_optional(query).await?;
        Ok(row.ok_or(sqlx::Error::RowNotFound)?)
    }

    pub(super) async fn fetch_optional<T>(&mut self, query: impl RowQuery<T>) -> Result<Option<T>> {
        let rows: Vec<T> = self.fetch_all(query).await?;
        Ok(rows.into_iter().next())
    }

    pub(super) async fn fetch_all<T, C>(&mut self, query: impl RowQuery<T>) -> Result<C>
    where
        C: Default + Extend<T>,
    {
        Ok(query.rows(self.driver()).try_collect().await?)
    }

    /// Lends the connection. Afterwards the notifications go back by [`set_notifications`](Self::set_notifications).
    pub fn lend(&mut self) -> Connection<'_> {
        Connection {
            driver: self.driver,
            notifications: mem::take(&mut self.notifications),
        }
    }

    pub fn into_notifications(self) -> PendingNotifications {
        self.notifications
    }

    pub fn set_notifications(&mut self, notifications: PendingNotifications) {
        self.notifications = notifications;
    }
}

/// [`LARGE_FIELDS_BYTES_MAX`] as a parameter of a statement.
pub(super) fn bytes_max() -> i64 {
    i64::try_from(LARGE_FIELDS_BYTES_MAX).unwrap_or(i64::MAX)
}

/// Returns one column of many rows, as an array that a statement can unnest.
pub(super) fn column<'a, T, C>(rows: &'a [T], of: impl Fn(&'a T) -> C) -> Vec<C> {
    rows.iter().map(of).collect()
}
