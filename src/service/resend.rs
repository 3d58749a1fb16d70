//! `Resend` and `BulkResend`: new messages with a new expiry, for one invitation or many, in one transaction.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::domain::actor::Actor;
use crate::domain::audit::{AuditAction, AuditCounts, AuditEvent};
use crate::domain::expiry::Expiry;
use crate::domain::ids::OrganizationId;
use crate::domain::invitation::{Invitation, InvitationView};
use crate::domain::organization_record::OrganizationRecord;
use crate::domain::reason::{Reason, Violation};
use crate::store::invitations::ResendItem;
use crate::store::organizations;
use crate::store::{self, audit_events, candidates};

use super::idempotency::{IdempotencyKey, StoredResponse, complete};
use super::invitation_access::invitations_by_id;
use super::item_result::audit_counts;
use super::quotas::QuotaUsage;
use super::resend_plan::{self, ResendStep, ResendTerms, rotated_count};
use super::selection::{FilterScope, SelectionResults};
use super::stored_results::{self, StoredResults};
use super::{InvitationSelection, ItemOutcome, ItemResult, ServiceError, UnitOfWork, UseCase};

#[derive(Debug, Clone)]
pub struct Resend {
    /// The caller. A request id belongs to its caller.
    pub actor: Actor,
    /// SHA-256 of the request without the request id.
    pub request_hash: [u8; 32],
    pub organization_id: OrganizationId,
    pub id: Uuid,
    /// Whether links that were mailed before stop working.
    pub rotate_token: bool,
    pub expiry: Expiry,
}

impl UseCase for Resend {
    const NAME: &'static str = "resend";
    type Output = Invitation;

    async fn run(&self, work: &mut UnitOfWork<'_>) -> Result<Invitation, ServiceError> {
        let organization_id = &self.organization_id;
        let key =
            IdempotencyKey::of_actor("Resend", organization_id, &self.actor, self.request_hash);
        if let Some(key) = &key
            && let Some(response) = key.load_response(work, false).await?
        {
            return self.restore(work, &response).await;
        }
        let now = work.context.now();
        let terms = ResendTerms::new(organization_id, self.rotate_token, &self.expiry, now)?;
        // Locked before the invitation, as in every call that makes one pending, so that it is not deleted meanwhile.
        let organization = organizations::lock_shared(work, organization_id).await?;
        let locked = candidates::lock_many(work, organization_id, &[self.id]).await?;
        let invitation = locked.first().ok_or(Reason::InvitationNotFound);
        let invitation = invitation.map_err(ServiceError::Refused)?;
        require_active(organization.as_ref())?;
        let steps = resend_plan::plan(work, &terms, vec![Ok(invitation)]).await?;
        let resending = match steps.first() {
            Some(ResendStep::Send { resending, .. }) => *resending,
            Some(ResendStep::Refuse { refusal, exceeded }) => {
                return Err(
                    exceeded.map_or(ServiceError::Refused(refusal.reason), |exceeded| {
                        ServiceError::Exhausted(vec![exceeded])
                    }),
                );
            }
            None => return Err(ServiceError::Refused(Reason::InvitationNotFound)),
        };
        let resent = self.carry_out(work, &terms, resending).await?;
        if let Some(key) = key {
            let result = ItemResult::done(ItemOutcome::Resent, resent.clone());
            let response = stored_results::encode(&StoredResults::new(&[result]))?;
            key.store_response(work, &response).await?;
        }
        let usage = QuotaUsage::new(steps.iter().filter_map(ResendStep::quota_request));
        let quotas = &work.context.quotas;
        let obstacle = quotas.reserve(work, organization_id, &usage, now);
        match obstacle.await? {
            None => Ok(resent),
            Some(quota) => Err(ServiceError::Exhausted(vec![quotas.exceeded(quota, now)])),
        }
    }
}

impl Resend {
    async fn carry_out(
        &self,
        work: &mut UnitOfWork<'_>,
        terms: &ResendTerms<'_>,
        resending: ResendItem,
    ) -> Result<Invitation, ServiceError> {
        resend_plan::write(work, terms, &[resending]).await?;
        let (context, id) = (work.context, terms.organization_id.as_str());
        let event = AuditEvent {
            invitation_id: Some(self.id),
            counts: AuditCounts {
                resent: 1,
                rotated: rotated_count(&[resending]),
                ..AuditCounts::default()
            },
            ..context.audit_event(&self.actor, AuditAction::Resend, id, terms.now)
        };
        audit_events::insert_many(work, &[event]).await?;
        context.read_invitation(work, id, self.id).await
    }

    async fn restore(
        &self,
        work: &mut UnitOfWork<'_>,
        response: &[u8],
    ) -> Result<Invitation, ServiceError> {
        let stored: StoredResults = stored_results::decode(response)?;
        let results = stored
            .restore(work, &self.organization_id, InvitationView::Full)
            .await?;
        let mut invitations = results.into_iter().filter_map(|result| result.invitation);
        let invitation = invitations.next();
        invitation.ok_or(ServiceError::Refused(Reason::InvitationNotFound))
    }
}

fn require_active(organization: Option<&OrganizationRecord>) -> Result<(), ServiceError> {
    match organization {
        Some(organization) if organization.is_suspended() && !organization.is_deleted() => {
            Err(ServiceError::Refused(Reason::OrganizationSuspended))
        }
        Some(organization) if !organization.is_deleted() => Ok(()),
        _ => Err(ServiceError::Refused(Reason::OrganizationDeleted)),
    }
}

pub struct BulkResend {
    /// The caller. A request id belongs to its caller.
    pub actor: Actor,
    /// SHA-256 of what a repetition must not change: all but the request id, `validate_only` and the view.
    pub request_hash: [u8; 32],
    pub organization_id: OrganizationId,
    pub selection: InvitationSelection,
    /// Whether links that were mailed before stop working.
    pub rotate_token: bool,
    pub expiry: Expiry,
    /// Whether to write and send nothing.
    pub validate_only: bool,
    pub view: InvitationView,
}

#[derive(Serialize, Deserialize)]
struct StoredResend {
    found: Vec<Uuid>,
    results: StoredResults,
    has_more: bool,
}

impl UseCase for BulkResend {
    const NAME: &'static str = "bulk_resend";
    type Output = SelectionResults<ItemResult>;

    async fn run(&self, work: &mut UnitOfWork<'_>) -> Result<Self::Output, ServiceError> {
        let (organization_id, hash) = (&self.organization_id, self.request_hash);
        let key = IdempotencyKey::of_actor("BulkResend", organization_id, &self.actor, hash);
        if let Some(key) = &key
            && let Some(response) = key.load_response(work, self.validate_only).await?
        {
            return self.restore(work, &response).await;
        }
        let now = work.context.now();
        let terms = ResendTerms::new(organization_id, self.rotate_token, &self.expiry, now)?;
        store::planner::force_index_order(work).await?;
        let (quotas, lock) = (&work.context.quotas, work.lock);
        quotas
            .lock_organization(work, lock, organization_id, self.recipients_max(), now)
            .await?;
        let selection = &self.selection;
        let selected = selection
            .select(work, organization_id, FilterScope::Invitations)
            .await?;
        let candidates = selected.lock(work, organization_id).await?;
        let resolved = selected.resolve(&candidates);
        let mut steps = resend_plan::plan(work, &terms, resolved).await?;
        if lock.is_exclusive() || self.validate_only {
            refuse_beyond_quotas(work, &terms, &mut steps).await?;
        }
        let results = self.carry_out(work, &terms, &steps).await?;
        let resent = selected.with(results);
        if !self.validate_only {
            let response = key.map(|key| resent.stored(key)).transpose()?;
            let usage = QuotaUsage::new(steps.iter().filter_map(ResendStep::quota_request));
            complete(work, organization_id, response, &usage, now).await?;
        }
        Ok(resent)
    }
}

impl BulkResend {
    /// The largest number of recipients. How many a filter finds is not known in advance.
    fn recipients_max(&self) -> usize {
        match &self.selection {
            InvitationSelection::Ids(ids) if !self.validate_only => ids.len(),
            _ => 0,
        }
    }

    async fn restore(
        &self,
        work: &mut UnitOfWork<'_>,
        response: &[u8],
    ) -> Result<SelectionResults<ItemResult>, ServiceError> {
        let stored: StoredResend = stored_results::decode(response)?;
        let results = stored
            .results
            .restore(work, &self.organization_id, self.view);
        Ok(SelectionResults {
            found: stored.found,
            results: results.await?,
            has_more: stored.has_more,
        })
    }

    /// Sends, records and reads back what the plan asks for. A dry run only reads.
    async fn carry_out(
        &self,
        work: &mut UnitOfWork<'_>,
        terms: &ResendTerms<'_>,
        steps: &[ResendStep],
    ) -> Result<Vec<ItemResult>, ServiceError> {
        let organization_id = terms.organization_id.as_str();
        let items: Vec<ResendItem> = steps.iter().filter_map(ResendStep::resending).collect();
        if !self.validate_only && !items.is_empty() {
            resend_plan::write(work, terms, &items)
                .await
                .map_err(|error| match error {
                    // A concurrent call invited one of the addresses. The next attempt sees that.
                    ServiceError::Refused(Reason::AlreadyInvited) => ServiceError::Conflict,
                    other => other,
                })?;
        }
        let ids: Vec<Uuid> = items.iter().map(|item| item.id).collect();
        let (view, now) = (self.view, terms.now);
        let mut found = invitations_by_id(work, terms.organization_id, &ids, view, now).await?;
        let mut results = steps
            .iter()
            .map(|step| result(step, &mut found))
            .collect::<Result<Vec<_>, _>>()?;
        if self.validate_only {
            for invitation in results.iter_mut().filter_map(|it| it.invitation.as_mut()) {
                invitation.resend(terms.expires_at, terms.now);
            }
        } else {
            let (context, action) = (work.context, AuditAction::BulkResend);
            let event = AuditEvent {
                counts: AuditCounts {
                    rotated: rotated_count(&items),
                    ..audit_counts(&results)
                },
                ..context.audit_event(&self.actor, action, organization_id, terms.now)
            };
            audit_events::insert_many(work, &[event]).await?;
        }
        Ok(results)
    }
}

impl SelectionResults<ItemResult> {
    fn stored(&self, key: IdempotencyKey) -> Result<StoredResponse, ServiceError> {
        let response = stored_results::encode(&StoredResend {
            found: self.found.clone(),
            results: StoredResults::new(&self.results),
            has_more: self.has_more,
        })?;
        Ok(StoredResponse::Call { key, response })
    }
}

/// Refuses the invitations for which quotas have no room. The first that fit are sent.
async fn refuse_beyond_quotas(
    work: &mut UnitOfWork<'_>,
    terms: &ResendTerms<'_>,
    steps: &mut [ResendStep],
) -> Result<(), ServiceError> {
    let addresses = steps
        .iter()
        .filter_map(|step| step.quota_request()?.address)
        .collect();
    let quotas = &work.context.quotas;
    let mut left = quotas
        .allowance(work, terms.organization_id, addresses, terms.now)
        .await?;
    for step in steps {
        if let Some(Err(quota)) = step.quota_request().map(|request| left.reserve(&request)) {
            *step = ResendStep::exceeds(quotas.exceeded(quota, terms.now));
        }
    }
    Ok(())
}

fn result(
    step: &ResendStep,
    found: &mut HashMap<Uuid, Invitation>,
) -> Result<ItemResult, ServiceError> {
    match step {
        ResendStep::Send { resending, .. } => found
            .remove(&resending.id)
            .map(|invitation| ItemResult::done(ItemOutcome::Resent, invitation))
            .ok_or(ServiceError::Conflict),
        ResendStep::Refuse { refusal, exceeded } => {
            let violation = Violation::new("invitation_id", refusal.reason);
            Ok(ItemResult {
                first_index: refusal.first_index,
                exceeded: *exceeded,
                ..ItemResult::failed(vec![violation])
            })
        }
    }
}
