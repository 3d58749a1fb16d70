//! The result of one row of a list: what the server did, and the delivery of the email.
//!
//! The server identifies an item by its index in the request. A user identifies a row by its line in the file.

use std::fmt::Write as _;

use uuid::Uuid;

use crate::list::Invitee;
use crate::output::reason_name;
use crate::proto::{
    BulkCreateResponse, CreateOutcome, CreateResult, DeliveryState, ErrorReason, Invitation,
    ItemError,
};

#[derive(Clone, PartialEq, Eq)]
pub(crate) struct RowResult {
    /// Line of the file, from 1.
    pub(crate) line: u64,
    /// The address as the file has it.
    pub(crate) email: String,
    pub(crate) outcome: RowOutcome,
    /// Empty if there is no invitation.
    pub(crate) invitation_id: String,
    /// The batch of this list, if it created the invitation. Otherwise empty.
    pub(crate) batch_id: String,
    /// `None` if this call sends no email for the row.
    pub(crate) delivery: Option<RowDelivery>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum RowOutcome {
    Created,
    /// The address has an invitation, which was not changed.
    Existing,
    /// The email of an existing invitation is sent again.
    Resent,
    /// A new invitation replaced an existing one.
    Replaced,
    Refused {
        /// A reason of the protocol, such as `EMAIL_INVALID`.
        reason: String,
        message: String,
    },
}

#[derive(Clone, PartialEq, Eq)]
pub(crate) struct RowDelivery {
    pub(crate) state: DeliveryState,
    /// The error of the latest failed attempt, or an empty text.
    pub(crate) last_error: String,
}

impl RowOutcome {
    pub(crate) const fn name(&self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Existing => "existing",
            Self::Resent => "resent",
            Self::Replaced => "replaced",
            Self::Refused { .. } => "refused",
        }
    }
}

impl RowDelivery {
    /// The delivery of the latest email of an invitation, or `None` if no email was requested.
    pub(crate) fn of(invitation: &Invitation) -> Option<Self> {
        let delivery = invitation.delivery.as_ref()?;
        let state = delivery.state();
        (state != DeliveryState::NotRequested).then(|| Self {
            state,
            last_error: delivery.last_error.clone(),
        })
    }
}

impl RowResult {
    /// The result of the server for a row; `line_of` returns the line of the item with an index. The view BASIC of a
    /// result has no delivery, so an email is queued if the server was asked to send one.
    pub(crate) fn new(
        invitee: &Invitee,
        result: CreateResult,
        batch_id: &str,
        line_of: impl Fn(i64) -> Option<u64>,
    ) -> Self {
        let outcome = result.outcome();
        let invitation = result.invitation.unwrap_or_default();
        let outcome = match outcome {
            CreateOutcome::Created => RowOutcome::Created,
            CreateOutcome::Existing => RowOutcome::Existing,
            CreateOutcome::Resent => RowOutcome::Resent,
            CreateOutcome::Replaced => RowOutcome::Replaced,
            CreateOutcome::Failed | CreateOutcome::Unspecified => {
                let error = result.error.unwrap_or_default();
                let mut message = message_of(&error, line_of);
                let is_invited = error.reason() == ErrorReason::AlreadyInvited;
                if is_invited && is_newer(&invitation, batch_id) {
                    message.push_str(" (probably by an earlier row of this list)");
                }
                let reason = reason_name(error.reason);
                RowOutcome::Refused { reason, message }
            }
        };
        let is_new = matches!(outcome, RowOutcome::Created | RowOutcome::Replaced);
        let has_email = match outcome {
            RowOutcome::Resent => true,
            _ => is_new && invitee.item.notify != Some(false),
        };
        Self {
            line: invitee.line,
            email: invitee.item.email.clone(),
            outcome,
            delivery: has_email.then(|| RowDelivery {
                state: DeliveryState::Queued,
                last_error: String::new(),
            }),
            batch_id: if is_new {
                batch_id.to_owned()
            } else {
                String::new()
            },
            invitation_id: invitation.id,
        }
    }

    pub(crate) fn refused(line: u64, email: String, reason: String, message: String) -> Self {
        Self {
            line,
            email,
            outcome: RowOutcome::Refused { reason, message },
            invitation_id: String::new(),
            batch_id: String::new(),
            delivery: None,
        }
    }
}

/// Whether an invitation was created after a batch began. The id of a batch contains its time (RFC 9562, version 7).
fn is_newer(invitation: &Invitation, batch_id: &str) -> bool {
    let begun = Uuid::try_parse(batch_id)
        .ok()
        .and_then(|id| id.get_timestamp());
    let created = invitation.create_time.as_ref();
    begun.zip(created).is_some_and(|(begun, created)| {
        let (seconds, nanos) = begun.to_unix();
        let seconds = i64::try_from(seconds).unwrap_or(i64::MAX);
        (seconds, i64::from(nanos)) <= (created.seconds, i64::from(created.nanos))
    })
}

/// Adds the line of the file to each line that starts with a field of an item, such as `invitations[3].email`.
pub(crate) fn with_line_numbers(text: &str, chunk: &[Invitee]) -> String {
    let lines = text.lines().map(|line| {
        let index = line
            .trim_start()
            .strip_prefix("invitations[")
            .and_then(|rest| rest.split_once(']'))
            .and_then(|(index, _)| index.parse::<usize>().ok());
        match index.and_then(|index| chunk.get(index)) {
            Some(invitee) => format!("  line {}: {}", invitee.line, line.trim_start()),
            None => line.to_owned(),
        }
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// The results of a `BulkCreate` in the order of the list. Fails if the response does not fit the request.
pub(crate) fn match_response(
    chunk: &[Invitee],
    mut response: BulkCreateResponse,
) -> Result<Vec<RowResult>, String> {
    response.results.sort_by_key(|result| result.index);
    let indexes = response.results.iter().map(|result| result.index);
    if !indexes.eq((0..).take(chunk.len())) {
        return Err("the server did not return exactly one result for each row".to_owned());
    }
    let line_of = |index: i64| Some(chunk.get(usize::try_from(index).ok()?)?.line);
    let rows = chunk.iter().zip(response.results);
    let rows =
        rows.map(|(invitee, result)| RowResult::new(invitee, result, &response.batch_id, line_of));
    Ok(rows.collect())
}

/// All violations in one sentence. If the error refers to another row, its line is added.
fn message_of(error: &ItemError, line_of: impl Fn(i64) -> Option<u64>) -> String {
    let mut message = if error.violations.len() > 1 {
        let violations = error.violations.iter();
        let violations =
            violations.map(|violation| format!("{}: {}", violation.field, violation.message));
        violations.collect::<Vec<_>>().join("; ")
    } else {
        error.message.clone()
    };
    let first_index = error.metadata.get("first_index");
    let first_line = first_index.and_then(|index| line_of(index.parse().ok()?));
    if let Some(line) = first_line {
        let _ = write!(message, " (line {line})");
    }
    message
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::list::{RowDefaults, read_csv};
    use crate::proto::ItemViolation;

    fn chunk() -> Vec<Invitee> {
        read_csv(b"email\na@b.co\n\nplain\n", &RowDefaults::default()).unwrap_or_default()
    }

    fn line_of(index: i64) -> Option<u64> {
        Some(chunk().get(usize::try_from(index).ok()?)?.line)
    }

    fn response(indexes: &[i64]) -> BulkCreateResponse {
        let result = |index: &i64| CreateResult {
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
    fn results_can_have_any_order() {
        let lines = |indexes: &[i64]| {
            let rows = match_response(&chunk(), response(indexes)).ok()?;
            Some(rows.iter().map(|row| row.line).collect::<Vec<_>>())
        };
        assert_eq!(lines(&[0, 1]), Some(vec![2, 4]));
        assert_eq!(lines(&[1, 0]), Some(vec![2, 4]));
        for wrong in [&[0][..], &[0, 0], &[0, 2], &[0, -1], &[0, 1, 1]] {
            assert_eq!(lines(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn a_row_has_the_batch_that_created_its_invitation() {
        let mut response = response(&[0, 1]);
        response.results[1].set_outcome(CreateOutcome::Resent);
        let rows = match_response(&chunk(), response).unwrap_or_default();
        let batches: Vec<_> = rows.iter().map(|row| row.batch_id.as_str()).collect();
        assert_eq!(batches, ["new", ""]);
    }

    #[test]
    fn an_email_is_queued_unless_the_row_asks_for_none() {
        let file = b"email,notify\na@b.co,\nb@b.co,false\nc@b.co,false\nd@b.co,\n";
        let invitees = read_csv(file, &RowDefaults::default()).unwrap_or_default();
        let mut response = response(&[0, 1, 2, 3]);
        response.results[2].set_outcome(CreateOutcome::Resent);
        response.results[3].set_outcome(CreateOutcome::Existing);
        let rows = match_response(&invitees, response).unwrap_or_default();
        let queued: Vec<_> = rows.iter().map(|row| row.delivery.is_some()).collect();
        assert_eq!(queued, [true, false, true, false]);
    }

    #[test]
    fn an_invitation_of_an_earlier_row_is_named() {
        // The id has the time 2027-01-31T12:00:00.000Z.
        let batch_id = "01a36b9d-ca00-7001-8c82-6b5f4d3569e3";
        let message = |create_time: &str| {
            let result = CreateResult {
                outcome: CreateOutcome::Failed.into(),
                invitation: Some(Invitation {
                    create_time: create_time.parse().ok(),
                    ..Default::default()
                }),
                error: Some(ItemError {
                    reason: ErrorReason::AlreadyInvited.into(),
                    ..Default::default()
                }),
                ..Default::default()
            };
            match RowResult::new(&chunk()[0], result, batch_id, line_of).outcome {
                RowOutcome::Refused { message, .. } => message,
                _ => String::new(),
            }
        };
        let remark = " (probably by an earlier row of this list)";
        assert_eq!(message("2027-01-31T12:00:00.001Z"), remark);
        assert_eq!(message("2027-01-31T12:00:00Z"), remark);
        assert_eq!(message("2027-01-31T11:59:59.999Z"), "");
    }

    #[test]
    fn the_message_has_all_violations_of_a_row() {
        let violation = |field: &str, message: &str| ItemViolation {
            field: field.to_owned(),
            message: message.to_owned(),
            ..Default::default()
        };
        let mut error = ItemError {
            reason: ErrorReason::EmailInvalid.into(),
            message: "is not an address".to_owned(),
            violations: vec![violation("email", "is not an address")],
            ..Default::default()
        };
        assert_eq!(message_of(&error, line_of), "is not an address");
        error.violations.push(violation("role", "is not a role"));
        assert_eq!(
            message_of(&error, line_of),
            "email: is not an address; role: is not a role"
        );
        error.violations.clear();
        error
            .metadata
            .insert("first_index".to_owned(), "1".to_owned());
        assert_eq!(message_of(&error, line_of), "is not an address (line 4)");
    }

    #[test]
    fn violations_of_an_atomic_call_have_line_numbers() {
        let chunk =
            read_csv(b"email\n\na@b.co\nplain\n", &RowDefaults::default()).unwrap_or_default();
        let text = "BulkCreate failed: x\n  invitations[1].email: is not an address\n  other: y";
        assert_eq!(
            with_line_numbers(text, &chunk),
            "BulkCreate failed: x\n  line 4: invitations[1].email: is not an address\n  other: y"
        );
    }
}
