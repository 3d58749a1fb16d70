//! Events of invitations.

use std::collections::BTreeMap;

use super::fields::{Field, invalid};
use super::{times, viewer};
use crate::domain::event::{EventType, InvitationEvent};
use crate::proto;

pub(in crate::grpc) fn event(input: InvitationEvent) -> proto::InvitationEvent {
    proto::InvitationEvent {
        id: input.id.to_string(),
        r#type: event_type(input.event_type).into(),
        invitation_id: viewer::id(input.invitation_id),
        batch_id: viewer::id(input.batch_id),
        organization_id: input.organization_id,
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

/// The types of a watch, each of them once and in the order of their names, so that equal filters are equal.
pub(in crate::grpc) fn types(input: &[i32]) -> Field<Vec<EventType>> {
    let parse = |number: &i32| {
        let wanted = proto::InvitationEventType::try_from(*number).ok()?;
        EventType::ALL
            .into_iter()
            .find(|known| event_type(*known) == wanted)
    };
    let types: Option<BTreeMap<_, _>> = input
        .iter()
        .map(|number| parse(number).map(|known| (known.as_str(), known)))
        .collect();
    types
        .map(|types| types.into_values().collect())
        .ok_or_else(|| invalid("types"))
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

    #[test]
    fn types_are_sorted_and_unknown_numbers_refused() {
        let number = |known| i32::from(event_type(known));
        let (sent, accepted) = (number(EventType::Sent), number(EventType::Accepted));
        let wanted = types(&[sent, accepted, sent]).unwrap();
        assert_eq!(wanted, [EventType::Accepted, EventType::Sent]);
        assert_eq!(types(&[]).unwrap(), []);
        for unknown in [0, -1, 99] {
            assert_eq!(types(&[sent, unknown]).unwrap_err(), invalid("types"));
        }
    }
}
