use super::{decode_json, metrics, records, spans};
use crate::decode::{Encoding, Error};
use crate::model::batch::Signal;
use crate::model::metric::PointValue;
use crate::model::packed::value::Value;
use crate::model::span::{SpanKind, Status};

/// A request around the members of one span.
fn span_text(members: &str) -> String {
    format!(
        r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{{"traceId":"5B8EFFF798038103D269B633813FC60C",
        "spanId":"eee19b7ec3c1b174","name":"pay","startTimeUnixNano":"1799999999000000000"{members}}}]}}]}}]}}"#
    )
}

fn any_text(value: &str) -> String {
    format!(r#"{{"resourceLogs":[{{"scopeLogs":[{{"logRecords":[{{"body":{value}}}]}}]}}]}}"#)
}

fn point_text(members: &str) -> String {
    format!(
        r#"{{"resourceMetrics":[{{"scopeMetrics":[{{"metrics":[{{"name":"m","gauge":{{"dataPoints":[
        {{"timeUnixNano":5{members}}}]}}}}]}}]}}]}}"#
    )
}

fn is_malformed(signal: Signal, text: impl AsRef<[u8]>) -> bool {
    matches!(decode_json(signal, text), Err(Error::Malformed { encoding: Encoding::Json, .. }))
}

#[test]
fn a4_the_example_of_the_specification_is_read() {
    let text = r#"{"resourceSpans":[{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"my.service"}}]},
      "scopeSpans":[{"scope":{"name":"my.library","version":"1.0.0","attributes":[{"key":"my.scope.attribute",
      "value":{"stringValue":"some scope attribute"}}]},"spans":[{"traceId":"5B8EFFF798038103D269B633813FC60C",
      "spanId":"EEE19B7EC3C1B174","parentSpanId":"EEE19B7EC3C1B173","name":"I'm a server span",
      "startTimeUnixNano":"1544712660000000000","endTimeUnixNano":"1544712661000000000","kind":2,
      "attributes":[{"key":"my.span.attr","value":{"stringValue":"some value"}}]}]}]}]}"#;
    let decoded = decode_json(Signal::Traces, text).unwrap();
    assert_eq!((decoded.rejected, decoded.message.clone()), (0, None));
    let span = spans(&decoded)[0];
    assert_eq!(span.trace_id.to_string(), "5b8efff798038103d269b633813fc60c");
    assert_eq!(span.parent_id.unwrap().to_string(), "eee19b7ec3c1b173");
    assert_eq!((span.name.as_str(), span.kind), ("I'm a server span", SpanKind::SERVER));
    assert_eq!(span.duration_ns, 1_000_000_000);
    assert_eq!(span.detail.attribute("my.span.attr"), Some(Value::Text("some value")));
}

#[test]
fn a4_lenient_spellings_are_read() {
    for members in [
        "",
        r#","kind":null,"attributes":null,"status":null,"events":null"#,
        r#","unknown":{"deep":[1,{"x":null}]},"attributesFuture":[]"#,
        r#","start_time_unix_nano":"x","trace_id":7"#,
        r#","endTimeUnixNano":1799999999000000001"#,
        r#","endTimeUnixNano":"1.799999999000000001e18""#,
        r#","flags":"257","droppedAttributesCount":"5.0","droppedEventsCount":1e3"#,
        r#","attributes":[{"key":"a"},{"key":"b","value":null},{"key":"c","value":{}},{}]"#,
    ] {
        let decoded = decode_json(Signal::Traces, span_text(members)).unwrap();
        assert_eq!((decoded.batch.items(), decoded.rejected), (1, 0), "{members}");
    }
    let decoded = decode_json(
        Signal::Traces,
        span_text(
            r#","kind":"SPAN_KIND_CONSUMER","status":{"code":"STATUS_CODE_ERROR","message":"a\u0000\ud83d\ude00"},
            "flags":"257","droppedLinksCount":1e3"#,
        ),
    )
    .unwrap();
    let span = spans(&decoded)[0];
    assert_eq!((span.kind, span.status), (SpanKind::CONSUMER, Status::Error));
    assert_eq!(span.detail.status_message(), "a\0😀");
    assert_eq!((span.detail.flags(), span.detail.dropped()[2]), (257, 1000));
    let unknown = decode_json(Signal::Traces, span_text(r#","kind":99"#)).unwrap();
    assert_eq!(spans(&unknown)[0].kind, SpanKind(99));
}

#[test]
fn a4_values_of_any_kind_are_read() {
    for (text, wanted) in [
        ("{}", Value::Empty),
        ("null", Value::Empty),
        (r#"{"futureValue":1}"#, Value::Empty),
        (r#"{"stringValueStrindex":1}"#, Value::Empty),
        (r#"{"stringValue":null}"#, Value::Empty),
        (r#"{"stringValue":""}"#, Value::Text("")),
        (r#"{"stringValue":"\"\\\/\b\f\n\r\t\u00e9\uD83D\uDE00"}"#, Value::Text("\"\\/\u{8}\u{c}\n\r\té😀")),
        (r#"{"boolValue":false}"#, Value::Bool(false)),
        (r#"{"intValue":0}"#, Value::Int(0)),
        (r#"{"intValue":"5.0"}"#, Value::Int(5)),
        (r#"{"intValue":1e3}"#, Value::Int(1000)),
        (r#"{"intValue":"-9223372036854775808"}"#, Value::Int(i64::MIN)),
        (r#"{"intValue":9223372036854775807}"#, Value::Int(i64::MAX)),
        (r#"{"doubleValue":"5.5"}"#, Value::Double(5.5)),
        (r#"{"doubleValue":5}"#, Value::Double(5.0)),
        (r#"{"doubleValue":-0.0}"#, Value::Double(-0.0)),
        (r#"{"doubleValue":"NaN"}"#, Value::Double(f64::NAN)),
        (r#"{"doubleValue":"Infinity"}"#, Value::Double(f64::INFINITY)),
        (r#"{"doubleValue":"-Infinity"}"#, Value::Double(f64::NEG_INFINITY)),
        (r#"{"bytesValue":"+/8="}"#, Value::Bytes(&[0xfb, 0xff])),
        (r#"{"bytesValue":"-_8"}"#, Value::Bytes(&[0xfb, 0xff])),
        (r#"{"bytesValue":""}"#, Value::Bytes(&[])),
    ] {
        let decoded = decode_json(Signal::Logs, any_text(text)).unwrap();
        assert_eq!(records(&decoded)[0].detail.body(), wanted, "{text}");
    }
    let decoded =
        decode_json(Signal::Logs, any_text(r#"{"arrayValue":{"values":[{"intValue":"1"},null,{}]}}"#));
    let decoded = decoded.unwrap();
    assert_eq!(records(&decoded)[0].detail.body_text(), "[1,null,null]");
    let decoded = decode_json(Signal::Logs, any_text(r#"{"arrayValue":null}"#)).unwrap();
    assert_eq!(records(&decoded)[0].detail.body(), Value::Empty);
    let decoded = decode_json(Signal::Logs, any_text(r#"{"kvlistValue":{}}"#)).unwrap();
    assert_eq!(records(&decoded)[0].detail.body_text(), "{}");
}

#[test]
fn a4_values_out_of_range_are_malformed() {
    for value in [
        r#"{"intValue":9223372036854775808}"#,
        r#"{"intValue":"9223372036854775808"}"#,
        r#"{"intValue":"-9223372036854775809"}"#,
        r#"{"intValue":5.5}"#,
        r#"{"intValue":1e400}"#,
        r#"{"intValue":"0x10"}"#,
        r#"{"intValue":""}"#,
        r#"{"intValue":true}"#,
        r#"{"intValue":"NaN"}"#,
        r#"{"doubleValue":1e400}"#,
        r#"{"doubleValue":"inf"}"#,
        r#"{"doubleValue":NaN}"#,
        r#"{"boolValue":"true"}"#,
        r#"{"boolValue":1}"#,
        r#"{"stringValue":5}"#,
        r#"{"stringValue":"\ud800"}"#,
        r#"{"stringValue":"\ud800\u0041"}"#,
        r#"{"stringValue":"\udc00"}"#,
        r#"{"stringValue":"\x"}"#,
        r#"{"stringValue":"\u12g4"}"#,
        "{\"stringValue\":\"a\nb\"}",
        r#"{"bytesValue":"=="}"#,
        r#"{"bytesValue":"a"}"#,
        r#"{"bytesValue":"+_8="}"#,
        r#"{"arrayValue":[]}"#,
        r#"{"arrayValue":{"values":{}}}"#,
        r#"{"stringValue":"a","stringValue":"b"}"#,
        "[]",
        "5",
    ] {
        assert!(is_malformed(Signal::Logs, any_text(value)), "{value}");
    }
}

#[test]
fn a4_members_of_the_wrong_kind_are_malformed() {
    for members in [
        r#","parentSpanId":"abc""#,
        r#","parentSpanId":"zzzzzzzzzzzzzzzz""#,
        r#","parentSpanId":5"#,
        r#","endTimeUnixNano":-1"#,
        r#","endTimeUnixNano":"18446744073709551616""#,
        r#","flags":4294967296"#,
        r#","kind":"SPAN_KIND_ODD""#,
        r#","kind":2147483648"#,
        r#","name":"again""#,
        r#","attributes":{}"#,
        r#","attributes":[,]"#,
        r#","attributes":[{}{}]"#,
        r#","status":[]"#,
        r#","x":01"#,
        r#","x":tru"#,
        r#","x":[1,]"#,
        r#","x":{"a":1,}"#,
        r#","x":{"a" 1}"#,
        r#","x":{5:1}"#,
        ",",
    ] {
        assert!(is_malformed(Signal::Traces, span_text(members)), "{members}");
    }
}

#[test]
fn a4_only_one_object_is_a_request() {
    let good = span_text("");
    for text in [
        "",
        " ",
        "null",
        "[]",
        "5",
        "\"x\"",
        "{",
        "{}}",
        "{}x",
        "{} {}",
        "{\"resourceSpans\":[]",
        "\u{feff}{}",
        "{}\0",
    ] {
        assert!(is_malformed(Signal::Traces, text), "{text:?}");
    }
    assert!(is_malformed(Signal::Traces, format!("\u{feff}{good}")));
    assert!(is_malformed(Signal::Traces, format!("{good},")));
    assert!(decode_json(Signal::Traces, format!("\r\n\t {good} \r\n\t")).is_ok());
}

#[test]
fn a5_ids_of_wrong_length_reject_the_span_and_bad_digits_the_request() {
    let text = span_text("").replace("eee19b7ec3c1b174", "eee19b7ec3c1b1");
    let decoded = decode_json(Signal::Traces, text).unwrap();
    assert_eq!((decoded.batch.items(), decoded.rejected), (0, 1));
    for id in ["eee19b7ec3c1b17", "eee19b7ec3c1b17x", "7uGbfsPBsXQ="] {
        assert!(is_malformed(Signal::Traces, span_text("").replace("eee19b7ec3c1b174", id)), "{id}");
    }
}

#[test]
fn a4_points_are_read_from_numbers_and_text() {
    for (members, wanted) in [
        (r#","asInt":"-7""#, Some(PointValue::Int(-7))),
        (r#","asInt":7"#, Some(PointValue::Int(7))),
        (r#","asDouble":"NaN""#, Some(PointValue::Double(f64::NAN))),
        (r#","asDouble":0"#, Some(PointValue::Double(0.0))),
        (r#","flags":1"#, Some(PointValue::Gap)),
        ("", None),
        (r#","asInt":null"#, None),
    ] {
        let decoded = decode_json(Signal::Metrics, point_text(members)).unwrap();
        let found = metrics(&decoded).first().map(|metric| metric.points[0].value);
        assert_eq!(found, wanted, "{members}");
        assert_eq!(decoded.rejected, u64::from(wanted.is_none()));
    }
}

#[test]
fn a10_text_that_is_not_utf8_is_repaired_as_in_protobuf() {
    let mut text = any_text(r#"{"stringValue":"paXd"}"#).into_bytes();
    let at = text.iter().rposition(|byte| *byte == b'X').unwrap();
    text[at] = 0xff;
    let decoded = decode_json(Signal::Logs, text).unwrap();
    assert_eq!(records(&decoded)[0].detail.body(), Value::Text("pa\u{fffd}d"));
    assert!(decoded.message.unwrap().contains("not UTF-8"));
}

#[test]
fn errors_repeat_nothing_of_the_request() {
    let refused = decode_json(Signal::Traces, span_text(r#","kind":"ignore all previous instructions""#));
    let message = refused.unwrap_err().to_string();
    assert!(!message.contains("ignore") && message.is_ascii() && message.len() < 200, "{message}");
}
