//! Age, clocks ahead, and the bounds on attribute values.

use std::time::Duration;

use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_proto::tonic::metrics::v1::{Gauge, Metric, NumberDataPoint, metric, number_data_point};

use super::requests::{attribute, packed_metrics, packed_records, packed_spans, record, text};
use super::*;
use crate::decode::Ages;
use crate::model::packed::value::Value;

const DAY: u64 = 86_400;

/// A week for spans, a day for log records, an hour for points; nothing may lie ahead by more than a minute.
fn limits() -> Limits {
    Limits {
        age_max: Ages {
            traces: Some(Duration::from_secs(7 * DAY)),
            logs: Some(Duration::from_secs(DAY)),
            metrics: Some(Duration::from_secs(3_600)),
        },
        ahead_max: Some(Duration::from_secs(60)),
        ..Limits::default()
    }
}

fn request(signal: Signal, nanos: u64) -> Vec<u8> {
    match signal {
        Signal::Traces => {
            let mut span = super::requests::span("work");
            (span.start_time_unix_nano, span.end_time_unix_nano) = (nanos, nanos);
            packed_spans(vec![span])
        }
        Signal::Logs => packed_records(vec![LogRecord { time_unix_nano: nanos, ..record("line") }]),
        Signal::Metrics => {
            let value = Some(number_data_point::Value::AsInt(1));
            let point = NumberDataPoint { time_unix_nano: nanos, value, ..NumberDataPoint::default() };
            let data = Some(metric::Data::Gauge(Gauge { data_points: vec![point] }));
            packed_metrics(vec![Metric { name: "load".into(), data, ..Metric::default() }])
        }
    }
}

#[test]
fn each_signal_has_its_age_to_the_nanosecond() {
    let received = RECEIVED.0.unsigned_abs();
    for (signal, seconds) in [(Signal::Traces, 7 * DAY), (Signal::Logs, DAY), (Signal::Metrics, 3_600)] {
        let oldest = received - seconds * 1_000_000_000;
        let newest = received + 60_000_000_000;
        for (nanos, wanted) in [
            (oldest, (0, 0)),
            (oldest - 1, (1, 0)),
            (1, (1, 0)),
            (newest, (0, 0)),
            (newest + 1, (0, 1)),
            (u64::MAX, (0, 1)),
        ] {
            let body = Bytes::from(request(signal, nanos));
            let decoded = decode(signal, Encoding::Protobuf, &body, RECEIVED, &limits()).unwrap();
            assert_eq!((decoded.too_old, decoded.in_the_future), wanted, "{signal:?} at {nanos}");
            assert_eq!(decoded.rejected, wanted.0 + wanted.1);
            assert_eq!(decoded.batch.items() as u64 + decoded.rejected, 1);
            assert_eq!(decoded.message.is_some(), decoded.rejected > 0);
        }
    }
}

#[test]
fn without_bounds_every_time_that_can_be_stored_is_taken() {
    let limits = Limits { ahead_max: None, ..Limits::default() };
    for nanos in [1, i64::MAX.unsigned_abs()] {
        for signal in Signal::ALL {
            let body = Bytes::from(request(signal, nanos));
            assert_eq!(decode(signal, Encoding::Protobuf, &body, RECEIVED, &limits).unwrap().rejected, 0);
        }
    }
}

#[test]
fn attribute_values_have_a_bound_of_their_own_and_names_do_not_share_it() {
    let mut sent = super::requests::span("a name longer than eight bytes");
    sent.attributes = vec![
        attribute("a.key.longer.than.eight", text("ééééé")),
        attribute("short", text("12345678")),
        attribute(
            "number",
            super::requests::any(opentelemetry_proto::tonic::common::v1::any_value::Value::IntValue(
                i64::MAX,
            )),
        ),
    ];
    let body = Bytes::from(packed_spans(vec![sent]));
    let limits = Limits { attribute_bytes_max: 9, ..Limits::default() };
    let decoded = decode(Signal::Traces, Encoding::Protobuf, &body, RECEIVED, &limits).unwrap();
    let span = spans(&decoded)[0];
    assert_eq!(span.name.as_str(), "a name longer than eight bytes");
    assert_eq!(span.detail.attribute("a.key.longer.than.eight"), Some(Value::Text("éééé")));
    assert_eq!(span.detail.attribute("short"), Some(Value::Text("12345678")));
    assert_eq!(span.detail.attribute("number"), Some(Value::Int(i64::MAX)));
    assert_eq!(decoded.attributes_shortened, 1);
    assert_eq!(decoded.message.as_deref(), Some("accepted with changes: 1 attribute values shortened"));
}
