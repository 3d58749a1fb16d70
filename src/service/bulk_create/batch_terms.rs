//! What applies to all items of a call of `BulkCreate` or of a stream.

use uuid::Uuid;

use crate::domain::actor::Actor;
use crate::domain::ids::OrganizationId;
use crate::domain::invitation::InvitationView;
use crate::service::idempotency::IdempotencyKey;

/// What to do with an address that has a pending invitation.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum OnExisting {
    #[default]
    Fail,
    Return,
    Resend,
    Replace,
}

pub struct BatchTerms {
    /// The caller. A request id belongs to its caller.
    pub actor: Actor,
    pub request_id: Option<Uuid>,
    /// SHA-256 of what a repetition must not change: all but the request id, `validate_only`, where a stream continues, and
    /// what the response holds.
    pub request_hash: [u8; 32],
    pub organization_id: OrganizationId,
    /// The inviter of items that name none.
    pub inviter_user_id: String,
    pub on_existing: OnExisting,
    /// Whether one failing item fails the call. A stream is never atomic.
    pub atomic: bool,
    /// Whether to write and send nothing.
    pub validate_only: bool,
    pub return_link: bool,
    pub view: InvitationView,
}

impl BatchTerms {
    /// What has to be read of invitations. A link may contain the redirect URL, which only the full view has.
    pub(super) const fn view_read(&self) -> InvitationView {
        if self.return_link {
            InvitationView::Full
        } else {
            self.view
        }
    }

    pub(super) fn idempotency_key(&self, method: &'static str) -> Option<IdempotencyKey> {
        let (id, actor, hash) = (&self.organization_id, &self.actor, self.request_hash);
        let request_id = self.request_id?;
        Some(IdempotencyKey::new(method, id, actor, request_id, hash))
    }
}
