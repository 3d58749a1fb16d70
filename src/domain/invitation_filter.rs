//! Which of an organization's invitations a call is about.

use uuid::Uuid;

use super::invitation::{DeliveryState, StateName};

/// Invitations that match every field. Not `Debug`: it may hold an address.
#[derive(Default)]
pub struct InvitationFilter {
    /// Empty for any state.
    pub states: Vec<StateName>,
    /// The state of the latest email.
    pub delivery_state: Option<DeliveryState>,
    pub email_normalized: Option<String>,
    pub inviter_user_id: Option<String>,
    pub batch_id: Option<Uuid>,
}
