//! Metadata: `google.protobuf.Struct` and JSON objects.

use prost::Message as _;
use prost_types::value::Kind;
use prost_types::{ListValue, Struct};
use serde_json::{Map, Number, Value};

/// The largest integer that a double holds exactly.
const WHOLE_MAX: f64 = 9_007_199_254_740_992.0;
/// Memory of a map with up to eleven entries, and of an entry of a larger one.
const MAP_BYTES: usize = 640;
const MAP_ENTRY_BYTES: usize = 58;

/// A struct as a JSON object. Empty if it is not set. `None` if it holds a number that JSON does not have.
pub(in crate::grpc) fn object(input: Option<Struct>) -> Option<Map<String, Value>> {
    input.map_or_else(|| Some(Map::new()), fields)
}

/// A struct of a JSON object that is stored as text.
pub(in crate::grpc) fn structure(json: Option<&str>) -> Option<Struct> {
    serde_json::from_str(json?).ok().map(wire_object)
}

/// What a struct counts of the memory of a response: its bytes on the wire, or in memory if they are more. A struct of
/// many small maps takes forty times as much memory as on the wire.
pub(in crate::grpc) fn response_bytes(input: &Struct) -> usize {
    memory_bytes(input).max(input.encoded_len())
}

fn memory_bytes(input: &Struct) -> usize {
    let fields = input.fields.iter();
    let fields = fields.map(|(name, item)| MAP_ENTRY_BYTES + name.len() + value_bytes(item));
    MAP_BYTES.max(fields.sum())
}

fn value_bytes(input: &prost_types::Value) -> usize {
    let content = match &input.kind {
        Some(Kind::StringValue(text)) => text.len(),
        Some(Kind::ListValue(list)) => list.values.iter().map(value_bytes).sum(),
        Some(Kind::StructValue(fields)) => memory_bytes(fields),
        _ => 0,
    };
    size_of::<prost_types::Value>() + content
}

fn fields(input: Struct) -> Option<Map<String, Value>> {
    input
        .fields
        .into_iter()
        .map(|(name, item)| Some((name, value(item)?)))
        .collect()
}

fn value(input: prost_types::Value) -> Option<Value> {
    Some(match input.kind {
        None | Some(Kind::NullValue(_)) => Value::Null,
        Some(Kind::BoolValue(flag)) => Value::Bool(flag),
        Some(Kind::StringValue(text)) => Value::String(text),
        Some(Kind::NumberValue(number)) => Value::Number(self::number(number)?),
        Some(Kind::ListValue(list)) => {
            Value::Array(list.values.into_iter().map(value).collect::<Option<_>>()?)
        }
        Some(Kind::StructValue(object)) => Value::Object(fields(object)?),
    })
}

/// Whole numbers stay whole: `3` must not come back as `3.0`.
fn number(number: f64) -> Option<Number> {
    if number.fract() == 0.0 && number.abs() <= WHOLE_MAX {
        #[expect(clippy::cast_possible_truncation, reason = "whole and within 2^53")]
        return Some(Number::from(number as i64));
    }
    Number::from_f64(number)
}

fn wire_object(input: Map<String, Value>) -> Struct {
    let fields = input.into_iter().map(|(name, item)| (name, wire(item)));
    Struct {
        fields: fields.collect(),
    }
}

fn wire(input: Value) -> prost_types::Value {
    let kind = match input {
        Value::Null => Kind::NullValue(0),
        Value::Bool(flag) => Kind::BoolValue(flag),
        Value::Number(number) => Kind::NumberValue(number.as_f64().unwrap_or(f64::NAN)),
        Value::String(text) => Kind::StringValue(text),
        Value::Array(items) => Kind::ListValue(ListValue {
            values: items.into_iter().map(wire).collect(),
        }),
        Value::Object(object) => Kind::StructValue(wire_object(object)),
    };
    prost_types::Value { kind: Some(kind) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_comes_back_as_it_went() {
        let json = serde_json::json!({"a": 1, "b": -2.5, "c": [true, null, "x"], "d": {"e": 9_007_199_254_740_992_i64}});
        let back = object(structure(Some(&json.to_string()))).unwrap();
        assert_eq!(Value::Object(back), json);
    }

    #[test]
    fn a_number_that_json_has_not_is_noticed() {
        let nan = prost_types::Value {
            kind: Some(Kind::NumberValue(f64::NAN)),
        };
        assert_eq!(
            object(Some(Struct {
                fields: [("x".to_owned(), nan)].into()
            })),
            None
        );
    }
}
