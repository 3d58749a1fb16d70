//! What other systems tell of organizations, users and memberships: many at once, a result for each.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::sync::Arc;

use crate::domain::actor::Actor;
use crate::domain::audit::AuditAction;
use crate::domain::membership::{MembershipInput, NewMembership};
use crate::domain::organization::{Organization, OrganizationInput};
use crate::domain::reason::{Reason, Violation};
use crate::domain::user::User;
use crate::store::memberships::MembershipRow;
use crate::store::{Connection, memberships, organizations, users};

use super::audit::{NO_ORGANIZATION, Told};
use super::{Service, ServiceError};

/// What became of one item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UpsertOutcome {
    /// It was not there and is now.
    Created,
    /// It was there and is as sent now.
    Updated,
    /// It was refused.
    Failed,
}

/// The result of one item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upserted {
    /// What became of it.
    pub outcome: UpsertOutcome,
    /// Why it was refused: every violation, the most important first.
    pub violations: Vec<Violation>,
    /// For a duplicate, the place of the first one.
    pub first_index: Option<usize>,
}

/// Items that passed their checks, with the key each is known by.
type Checked<T, K> = Result<(K, T), Vec<Violation>>;

impl Service {
    /// Adds or replaces organizations.
    pub async fn upsert_organizations(
        &self,
        inputs: Vec<OrganizationInput>,
        actor: Actor,
    ) -> Result<Vec<Upserted>, ServiceError> {
        let checked: Vec<Checked<Organization, String>> = inputs
            .iter()
            .map(|input| {
                let organization = input.parse()?;
                let id = organization.id.as_str().to_owned();
                if actor.access.allows(&id) {
                    Ok((id, organization))
                } else {
                    Err(vec![Violation::new("id", Reason::OrganizationDenied)])
                }
            })
            .collect();
        let (mut results, accepted) = settle_duplicates(checked, "id");
        let service = self.clone();
        let failed = results.len() - accepted.len();
        let rows: Vec<Organization> = accepted.iter().map(|(_, _, row)| row.clone()).collect();
        let shared = Arc::new((rows, actor));
        let added: HashSet<String> = self
            .store
            .with_tx("upsert_organizations", move |connection| {
                let (service, shared) = (service.clone(), Arc::clone(&shared));
                Box::pin(async move {
                    let (rows, actor) = &*shared;
                    let now = service.clock.now();
                    let added = organizations::upsert_many(connection, rows, now).await?;
                    let added: HashSet<String> = added.into_iter().collect();
                    let told = rows.iter().map(|row| Told {
                        organization_id: row.id.as_str(),
                        user_id: None,
                        is_created: added.contains(row.id.as_str()),
                    });
                    let action = AuditAction::UpsertOrganizations;
                    service
                        .audit_told(connection, actor, action, told, failed)
                        .await?;
                    Ok::<_, ServiceError>(added)
                })
            })
            .await?;
        mark_written(&mut results, &accepted, &added);
        Ok(results)
    }

    /// Adds or replaces users with all their addresses.
    pub async fn upsert_users(
        &self,
        inputs: Vec<Result<User, Vec<Violation>>>,
        actor: Actor,
    ) -> Result<Vec<Upserted>, ServiceError> {
        let checked = inputs
            .into_iter()
            .map(|input| input.map(|user| (user.id.as_str().to_owned(), user)))
            .collect();
        let (mut results, accepted) = settle_duplicates(checked, "id");
        let service = self.clone();
        let failed = results.len() - accepted.len();
        let rows: Vec<User> = accepted.iter().map(|(_, _, row)| row.clone()).collect();
        let shared = Arc::new((rows, actor));
        let added: HashSet<String> = self
            .store
            .with_tx("upsert_users", move |connection| {
                let (service, shared) = (service.clone(), Arc::clone(&shared));
                Box::pin(async move {
                    let (rows, actor) = &*shared;
                    let now = service.clock.now();
                    let added = users::upsert_many(connection, rows, now).await?;
                    let added: HashSet<String> = added.into_iter().collect();
                    let told = rows.iter().map(|row| Told {
                        organization_id: NO_ORGANIZATION,
                        user_id: Some(row.id.as_str()),
                        is_created: added.contains(row.id.as_str()),
                    });
                    let action = AuditAction::UpsertUsers;
                    service
                        .audit_told(connection, actor, action, told, failed)
                        .await?;
                    Ok::<_, ServiceError>(added)
                })
            })
            .await?;
        mark_written(&mut results, &accepted, &added);
        Ok(results)
    }

    /// Adds or replaces memberships.
    pub async fn upsert_memberships(
        &self,
        inputs: Vec<MembershipInput>,
        actor: Actor,
    ) -> Result<Vec<Upserted>, ServiceError> {
        let service = self.clone();
        let inputs = Arc::new((inputs, actor));
        self.store
            .with_tx("upsert_memberships", move |connection| {
                let (service, inputs) = (service.clone(), Arc::clone(&inputs));
                Box::pin(async move {
                    service
                        .upsert_memberships_once(connection, &inputs.0, &inputs.1)
                        .await
                })
            })
            .await
    }

    async fn upsert_memberships_once(
        &self,
        connection: &mut Connection<'_>,
        inputs: &[MembershipInput],
        actor: &Actor,
    ) -> Result<Vec<Upserted>, ServiceError> {
        let parsed: Vec<_> = inputs.iter().map(|input| input.clone().parse()).collect();
        let column = |of: fn(&NewMembership) -> &str| -> Vec<String> {
            let values: HashSet<&str> = parsed.iter().flatten().map(of).collect();
            values.into_iter().map(str::to_owned).collect()
        };
        let organization_ids = column(|item| item.organization_id.as_str());
        let user_ids = column(|item| item.user_id.as_str());
        let organizations: HashMap<String, Organization> =
            organizations::get_many(connection, &organization_ids)
                .await?
                .into_iter()
                .filter(|stored| !stored.is_deleted)
                .map(|stored| {
                    (
                        stored.organization.id.as_str().to_owned(),
                        stored.organization,
                    )
                })
                .collect();
        let known: HashSet<String> = users::known(connection, &user_ids)
            .await?
            .into_iter()
            .collect();
        let checked = parsed
            .into_iter()
            .map(|item| check_membership(item?, &organizations, &known, actor))
            .collect();
        let (mut results, accepted) = settle_duplicates(checked, "user_id");
        let (keys, rows): (Vec<_>, Vec<MembershipRow>) = accepted
            .into_iter()
            .map(|(index, key, row)| ((index, key, ()), row))
            .unzip();
        let added: HashSet<_> = memberships::upsert_many(connection, &rows, self.clock.now())
            .await?
            .into_iter()
            .collect();
        mark_written(&mut results, &keys, &added);
        let told = keys.iter().map(|(_, key, ())| Told {
            organization_id: &key.0,
            user_id: Some(&key.1),
            is_created: added.contains(key),
        });
        let failed = results.len() - keys.len();
        let action = AuditAction::UpsertMemberships;
        self.audit_told(connection, actor, action, told, failed)
            .await?;
        Ok(results)
    }
}

/// Asks what only the directory can tell: all of it, not the first.
fn check_membership(
    item: NewMembership,
    organizations: &HashMap<String, Organization>,
    known_users: &HashSet<String>,
    actor: &Actor,
) -> Checked<MembershipRow, (String, String)> {
    let mut violations = Vec::new();
    let organization_id = item.organization_id.as_str();
    // Permission first: whether a foreign organization exists is none of the caller's business.
    if !actor.access.allows(organization_id) {
        return Err(vec![Violation::new(
            "organization_id",
            Reason::OrganizationDenied,
        )]);
    }
    let organization = organizations.get(organization_id);
    if organization.is_none() {
        violations.push(Violation::new(
            "organization_id",
            Reason::OrganizationNotFound,
        ));
    }
    if !known_users.contains(item.user_id.as_str()) {
        violations.push(Violation::new("user_id", Reason::UserNotFound));
    }
    let role = match (&item.role, organization) {
        (Some(role), _) => role.as_str().to_owned(),
        (None, Some(organization)) => organization.default_role.clone(),
        (None, None) => String::new(),
    };
    if organization.is_some_and(|organization| !organization.roles.contains(&role)) {
        violations.push(Violation::new("role", Reason::RoleUnknown));
    }
    if !violations.is_empty() {
        return Err(violations);
    }
    let key = (organization_id.to_owned(), item.user_id.as_str().to_owned());
    let row = MembershipRow {
        organization_id: item.organization_id,
        user_id: item.user_id,
        role,
        public_metadata: item.public_metadata,
        private_metadata: item.private_metadata,
    };
    Ok((key, row))
}

/// Splits items into results that are settled already and rows to write; of several with one key the first counts.
fn settle_duplicates<T, K: Clone + Eq + Hash>(
    checked: Vec<Checked<T, K>>,
    field: &str,
) -> (Vec<Upserted>, Vec<(usize, K, T)>) {
    let failed = |violations, first_index| Upserted {
        outcome: UpsertOutcome::Failed,
        violations,
        first_index,
    };
    let mut first_of: HashMap<K, usize> = HashMap::new();
    let mut results = Vec::with_capacity(checked.len());
    let mut accepted = Vec::with_capacity(checked.len());
    for (index, item) in checked.into_iter().enumerate() {
        match item {
            Err(violations) => results.push(failed(violations, None)),
            Ok((key, row)) => {
                if let Some(first) = first_of.get(&key) {
                    results.push(failed(
                        vec![Violation::new(field, Reason::DuplicateInRequest)],
                        Some(*first),
                    ));
                    continue;
                }
                first_of.insert(key.clone(), index);
                results.push(Upserted {
                    outcome: UpsertOutcome::Updated,
                    violations: Vec::new(),
                    first_index: None,
                });
                accepted.push((index, key, row));
            }
        }
    }
    (results, accepted)
}

fn mark_written<T, K: Eq + Hash>(
    results: &mut [Upserted],
    accepted: &[(usize, K, T)],
    added: &HashSet<K>,
) {
    for (index, key, _) in accepted {
        if added.contains(key)
            && let Some(result) = results.get_mut(*index)
        {
            result.outcome = UpsertOutcome::Created;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_several_with_one_key_the_first_counts() {
        let checked = vec![
            Ok(("a", 1)),
            Err(vec![Violation::new("id", Reason::FieldRequired)]),
            Ok(("a", 2)),
            Ok(("b", 3)),
        ];
        let (mut results, accepted) = settle_duplicates(checked, "id");
        mark_written(&mut results, &accepted, &HashSet::from(["b"]));
        let outcomes: Vec<_> = results.iter().map(|result| result.outcome).collect();
        assert_eq!(
            outcomes,
            [
                UpsertOutcome::Updated,
                UpsertOutcome::Failed,
                UpsertOutcome::Failed,
                UpsertOutcome::Created
            ]
        );
        assert_eq!(results[2].first_index, Some(0));
        assert_eq!(accepted, [(0, "a", 1), (3, "b", 3)]);
    }
}
