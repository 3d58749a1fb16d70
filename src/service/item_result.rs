//! The result of one item of a bulk call.

use serde::{Deserialize, Serialize};

use crate::domain::audit::AuditCounts;
use crate::domain::invitation::Invitation;
use crate::domain::quota::ExceededQuota;
use crate::domain::reason::{Reason, Violation};

/// What was done for an item. The names are those in stored responses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ItemOutcome {
    #[serde(rename = "c")]
    Created,
    #[serde(rename = "e")]
    Existing,
    #[serde(rename = "s")]
    Resent,
    #[serde(rename = "r")]
    Replaced,
    /// Nothing was done.
    #[serde(rename = "f")]
    Failed,
}

/// The result of one item. Not `Debug`, because it may hold an address and a link.
#[derive(Clone)]
pub struct ItemResult {
    pub outcome: ItemOutcome,
    /// The invitation. `None` for failures that are about no invitation.
    pub invitation: Option<Invitation>,
    /// Why the item failed. The first violation is the most important one.
    pub violations: Vec<Violation>,
    /// The index of the first item with the same key, for a duplicate.
    pub first_index: Option<usize>,
    /// The quota that the item would exceed, if the item failed because of one.
    pub exceeded: Option<ExceededQuota>,
    pub link: Option<String>,
}

impl ItemResult {
    pub(super) fn failed(violations: Vec<Violation>) -> Self {
        Self {
            outcome: ItemOutcome::Failed,
            invitation: None,
            violations,
            first_index: None,
            exceeded: None,
            link: None,
        }
    }

    pub(super) fn done(outcome: ItemOutcome, invitation: Invitation) -> Self {
        Self {
            outcome,
            invitation: Some(invitation),
            ..Self::failed(Vec::new())
        }
    }

    pub(super) fn is_failed(&self) -> bool {
        self.outcome == ItemOutcome::Failed
    }

    fn is_role_denied(&self) -> bool {
        self.violations.iter().any(|violation| {
            matches!(
                violation.reason,
                Reason::RoleNotGrantable | Reason::InviterCannotInvite
            )
        })
    }
}

/// The results of a bulk call as numbers for the audit log.
pub(super) fn audit_counts(results: &[ItemResult]) -> AuditCounts {
    let mut counts = AuditCounts::default();
    for result in results {
        let count = match result.outcome {
            ItemOutcome::Created => &mut counts.created,
            ItemOutcome::Replaced => &mut counts.replaced,
            ItemOutcome::Resent => &mut counts.resent,
            ItemOutcome::Existing => &mut counts.unchanged,
            ItemOutcome::Failed => &mut counts.failed,
        };
        *count += 1;
        counts.role_denied += u64::from(result.is_role_denied());
    }
    counts
}
