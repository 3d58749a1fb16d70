//! Watch: what happens to the invitations of an organization or of a batch, read from the log of events as it grows.
//!
//! Knows how far one stream has come, and when it is worth to look again. How often whoever listens is told that there is
//! nothing, and for how long they may listen, is not decided here.

mod progress;

use std::time::Duration;

use time::OffsetDateTime;
use tokio::time::Instant;
use uuid::Uuid;

use self::progress::Progress;
use crate::domain::event::{EventPosition, InvitationEvent};
use crate::domain::event_cursor::EventCursor;
use crate::domain::ids::OrganizationId;
use crate::domain::reason::Reason;
use crate::store::invitation_events::{self, Page, Reading, Span};
use crate::store::{Connection, Subscription, batches, organizations};

use super::{Service, ServiceError};

/// Most events that are told at once.
pub const EVENTS_MAX: usize = 1_000;
/// Most rows that a look for those of one batch reads: a few milliseconds, however busy its organization is.
const BATCH_ROWS_MAX: usize = 2_000;
/// Most watches that read at once: calls have the rest of the pool to themselves, whoever is woken.
pub(super) const READS_AT_ONCE_MAX: usize = 4;
/// Shortest time from one look to the next of a watch that has caught up: what happens meanwhile is read together.
const READ_PAUSE: Duration = Duration::from_millis(50);
/// How soon to look whether the horizon has moved over what was sent, so that the cursor can.
const HORIZON_INTERVAL: Duration = Duration::from_secs(1);
/// So long before its events go, a cursor is taken no more: transactions take a while, and so does whoever reads.
const CURSOR_MARGIN: Duration = Duration::from_hours(1);

/// Where to begin.
#[derive(Debug, Clone, Copy)]
pub enum WatchFrom {
    /// With the oldest event that is kept.
    Oldest,
    /// With what happens from now on.
    Now,
    /// Where somebody has come before.
    Cursor(EventCursor),
}

/// What happened, and where to go on after it.
#[derive(Debug)]
pub struct Happened {
    /// The events, in order; maybe none.
    pub events: Vec<InvitationEvent>,
    /// Where to go on.
    pub cursor: EventCursor,
    /// Whether there is more to read at once.
    pub has_more: bool,
    /// Whether the cursor moved over something that was told before.
    pub is_settled: bool,
}

/// Somebody who watches.
#[derive(Debug)]
pub struct Watch {
    service: Service,
    organization_id: OrganizationId,
    batch_id: Option<Uuid>,
    progress: Progress,
    subscription: Subscription,
    read_at: Instant,
    /// Whether there are events that they must not miss: whoever reads the oldest ones takes what is left of them.
    must_keep_up: bool,
}

impl Service {
    /// Begins to watch an organization, or one batch of it.
    pub async fn watch(
        &self,
        organization_id: OrganizationId,
        batch_id: Option<Uuid>,
        from: WatchFrom,
    ) -> Result<Watch, ServiceError> {
        // Before the first look, so that nothing is missed between them.
        let subscription = self.store.notifier().subscribe(organization_id.as_str());
        let id = organization_id.clone();
        let (span, first) = self
            .store
            .run("watch.begin", move |connection| {
                let id = id.clone();
                Box::pin(async move { begin(connection, &id, batch_id).await })
            })
            .await?;
        let now = self.clock.now();
        let progress = match from {
            WatchFrom::Oldest => Progress::at(first, now),
            WatchFrom::Now => Progress::at(EventPosition::of_transaction(span.horizon), now),
            WatchFrom::Cursor(cursor) => {
                // A place that no transaction has come to is one of another cluster's log.
                if cursor.position.transaction_id > span.end || self.is_expired(cursor.time) {
                    return Err(ServiceError::Refused(Reason::CursorExpired));
                }
                Progress::after(&cursor)
            }
        };
        let mut watch = Watch {
            service: self.clone(),
            organization_id,
            batch_id,
            progress,
            subscription,
            read_at: Instant::now(),
            must_keep_up: !matches!(from, WatchFrom::Oldest),
        };
        if matches!(from, WatchFrom::Now) {
            // What is there already above the horizon counts as told.
            while watch.read().await?.has_more {}
        }
        Ok(watch)
    }

    /// Whether events of a time may be gone.
    fn is_expired(&self, time: OffsetDateTime) -> bool {
        let oldest = self.events_kept.and_then(|kept| {
            let kept = kept.saturating_sub(CURSOR_MARGIN).try_into().ok()?;
            self.clock.now().checked_sub(kept)
        });
        oldest.is_some_and(|oldest| time < oldest)
    }
}

impl Watch {
    /// Reads what happened since the last time.
    pub async fn read(&mut self) -> Result<Happened, ServiceError> {
        if self.must_keep_up && self.service.is_expired(self.progress.time()) {
            return Err(ServiceError::Refused(Reason::CursorExpired));
        }
        let page = self.page().await?;
        self.read_at = Instant::now();
        let step = self.progress.absorb(page, self.service.clock.now());
        self.must_keep_up |= !step.has_more;
        Ok(Happened {
            events: step.events,
            cursor: self.progress.cursor(),
            has_more: step.has_more,
            is_settled: step.is_settled,
        })
    }

    /// Waits until it is worth to look again.
    pub async fn news(&mut self) {
        if self.progress.is_ahead() {
            let _ = tokio::time::timeout(HORIZON_INTERVAL, self.subscription.notified()).await;
        } else {
            self.subscription.notified().await;
        }
        tokio::time::sleep_until(self.read_at + READ_PAUSE).await;
    }

    async fn page(&self) -> Result<Page, ServiceError> {
        let _turn = self.service.watch_reads.acquire().await;
        let (id, batch_id) = (self.organization_id.clone(), self.batch_id);
        let (from, known) = (self.progress.position(), self.progress.known());
        let rows_max = match batch_id {
            // Each holds an event at least, and one more row says whether there is more.
            None => EVENTS_MAX + 1,
            Some(_) => BATCH_ROWS_MAX,
        };
        let rows_max = i64::try_from(rows_max + known.len()).unwrap_or(i64::MAX);
        let page = self.service.store.run("watch.read", move |connection| {
            let (id, known) = (id.clone(), known.clone());
            Box::pin(async move {
                let reading = Reading {
                    organization_id: &id,
                    batch_id,
                    from,
                    known: &known,
                    rows_max,
                    events_max: i32::try_from(EVENTS_MAX).unwrap_or(i32::MAX),
                };
                Ok(invitation_events::page(connection, reading).await?)
            })
        });
        page.await
    }
}

/// Where the log stands, and where what is to be watched begins in it.
async fn begin(
    connection: &mut Connection<'_>,
    organization_id: &OrganizationId,
    batch_id: Option<Uuid>,
) -> Result<(Span, EventPosition), ServiceError> {
    let organization = organizations::get(connection, organization_id).await?;
    if organization.is_none_or(|found| found.is_deleted) {
        return Err(ServiceError::Refused(Reason::OrganizationNotFound));
    }
    let first = match batch_id {
        None => EventPosition::START,
        Some(id) => batches::first_transaction(connection, organization_id, id)
            .await?
            .map(EventPosition::of_transaction)
            .ok_or(ServiceError::Refused(Reason::BatchNotFound))?,
    };
    Ok((invitation_events::span(connection).await?, first))
}
