//! Metadata: a JSON object that moves from an invitation to its membership, opaque to this service.

use serde_json::{Map, Value};

use super::reason::Reason;

/// Largest metadata, in octets of JSON.
pub const METADATA_OCTETS_MAX: usize = 8 * 1024;
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
    if json.len() > METADATA_OCTETS_MAX {
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
mod tests {
    use super::*;

    fn object(value: Value) -> Map<String, Value> {
        match value {
            Value::Object(fields) => fields,
            _ => Map::new(),
        }
    }

    #[test]
    fn an_object_within_its_limits_is_kept() {
        assert_eq!(parse(Map::new()), Ok(None));
        let json = serde_json::json!({"team": "engines", "seats": 3});
        assert_eq!(parse(object(json.clone())), Ok(Some(json.to_string())));
    }

    #[test]
    fn size_depth_and_nul_are_checked() {
        let large = serde_json::json!({"x": "y".repeat(METADATA_OCTETS_MAX)});
        assert_eq!(parse(object(large)), Err(Reason::MetadataTooLarge));
        let nest = |depth: usize| {
            (1..depth).fold(
                serde_json::json!({"x": 1}),
                |inner, _| serde_json::json!({"x": inner}),
            )
        };
        assert!(parse(object(nest(METADATA_DEPTH_MAX))).is_ok());
        assert_eq!(
            parse(object(nest(METADATA_DEPTH_MAX + 1))),
            Err(Reason::MetadataTooLarge)
        );
        assert_eq!(
            parse(object(serde_json::json!({"x": ["a\0"]}))),
            Err(Reason::FieldInvalid)
        );
    }
}
