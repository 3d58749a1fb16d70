//! One line per event, as text or as JSON.

use serde_json::json;

use crate::output::{escaped, short_name, time_text};
use crate::proto::{Event, EventType};

pub(crate) fn text_line(event: &Event) -> String {
    format!(
        "{} {:<10} {} {}",
        time_text(event.event_time),
        type_name(event).to_ascii_lowercase(),
        escaped(&event.invitation_id),
        escaped(&event.batch_id)
    )
}

pub(crate) fn json_line(event: &Event, cursor: &str) -> String {
    json!({
        "id": event.id,
        "type": type_name(event),
        "time": time_text(event.event_time),
        "organization_id": event.organization_id,
        "batch_id": event.batch_id,
        "invitation_id": event.invitation_id,
        "cursor": cursor,
    })
    .to_string()
}

/// A type that this version does not know becomes `TYPE_` and its number.
fn type_name(event: &Event) -> String {
    EventType::try_from(event.r#type).map_or_else(
        |_| format!("TYPE_{}", event.r#type),
        |known| short_name(known.as_str_name(), "EVENT_TYPE_"),
    )
}
