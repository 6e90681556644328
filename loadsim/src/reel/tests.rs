//! Whether what is played is what was asked for.

use std::collections::{BTreeMap, BTreeSet};

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;

use super::strip::{Cut, Strip};
use super::{Asked, Reel, Showing};
use crate::send::Signal;
use crate::sharing::Sharing;
use crate::topology::Topology;
use crate::traffic::Traffic;

const BASE_NS: u64 = 1_700_000_000_000_000_000;
const SERVICES: usize = 12;
const ASKED: Asked = Asked {
    seed: 3,
    spans_per_second: 3000.0,
    connections: 3,
    sharing: Sharing::ByService,
    chatter: 0.3,
    log_rate: 40.0,
    point_rate: 40.0,
};
const SHOWING: Showing = Showing { first: 0, started_ns: BASE_NS, backfill_ns: 0, end_ns: 0 };

fn reel(asked: Asked) -> Reel {
    let mut traffic = Traffic::new(Topology::seeded(3, SERVICES), Vec::new(), 3);
    Reel::make(&asked, &mut traffic, BASE_NS).unwrap()
}

/// All requests of a strip in a phase of `playings`.
fn cuts(reel: &Reel, strip: &Strip, batch: u64, flush_ns: u64, playings: u64) -> Vec<Cut> {
    let limits = reel.limits(batch, flush_ns, playings * reel.length_ns);
    let mut cuts: Vec<Cut> = Vec::new();
    while let Some(cut) = strip.cut(cuts.last().map_or(0, |cut| cut.items.end), limits) {
        cuts.push(cut);
    }
    cuts
}

/// One playing, however many laps its strips have, as one request for each strip of the signal.
fn bodies(reel: &Reel, signal: Signal, number: u64, showing: &Showing) -> Vec<bytes::Bytes> {
    let strips = reel.strips.iter().filter(|strip| strip.signal == signal);
    let requests = strips.flat_map(|strip| {
        let end = |playings| cuts(reel, strip, 1, 0, playings).last().map_or(0, |cut| cut.items.end);
        let items = end(number)..end(number + 1);
        let cut = Cut { items, due_ns: 0, count: 0 };
        (!cut.items.is_empty()).then(|| reel.request(strip, &cut, showing))
    });
    requests.map(|request| request.body).collect()
}

fn spans(reel: &Reel, number: u64, showing: &Showing) -> Vec<Span> {
    let messages = bodies(reel, Signal::Traces, number, showing).into_iter();
    let sent = messages.flat_map(|body| ExportTraceServiceRequest::decode(body).unwrap().resource_spans);
    sent.flat_map(|sent| sent.scope_spans).flat_map(|scope| scope.spans).collect()
}

fn records(reel: &Reel, number: u64, showing: &Showing) -> Vec<LogRecord> {
    let messages = bodies(reel, Signal::Logs, number, showing).into_iter();
    let sent = messages.flat_map(|body| ExportLogsServiceRequest::decode(body).unwrap().resource_logs);
    sent.flat_map(|sent| sent.scope_logs).flat_map(|scope| scope.log_records).collect()
}

/// The id as it was before playing `number`.
fn first_id(reel: &Reel, id: &[u8], number: u64) -> Vec<u8> {
    let mut id = id.to_vec();
    for (byte, word) in id.iter_mut().zip(reel.word(number).to_le_bytes()) {
        *byte ^= word;
    }
    id
}

#[test]
fn a_later_playing_differs_in_ids_of_traces_and_in_times_alone() {
    for sharing in [Sharing::ByService, Sharing::ByTrace] {
        let reel = reel(Asked { sharing, ..ASKED });
        let first = spans(&reel, 0, &SHOWING);
        assert!(first.len() >= 3000, "{}", first.len());
        for number in [1, 4] {
            let mut later = spans(&reel, number, &SHOWING);
            for (span, before) in later.iter_mut().zip(&first) {
                assert_ne!(span.trace_id, before.trace_id);
                span.trace_id = first_id(&reel, &span.trace_id, number);
                span.start_time_unix_nano -= number * reel.length_ns;
                span.end_time_unix_nano -= number * reel.length_ns;
                for event in &mut span.events {
                    event.time_unix_nano -= number * reel.length_ns;
                }
            }
            assert_eq!(first, later);
        }
    }
}

#[test]
fn records_and_points_move_as_spans_do() {
    let reel = reel(ASKED);
    let later = Showing { first: 5, started_ns: BASE_NS + 1000, ..SHOWING };
    let (first, mut after) = (records(&reel, 0, &SHOWING), records(&reel, 0, &later));
    assert!(first.iter().any(|record| record.trace_id.is_empty()));
    for record in &mut after {
        record.trace_id = first_id(&reel, &record.trace_id, 5);
        record.time_unix_nano -= 1000;
        record.observed_time_unix_nano -= 1000;
    }
    assert_eq!(first, after);
    // Points are compared by their text, in which times and ids are all that can differ.
    let text = |showing: &Showing| -> Vec<String> {
        let bodies = bodies(&reel, Signal::Metrics, 0, showing).into_iter();
        bodies.map(|body| format!("{:?}", ExportMetricsServiceRequest::decode(body).unwrap())).collect()
    };
    let (first, after) = (text(&SHOWING), text(&later));
    assert!(!first.is_empty() && first.iter().zip(&after).all(|(first, after)| first != after));
    let still = Showing { first: 0, ..SHOWING };
    assert_eq!(first, text(&still));
}

#[test]
fn parents_and_records_are_of_the_same_trace_and_no_id_of_a_trace_comes_twice() {
    let reel = reel(Asked { sharing: Sharing::ByTrace, ..ASKED });
    let mut seen = BTreeSet::new();
    for number in 0..4 {
        let spans = spans(&reel, number, &SHOWING);
        let mut traces: BTreeMap<&[u8], BTreeSet<&[u8]>> = BTreeMap::new();
        for span in &spans {
            traces.entry(&span.trace_id).or_default().insert(&span.span_id);
        }
        for span in spans.iter().filter(|span| !span.parent_span_id.is_empty()) {
            assert!(traces[span.trace_id.as_slice()].contains(span.parent_span_id.as_slice()));
        }
        for record in records(&reel, number, &SHOWING).iter().filter(|record| !record.trace_id.is_empty()) {
            assert!(traces[record.trace_id.as_slice()].contains(record.span_id.as_slice()));
        }
        assert!(traces.into_keys().all(|id| seen.insert(id.to_vec())));
    }
}

#[test]
fn times_are_spread_over_what_is_to_be_filled() {
    let reel = reel(ASKED);
    let showing = Showing { backfill_ns: 3_600_000_000_000, end_ns: 4 * reel.length_ns, ..SHOWING };
    let begin = |number| spans(&reel, number, &showing).iter().map(|span| span.start_time_unix_nano).min();
    assert_eq!(begin(0), Some(BASE_NS - 3_600_000_000_000));
    let half = begin(2).unwrap();
    assert!(half.abs_diff(BASE_NS - 1_800_000_000_000) < 1_000_000, "{half}");
    let traces = spans(&reel, 1, &showing).into_iter().map(|span| (span.trace_id, span.start_time_unix_nano));
    let mut first: BTreeMap<Vec<u8>, (u64, u64)> = BTreeMap::new();
    for (id, start) in traces {
        let (earliest, latest) = first.entry(id).or_insert((start, start));
        (*earliest, *latest) = (start.min(*earliest), start.max(*latest));
    }
    assert!(first.values().all(|(earliest, latest)| latest - earliest < 5_000_000_000));
}

#[test]
fn requests_are_full_unless_they_would_be_late() {
    for sharing in [Sharing::ByService, Sharing::ByTrace] {
        let reel = reel(Asked { sharing, ..ASKED });
        for strip in reel.strips.iter().filter(|strip| strip.signal == Signal::Traces) {
            let counts: Vec<u64> =
                cuts(&reel, strip, 512, u64::MAX >> 1, 20).iter().map(|cut| cut.count).collect();
            let (last, full) = counts.split_last().unwrap();
            assert!(full.iter().all(|count| *count == 512) && *last <= 512 && full.len() > 5, "{counts:?}");
            let cuts = cuts(&reel, strip, 512, 50_000_000, 20);
            assert!(cuts.iter().all(|cut| cut.count <= 512));
            for pair in cuts.windows(2) {
                assert!(pair[0].due_ns <= pair[1].due_ns && pair[0].items.end == pair[1].items.start);
            }
        }
    }
}

#[test]
fn what_is_due_is_what_was_asked_for() {
    let counted = |asked: Asked, signal: Signal, playings: u64| {
        let reel = reel(asked);
        let limits = reel.limits(512, 50_000_000, playings * reel.length_ns);
        let strips = reel.strips.iter().filter(|strip| strip.signal == signal);
        let count = strips.map(|strip| {
            let (mut next, mut count) = (0, 0);
            while let Some(cut) = strip.cut(next, limits) {
                (next, count) = (cut.items.end, count + cut.count);
                assert!(cut.due_ns <= limits.end_ns);
            }
            count
        });
        count.sum::<u64>() as f64 / (limits.end_ns as f64 / 1e9)
    };
    let check = |name: &str, rate: f64, asked: f64| {
        assert!((rate / asked - 1.0).abs() < 1e-6, "{name}: {rate} for {asked}");
    };
    for sharing in [Sharing::ByService, Sharing::ByTrace] {
        for rate in [50.0, 3000.0, 20_000.0] {
            let asked = Asked { sharing, spans_per_second: rate, ..ASKED };
            check("spans", counted(asked, Signal::Traces, 20), rate);
        }
        let silent = Asked { sharing, chatter: 0.0, spans_per_second: 0.0, ..ASKED };
        for rate in [0.2, 500.0] {
            let asked = Asked { log_rate: rate, point_rate: rate, ..silent };
            check("records", counted(asked, Signal::Logs, 200), rate * SERVICES as f64);
            check("points", counted(asked, Signal::Metrics, 200), rate * SERVICES as f64);
        }
    }
    assert_eq!(counted(Asked { spans_per_second: 0.0, ..ASKED }, Signal::Traces, 20), 0.0);
}
