//! Puts the answer of `BulkCreate` beside the rows of the file that it is about.
//!
//! The service speaks of places in its request, a human of lines in their file: this is where one becomes the other.

use std::fmt::Write as _;

use super::follow::mail;
use super::people::Person;
use super::report::{Outcome, Row};
use super::status::reason_name;
use crate::proto::{BulkCreateResponse, BulkCreateResult, CreateOutcome, ItemError};

/// Names the line of the file beside each field of an item, such as `invitations[3].email`.
#[must_use]
pub fn with_lines(text: &str, chunk: &[Person]) -> String {
    let lines = text.lines().map(|line| {
        let index = line
            .trim_start()
            .strip_prefix("invitations[")
            .and_then(|rest| rest.split_once(']'))
            .and_then(|(index, _)| index.parse::<usize>().ok());
        match index.and_then(|index| chunk.get(index)) {
            Some(person) => format!("  line {}: {}", person.line, line.trim_start()),
            None => line.to_owned(),
        }
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// Puts the results beside the rows they are about.
///
/// # Errors
///
/// A sentence about an answer that does not fit what was sent.
pub fn rows_of(chunk: &[Person], response: BulkCreateResponse) -> Result<Vec<Row>, String> {
    let count = response.results.len();
    if count != chunk.len() {
        return Err(format!(
            "the service answered {} rows with {count} results",
            chunk.len()
        ));
    }
    let mut rows: Vec<Option<Row>> = vec![None; count];
    for result in response.results {
        let index = usize::try_from(result.index).ok();
        let place = index.and_then(|index| Some((rows.get_mut(index)?, chunk.get(index)?)));
        let Some((slot, person)) = place else {
            return Err(
                "the service answered with a result for a row that was not sent".to_owned(),
            );
        };
        *slot = Some(row_of(chunk, person, &response.batch_id, result));
    }
    let rows: Option<Vec<Row>> = rows.into_iter().collect();
    rows.ok_or_else(|| {
        "the service answered twice for one row and not at all for another".to_owned()
    })
}

fn row_of(chunk: &[Person], person: &Person, batch_id: &str, result: BulkCreateResult) -> Row {
    let outcome = match result.outcome() {
        CreateOutcome::Created => Outcome::Created,
        CreateOutcome::Existing => Outcome::Existing,
        CreateOutcome::Resent => Outcome::Resent,
        CreateOutcome::Replaced => Outcome::Replaced,
        CreateOutcome::Failed | CreateOutcome::Unspecified => {
            let error = result.error.unwrap_or_default();
            Outcome::Refused {
                reason: reason_name(error.reason),
                sentence: sentence(&error, chunk),
            }
        }
    };
    let is_mailed = matches!(
        outcome,
        Outcome::Created | Outcome::Resent | Outcome::Replaced
    );
    let invitation = result.invitation.unwrap_or_default();
    Row {
        line: person.line,
        email: person.item.email.clone(),
        mail: is_mailed.then(|| mail(&invitation)).flatten(),
        batch_id: if invitation.batch_id.is_empty() {
            batch_id.to_owned()
        } else {
            invitation.batch_id
        },
        invitation_id: invitation.id,
        outcome,
    }
}

/// Every violation in one sentence; where the service points to another row, its line.
fn sentence(error: &ItemError, chunk: &[Person]) -> String {
    let mut sentence = if error.violations.len() > 1 {
        let violations = error.violations.iter();
        let violations =
            violations.map(|violation| format!("{}: {}", violation.field, violation.message));
        violations.collect::<Vec<_>>().join("; ")
    } else {
        error.message.clone()
    };
    let first = error.metadata.get("first_index");
    let first = first.and_then(|index| chunk.get(index.parse::<usize>().ok()?));
    if let Some(first) = first {
        let _ = write!(sentence, " (line {})", first.line);
    }
    sentence
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::people::Defaults;
    use crate::cli::people::tests::read;
    use crate::proto::{ErrorReason, Invitation, ItemViolation};

    fn chunk() -> Vec<Person> {
        read(b"email\na@b.co\n\nplain\n", &Defaults::default()).unwrap_or_default()
    }

    fn answer(indexes: &[i32]) -> BulkCreateResponse {
        let result = |index: &i32| BulkCreateResult {
            index: *index,
            outcome: CreateOutcome::Created.into(),
            ..Default::default()
        };
        BulkCreateResponse {
            batch_id: "new".to_owned(),
            results: indexes.iter().map(result).collect(),
            ..Default::default()
        }
    }

    #[test]
    fn results_find_their_rows_in_any_order() {
        let lines = |indexes: &[i32]| {
            let rows = rows_of(&chunk(), answer(indexes)).ok()?;
            Some(rows.iter().map(|row| row.line).collect::<Vec<_>>())
        };
        assert_eq!(lines(&[0, 1]), Some(vec![2, 4]));
        assert_eq!(lines(&[1, 0]), Some(vec![2, 4]));
        for wrong in [&[0][..], &[0, 0], &[0, 2], &[0, -1], &[0, 1, 1]] {
            assert_eq!(lines(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn a_mail_is_looked_for_in_the_batch_that_made_the_invitation() {
        let mut answer = answer(&[0, 1]);
        answer.results[1].set_outcome(CreateOutcome::Resent);
        answer.results[1].invitation = Some(Invitation {
            batch_id: "old".to_owned(),
            ..Default::default()
        });
        let rows = rows_of(&chunk(), answer).unwrap_or_default();
        let batches: Vec<_> = rows.iter().map(|row| row.batch_id.as_str()).collect();
        assert_eq!(batches, ["new", "old"]);
    }

    #[test]
    fn every_violation_of_a_row_is_told() {
        let violation = |field: &str, message: &str| ItemViolation {
            field: field.to_owned(),
            message: message.to_owned(),
            ..Default::default()
        };
        let mut error = ItemError {
            reason: ErrorReason::EmailInvalid.into(),
            message: "is no address".to_owned(),
            violations: vec![violation("email", "is no address")],
            ..Default::default()
        };
        assert_eq!(sentence(&error, &chunk()), "is no address");
        error.violations.push(violation("role", "is no role"));
        assert_eq!(
            sentence(&error, &chunk()),
            "email: is no address; role: is no role"
        );
        error.violations.clear();
        error
            .metadata
            .insert("first_index".to_owned(), "1".to_owned());
        assert_eq!(sentence(&error, &chunk()), "is no address (line 4)");
    }

    #[test]
    fn violations_of_an_atomic_call_name_their_lines() {
        let chunk = read(b"email\n\na@b.co\nplain\n", &Defaults::default()).unwrap_or_default();
        let text = "BulkCreate failed: x\n  invitations[1].email: is no address\n  other: y";
        assert_eq!(
            with_lines(text, &chunk),
            "BulkCreate failed: x\n  line 4: invitations[1].email: is no address\n  other: y"
        );
    }
}
