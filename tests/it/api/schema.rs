//! Whether an answer is what the document says: the part of JSON Schema that the document uses, read strictly. A field
//! that the document does not tell is a fault too.

use std::collections::BTreeSet;

use serde_json::Value;

/// The faults of `answer` under `schema`, each with where it is.
pub(super) fn faults(document: &Value, schema: &Value, answer: &Value) -> Vec<String> {
    let mut faults = Vec::new();
    check(document, schema, answer, "$", &mut faults);
    faults
}

/// The schema that a reference leads to, or the schema itself.
pub(super) fn resolved<'a>(document: &'a Value, schema: &'a Value) -> &'a Value {
    let Some(reference) = schema["$ref"].as_str() else { return schema };
    let pointer = reference.strip_prefix('#').unwrap();
    resolved(document, document.pointer(pointer).unwrap_or_else(|| panic!("{reference} leads nowhere")))
}

fn check(document: &Value, schema: &Value, value: &Value, at: &str, faults: &mut Vec<String>) {
    let schema = resolved(document, schema);
    for key in ["oneOf", "anyOf"] {
        let Some(choices) = schema[key].as_array() else { continue };
        let fits = |choice: &&Value| {
            let mut tried = Vec::new();
            check(document, choice, value, at, &mut tried);
            tried.is_empty()
        };
        if !choices.iter().any(|choice| fits(&choice)) {
            faults.push(format!("{at}: {value} fits none of {choices:?}"));
        }
    }
    if !is_type(&schema["type"], value) {
        faults.push(format!("{at}: {value} is no {}", schema["type"]));
        return;
    }
    if let Some(words) = schema["enum"].as_array()
        && !words.contains(value)
    {
        faults.push(format!("{at}: {value} is not one of {words:?}"));
    }
    if let Some(number) = value.as_f64() {
        let beyond = schema["maximum"].as_f64().is_some_and(|most| number > most);
        if beyond || schema["minimum"].as_f64().is_some_and(|least| number < least) {
            faults.push(format!("{at}: {number} is out of bounds"));
        }
    }
    if schema["format"] == "date-time"
        && let Some(text) = value.as_str()
        && !(text.len() == 30 && text.ends_with('Z') && text.as_bytes()[19] == b'.')
    {
        faults.push(format!("{at}: {text} is no moment with nanoseconds"));
    }
    if let Some(list) = value.as_array() {
        for (index, item) in list.iter().enumerate() {
            check(document, &schema["items"], item, &format!("{at}[{index}]"), faults);
        }
    }
    if value.is_object() {
        check_object(document, schema, value, at, faults);
    }
}

fn check_object(document: &Value, schema: &Value, value: &Value, at: &str, faults: &mut Vec<String>) {
    let (mut told, mut required) = (Vec::new(), BTreeSet::new());
    let mut open = false;
    let mut pending = vec![schema];
    while let Some(part) = pending.pop() {
        let part = resolved(document, part);
        pending.extend(part["allOf"].as_array().into_iter().flatten());
        told.extend(part["properties"].as_object().into_iter().flatten());
        required.extend(part["required"].as_array().into_iter().flatten().filter_map(Value::as_str));
        // An object of which nothing is told, such as attributes, may hold anything.
        let is_free = part["properties"].is_null() && part["allOf"].is_null() && part["oneOf"].is_null();
        open |= is_free && part["type"] == "object" || part["additionalProperties"].is_object();
        if part["additionalProperties"].is_object() {
            for (key, inner) in value.as_object().into_iter().flatten() {
                check(document, &part["additionalProperties"], inner, &format!("{at}.{key}"), faults);
            }
        }
    }
    let fields = value.as_object().unwrap();
    for name in required {
        if !fields.contains_key(name) {
            faults.push(format!("{at}: {name} is missing"));
        }
    }
    for (name, inner) in fields {
        match told.iter().find(|(told, _)| *told == name) {
            Some((_, schema)) => check(document, schema, inner, &format!("{at}.{name}"), faults),
            None if open || schema.get("type").is_none() && schema.get("allOf").is_none() => {}
            None => faults.push(format!("{at}: {name} is not in the document")),
        }
    }
}

fn is_type(wanted: &Value, value: &Value) -> bool {
    let is = |name: &Value| match name.as_str().unwrap_or_default() {
        "string" => value.is_string(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        "object" => value.is_object(),
        "array" => value.is_array(),
        "null" => value.is_null(),
        other => panic!("the document knows a type `{other}`"),
    };
    match wanted {
        Value::Null => true,
        Value::Array(names) => names.iter().any(is),
        name => is(name),
    }
}

#[test]
fn planted_faults_are_found() {
    let document = serde_json::json!({"components": {"schemas": {
        "Inner": {"type": "object", "properties": {"n": {"type": "integer", "minimum": 0}}, "required": ["n"]},
        "Outer": {"allOf": [
            {"$ref": "#/components/schemas/Inner"},
            {"type": "object", "properties": {"t": {"type": ["string", "null"]}}},
        ]},
    }}});
    let schema = serde_json::json!({"$ref": "#/components/schemas/Outer"});
    for (answer, count) in [
        (serde_json::json!({"n": 1, "t": null}), 0),
        (serde_json::json!({"n": -1}), 1),
        (serde_json::json!({"t": "x"}), 1),
        (serde_json::json!({"n": 1, "t": 2}), 1),
        (serde_json::json!({"n": 1, "more": 2}), 1),
    ] {
        let found = faults(&document, &schema, &answer);
        assert_eq!(found.len(), count, "{answer}: {found:?}");
    }
}
