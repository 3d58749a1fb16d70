//! What to do for one item.

use std::sync::Arc;

use uuid::Uuid;

use crate::domain::new_invitation::NewInvitation;
use crate::domain::quota::ExceededQuota;
use crate::domain::reason::Violation;

/// What to do for one item.
pub(super) enum CreateStep {
    Create(Arc<NewInvitation>),
    /// Revoke the pending invitation and create another.
    Replace(Arc<NewInvitation>, Uuid),
    /// Send the pending invitation again.
    Resend {
        item: Arc<NewInvitation>,
        id: Uuid,
        /// The number of its latest message, if the number of messages is limited.
        send_seq: Option<i32>,
    },
    /// Return the pending invitation.
    Return(Uuid),
    Fail {
        violations: Vec<Violation>,
        first_index: Option<usize>,
        /// The pending invitation, if it is why the item fails.
        pending_id: Option<Uuid>,
        exceeded: Option<ExceededQuota>,
    },
}
