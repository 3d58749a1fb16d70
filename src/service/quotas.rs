//! Quotas inside a transaction: locking the organization, what is left, and reserving.
//!
//! Bulk calls of one organization run concurrently. Each reserves what it used as its last statements, so that the row of
//! the organization is locked only until the commit that follows (ADR 20).

use std::collections::HashMap;

use time::OffsetDateTime;
use uuid::Uuid;

use crate::domain::address_tag::AddressHasher;
use crate::domain::ids::OrganizationId;
use crate::domain::keyring::Keyring;
use crate::domain::organization::Organization;
use crate::domain::organization_record::OrganizationRecord;
use crate::domain::quota::{
    self, ExceededQuota, Quota, QuotaAllowance, QuotaLimits, QuotaRequest, RESENDS_WINDOW,
};
use crate::domain::reason::Reason;
use crate::store::quotas::{self, MailHistory};
use crate::store::{Connection, organizations};

use super::ServiceError;

/// How a bulk call locks its organization, so that bulk calls exclude each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OrganizationLock {
    /// Other bulk calls of the organization run at the same time.
    Shared,
    /// No other bulk call of the organization runs.
    Exclusive,
}

impl OrganizationLock {
    pub(super) const fn is_exclusive(self) -> bool {
        matches!(self, Self::Exclusive)
    }

    /// The error for work that cannot end under this lock: another run may succeed, alone if this run was not.
    pub(super) const fn run_again(self) -> ServiceError {
        match self {
            Self::Shared => ServiceError::NeedsExclusiveLock,
            Self::Exclusive => ServiceError::Conflict,
        }
    }
}

pub(super) struct Quotas {
    limits: QuotaLimits,
    hasher: AddressHasher,
}

pub(super) struct QuotaUsage {
    recipients: usize,
    /// Invitations that are pending now and were not before.
    new_pending: usize,
    /// The hashes of the addresses that get mail, sorted and distinct.
    addresses: Vec<i64>,
}

impl QuotaUsage {
    pub(super) fn new(requests: impl IntoIterator<Item = QuotaRequest>) -> Self {
        let mut usage = Self {
            recipients: 0,
            new_pending: 0,
            addresses: Vec::new(),
        };
        for request in requests {
            usage.recipients += 1;
            usage.new_pending += usize::from(request.is_new_pending);
            usage.addresses.extend(request.address);
        }
        usage.addresses.sort_unstable();
        usage.addresses.dedup();
        usage
    }
}

impl Quotas {
    pub(super) fn new(limits: QuotaLimits, keyring: &Keyring) -> Self {
        Self {
            limits,
            hasher: AddressHasher::new(keyring),
        }
    }

    /// The key of an address in its quota. `None` if mail to an address is not limited.
    pub(super) fn address_hash(&self, email_normalized: &str) -> Option<i64> {
        self.limits
            .address_daily
            .map(|_| self.hasher.hash(email_normalized))
    }

    pub(super) fn exceeded(&self, quota: Quota, now: OffsetDateTime) -> ExceededQuota {
        self.limits.exceeded(quota, now)
    }

    /// Locks the organization of a bulk call for at most `recipients_max` recipients.
    ///
    /// # Errors
    ///
    /// `ORGANIZATION_NOT_FOUND`, `ORGANIZATION_SUSPENDED`, and a request for the exclusive lock if so many recipients cannot
    /// fit into the rest of the day.
    pub(super) async fn lock_organization(
        &self,
        connection: &mut Connection<'_>,
        lock: OrganizationLock,
        id: &OrganizationId,
        recipients_max: usize,
        now: OffsetDateTime,
    ) -> Result<Organization, ServiceError> {
        if lock.is_exclusive() {
            return active(organizations::lock_exclusive(connection, id).await?);
        }
        let locked = organizations::lock_shared_with_usage(connection, id, quota::day(now)).await?;
        if let (Some((_, used)), Some(limit)) = (&locked, self.limits.organization_daily)
            && used.saturating_add(signed(recipients_max)) > i64::from(limit)
        {
            return Err(lock.run_again());
        }
        active(locked.map(|(stored, _)| stored))
    }

    pub(super) async fn allowance(
        &self,
        connection: &mut Connection<'_>,
        organization_id: &OrganizationId,
        mut addresses: Vec<i64>,
        now: OffsetDateTime,
    ) -> Result<QuotaAllowance, ServiceError> {
        let day = quota::day(now);
        let left = |limit: u32, used: i64| {
            u64::from(limit).saturating_sub(u64::try_from(used).unwrap_or_default())
        };
        let mut allowance = QuotaAllowance::default();
        if let Some(limit) = self.limits.organization_daily {
            let used = quotas::used_by_organization(connection, organization_id, day).await?;
            allowance.daily = Some(left(limit, used));
        }
        if let Some(limit) = self.limits.organization_pending {
            let most = i64::from(limit);
            let used = quotas::count_pending(connection, organization_id, now, most).await?;
            allowance.pending = Some(left(limit, used));
        }
        if let Some(limit) = self.limits.address_daily
            && !addresses.is_empty()
        {
            addresses.sort_unstable();
            allowance.full =
                quotas::exhausted_addresses(connection, day, &addresses, limit).await?;
        }
        Ok(allowance)
    }

    /// Reserves what a call uses, in one order: addresses, then the organization. Must be the last statements of a
    /// transaction. Returns the quota that has no room, after which the transaction must not commit.
    pub(super) async fn reserve(
        &self,
        connection: &mut Connection<'_>,
        organization_id: &OrganizationId,
        usage: &QuotaUsage,
        now: OffsetDateTime,
    ) -> Result<Option<Quota>, ServiceError> {
        let day = quota::day(now);
        if let Some(limit) = self.limits.address_daily
            && !usage.addresses.is_empty()
        {
            let reserved =
                quotas::reserve_addresses(connection, day, &usage.addresses, limit).await?;
            if reserved.len() < usage.addresses.len() {
                return Ok(Some(Quota::AddressDaily));
            }
        }
        if usage.recipients == 0 || !self.limits.counts_organizations() {
            return Ok(None);
        }
        let counts = (signed(usage.recipients), signed(usage.new_pending));
        let limit = self.limits.organization_daily;
        let reserved =
            quotas::reserve_organization(connection, organization_id, day, counts, limit).await?;
        let Some(reserved) = reserved else {
            return Ok(Some(Quota::OrganizationDaily));
        };
        // Every transaction that makes an invitation pending locks that row first, so none is missed here. Pending
        // invitations are counted only if the upper bound says that there may be too many.
        if let Some(limit) = self.limits.organization_pending
            && usage.new_pending > 0
            && reserved
                .pending_at_most
                .is_none_or(|pending| pending > i64::from(limit))
            && !quotas::recount_pending(connection, organization_id, day, now, limit).await?
        {
            return Ok(Some(Quota::OrganizationPending));
        }
        Ok(None)
    }

    /// The recent mail of invitations, if the configuration limits how often one is sent again.
    pub(super) async fn recent_mail(
        &self,
        connection: &mut Connection<'_>,
        organization_id: &OrganizationId,
        ids: &[Uuid],
        now: OffsetDateTime,
    ) -> Result<HashMap<Uuid, MailHistory>, ServiceError> {
        if !self.limits.counts_resends() || ids.is_empty() {
            return Ok(HashMap::new());
        }
        let since = now - RESENDS_WINDOW;
        Ok(quotas::mail_history(connection, organization_id, ids, since).await?)
    }

    pub(super) fn resend_obstacle(
        &self,
        mailed: Option<&MailHistory>,
        now: OffsetDateTime,
    ) -> Option<ExceededQuota> {
        self.limits.resend_obstacle(&mailed?.recent, now)
    }
}

fn active(stored: Option<OrganizationRecord>) -> Result<Organization, ServiceError> {
    let stored = stored
        .filter(|stored| !stored.is_deleted())
        .ok_or(ServiceError::Refused(Reason::OrganizationNotFound))?;
    if stored.is_suspended() {
        return Err(ServiceError::Refused(Reason::OrganizationSuspended));
    }
    Ok(stored.organization)
}

fn signed(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
