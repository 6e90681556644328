//! Requests of any bytes: each is decoded or refused, twice alike, within its limits, with every item accounted for.
//! What a protobuf library reads as a request is the same batch when it comes as JSON.

pub(super) mod json_text;

use bytes::Bytes;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message;

use super::{Decoded, Encoding, Error, Limits, decode, json, protobuf};
use crate::model::batch::Signal;
use crate::model::time::UnixNanos;

/// When every request is received.
const RECEIVED: UnixNanos = UnixNanos(1_800_000_000_000_000_000);
/// Bytes in memory that a byte of a request can stand for: an item of two bytes takes as much as any other.
const GROWTH_MAX: usize = 512;

/// Spans as protobuf.
pub(crate) fn traces(input: &[u8]) {
    protobuf_request(Signal::Traces, input);
    differ::<ExportTraceServiceRequest>(Signal::Traces, input, json_text::traces);
}

/// Log records as protobuf.
pub(crate) fn logs(input: &[u8]) {
    protobuf_request(Signal::Logs, input);
    differ::<ExportLogsServiceRequest>(Signal::Logs, input, json_text::logs);
}

/// Metrics as protobuf.
pub(crate) fn metrics(input: &[u8]) {
    protobuf_request(Signal::Metrics, input);
    differ::<ExportMetricsServiceRequest>(Signal::Metrics, input, json_text::metrics);
}

/// Spans as JSON.
pub(crate) fn traces_json(input: &[u8]) {
    json_request(Signal::Traces, input);
}

/// Log records as JSON.
pub(crate) fn logs_json(input: &[u8]) {
    json_request(Signal::Logs, input);
}

/// Metrics as JSON.
pub(crate) fn metrics_json(input: &[u8]) {
    json_request(Signal::Metrics, input);
}

fn protobuf_request(signal: Signal, input: &[u8]) {
    let outcome = judged(signal, Encoding::Protobuf, input);
    let counted = protobuf::count(signal, input, &Limits::default());
    if let Ok(decoded) = outcome {
        let items = decoded.batch.items() + decoded.rejected as usize;
        assert_eq!(counted, Ok(items), "what is counted on the wire is kept or rejected");
    }
}

fn json_request(signal: Signal, input: &[u8]) {
    let outcome = judged(signal, Encoding::Json, input);
    if outcome.is_ok() {
        assert!(json::accepts(input), "decoded, and no JSON");
    }
    let Ok(text) = std::str::from_utf8(input) else { return };
    // The library refuses numbers that no double can hold, and stops at another depth.
    let theirs = serde_json::from_str::<serde_json::Value>(text);
    let is_bound = theirs.as_ref().is_err_and(|error| {
        let error = error.to_string();
        error.contains("out of range") || error.contains("recursion limit")
    });
    if !is_bound && theirs.is_err() {
        assert!(!json::accepts(input), "the library refuses this JSON: {:?}", theirs.err());
    }
}

/// Decodes with the limits of the server, twice, and with narrow ones.
fn judged(signal: Signal, encoding: Encoding, input: &[u8]) -> Result<Decoded, Error> {
    let with = |limits: &Limits| decode(signal, encoding, &Bytes::copy_from_slice(input), RECEIVED, limits);
    let outcome = with(&Limits::default());
    check(&outcome, input.len());
    assert!(is_same(&outcome, &with(&Limits::default())), "the same bytes give the same batch");
    let narrow = Limits {
        items_max: 4,
        attributes_max: 16,
        attributes_per_item_max: 2,
        events_per_span_max: 1,
        buckets_per_point_max: 2,
        value_bytes_max: 8,
        attribute_bytes_max: 4,
        body_bytes_max: 5,
        depth_max: 3,
        ..Limits::default()
    };
    let narrowed = with(&narrow);
    check(&narrowed, input.len());
    if let Ok(decoded) = narrowed {
        assert!(decoded.batch.items() as u64 + decoded.rejected <= 4, "more items than one request may hold");
    }
    outcome
}

fn check(outcome: &Result<Decoded, Error>, bytes: usize) {
    match outcome {
        Ok(decoded) => {
            let said = decoded.message.as_deref();
            assert!(said.is_none_or(|message| message.len() <= 1024), "a message of over 1 KiB");
            assert!(decoded.rejected == 0 || said.is_some(), "rejected, and nothing is said");
            assert!(decoded.too_old.saturating_add(decoded.in_the_future) <= decoded.rejected);
            assert!(
                decoded.batch.own_bytes() <= bytes * GROWTH_MAX,
                "memory follows the bytes of the request"
            );
        }
        Err(Error::Malformed { offset, .. } | Error::TooDeep { offset, .. }) => {
            assert!(*offset <= bytes, "at byte {offset} of {bytes}");
        }
        Err(_) => {}
    }
}

/// What is no number differs from itself, and is written alike.
fn is_same(one: &Result<Decoded, Error>, other: &Result<Decoded, Error>) -> bool {
    one == other || format!("{one:?}") == format!("{other:?}")
}

/// Decodes what the library reads out of `input` as the library writes it again, and as JSON.
fn differ<M: Message + Default>(signal: Signal, input: &[u8], write: fn(&M) -> String) {
    let Ok(request) = M::decode(input) else { return };
    // Without unknown fields, groups among them, and negative zeros, which not all libraries write.
    let packed = request.encode_to_vec();
    let Ok(request) = M::decode(&packed[..]) else { unreachable!("the library reads what it wrote") };
    let text = write(&request);
    // A "not a number" of other bits is another one; references into tables of text have no form in requests.
    if ["NaN", "trindex"].iter().any(|unlike| text.contains(unlike)) {
        return;
    }
    let decode =
        |encoding, body: Vec<u8>| decode(signal, encoding, &body.into(), RECEIVED, &Limits::default());
    let (binary, json) =
        (decode(Encoding::Protobuf, packed), decode(Encoding::Json, text.clone().into_bytes()));
    assert!(!matches!(binary, Err(Error::Malformed { .. })), "the library wrote it: {binary:?}");
    let is_same = match (&binary, &json) {
        // Each tells its own place.
        (Err(binary), Err(json)) => binary.kind() == json.kind(),
        _ => is_same(&binary, &json),
    };
    assert!(is_same, "protobuf gives {binary:?}\nJSON gives {json:?}\nof {text}");
}
