//! What use cases need besides the database: time, ids, keys, limits.

use std::sync::Arc;
use std::time::Duration;

use time::OffsetDateTime;

use crate::clock::Clock;
use crate::domain::actor::Actor;
use crate::domain::audit::{AuditAction, AuditCounts, AuditEvent};
use crate::domain::ids::IdSource;
use crate::domain::keyring::Keyring;
use crate::domain::link::LinkTemplate;
use crate::domain::quota::QuotaLimits;

use super::quotas::Quotas;
use super::suppression_list::SuppressionList;

/// The environment of use cases.
pub struct Context {
    clock: Arc<dyn Clock>,
    pub(super) ids: IdSource,
    pub(super) keyring: Arc<Keyring>,
    pub(super) links: Arc<LinkTemplate>,
    pub(super) quotas: Quotas,
    pub(super) suppression: SuppressionList,
    /// How long events are kept. `None` is forever.
    pub(super) events_kept: Option<Duration>,
}

impl Context {
    /// A context without quotas, whose events are kept forever.
    pub fn new(clock: Arc<dyn Clock>, keyring: Arc<Keyring>, links: Arc<LinkTemplate>) -> Self {
        Self {
            clock,
            ids: IdSource::new(),
            quotas: Quotas::new(QuotaLimits::OFF, &keyring),
            suppression: SuppressionList::new(&keyring),
            keyring,
            links,
            events_kept: None,
        }
    }

    /// The same context with these quotas.
    pub fn with_quotas(self, limits: QuotaLimits) -> Self {
        Self {
            quotas: Quotas::new(limits, &self.keyring),
            ..self
        }
    }

    /// The same context where events are kept for this long.
    pub fn with_events_kept(self, events_kept: Option<Duration>) -> Self {
        Self {
            events_kept,
            ..self
        }
    }

    pub(super) fn clock(&self) -> Arc<dyn Clock> {
        Arc::clone(&self.clock)
    }

    pub(super) fn now(&self) -> OffsetDateTime {
        self.clock.now()
    }

    /// An audit event that says who did what, and nothing else yet.
    pub(super) fn audit_event(
        &self,
        actor: &Actor,
        action: AuditAction,
        organization_id: &str,
        now: OffsetDateTime,
    ) -> AuditEvent {
        AuditEvent {
            id: self.ids.next(now),
            created_at: now,
            organization_id: organization_id.to_owned(),
            action,
            refusal: None,
            caller: actor.label.clone(),
            on_behalf_of_user_id: actor.user_id.clone(),
            subject_user_id: None,
            invitation_id: None,
            batch_id: None,
            request_id: None,
            counts: AuditCounts::default(),
        }
    }
}
