//! `AuditService.List`: the audit log in pages, newest first.
//!
//! Use cases write an audit event in the transaction of what it records, one for each call. A dry run, a repetition and a
//! call that was rolled back write none. Expiry and reports of mail servers are not recorded: no caller caused them.

use uuid::Uuid;

use crate::domain::audit::AuditFilter;
use crate::domain::audit::AuditRecord;
use crate::domain::ids::OrganizationId;
use crate::domain::reason::Reason;
use crate::store::audit_events;
use crate::store::{self, organizations};

use super::ServiceError;
use super::result_page::ResultPage;
use super::runner::UseCase;
use super::unit_of_work::UnitOfWork;

/// Reads a page of the audit log.
pub struct ListAuditEvents {
    /// `None` for all organizations and for events of none. The events of a deleted organization stay readable.
    pub organization_id: Option<OrganizationId>,
    pub filter: AuditFilter,
    /// The last id of the page before.
    pub before: Option<Uuid>,
    pub page_size: usize,
}

impl UseCase for ListAuditEvents {
    const NAME: &'static str = "list_audit";
    type Output = ResultPage<AuditRecord>;

    async fn run(&self, work: &mut UnitOfWork<'_>) -> Result<Self::Output, ServiceError> {
        // One plan for all combinations of filters would read the whole log for each page.
        store::planner::force_custom_plans(work).await?;
        let mut filter = self.filter.clone();
        if let Some(id) = &self.organization_id {
            organizations::get(work, id)
                .await?
                .ok_or(ServiceError::Refused(Reason::OrganizationNotFound))?;
            filter.organization_id = Some(id.as_str().to_owned());
        }
        let limit = ResultPage::<AuditRecord>::rows_max(self.page_size);
        let rows = audit_events::list(work, &filter, self.before, limit).await?;
        Ok(ResultPage::new(rows, self.page_size))
    }
}
