//! The fault matrix's cases of bad input and bombs, and the laws that hold for all input.

mod bombs;
mod json;
pub(crate) mod laws;
mod limits;
mod logs;
mod metrics;
mod requests;
mod trace;

use bytes::Bytes;

use super::{Decoded, Encoding, Error, Limits, decode};
use crate::model::batch::{Batch, Signal};
use crate::model::log::LogRecord;
use crate::model::metric::Metric;
use crate::model::span::Span;
use crate::model::time::UnixNanos;

/// When every request of the tests is received.
const RECEIVED: UnixNanos = UnixNanos(1_800_000_000_000_000_000);

fn decode_protobuf(signal: Signal, body: impl Into<Bytes>) -> Result<Decoded, Error> {
    decode(signal, Encoding::Protobuf, &body.into(), RECEIVED, &Limits::default())
}

fn decode_json(signal: Signal, text: impl AsRef<[u8]>) -> Result<Decoded, Error> {
    let body = Bytes::copy_from_slice(text.as_ref());
    decode(signal, Encoding::Json, &body, RECEIVED, &Limits::default())
}

fn spans(decoded: &Decoded) -> Vec<&Span> {
    let Batch::Traces(groups) = &decoded.batch else { panic!("no spans") };
    groups.iter().flat_map(|group| &group.items).collect()
}

fn records(decoded: &Decoded) -> Vec<&LogRecord> {
    let Batch::Logs(groups) = &decoded.batch else { panic!("no records") };
    groups.iter().flat_map(|group| &group.items).collect()
}

fn metrics(decoded: &Decoded) -> Vec<&Metric> {
    let Batch::Metrics(groups) = &decoded.batch else { panic!("no metrics") };
    groups.iter().flat_map(|group| &group.items).collect()
}

#[test]
fn encodings_have_numbers() {
    for encoding in [Encoding::Protobuf, Encoding::Json] {
        assert_eq!(Encoding::from_number(encoding.number()), Some(encoding));
    }
    assert_eq!(Encoding::from_number(2), None);
}

#[test]
fn a7_empty_requests_succeed() {
    for signal in Signal::ALL {
        for body in [&b""[..], b"\x0a\x00", b"\x0a\x02\x12\x00", b"\x0a\x00\x0a\x04\x0a\x00\x12\x00"] {
            let decoded = decode_protobuf(signal, body.to_vec()).unwrap();
            assert_eq!((decoded.batch.items(), decoded.rejected, decoded.message), (0, 0, None));
        }
        let name = ["resourceSpans", "resourceLogs", "resourceMetrics"][signal as usize];
        for list in ["null", "[]", "[{}]", "[null]", r#"[{"resource":null,"schemaUrl":""}]"#] {
            let decoded = decode_json(signal, format!(r#" {{ "{name}" : {list} }} "#)).unwrap();
            assert_eq!((decoded.batch.items(), decoded.rejected, decoded.message), (0, 0, None));
        }
    }
}

#[test]
fn a13_requests_of_unknown_fields_succeed_with_a_warning() {
    // The reserved field 1000 once held spans; number 1000 has the tag c2 3e.
    let decoded = decode_protobuf(Signal::Traces, b"\x0a\x05\xc2\x3e\x02\x0a\x00".to_vec()).unwrap();
    assert_eq!((decoded.batch.items(), decoded.rejected), (0, 0));
    assert!(decoded.message.unwrap().contains("1 unknown fields"));
    let decoded = decode_json(Signal::Traces, r#"{"resource_spans":[{"scope_spans":[]}]}"#).unwrap();
    assert_eq!((decoded.batch.items(), decoded.rejected), (0, 0));
    assert!(decoded.message.unwrap().contains("1 unknown fields"));
}
