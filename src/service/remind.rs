//! Reminders: one more message for each invitation that is about to expire.

use crate::store::reminders::{self, QueuedReminders};

use super::ServiceError;
use super::runner::{Service, UseCase};
use super::unit_of_work::UnitOfWork;

/// Most invitations of one statement, so that no lock is held for long.
const REMIND_ROWS_MAX: i64 = 500;

/// Queues some of the reminders that are due.
struct QueueReminders;

impl Service {
    /// Queues the reminders that are due. Returns how many messages were queued. Any number of processes may do this at the
    /// same time.
    pub async fn remind(&self) -> Result<i64, ServiceError> {
        let mut queued = 0;
        loop {
            let reminded = self.run(QueueReminders).await?;
            queued += reminded.queued;
            // None is left, or another process queues them.
            if reminded.due == 0 {
                return Ok(queued);
            }
        }
    }
}

impl UseCase for QueueReminders {
    const NAME: &'static str = "remind";
    const IS_TRANSACTION: bool = false;
    type Output = QueuedReminders;

    async fn run(&self, work: &mut UnitOfWork<'_>) -> Result<QueuedReminders, ServiceError> {
        let now = work.context.now();
        Ok(reminders::queue_due(work, now, REMIND_ROWS_MAX).await?)
    }
}
