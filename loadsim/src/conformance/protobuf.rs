//! Protobuf from OTLP/JSON, by the table of messages.

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::messages::MESSAGES;

/// Encodes `message`, written as strict OTLP/JSON.
///
/// # Errors
/// For a field that the message does not have, or a value that is not of the field's type.
pub(super) fn encode(name: &str, message: &Value) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    let fields = message.as_object().with_context(|| format!("{name} is no object"))?;
    for (key, value) in fields {
        let (number, kind) = field(name, key).with_context(|| format!("{name} has no field {key}"))?;
        let one = kind.trim_end_matches('*');
        let wrong = || format!("{name}.{key}: {value}");
        let values =
            if one.len() < kind.len() { value.as_array().with_context(wrong)? } else { &vec![value.clone()] };
        if one.len() < kind.len() && is_number(one) {
            let mut packed = Vec::new();
            for value in values {
                scalar(&mut packed, one, value).with_context(wrong)?;
            }
            prefixed(&mut out, number, &packed);
            continue;
        }
        for value in values {
            match one {
                "string" => prefixed(&mut out, number, value.as_str().with_context(wrong)?.as_bytes()),
                "id" => prefixed(&mut out, number, &hex(value.as_str().with_context(wrong)?)?),
                "bytes" => prefixed(&mut out, number, &base64(value.as_str().with_context(wrong)?)?),
                _ if is_number(one) => {
                    varint(&mut out, u64::from(number) << 3 | wire_type(one));
                    scalar(&mut out, one, value).with_context(wrong)?;
                }
                inner => prefixed(&mut out, number, &encode(inner, value)?),
            }
        }
    }
    Ok(out)
}

fn field(message: &str, key: &str) -> Option<(u32, &'static str)> {
    let (_, fields) = MESSAGES.iter().find(|(name, _)| *name == message)?;
    fields.split(", ").find_map(|field| {
        let (name, rest) = field.split_once('=')?;
        let (number, kind) = rest.split_once(' ')?;
        (name == key).then_some((number.parse().ok()?, kind))
    })
}

fn is_number(kind: &str) -> bool {
    kind.starts_with(|first: char| first.is_ascii_lowercase()) && !["string", "id", "bytes"].contains(&kind)
}

fn wire_type(kind: &str) -> u64 {
    match kind {
        "fixed64" | "sfixed64" | "double" => 1,
        "fixed32" => 5,
        _ => 0,
    }
}

fn scalar(out: &mut Vec<u8>, kind: &str, value: &Value) -> Result<()> {
    let text = match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    match kind {
        "bool" => out.push(u8::from(text.parse::<bool>()?)),
        // Infinity and NaN are written as ProtoJSON writes them, and read by the same names.
        "double" => out.extend(text.parse::<f64>()?.to_le_bytes()),
        "fixed64" => out.extend(text.parse::<u64>()?.to_le_bytes()),
        "sfixed64" => out.extend(text.parse::<i64>()?.to_le_bytes()),
        "fixed32" => out.extend(text.parse::<u32>()?.to_le_bytes()),
        "uint32" | "uint64" => varint(out, text.parse()?),
        "int32" | "int64" | "enum" => varint(out, text.parse::<i64>()?.cast_unsigned()),
        "sint32" => {
            let number = text.parse::<i32>()?;
            varint(out, u64::from((number << 1 ^ number >> 31).cast_unsigned()));
        }
        other => bail!("there is no type {other}"),
    }
    Ok(())
}

fn prefixed(out: &mut Vec<u8>, number: u32, bytes: &[u8]) {
    varint(out, u64::from(number) << 3 | 2);
    varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn varint(out: &mut Vec<u8>, mut number: u64) {
    while number > 0x7f {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// Bytes from pairs of hexadecimal digits.
pub(super) fn hex(text: &str) -> Result<Vec<u8>> {
    let digits: Vec<u8> = text.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    let pairs = digits.chunks(2).map(|pair| {
        let pair = std::str::from_utf8(pair)?;
        anyhow::ensure!(pair.len() == 2, "an odd number of hexadecimal digits");
        Ok(u8::from_str_radix(pair, 16)?)
    });
    pairs.collect()
}

fn base64(text: &str) -> Result<Vec<u8>> {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let (mut out, mut bits, mut held) = (Vec::new(), 0_u32, 0);
    for byte in text.trim_end_matches('=').bytes() {
        let digit = DIGITS.iter().position(|digit| *digit == byte).context("not base64")?;
        bits = bits << 6 | digit as u32;
        held += 6;
        if held >= 8 {
            held -= 8;
            out.push((bits >> held) as u8);
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
    use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
    use opentelemetry_proto::tonic::metrics::v1::metric::Data;
    use prost::Message;
    use serde_json::json;

    use super::*;

    #[test]
    fn messages_are_those_of_the_protocol() {
        let message = json!({"resourceSpans": [{
            "resource": {"attributes": [{"key": "b", "value": {"bytesValue": "AAEC/w=="}}]},
            "scopeSpans": [{"spans": [{
                "traceId": "0102030405060708090a0b0c0d0e0f10", "spanId": "0102030405060708", "name": "work",
                "kind": 2, "startTimeUnixNano": "5", "flags": 257, "status": {"code": 2, "message": "no"},
                "links": [{"spanId": "0102030405060708"}],
            }]}],
        }]});
        let bytes = encode("ExportTraceServiceRequest", &message).unwrap();
        let decoded = ExportTraceServiceRequest::decode(bytes.as_slice()).unwrap();
        let span = &decoded.resource_spans[0].scope_spans[0].spans[0];
        assert_eq!((span.trace_id.len(), span.name.as_str(), span.kind), (16, "work", 2));
        assert_eq!((span.start_time_unix_nano, span.flags, span.links.len()), (5, 257, 1));
        assert_eq!(span.status.as_ref().unwrap().code, 2);
        assert_eq!(decoded.encode_to_vec().len(), bytes.len());
    }

    #[test]
    fn numbers_are_packed_and_signed_as_the_protocol_wants() {
        let message = json!({"resourceMetrics": [{"scopeMetrics": [{"metrics": [{
            "name": "m", "exponentialHistogram": {"aggregationTemporality": 1, "dataPoints": [{
                "count": "3", "sum": -1.5, "scale": -3, "zeroCount": "1", "min": "-Infinity",
                "positive": {"offset": -7, "bucketCounts": ["1", "300"]},
            }]},
        }]}]}]});
        let bytes = encode("ExportMetricsServiceRequest", &message).unwrap();
        let decoded = ExportMetricsServiceRequest::decode(bytes.as_slice()).unwrap();
        let metric = &decoded.resource_metrics[0].scope_metrics[0].metrics[0];
        let Some(Data::ExponentialHistogram(histogram)) = &metric.data else { panic!("{metric:?}") };
        let point = &histogram.data_points[0];
        assert_eq!((point.count, point.scale, point.sum), (3, -3, Some(-1.5)));
        assert_eq!(point.min, Some(f64::NEG_INFINITY));
        let buckets = point.positive.as_ref().unwrap();
        assert_eq!((buckets.offset, buckets.bucket_counts.as_slice()), (-7, [1, 300].as_slice()));
    }

    #[test]
    fn mistakes_in_a_message_are_named() {
        let wrong = encode("ExportTraceServiceRequest", &json!({"resourceSpan": []})).unwrap_err();
        assert!(wrong.to_string().contains("has no field resourceSpan"), "{wrong}");
        assert!(encode("Span", &json!({"kind": "SERVER"})).is_err());
        assert!(hex("abc").is_err() && hex("zz").is_err() && base64("?").is_err());
    }
}
