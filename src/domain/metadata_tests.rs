use proptest::prelude::*;

use super::*;

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(fields) => fields,
        _ => Map::new(),
    }
}

#[test]
fn an_object_within_the_limits_is_accepted() {
    assert_eq!(parse(Some(Map::new())), Ok(None));
    let json = serde_json::json!({"team": "engines", "seats": 3});
    assert_eq!(
        parse(Some(object(json.clone()))),
        Ok(Some(json.to_string()))
    );
}

#[test]
fn a_number_counts_as_many_bytes_as_postgres_returns() {
    let numbers = |count: usize, number: f64| object(serde_json::json!({"x": vec![number; count]}));
    for number in [1e308, -5e-324, 1.7e300] {
        assert!(parse(Some(numbers(20, number))).is_ok(), "{number}");
        let refused = parse(Some(numbers(30, number)));
        assert_eq!(refused, Err(Reason::MetadataTooLarge), "{number}");
    }
    assert!(parse(Some(numbers(1_000, 1.5))).is_ok());
}

#[test]
fn size_depth_and_nul_characters_are_checked() {
    let large = serde_json::json!({"x": "y".repeat(METADATA_BYTES_MAX)});
    assert_eq!(parse(Some(object(large))), Err(Reason::MetadataTooLarge));
    let nest = |depth: usize| {
        (1..depth).fold(
            serde_json::json!({"x": 1}),
            |inner, _| serde_json::json!({"x": inner}),
        )
    };
    assert!(parse(Some(object(nest(METADATA_DEPTH_MAX)))).is_ok());
    assert_eq!(
        parse(Some(object(nest(METADATA_DEPTH_MAX + 1)))),
        Err(Reason::MetadataTooLarge)
    );
    assert_eq!(
        parse(Some(object(serde_json::json!({"x": ["a\0"]})))),
        Err(Reason::FieldInvalid)
    );
}

/// JSON values, nested up to twice as deep as allowed.
fn values() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(32, 64, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(any::<String>(), inner, 0..4)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Object(fields) => 1 + fields.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

proptest! {
    #[test]
    fn accepted_metadata_is_json_within_the_limits(value in values()) {
        let fields = object(value);
        if let Ok(Some(json)) = parse(Some(fields.clone())) {
            let back: Value = serde_json::from_str(&json).unwrap();
            prop_assert_eq!(depth(&back), depth(&Value::Object(fields)));
            prop_assert!(depth(&back) <= METADATA_DEPTH_MAX && json.len() <= METADATA_BYTES_MAX);
            prop_assert!(!json.contains("\\u0000") || json.contains("\\\\u0000"), "{json}");
        }
    }
}
