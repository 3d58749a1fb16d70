//! The use cases, one file for each verb of the API.
//!
//! Each checks what only the database can tell, runs one named transaction and answers in domain words. Knows SQL only
//! through the store; knows no protocol and no mail. Whether a caller may call at all was decided before.

mod accept;
mod audit;
mod authorize;
mod backlog;
pub mod bulk_create;
pub mod bulk_resend;
pub mod bulk_revoke;
mod decline;
mod delete;
mod erase_address;
mod error;
mod feedback;
mod fold;
mod get;
mod get_batch;
mod idempotency;
mod keys;
mod list;
mod memberships;
mod preview;
mod quota;
mod remind;
pub mod requeue;
mod resend;
mod retention;
mod revoke;
mod snapshot;
mod subject;
mod suppressions;
mod suspension;
mod sweep;
mod upsert;
mod watch;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

use crate::clock::Clock;
use crate::domain::address_hash::AddressHasher;
use crate::domain::address_tag::AddressTagger;
use crate::domain::ids::IdSource;
use crate::domain::keyring::Keyring;
use crate::domain::link::LinkTemplate;
use crate::domain::quota::QuotaLimits;
use crate::store::Store;

pub use accept::{Accept, AcceptOutcome};
pub use audit::ListAudit;
pub use backlog::{Alarm, Backlog, Count};
pub use decline::Decline;
pub use delete::Deleted;
pub use erase_address::AddressErased;
pub use error::ServiceError;
pub use feedback::{Feedback, FeedbackKind, FeedbackOutcome, FeedbackSource};
pub use keys::KeyringMismatch;
pub use list::List;
pub use preview::Preview;
pub use resend::Resend;
pub use retention::Retention;
pub use suppressions::{
    AddOutcome, AddSuppressions, Addresses, ItemOutcomes, LiftOutcome, LiftSuppressions,
    ListSuppressions, RefusedAddress,
};
pub use upsert::{UpsertOutcome, Upserted};
pub use watch::{EVENTS_MAX, Happened, Watch, WatchFrom};

pub use crate::store::audit_events::AuditFilter;
pub use crate::store::listings::ListFilter;
pub use crate::store::suppressions::SuppressionKey;

/// The use cases with all they need. Cheap to clone.
#[derive(Clone)]
pub struct Service {
    store: Store,
    clock: Arc<dyn Clock>,
    ids: Arc<IdSource>,
    keyring: Arc<Keyring>,
    tagger: Arc<AddressTagger>,
    hasher: Arc<AddressHasher>,
    quotas: QuotaLimits,
    events_kept: Option<Duration>,
    watch_reads: Arc<Semaphore>,
    links: Arc<LinkTemplate>,
}

impl Service {
    /// Puts the use cases together. Knows no quotas before [`with_quotas`](Self::with_quotas) tells it.
    #[must_use]
    pub fn new(
        store: Store,
        clock: Arc<dyn Clock>,
        keyring: Arc<Keyring>,
        links: Arc<LinkTemplate>,
    ) -> Self {
        Self {
            store,
            clock,
            ids: Arc::new(IdSource::new()),
            tagger: Arc::new(AddressTagger::new(&keyring)),
            hasher: Arc::new(AddressHasher::new(&keyring)),
            quotas: QuotaLimits::OFF,
            events_kept: None,
            watch_reads: Arc::new(Semaphore::new(watch::READS_AT_ONCE_MAX)),
            keyring,
            links,
        }
    }

    /// The same with these quotas.
    #[must_use]
    pub fn with_quotas(self, quotas: QuotaLimits) -> Self {
        Self { quotas, ..self }
    }

    /// The same where events are kept for so long; for ever, if nobody says.
    #[must_use]
    pub fn with_events_kept(self, events_kept: Option<Duration>) -> Self {
        Self {
            events_kept,
            ..self
        }
    }

    /// The time, as the use cases see it.
    #[must_use]
    pub fn clock(&self) -> Arc<dyn Clock> {
        Arc::clone(&self.clock)
    }

    /// Asks the database for a sign of life.
    pub async fn ping(&self) -> Result<(), ServiceError> {
        Ok(self.store.ping().await?)
    }
}

impl fmt::Debug for Service {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Service").finish_non_exhaustive()
    }
}
