//! `BulkDeleteUsers` and `BulkDeleteMemberships`: many deletions in one transaction, with a result for each item.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;

use crate::domain::actor::Actor;
use crate::domain::ids::{OrganizationId, UserId};
use crate::domain::reason::{Reason, Violation};
use crate::store::memberships::MemberKey;

use super::delete::{RemovedMembers, RemovedUsers};
use super::{DeleteOptions, Deleted, ServiceError, UnitOfWork, UseCase};

pub struct BulkDeleteUsers {
    /// Each is valid, or all rules that it breaks.
    pub user_ids: Vec<Result<UserId, Vec<Violation>>>,
    pub options: DeleteOptions,
    pub actor: Actor,
}

pub struct BulkDeleteMemberships {
    /// Each is valid, or all rules that it breaks.
    pub memberships: Vec<Result<(OrganizationId, UserId), Vec<Violation>>>,
    pub options: DeleteOptions,
    pub actor: Actor,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeleteOutcome {
    Deleted,
    /// It did not exist, and that is allowed.
    Missing,
}

/// Why an item was not deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusedDelete {
    /// The first violation is the most important one.
    pub violations: Vec<Violation>,
    /// The index of the first item with the same key, for a duplicate.
    pub first_index: Option<usize>,
}

#[derive(Debug)]
pub struct BulkDeleted {
    /// One for each item, in the order of the request.
    pub results: Vec<Result<DeleteOutcome, RefusedDelete>>,
    pub deleted: Deleted,
}

/// The items of a call: those that are to be deleted, and those that failed already.
struct DeleteItems<K>(Vec<Result<K, RefusedDelete>>);

impl UseCase for BulkDeleteUsers {
    const NAME: &'static str = "bulk_delete_users";
    type Output = BulkDeleted;

    fn is_dry_run(&self) -> bool {
        self.options.validate_only
    }

    async fn run(&self, work: &mut UnitOfWork<'_>) -> Result<BulkDeleted, ServiceError> {
        let now = work.context.now();
        let ids = self.user_ids.iter();
        let items = DeleteItems::new(ids.map(|id| id.as_ref().map(UserId::as_str)));
        let ids: Vec<&str> = items.keys().copied().collect();
        let removed = RemovedUsers::delete(work, &ids, now).await?;
        let existed: HashSet<&str> = removed.ids.iter().map(String::as_str).collect();
        let bulk = BulkDeleted {
            results: items.results(&existed, self.options, Reason::UserNotFound),
            deleted: removed.deleted(),
        };
        let failed = bulk.failed_count();
        removed.record(work, &self.actor, failed, now).await?;
        Ok(bulk)
    }
}

impl UseCase for BulkDeleteMemberships {
    const NAME: &'static str = "bulk_delete_memberships";
    type Output = BulkDeleted;

    fn is_dry_run(&self) -> bool {
        self.options.validate_only
    }

    async fn run(&self, work: &mut UnitOfWork<'_>) -> Result<BulkDeleted, ServiceError> {
        let now = work.context.now();
        let permitted: Vec<_> = self
            .memberships
            .iter()
            .map(|key| self.permitted(key))
            .collect();
        let items = DeleteItems::new(permitted.iter().map(Result::as_ref));
        let keys: Vec<MemberKey> = items.keys().map(|key| (*key).clone()).collect();
        let removed = RemovedMembers::delete(work, &keys, now).await?;
        let existed: HashSet<&MemberKey> = removed.keys.iter().collect();
        let bulk = BulkDeleted {
            results: items.results(&existed, self.options, Reason::MembershipNotFound),
            deleted: removed.deleted(),
        };
        let failed = bulk.failed_count();
        removed.record(work, &self.actor, failed, now).await?;
        Ok(bulk)
    }
}

impl BulkDeleteMemberships {
    fn permitted(
        &self,
        key: &Result<(OrganizationId, UserId), Vec<Violation>>,
    ) -> Result<MemberKey, Vec<Violation>> {
        let (organization_id, user_id) = key.as_ref().map_err(Clone::clone)?;
        let organization_id = organization_id.as_str();
        if self.actor.access.allows(organization_id) {
            return Ok((organization_id.to_owned(), user_id.as_str().to_owned()));
        }
        let violation = Violation::new("organization_id", Reason::OrganizationDenied);
        Err(vec![violation])
    }
}

impl BulkDeleted {
    fn failed_count(&self) -> u64 {
        let failed = self.results.iter().filter(|result| result.is_err());
        u64::try_from(failed.count()).unwrap_or(u64::MAX)
    }
}

impl<K: Copy + Eq + Hash> DeleteItems<K> {
    /// Of several items with one key, all but the first fail.
    fn new<'a>(items: impl Iterator<Item = Result<K, &'a Vec<Violation>>>) -> Self {
        let mut first_of: HashMap<K, usize> = HashMap::new();
        let distinct = items.enumerate().map(|(index, item)| {
            let key = item.map_err(|violations| RefusedDelete {
                violations: violations.clone(),
                first_index: None,
            })?;
            let first = *first_of.entry(key).or_insert(index);
            if first == index {
                return Ok(key);
            }
            Err(RefusedDelete {
                violations: vec![Violation::new("user_id", Reason::DuplicateInRequest)],
                first_index: Some(first),
            })
        });
        Self(distinct.collect())
    }

    fn keys(&self) -> impl Iterator<Item = &K> {
        self.0.iter().flatten()
    }

    /// The results, if those keys existed. `reason` is why another key fails, unless it may be missing.
    fn results(
        self,
        existed: &HashSet<K>,
        options: DeleteOptions,
        reason: Reason,
    ) -> Vec<Result<DeleteOutcome, RefusedDelete>> {
        let result = |item: Result<K, RefusedDelete>| match item? {
            key if existed.contains(&key) => Ok(DeleteOutcome::Deleted),
            _ if options.allow_missing => Ok(DeleteOutcome::Missing),
            _ => Err(RefusedDelete {
                violations: vec![Violation::new("user_id", reason)],
                first_index: None,
            }),
        };
        self.0.into_iter().map(result).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(reason: Reason, first_index: Option<usize>) -> RefusedDelete {
        RefusedDelete {
            violations: vec![Violation::new("user_id", reason)],
            first_index,
        }
    }

    #[test]
    fn every_item_has_a_result_and_of_equal_items_the_first_is_deleted() {
        let invalid = vec![Violation::new("user_id", Reason::FieldInvalid)];
        let items = || DeleteItems::new([Ok("a"), Err(&invalid), Ok("b"), Ok("a")].into_iter());
        assert_eq!(items().keys().collect::<Vec<_>>(), [&"a", &"b"]);
        let existed = HashSet::from(["a"]);
        let results = |allow_missing| {
            let options = DeleteOptions {
                allow_missing,
                validate_only: false,
            };
            items().results(&existed, options, Reason::UserNotFound)
        };
        let mut expected = [
            Ok(DeleteOutcome::Deleted),
            Err(refused(Reason::FieldInvalid, None)),
            Err(refused(Reason::UserNotFound, None)),
            Err(refused(Reason::DuplicateInRequest, Some(0))),
        ];
        assert_eq!(results(false), expected);
        expected[2] = Ok(DeleteOutcome::Missing);
        assert_eq!(results(true), expected);
    }
}
