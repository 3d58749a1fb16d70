//! A batch: the items of a call or of a chunk of a stream, from the lock of the organization to the reserved quotas.

use uuid::Uuid;

use crate::domain::audit::{AuditAction, AuditEvent};
use crate::domain::new_invitation::ItemInput;
use crate::service::idempotency::{StoredResponse, complete};
use crate::service::item_result::audit_counts;
use crate::service::{Context, ServiceError, UnitOfWork};
use crate::store::batches::{self, ProcessedItems};
use crate::store::{self, audit_events};

use super::batch_terms::BatchTerms;
use super::plan::Plan;
use super::response::CreatedBatch;
use super::{quota, response, write};

pub(super) struct NewBatch {
    pub(super) batch: CreatedBatch,
    pub(super) plan: Plan,
}

impl NewBatch {
    /// Creates the invitations of a batch, or predicts their results if nothing is to be written.
    pub(super) async fn create(
        work: &mut UnitOfWork<'_>,
        terms: &BatchTerms,
        items: &[ItemInput],
        batch_id: Uuid,
    ) -> Result<Self, ServiceError> {
        store::planner::force_custom_plans(work).await?;
        // A dry run reserves nothing, so it does not wait for other calls.
        let recipients_max = if terms.validate_only { 0 } else { items.len() };
        let (context, lock, id) = (work.context, work.lock, &terms.organization_id);
        let quotas = &context.quotas;
        let organization = quotas
            .lock_organization(work, lock, id, recipients_max, context.now())
            .await?;
        let mut plan = Plan::new(work, terms, items, organization).await?;
        quota::refuse_beyond_quotas(work, terms, &mut plan).await?;
        if terms.atomic {
            plan.require_success()?;
        }
        if terms.validate_only {
            let batch = response::predict(work, terms, &plan).await?;
            return Ok(Self { batch, plan });
        }
        let written = write::write(work, terms, &plan, batch_id).await?;
        let batch = response::build(work, terms, &plan, written).await?;
        let new = Self { batch, plan };
        new.record(work, terms).await?;
        Ok(new)
    }

    pub(super) async fn complete(
        self,
        work: &mut UnitOfWork<'_>,
        terms: &BatchTerms,
        response: Option<StoredResponse>,
    ) -> Result<CreatedBatch, ServiceError> {
        let usage = quota::usage(work.context, &self.plan, &self.batch.results);
        let (id, now) = (&terms.organization_id, self.plan.now);
        complete(work, id, response, &usage, now).await?;
        Ok(self.batch)
    }

    async fn record(
        &self,
        work: &mut UnitOfWork<'_>,
        terms: &BatchTerms,
    ) -> Result<(), ServiceError> {
        let event = self.audit_event(work.context, terms);
        audit_events::insert_many(work, &[event]).await?;
        let results = &self.batch.results;
        let row = ProcessedItems {
            organization_id: &terms.organization_id,
            batch_id: self.batch.id,
            items: results.len(),
            failed: results.iter().filter(|result| result.is_failed()).count(),
            now: self.plan.now,
        };
        Ok(batches::add_items(work, row).await?)
    }

    /// The audit event names the inviter if there is one only. Only inviters that the directory knows count, because an item
    /// may contain any text.
    fn audit_event(&self, context: &Context, terms: &BatchTerms) -> AuditEvent {
        let action = AuditAction::BulkCreate;
        let organization_id = terms.organization_id.as_str();
        let event = context.audit_event(&terms.actor, action, organization_id, self.plan.now);
        let mut inviters = self.plan.inviters.keys();
        let inviter = self
            .plan
            .inviters
            .get_key_value(&terms.inviter_user_id)
            .map(|(id, _)| id)
            .or_else(|| inviters.next().filter(|_| inviters.next().is_none()));
        AuditEvent {
            on_behalf_of_user_id: event.on_behalf_of_user_id.or_else(|| inviter.cloned()),
            batch_id: Some(self.batch.id),
            request_id: terms.request_id,
            counts: audit_counts(&self.batch.results),
            ..event
        }
    }
}
