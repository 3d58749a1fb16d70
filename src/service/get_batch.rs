//! `GetBatch`: what a bulk call created, and how many of its invitations are in which state.

use uuid::Uuid;

use crate::domain::batch::{Batch, BatchCounts};
use crate::domain::ids::OrganizationId;
use crate::domain::reason::Reason;
use crate::store::{self, batches};

use super::ServiceError;
use super::runner::UseCase;
use super::unit_of_work::UnitOfWork;

/// Reads a batch, and the number of its invitations for each pair of state and delivery state.
pub struct GetBatch {
    pub organization_id: OrganizationId,
    pub id: Uuid,
}

impl UseCase for GetBatch {
    const NAME: &'static str = "get_batch";
    type Output = (Batch, Vec<BatchCounts>);

    async fn run(&self, work: &mut UnitOfWork<'_>) -> Result<Self::Output, ServiceError> {
        store::planner::force_custom_plans(work).await?;
        let batch = batches::get(work, &self.organization_id, self.id)
            .await?
            .ok_or(ServiceError::Refused(Reason::BatchNotFound))?;
        let now = work.context.now();
        let counts = batches::counts(work, &self.organization_id, self.id, now).await?;
        Ok((batch, counts))
    }
}
