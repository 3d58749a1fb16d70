//! One watch: where it begins, when it reads, and what it reads.
//!
//! How often an idle watcher gets a response, and how long a watch may last, is decided by the caller.

use std::time::Duration;

use time::OffsetDateTime;
use tokio::time::Instant;

use crate::domain::event::{EventCursor, EventFilter, EventPosition, InvitationEvent};
use crate::domain::ids::OrganizationId;
use crate::domain::reason::Reason;
use crate::service::{Context, Service, ServiceError, UnitOfWork, UseCase};
use crate::store::invitation_events::{self, EventPage, EventQuery, SnapshotBounds};
use crate::store::{Subscription, batches};

use super::progress::WatchProgress;

pub const EVENTS_MAX: usize = 1_000;
/// Most rows that one read of the events of a batch or of some types looks at: a few milliseconds in a busy organization.
const SELECTIVE_ROWS_MAX: usize = 2_000;
/// Shortest time between two reads of a watch that has caught up. Events in between are read together.
const READ_PAUSE: Duration = Duration::from_millis(50);
/// How soon to check whether the transaction horizon has passed the events that were sent, so that the cursor can advance.
const HORIZON_INTERVAL: Duration = Duration::from_secs(1);
/// A cursor is refused this long before its events are deleted, because transactions and readers take time.
const CURSOR_MARGIN: Duration = Duration::from_hours(1);

#[derive(Debug, Clone, Copy)]
pub enum WatchFrom {
    /// With the oldest event that is kept.
    Oldest,
    /// With events that are committed from now on.
    Now,
    /// After the events that a reader has seen.
    Cursor(EventCursor),
}

#[derive(Debug)]
pub struct WatchedEvents {
    /// In order. May be empty.
    pub events: Vec<InvitationEvent>,
    pub cursor: EventCursor,
    /// Whether there is more to read at once.
    pub has_more: bool,
    /// Whether the cursor advanced over events that were sent before.
    pub is_settled: bool,
}

#[derive(Debug)]
pub struct Watch {
    service: Service,
    filter: EventFilter,
    log_id: i64,
    progress: WatchProgress,
    subscription: Subscription,
    read_at: Instant,
    /// Whether the watch must not miss an event. A watch that reads the oldest events takes what is left of them.
    must_keep_up: bool,
}

impl Service {
    /// Begins to watch organizations. A caller that names one, `organization_id`, expects that it exists, as must the batch
    /// of a filter.
    ///
    /// # Errors
    ///
    /// `ORGANIZATION_NOT_FOUND`, `BATCH_NOT_FOUND`, and `CURSOR_EXPIRED` if events after the cursor may be deleted.
    pub async fn watch(
        &self,
        organization_id: Option<OrganizationId>,
        filter: EventFilter,
        from: WatchFrom,
    ) -> Result<Watch, ServiceError> {
        // Before the first read, so that no event is missed between the two.
        let subscription = self.store.notifier().subscribe(&filter.organizations);
        let begin = BeginWatch {
            organization_id,
            filter: filter.clone(),
        };
        let (span, first) = self.run(begin).await?;
        let now = self.context.now();
        let progress = match from {
            WatchFrom::Oldest => WatchProgress::at(first, now),
            WatchFrom::Now => WatchProgress::at(EventPosition::of_transaction(span.horizon), now),
            WatchFrom::Cursor(cursor) => {
                // The database may have failed over to a server without the last events. A row of a restored dump may
                // also be beyond the newest transaction.
                let is_foreign =
                    cursor.log_id != span.log_id || cursor.position.transaction_id > span.end;
                if is_foreign || self.context.is_expired(cursor.time) {
                    return Err(ServiceError::Refused(Reason::CursorExpired));
                }
                WatchProgress::after(&cursor)
            }
        };
        let mut watch = Watch {
            service: self.clone(),
            filter,
            log_id: span.log_id,
            progress,
            subscription,
            read_at: Instant::now(),
            must_keep_up: !matches!(from, WatchFrom::Oldest),
        };
        if matches!(from, WatchFrom::Now) {
            // Events that are committed already above the horizon count as sent.
            while watch.read().await?.has_more {}
        }
        Ok(watch)
    }
}

impl Context {
    /// Whether events of a time may be deleted.
    fn is_expired(&self, time: OffsetDateTime) -> bool {
        let oldest = self.events_kept.and_then(|kept| {
            let kept = kept.saturating_sub(CURSOR_MARGIN).try_into().ok()?;
            self.now().checked_sub(kept)
        });
        oldest.is_some_and(|oldest| time < oldest)
    }
}

impl Watch {
    /// Reads the events since the last read. Fails with `CURSOR_EXPIRED` if the watch was too slow for the retention of
    /// events, or if the database failed over meanwhile.
    pub async fn read(&mut self) -> Result<WatchedEvents, ServiceError> {
        let context = &self.service.context;
        if self.must_keep_up && context.is_expired(self.progress.time()) {
            return Err(ServiceError::Refused(Reason::CursorExpired));
        }
        let page = self.page().await?;
        if page.log_id != self.log_id {
            return Err(ServiceError::Refused(Reason::CursorExpired));
        }
        self.read_at = Instant::now();
        let absorbed = self.progress.absorb(page, self.service.context.now());
        self.must_keep_up |= !absorbed.has_more;
        Ok(WatchedEvents {
            events: absorbed.events,
            cursor: self.progress.cursor(self.log_id),
            has_more: absorbed.has_more,
            is_settled: absorbed.is_settled,
        })
    }

    pub async fn changed(&mut self) {
        if self.progress.is_ahead() {
            let _ = tokio::time::timeout(HORIZON_INTERVAL, self.subscription.notified()).await;
        } else {
            self.subscription.notified().await;
        }
        tokio::time::sleep_until(self.read_at + READ_PAUSE).await;
    }

    async fn page(&self) -> Result<EventPage, ServiceError> {
        let _permit = self.service.watch_reads.acquire().await;
        let sent = self.progress.sent_rows();
        let rows_max = if self.filter.is_selective() {
            SELECTIVE_ROWS_MAX
        } else {
            // Each row holds an event at least, and one more row tells whether there is more.
            EVENTS_MAX + 1
        };
        let read = ReadEvents {
            filter: self.filter.clone(),
            from: self.progress.position(),
            rows_max: i64::try_from(rows_max + sent.len()).unwrap_or(i64::MAX),
            sent,
        };
        self.service.run(read).await
    }
}

/// Reads where the log of events stands, and the position of the first event of the watch.
struct BeginWatch {
    organization_id: Option<OrganizationId>,
    filter: EventFilter,
}

impl UseCase for BeginWatch {
    const NAME: &'static str = "watch.begin";
    const IS_TRANSACTION: bool = false;
    type Output = (SnapshotBounds, EventPosition);

    async fn run(&self, work: &mut UnitOfWork<'_>) -> Result<Self::Output, ServiceError> {
        let mut first = EventPosition::START;
        if let Some(organization_id) = &self.organization_id {
            work.require_organization(organization_id).await?;
            if let Some(id) = self.filter.batch_id {
                first = batches::first_transaction(work, organization_id, id)
                    .await?
                    .map(EventPosition::of_transaction)
                    .ok_or(ServiceError::Refused(Reason::BatchNotFound))?;
            }
        }
        Ok((invitation_events::snapshot_bounds(work).await?, first))
    }
}

struct ReadEvents {
    filter: EventFilter,
    from: EventPosition,
    /// The rows of which events were sent, with how many.
    sent: Vec<(i64, i32)>,
    rows_max: i64,
}

impl UseCase for ReadEvents {
    const NAME: &'static str = "watch.read";
    const IS_TRANSACTION: bool = false;
    type Output = EventPage;

    async fn run(&self, work: &mut UnitOfWork<'_>) -> Result<EventPage, ServiceError> {
        let reading = EventQuery {
            filter: &self.filter,
            from: self.from,
            already_read: &self.sent,
            rows_max: self.rows_max,
            events_max: i32::try_from(EVENTS_MAX).unwrap_or(i32::MAX),
        };
        Ok(invitation_events::read_page(work, reading).await?)
    }
}
