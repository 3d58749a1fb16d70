//! Events of invitations.

use super::{times, viewer};
use crate::domain::event::{EventType, InvitationEvent};
use crate::domain::ids::OrganizationId;
use crate::proto;

pub(in crate::grpc) fn event(
    input: &InvitationEvent,
    organization_id: &OrganizationId,
) -> proto::Event {
    proto::Event {
        id: input.id.to_string(),
        r#type: event_type(input.event_type).into(),
        invitation_id: viewer::id(input.invitation_id),
        batch_id: viewer::id(input.batch_id),
        organization_id: organization_id.as_str().to_owned(),
        event_time: Some(times::timestamp(input.created_at)),
    }
}

const fn event_type(input: EventType) -> proto::EventType {
    match input {
        EventType::Created => proto::EventType::Created,
        EventType::Sent => proto::EventType::Sent,
        EventType::Deferred => proto::EventType::Deferred,
        EventType::Bounced => proto::EventType::Bounced,
        EventType::Complained => proto::EventType::Complained,
        EventType::Failed => proto::EventType::Failed,
        EventType::Suppressed => proto::EventType::Suppressed,
        EventType::Canceled => proto::EventType::Canceled,
        EventType::Accepted => proto::EventType::Accepted,
        EventType::Declined => proto::EventType::Declined,
        EventType::Revoked => proto::EventType::Revoked,
        EventType::Expired => proto::EventType::Expired,
        EventType::Resent => proto::EventType::Resent,
        EventType::Reminded => proto::EventType::Reminded,
        EventType::Requeued => proto::EventType::Requeued,
    }
}
