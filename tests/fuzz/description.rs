//! The description of the control interface, and whether answers are as it says.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

use serde_json::Value;

/// `contrib/openapi.json`.
pub fn description() -> Value {
    serde_json::from_str(include_str!("../../contrib/openapi.json")).unwrap()
}

/// Whether a value has the properties that a schema requires, and no others.
pub fn check(description: &Value, schema: &Value, value: &Value, place: &str) {
    if let Some(reference) = schema["$ref"].as_str() {
        let schema = description.pointer(reference.trim_start_matches('#')).unwrap();
        return check(description, schema, value, place);
    }
    if let Some(choices) = schema["oneOf"].as_array() {
        let is_null = |schema: &&Value| schema["type"] == "null";
        if !value.is_null() {
            let schema = choices.iter().find(|schema| !is_null(schema)).unwrap();
            check(description, schema, value, place);
        }
        return;
    }
    if let (Some(items), Some(list)) = (schema.get("items"), value.as_array()) {
        list.iter().for_each(|value| check(description, items, value, place));
    }
    let Some(properties) = schema["properties"].as_object() else { return };
    let object = value.as_object().unwrap_or_else(|| panic!("{place}: {value}"));
    for required in schema["required"].as_array().into_iter().flatten() {
        assert!(object.contains_key(required.as_str().unwrap()), "{place}: no {required}");
    }
    for (name, value) in object {
        let place = format!("{place} {name}");
        let schema = properties.get(name).unwrap_or_else(|| panic!("{place} is not described"));
        check(description, schema, value, &place);
    }
}
