//! Where an encoded item holds what differs from one playing of a reel to the next: ids of traces, and times.
//!
//! The wire format of protobuf is walked by hand, because a decoded message no longer knows where its fields were.

/// One place in an encoded message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    /// Position of its first byte.
    pub(crate) at: u32,
    /// What is there.
    pub(crate) what: What,
}

/// What a place holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum What {
    /// The 16 bytes of the id of a trace.
    TraceId,
    /// A time in nanoseconds since the Unix epoch, as eight bytes, the least significant first.
    Time,
}

/// How the items of two playings differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Change {
    /// Goes over the first half of every id of a trace; zero leaves them as they are.
    pub(crate) word: u64,
    /// Nanoseconds that are added to every time, modulo 2^64, so that time may go back as well.
    pub(crate) later_ns: u64,
}

/// The fields of a message type that matter here, by number.
#[derive(Debug)]
pub(crate) struct Shape {
    trace_ids: &'static [u32],
    times: &'static [u32],
    inside: &'static [(u32, &'static Shape)],
}

/// `opentelemetry.proto.trace.v1.Span`.
pub(crate) static SPAN: Shape =
    Shape { trace_ids: &[1], times: &[7, 8], inside: &[(11, &SPAN_EVENT), (13, &SPAN_LINK)] };
static SPAN_EVENT: Shape = Shape { trace_ids: &[], times: &[1], inside: &[] };
static SPAN_LINK: Shape = Shape { trace_ids: &[1], times: &[], inside: &[] };

/// `opentelemetry.proto.logs.v1.LogRecord`.
pub(crate) static LOG_RECORD: Shape = Shape { trace_ids: &[9], times: &[1, 11], inside: &[] };

/// `opentelemetry.proto.metrics.v1.Metric`.
pub(crate) static METRIC: Shape = Shape {
    trace_ids: &[],
    times: &[],
    // Gauges and sums, histograms, exponential histograms, and summaries.
    inside: &[(5, &NUMBERS), (7, &NUMBERS), (9, &HISTOGRAMS), (10, &EXPONENTIALS), (11, &SUMMARIES)],
};
static NUMBERS: Shape = Shape { trace_ids: &[], times: &[], inside: &[(1, &NUMBER)] };
static HISTOGRAMS: Shape = Shape { trace_ids: &[], times: &[], inside: &[(1, &HISTOGRAM)] };
static EXPONENTIALS: Shape = Shape { trace_ids: &[], times: &[], inside: &[(1, &EXPONENTIAL)] };
static SUMMARIES: Shape = Shape { trace_ids: &[], times: &[], inside: &[(1, &SUMMARY)] };
static NUMBER: Shape = Shape { trace_ids: &[], times: &[2, 3], inside: &[(5, &EXEMPLAR)] };
static HISTOGRAM: Shape = Shape { trace_ids: &[], times: &[2, 3], inside: &[(8, &EXEMPLAR)] };
static EXPONENTIAL: Shape = Shape { trace_ids: &[], times: &[2, 3], inside: &[(11, &EXEMPLAR)] };
static SUMMARY: Shape = Shape { trace_ids: &[], times: &[2, 3], inside: &[] };
static EXEMPLAR: Shape = Shape { trace_ids: &[5], times: &[2], inside: &[] };

/// The places in `message`, first to last; nothing when it is not protobuf of that shape. A field that is not there stays so:
/// no time and no trace is what it says.
pub(crate) fn places(shape: &'static Shape, message: &[u8]) -> Option<Vec<Place>> {
    let mut places = Vec::new();
    walk(shape, message, 0, &mut places)?;
    Some(places)
}

/// Makes the change at `places` of the item that begins `item`.
pub(crate) fn change(item: &mut [u8], places: &[Place], change: Change) {
    for place in places {
        let at = place.at as usize;
        let Some(bytes) = item.get_mut(at..at + 8).and_then(|bytes| <&mut [u8; 8]>::try_from(bytes).ok())
        else {
            continue;
        };
        *bytes = match place.what {
            What::TraceId => (u64::from_le_bytes(*bytes) ^ change.word).to_le_bytes(),
            What::Time => u64::from_le_bytes(*bytes).wrapping_add(change.later_ns).to_le_bytes(),
        };
    }
}

fn walk(shape: &'static Shape, message: &[u8], begin: usize, places: &mut Vec<Place>) -> Option<()> {
    let mut at = 0;
    while at < message.len() {
        let (key, after) = varint(message, at)?;
        let field = u32::try_from(key >> 3).ok()?;
        at = after;
        let length = match key & 7 {
            0 => varint(message, at)?.1 - at,
            1 => 8,
            2 => {
                let (length, after) = varint(message, at)?;
                at = after;
                usize::try_from(length).ok()?
            }
            5 => 4,
            _ => return None,
        };
        let value = message.get(at..at.checked_add(length)?)?;
        let place = u32::try_from(begin + at).ok()?;
        match key & 7 {
            1 if shape.times.contains(&field) => places.push(Place { at: place, what: What::Time }),
            2 if shape.trace_ids.contains(&field) && length == 16 => {
                places.push(Place { at: place, what: What::TraceId });
            }
            2 => {
                if let Some((_, shape)) = shape.inside.iter().find(|(number, _)| *number == field) {
                    walk(shape, value, begin + at, places)?;
                }
            }
            _ => {}
        }
        at += length;
    }
    Some(())
}

/// The number at `at`, and where it ends.
fn varint(message: &[u8], at: usize) -> Option<(u64, usize)> {
    let mut value = 0;
    for (index, byte) in message.get(at..)?.iter().take(10).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return Some((value, at + index + 1));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::logs::v1::LogRecord;
    use opentelemetry_proto::tonic::metrics::v1::{
        Exemplar, ExponentialHistogram, ExponentialHistogramDataPoint, Gauge, Histogram, HistogramDataPoint,
        Metric, NumberDataPoint, Sum, Summary, SummaryDataPoint, metric,
    };
    use opentelemetry_proto::tonic::trace::v1::{Span, span};
    use prost::Message;

    use super::*;

    const TRACE: [u8; 16] = [7; 16];
    const OTHER: [u8; 16] = [0xaf; 16];
    const CHANGE: Change = Change { word: 0x0102_0304_0506_0708, later_ns: 1000 };

    /// Changes the encoded `before` and compares all of it with `after`.
    fn check<M: Message + Default + PartialEq + std::fmt::Debug>(
        shape: &'static Shape,
        before: &M,
        after: &M,
        count: usize,
    ) {
        let mut bytes = before.encode_to_vec();
        let places = places(shape, &bytes).unwrap();
        assert_eq!(places.len(), count, "{places:?}");
        change(&mut bytes, &places, CHANGE);
        assert_eq!(&M::decode(bytes.as_slice()).unwrap(), after);
    }

    fn changed(trace_id: [u8; 16], is_after: bool) -> Vec<u8> {
        let mut id = trace_id.to_vec();
        for (byte, word) in id.iter_mut().zip(CHANGE.word.to_le_bytes()) {
            *byte ^= if is_after { word } else { 0 };
        }
        id
    }

    fn later(at_ns: u64, is_after: bool) -> u64 {
        at_ns + if is_after { CHANGE.later_ns } else { 0 }
    }

    #[test]
    fn a_span_its_events_and_its_links() {
        let span = |is_after| Span {
            trace_id: changed(TRACE, is_after),
            span_id: vec![1; 8],
            parent_span_id: vec![2; 8],
            name: "GET /".into(),
            start_time_unix_nano: later(1 << 60, is_after),
            end_time_unix_nano: later((1 << 60) + 5, is_after),
            events: vec![span::Event { time_unix_nano: later(9, is_after), ..span::Event::default() }; 2],
            links: vec![span::Link {
                trace_id: changed(OTHER, is_after),
                span_id: vec![3; 8],
                ..span::Link::default()
            }],
            flags: 0x101,
            ..Span::default()
        };
        check(&SPAN, &span(false), &span(true), 6);
    }

    #[test]
    fn a_log_record_with_and_without_a_trace() {
        let record = |trace_id: Vec<u8>, is_after| LogRecord {
            time_unix_nano: later(70, is_after),
            observed_time_unix_nano: later(80, is_after),
            severity_number: 9,
            trace_id,
            ..LogRecord::default()
        };
        check(&LOG_RECORD, &record(changed(TRACE, false), false), &record(changed(TRACE, true), true), 3);
        check(&LOG_RECORD, &record(Vec::new(), false), &record(Vec::new(), true), 2);
    }

    #[test]
    fn points_of_every_kind_and_their_exemplars() {
        for kind in 0..5 {
            let metric = |is_after| {
                let (start, end) = (later(500, is_after), later(600, is_after));
                let exemplars = vec![Exemplar {
                    time_unix_nano: later(550, is_after),
                    trace_id: changed(TRACE, is_after),
                    span_id: vec![1; 8],
                    ..Exemplar::default()
                }];
                let numbers = vec![NumberDataPoint {
                    start_time_unix_nano: start,
                    time_unix_nano: end,
                    exemplars: exemplars.clone(),
                    ..NumberDataPoint::default()
                }];
                let data = match kind {
                    0 => metric::Data::Gauge(Gauge { data_points: numbers }),
                    1 => metric::Data::Sum(Sum { data_points: numbers, ..Sum::default() }),
                    2 => metric::Data::Histogram(Histogram {
                        data_points: vec![HistogramDataPoint {
                            start_time_unix_nano: start,
                            time_unix_nano: end,
                            bucket_counts: vec![500, 600],
                            explicit_bounds: vec![1.0],
                            exemplars,
                            ..HistogramDataPoint::default()
                        }],
                        ..Histogram::default()
                    }),
                    3 => metric::Data::ExponentialHistogram(ExponentialHistogram {
                        data_points: vec![ExponentialHistogramDataPoint {
                            start_time_unix_nano: start,
                            time_unix_nano: end,
                            count: 500,
                            exemplars,
                            ..ExponentialHistogramDataPoint::default()
                        }],
                        ..ExponentialHistogram::default()
                    }),
                    _ => metric::Data::Summary(Summary {
                        data_points: vec![SummaryDataPoint {
                            start_time_unix_nano: start,
                            time_unix_nano: end,
                            count: 500,
                            ..SummaryDataPoint::default()
                        }],
                    }),
                };
                Metric { name: "m".into(), data: Some(data), ..Metric::default() }
            };
            check(&METRIC, &metric(false), &metric(true), if kind == 4 { 2 } else { 4 });
        }
    }

    #[test]
    fn what_is_cut_off_is_no_message() {
        let bytes =
            Span { trace_id: TRACE.to_vec(), name: "GET /".into(), ..Span::default() }.encode_to_vec();
        assert!(places(&SPAN, &bytes[..bytes.len() - 1]).is_none());
        assert!(places(&SPAN, &[0xff; 11]).is_none());
    }
}
