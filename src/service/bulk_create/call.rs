//! A call of `BulkCreate`.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::domain::new_invitation::ItemInput;
use crate::service::idempotency::StoredResponse;
use crate::service::invitation_access::add_links;
use crate::service::stored_results::{self, StoredResults};
use crate::service::{ServiceError, UnitOfWork, UseCase};

use super::batch_terms::BatchTerms;
use super::new_batch::NewBatch;
use super::response::CreatedBatch;

/// Creates invitations. Not `Debug`, because it holds addresses and notes.
pub struct BulkCreate {
    pub terms: BatchTerms,
    pub items: Vec<ItemInput>,
}

#[derive(Serialize, Deserialize)]
struct StoredBatch {
    id: Uuid,
    results: StoredResults,
}

impl UseCase for BulkCreate {
    const NAME: &'static str = "bulk_create";
    type Output = CreatedBatch;

    async fn run(&self, work: &mut UnitOfWork<'_>) -> Result<CreatedBatch, ServiceError> {
        let terms = &self.terms;
        let key = terms.idempotency_key("BulkCreate");
        if let Some(key) = &key
            && let Some(response) = key.load_response(work, terms.validate_only).await?
        {
            return self.restore(work, &response).await;
        }
        let batch_id = work.context.ids.next(work.context.now());
        let new = NewBatch::create(work, terms, &self.items, batch_id).await?;
        if terms.validate_only {
            return Ok(new.batch);
        }
        let response = match key {
            None => None,
            Some(key) => {
                let (id, results) = (batch_id, StoredResults::new(&new.batch.results));
                let response = stored_results::encode(&StoredBatch { id, results })?;
                Some(StoredResponse::Call { key, response })
            }
        };
        new.complete(work, terms, response).await
    }
}

impl BulkCreate {
    async fn restore(
        &self,
        work: &mut UnitOfWork<'_>,
        response: &[u8],
    ) -> Result<CreatedBatch, ServiceError> {
        let (organization_id, view) = (&self.terms.organization_id, self.terms.view_read());
        let stored: StoredBatch = stored_results::decode(response)?;
        let mut results = stored.results.restore(work, organization_id, view).await?;
        if self.terms.return_link {
            add_links(work, organization_id, &mut results).await?;
        }
        Ok(CreatedBatch {
            id: stored.id,
            results,
        })
    }
}
