//! Puts the answers of `BulkCreate` and `BulkCreateStream` beside the rows of the file that it is about.
//!
//! The service speaks of places in its request, a human of lines in their file: this is where one becomes the other.

use std::fmt::Write as _;

use super::mails::mail;
use super::people::Person;
use super::row::{Outcome, Row};
use super::status::reason_name;
use crate::proto::{BulkCreateResponse, CreateOutcome, ErrorReason, Invitation, ItemError};

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
        let answer = Answer {
            outcome: result.outcome(),
            invitation: result.invitation,
            error: result.error,
        };
        let line_of = |index: i64| Some(chunk.get(usize::try_from(index).ok()?)?.line);
        let email = &person.item.email;
        *slot = Some(row_of(
            person.line,
            email,
            &response.batch_id,
            answer,
            line_of,
        ));
    }
    let rows: Option<Vec<Row>> = rows.into_iter().collect();
    rows.ok_or_else(|| {
        "the service answered twice for one row and not at all for another".to_owned()
    })
}

/// What the service answered about one row, in either of its methods.
pub struct Answer {
    /// What became of it.
    pub outcome: CreateOutcome,
    /// The invitation, if there is one.
    pub invitation: Option<Invitation>,
    /// Why it failed, if it did.
    pub error: Option<ItemError>,
}

/// Puts an answer beside the row that it is about; `line_of` knows the lines of other rows, by their place.
#[must_use]
pub fn row_of(
    line: u64,
    email: &str,
    batch_id: &str,
    answer: Answer,
    line_of: impl Fn(i64) -> Option<u64>,
) -> Row {
    let invitation = answer.invitation.unwrap_or_default();
    let outcome = match answer.outcome {
        CreateOutcome::Created => Outcome::Created,
        CreateOutcome::Existing => Outcome::Existing,
        CreateOutcome::Resent => Outcome::Resent,
        CreateOutcome::Replaced => Outcome::Replaced,
        CreateOutcome::Failed | CreateOutcome::Unspecified => {
            let error = answer.error.unwrap_or_default();
            let mut sentence = sentence(&error, line_of);
            let is_of_list = !batch_id.is_empty() && invitation.batch_id == batch_id;
            if is_of_list && error.reason() == ErrorReason::AlreadyInvited {
                sentence.push_str(" (by an earlier row of this list)");
            }
            Outcome::Refused {
                reason: reason_name(error.reason),
                sentence,
            }
        }
    };
    let is_mailed = matches!(
        outcome,
        Outcome::Created | Outcome::Resent | Outcome::Replaced
    );
    Row {
        line,
        email: email.to_owned(),
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
fn sentence(error: &ItemError, line_of: impl Fn(i64) -> Option<u64>) -> String {
    let mut sentence = if error.violations.len() > 1 {
        let violations = error.violations.iter();
        let violations =
            violations.map(|violation| format!("{}: {}", violation.field, violation.message));
        violations.collect::<Vec<_>>().join("; ")
    } else {
        error.message.clone()
    };
    let first = error.metadata.get("first_index");
    let first = first.and_then(|index| line_of(index.parse().ok()?));
    if let Some(line) = first {
        let _ = write!(sentence, " (line {line})");
    }
    sentence
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::people::Defaults;
    use crate::people::tests::read;
    use crate::proto::{BulkCreateResult, ItemViolation};

    fn chunk() -> Vec<Person> {
        read(b"email\na@b.co\n\nplain\n", &Defaults::default()).unwrap_or_default()
    }

    fn line_of(index: i64) -> Option<u64> {
        Some(chunk().get(usize::try_from(index).ok()?)?.line)
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
        assert_eq!(sentence(&error, line_of), "is no address");
        error.violations.push(violation("role", "is no role"));
        assert_eq!(
            sentence(&error, line_of),
            "email: is no address; role: is no role"
        );
        error.violations.clear();
        error
            .metadata
            .insert("first_index".to_owned(), "1".to_owned());
        assert_eq!(sentence(&error, line_of), "is no address (line 4)");
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
