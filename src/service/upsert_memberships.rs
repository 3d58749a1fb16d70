//! `UpsertMemberships`.

use std::collections::{HashMap, HashSet};

use crate::domain::actor::Actor;
use crate::domain::audit::AuditAction;
use crate::domain::membership::{MembershipInput, NewMembership};
use crate::domain::organization::Organization;
use crate::domain::reason::{Reason, Violation};
use crate::domain::update_mask::UpdateMask;
use crate::store::memberships::MembershipRow;
use crate::store::{Connection, memberships, organizations, users};

use super::upsert::{Items, UpsertKey, UpsertResult};
use super::{ServiceError, UnitOfWork, UseCase};

pub struct UpsertMemberships {
    pub inputs: Vec<MembershipInput>,
    pub mask: UpdateMask,
    pub actor: Actor,
}

/// The organizations and users that exist among those of a call.
struct Directory {
    organizations: HashMap<String, Organization>,
    user_ids: HashSet<String>,
}

impl UseCase for UpsertMemberships {
    const NAME: &'static str = "upsert_memberships";
    type Output = Vec<UpsertResult>;

    async fn run(&self, work: &mut UnitOfWork<'_>) -> Result<Vec<UpsertResult>, ServiceError> {
        let parsed: Vec<_> = self
            .inputs
            .iter()
            .map(|input| input.clone().parse(&self.mask))
            .collect();
        let directory = Directory::read(work, &parsed).await?;
        let checked = parsed
            .into_iter()
            .map(|item| directory.check(item?, &self.actor));
        let items = Items::new(checked, "user_id");
        let now = work.context.now();
        let added = memberships::upsert_many(work, &items.rows, now).await?;
        let added = added.into_iter().map(|(id, user_id)| (id, Some(user_id)));
        let action = AuditAction::UpsertMemberships;
        items.finish(work, &self.actor, action, added, now).await
    }
}

impl Directory {
    async fn read(
        connection: &mut Connection<'_>,
        items: &[Result<NewMembership, Vec<Violation>>],
    ) -> Result<Self, ServiceError> {
        let column = |of: fn(&NewMembership) -> &str| -> Vec<String> {
            let values: HashSet<&str> = items.iter().flatten().map(of).collect();
            values.into_iter().map(str::to_owned).collect()
        };
        let organization_ids = column(|item| item.organization_id.as_str());
        let user_ids = column(|item| item.user_id.as_str());
        let organizations = organizations::lock_many_shared(connection, &organization_ids).await?;
        let user_ids = users::existing(connection, &user_ids).await?;
        Ok(Self {
            organizations: organizations
                .into_iter()
                .filter(|stored| !stored.is_deleted())
                .map(|stored| {
                    let id = stored.organization.id.as_str().to_owned();
                    (id, stored.organization)
                })
                .collect(),
            user_ids: user_ids.into_iter().collect(),
        })
    }

    /// Checks what only the directory knows. Reports every violation.
    fn check(
        &self,
        item: NewMembership,
        actor: &Actor,
    ) -> Result<(UpsertKey, MembershipRow), Vec<Violation>> {
        let organization_id = item.organization_id.as_str();
        let violation = |field: &str, reason| Violation::new(field, reason);
        // Permission comes first, because callers must not learn whether a foreign organization exists.
        if !actor.access.allows(organization_id) {
            return Err(vec![violation(
                "organization_id",
                Reason::OrganizationDenied,
            )]);
        }
        let mut violations = Vec::new();
        let organization = self.organizations.get(organization_id);
        if organization.is_none() {
            violations.push(violation("organization_id", Reason::OrganizationNotFound));
        }
        if !self.user_ids.contains(item.user_id.as_str()) {
            violations.push(violation("user_id", Reason::UserNotFound));
        }
        let role = match (&item.role, organization) {
            (Some(role), _) => role.as_str().to_owned(),
            (None, Some(organization)) => organization.default_role.clone(),
            (None, None) => String::new(),
        };
        if organization.is_some_and(|organization| organization.role(&role).is_none()) {
            violations.push(violation("role", Reason::RoleUnknown));
        }
        if !violations.is_empty() {
            return Err(violations);
        }
        let user_id = item.user_id.as_str().to_owned();
        let key = (organization_id.to_owned(), Some(user_id));
        let row = MembershipRow {
            organization_id: item.organization_id,
            user_id: item.user_id,
            role,
            public_metadata: item.public_metadata,
            private_metadata: item.private_metadata,
            changes: item.changes,
        };
        Ok((key, row))
    }
}
