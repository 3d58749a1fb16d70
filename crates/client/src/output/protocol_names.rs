//! Printed forms of protocol values: enum values without their prefix, and times.

use prost_types::Timestamp;

use crate::proto::{DeliveryState, ErrorReason};

/// An error reason as `ErrorInfo` carries it, such as `EMAIL_INVALID`. A reason that this version does not know becomes
/// `REASON_` and its number.
pub(crate) fn reason_name(reason: i32) -> String {
    ErrorReason::try_from(reason).map_or_else(
        |_| format!("REASON_{reason}"),
        |known| short_name(known.as_str_name(), "ERROR_REASON_"),
    )
}

/// A delivery state in lower case, such as `sent`.
pub(crate) fn delivery_state_name(state: DeliveryState) -> String {
    short_name(state.as_str_name(), "DELIVERY_STATE_").to_ascii_lowercase()
}

/// The name of an enum value without the prefix that the style guide of Protocol Buffers requires.
pub(crate) fn short_name(name: &str, prefix: &str) -> String {
    name.strip_prefix(prefix).unwrap_or(name).to_owned()
}

/// The time as RFC 3339 text, or an empty text if there is none.
pub(crate) fn time_text(time: Option<Timestamp>) -> String {
    time.map(|time| time.to_string()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_reason_is_printed_as_its_number() {
        assert_eq!(reason_name(1), "EMAIL_INVALID");
        assert_eq!(reason_name(9999), "REASON_9999");
    }
}
