use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, any_value};
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use prost::Message;

use super::requests::{BEFORE, any, attribute, metric, packed_records, record, span, text, wrapped};
use super::{Limits, RECEIVED, decode_protobuf, records};
use crate::decode::Error;
use crate::model::batch::Signal;
use crate::model::log::Severity;
use crate::model::packed::value::Value;
use crate::model::time::UnixNanos;

#[test]
fn records_keep_what_they_say() {
    let sent = LogRecord {
        flags: 0xffff_ff01,
        dropped_attributes_count: 3,
        event_name: "paid".into(),
        ..record("42 paid")
    };
    let decoded = decode_protobuf(Signal::Logs, packed_records(vec![sent])).unwrap();
    assert_eq!((decoded.rejected, decoded.message.clone()), (0, None));
    let found = records(&decoded)[0];
    assert_eq!((found.time, found.severity), (UnixNanos(BEFORE as i64), Severity(17)));
    assert_eq!(found.trace_id.unwrap().as_bytes(), &[1; 16]);
    assert_eq!(found.span_id.unwrap().as_bytes(), &[2; 8]);
    assert_eq!((found.detail.body_text(), found.detail.severity_text()), ("42 paid".into(), "ERROR"));
    assert_eq!((found.detail.event_name(), found.detail.flags()), ("paid", 0xffff_ff01));
    assert_eq!(found.detail.observed_time(), Some(UnixNanos(BEFORE as i64 + 1)));
    assert_eq!(found.detail.attribute("thread"), Some(Value::Text("main")));
}

#[test]
fn a5_invalid_ids_unlink_the_record() {
    let cases = [
        (vec![], vec![], (false, false, false)),
        (vec![0; 16], vec![0; 8], (false, false, false)),
        (vec![1; 15], vec![2; 8], (false, false, true)),
        (vec![1; 16], vec![2; 9], (true, false, true)),
        (vec![1; 16], vec![], (true, false, false)),
        (vec![], vec![2; 8], (false, false, false)),
    ];
    for (trace_id, span_id, wanted) in cases {
        let sent = LogRecord { trace_id, span_id, ..record("kept") };
        let decoded = decode_protobuf(Signal::Logs, packed_records(vec![sent])).unwrap();
        let found = records(&decoded)[0];
        let linked = (found.trace_id.is_some(), found.span_id.is_some(), decoded.message.is_some());
        assert_eq!((linked, decoded.rejected), (wanted, 0));
    }
}

#[test]
fn a6_other_signals_are_no_records() {
    let foreign = [
        span("pay").encode_to_vec(),
        metric("gauge", super::metrics::gauge()).encode_to_vec(),
        metric("sum", super::metrics::sum(1)).encode_to_vec(),
    ];
    for item in foreign {
        let refused = decode_protobuf(Signal::Logs, wrapped(&item)).unwrap_err();
        assert_eq!(refused, Error::WrongSignal { signal: Signal::Logs, items: 1 });
    }
    let empty = decode_protobuf(Signal::Logs, wrapped(&[])).unwrap();
    assert_eq!((empty.batch.items(), records(&empty)[0].time), (1, RECEIVED));
}

#[test]
fn a8_times_fall_back_and_are_bounded() {
    let far = RECEIVED.0 as u64 + 86_400_000_000_001;
    let cases = [
        ((BEFORE, 5), Some(BEFORE)),
        ((0, BEFORE), Some(BEFORE)),
        ((0, 0), Some(RECEIVED.0 as u64)),
        ((1, 0), Some(1)),
        ((BEFORE, u64::MAX), Some(BEFORE)),
        ((far, BEFORE), None),
        ((0, far), None),
        ((1 << 63, 0), None),
        ((u64::MAX, u64::MAX), None),
    ];
    for ((time, observed), wanted) in cases {
        let sent = LogRecord { time_unix_nano: time, observed_time_unix_nano: observed, ..record("timed") };
        let decoded = decode_protobuf(Signal::Logs, packed_records(vec![sent])).unwrap();
        assert_eq!(records(&decoded).first().map(|found| found.time.0 as u64), wanted, "{time} {observed}");
        assert_eq!(decoded.rejected, u64::from(wanted.is_none()));
    }
}

#[test]
fn severity_comes_from_the_number_or_else_from_the_text() {
    let cases =
        [(9, "ERROR", 9), (0, "Warning", 13), (0, "odd", 0), (25, "error", 17), (-1, "", 0), (24, "", 24)];
    for (number, name, wanted) in cases {
        let sent = LogRecord { severity_number: number, severity_text: name.into(), ..record("") };
        let decoded = decode_protobuf(Signal::Logs, packed_records(vec![sent])).unwrap();
        assert_eq!(records(&decoded)[0].severity, Severity(wanted), "{number} {name}");
    }
}

#[test]
fn a11_bodies_may_be_longer_than_attributes() {
    let max = Limits::default().body_bytes_max;
    let long = "x".repeat(max + 1);
    let mut sent = record(&long[1..]);
    sent.attributes = vec![attribute("long", text(&long))];
    let list = ArrayValue { values: vec![text(&long), text("short")] };
    let listed = LogRecord { body: Some(any(any_value::Value::ArrayValue(list))), ..record("") };
    let decoded = decode_protobuf(Signal::Logs, packed_records(vec![sent, listed])).unwrap();
    let found = records(&decoded);
    assert_eq!(found[0].detail.body(), Value::Text(&long[1..]));
    let cut = Limits::default().value_bytes_max;
    assert_eq!(found[0].detail.attribute("long"), Some(Value::Text(&long[..cut])));
    let Value::Array(items) = found[1].detail.body() else { panic!("no list") };
    assert_eq!(items.iter().collect::<Vec<_>>(), [Value::Text(&long[1..]), Value::Text("short")]);
}

#[test]
fn any_value_may_be_of_any_kind_or_none() {
    let unknown = super::requests::field(9, b"from the future");
    for (body, wanted) in [
        (AnyValue { value: None }.encode_to_vec(), Value::Empty),
        (unknown, Value::Empty),
        (any(any_value::Value::BytesValue(vec![0xff, 0])).encode_to_vec(), Value::Bytes(&[0xff, 0])),
        (any(any_value::Value::IntValue(i64::MIN)).encode_to_vec(), Value::Int(i64::MIN)),
        (any(any_value::Value::DoubleValue(-0.0)).encode_to_vec(), Value::Double(-0.0)),
        (any(any_value::Value::DoubleValue(f64::INFINITY)).encode_to_vec(), Value::Double(f64::INFINITY)),
    ] {
        let decoded = decode_protobuf(Signal::Logs, wrapped(&super::requests::field(5, &body))).unwrap();
        assert_eq!(records(&decoded)[0].detail.body(), wanted);
        assert_eq!(decoded.message, None);
    }
}
