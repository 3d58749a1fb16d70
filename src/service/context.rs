//! What use cases work with: time, ids, keys, limits, and a connection to the database.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::time::Duration;

use time::OffsetDateTime;

use crate::clock::Clock;
use crate::domain::actor::Actor;
use crate::domain::audit::{AuditAction, AuditCounts, AuditEvent};
use crate::domain::ids::{IdSource, OrganizationId};
use crate::domain::keyring::Keyring;
use crate::domain::link::LinkTemplate;
use crate::domain::quota::QuotaLimits;
use crate::domain::reason::Reason;
use crate::store::{Connection, audit_events, organizations};

use super::ServiceError;
use super::quotas::{OrganizationLock, Quotas};
use super::suppression_list::SuppressionList;

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

    pub fn with_quotas(self, limits: QuotaLimits) -> Self {
        Self {
            quotas: Quotas::new(limits, &self.keyring),
            ..self
        }
    }

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
            request_id: actor.request_id,
            counts: AuditCounts::default(),
        }
    }
}

/// A connection to the database, and the context of the service. Functions of the store take it as a [`Connection`].
pub struct UnitOfWork<'a> {
    pub(super) context: &'a Context,
    /// How a bulk call locks its organization. Other use cases do not look at it.
    pub(super) lock: OrganizationLock,
    connection: Connection<'a>,
}

impl<'a> UnitOfWork<'a> {
    pub(super) const fn new(
        context: &'a Context,
        connection: Connection<'a>,
        lock: OrganizationLock,
    ) -> Self {
        Self {
            context,
            lock,
            connection,
        }
    }

    pub(super) fn into_connection(self) -> Connection<'a> {
        self.connection
    }

    /// Refuses an organization that is unknown or was deleted, with `ORGANIZATION_NOT_FOUND`.
    pub(super) async fn require_organization(
        &mut self,
        id: &OrganizationId,
    ) -> Result<(), ServiceError> {
        organizations::get(self, id)
            .await?
            .filter(|stored| !stored.is_deleted)
            .map(|_| ())
            .ok_or(ServiceError::Refused(Reason::OrganizationNotFound))
    }

    /// Writes an audit event that says who did what, and how often.
    pub(super) async fn record(
        &mut self,
        actor: &Actor,
        action: AuditAction,
        organization_id: &str,
        counts: AuditCounts,
        now: OffsetDateTime,
    ) -> Result<(), ServiceError> {
        let event = self
            .context
            .audit_event(actor, action, organization_id, now);
        let event = AuditEvent { counts, ..event };
        Ok(audit_events::insert_many(self, &[event]).await?)
    }
}

impl<'a> Deref for UnitOfWork<'a> {
    type Target = Connection<'a>;

    fn deref(&self) -> &Connection<'a> {
        &self.connection
    }
}

impl<'a> DerefMut for UnitOfWork<'a> {
    fn deref_mut(&mut self) -> &mut Connection<'a> {
        &mut self.connection
    }
}
