//! What the audit log tells of an act: who did what, for whom, in which organization, and what came of it.
//!
//! It holds ids, names of callers, fixed words and numbers. There is no place in it for an address, a token or a text.

use time::OffsetDateTime;
use uuid::Uuid;

use super::reason::Reason;

/// The outcome of what was not refused, as the log spells it.
pub const OUTCOME_OK: &str = "OK";
/// The organization of an event that belongs to none.
pub const NO_ORGANIZATION: &str = "";

macro_rules! actions {
    ($($variant:ident $name:literal $sentence:literal;)*) => {
        /// What was asked. The protocol's `AuditAction` documents each.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum AuditAction { $(#[doc = $sentence] $variant,)* }

        impl AuditAction {
            /// Every action.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The name in the store.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }
        }
    };
}

actions! {
    BulkCreate "bulk_create" "People were invited.";
    Accept "accept" "An invitation was accepted, or that was refused.";
    Decline "decline" "An invitation was declined.";
    Revoke "revoke" "An invitation was revoked.";
    BulkRevoke "bulk_revoke" "Invitations were revoked.";
    Resend "resend" "An invitation was mailed again.";
    BulkResend "bulk_resend" "Invitations were mailed again.";
    Requeue "requeue" "Mails that were given up were queued again.";
    UpsertOrganizations "upsert_organizations" "Organizations were told of.";
    UpsertUsers "upsert_users" "Users were told of.";
    UpsertMemberships "upsert_memberships" "Memberships were told of.";
    DeleteOrganization "delete_organization" "An organization was deleted.";
    SuspendOrganization "suspend_organization" "An organization was stopped.";
    ResumeOrganization "resume_organization" "A stopped organization was let go on.";
    DeleteUser "delete_user" "A user was deleted.";
    DeleteMembership "delete_membership" "A membership was deleted.";
    AddSuppressions "add_suppressions" "Addresses were put on the suppression list.";
    LiftSuppressions "lift_suppressions" "Addresses were taken off the suppression list.";
    EraseAddress "erase_address" "Everything about an address was erased.";
    Unsubscribe "unsubscribe" "A reader followed the link that stops mails.";
}

impl AuditAction {
    /// The action with this name in the store; `None` for one that this version does not know.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL
            .iter()
            .copied()
            .find(|action| action.as_str() == name)
    }
}

macro_rules! counts {
    ($($field:ident $sentence:literal;)*) => {
        /// How many of what. The protocol's `AuditCounts` documents each.
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
        pub struct AuditCounts { $(#[doc = $sentence] pub $field: u64,)* }

        impl AuditCounts {
            /// Those that are not zero, by the names they have in the store.
            pub fn named(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [$((stringify!($field), self.$field),)*]
                    .into_iter()
                    .filter(|(_, count)| *count > 0)
            }

            /// The counts, each looked up by its name.
            pub fn from_named(count: impl Fn(&str) -> u64) -> Self {
                Self { $($field: count(stringify!($field)),)* }
            }
        }
    };
}

counts! {
    created "Made anew.";
    updated "Changed.";
    replaced "Pending invitations that a new one took the place of.";
    resent "Mailed again.";
    rotated "Those of them whose older links stopped working.";
    requeued "Mails that were queued again.";
    revoked "Pending invitations that were revoked.";
    deleted "Memberships that were deleted, or suppressions that were lifted.";
    erased "Invitations and users that lost an address.";
    suppressed "Addresses that are not mailed any more.";
    unchanged "Found as asked for already.";
    failed "Items that were refused.";
    role_denied "Those of them whose inviter may not invite, or not with this role.";
}

/// An act to write down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditEvent {
    /// `UUIDv7` of its time.
    pub id: Uuid,
    /// When.
    pub created_at: OffsetDateTime,
    /// The organization; empty for what belongs to none.
    pub organization_id: String,
    /// What was asked.
    pub action: AuditAction,
    /// Why it was refused; `None` if it was done.
    pub refusal: Option<Reason>,
    /// The name of the caller.
    pub caller: String,
    /// The user for whom the caller acted.
    pub on_behalf_of_user_id: Option<String>,
    /// The user it was about.
    pub subject_user_id: Option<String>,
    /// The invitation it was about.
    pub invitation_id: Option<Uuid>,
    /// The batch it made.
    pub batch_id: Option<Uuid>,
    /// The caller's id for the call.
    pub request_id: Option<Uuid>,
    /// How many of what.
    pub counts: AuditCounts,
}

impl AuditEvent {
    /// The outcome as the store spells it.
    #[must_use]
    pub const fn outcome(&self) -> &'static str {
        match self.refusal {
            None => OUTCOME_OK,
            Some(reason) => reason.code(),
        }
    }
}

/// An act that was written down, perhaps by a newer version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditRecord {
    /// `UUIDv7` of its time.
    pub id: Uuid,
    /// When.
    pub created_at: OffsetDateTime,
    /// The organization; empty for what belongs to none.
    pub organization_id: String,
    /// What was asked, in the store's words.
    pub action: String,
    /// What came of it, in the store's words.
    pub outcome: String,
    /// The name of the caller.
    pub caller: String,
    /// The user for whom the caller acted.
    pub on_behalf_of_user_id: Option<String>,
    /// The user it was about.
    pub subject_user_id: Option<String>,
    /// The invitation it was about.
    pub invitation_id: Option<Uuid>,
    /// The batch it made.
    pub batch_id: Option<Uuid>,
    /// The caller's id for the call.
    pub request_id: Option<Uuid>,
    /// How many of what.
    pub counts: AuditCounts,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_action_reads_back_what_it_writes() {
        for action in AuditAction::ALL {
            assert_eq!(AuditAction::from_name(action.as_str()), Some(*action));
        }
        assert_eq!(AuditAction::from_name("explode"), None);
    }

    #[test]
    fn counts_name_what_is_not_zero_and_read_back() {
        let counts = AuditCounts {
            created: 3,
            failed: 1,
            ..AuditCounts::default()
        };
        let named: Vec<_> = counts.named().collect();
        assert_eq!(named, [("created", 3), ("failed", 1)]);
        let read = AuditCounts::from_named(|name| {
            named
                .iter()
                .find(|(known, _)| *known == name)
                .map_or(0, |(_, count)| *count)
        });
        assert_eq!(read, counts);
    }
}
