//! `EraseAddress`: removes everything about one address, in all organizations.
//!
//! Works in short transactions, one after the other, so that an address with many invitations holds no lock for long. A call
//! that was cut off can be repeated, and continues. What callers store about the address afterwards is new, and stays.

use std::collections::BTreeMap;
use std::sync::Arc;

use time::OffsetDateTime;

use crate::domain::actor::Actor;
use crate::domain::audit::{AuditAction, AuditCounts, AuditEvent, NO_ORGANIZATION};
use crate::domain::email_address::EmailAddress;
use crate::domain::suppression::{EVERY_ORGANIZATION, SuppressionReason};
use crate::store::{self, audit_events, erasures, suppressions, users};

use super::suppression_list::suppress;
use super::{Service, ServiceError, UnitOfWork, UseCase};

/// Most invitations of one transaction, so that no lock is held for long.
const ERASE_ROWS_MAX: i64 = 500;

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ErasedAddress {
    pub invitations: u64,
    /// Those of them that were pending and were revoked.
    pub revoked_invitations: u64,
    pub canceled_mails: u64,
    pub users: u64,
    /// Those of them who had no other address and lost their name too.
    pub nameless_users: u64,
    /// Whether the address was suppressed by this call and was not before.
    pub is_newly_suppressed: bool,
}

#[derive(Clone)]
struct Erasure {
    email_normalized: Arc<str>,
    actor: Arc<Actor>,
}

/// Suppresses the address. Returns whether it was not suppressed before.
struct SuppressErased(Erasure);

/// Erases some of the invitations of the address. Fewer than [`ERASE_ROWS_MAX`] means that none is left.
struct EraseInvitations(Erasure);

struct EraseFromUsers(Erasure);

/// Returns what erasing an address would do now, without a lock and without a change.
pub struct PreviewErasure {
    pub email: EmailAddress,
    /// Whether the address would be suppressed as well.
    pub suppress: bool,
}

impl Service {
    /// Erases an address. With `suppress`, no organization can invite it again.
    ///
    /// The order matters. The address is suppressed first, so that messages that are queued meanwhile are not sent. It is
    /// removed from users last: a concurrent acceptance locks its invitation, and has stored the address of the user by the
    /// time that the lock is free.
    pub async fn erase_address(
        &self,
        email: EmailAddress,
        suppress: bool,
        actor: Actor,
    ) -> Result<ErasedAddress, ServiceError> {
        let erasure = Erasure {
            email_normalized: email.normalized().into(),
            actor: Arc::new(actor),
        };
        let mut total = ErasedAddress::default();
        if suppress {
            total.is_newly_suppressed = self.run(SuppressErased(erasure.clone())).await?;
        }
        loop {
            let batch = self.run(EraseInvitations(erasure.clone())).await?;
            total.invitations += batch.invitations;
            total.revoked_invitations += batch.revoked_invitations;
            total.canceled_mails += batch.canceled_mails;
            if batch.invitations < ERASE_ROWS_MAX.unsigned_abs() {
                break;
            }
        }
        let forgotten = self.run(EraseFromUsers(erasure)).await?;
        total.users = forgotten.users.unsigned_abs();
        total.nameless_users = forgotten.users_without_address.unsigned_abs();
        Ok(total)
    }
}

impl UseCase for PreviewErasure {
    const NAME: &'static str = "erase_address.preview";
    type Output = ErasedAddress;

    async fn run(&self, work: &mut UnitOfWork<'_>) -> Result<ErasedAddress, ServiceError> {
        store::planner::force_custom_plans(work).await?;
        let (email, now) = (self.email.normalized(), work.context.now());
        let is_newly_suppressed = self.suppress && !is_suppressed(work, email, now).await?;
        let invitations = erasures::count_of_address(work, email, now).await?;
        let forgotten = users::count_of_address(work, email).await?;
        Ok(ErasedAddress {
            invitations: invitations.all.unsigned_abs(),
            revoked_invitations: invitations.open.unsigned_abs(),
            canceled_mails: invitations.queued_mails.unsigned_abs(),
            users: forgotten.users.unsigned_abs(),
            nameless_users: forgotten.users_without_address.unsigned_abs(),
            is_newly_suppressed,
        })
    }
}

impl UseCase for SuppressErased {
    const NAME: &'static str = "erase_address.suppress";
    type Output = bool;

    async fn run(&self, work: &mut UnitOfWork<'_>) -> Result<bool, ServiceError> {
        let (email, now) = (&self.0.email_normalized, work.context.now());
        let was_suppressed = is_suppressed(work, email, now).await?;
        let tag = work.context.suppression.tagger().tag_of_normalized(email);
        let reason = SuppressionReason::Manual;
        suppress(work, EVERY_ORGANIZATION, tag, reason, now).await?;
        let counts = AuditCounts {
            suppressed: 1,
            ..AuditCounts::default()
        };
        self.0.record(work, [(NO_ORGANIZATION, counts)]).await?;
        Ok(!was_suppressed)
    }
}

impl UseCase for EraseInvitations {
    const NAME: &'static str = "erase_address";
    type Output = ErasedAddress;

    async fn run(&self, work: &mut UnitOfWork<'_>) -> Result<ErasedAddress, ServiceError> {
        let (email, now) = (&self.0.email_normalized, work.context.now());
        store::planner::force_custom_plans(work).await?;
        let locked = erasures::lock_of_address(work, email, ERASE_ROWS_MAX, now).await?;
        let tag = work.context.suppression.tagger().tag_of_normalized(email);
        let rows: Vec<_> = locked.iter().map(|row| (row, tag)).collect();
        let canceled_mails = erasures::erase_many(work, &rows, now).await?;
        let mut by_organization: BTreeMap<&str, AuditCounts> = BTreeMap::new();
        let mut erased = ErasedAddress {
            canceled_mails,
            ..ErasedAddress::default()
        };
        for row in &locked {
            let counts = by_organization.entry(&row.organization_id).or_default();
            let revoked = u64::from(row.is_open);
            counts.erased += 1;
            counts.revoked += revoked;
            erased.invitations += 1;
            erased.revoked_invitations += revoked;
        }
        self.0.record(work, by_organization).await?;
        Ok(erased)
    }
}

impl UseCase for EraseFromUsers {
    const NAME: &'static str = "erase_address.users";
    type Output = users::AddressRemoval;

    async fn run(&self, work: &mut UnitOfWork<'_>) -> Result<users::AddressRemoval, ServiceError> {
        store::planner::force_custom_plans(work).await?;
        let email = &self.0.email_normalized;
        let now = work.context.now();
        let forgotten = users::remove_address(work, email, now).await?;
        let counts = AuditCounts {
            erased: forgotten.users.unsigned_abs(),
            ..AuditCounts::default()
        };
        let counts = (forgotten.users > 0).then_some((NO_ORGANIZATION, counts));
        self.0.record(work, counts).await?;
        Ok(forgotten)
    }
}

impl Erasure {
    async fn record<'a>(
        &self,
        work: &mut UnitOfWork<'_>,
        counts: impl IntoIterator<Item = (&'a str, AuditCounts)>,
    ) -> Result<(), ServiceError> {
        let (context, action) = (work.context, AuditAction::EraseAddress);
        let now = context.now();
        let events: Vec<AuditEvent> = counts
            .into_iter()
            .map(|(organization_id, counts)| AuditEvent {
                counts,
                ..context.audit_event(&self.actor, action, organization_id, now)
            })
            .collect();
        if events.is_empty() {
            return Ok(());
        }
        Ok(audit_events::insert_many(work, &events).await?)
    }
}

/// Whether an address is suppressed for all organizations. An entry under an older key counts as well.
async fn is_suppressed(
    work: &mut UnitOfWork<'_>,
    email_normalized: &str,
    now: OffsetDateTime,
) -> Result<bool, ServiceError> {
    let tags = work.context.suppression.tagger();
    let entries: Vec<_> = tags
        .tags_of_normalized(email_normalized)
        .map(|tag| (EVERY_ORGANIZATION, tag))
        .collect();
    Ok(!suppressions::find(work, &entries, now).await?.is_empty())
}
