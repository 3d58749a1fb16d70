//! The connection that a unit of work is given.

use std::mem;

use sqlx::PgConnection;

use super::pending_notifications::PendingNotifications;

/// A connection to the database, for the length of one unit of work, and what to announce once the work is committed.
#[derive(Debug)]
pub struct Connection<'c> {
    driver: &'c mut PgConnection,
    notifications: PendingNotifications,
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

    /// What to announce after the commit.
    pub(super) fn notifications(&mut self) -> &mut PendingNotifications {
        &mut self.notifications
    }

    /// The same connection and notifications in a value with a shorter lifetime. When that value ends, its notifications go
    /// back by [`set_notifications`](Self::set_notifications).
    pub fn lend(&mut self) -> Connection<'_> {
        Connection {
            driver: self.driver,
            notifications: mem::take(&mut self.notifications),
        }
    }

    /// Ends the use of a connection.
    pub fn into_notifications(self) -> PendingNotifications {
        self.notifications
    }

    pub fn set_notifications(&mut self, notifications: PendingNotifications) {
        self.notifications = notifications;
    }
}
