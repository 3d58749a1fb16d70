//! Erase address: everything about one address goes, over all organizations; what is left does not name it.
//!
//! Works in short transactions, one after the other, so that an address with many invitations holds nobody up. Calling
//! again goes on where a call that was cut off had stopped. What is told of the address afterwards is new, and stays.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::domain::actor::Actor;
use crate::domain::audit::{AuditAction, AuditCounts, AuditEvent};
use crate::domain::email_address::EmailAddress;
use crate::domain::suppression::{EVERY_ORGANIZATION, SuppressionReason};
use crate::store::suppressions::{self, SuppressionRow};
use crate::store::{self, Connection, audit_events, erasures, users};

use super::audit::{NO_ORGANIZATION, count};
use super::{Service, ServiceError};

/// Most invitations of one transaction, so that no lock lasts.
const ERASE_ROWS_MAX: i64 = 500;

/// What was erased.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AddressErased {
    /// Invitations that lost the address.
    pub invitations: u64,
    /// Those of them that were pending, and are revoked.
    pub revoked_invitations: u64,
    /// Mails that waited, and are canceled.
    pub canceled_mails: u64,
    /// Users who lost the address.
    pub users: u64,
    /// Those of them who had no other, and lost their name too.
    pub nameless_users: u64,
    /// Whether the address was put on the suppression list and was not on it before.
    pub is_suppressed_anew: bool,
}

impl Service {
    /// Erases an address; with `suppress` it is not invited any more, by anybody.
    ///
    /// The order counts. It is suppressed first, so that a mail that is queued meanwhile is not sent. It is taken from
    /// users last: an acceptance that was under way holds its invitation, and what it told of the user is there when
    /// that is free.
    pub async fn erase_address(
        &self,
        email: EmailAddress,
        suppress: bool,
        actor: Actor,
    ) -> Result<AddressErased, ServiceError> {
        let email: Arc<str> = email.normalized().into();
        let actor = Arc::new(actor);
        let mut total = AddressErased {
            is_suppressed_anew: suppress
                && self
                    .suppress_erased(Arc::clone(&email), Arc::clone(&actor))
                    .await?,
            ..AddressErased::default()
        };
        loop {
            let batch = self
                .erase_invitations(Arc::clone(&email), Arc::clone(&actor))
                .await?;
            total.invitations += batch.invitations;
            total.revoked_invitations += batch.revoked_invitations;
            total.canceled_mails += batch.canceled_mails;
            if batch.invitations < ERASE_ROWS_MAX.unsigned_abs() {
                break;
            }
        }
        let forgotten = self.forget_users(email, actor).await?;
        total.users = forgotten.users.unsigned_abs();
        total.nameless_users = forgotten.nameless.unsigned_abs();
        Ok(total)
    }

    async fn suppress_erased(
        &self,
        email: Arc<str>,
        actor: Arc<Actor>,
    ) -> Result<bool, ServiceError> {
        let service = self.clone();
        self.store
            .with_tx("erase_address.suppress", move |connection| {
                let (service, email) = (service.clone(), Arc::clone(&email));
                let actor = Arc::clone(&actor);
                Box::pin(async move {
                    let now = service.clock.now();
                    let tags: Vec<_> = service.tagger.tags_of_normalized(&email).collect();
                    // An entry under an older key counts as well.
                    let asked: Vec<_> = tags.iter().map(|tag| (EVERY_ORGANIZATION, *tag)).collect();
                    let was = suppressions::find(connection, &asked, now).await?;
                    let row = SuppressionRow {
                        organization_id: EVERY_ORGANIZATION.to_owned(),
                        tag: service.tagger.tag_of_normalized(&email),
                        reason: SuppressionReason::Manual,
                        expires_at: SuppressionReason::Manual.ends_at(now),
                    };
                    suppressions::upsert_many(connection, &[row], now).await?;
                    let counts = AuditCounts {
                        suppressed: 1,
                        ..AuditCounts::default()
                    };
                    let told = [(NO_ORGANIZATION, counts)];
                    service.audit_erasure(connection, &actor, told).await?;
                    Ok(was.is_empty())
                })
            })
            .await
    }

    /// Erases some of the invitations of an address; fewer than the most there can be means that none is left.
    async fn erase_invitations(
        &self,
        email: Arc<str>,
        actor: Arc<Actor>,
    ) -> Result<AddressErased, ServiceError> {
        let service = self.clone();
        self.store
            .with_tx("erase_address", move |connection| {
                let (service, email) = (service.clone(), Arc::clone(&email));
                let actor = Arc::clone(&actor);
                Box::pin(async move { service.erase_batch(connection, &email, &actor).await })
            })
            .await
    }

    async fn erase_batch(
        &self,
        connection: &mut Connection<'_>,
        email: &str,
        actor: &Actor,
    ) -> Result<AddressErased, ServiceError> {
        let now = self.clock.now();
        store::plan_afresh(connection).await?;
        let locked = erasures::lock_of_address(connection, email, ERASE_ROWS_MAX, now).await?;
        let tag = self.tagger.tag_of_normalized(email);
        let rows: Vec<_> = locked.iter().map(|row| (row, tag)).collect();
        let open = locked.iter().filter(|row| row.is_open).count();
        let erased = AddressErased {
            invitations: count(locked.len()),
            revoked_invitations: count(open),
            canceled_mails: erasures::erase_many(connection, &rows, now).await?,
            ..AddressErased::default()
        };
        let mut by_organization: BTreeMap<&str, AuditCounts> = BTreeMap::new();
        for row in &locked {
            let counts = by_organization.entry(&row.organization_id).or_default();
            counts.erased += 1;
            counts.revoked += u64::from(row.is_open);
        }
        self.audit_erasure(connection, actor, by_organization)
            .await?;
        Ok(erased)
    }

    async fn forget_users(
        &self,
        email: Arc<str>,
        actor: Arc<Actor>,
    ) -> Result<users::Forgotten, ServiceError> {
        let service = self.clone();
        self.store
            .with_tx("erase_address.users", move |connection| {
                let (service, email) = (service.clone(), Arc::clone(&email));
                let actor = Arc::clone(&actor);
                Box::pin(async move {
                    store::plan_afresh(connection).await?;
                    let now = service.clock.now();
                    let forgotten = users::forget_address(connection, &email, now).await?;
                    let counts = AuditCounts {
                        erased: forgotten.users.unsigned_abs(),
                        ..AuditCounts::default()
                    };
                    let told = (forgotten.users > 0).then_some((NO_ORGANIZATION, counts));
                    service.audit_erasure(connection, &actor, told).await?;
                    Ok(forgotten)
                })
            })
            .await
    }

    /// Writes down what one transaction erased, for each organization.
    async fn audit_erasure<'a>(
        &self,
        connection: &mut Connection<'_>,
        actor: &Actor,
        told: impl IntoIterator<Item = (&'a str, AuditCounts)>,
    ) -> Result<(), ServiceError> {
        let now = self.clock.now();
        let events: Vec<AuditEvent> = told
            .into_iter()
            .map(|(organization_id, counts)| AuditEvent {
                counts,
                ..self.event(actor, AuditAction::EraseAddress, organization_id, now)
            })
            .collect();
        if events.is_empty() {
            return Ok(());
        }
        Ok(audit_events::insert_many(connection, &events).await?)
    }
}
