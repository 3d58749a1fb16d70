//! Times on the command line and in files: a point in time, or a duration from now on.

use prost_types::Timestamp;
use time::OffsetDateTime;

use crate::clock::now;

/// Parses a time like `2026-11-22T18:48:00Z`.
pub(crate) fn parse_time(text: &str) -> Result<Timestamp, String> {
    let time = text.trim().parse();
    time.map_err(|_| "not a time like 2026-11-22T18:48:00Z (RFC 3339)".to_owned())
}

/// Parses a time like `2026-11-22T18:48:00Z`, or a duration from now on like `30d`.
pub(crate) fn parse_end(text: &str) -> Result<Timestamp, String> {
    if let Ok(time) = parse_time(text) {
        return Ok(time);
    }
    let life = humantime::parse_duration(text.trim())
        .map_err(|_| "neither a duration like 30d nor a time like 2026-11-22T18:48:00Z")?;
    let end = time::Duration::try_from(life)
        .ok()
        .and_then(|life| now().checked_add(life));
    end.map(to_timestamp)
        .ok_or_else(|| "the duration is too long".to_owned())
}

fn to_timestamp(time: OffsetDateTime) -> Timestamp {
    Timestamp {
        seconds: time.unix_timestamp(),
        nanos: i32::try_from(time.nanosecond()).unwrap_or(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_a_time_or_a_duration() {
        let end = parse_end("2027-01-31T12:00:00Z").unwrap();
        assert_eq!(end.to_string(), "2027-01-31T12:00:00Z");
        let day = parse_end(" 1d ").unwrap().seconds - now().unix_timestamp();
        assert!((86_390..=86_400).contains(&day), "{day}");
        for text in ["", "soon", "2027-13-31", "99999999999y"] {
            assert!(parse_end(text).is_err(), "{text}");
        }
    }
}
