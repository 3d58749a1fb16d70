//! Upserts: many rows in one call, with a result for each item and one audit event for each organization.

use std::collections::{BTreeMap, HashMap, HashSet};

use time::OffsetDateTime;

use crate::domain::actor::Actor;
use crate::domain::audit::{AuditAction, AuditCounts, AuditEvent, NO_ORGANIZATION};
use crate::domain::ids::OrganizationId;
use crate::domain::organization::{Organization, OrganizationInput};
use crate::domain::organization_record::OrganizationRecord;
use crate::domain::reason::{Reason, Violation};
use crate::domain::update_mask::UpdateMask;
use crate::domain::user::UserChange;
use crate::store::{audit_events, organizations, users};

use super::{Context, ServiceError, UnitOfWork, UseCase};

pub struct UpsertOrganizations {
    pub inputs: Vec<OrganizationInput>,
    pub mask: UpdateMask,
    /// Whether deleted organizations are restored.
    pub undelete: bool,
    pub actor: Actor,
}

pub struct UpsertUsers {
    pub inputs: Vec<Result<UserChange, Vec<Violation>>>,
    pub actor: Actor,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UpsertOutcome {
    Created,
    Updated,
    Failed,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpsertResult {
    pub outcome: UpsertOutcome,
    /// Why the item failed. The first violation is the most important one.
    pub violations: Vec<Violation>,
    /// The index of the first item with the same key, for a duplicate.
    pub first_index: Option<usize>,
}

/// The key of a row: its organization, or [`NO_ORGANIZATION`], and its user.
pub(super) type UpsertKey = (String, Option<String>);

/// The items of a call: results that are known already, and rows to write.
pub(super) struct Items<T> {
    /// One for each item. Those of rows are corrected after the write.
    results: Vec<UpsertResult>,
    pub(super) rows: Vec<T>,
    /// The index of the item and the key of each row.
    keys: Vec<(usize, UpsertKey)>,
}

impl UseCase for UpsertOrganizations {
    const NAME: &'static str = "upsert_organizations";
    type Output = Vec<UpsertResult>;

    async fn run(&self, work: &mut UnitOfWork<'_>) -> Result<Vec<UpsertResult>, ServiceError> {
        let stored = organizations::lock_many(work, &self.allowed_ids()).await?;
        let stored: HashMap<String, OrganizationRecord> = stored
            .into_iter()
            .map(|stored| (stored.organization.id.as_str().to_owned(), stored))
            .collect();
        let checked = self.inputs.iter().map(|input| self.check(input, &stored));
        let items = Items::new(checked, "id");
        let now = work.context.now();
        let stored_ids: Vec<String> = stored.into_keys().collect();
        let written = organizations::upsert_many(work, &items.rows, &stored_ids, now).await?;
        // A concurrent call has added one of the organizations. It must be merged and not replaced.
        if written.len() < items.rows.len() {
            return Err(ServiceError::Conflict);
        }
        let stored_ids: HashSet<String> = stored_ids.into_iter().collect();
        let added = written.into_iter().filter(|id| !stored_ids.contains(id));
        let added = added.map(|id| (id, None));
        let action = AuditAction::UpsertOrganizations;
        items.finish(work, &self.actor, action, added, now).await
    }
}

impl UpsertOrganizations {
    /// The ids that the caller may act for, each once.
    fn allowed_ids(&self) -> Vec<String> {
        let ids = self.inputs.iter().map(|input| input.id.as_str());
        let is_allowed =
            |id: &&str| OrganizationId::parse(id).is_some() && self.actor.access.allows(id);
        let ids: HashSet<&str> = ids.filter(is_allowed).collect();
        ids.into_iter().map(str::to_owned).collect()
    }

    fn check(
        &self,
        input: &OrganizationInput,
        stored: &HashMap<String, OrganizationRecord>,
    ) -> Result<(UpsertKey, Organization), Vec<Violation>> {
        let refused = |reason| Err(vec![Violation::new("id", reason)]);
        // Permission comes first, because callers must not learn whether a foreign organization exists.
        let is_valid = OrganizationId::parse(&input.id).is_some();
        if is_valid && !self.actor.access.allows(&input.id) {
            return refused(Reason::OrganizationDenied);
        }
        let stored = stored.get(&input.id);
        if !self.undelete && stored.is_some_and(OrganizationRecord::is_deleted) {
            return refused(Reason::OrganizationDeleted);
        }
        let stored = stored.map(|stored| &stored.organization);
        let organization = input.parse(stored, &self.mask)?;
        let id = organization.id.as_str().to_owned();
        Ok(((id, None), organization))
    }
}

impl UseCase for UpsertUsers {
    const NAME: &'static str = "upsert_users";
    type Output = Vec<UpsertResult>;

    async fn run(&self, work: &mut UnitOfWork<'_>) -> Result<Vec<UpsertResult>, ServiceError> {
        let key = |id: String| (NO_ORGANIZATION.to_owned(), Some(id));
        let checked = self.inputs.iter().cloned();
        let checked = checked
            .map(|input| input.map(|change| (key(change.user.id.as_str().to_owned()), change)));
        let items = Items::new(checked, "id");
        let now = work.context.now();
        let added = users::upsert_many(work, &items.rows, now).await?;
        let added = added.into_iter().map(key);
        let action = AuditAction::UpsertUsers;
        items.finish(work, &self.actor, action, added, now).await
    }
}

impl<T> Items<T> {
    /// Splits checked items. Of several with one key the first is written, and the others fail.
    pub(super) fn new(
        checked: impl IntoIterator<Item = Result<(UpsertKey, T), Vec<Violation>>>,
        key_field: &str,
    ) -> Self {
        let mut items = Self {
            results: Vec::new(),
            rows: Vec::new(),
            keys: Vec::new(),
        };
        let mut first_of: HashMap<UpsertKey, usize> = HashMap::new();
        for (index, item) in checked.into_iter().enumerate() {
            let mut result = UpsertResult {
                outcome: UpsertOutcome::Failed,
                violations: Vec::new(),
                first_index: None,
            };
            match item {
                Err(violations) => result.violations = violations,
                Ok((key, row)) => {
                    let first = *first_of.entry(key.clone()).or_insert(index);
                    if first == index {
                        items.rows.push(row);
                        items.keys.push((index, key));
                        result.outcome = UpsertOutcome::Updated;
                    } else {
                        let violation = Violation::new(key_field, Reason::DuplicateInRequest);
                        result.violations.push(violation);
                        result.first_index = Some(first);
                    }
                }
            }
            items.results.push(result);
        }
        items
    }

    /// Records the call, and returns the results. `added` are the keys of the rows that are new.
    pub(super) async fn finish(
        self,
        work: &mut UnitOfWork<'_>,
        actor: &Actor,
        action: AuditAction,
        added: impl Iterator<Item = UpsertKey>,
        now: OffsetDateTime,
    ) -> Result<Vec<UpsertResult>, ServiceError> {
        let results = self.into_results(&added.collect());
        let events = results.audit_events(work.context, actor, action, now);
        audit_events::insert_many(work, &events).await?;
        Ok(results.results)
    }

    fn into_results(mut self, added: &HashSet<UpsertKey>) -> Self {
        for (index, key) in &self.keys {
            if added.contains(key) {
                self.results[*index].outcome = UpsertOutcome::Created;
            }
        }
        self
    }

    /// One event for each organization, and one of no organization for items that failed.
    fn audit_events(
        &self,
        context: &Context,
        actor: &Actor,
        action: AuditAction,
        now: OffsetDateTime,
    ) -> Vec<AuditEvent> {
        let mut events: BTreeMap<&str, AuditEvent> = BTreeMap::new();
        let new = |id: &str| context.audit_event(actor, action, id, now);
        for (index, (organization_id, user_id)) in &self.keys {
            let id = organization_id.as_str();
            let event = events.entry(id).or_insert_with(|| new(id));
            // The event names a user if the call wrote one user only.
            let is_first = event.counts == AuditCounts::default();
            event.subject_user_id = user_id.clone().filter(|_| is_first);
            match self.results[*index].outcome {
                UpsertOutcome::Created => event.counts.created += 1,
                _ => event.counts.updated += 1,
            }
        }
        let failed_count = self.results.len() - self.keys.len();
        if failed_count > 0 {
            let id = NO_ORGANIZATION;
            let event = events.entry(id).or_insert_with(|| new(id));
            event.counts.failed = u64::try_from(failed_count).unwrap_or(u64::MAX);
        }
        events.into_values().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_several_items_with_one_key_the_first_is_written() {
        let key = |id: &str| (id.to_owned(), None);
        let checked = vec![
            Ok((key("a"), 1)),
            Err(vec![Violation::new("id", Reason::FieldRequired)]),
            Ok((key("a"), 2)),
            Ok((key("b"), 3)),
        ];
        let items = Items::new(checked, "id");
        assert_eq!(items.rows, [1, 3]);
        assert_eq!(items.keys, [(0, key("a")), (3, key("b"))]);
        let results = items.into_results(&HashSet::from([key("b")])).results;
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
    }
}
