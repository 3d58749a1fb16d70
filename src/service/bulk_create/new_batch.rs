//! A batch: the items of a call or of a chunk of a stream, from the lock of the organization to the reserved quotas.

use uuid::Uuid;

use crate::domain::audit::{AuditAction, AuditEvent};
use crate::service::ServiceError;
use crate::service::completion::{Completion, StoredResponse};
use crate::service::context::Context;
use crate::service::item_result::audit_counts;
use crate::service::organization_lock::OrganizationLock;
use crate::service::unit_of_work::UnitOfWork;
use crate::store::batches::{self, ProcessedItems};
use crate::store::{self, audit_events};

use super::batch_request::BatchRequest;
use super::plan::Plan;
use super::response::CreatedBatch;
use super::{quota, response, write};

/// A batch that was written and not yet completed.
pub(super) struct NewBatch {
    pub(super) batch: CreatedBatch,
    pub(super) plan: Plan,
}

impl NewBatch {
    /// Creates the invitations of a batch, or predicts their results if nothing is to be written.
    pub(super) async fn create(
        work: &mut UnitOfWork<'_>,
        request: &BatchRequest<'_>,
        batch_id: Uuid,
        lock: OrganizationLock,
    ) -> Result<Self, ServiceError> {
        store::planner::force_custom_plans(work).await?;
        // A dry run reserves nothing, so it does not wait for other calls.
        let recipients_max = if request.validate_only {
            0
        } else {
            request.items.len()
        };
        let (context, id) = (work.context, request.organization_id);
        let quotas = &context.quotas;
        let organization = quotas
            .lock_organization(work, lock, id, recipients_max, context.now())
            .await?;
        let mut plan = Plan::new(work, request, organization, lock).await?;
        quota::refuse_beyond_quotas(work, request, &mut plan, lock).await?;
        if request.atomic {
            plan.require_success()?;
        }
        if request.validate_only {
            let batch = response::predict(work, request, &plan).await?;
            return Ok(Self { batch, plan });
        }
        let written = write::write(work, request, &plan, batch_id, lock).await?;
        let batch = response::build(work, request, &plan, written).await?;
        let new = Self { batch, plan };
        new.record(work, request).await?;
        Ok(new)
    }

    /// Stores the response and reserves the quotas.
    pub(super) async fn complete(
        self,
        work: &mut UnitOfWork<'_>,
        request: &BatchRequest<'_>,
        response: Option<StoredResponse>,
        lock: OrganizationLock,
    ) -> Result<CreatedBatch, ServiceError> {
        let completion = Completion {
            organization_id: request.organization_id,
            response,
            usage: quota::usage(work.context, &self.plan, &self.batch.results),
            now: self.plan.now,
        };
        completion.run(work, lock).await?;
        Ok(self.batch)
    }

    /// Writes the audit event and the row of the batch.
    async fn record(
        &self,
        work: &mut UnitOfWork<'_>,
        request: &BatchRequest<'_>,
    ) -> Result<(), ServiceError> {
        let event = self.audit_event(work.context, request);
        audit_events::insert_many(work, &[event]).await?;
        let results = &self.batch.results;
        let row = ProcessedItems {
            organization_id: request.organization_id,
            batch_id: self.batch.id,
            items: results.len(),
            failed: results.iter().filter(|result| result.is_failed()).count(),
            now: self.plan.now,
        };
        Ok(batches::add_items(work, row).await?)
    }

    /// The audit event names the inviter if there is one only. Only inviters that the directory knows count, because an item
    /// may contain any text.
    fn audit_event(&self, context: &Context, request: &BatchRequest<'_>) -> AuditEvent {
        let action = AuditAction::BulkCreate;
        let organization_id = request.organization_id.as_str();
        let event = context.audit_event(request.actor, action, organization_id, self.plan.now);
        let mut inviters = self.plan.inviters.keys();
        let inviter = self
            .plan
            .inviters
            .get_key_value(request.inviter_user_id)
            .map(|(id, _)| id)
            .or_else(|| inviters.next().filter(|_| inviters.next().is_none()));
        AuditEvent {
            on_behalf_of_user_id: event.on_behalf_of_user_id.or_else(|| inviter.cloned()),
            batch_id: Some(self.batch.id),
            request_id: request.request_id,
            counts: audit_counts(&self.batch.results),
            ..event
        }
    }
}
