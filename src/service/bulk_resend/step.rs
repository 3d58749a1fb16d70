//! What is to be done for one invitation: decided in memory, from what the database knows of all of them.

use std::collections::{HashMap, HashSet};

use time::OffsetDateTime;
use uuid::Uuid;

use crate::domain::invitation::{Invitation, StateName};
use crate::domain::quota::{ExceededQuota, QuotaRequest};
use crate::domain::reason::{Reason, Violation};
use crate::domain::suppression::SuppressionReason;
use crate::service::ServiceError;
use crate::service::bulk_create::{ItemResult, Outcome};
use crate::store::StoreError;
use crate::store::candidates::Candidate;
use crate::store::invitations::{Pending, Resending};
use crate::store::quotas::MailedInvitation;

/// What to do for one invitation.
pub(super) enum Step {
    /// Mail it again.
    Resend {
        resending: Resending,
        /// The hash of its address.
        address: i64,
        is_expired: bool,
    },
    /// Nothing, and say why.
    Fail {
        reason: Reason,
        first_index: Option<usize>,
        exceeded: Option<ExceededQuota>,
    },
}

/// What has been decided so far in one request.
#[derive(Default)]
pub(super) struct Decided {
    /// The place of each id.
    first_of: HashMap<Uuid, usize>,
    /// The addresses that get a mail.
    emails: HashSet<String>,
}

/// What the database knows of the invitations of a request.
pub(super) struct Knowledge {
    pub(super) candidates: HashMap<Uuid, Candidate>,
    pub(super) pending: HashMap<String, Pending>,
    pub(super) suppressed: HashMap<String, SuppressionReason>,
    pub(super) mailed: HashMap<Uuid, MailedInvitation>,
}

/// An invitation to mail and whether it had expired, or why it is not mailed.
pub(super) type Decision<'a> = Result<(&'a Candidate, bool), (Reason, Option<usize>)>;

impl Decided {
    /// The one place where it is decided whether an invitation is mailed again. What is wrong with it by itself comes
    /// first, then what is known of its address.
    pub(super) fn decide<'a>(
        &mut self,
        index: usize,
        id: Option<Uuid>,
        knowledge: &'a Knowledge,
        now: OffsetDateTime,
    ) -> Result<Decision<'a>, StoreError> {
        let fail = |reason| Ok(Err((reason, None)));
        let Some(id) = id else {
            return fail(Reason::FieldInvalid);
        };
        let first = *self.first_of.entry(id).or_insert(index);
        if first != index {
            return Ok(Err((Reason::DuplicateInRequest, Some(first))));
        }
        let Some(candidate) = knowledge.candidates.get(&id) else {
            return fail(Reason::InvitationNotFound);
        };
        let state = candidate.state(now)?;
        let is_expired = state == StateName::Expired;
        if let Some(reason) = state.refusal().filter(|_| !is_expired) {
            return fail(reason);
        }
        if candidate.is_erased() {
            return fail(Reason::AddressErased);
        }
        let pending = knowledge.pending.get(&candidate.email_normalized);
        let is_invited_anew = pending.is_some_and(|pending| pending.id != id);
        // A resent invitation is always mailed, so that any reason stops it.
        if !is_invited_anew
            && knowledge
                .suppressed
                .contains_key(&candidate.email_normalized)
        {
            return fail(Reason::EmailSuppressed);
        }
        // Of several expired ones for one address, the first takes its place.
        if is_invited_anew || !self.emails.insert(candidate.email_normalized.clone()) {
            return fail(Reason::AlreadyInvited);
        }
        Ok(Ok((candidate, is_expired)))
    }
}

impl Step {
    pub(super) const fn resending(&self) -> Option<Resending> {
        match self {
            Self::Resend { resending, .. } => Some(*resending),
            Self::Fail { .. } => None,
        }
    }

    /// What it takes of quotas.
    pub(super) const fn ask(&self) -> Option<QuotaRequest> {
        match self {
            Self::Resend {
                address,
                is_expired,
                ..
            } => Some(QuotaRequest {
                address: Some(*address),
                is_new_pending: *is_expired,
            }),
            Self::Fail { .. } => None,
        }
    }

    pub(super) const fn exceeds(exceeded: ExceededQuota) -> Self {
        Self::Fail {
            reason: Reason::QuotaExceeded,
            first_index: None,
            exceeded: Some(exceeded),
        }
    }

    pub(super) fn result(
        &self,
        found: &mut HashMap<Uuid, Invitation>,
    ) -> Result<ItemResult, ServiceError> {
        match self {
            Self::Resend { resending, .. } => found
                .remove(&resending.id)
                .map(|invitation| ItemResult::done(Outcome::Resent, invitation))
                .ok_or(ServiceError::Raced),
            Self::Fail {
                reason,
                first_index,
                exceeded,
            } => {
                let violation = Violation::new("invitation_id", *reason);
                Ok(ItemResult {
                    first_index: *first_index,
                    exceeded: *exceeded,
                    ..ItemResult::failed(vec![violation])
                })
            }
        }
    }
}
