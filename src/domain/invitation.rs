//! Invitations: their states and the delivery of their emails.

use time::OffsetDateTime;
use uuid::Uuid;

use super::named_enum::named_enum;
use super::reason::Reason;
use super::reminder::ReminderLead;

/// Most bytes of metadata, redirect URLs and messages that are read in one call, and of the lists of organizations.
pub const LARGE_FIELDS_BYTES_MAX: usize = 2 * 1024 * 1024;

named_enum! {
    #[derive(Default)]
    pub enum AcceptPolicy {
        /// A user who owns the invited address.
        #[default]
        InvitedEmail = "invited_email",
        /// Any user who has the link.
        AnyEmail = "any_email",
    }
}

/// The state of an invitation. Only a pending invitation can change its state, and a resend makes an expired one
/// pending again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InvitationState {
    Pending,
    Accepted {
        at: OffsetDateTime,
        by_user_id: String,
    },
    Declined {
        at: OffsetDateTime,
    },
    Revoked {
        at: OffsetDateTime,
        /// `None` if the caller named no user.
        by_user_id: Option<String>,
    },
    Expired,
}

named_enum! {
    /// The name of an [`InvitationState`], as it is stored and used in filters.
    pub enum StateName {
        Pending = "pending",
        Accepted = "accepted",
        Declined = "declined",
        Revoked = "revoked",
        Expired = "expired",
    }
}

impl StateName {
    /// Why an invitation in this state cannot be accepted. Returns `None` if it can.
    pub const fn refusal(self) -> Option<Reason> {
        match self {
            Self::Pending => None,
            Self::Accepted => Some(Reason::AlreadyAccepted),
            Self::Declined => Some(Reason::InvitationDeclined),
            Self::Revoked => Some(Reason::InvitationRevoked),
            Self::Expired => Some(Reason::InvitationExpired),
        }
    }
}

impl InvitationState {
    pub const fn name(&self) -> StateName {
        match self {
            Self::Pending => StateName::Pending,
            Self::Accepted { .. } => StateName::Accepted,
            Self::Declined { .. } => StateName::Declined,
            Self::Revoked { .. } => StateName::Revoked,
            Self::Expired => StateName::Expired,
        }
    }
}

named_enum! {
    /// The state of the latest email of an invitation.
    pub enum DeliveryState {
        /// The caller asked for no email.
        NotRequested = "not_requested",
        Queued = "queued",
        Sending = "sending",
        Sent = "sent",
        /// An attempt failed and will be retried.
        Deferred = "deferred",
        /// The email was returned after it had been sent.
        Bounced = "bounced",
        Complained = "complained",
        /// The email failed permanently and is a dead letter.
        Failed = "failed",
        /// The email was not sent, because the address is suppressed.
        Suppressed = "suppressed",
        /// The email was not sent, because the invitation ended or a newer email replaced it.
        Canceled = "canceled",
    }
}

impl DeliveryState {
    /// Whether an invitation whose email is in this state can get a reminder.
    pub const fn may_be_reminded_of(self) -> bool {
        matches!(
            self,
            Self::Queued | Self::Sending | Self::Deferred | Self::Sent
        )
    }
}

/// The latest email of an invitation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    pub state: DeliveryState,
    pub attempts: u32,
    /// The error of the last failed attempt, with addresses masked.
    pub last_error: Option<String>,
    pub last_reply_code: Option<u16>,
    pub queued_at: Option<OffsetDateTime>,
    pub next_attempt_at: Option<OffsetDateTime>,
    pub sent_at: Option<OffsetDateTime>,
}

impl Delivery {
    /// The delivery of an invitation that was just created or resent.
    pub const fn initial(now: OffsetDateTime, is_notified: bool) -> Self {
        let (state, queued_at) = if is_notified {
            (DeliveryState::Queued, Some(now))
        } else {
            (DeliveryState::NotRequested, None)
        };
        Self {
            state,
            attempts: 0,
            last_error: None,
            last_reply_code: None,
            queued_at,
            next_attempt_at: queued_at,
            sent_at: None,
        }
    }
}

/// How much of an invitation a response holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum InvitationView {
    /// Without the fields that may be large: metadata, redirect URL and message.
    #[default]
    Basic,
    Full,
}

/// An offer of membership to one address. It is not `Debug`, because it contains an address and a personal message.
#[derive(Clone)]
pub struct Invitation {
    pub id: Uuid,
    pub organization_id: String,
    pub organization_name: String,
    /// The address as given, trimmed. Empty after it was erased.
    pub email: String,
    pub role: String,
    pub state: InvitationState,
    pub inviter_user_id: String,
    /// May be empty.
    pub inviter_name: String,
    /// The user who owns the address, if one is known.
    pub invited_user_id: Option<String>,
    /// Where the application sends the person after accepting; may be empty.
    pub redirect_url: String,
    /// A JSON object as text, as is `private_metadata`. Both are copied to the membership.
    pub public_metadata: Option<String>,
    pub private_metadata: Option<String>,
    /// The language of the emails; may be empty.
    pub locale: String,
    /// May be empty.
    pub message: String,
    pub batch_id: Uuid,
    pub accept_policy: AcceptPolicy,
    pub created_at: OffsetDateTime,
    pub updated_at: OffsetDateTime,
    pub expires_at: OffsetDateTime,
    /// Why the last attempt to accept was refused.
    pub last_accept_error: Option<Reason>,
    pub delivery: Delivery,
    pub reminder_lead: ReminderLead,
    /// When the reminder is due, if its email gets through.
    pub remind_at: Option<OffsetDateTime>,
    /// The fields that are empty here although the row has them, because the rows of a read have too many bytes.
    pub omitted_fields: Vec<String>,
}

impl Invitation {
    pub fn resend(&mut self, expires_at: OffsetDateTime, now: OffsetDateTime) {
        self.state = InvitationState::Pending;
        self.expires_at = expires_at;
        self.updated_at = now;
        self.delivery = Delivery::initial(now, true);
        self.remind_at = self.reminder_lead.due_at(expires_at, now);
    }

    pub fn accept(&mut self, by_user_id: &str, now: OffsetDateTime) {
        let by_user_id = by_user_id.to_owned();
        self.last_accept_error = None;
        self.end(
            InvitationState::Accepted {
                at: now,
                by_user_id,
            },
            now,
        );
    }

    pub fn revoke(&mut self, by_user_id: Option<&str>, now: OffsetDateTime) {
        let by_user_id = by_user_id.map(str::to_owned);
        self.end(
            InvitationState::Revoked {
                at: now,
                by_user_id,
            },
            now,
        );
    }

    fn end(&mut self, state: InvitationState, now: OffsetDateTime) {
        self.state = state;
        self.updated_at = now;
        self.remind_at = None;
        self.delivery.next_attempt_at = None;
        let state = &mut self.delivery.state;
        if let DeliveryState::Queued | DeliveryState::Deferred = state {
            *state = DeliveryState::Canceled;
        }
    }
}

/// Invitations that match every field. Not `Debug`: it may hold an address.
#[derive(Default)]
pub struct InvitationFilter {
    /// Empty for any state.
    pub states: Vec<StateName>,
    /// States of the latest email. Empty for any state.
    pub delivery_states: Vec<DeliveryState>,
    pub email_normalized: Option<String>,
    pub inviter_user_id: Option<String>,
    pub batch_id: Option<Uuid>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_is_found_by_its_name() {
        for state in StateName::ALL {
            assert_eq!(StateName::from_name(state.as_str()), Some(state));
        }
        for state in DeliveryState::ALL {
            assert_eq!(DeliveryState::from_name(state.as_str()), Some(state));
        }
    }
}
