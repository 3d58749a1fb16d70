//! What a batch is created from: a call, or a chunk of a stream.

use uuid::Uuid;

use crate::domain::actor::Actor;
use crate::domain::ids::OrganizationId;
use crate::domain::new_invitation::ItemInput;

/// What to do with an address that has a pending invitation.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum OnExisting {
    /// The item fails.
    #[default]
    Fail,
    /// The pending invitation is returned.
    Return,
    /// The pending invitation is sent again.
    Resend,
    /// The pending invitation is revoked and a new one is created.
    Replace,
}

/// What a batch is created from.
pub(super) struct BatchRequest<'a> {
    pub(super) actor: &'a Actor,
    pub(super) request_id: Option<Uuid>,
    pub(super) organization_id: &'a OrganizationId,
    pub(super) inviter_user_id: &'a str,
    pub(super) items: &'a [ItemInput],
    pub(super) on_existing: OnExisting,
    pub(super) atomic: bool,
    pub(super) validate_only: bool,
    pub(super) return_link: bool,
}
