//! Events of invitations.

use super::{times, viewer};
use crate::domain::event::{EventType, InvitationEvent};
use crate::domain::ids::OrganizationId;
use crate::proto;

pub(in crate::grpc) fn event(
    input: &InvitationEvent,
    organization_id: &OrganizationId,
) -> proto::InvitationEvent {
    proto::InvitationEvent {
        id: input.id.to_string(),
        r#type: event_type(input.event_type).into(),
        invitation_id: viewer::id(input.invitation_id),
        batch_id: viewer::id(input.batch_id),
        organization_id: organization_id.as_str().to_owned(),
        event_time: Some(times::timestamp(input.created_at)),
    }
}

/// The protocol's enum has the same names.
fn event_type(input: EventType) -> proto::InvitationEventType {
    let name = format!(
        "INVITATION_EVENT_TYPE_{}",
        input.as_str().to_ascii_uppercase()
    );
    proto::InvitationEventType::from_str_name(&name).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_protocol_and_the_domain_name_the_same_event_types() {
        for input in EventType::ALL {
            assert_ne!(event_type(input), proto::InvitationEventType::Unspecified);
        }
    }
}
