//! Remind: mails those once more whose invitation is about to expire.

use super::{Service, ServiceError};
use crate::store::reminders;

/// Most invitations of one statement, so that no lock lasts.
const REMIND_ROWS_MAX: i64 = 500;

impl Service {
    /// Queues the reminders that are due until none is left for now; returns how many mails that made. Any number of
    /// replicas may do this at once.
    pub async fn remind(&self) -> Result<i64, ServiceError> {
        let mut queued = 0;
        loop {
            let now = self.clock.now();
            let reminded = self
                .store
                .run::<_, ServiceError, _>("remind", move |connection| {
                    Box::pin(async move {
                        Ok(reminders::queue_due(connection, now, REMIND_ROWS_MAX).await?)
                    })
                })
                .await?;
            if reminded.queued > 0 {
                queued += reminded.queued;
            }
            // None is left, or another replica is at it.
            if reminded.due == 0 {
                return Ok(queued);
            }
        }
    }
}
