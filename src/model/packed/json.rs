//! Values as JSON text, without a serialisation framework in the core.

use std::fmt::Write;

use super::DEPTH_MAX;
use super::value::Value;

/// Appends `value`; what lies deeper than [`DEPTH_MAX`] becomes null.
pub(super) fn write_value(value: &Value<'_>, depth: usize, out: &mut String) {
    if depth > DEPTH_MAX {
        out.push_str("null");
        return;
    }
    match value {
        Value::Empty => out.push_str("null"),
        Value::Text(text) => write_text(text, out),
        Value::Bool(flag) => out.push_str(if *flag { "true" } else { "false" }),
        Value::Int(number) => {
            let _ = write!(out, "{number}");
        }
        Value::Double(number) if number.is_finite() => {
            let _ = write!(out, "{number:?}");
        }
        Value::Double(number) => {
            let name =
                if number.is_nan() { "NaN" } else { ["Infinity", "-Infinity"][usize::from(*number < 0.0)] };
            write_text(name, out);
        }
        Value::Array(items) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                write_value(&item, depth + 1, out);
            }
            out.push(']');
        }
        Value::Map(entries) => {
            out.push('{');
            for (index, (key, item)) in entries.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                write_text(key, out);
                out.push(':');
                write_value(&item, depth + 1, out);
            }
            out.push('}');
        }
        Value::Bytes(bytes) => {
            out.push('"');
            write_base64(bytes, out);
            out.push('"');
        }
    }
}

/// Appends `text` as a JSON string.
pub fn write_text(text: &str, out: &mut String) {
    out.push('"');
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            control if control < ' ' => {
                let _ = write!(out, "\\u{:04x}", u32::from(control));
            }
            other => out.push(other),
        }
    }
    out.push('"');
}

fn write_base64(bytes: &[u8], out: &mut String) {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for chunk in bytes.chunks(3) {
        let word =
            chunk.iter().fold(0_u32, |word, byte| word << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for index in 0..4 {
            let digit = ALPHABET[(word >> (18 - 6 * index) & 63) as usize];
            out.push(if index <= chunk.len() { char::from(digit) } else { '=' });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::write::Packer;
    use super::super::{Attributes, value::Value};

    #[test]
    fn values_render_as_json() {
        let mut list = Packer::default();
        list.message(1, |item| item.text(1, "a\"\n\u{1}"));
        list.message(1, |item| item.int(3, -1));
        list.message(1, |item| item.double(4, f64::NAN));
        list.message(1, |item| item.bytes(7, b"\xff\x00"));
        let list = list.finish();
        let mut packer = Packer::default();
        packer.message(1, |entry| {
            entry.text(1, "k");
            entry.message(2, |any| any.bytes(5, &list));
        });
        let attributes = Attributes::from_checked(packer.finish());
        let value = attributes.get("k").unwrap();
        assert_eq!(value.to_json(), r#"["a\"\n\u0001",-1,"NaN","/wA="]"#);
        assert_eq!(Value::Text("plain").render(), "plain");
        assert_eq!(Value::Double(2.0).render(), "2.0");
    }
}
