//! Events of the audit log: who did what, on behalf of whom, in which organization, and with which outcome.
//!
//! An event holds ids, names of callers, fixed words and numbers. It has no field for an address, a token or free text.

use time::OffsetDateTime;
use uuid::Uuid;

use super::named_enum::named_enum;
use super::reason::Reason;

/// The stored outcome of an action that succeeded. A refused action stores the code of its [`Reason`].
pub const OUTCOME_OK: &str = "OK";
/// The organization of an event that belongs to none.
pub const NO_ORGANIZATION: &str = "";

named_enum! {
    /// The action of an event. The protocol's `AuditAction` documents each action.
    pub enum AuditAction {
        BulkCreate = "bulk_create",
        Accept = "accept",
        Decline = "decline",
        Revoke = "revoke",
        BulkRevoke = "bulk_revoke",
        Resend = "resend",
        BulkResend = "bulk_resend",
        Requeue = "requeue",
        UpsertOrganizations = "upsert_organizations",
        UpsertUsers = "upsert_users",
        UpsertMemberships = "upsert_memberships",
        DeleteOrganization = "delete_organization",
        SuspendOrganization = "suspend_organization",
        ResumeOrganization = "resume_organization",
        DeleteUser = "delete_user",
        DeleteMembership = "delete_membership",
        AddSuppressions = "add_suppressions",
        LiftSuppressions = "lift_suppressions",
        EraseAddress = "erase_address",
        Unsubscribe = "unsubscribe",
    }
}

macro_rules! counts {
    ($($field:ident)*) => {
        /// How many rows an action changed, by kind of change. The protocol's `AuditCounts` documents each count.
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
        pub struct AuditCounts { $(pub $field: u64,)* }

        impl AuditCounts {
            /// The counts that are not zero, with the names they have in the database.
            pub fn named(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [$((stringify!($field), self.$field),)*]
                    .into_iter()
                    .filter(|(_, count)| *count > 0)
            }

            /// Builds the counts from a function that looks up each count by its name.
            pub fn from_named(count: impl Fn(&str) -> u64) -> Self {
                Self { $($field: count(stringify!($field)),)* }
            }
        }
    };
}

counts! {
    created updated replaced resent rotated requeued revoked deleted erased suppressed unchanged failed role_denied
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditEvent {
    /// A `UUIDv7` of `created_at`.
    pub id: Uuid,
    pub created_at: OffsetDateTime,
    /// Empty for an action that concerns no single organization.
    pub organization_id: String,
    pub action: AuditAction,
    /// Why the action was refused; `None` if it succeeded.
    pub refusal: Option<Reason>,
    pub caller: String,
    pub on_behalf_of_user_id: Option<String>,
    /// The user whom the action changed.
    pub subject_user_id: Option<String>,
    pub invitation_id: Option<Uuid>,
    pub batch_id: Option<Uuid>,
    pub request_id: Option<Uuid>,
    pub counts: AuditCounts,
}

impl AuditEvent {
    pub const fn outcome(&self) -> &'static str {
        match self.refusal {
            None => OUTCOME_OK,
            Some(reason) => reason.code(),
        }
    }
}

/// An event that was read back. Its action and outcome are strings, because a newer version may have written it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditRecord {
    pub id: Uuid,
    pub created_at: OffsetDateTime,
    pub organization_id: String,
    pub action: String,
    pub outcome: String,
    pub caller: String,
    pub on_behalf_of_user_id: Option<String>,
    pub subject_user_id: Option<String>,
    pub invitation_id: Option<Uuid>,
    pub batch_id: Option<Uuid>,
    pub request_id: Option<Uuid>,
    pub counts: AuditCounts,
}

#[derive(Debug, Clone, Default)]
pub struct AuditFilter {
    pub organization_id: Option<String>,
    pub action: Option<AuditAction>,
    pub caller: Option<String>,
    /// The user who acted, or whom the action was about.
    pub user_id: Option<String>,
    pub invitation_id: Option<Uuid>,
    pub batch_id: Option<Uuid>,
    pub start: Option<OffsetDateTime>,
    /// The time before which events are listed.
    pub end: Option<OffsetDateTime>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_action_is_found_by_its_name() {
        for action in AuditAction::ALL {
            assert_eq!(AuditAction::from_name(action.as_str()), Some(action));
        }
        assert_eq!(AuditAction::from_name("explode"), None);
    }

    #[test]
    fn counts_that_are_not_zero_are_named_and_read_back() {
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
