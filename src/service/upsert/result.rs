//! The results of an upsert, and the rows that it writes.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;

use crate::domain::reason::{Reason, Violation};

/// What was done for an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UpsertOutcome {
    Created,
    Updated,
    Failed,
}

/// The result of one item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpsertResult {
    pub outcome: UpsertOutcome,
    /// Why the item failed. The first violation is the most important one.
    pub violations: Vec<Violation>,
    /// The index of the first item with the same key, for a duplicate.
    pub first_index: Option<usize>,
}

/// The items of a call: results that are known already, and rows to write.
pub(super) struct Items<T, K> {
    /// One for each item. Those of rows are corrected after the write.
    results: Vec<UpsertResult>,
    pub(super) rows: Vec<T>,
    /// The index of the item and the key of each row.
    keys: Vec<(usize, K)>,
}

impl<T, K: Clone + Eq + Hash> Items<T, K> {
    /// Splits checked items. Of several with one key the first is written, and the others fail.
    pub(super) fn new(
        checked: impl IntoIterator<Item = Result<(K, T), Vec<Violation>>>,
        key_field: &str,
    ) -> Self {
        let mut items = Self {
            results: Vec::new(),
            rows: Vec::new(),
            keys: Vec::new(),
        };
        let mut first_of: HashMap<K, usize> = HashMap::new();
        for (index, item) in checked.into_iter().enumerate() {
            let result = match item {
                Err(violations) => UpsertResult::failed(violations, None),
                Ok((key, row)) => {
                    let first = *first_of.entry(key.clone()).or_insert(index);
                    if first == index {
                        items.rows.push(row);
                        items.keys.push((index, key));
                        UpsertResult {
                            outcome: UpsertOutcome::Updated,
                            ..UpsertResult::failed(Vec::new(), None)
                        }
                    } else {
                        let violation = Violation::new(key_field, Reason::DuplicateInRequest);
                        UpsertResult::failed(vec![violation], Some(first))
                    }
                }
            };
            items.results.push(result);
        }
        items
    }

    /// The keys of the rows, each with whether the row is new.
    pub(super) fn written<'a>(
        &'a self,
        added: &'a HashSet<K>,
    ) -> impl Iterator<Item = (&'a K, bool)> {
        self.keys.iter().map(|(_, key)| (key, added.contains(key)))
    }

    pub(super) fn failed_count(&self) -> usize {
        self.results.len() - self.keys.len()
    }

    /// The results, once it is known which rows are new.
    pub(super) fn into_results(mut self, added: &HashSet<K>) -> Vec<UpsertResult> {
        for (index, key) in &self.keys {
            if added.contains(key) {
                self.results[*index].outcome = UpsertOutcome::Created;
            }
        }
        self.results
    }
}

impl UpsertResult {
    fn failed(violations: Vec<Violation>, first_index: Option<usize>) -> Self {
        Self {
            outcome: UpsertOutcome::Failed,
            violations,
            first_index,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_several_items_with_one_key_the_first_is_written() {
        let checked = vec![
            Ok(("a", 1)),
            Err(vec![Violation::new("id", Reason::FieldRequired)]),
            Ok(("a", 2)),
            Ok(("b", 3)),
        ];
        let items = Items::new(checked, "id");
        assert_eq!(items.rows, [1, 3]);
        assert_eq!(items.failed_count(), 2);
        let added = HashSet::from(["b"]);
        let written: Vec<_> = items.written(&added).collect();
        assert_eq!(written, [(&"a", false), (&"b", true)]);
        let results = items.into_results(&added);
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
