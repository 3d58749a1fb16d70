//! Quotas within a transaction: who waits for whom, what is left, and taking it.
//!
//! Calls of one organization work beside each other and take what they used as their last act, when only the commit is
//! left: then they wait for each other for a moment and not for as long as their work lasts. A call that finds no room
//! for all it did is rolled back and done once more, alone: it waits until no other bulk call works for the
//! organization, looks at what is left and plans with that. What was looked at may be gone by then for others' sake, an
//! address invited elsewhere or a single Resend; then it is looked at again.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use time::OffsetDateTime;
use uuid::Uuid;

use crate::domain::ids::OrganizationId;
use crate::domain::organization::Organization;
use crate::domain::quota::{self, ExceededQuota, Quota, QuotaAllowance, RESENDS_WINDOW};
use crate::domain::reason::Reason;
use crate::store::organizations::StoredOrganization;
use crate::store::quotas::{self, MailedInvitation};
use crate::store::{Connection, organizations};

use super::{Service, ServiceError};

/// Whether a call works beside others of its organization or alone. One for all tries of a call.
#[derive(Debug, Clone, Default)]
pub(super) struct Turn(Arc<AtomicBool>);

impl Turn {
    /// Whether it is the call's turn to work alone.
    pub(super) fn is_alone(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Has the call done once more, alone.
    pub(super) fn alone_next(&self) -> ServiceError {
        self.0.store(true, Ordering::Relaxed);
        ServiceError::Raced
    }
}

/// What a call is about to take.
pub(super) struct Taking<'a> {
    /// The organization.
    pub(super) organization_id: &'a OrganizationId,
    /// How many it invited or mailed again.
    pub(super) recipients: usize,
    /// How many of them were not pending before.
    pub(super) new_pending: usize,
    /// The hashes of the addresses it mails.
    pub(super) addresses: Vec<i64>,
}

impl Service {
    /// Holds the organization of a bulk call: beside others, or alone if it is the call's turn or `most` invitations
    /// cannot all fit into what is left of the day.
    ///
    /// # Errors
    ///
    /// `ORGANIZATION_NOT_FOUND`, and `ORGANIZATION_SUSPENDED`.
    pub(super) async fn hold(
        &self,
        connection: &mut Connection<'_>,
        id: &OrganizationId,
        turn: &Turn,
        most: usize,
    ) -> Result<Organization, ServiceError> {
        let day = quota::day(self.clock.now());
        let stored = if turn.is_alone() {
            organizations::hold_alone(connection, id).await?
        } else {
            let held = organizations::hold_counted(connection, id, day).await?;
            if let (Some((_, used)), Some(limit)) = (&held, self.quotas.organization_daily)
                && used.saturating_add(i64::try_from(most).unwrap_or(i64::MAX)) > i64::from(limit)
            {
                return Err(turn.alone_next());
            }
            held.map(|(stored, _)| stored)
        };
        usable(stored)
    }

    /// What is left for an organization and for these addresses.
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
        if let Some(limit) = self.quotas.organization_daily {
            let used = quotas::used_by_organization(connection, organization_id, day).await?;
            allowance.daily = Some(left(limit, used));
        }
        if let Some(limit) = self.quotas.organization_pending {
            let most = i64::from(limit);
            let used = quotas::count_pending(connection, organization_id, now, most).await?;
            allowance.pending = Some(left(limit, used));
        }
        if let Some(limit) = self.quotas.address_daily
            && !addresses.is_empty()
        {
            addresses.sort_unstable();
            allowance.full = quotas::full_addresses(connection, day, &addresses, limit).await?;
        }
        Ok(allowance)
    }

    /// Takes what a call used: the last thing before its commit. Returns the quota that has no room for it; then
    /// nothing may be committed.
    pub(super) async fn take(
        &self,
        connection: &mut Connection<'_>,
        mut taking: Taking<'_>,
        now: OffsetDateTime,
    ) -> Result<Option<Quota>, ServiceError> {
        let day = quota::day(now);
        if let Some(limit) = self.quotas.address_daily
            && !taking.addresses.is_empty()
        {
            taking.addresses.sort_unstable();
            taking.addresses.dedup();
            let taken = quotas::take_addresses(connection, day, &taking.addresses, limit).await?;
            if taken.len() < taking.addresses.len() {
                return Ok(Some(Quota::AddressDaily));
            }
        }
        if taking.recipients == 0 || !self.quotas.counts_organizations() {
            return Ok(None);
        }
        let organization_id = taking.organization_id;
        let number = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        let counts = (number(taking.recipients), number(taking.new_pending));
        let limit = self.quotas.organization_daily;
        let taken =
            quotas::take_organization(connection, organization_id, day, counts, limit).await?;
        let Some(taken) = taken else {
            return Ok(Some(Quota::OrganizationDaily));
        };
        // Whoever makes one pending takes the row above first, so that all of them are seen. They are counted only where
        // what was counted before and what was made since may be too many: answers make room that is noticed then.
        if let Some(limit) = self.quotas.organization_pending
            && taking.new_pending > 0
            && taken
                .pending_at_most
                .is_none_or(|pending| pending > i64::from(limit))
            && !quotas::confirm_pending(connection, organization_id, day, now, limit).await?
        {
            return Ok(Some(Quota::OrganizationPending));
        }
        Ok(None)
    }

    /// What was mailed of invitations, if that limits anything.
    pub(super) async fn mailed(
        &self,
        connection: &mut Connection<'_>,
        organization_id: &OrganizationId,
        ids: &[Uuid],
        now: OffsetDateTime,
    ) -> Result<HashMap<Uuid, MailedInvitation>, ServiceError> {
        if !self.quotas.counts_resends() || ids.is_empty() {
            return Ok(HashMap::new());
        }
        let since = now - RESENDS_WINDOW;
        Ok(quotas::mailed(connection, organization_id, ids, since).await?)
    }

    /// Why an invitation may not be mailed again now, by what was mailed of it.
    pub(super) fn resend_obstacle(
        &self,
        mailed: &HashMap<Uuid, MailedInvitation>,
        id: Uuid,
        now: OffsetDateTime,
    ) -> Option<ExceededQuota> {
        self.quotas.resend_obstacle(&mailed.get(&id)?.recent, now)
    }
}

/// The organization, if it may invite.
fn usable(stored: Option<StoredOrganization>) -> Result<Organization, ServiceError> {
    let stored = stored
        .filter(|stored| !stored.is_deleted)
        .ok_or(ServiceError::Refused(Reason::OrganizationNotFound))?;
    if stored.is_suspended {
        return Err(ServiceError::Refused(Reason::OrganizationSuspended));
    }
    Ok(stored.organization)
}
