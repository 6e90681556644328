use std::time::Instant;

use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, KeyValueList, any_value};
use prost::Message;

use super::requests::{any, attribute, field, packed_records, record, text, wrapped};
use super::{Encoding, Error, decode_json, decode_protobuf};
use crate::fault::Kind;
use crate::model::batch::Signal;

/// Bytes of a bomb: at two bytes each, just more messages than the largest limit.
const BOMB_BYTES: usize = 2_000_100;

/// Refused as too large. A release build takes less than 50 ms; the bound leaves room for debug builds under load.
fn check(signal: Signal, body: Vec<u8>) {
    let started = Instant::now();
    let refused = decode_protobuf(signal, body).unwrap_err();
    assert_eq!(refused.kind(), Kind::TooLarge, "{refused}");
    assert!(started.elapsed().as_secs() < 5, "{refused} after {:?}", started.elapsed());
}

#[test]
fn b6_empty_messages_are_counted_before_they_are_built() {
    let empty = |number: u8| [number << 3 | 2, 0].repeat(BOMB_BYTES / 2);
    for signal in Signal::ALL {
        check(signal, empty(1));
        check(signal, field(1, &empty(2)));
        check(signal, field(1, &field(2, &empty(2))));
    }
    check(Signal::Metrics, wrapped(&field(5, &empty(1))));
    check(Signal::Traces, wrapped(&empty(15)));
    for number in [9, 11, 13] {
        check(Signal::Traces, wrapped(&empty(number)));
    }
    check(Signal::Traces, wrapped(&field(11, &empty(3))));
    check(Signal::Logs, wrapped(&empty(6)));
    check(Signal::Logs, wrapped(&field(5, &field(5, &empty(1)))));
    check(Signal::Logs, wrapped(&field(5, &field(6, &empty(1)))));
    check(Signal::Logs, field(1, &field(1, &empty(1))));
    let named = |data: &[u8]| wrapped(&[field(1, b"m"), data.to_vec()].concat());
    check(Signal::Metrics, named(&field(11, &field(1, &empty(6)))));
    check(Signal::Metrics, named(&field(5, &field(1, &empty(5)))));
    check(Signal::Metrics, named(&field(5, &field(1, &empty(7)))));
}

#[test]
fn b6_empty_json_objects_are_counted_while_they_are_read() {
    let list = |element: &str, count: usize| format!("[{}{element}]", format!("{element},").repeat(count));
    for text in [
        format!(r#"{{"resourceSpans":{}}}"#, list("{}", 100_000)),
        format!(r#"{{"resourceSpans":[{{"scopeSpans":{}}}]}}"#, list("null", 100_000)),
        format!(r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":{}}}]}}]}}"#, list("{}", 100_000)),
        format!(r#"{{"resourceSpans":[{{"resource":{{"attributes":{}}}}}]}}"#, list("{}", 1_000_000)),
    ] {
        assert_eq!(decode_json(Signal::Traces, text).unwrap_err().kind(), Kind::TooLarge);
    }
    let buckets = list("0", 1_000_000);
    let text = format!(
        r#"{{"resourceMetrics":[{{"scopeMetrics":[{{"metrics":[{{"histogram":{{"dataPoints":[{{"bucketCounts":{buckets}}}]}}}}]}}]}}]}}"#
    );
    assert_eq!(decode_json(Signal::Metrics, text).unwrap_err().kind(), Kind::TooLarge);
}

fn nested_array(depth: usize) -> AnyValue {
    (1..depth)
        .fold(text("core"), |inner, _| any(any_value::Value::ArrayValue(ArrayValue { values: vec![inner] })))
}

fn nested_map(depth: usize) -> AnyValue {
    (1..depth).fold(text("core"), |inner, _| {
        any(any_value::Value::KvlistValue(KeyValueList { values: vec![attribute("k", inner)] }))
    })
}

#[test]
fn b7_values_nest_to_the_same_depth_in_both_encodings() {
    for nest in [nested_array, nested_map] {
        for (depth, fits) in [(1, true), (31, true), (32, true), (33, false), (60, false)] {
            let mut sent = record("");
            sent.body = Some(nest(depth));
            sent.attributes = vec![attribute("deep", nest(depth))];
            let packed = decode_protobuf(Signal::Logs, packed_records(vec![sent.clone()]));
            let text = crate::decode::fuzzing::json_text::logs(&super::requests::logs_request(vec![sent]));
            let json = decode_json(Signal::Logs, text);
            assert_eq!((packed.is_ok(), json.is_ok()), (fits, fits), "depth {depth}");
            if !fits {
                for refused in [packed.unwrap_err(), json.unwrap_err()] {
                    assert!(matches!(refused, Error::TooDeep { depth_max: 32, .. }), "{refused}");
                    assert_eq!(refused.kind(), Kind::Invalid);
                }
            }
        }
    }
}

#[test]
fn b7_deep_nests_do_not_reach_the_end_of_the_stack() {
    let deep = 100_000;
    let mut value = any(any_value::Value::BoolValue(true)).encode_to_vec();
    for _ in 0..2_000 {
        value = field(5, &field(1, &value));
    }
    let refused = decode_protobuf(Signal::Logs, wrapped(&field(5, &value))).unwrap_err();
    assert!(matches!(refused, Error::TooDeep { .. }));
    let body = format!("{}{}", r#"{"arrayValue":{"values":["#.repeat(deep), "]}}".repeat(deep));
    for text in [
        format!(r#"{{"resourceLogs":[{{"scopeLogs":[{{"logRecords":[{{"body":{body}}}]}}]}}]}}"#),
        format!(r#"{{"unknown":{}{}}}"#, "[".repeat(deep), "]".repeat(deep)),
        "[".repeat(deep),
        r#"{"a":"#.repeat(deep),
    ] {
        let refused = decode_json(Signal::Logs, text).unwrap_err();
        assert_eq!(refused.kind(), Kind::Invalid, "{refused}");
    }
    let skipped = format!(r#"{{"unknown":{}{}}}"#, "[".repeat(128), "]".repeat(128));
    assert!(decode_json(Signal::Logs, skipped).is_ok());
}

#[test]
fn a3_malformed_requests_say_where() {
    let refused = decode_protobuf(Signal::Logs, b"\x0a\x02\x12\x05".to_vec()).unwrap_err();
    let Error::Malformed { encoding, offset, .. } = refused else { panic!("{refused}") };
    assert_eq!((encoding, offset), (Encoding::Protobuf, 2));
    let refused = decode_json(Signal::Logs, "{\"resourceLogs\": 5}").unwrap_err();
    assert_eq!(refused.to_string(), "malformed JSON at byte 17: an array is expected here");
}
