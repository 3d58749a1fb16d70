//! Metadata: a JSON object of the caller that moves from an invitation to its membership. This service does not read
//! it.

use serde_json::{Map, Value};

use super::reason::Reason;

/// Largest metadata, in bytes of JSON text.
pub const METADATA_BYTES_MAX: usize = 8 * 1024;
/// Deepest nesting, including the object itself.
pub const METADATA_DEPTH_MAX: usize = 16;

/// Checks an object and converts it to JSON text. Returns `None` for an empty object. The object is `None` if the
/// caller sent something that is not JSON.
pub(super) fn parse(object: Option<Map<String, Value>>) -> Result<Option<String>, Reason> {
    let object = object.ok_or(Reason::FieldInvalid)?;
    if object.is_empty() {
        return Ok(None);
    }
    let value = Value::Object(object);
    if !is_within_depth(&value, METADATA_DEPTH_MAX) {
        return Err(Reason::MetadataTooLarge);
    }
    let json = value.to_string();
    if json.len() + expansion_bytes(&value) > METADATA_BYTES_MAX {
        return Err(Reason::MetadataTooLarge);
    }
    // Postgres cannot store U+0000 in text.
    if contains_nul(&value) {
        return Err(Reason::FieldInvalid);
    }
    Ok(Some(json))
}

fn is_within_depth(value: &Value, depth: usize) -> bool {
    match value {
        Value::Array(_) | Value::Object(_) if depth == 0 => false,
        Value::Array(items) => items.iter().all(|item| is_within_depth(item, depth - 1)),
        Value::Object(fields) => fields.values().all(|item| is_within_depth(item, depth - 1)),
        _ => true,
    }
}

/// How many more bytes the numbers need without exponents. Postgres returns `1e308` as 309 digits, so a list of a
/// thousand such numbers would be fifty times as large when it is read.
fn expansion_bytes(value: &Value) -> usize {
    match value {
        Value::Number(number) => number.as_f64().map_or(0, |float| {
            let written = float.to_string().len();
            written.saturating_sub(number.to_string().len())
        }),
        Value::Array(items) => items.iter().map(expansion_bytes).sum(),
        Value::Object(fields) => fields.values().map(expansion_bytes).sum(),
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
