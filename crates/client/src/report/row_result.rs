//! The result of one row of a list: what the server did, and the delivery of the email.

use crate::proto::{DeliveryState, Invitation};

#[derive(Clone, PartialEq, Eq)]
pub(crate) struct RowResult {
    /// Line of the file, from 1.
    pub(crate) line: u64,
    /// The address as the file has it.
    pub(crate) email: String,
    pub(crate) outcome: RowOutcome,
    /// Empty if there is no invitation.
    pub(crate) invitation_id: String,
    /// The batch that created the invitation. It may be an earlier one.
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
    /// A row that has no invitation.
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
