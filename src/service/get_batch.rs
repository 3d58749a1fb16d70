//! `GetBatch`: what a call made, and where it is.

use uuid::Uuid;

use crate::domain::batch::{Batch, BatchCounts};
use crate::domain::ids::OrganizationId;
use crate::domain::reason::Reason;
use crate::store::{self, batches};

use super::{Service, ServiceError};

impl Service {
    /// Returns a batch and how many of its invitations are in each pair of states.
    pub async fn get_batch(
        &self,
        organization_id: OrganizationId,
        id: Uuid,
    ) -> Result<(Batch, Vec<BatchCounts>), ServiceError> {
        let service = self.clone();
        self.store
            .with_tx("get_batch", move |connection| {
                let (service, organization_id) = (service.clone(), organization_id.clone());
                Box::pin(async move {
                    store::plan_afresh(connection).await?;
                    let batch = batches::find(connection, &organization_id, id)
                        .await?
                        .ok_or(ServiceError::Refused(Reason::BatchNotFound))?;
                    let now = service.clock.now();
                    let counts = batches::counts(connection, &organization_id, id, now).await?;
                    Ok((batch, counts))
                })
            })
            .await
    }
}
