//! `UpsertOrganizations`.

use std::collections::HashSet;

use crate::domain::actor::Actor;
use crate::domain::audit::AuditAction;
use crate::domain::organization::{Organization, OrganizationInput};
use crate::domain::reason::{Reason, Violation};
use crate::service::ServiceError;
use crate::service::runner::UseCase;
use crate::service::unit_of_work::UnitOfWork;
use crate::store::organizations;

use super::audit::{self, WrittenRow};
use super::result::{Items, UpsertResult};

/// Adds or replaces organizations.
pub struct UpsertOrganizations {
    pub inputs: Vec<OrganizationInput>,
    pub actor: Actor,
}

impl UseCase for UpsertOrganizations {
    const NAME: &'static str = "upsert_organizations";
    type Output = Vec<UpsertResult>;

    async fn run(&self, work: &mut UnitOfWork<'_>) -> Result<Vec<UpsertResult>, ServiceError> {
        let checked = self.inputs.iter().map(|input| self.check(input));
        let items = Items::new(checked, "id");
        let now = work.context.now();
        let added = organizations::upsert_many(work, &items.rows, now).await?;
        let added: HashSet<String> = added.into_iter().collect();
        let rows = items.written(&added).map(|(id, is_created)| WrittenRow {
            organization_id: id,
            user_id: None,
            is_created,
        });
        let (actor, action) = (&self.actor, AuditAction::UpsertOrganizations);
        let failed_count = items.failed_count();
        audit::record(work, actor, action, rows, failed_count).await?;
        Ok(items.into_results(&added))
    }
}

impl UpsertOrganizations {
    fn check(&self, input: &OrganizationInput) -> Result<(String, Organization), Vec<Violation>> {
        let organization = input.parse()?;
        let id = organization.id.as_str().to_owned();
        if self.actor.access.allows(&id) {
            Ok((id, organization))
        } else {
            Err(vec![Violation::new("id", Reason::OrganizationDenied)])
        }
    }
}
