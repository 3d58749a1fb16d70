//! The report of `directory apply`: counts per list, and the items that were refused.

use std::io::{self, Write};

use crate::output::{Table, escaped, reason_name};
use crate::proto::{UpsertOutcome, UpsertResult};

/// The results of one list.
pub(crate) struct UpsertCounts {
    /// The name of the list in the file.
    list: &'static str,
    created: usize,
    updated: usize,
    refused: Vec<RefusedItem>,
}

struct RefusedItem {
    /// Position in the list of the file, from 1.
    position: usize,
    name: String,
    reason: String,
    message: String,
}

impl UpsertCounts {
    pub(crate) const fn new(list: &'static str) -> Self {
        Self {
            list,
            created: 0,
            updated: 0,
            refused: Vec::new(),
        }
    }

    pub(crate) const fn has_refused(&self) -> bool {
        !self.refused.is_empty()
    }

    const fn total(&self) -> usize {
        self.created + self.updated + self.refused.len()
    }

    /// Adds the results of one call; `names` has the names of its items.
    pub(crate) fn add(&mut self, names: Vec<String>, results: Vec<UpsertResult>) {
        for (name, result) in names.into_iter().zip(results) {
            match result.outcome() {
                UpsertOutcome::Created => self.created += 1,
                UpsertOutcome::Updated => self.updated += 1,
                UpsertOutcome::Failed | UpsertOutcome::Unspecified => {
                    let error = result.error.unwrap_or_default();
                    self.refused.push(RefusedItem {
                        position: self.total() + 1,
                        name,
                        reason: reason_name(error.reason),
                        message: error.message,
                    });
                }
            }
        }
    }
}

pub(crate) fn write_report(lists: &[UpsertCounts], out: &mut dyn Write) -> io::Result<()> {
    let mut counts = Table::new(["", "Created", "Updated", "Refused"], &[1, 2, 3]);
    let mut items = Table::new(["List", "Item", "Id", "Reason", "Explanation"], &[1]);
    let (mut applied, mut total) = (0, 0);
    for list in lists {
        applied += list.created + list.updated;
        total += list.total();
        counts.add_row([
            list.list.to_owned(),
            list.created.to_string(),
            list.updated.to_string(),
            list.refused.len().to_string(),
        ]);
        for item in &list.refused {
            items.add_row([
                list.list.to_owned(),
                item.position.to_string(),
                escaped(&item.name),
                item.reason.clone(),
                escaped(&item.message),
            ]);
        }
    }
    counts.write(out)?;
    if !items.is_empty() {
        items.never_wrap(3);
        writeln!(out)?;
        items.write(out)?;
    }
    writeln!(out, "\napplied {applied} of {total}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::{ErrorReason, ItemError};

    #[test]
    fn refused_items_are_printed_with_position_and_name() {
        let mut users = UpsertCounts::new("users");
        let created = UpsertResult {
            outcome: UpsertOutcome::Created.into(),
            ..Default::default()
        };
        let failed = UpsertResult {
            outcome: UpsertOutcome::Failed.into(),
            error: Some(ItemError {
                reason: ErrorReason::EmailInvalid.into(),
                message: "is not an address".to_owned(),
                ..Default::default()
            }),
            ..Default::default()
        };
        users.add(
            vec!["u-1".to_owned(), "u-2".to_owned()],
            vec![created, failed.clone()],
        );
        users.add(vec!["u-3".to_owned()], vec![failed]);
        let mut out = Vec::new();
        write_report(&[users], &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        let rows: Vec<Vec<&str>> = text
            .lines()
            .filter(|line| line.contains("EMAIL_INVALID"))
            .map(|line| line.split_whitespace().take(4).collect())
            .collect();
        let expected = [
            ["users", "2", "u-2", "EMAIL_INVALID"],
            ["users", "3", "u-3", "EMAIL_INVALID"],
        ];
        assert_eq!(rows, expected, "{text}");
        assert!(text.ends_with("\napplied 1 of 3\n"), "{text}");
    }
}
