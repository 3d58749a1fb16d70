//! `SuppressionService.List`.

use crate::domain::email_address::EmailAddress;
use crate::domain::ids::OrganizationId;
use crate::domain::suppression::SuppressionKey;
use crate::domain::suppression::{Suppression, SuppressionReason};
use crate::service::ServiceError;
use crate::service::result_page::ResultPage;
use crate::service::runner::UseCase;
use crate::service::unit_of_work::UnitOfWork;
use crate::store::suppressions::{self, SuppressionFilter};
use crate::store::{self};

use super::addresses::list_owner;

/// Reads a page of the list. The list holds keyed tags, so only a caller that names an address can find its entry.
pub struct ListSuppressions {
    /// `None` for every entry.
    pub organization_id: Option<OrganizationId>,
    pub email: Option<EmailAddress>,
    pub reason: Option<SuppressionReason>,
    /// The last entry of the page before.
    pub after: Option<SuppressionKey>,
    pub page_size: usize,
}

impl UseCase for ListSuppressions {
    const NAME: &'static str = "list_suppressions";
    type Output = ResultPage<Suppression>;

    async fn run(&self, work: &mut UnitOfWork<'_>) -> Result<Self::Output, ServiceError> {
        // One plan for all combinations of filters would read the whole list for each page.
        store::planner::force_custom_plans(work).await?;
        list_owner(work, self.organization_id.as_ref()).await?;
        let tagger = work.context.suppression.tagger();
        let filter = SuppressionFilter {
            organization_id: self
                .organization_id
                .as_ref()
                .map(|id| id.as_str().to_owned()),
            tags: self
                .email
                .as_ref()
                .map(|email| tagger.tags(email).collect()),
            reason: self.reason,
        };
        let limit = ResultPage::<Suppression>::rows_max(self.page_size);
        let after = self.after.as_ref();
        let now = work.context.now();
        let rows = suppressions::list(work, &filter, after, limit, now).await?;
        Ok(ResultPage::new(rows, self.page_size))
    }
}
