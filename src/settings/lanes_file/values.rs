//! Values that the tables of lanes share.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize as _, Deserializer};

use crate::settings::files::read_text;

/// Most connections, or concurrent calls, of one lane.
const CONCURRENCY_MAX: u16 = 256;

/// Checks a number of connections or of concurrent calls.
pub(super) fn concurrency(count: u16, field: &str) -> Result<usize, String> {
    if (1..=CONCURRENCY_MAX).contains(&count) {
        Ok(usize::from(count))
    } else {
        Err(format!("{field} must be 1 to {CONCURRENCY_MAX}"))
    }
}

/// Reads the certificates to trust in addition to the system's.
pub(super) fn read_roots(file: Option<PathBuf>) -> Result<Option<String>, String> {
    file.map(|file| read_text(&file, "roots_file")).transpose()
}

/// Parses a duration such as `30s`, which must not be zero.
pub(super) fn duration<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Duration>, D::Error> {
    let text = String::deserialize(deserializer)?;
    let duration = humantime::parse_duration(&text).map_err(serde::de::Error::custom)?;
    if duration.is_zero() {
        return Err(serde::de::Error::custom("a duration must not be zero"));
    }
    Ok(Some(duration))
}
