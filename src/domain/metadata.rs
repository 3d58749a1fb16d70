//! Metadata: a JSON object that moves from an invitation to its membership, opaque to this service.

use serde_json::{Map, Value};

use super::reason::Reason;

/// Largest metadata, in bytes of JSON.
pub const METADATA_BYTES_MAX: usize = 8 * 1024;
/// Deepest nesting, the object itself counted.
pub const METADATA_DEPTH_MAX: usize = 16;

/// Checks an object and returns it as JSON text, or `None` for an empty one.
pub fn parse(object: Map<String, Value>) -> Result<Option<String>, Reason> {
    if object.is_empty() {
        return Ok(None);
    }
    let value = Value::Object(object);
    if !is_within_depth(&value, METADATA_DEPTH_MAX) {
        return Err(Reason::MetadataTooLarge);
    }
    let json = value.to_string();
    if json.len() + written_out(&value) > METADATA_BYTES_MAX {
        return Err(Reason::MetadataTooLarge);
    }
    // Postgres has no U+0000 in text; serde_json spells it so, and a backslash before it would be doubled.
    if contains_nul(&value) {
        return Err(Reason::FieldInvalid);
    }
    Ok(Some(json))
}

fn is_within_depth(value: &Value, depth: usize) -> bool {
    match value {
        Value::Array(items) => {
            depth > 0 && items.iter().all(|item| is_within_depth(item, depth - 1))
        }
        Value::Object(fields) => {
            depth > 0 && fields.values().all(|item| is_within_depth(item, depth - 1))
        }
        _ => true,
    }
}

/// How many bytes more the numbers take where there are no exponents: the store writes `1e308` as 309 digits each
/// time it is read, so a list of a thousand of them would be fifty times what it seems.
fn written_out(value: &Value) -> usize {
    match value {
        Value::Number(number) => number.as_f64().map_or(0, |float| {
            let written = float.to_string().len();
            written.saturating_sub(number.to_string().len())
        }),
        Value::Array(items) => items.iter().map(written_out).sum(),
        Value::Object(fields) => fields.values().map(written_out).sum(),
        _ => 0,
    }
}

fn contains_nul(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains('\0'),
        Value::Array(items) => items.iter().any(contains_nul),
        Value::Object(fields) => fields
            .iter()
            .any(|(name, item)| name.contains('\0') || contains_nul(item)),
        _ => false,
    }
}

#[cfg(test)]
#[path = "metadata_tests.rs"]
mod tests;
