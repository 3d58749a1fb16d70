//! The delivery of one invitation.

use invitations::proto::DeliveryState;

use crate::support::world::World;

/// The delivery state of an invitation of ACME, and the number of attempts.
pub(crate) async fn state_and_attempts(world: &World, invitation_id: &str) -> (DeliveryState, i32) {
    let delivery = world.delivery(invitation_id).await;
    (delivery.state(), delivery.attempt_count)
}
