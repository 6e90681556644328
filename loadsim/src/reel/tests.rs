//! Whether what is played is what was asked for.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_proto::tonic::metrics::v1::{metric, number_data_point};
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
    made(asked, BASE_NS).unwrap()
}

fn made(asked: Asked, base_ns: u64) -> Result<Reel> {
    let mut traffic = Traffic::new(Topology::seeded(3, SERVICES), Vec::new(), 3);
    Reel::make(&asked, &mut traffic, base_ns)
}

/// All requests of a strip in a phase of `playings`.
fn cuts(reel: &Reel, strip: &Strip, batch: u64, flush_ns: u64, playings: u64) -> Vec<Cut> {
    let limits = reel.limits(batch, flush_ns, playings * reel.length_ns);
    let mut cuts: Vec<Cut> = Vec::new();
    while let Some(cut) = strip.cut(&cuts.last().map_or_else(|| strip.start(), Cut::end), limits) {
        cuts.push(cut);
    }
    cuts
}

/// One playing, however many laps its strips have, as one request for each strip of the signal.
fn bodies(reel: &Reel, signal: Signal, number: u64, showing: &Showing) -> Vec<bytes::Bytes> {
    let strips = reel.strips.iter().filter(|strip| strip.signal == signal);
    let requests = strips.flat_map(|strip| {
        let end = |playings| cuts(reel, strip, 1, 0, playings).last().map_or_else(|| strip.start(), Cut::end);
        let items = end(number).into_iter().zip(end(number + 1)).map(|(from, to)| from..to).collect();
        let cut = Cut { items, due_ns: 0, count: 0 };
        cut.items.iter().any(|items| !items.is_empty()).then(|| reel.request(strip, &cut, showing))
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

/// The id as it was made, before playing `number`.
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
        let mut first = spans(&reel, 0, &SHOWING);
        assert!(first.len() >= 3000, "{}", first.len());
        for span in &mut first {
            span.trace_id = first_id(&reel, &span.trace_id, 0);
        }
        for number in [0, 1, 4] {
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
    let (mut first, mut after) = (records(&reel, 0, &SHOWING), records(&reel, 0, &later));
    assert!(first.iter().any(|record| record.trace_id.is_empty()));
    for record in &mut first {
        record.trace_id = first_id(&reel, &record.trace_id, 0);
    }
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
fn two_runs_of_a_seed_share_no_id_of_a_trace() {
    let ids = |base_ns| -> BTreeSet<Vec<u8>> {
        let reel = made(ASKED, base_ns).unwrap();
        (0..4).flat_map(|number| spans(&reel, number, &SHOWING)).map(|span| span.trace_id).collect()
    };
    let (first, second) = (ids(BASE_NS), ids(BASE_NS + 1));
    assert_eq!(first, ids(BASE_NS));
    assert!(first.len() > 100 && first.is_disjoint(&second));
}

#[test]
fn no_playing_leaves_ids_as_they_were() {
    // The seed whose third playing has the one word that is zero: the dice add this to it first.
    let seed = 0_u64.wrapping_sub(0x9e37_79b9_7f4a_7c15).wrapping_sub(2);
    let reel = Reel { seed, ..reel(ASKED) };
    let words: BTreeSet<u64> = (0..100).map(|number| reel.word(number)).collect();
    assert!(words.len() == 100 && !words.contains(&0));
}

#[test]
fn connections_carry_alike() {
    let kept = |asked: Asked, signal: Signal| -> Vec<u64> {
        let reel = reel(asked);
        reel.strips.iter().filter(|strip| strip.signal == signal).map(Strip::kept).collect()
    };
    let asked = Asked { sharing: Sharing::ByTrace, connections: 7, ..ASKED };
    let mut traces: BTreeMap<Vec<u8>, u64> = BTreeMap::new();
    for span in spans(&reel(asked), 0, &SHOWING) {
        *traces.entry(span.trace_id).or_default() += 1;
    }
    let uneven = |counts: &[u64]| counts.iter().max().unwrap() - counts.iter().min().unwrap();
    let counts = kept(asked, Signal::Traces);
    assert!(counts.len() == 7 && uneven(&counts) <= *traces.values().max().unwrap(), "{counts:?}");
    let counts = kept(Asked { spans_per_second: 0.0, ..asked }, Signal::Logs);
    assert!(counts.len() == 7 && uneven(&counts) <= 2, "{counts:?}");
}

#[test]
fn a_connection_has_one_strip_of_each_signal_and_items_of_all_loops_fill_its_requests() {
    // Records so seldom that they are spread over several playings.
    let reel = reel(Asked { connections: 1, chatter: 1.0, log_rate: 1.0, point_rate: 3.0, ..ASKED });
    let signals: Vec<Signal> = reel.strips.iter().map(|strip| strip.signal).collect();
    assert_eq!(signals, [Signal::Traces, Signal::Logs, Signal::Metrics]);
    let both = |cut: &Cut| cut.items.len() == 2 && cut.items.iter().all(|items| !items.is_empty());
    let mut cuts = cuts(&reel, &reel.strips[1], 512, u64::MAX >> 1, 20);
    // What is left at the end may be few.
    cuts.pop();
    assert!(cuts.len() > 5 && cuts.iter().all(|cut| both(cut) && cut.count == 512));
    let request = reel.request(&reel.strips[1], &cuts[0], &SHOWING);
    let sent = ExportLogsServiceRequest::decode(request.body).unwrap().resource_logs;
    let senders: BTreeSet<String> = sent.iter().map(|sent| format!("{:?}", sent.resource)).collect();
    let records = sent.iter().flat_map(|sent| &sent.scope_logs).map(|scope| scope.log_records.len());
    assert_eq!((records.sum::<usize>(), senders.len()), (512, sent.len()));
}

#[test]
fn metrics_about_requests_count_those_of_all_playings_since_the_last() {
    let reel = reel(Asked { point_rate: 0.0, log_rate: 0.0, ..ASKED });
    let playings = 10_000_000_000_u64.div_ceil(reel.length_ns);
    let handled = spans(&reel, 0, &SHOWING).iter().filter(|span| [2, 5].contains(&span.kind)).count();
    let mut counted = (0.0, 0);
    for body in (0..playings).flat_map(|number| bodies(&reel, Signal::Metrics, number, &SHOWING)) {
        let sent = ExportMetricsServiceRequest::decode(body).unwrap().resource_metrics.into_iter();
        for metric in sent.flat_map(|sent| sent.scope_metrics).flat_map(|scope| scope.metrics) {
            match metric.data {
                Some(metric::Data::Sum(sum)) => {
                    for point in sum.data_points {
                        let Some(number_data_point::Value::AsDouble(value)) = point.value else { panic!() };
                        let window_ns = point.time_unix_nano - point.start_time_unix_nano;
                        assert_eq!(window_ns, playings * reel.length_ns);
                        counted.0 += value;
                    }
                }
                Some(metric::Data::Histogram(histogram)) => {
                    for point in histogram.data_points {
                        assert_eq!(point.count, point.bucket_counts.iter().sum::<u64>());
                        counted.1 += point.count;
                    }
                }
                _ => {}
            }
        }
    }
    let wanted = handled as u64 * playings;
    assert!(playings > 1 && handled > 0);
    assert_eq!(counted, (wanted as f64, wanted));
}

#[test]
fn a_reel_holds_no_more_than_there_is_room_for() {
    for asked in [
        Asked { spans_per_second: 1500.0, log_rate: 20_000.0, point_rate: 20_000.0, ..ASKED },
        Asked { spans_per_second: 100.0, log_rate: 2000.0, point_rate: 100.0, ..ASKED },
        Asked { spans_per_second: 0.0, log_rate: 50_000.0, point_rate: 0.01, ..ASKED },
        Asked { spans_per_second: 300_000.0, log_rate: 0.01, point_rate: 10_000.0, ..ASKED },
    ] {
        let reel = reel(asked);
        let kept: u64 = reel.strips.iter().map(Strip::kept).sum();
        assert!(kept > 1000 && kept <= 262_144, "{kept} of {asked:?}");
        assert!(reel.length_ns <= 5_000_000_000);
    }
}

#[test]
fn rates_that_leave_no_room_for_a_trace_are_refused() {
    for asked in [
        Asked { spans_per_second: 0.1, ..ASKED },
        Asked { spans_per_second: 20.0, log_rate: 500_000.0, ..ASKED },
    ] {
        let refused = made(asked, BASE_NS).unwrap_err().to_string();
        assert!(refused.contains("too few for --prepared"), "{refused}");
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
                let starts: Vec<u64> = pair[1].items.iter().map(|items| items.start).collect();
                assert!(pair[0].due_ns <= pair[1].due_ns && pair[0].end() == starts);
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
            let (mut next, mut count) = (strip.start(), 0);
            while let Some(cut) = strip.cut(&next, limits) {
                (next, count) = (cut.end(), count + cut.count);
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
