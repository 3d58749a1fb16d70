//! What to do for each invitation that is to be sent again: decided in memory, then written by one statement.

use std::collections::{HashMap, HashSet};

use time::OffsetDateTime;
use uuid::Uuid;

use crate::domain::expiry::Expiry;
use crate::domain::ids::OrganizationId;
use crate::domain::invitation::StateName;
use crate::domain::quota::{ExceededQuota, QuotaRequest};
use crate::domain::reason::Reason;
use crate::domain::suppression::SuppressionReason;
use crate::entropy;
use crate::store::candidates::Candidate;
use crate::store::invitations::{self, PendingInvitation, ResendItem};
use crate::store::quotas::MailHistory;
use crate::store::{Constraint, StoreError};

use super::{Context, RefusedInvitation, ServiceError, UnitOfWork};

pub(super) struct ResendTerms<'a> {
    pub(super) organization_id: &'a OrganizationId,
    /// Whether the links that were mailed before stop working. Those of an expired invitation always do.
    pub(super) rotate_token: bool,
    pub(super) expires_at: OffsetDateTime,
    pub(super) now: OffsetDateTime,
}

impl<'a> ResendTerms<'a> {
    pub(super) fn new(
        organization_id: &'a OrganizationId,
        rotate_token: bool,
        expiry: &Expiry,
        now: OffsetDateTime,
    ) -> Result<Self, ServiceError> {
        let invalid = |reason| ServiceError::invalid(expiry.field(), reason);
        Ok(Self {
            organization_id,
            rotate_token,
            expires_at: expiry.resolve(now).map_err(invalid)?,
            now,
        })
    }
}

pub(super) enum ResendStep {
    Send {
        resending: ResendItem,
        /// The key of the address in its quota.
        address: Option<i64>,
        is_expired: bool,
    },
    Refuse {
        refusal: RefusedInvitation,
        exceeded: Option<ExceededQuota>,
    },
}

struct Facts {
    /// The pending invitations of addresses whose selected invitation expired.
    pending: HashMap<String, PendingInvitation>,
    suppressed: HashMap<String, SuppressionReason>,
    mailed: HashMap<Uuid, MailHistory>,
}

/// Decides about every invitation. Reads with one statement each what is pending, suppressed and recently mailed.
pub(super) async fn plan(
    work: &mut UnitOfWork<'_>,
    terms: &ResendTerms<'_>,
    invitations: Vec<Result<&Candidate, RefusedInvitation>>,
) -> Result<Vec<ResendStep>, ServiceError> {
    let facts = Facts::read(work, terms, &invitations).await?;
    let mut emails = HashSet::new();
    invitations
        .into_iter()
        .map(|invitation| {
            let refusal = match invitation {
                Ok(candidate) => match facts.refusal(candidate, &mut emails, terms.now)? {
                    None => return Ok(facts.send(work.context, candidate, terms)?),
                    Some(reason) => reason.into(),
                },
                Err(refusal) => refusal,
            };
            Ok(ResendStep::Refuse {
                refusal,
                exceeded: None,
            })
        })
        .collect()
}

/// Sends the invitations of a plan again. Fails with `ALREADY_INVITED` if a concurrent call invited one of the addresses.
pub(super) async fn write(
    work: &mut UnitOfWork<'_>,
    terms: &ResendTerms<'_>,
    items: &[ResendItem],
) -> Result<(), ServiceError> {
    let key_id = work.context.keyring.active();
    let resent = invitations::resend_many(work, terms.organization_id, items, key_id, terms.now)
        .await
        .map_err(|error| match error {
            StoreError::Conflict(Constraint::InvitationsPending, _) => {
                ServiceError::Refused(Reason::AlreadyInvited)
            }
            other => other.into(),
        })?;
    if resent.len() != items.len() {
        return Err(ServiceError::Conflict);
    }
    Ok(())
}

impl Facts {
    async fn read(
        work: &mut UnitOfWork<'_>,
        terms: &ResendTerms<'_>,
        invitations: &[Result<&Candidate, RefusedInvitation>],
    ) -> Result<Self, ServiceError> {
        let (organization_id, now) = (terms.organization_id, terms.now);
        let candidates: Vec<&Candidate> = invitations.iter().filter_map(|it| it.ok()).collect();
        let mut expired = Vec::new();
        for candidate in &candidates {
            if candidate.state(now)? == StateName::Expired {
                expired.push(candidate.email_normalized.as_str());
            }
        }
        // A pending invitation is the only pending one of its address.
        let pending = if expired.is_empty() {
            HashMap::new()
        } else {
            invitations::pending_by_address(work, organization_id, &expired).await?
        };
        let emails: Vec<&str> = candidates
            .iter()
            .map(|candidate| candidate.email_normalized.as_str())
            .collect();
        let suppressed = work
            .context
            .suppression
            .find(work, organization_id, &emails, now)
            .await?;
        let ids: Vec<Uuid> = candidates.iter().map(|candidate| candidate.id).collect();
        let mailed = work
            .context
            .quotas
            .recent_mail(work, organization_id, &ids, now)
            .await?;
        Ok(Self {
            pending,
            suppressed,
            mailed,
        })
    }

    /// Why an invitation is not sent again. What is wrong with the invitation comes first, then what is known about its
    /// address. `emails` holds the addresses that get mail from this call.
    fn refusal(
        &self,
        candidate: &Candidate,
        emails: &mut HashSet<String>,
        now: OffsetDateTime,
    ) -> Result<Option<Reason>, ServiceError> {
        let state = candidate.state(now)?;
        let email = &candidate.email_normalized;
        let refusal = state
            .refusal()
            .filter(|_| state != StateName::Expired)
            .or_else(|| candidate.is_erased().then_some(Reason::AddressErased));
        if refusal.is_some() {
            return Ok(refusal);
        }
        let pending = self.pending.get(email);
        let has_successor = pending.is_some_and(|pending| pending.id != candidate.id);
        // A resent invitation is always mailed, so any suppression stops it.
        if !has_successor && self.suppressed.contains_key(email) {
            return Ok(Some(Reason::EmailSuppressed));
        }
        // Of several expired invitations of one address, only the first can become pending.
        if has_successor || !emails.insert(email.clone()) {
            return Ok(Some(Reason::AlreadyInvited));
        }
        Ok(None)
    }

    fn send(
        &self,
        context: &Context,
        candidate: &Candidate,
        terms: &ResendTerms<'_>,
    ) -> Result<ResendStep, StoreError> {
        let mailed = self.mailed.get(&candidate.id);
        if let Some(exceeded) = context.quotas.resend_obstacle(mailed, terms.now) {
            return Ok(ResendStep::exceeds(exceeded));
        }
        let is_expired = candidate.state(terms.now)? == StateName::Expired;
        Ok(ResendStep::Send {
            resending: ResendItem {
                id: candidate.id,
                expires_at: terms.expires_at,
                nonce: (terms.rotate_token || is_expired).then(entropy::random_bytes),
                send_seq: None,
            },
            address: context.quotas.address_hash(&candidate.email_normalized),
            is_expired,
        })
    }
}

impl ResendStep {
    pub(super) fn exceeds(exceeded: ExceededQuota) -> Self {
        Self::Refuse {
            refusal: Reason::QuotaExceeded.into(),
            exceeded: Some(exceeded),
        }
    }

    pub(super) const fn resending(&self) -> Option<ResendItem> {
        match self {
            Self::Send { resending, .. } => Some(*resending),
            Self::Refuse { .. } => None,
        }
    }

    pub(super) const fn quota_request(&self) -> Option<QuotaRequest> {
        match self {
            Self::Send {
                address,
                is_expired,
                ..
            } => Some(QuotaRequest {
                address: *address,
                is_new_pending: *is_expired,
            }),
            Self::Refuse { .. } => None,
        }
    }
}

pub(super) fn rotated_count(items: &[ResendItem]) -> u64 {
    let rotated = items.iter().filter(|item| item.nonce.is_some()).count();
    u64::try_from(rotated).unwrap_or(u64::MAX)
}
