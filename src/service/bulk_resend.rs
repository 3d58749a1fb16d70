//! `BulkResend`: new messages for many invitations, in one transaction and as many statements as for one.

use std::collections::HashMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::domain::actor::Actor;
use crate::domain::audit::{AuditAction, AuditCounts, AuditEvent};
use crate::domain::expiry::Expiry;
use crate::domain::ids::OrganizationId;
use crate::domain::invitation::Invitation;
use crate::domain::reason::{Reason, Violation};
use crate::store::invitations::ResendItem;
use crate::store::{self, audit_events, stored_invitations};

use super::ServiceError;
use super::completion::{Completion, StoredResponse};
use super::idempotency::IdempotencyKey;
use super::item_result::{ItemOutcome, ItemResult, audit_counts, limit_existing};
use super::organization_lock::OrganizationLock;
use super::quotas::QuotaUsage;
use super::resend_plan::{self, ResendStep, ResendTerms, rotated_count};
use super::runner::{EscalatingUseCase, Service};
use super::selection::InvitationSelection;
use super::stored_results::{self, StoredResults};
use super::unit_of_work::UnitOfWork;

/// Sends invitations again.
pub struct BulkResend {
    /// The caller. A request id belongs to its caller.
    pub actor: Actor,
    /// Makes the call safe to repeat.
    pub request_id: Option<Uuid>,
    /// SHA-256 of the request without the request id and `validate_only`.
    pub request_hash: [u8; 32],
    pub organization_id: OrganizationId,
    pub selection: InvitationSelection,
    /// Whether links that were mailed before stop working.
    pub rotate_token: bool,
    /// The new expiry.
    pub expiry: Expiry,
    /// Whether to write and send nothing.
    pub validate_only: bool,
}

/// The result of each invitation.
pub struct ResentInvitations {
    /// The ids that a filter found. Empty for a list of ids.
    pub found: Vec<Uuid>,
    /// In the order of the ids.
    pub results: Vec<ItemResult>,
    /// Whether the filter finds more.
    pub has_more: bool,
}

/// The response as it is stored for repetitions.
#[derive(Serialize, Deserialize)]
struct StoredResend {
    found: Vec<Uuid>,
    results: StoredResults,
    has_more: bool,
}

impl Service {
    /// Sends invitations again.
    pub async fn bulk_resend(
        &self,
        request: BulkResend,
    ) -> Result<ResentInvitations, ServiceError> {
        self.run_escalating(Arc::new(request)).await
    }
}

impl EscalatingUseCase for BulkResend {
    const NAME: &'static str = "bulk_resend";
    type Output = ResentInvitations;

    async fn run(
        &self,
        lock: OrganizationLock,
        work: &mut UnitOfWork<'_>,
    ) -> Result<ResentInvitations, ServiceError> {
        let key = self.idempotency_key();
        if let Some(key) = &key
            && let Some(response) = key.load_response(work, self.validate_only).await?
        {
            return self.restore(work, &response).await;
        }
        let now = work.context.now();
        let organization_id = &self.organization_id;
        let terms = ResendTerms {
            organization_id,
            rotate_token: self.rotate_token,
            expires_at: self
                .expiry
                .resolve(now)
                .map_err(|reason| ServiceError::invalid(self.expiry.field(), reason))?,
            now,
        };
        store::planner::force_index_order(work).await?;
        work.context
            .quotas
            .lock_organization(work, lock, organization_id, self.recipients_max(), now)
            .await?;
        let selected = self.selection.select(work, organization_id).await?;
        let candidates = selected.lock(work, organization_id).await?;
        let resolved = selected.resolve(&candidates);
        let mut steps = resend_plan::plan(work, &terms, resolved).await?;
        if lock.is_exclusive() || self.validate_only {
            refuse_beyond_quotas(work, &terms, &mut steps).await?;
        }
        let results = self.carry_out(work, &terms, &steps).await?;
        let resent = ResentInvitations {
            found: selected.found,
            results,
            has_more: selected.has_more,
        };
        if !self.validate_only {
            let completion = Completion {
                response: key.map(|key| resent.stored(key)).transpose()?,
                organization_id,
                usage: QuotaUsage::new(steps.iter().filter_map(ResendStep::quota_request)),
                now,
            };
            completion.run(work, lock).await?;
        }
        Ok(resent)
    }
}

impl BulkResend {
    fn idempotency_key(&self) -> Option<IdempotencyKey> {
        let (id, actor) = (&self.organization_id, &self.actor);
        self.request_id.map(|request_id| {
            IdempotencyKey::new("BulkResend", id, actor, request_id, self.request_hash)
        })
    }

    /// The largest number of recipients. How many a filter finds is not known in advance.
    fn recipients_max(&self) -> usize {
        match &self.selection {
            InvitationSelection::Ids(ids) if !self.validate_only => ids.len(),
            _ => 0,
        }
    }

    /// The response of an earlier call.
    async fn restore(
        &self,
        work: &mut UnitOfWork<'_>,
        response: &[u8],
    ) -> Result<ResentInvitations, ServiceError> {
        let stored: StoredResend = stored_results::decode(response)?;
        let results = stored.results;
        let results = results.restore(work, &self.organization_id);
        Ok(ResentInvitations {
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
        let found = stored_invitations::get_many(work, organization_id, &ids, terms.now).await?;
        let mut found: HashMap<Uuid, Invitation> = found
            .into_iter()
            .map(|invitation| (invitation.id, invitation))
            .collect();
        let mut results = steps
            .iter()
            .map(|step| result(step, &mut found))
            .collect::<Result<Vec<_>, _>>()?;
        if self.validate_only {
            for invitation in results.iter_mut().filter_map(|it| it.invitation.as_mut()) {
                invitation.resend(terms.expires_at, terms.now);
            }
        } else {
            let event = AuditEvent {
                request_id: self.request_id,
                counts: AuditCounts {
                    rotated: rotated_count(&items),
                    ..audit_counts(&results)
                },
                ..work.context.audit_event(
                    &self.actor,
                    AuditAction::BulkResend,
                    organization_id,
                    terms.now,
                )
            };
            audit_events::insert_many(work, &[event]).await?;
        }
        limit_existing(&mut results);
        Ok(results)
    }
}

impl ResentInvitations {
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
