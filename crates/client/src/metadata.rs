//! Metadata between JSON and `google.protobuf.Struct`.
//!
//! A Struct keeps every number as a 64-bit float. An integer that one cannot hold exactly is refused here rather than
//! changed in silence: an id of 64 bits belongs into a string.

use prost_types::value::Kind;
use prost_types::{ListValue, Struct, Value};
use serde_json::{Map, Number};

/// The largest integer up to which a 64-bit float holds every one.
const INTEGER_EXACT_MAX: u64 = 1 << 53;

/// Turns a JSON object into a Struct.
///
/// # Errors
///
/// A sentence about a number that a Struct cannot hold exactly.
pub fn to_struct(object: Map<String, serde_json::Value>) -> Result<Struct, String> {
    let fields = object
        .into_iter()
        .map(|(key, value)| Ok((key, to_value(value)?)));
    Ok(Struct {
        fields: fields.collect::<Result<_, String>>()?,
    })
}

/// Turns a Struct into a JSON object; whole numbers are written without a fraction.
#[must_use]
pub fn to_json(message: Struct) -> serde_json::Value {
    let fields = message.fields.into_iter();
    serde_json::Value::Object(
        fields
            .map(|(key, value)| (key, value_to_json(value)))
            .collect(),
    )
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
            "metadata cannot hold the number {number} exactly: write it as a string"
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
    // Prints a whole number without a fraction, which then reads as the integer it is.
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

    fn there_and_back(value: serde_json::Value) -> serde_json::Value {
        let serde_json::Value::Object(object) = value else {
            panic!("an object");
        };
        to_json(to_struct(object).unwrap())
    }

    #[test]
    fn metadata_survives_the_way_there_and_back() {
        let value = json!({
            "plan": "pro", "seats": 5, "ratio": 0.5, "negative": -3, "none": null, "on": true,
            "tags": ["a", 1, {"deep": []}], "largest": 9_007_199_254_740_992_u64
        });
        assert_eq!(there_and_back(value.clone()), value);
    }

    #[test]
    fn an_integer_that_would_change_is_refused() {
        for number in [json!(9_007_199_254_740_993_u64), json!(i64::MIN)] {
            let object = Map::from_iter([("id".to_owned(), number)]);
            assert!(to_struct(object).is_err());
        }
    }
}
