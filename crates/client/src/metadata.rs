//! Converts metadata between JSON and `google.protobuf.Struct`.
//!
//! A Struct stores every number as a 64-bit float. An integer that a float cannot hold exactly is rejected here, because
//! it would change silently. Ids of 64 bits must be strings.

use prost_types::value::Kind;
use prost_types::{ListValue, Struct, Value};
use serde_json::{Map, Number};

/// A 64-bit float holds every integer up to this one exactly.
const INTEGER_EXACT_MAX: u64 = 1 << 53;

/// The error is a message about the first number that a Struct cannot hold exactly.
pub(crate) fn to_struct(object: Map<String, serde_json::Value>) -> Result<Struct, String> {
    let fields = object
        .into_iter()
        .map(|(key, value)| Ok((key, to_value(value)?)));
    Ok(Struct {
        fields: fields.collect::<Result<_, String>>()?,
    })
}

/// Whole numbers become JSON integers.
pub(crate) fn to_json(message: Struct) -> serde_json::Value {
    let fields = message.fields.into_iter();
    fields
        .map(|(key, value)| (key, value_to_json(value)))
        .collect()
}

fn to_value(value: serde_json::Value) -> Result<Value, String> {
    let kind = match value {
        serde_json::Value::Null => Kind::NullValue(0),
        serde_json::Value::Bool(value) => Kind::BoolValue(value),
        serde_json::Value::Number(number) => Kind::NumberValue(to_float(&number)?),
        serde_json::Value::String(value) => Kind::StringValue(value),
        serde_json::Value::Array(values) => Kind::ListValue(ListValue {
            values: values.into_iter().map(to_value).collect::<Result<_, _>>()?,
        }),
        serde_json::Value::Object(object) => Kind::StructValue(to_struct(object)?),
    };
    Ok(Value { kind: Some(kind) })
}

fn to_float(number: &Number) -> Result<f64, String> {
    let magnitude = number
        .as_u64()
        .or_else(|| number.as_i64().map(i64::unsigned_abs));
    match number.as_f64() {
        Some(float) if magnitude.is_none_or(|integer| integer <= INTEGER_EXACT_MAX) => Ok(float),
        _ => Err(format!(
            "metadata cannot hold the number {number} exactly; write it as a string"
        )),
    }
}

fn value_to_json(value: Value) -> serde_json::Value {
    match value.kind {
        None | Some(Kind::NullValue(_)) => serde_json::Value::Null,
        Some(Kind::BoolValue(value)) => value.into(),
        Some(Kind::NumberValue(float)) => from_float(float),
        Some(Kind::StringValue(value)) => value.into(),
        Some(Kind::ListValue(list)) => list.values.into_iter().map(value_to_json).collect(),
        Some(Kind::StructValue(message)) => to_json(message),
    }
}

fn from_float(float: f64) -> serde_json::Value {
    // Without a fraction in its text, a whole number parses as an integer.
    let whole = format!("{float:.0}").parse::<i64>().ok();
    match whole {
        Some(whole) if float.fract() == 0.0 && whole.unsigned_abs() <= INTEGER_EXACT_MAX => {
            whole.into()
        }
        _ => float.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn round_trip(value: serde_json::Value) -> serde_json::Value {
        let serde_json::Value::Object(object) = value else {
            panic!("an object");
        };
        to_json(to_struct(object).unwrap())
    }

    #[test]
    fn metadata_is_the_same_after_both_conversions() {
        let value = json!({
            "plan": "pro", "seats": 5, "ratio": 0.5, "negative": -3, "none": null, "on": true,
            "tags": ["a", 1, {"deep": []}], "largest": 9_007_199_254_740_992_u64
        });
        assert_eq!(round_trip(value.clone()), value);
    }

    #[test]
    fn an_integer_that_would_change_is_rejected() {
        for number in [json!(9_007_199_254_740_993_u64), json!(i64::MIN)] {
            let object = Map::from_iter([("id".to_owned(), number)]);
            assert!(to_struct(object).is_err());
        }
    }
}
