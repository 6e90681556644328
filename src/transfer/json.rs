//! OTLP protobuf to OTLP/JSON, as a Collector's file exporter writes it: one request, without a line break.
//!
//! Names and forms come from `fields`. Numbers of 64 bits are text, ids are hexadecimal, enums are numbers; fields
//! that OTLP does not know are left out.

use std::fmt::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::fields::{self, Form, Message};
use crate::model::batch::Signal;
use crate::model::packed::DEPTH_MAX;
use crate::model::packed::json::write_text;
use crate::model::packed::wire::{self, Field, Fields};

/// Values lie this much deeper than messages where arrays and maps nest as far as OTLP is read.
const NESTING_MAX: usize = 4 * DEPTH_MAX;

/// Appends an export request of `signal`, given in protobuf, to `out`.
pub fn write(signal: Signal, request: &[u8], out: &mut String) {
    let message = match signal {
        Signal::Traces => &fields::TRACES,
        Signal::Logs => &fields::LOGS,
        Signal::Metrics => &fields::METRICS,
    };
    write_message(message, request, 0, out);
}

fn write_message(message: &Message, bytes: &[u8], depth: usize, out: &mut String) {
    if depth > NESTING_MAX {
        out.push_str("{}");
        return;
    }
    out.push('{');
    let mut is_first = true;
    // Where two members of a `oneof` come, the last holds; none of OTLP's other fields is in the way of that, since
    // only numbers have both.
    for field in message.0 {
        let start = out.len();
        if !is_first {
            out.push(',');
        }
        let _ = write!(out, "\"{}\":", field.name);
        let is_written = if field.is_repeated {
            write_list(field.form, bytes, field.number, depth, out)
        } else {
            wire::last(bytes, field.number).is_some_and(|value| write_value(field.form, value, depth, out))
        };
        if is_written {
            is_first = false;
        } else {
            out.truncate(start);
        }
    }
    out.push('}');
}

/// Writes all values of a repeated field; false, and nothing kept, where there are none.
fn write_list(form: Form, bytes: &[u8], number: u32, depth: usize, out: &mut String) -> bool {
    out.push('[');
    let mut is_first = true;
    let mut item = |value: Field<'_>, out: &mut String| {
        let start = out.len();
        if !is_first {
            out.push(',');
        }
        if write_value(form, value, depth, out) {
            is_first = false;
        } else {
            out.truncate(start);
        }
    };
    match form {
        Form::Fixed64 | Form::Double => {
            wire::fixed64s(bytes, number).into_iter().for_each(|value| item(Field::Fixed64(value), out));
        }
        Form::Wide => {
            wire::varints(bytes, number).into_iter().for_each(|value| item(Field::Varint(value), out));
        }
        _ => wire::messages(bytes, number).for_each(|value| item(Field::Bytes(value), out)),
    }
    out.push(']');
    !is_first
}

/// Writes one value; false where it does not have the wire type of its form.
fn write_value(form: Form, value: Field<'_>, depth: usize, out: &mut String) -> bool {
    let _ = match (form, value) {
        (Form::Text, Field::Bytes(text)) => {
            write_text(&String::from_utf8_lossy(text), out);
            Ok(())
        }
        (Form::Id, Field::Bytes(id)) => {
            out.push('"');
            id.iter().for_each(|byte| {
                let _ = write!(out, "{byte:02x}");
            });
            out.push('"');
            Ok(())
        }
        // Where a varint has more bits than its field, readers of protobuf take the lower ones.
        (Form::Number, Field::Varint(number)) => write!(out, "{}", number as u32),
        (Form::Enum, Field::Varint(number)) => write!(out, "{}", number as i32),
        (Form::Wide, Field::Varint(number)) => write!(out, "\"{number}\""),
        (Form::Zigzag, Field::Varint(number)) => write!(out, "{}", wire::unzigzag(u64::from(number as u32))),
        (Form::Bool, Field::Varint(flag)) => write!(out, "{}", flag != 0),
        (Form::Fixed64, Field::Fixed64(number)) => write!(out, "\"{number}\""),
        (Form::SignedFixed64, Field::Fixed64(number)) => write!(out, "\"{}\"", number.cast_signed()),
        (Form::Fixed32, Field::Fixed32(number)) => write!(out, "{number}"),
        (Form::Double, Field::Fixed64(bits)) => {
            write_double(f64::from_bits(bits), out);
            Ok(())
        }
        (Form::Message(message), Field::Bytes(bytes)) => {
            write_message(message, bytes, depth + 1, out);
            Ok(())
        }
        (Form::Value, Field::Bytes(bytes)) => {
            write_any(bytes, depth + 1, out);
            Ok(())
        }
        _ => return false,
    };
    true
}

/// Writes an `AnyValue`: the last of its members, as protobuf reads a `oneof`.
fn write_any(bytes: &[u8], depth: usize, out: &mut String) {
    let held = Fields::new(bytes).filter(|(number, _)| (1..=7).contains(number)).last();
    if depth > NESTING_MAX {
        out.push_str("{}");
        return;
    }
    let _ = match held {
        Some((1, Field::Bytes(text))) => {
            out.push_str("{\"stringValue\":");
            write_text(&String::from_utf8_lossy(text), out);
            Ok(())
        }
        Some((2, Field::Varint(flag))) => write!(out, "{{\"boolValue\":{}", flag != 0),
        Some((3, Field::Varint(number))) => write!(out, "{{\"intValue\":\"{}\"", number.cast_signed()),
        Some((4, Field::Fixed64(bits))) => {
            out.push_str("{\"doubleValue\":");
            write_double(f64::from_bits(bits), out);
            Ok(())
        }
        Some((5, Field::Bytes(list))) => {
            out.push_str("{\"arrayValue\":{\"values\":");
            write_or_empty(Form::Value, list, depth, out);
            out.push('}');
            Ok(())
        }
        Some((6, Field::Bytes(list))) => {
            out.push_str("{\"kvlistValue\":{\"values\":");
            write_or_empty(Form::Message(&fields::KEY_VALUE), list, depth, out);
            out.push('}');
            Ok(())
        }
        Some((7, Field::Bytes(opaque))) => write!(out, "{{\"bytesValue\":\"{}\"", STANDARD.encode(opaque)),
        _ => write!(out, "{{"),
    };
    out.push('}');
}

fn write_or_empty(form: Form, list: &[u8], depth: usize, out: &mut String) {
    let start = out.len();
    if !write_list(form, list, 1, depth, out) {
        out.truncate(start);
        out.push_str("[]");
    }
}

/// Writes a double so that it comes back to the last bit; NaN and infinities are text in protobuf's JSON.
fn write_double(value: f64, out: &mut String) {
    let _ = if value.is_finite() {
        write!(out, "{value:?}")
    } else if value.is_nan() {
        write!(out, "\"NaN\"")
    } else {
        write!(out, "\"{}Infinity\"", if value < 0.0 { "-" } else { "" })
    };
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::packed::write::Packer;

    #[test]
    fn numbers_of_32_bits_are_written_as_readers_take_them() {
        let mut packer = Packer::default();
        packer.message(1, |group| {
            group.message(2, |scope| {
                scope.message(2, |span| {
                    span.varint(6, u64::MAX);
                    span.varint(10, 5 << 32 | 7);
                });
            });
        });
        let mut text = String::new();
        write(Signal::Traces, &packer.finish(), &mut text);
        let span = r#"{"kind":-1,"droppedAttributesCount":7}"#;
        assert_eq!(text, format!(r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{span}]}}]}}]}}"#));
    }
}
