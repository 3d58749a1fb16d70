//! The backlog: how many messages wait, for how long, and the alarm if they are not sent.

use time::Duration;

use crate::store::{self, backlog};

use super::{ServiceError, UnitOfWork, UseCase};

/// Counting stops here, so that the cost does not depend on the number of messages.
const COUNT_MAX: i64 = 10_000;
/// How long a message may be due before the alarm is raised.
const OLDEST_WAITING_MAX: Duration = Duration::seconds(300);

/// A number of messages, counted up to 10,000.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MessageCount {
    pub value: i64,
    pub is_capped: bool,
}

/// Messages that are not sent yet, of all organizations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backlog {
    /// Waiting for an attempt, now or later.
    pub queued: MessageCount,
    pub due: MessageCount,
    /// Leased by workers.
    pub sending: MessageCount,
    pub dead: MessageCount,
    /// How long the message that is due longest has been due. `None` if none is due.
    pub oldest_waiting: Option<Duration>,
}

impl MessageCount {
    fn of(counted: i64) -> Self {
        Self {
            value: counted.min(COUNT_MAX),
            is_capped: counted > COUNT_MAX,
        }
    }
}

/// Counts the messages of all organizations. They wait in one queue.
pub struct GetBacklog;

impl UseCase for GetBacklog {
    const NAME: &'static str = "backlog";
    type Output = Backlog;

    async fn run(&self, work: &mut UnitOfWork<'_>) -> Result<Backlog, ServiceError> {
        let now = work.context.now();
        store::planner::force_custom_plans(work).await?;
        let row = backlog::get(work, COUNT_MAX + 1, now).await?;
        Ok(Backlog {
            queued: MessageCount::of(row.queued),
            due: MessageCount::of(row.due),
            sending: MessageCount::of(row.sending),
            dead: MessageCount::of(row.dead),
            oldest_waiting: row
                .oldest_due_at
                .map(|due_at| (now - due_at).max(Duration::ZERO)),
        })
    }
}

/// Logs when messages are not sent in time, and when they are again.
#[derive(Debug, Default)]
pub struct BacklogAlarm {
    is_raised: bool,
}

impl BacklogAlarm {
    /// Logs according to the backlog: once for each call while the alarm is raised.
    pub fn update(&mut self, backlog: &Backlog) {
        let seconds = backlog.oldest_waiting.unwrap_or_default().whole_seconds();
        if backlog.oldest_waiting > Some(OLDEST_WAITING_MAX) {
            self.is_raised = true;
            tracing::warn!(
                outbox.oldest_waiting_seconds = seconds,
                outbox.due = backlog.due.value,
                outbox.is_due_capped = backlog.due.is_capped,
                "messages are not sent in time"
            );
        } else if self.is_raised {
            self.is_raised = false;
            tracing::info!(
                outbox.oldest_waiting_seconds = seconds,
                "messages are sent in time again"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backlog(waiting_seconds: Option<i64>) -> Backlog {
        let none = MessageCount::of(0);
        Backlog {
            queued: none,
            due: none,
            sending: none,
            dead: none,
            oldest_waiting: waiting_seconds.map(Duration::seconds),
        }
    }

    #[test]
    fn counting_ends_with_a_lower_bound() {
        let count = |counted| {
            let count = MessageCount::of(counted);
            (count.value, count.is_capped)
        };
        assert_eq!(count(0), (0, false));
        assert_eq!(count(10_000), (10_000, false));
        assert_eq!(count(10_001), (10_000, true));
    }

    #[test]
    fn the_alarm_is_raised_beyond_five_minutes_and_ends_with_the_waiting() {
        let mut alarm = BacklogAlarm::default();
        for (waiting_seconds, is_raised) in [
            (None, false),
            (Some(300), false),
            (Some(301), true),
            (Some(400), true),
            (Some(20), false),
            (Some(301), true),
            (None, false),
        ] {
            alarm.update(&backlog(waiting_seconds));
            assert_eq!(alarm.is_raised, is_raised, "{waiting_seconds:?}");
        }
    }
}
