//! Backlog: how many mails are owed, since when, and the alarm for those that do not get out.

use time::Duration;

use crate::store::{self, backlog};

use super::{Service, ServiceError};

/// Where counting ends, so that a look costs the same however many mails there are.
const COUNT_MAX: i64 = 10_000;
/// For how long a mail may be due before somebody has to look.
const OLDEST_WAITING_MAX: Duration = Duration::seconds(300);

/// How many there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Count {
    /// So many, at most 10,000.
    pub value: i64,
    /// Whether there are more than that.
    pub is_capped: bool,
}

/// Mails that are owed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backlog {
    /// Waiting to be tried, now or later.
    pub queued: Count,
    /// Those of them whose time has come.
    pub due: Count,
    /// Held by workers.
    pub sending: Count,
    /// Given up.
    pub dead: Count,
    /// For how long the mail that has been due for longest has been; `None` if none is.
    pub oldest_waiting: Option<Duration>,
}

impl Count {
    const fn of(counted: i64) -> Self {
        Self {
            value: if counted > COUNT_MAX {
                COUNT_MAX
            } else {
                counted
            },
            is_capped: counted > COUNT_MAX,
        }
    }
}

impl Service {
    /// The mails that are owed, of all organizations together: they wait in one queue.
    pub async fn backlog(&self) -> Result<Backlog, ServiceError> {
        let now = self.clock.now();
        self.store
            .with_tx("backlog", move |connection| {
                Box::pin(async move {
                    store::plan_afresh(connection).await?;
                    let row = backlog::get(connection, COUNT_MAX + 1, now).await?;
                    Ok(Backlog {
                        queued: Count::of(row.queued),
                        due: Count::of(row.due),
                        sending: Count::of(row.sending),
                        dead: Count::of(row.dead),
                        oldest_waiting: row
                            .oldest_due_at
                            .map(|due_at| (now - due_at).max(Duration::ZERO)),
                    })
                })
            })
            .await
    }
}

/// Tells the log when mails do not get out, and when they do again.
#[derive(Debug, Default)]
pub struct Alarm {
    is_raised: bool,
}

impl Alarm {
    /// Takes notice of a look at the backlog. Whoever looks decides how often the log is told.
    pub fn notice(&mut self, backlog: &Backlog) {
        let seconds = backlog.oldest_waiting.unwrap_or_default().whole_seconds();
        if backlog.oldest_waiting > Some(OLDEST_WAITING_MAX) {
            self.is_raised = true;
            tracing::warn!(
                outbox.oldest_waiting_seconds = seconds,
                outbox.due = backlog.due.value,
                outbox.is_due_capped = backlog.due.is_capped,
                "mails do not get out"
            );
        } else if self.is_raised {
            self.is_raised = false;
            tracing::info!(
                outbox.oldest_waiting_seconds = seconds,
                "mails get out again"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backlog(waiting_seconds: Option<i64>) -> Backlog {
        let none = Count::of(0);
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
            let count = Count::of(counted);
            (count.value, count.is_capped)
        };
        assert_eq!(count(0), (0, false));
        assert_eq!(count(10_000), (10_000, false));
        assert_eq!(count(10_001), (10_000, true));
    }

    #[test]
    fn the_alarm_is_raised_beyond_five_minutes_and_ends_with_the_waiting() {
        let mut alarm = Alarm::default();
        for (waiting_seconds, is_raised) in [
            (None, false),
            (Some(300), false),
            (Some(301), true),
            (Some(400), true),
            (Some(20), false),
            (Some(301), true),
            (None, false),
        ] {
            alarm.notice(&backlog(waiting_seconds));
            assert_eq!(alarm.is_raised, is_raised, "{waiting_seconds:?}");
        }
    }
}
