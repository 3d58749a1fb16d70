//! The connection that a unit of work is given.

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

    /// Ends the unit of work.
    pub(super) fn into_notifications(self) -> PendingNotifications {
        self.notifications
    }
}
