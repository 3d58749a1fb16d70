//! Times and durations.

use prost_types::{Duration, Timestamp};
use time::OffsetDateTime;

use super::fields::{Field, invalid};
use crate::domain::expiry::Expiry;
use crate::domain::reminder::{ReminderInput, ReminderLead};

pub(in crate::grpc) fn timestamp(time: OffsetDateTime) -> Timestamp {
    Timestamp {
        seconds: time.unix_timestamp(),
        nanos: i32::try_from(time.nanosecond()).unwrap_or(0),
    }
}

pub(in crate::grpc) fn duration(duration: time::Duration) -> Duration {
    Duration {
        seconds: duration.whole_seconds(),
        nanos: duration.subsec_nanoseconds(),
    }
}

pub(in crate::grpc) fn expiry_of_ttl(ttl: Duration) -> Expiry {
    parse_duration(ttl).map_or(Expiry::Malformed("ttl"), Expiry::Ttl)
}

/// The duration of a lead. `None` for no reminder.
pub(in crate::grpc) fn lead_duration(lead: ReminderLead) -> Option<Duration> {
    let seconds = i64::from(lead.seconds());
    (lead != ReminderLead::NEVER).then_some(Duration { seconds, nanos: 0 })
}

pub(in crate::grpc) fn reminder_lead(lead: Option<Duration>) -> ReminderInput {
    lead.map_or(ReminderInput::Unset, |lead| {
        parse_duration(lead).map_or(ReminderInput::Malformed, ReminderInput::Lead)
    })
}

/// Seconds and nanoseconds must have one sign, and nanoseconds be less than a second (`google.protobuf.Duration`).
fn parse_duration(input: Duration) -> Option<time::Duration> {
    let is_one_sign = i64::from(input.nanos) * input.seconds.signum() >= 0;
    (input.nanos.unsigned_abs() < 1_000_000_000 && is_one_sign)
        .then(|| time::Duration::new(input.seconds, input.nanos))
}

pub(in crate::grpc) fn expiry_of_time(time: Timestamp) -> Expiry {
    let nanos = u32::try_from(time.nanos)
        .ok()
        .filter(|nanos| *nanos < 1_000_000_000);
    OffsetDateTime::from_unix_timestamp(time.seconds)
        .ok()
        .and_then(|seconds| seconds.replace_nanosecond(nanos?).ok())
        .map_or(Expiry::Malformed("expire_time"), Expiry::At)
}

pub(in crate::grpc) fn optional_time(
    field: &str,
    input: Option<Timestamp>,
) -> Field<Option<OffsetDateTime>> {
    match input.map(expiry_of_time) {
        None => Ok(None),
        Some(Expiry::At(time)) => Ok(Some(time)),
        Some(_) => Err(invalid(field)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn malformed_times_are_distinguished_from_early_and_late_ones() {
        let ttl = |seconds, nanos| expiry_of_ttl(Duration { seconds, nanos });
        assert_eq!(ttl(3_600, 0), Expiry::Ttl(time::Duration::HOUR));
        assert_eq!(ttl(1, 1_000_000_000), Expiry::Malformed("ttl"));
        assert_eq!(ttl(1, -1), Expiry::Malformed("ttl"));
        assert!(matches!(ttl(i64::MAX, 999_999_999), Expiry::Ttl(_)));
        let at = |seconds, nanos| expiry_of_time(Timestamp { seconds, nanos });
        assert_eq!(at(0, 0), Expiry::At(OffsetDateTime::UNIX_EPOCH));
        assert_eq!(at(i64::MAX, 0), Expiry::Malformed("expire_time"));
        assert_eq!(at(0, -1), Expiry::Malformed("expire_time"));
    }
}
