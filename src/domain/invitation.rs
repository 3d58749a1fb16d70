//! Invitations: their life and where their mail is.

use serde_json::Value;
use time::OffsetDateTime;
use uuid::Uuid;

use super::reason::Reason;
use super::reminder::ReminderLead;

/// Who may accept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum AcceptPolicy {
    /// A user who owns the invited address.
    #[default]
    InvitedEmail,
    /// Whoever holds the link.
    AnyEmail,
}

impl AcceptPolicy {
    /// The name in the store.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InvitedEmail => "invited_email",
            Self::AnyEmail => "any_email",
        }
    }

    /// The policy with this name in the store.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::InvitedEmail, Self::AnyEmail]
            .into_iter()
            .find(|policy| policy.as_str() == name)
    }
}

/// Where an invitation is in its life, with what belongs to that. Only `Pending` moves, and `Expired` back to it by a
/// resend alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InvitationState {
    /// Waits for its person.
    Pending,
    /// Became a membership.
    Accepted {
        /// When.
        at: OffsetDateTime,
        /// By whom.
        by_user_id: String,
    },
    /// Its person said no.
    Declined {
        /// When.
        at: OffsetDateTime,
    },
    /// The organization took it back.
    Revoked {
        /// When.
        at: OffsetDateTime,
        /// By whom, if they were named.
        by_user_id: Option<String>,
    },
    /// Its time ran out.
    Expired,
}

/// The names of the states, for the store and for filters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StateName {
    /// See [`InvitationState::Pending`].
    Pending,
    /// See [`InvitationState::Accepted`].
    Accepted,
    /// See [`InvitationState::Declined`].
    Declined,
    /// See [`InvitationState::Revoked`].
    Revoked,
    /// See [`InvitationState::Expired`].
    Expired,
}

impl StateName {
    /// Every state.
    pub const ALL: [Self; 5] = [
        Self::Pending,
        Self::Accepted,
        Self::Declined,
        Self::Revoked,
        Self::Expired,
    ];

    /// The name in the store.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Accepted => "accepted",
            Self::Declined => "declined",
            Self::Revoked => "revoked",
            Self::Expired => "expired",
        }
    }

    /// The state with this name in the store.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == name)
    }

    /// Why an invitation in this state cannot be taken, or `None` if it can.
    #[must_use]
    pub const fn refusal(self) -> Option<Reason> {
        match self {
            Self::Pending => None,
            Self::Accepted => Some(Reason::AlreadyAccepted),
            Self::Declined => Some(Reason::Declined),
            Self::Revoked => Some(Reason::Revoked),
            Self::Expired => Some(Reason::Expired),
        }
    }
}

impl InvitationState {
    /// The state's name.
    #[must_use]
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

/// Where the latest mail of an invitation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DeliveryState {
    /// No mail was asked for.
    NotRequested,
    /// Waits for its turn.
    Queued,
    /// Is being handed to the mail server.
    Sending,
    /// The mail server took it.
    Sent,
    /// An attempt failed; it will be tried again.
    Deferred,
    /// The receiving side gave it back.
    Bounced,
    /// The receiver reported it as unwanted.
    Complained,
    /// It was given up.
    Failed,
    /// It was not sent, because the address asked for no more or bounced before.
    Suppressed,
    /// It was not sent, because the invitation ended or a newer mail took its place.
    Canceled,
}

impl DeliveryState {
    const ALL: [Self; 10] = [
        Self::NotRequested,
        Self::Queued,
        Self::Sending,
        Self::Sent,
        Self::Deferred,
        Self::Bounced,
        Self::Complained,
        Self::Failed,
        Self::Suppressed,
        Self::Canceled,
    ];

    /// The name in the store.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotRequested => "not_requested",
            Self::Queued => "queued",
            Self::Sending => "sending",
            Self::Sent => "sent",
            Self::Deferred => "deferred",
            Self::Bounced => "bounced",
            Self::Complained => "complained",
            Self::Failed => "failed",
            Self::Suppressed => "suppressed",
            Self::Canceled => "canceled",
        }
    }

    /// The state with this name in the store.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == name)
    }
}

/// The latest mail of an invitation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// Where it is.
    pub state: DeliveryState,
    /// How often it was tried.
    pub attempts: u32,
    /// What the last failed attempt said, without the address.
    pub last_error: Option<String>,
    /// The SMTP reply code of the last failed attempt.
    pub last_reply_code: Option<u16>,
    /// When it was queued.
    pub queued_at: Option<OffsetDateTime>,
    /// When it will be tried (again).
    pub next_attempt_at: Option<OffsetDateTime>,
    /// When the mail server took it.
    pub sent_at: Option<OffsetDateTime>,
}

impl DeliveryState {
    /// Whether a reminder may follow a mail in this state, now or once it is sent.
    #[must_use]
    pub const fn may_be_reminded_of(self) -> bool {
        matches!(
            self,
            Self::Queued | Self::Sending | Self::Deferred | Self::Sent
        )
    }
}

impl Delivery {
    /// The delivery of an invitation that was just made or sent again.
    #[must_use]
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

/// An offer of membership to one address. Not `Debug`: it holds an address and a personal note.
#[derive(Clone)]
pub struct Invitation {
    /// A `UUIDv7`.
    pub id: Uuid,
    /// The organization it leads to.
    pub organization_id: String,
    /// Its name.
    pub organization_name: String,
    /// The address as given, trimmed; empty once it was erased.
    pub email: String,
    /// The role its person will have.
    pub role: String,
    /// Where it is in its life.
    pub state: InvitationState,
    /// Who invites.
    pub inviter_user_id: String,
    /// Their name, or empty.
    pub inviter_name: String,
    /// The user who owns the address, if one is known.
    pub invited_user_id: Option<String>,
    /// Where the application sends the person after accepting, or empty.
    pub redirect_url: String,
    /// Moves to the membership.
    pub public_metadata: Option<Value>,
    /// Moves to the membership.
    pub private_metadata: Option<Value>,
    /// The language of its mail, or empty.
    pub locale: String,
    /// The personal note, or empty.
    pub message: String,
    /// The call that made it.
    pub batch_id: Uuid,
    /// Who may accept it.
    pub accept_policy: AcceptPolicy,
    /// When it was made.
    pub created_at: OffsetDateTime,
    /// When it was last changed.
    pub updated_at: OffsetDateTime,
    /// When it expires.
    pub expires_at: OffsetDateTime,
    /// Why the last attempt to accept it was refused.
    pub last_accept_error: Option<Reason>,
    /// Its latest mail.
    pub delivery: Delivery,
    /// How long before it expires its person is reminded.
    pub reminder_lead: ReminderLead,
    /// When its reminder will be queued, as far as its mail got through.
    pub remind_at: Option<OffsetDateTime>,
}

impl Invitation {
    /// Changes what mailing it again changes.
    pub fn resend(&mut self, expires_at: OffsetDateTime, now: OffsetDateTime) {
        self.state = InvitationState::Pending;
        self.expires_at = expires_at;
        self.updated_at = now;
        self.delivery = Delivery::initial(now, true);
        self.remind_at = self.reminder_lead.due_at(expires_at, now);
    }

    /// Changes what accepting it changes.
    pub fn accept(&mut self, by_user_id: &str, now: OffsetDateTime) {
        let by_user_id = by_user_id.to_owned();
        self.state = InvitationState::Accepted {
            at: now,
            by_user_id,
        };
        self.updated_at = now;
        self.last_accept_error = None;
        self.remind_at = None;
        let delivery = &mut self.delivery;
        delivery.next_attempt_at = None;
        if matches!(
            delivery.state,
            DeliveryState::Queued | DeliveryState::Deferred
        ) {
            delivery.state = DeliveryState::Canceled;
        }
    }
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
