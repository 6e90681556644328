//! Attribute values as JSON that every client reads alike.

use serde_json::{Map, Number, Value as Json};

use crate::model::packed::DEPTH_MAX;
use crate::model::packed::value::Value;

/// Integers up to this distance from zero are the same in every JSON reader: 2^53 − 1.
const EXACT_MAX: u64 = (1 << 53) - 1;

/// Attributes as an object; where a key comes twice its last value is shown.
pub(super) fn object<'a>(attributes: impl Iterator<Item = (&'a str, Value<'a>)>) -> Map<String, Json> {
    attributes.map(|(key, value)| (key.to_owned(), json(&value, 1))).collect()
}

/// A value with its type kept: text, truth values, numbers, lists and objects as such. Integers beyond 2^53 − 1 become
/// text, as do NaN and the infinities; bytes become base64 text; what has no value, or lies too deep, becomes null.
pub(super) fn json(value: &Value<'_>, depth: usize) -> Json {
    if depth > DEPTH_MAX {
        return Json::Null;
    }
    match value {
        Value::Empty => Json::Null,
        Value::Text(text) => Json::from(*text),
        Value::Bool(flag) => Json::from(*flag),
        Value::Int(number) if number.unsigned_abs() <= EXACT_MAX => Json::from(*number),
        Value::Int(number) => Json::from(number.to_string()),
        Value::Double(number) => match Number::from_f64(*number) {
            Some(number) => Json::Number(number),
            None => spelled(value),
        },
        Value::Array(items) => items.iter().map(|item| json(&item, depth + 1)).collect(),
        Value::Map(entries) => entries
            .iter()
            .map(|(key, item)| (key.to_owned(), json(&item, depth + 1)))
            .collect::<Map<_, _>>()
            .into(),
        Value::Bytes(_) => spelled(value),
    }
}

/// A value that its rendering spells as text in quotes.
fn spelled(value: &Value<'_>) -> Json {
    Json::from(value.render().trim_matches('"'))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn types_are_kept_as_far_as_readers_agree() {
        for (value, wanted) in [
            (Value::Text("1"), json!("1")),
            (Value::Bool(true), json!(true)),
            (Value::Int(-9_007_199_254_740_991), json!(-9_007_199_254_740_991_i64)),
            (Value::Int(9_007_199_254_740_992), json!("9007199254740992")),
            (Value::Int(i64::MIN), json!("-9223372036854775808")),
            (Value::Double(0.5), json!(0.5)),
            (Value::Double(f64::NAN), json!("NaN")),
            (Value::Double(f64::NEG_INFINITY), json!("-Infinity")),
            (Value::Bytes(&[255, 0]), json!("/wA=")),
            (Value::Empty, json!(null)),
        ] {
            assert_eq!(json(&value, 1), wanted, "{value:?}");
        }
    }
}
