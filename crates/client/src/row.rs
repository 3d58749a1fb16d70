//! A row of a list, what the service did about it, and where its mail is.

use crate::proto::DeliveryState;

/// A row of the file and what became of it.
#[derive(Clone, PartialEq, Eq)]
pub struct Row {
    /// The line of the file.
    pub line: u64,
    /// The address as the file has it.
    pub email: String,
    /// What the service did.
    pub outcome: Outcome,
    /// The invitation, empty if there is none.
    pub invitation_id: String,
    /// The call that made the invitation, which may be an earlier one.
    pub batch_id: String,
    /// The mail of this call, if there is one.
    pub mail: Option<Mail>,
}

/// What the service did about a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// A new invitation.
    Created,
    /// There was one, and it stays as it is.
    Existing,
    /// There was one, and it is mailed again.
    Resent,
    /// A new one took the place of an older one.
    Replaced,
    /// Nothing.
    Refused {
        /// Such as `EMAIL_INVALID`.
        reason: String,
        /// What it means, for a human.
        sentence: String,
    },
}

/// Where a mail is.
#[derive(Clone, PartialEq, Eq)]
pub struct Mail {
    /// Its state.
    pub state: DeliveryState,
    /// What the last failed attempt said.
    pub last_error: String,
}

impl Row {
    /// Whether somebody should look at it: it was refused, or its mail is late or will not be read.
    #[must_use]
    pub fn needs_a_look(&self) -> bool {
        let is_troubled = self.mail.as_ref().is_some_and(|mail| {
            matches!(
                mail.state,
                DeliveryState::Deferred
                    | DeliveryState::Bounced
                    | DeliveryState::Complained
                    | DeliveryState::Failed
                    | DeliveryState::Suppressed
            )
        });
        matches!(self.outcome, Outcome::Refused { .. }) || is_troubled
    }
}
