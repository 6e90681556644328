//! What holds for every request.

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{
    AnyValue, ArrayValue, InstrumentationScope, KeyValue, KeyValueList, any_value,
};
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_proto::tonic::metrics::v1::exponential_histogram_data_point::Buckets;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::summary_data_point::ValueAtQuantile;
use opentelemetry_proto::tonic::metrics::v1::{
    Exemplar, ExponentialHistogram, ExponentialHistogramDataPoint, Gauge, Histogram, HistogramDataPoint,
    Metric, NumberDataPoint, Sum, Summary, SummaryDataPoint, exemplar, number_data_point,
};
use opentelemetry_proto::tonic::trace::v1::{Span, Status, span};
use proptest::prelude::{BoxedStrategy, Just, Strategy, any as arbitrary, prop_oneof};
use proptest::test_runner::Config;
use proptest::{collection, option, proptest, sample};
use prost::Message;

use super::requests::{BEFORE, any, attribute, logs_request, metrics_request, text, trace_request};
use super::{Limits, RECEIVED, decode, decode_json, decode_protobuf};
use crate::decode::fuzzing::json_text;
use crate::decode::json::accepts;
use crate::decode::{Decoded, Encoding, Error, protobuf};
use crate::model::batch::Signal;

fn words() -> impl Strategy<Value = String> {
    prop_oneof![4 => "[a-z./]{0,12}", 1 => any_text(), 1 => "[a-z]{125,135}"]
}

fn any_text() -> impl Strategy<Value = String> {
    collection::vec(arbitrary::<char>(), 0..12).prop_map(String::from_iter)
}

/// Doubles other than negative zero, which libraries disagree about leaving out.
fn double() -> impl Strategy<Value = f64> {
    let special = sample::select(vec![0.0, 1.0, 0.1, f64::MAX, 5e-324, f64::NAN, f64::INFINITY]);
    prop_oneof![arbitrary::<f64>().prop_filter("negative zero", |value| value.to_bits() != 1 << 63), special]
        .prop_map(|value| if value.is_nan() { f64::NAN } else { value })
}

fn value() -> BoxedStrategy<AnyValue> {
    let leaf = prop_oneof![
        Just(AnyValue { value: None }),
        words().prop_map(|value| text(&value)),
        arbitrary::<bool>().prop_map(|value| any(any_value::Value::BoolValue(value))),
        arbitrary::<i64>().prop_map(|value| any(any_value::Value::IntValue(value))),
        double().prop_map(|value| any(any_value::Value::DoubleValue(value))),
        collection::vec(arbitrary::<u8>(), 0..9).prop_map(|value| any(any_value::Value::BytesValue(value))),
    ];
    let nested = leaf.prop_recursive(3, 12, 3, |inner| {
        let map = collection::vec((words(), inner.clone()), 0..3);
        prop_oneof![
            collection::vec(inner, 0..3)
                .prop_map(|values| any(any_value::Value::ArrayValue(ArrayValue { values }))),
            map.prop_map(|entries| {
                let values = entries.into_iter().map(|(key, value)| attribute(&key, value)).collect();
                any(any_value::Value::KvlistValue(KeyValueList { values }))
            }),
        ]
    });
    nested.boxed()
}

fn attributes() -> BoxedStrategy<Vec<KeyValue>> {
    let entry = (words(), option::weighted(0.9, value()));
    collection::vec(entry.prop_map(|(key, value)| KeyValue { key, value, ..KeyValue::default() }), 0..4)
        .boxed()
}

fn id(length: usize) -> BoxedStrategy<Vec<u8>> {
    prop_oneof![
        8 => collection::vec(1_u8..=255, length),
        1 => Just(vec![0; length]),
        1 => collection::vec(arbitrary::<u8>(), 0..20),
    ]
    .boxed()
}

fn time() -> impl Strategy<Value = u64> {
    prop_oneof![6 => BEFORE..BEFORE + 1_000, 1 => Just(0), 1 => arbitrary::<u64>()]
}

fn small() -> impl Strategy<Value = u32> {
    prop_oneof![Just(0), arbitrary::<u32>()]
}

fn one_span() -> impl Strategy<Value = Span> {
    let event =
        (time(), words(), attributes(), small()).prop_map(|(time_unix_nano, name, attributes, dropped)| {
            span::Event { time_unix_nano, name, attributes, dropped_attributes_count: dropped }
        });
    let link = (id(16), id(8), words(), attributes(), small()).prop_map(
        |(trace_id, span_id, trace_state, attributes, flags)| {
            let dropped_attributes_count = flags / 3;
            span::Link { trace_id, span_id, trace_state, attributes, dropped_attributes_count, flags }
        },
    );
    let status = (words(), 0..4).prop_map(|(message, code)| Status { message, code });
    let core = (id(16), id(8), id(8), words(), -1..7, time(), time());
    let rest = (
        attributes(),
        collection::vec(event, 0..3),
        collection::vec(link, 0..3),
        option::of(status),
        prop_oneof![Just(String::new()), words()],
        (small(), small()),
    );
    (core, rest).prop_map(|(core, (attributes, events, links, status, trace_state, (flags, dropped)))| Span {
        trace_id: core.0,
        span_id: core.1,
        parent_span_id: core.2,
        name: core.3,
        kind: core.4,
        start_time_unix_nano: core.5,
        end_time_unix_nano: core.6,
        attributes,
        events,
        links,
        status,
        trace_state,
        flags,
        dropped_attributes_count: dropped,
        dropped_events_count: dropped / 2,
        dropped_links_count: dropped / 3,
    })
}

fn one_record() -> impl Strategy<Value = LogRecord> {
    let ids = (prop_oneof![Just(vec![]), id(16)], prop_oneof![Just(vec![]), id(8)]);
    let core = (time(), time(), -1..26, words(), option::of(value()), attributes());
    (core, ids, small(), small(), words()).prop_map(
        |(core, (trace_id, span_id), flags, dropped, event_name)| LogRecord {
            time_unix_nano: core.0,
            observed_time_unix_nano: core.1,
            severity_number: core.2,
            severity_text: core.3,
            body: core.4,
            attributes: core.5,
            dropped_attributes_count: dropped,
            flags,
            trace_id,
            span_id,
            event_name,
        },
    )
}

/// Exemplars whose fields libraries write in the order of their numbers: integers come before the ids in some.
fn exemplars() -> impl Strategy<Value = Vec<Exemplar>> {
    let ids = (id(8), id(16), option::of(double().prop_map(exemplar::Value::AsDouble)));
    let no_ids = arbitrary::<i64>().prop_map(|value| (vec![], vec![], Some(exemplar::Value::AsInt(value))));
    let one = (attributes(), time(), prop_oneof![ids, no_ids]).prop_map(
        |(filtered_attributes, time_unix_nano, (span_id, trace_id, value))| Exemplar {
            filtered_attributes,
            time_unix_nano,
            span_id,
            trace_id,
            value,
        },
    );
    collection::vec(one, 0..2)
}

fn number() -> impl Strategy<Value = NumberDataPoint> {
    let value = prop_oneof![
        double().prop_map(number_data_point::Value::AsDouble),
        arbitrary::<i64>().prop_map(number_data_point::Value::AsInt)
    ];
    (attributes(), time(), time(), option::weighted(0.8, value), exemplars(), 0..3_u32).prop_map(
        |(attributes, start_time_unix_nano, time_unix_nano, value, exemplars, flags)| NumberDataPoint {
            attributes,
            start_time_unix_nano,
            time_unix_nano,
            exemplars,
            flags,
            value,
        },
    )
}

fn histogram() -> impl Strategy<Value = HistogramDataPoint> {
    let buckets = collection::vec(0..9_u64, 0..5);
    let rest = (option::of(double()), option::of(double()), exemplars(), 0..3_u32, arbitrary::<bool>());
    (attributes(), time(), buckets, rest).prop_map(
        |(attributes, time, buckets, (sum, min, exemplars, flags, off))| HistogramDataPoint {
            attributes,
            start_time_unix_nano: 0,
            time_unix_nano: time,
            count: buckets.iter().sum::<u64>() + u64::from(off),
            sum,
            explicit_bounds: (1..buckets.len()).map(|bound| bound as f64 / 3.0).collect(),
            bucket_counts: buckets,
            exemplars,
            flags,
            min,
            max: min,
        },
    )
}

fn exponential() -> impl Strategy<Value = ExponentialHistogramDataPoint> {
    let side = (arbitrary::<i32>(), collection::vec(prop_oneof![0..9_u64, arbitrary::<u64>()], 0..4))
        .prop_map(|(offset, bucket_counts)| Buckets { offset, bucket_counts });
    let side = || option::of(side.clone());
    let rest =
        (option::of(double()), exemplars(), 0..3_u32, double(), prop_oneof![-10..21, arbitrary::<i32>()]);
    (attributes(), time(), side(), side(), rest).prop_map(
        |(attributes, time_unix_nano, positive, negative, (sum, exemplars, flags, threshold, scale))| {
            let total = |side: &Option<Buckets>| {
                side.iter()
                    .flat_map(|side| &side.bucket_counts)
                    .fold(0_u64, |sum, count| sum.wrapping_add(*count))
            };
            ExponentialHistogramDataPoint {
                attributes,
                start_time_unix_nano: 1,
                time_unix_nano,
                count: total(&positive).wrapping_add(total(&negative)).wrapping_add(2),
                sum,
                scale,
                zero_count: 2,
                positive,
                negative,
                flags,
                exemplars,
                min: sum,
                max: sum,
                zero_threshold: threshold.abs(),
            }
        },
    )
}

fn summary() -> impl Strategy<Value = SummaryDataPoint> {
    let pair = (0.0..1.1_f64, double()).prop_map(|(quantile, value)| ValueAtQuantile { quantile, value });
    (attributes(), time(), double(), collection::vec(pair, 0..3), arbitrary::<u64>(), 0..2_u32).prop_map(
        |(attributes, time_unix_nano, sum, quantile_values, count, flags)| SummaryDataPoint {
            attributes,
            start_time_unix_nano: 0,
            time_unix_nano,
            count,
            sum,
            quantile_values,
            flags,
        },
    )
}

fn one_metric() -> impl Strategy<Value = Metric> {
    let temporality = || -1..4;
    let data = prop_oneof![
        collection::vec(number(), 0..3).prop_map(|data_points| Data::Gauge(Gauge { data_points })),
        (collection::vec(number(), 0..3), temporality(), arbitrary::<bool>()).prop_map(
            |(data_points, aggregation_temporality, is_monotonic)| Data::Sum(Sum {
                data_points,
                aggregation_temporality,
                is_monotonic
            })
        ),
        (collection::vec(histogram(), 0..3), temporality()).prop_map(
            |(data_points, aggregation_temporality)| {
                Data::Histogram(Histogram { data_points, aggregation_temporality })
            }
        ),
        (collection::vec(exponential(), 0..3), temporality()).prop_map(
            |(data_points, aggregation_temporality)| {
                Data::ExponentialHistogram(ExponentialHistogram { data_points, aggregation_temporality })
            }
        ),
        collection::vec(summary(), 0..3).prop_map(|data_points| Data::Summary(Summary { data_points })),
    ];
    (words(), words(), words(), attributes(), option::weighted(0.9, data)).prop_map(
        |(name, description, unit, metadata, data)| Metric { name, description, unit, metadata, data },
    )
}

fn scope() -> impl Strategy<Value = InstrumentationScope> {
    (words(), words(), attributes(), small()).prop_map(
        |(name, version, attributes, dropped_attributes_count)| InstrumentationScope {
            name,
            version,
            attributes,
            dropped_attributes_count,
        },
    )
}

fn traces() -> impl Strategy<Value = ExportTraceServiceRequest> {
    (collection::vec(one_span(), 0..4), option::of(scope()), words(), attributes()).prop_map(
        |(spans, scope, schema_url, attributes)| {
            let mut request = trace_request(spans);
            let group = &mut request.resource_spans[0];
            group.schema_url = schema_url;
            group.scope_spans[0].scope = scope;
            group.resource.iter_mut().for_each(|resource| resource.attributes.extend(attributes.clone()));
            request
        },
    )
}

fn logs() -> impl Strategy<Value = ExportLogsServiceRequest> {
    (collection::vec(one_record(), 0..4), option::of(scope()), words()).prop_map(
        |(records, scope, schema_url)| {
            let mut request = logs_request(records);
            request.resource_logs[0].scope_logs[0].scope = scope;
            request.resource_logs[0].scope_logs[0].schema_url = schema_url;
            request
        },
    )
}

fn metrics() -> impl Strategy<Value = ExportMetricsServiceRequest> {
    (collection::vec(one_metric(), 0..4), option::of(scope())).prop_map(|(metrics, scope)| {
        let mut request = metrics_request(metrics);
        request.resource_metrics[0].scope_metrics[0].scope = scope;
        request
    })
}

/// Any valid request, in both encodings.
pub(crate) fn requests() -> impl Strategy<Value = (Signal, Vec<u8>, String)> {
    prop_oneof![
        traces().prop_map(|request| (Signal::Traces, request.encode_to_vec(), json_text::traces(&request))),
        logs().prop_map(|request| (Signal::Logs, request.encode_to_vec(), json_text::logs(&request))),
        metrics().prop_map(|request| (
            Signal::Metrics,
            request.encode_to_vec(),
            json_text::metrics(&request)
        )),
    ]
}

/// Whatever the outcome, the counts agree.
fn check(signal: Signal, packed: &[u8]) -> Result<Decoded, Error> {
    let outcome = decode_protobuf(signal, packed.to_vec());
    let counted = protobuf::count(signal, packed, &Limits::default());
    if let Ok(decoded) = &outcome {
        assert_eq!(counted, Ok(decoded.batch.items() + decoded.rejected as usize));
        assert!(decoded.message.as_ref().is_none_or(|message| message.len() <= 1024));
        assert!(decoded.rejected == 0 || decoded.message.is_some());
    }
    outcome
}

proptest! {
    #[test]
    fn both_encodings_give_equal_batches((signal, packed, json) in requests()) {
        let from_protobuf = check(signal, &packed);
        assert_eq!(from_protobuf, decode_json(signal, &json), "{json}");
        if let Err(error) = from_protobuf {
            assert!(matches!(error, Error::WrongSignal { .. }), "{error}");
        }
    }

    #[test]
    fn a3_damaged_requests_never_panic(
        (signal, mut packed, json) in requests(),
        damage in collection::vec((arbitrary::<sample::Index>(), arbitrary::<u8>()), 1..6),
    ) {
        let mut json = json.into_bytes();
        for (at, byte) in damage {
            if !packed.is_empty() {
                let at = at.index(packed.len());
                packed[at] = byte;
            }
            let at = at.index(json.len());
            json[at] = byte;
        }
        for signal in [signal, Signal::Traces, Signal::Logs, Signal::Metrics] {
            let _ = check(signal, &packed);
            let _ = decode_json(signal, &json);
        }
        if std::str::from_utf8(&json).is_ok() {
            let theirs = serde_json::from_slice::<serde_json::Value>(&json);
            // The library also refuses numbers that no double can hold, which only a known field minds here.
            let is_range = theirs.as_ref().is_err_and(|error| error.to_string().contains("out of range"));
            assert!(is_range || accepts(&json) == theirs.is_ok(), "{}", String::from_utf8_lossy(&json));
        }
    }

    #[test]
    fn small_limits_hold((signal, packed, json) in requests()) {
        let limits = Limits {
            attributes_per_item_max: 1,
            events_per_span_max: 1,
            value_bytes_max: 3,
            attribute_bytes_max: 2,
            body_bytes_max: 5,
            buckets_per_point_max: 2,
            ..Limits::default()
        };
        let [from_protobuf, from_json] = [(Encoding::Protobuf, packed), (Encoding::Json, json.into_bytes())]
            .map(|(encoding, body)| decode(signal, encoding, &body.into(), RECEIVED, &limits));
        assert_eq!(from_protobuf, from_json);
    }

    #[test]
    fn a3_random_bytes_never_panic(bytes in collection::vec(arbitrary::<u8>(), 0..200)) {
        for signal in Signal::ALL {
            let _ = check(signal, &bytes);
            let _ = decode_json(signal, &bytes);
        }
    }

    #[test]
    fn a3_random_json_is_told_like_the_library_does(text in r#"[\[\]{}:,"\\ 0-9eE.+\-a-ntrufls]{0,14}"#) {
        let theirs = serde_json::from_str::<serde_json::Value>(&text);
        let is_range = theirs.as_ref().is_err_and(|error| error.to_string().contains("out of range"));
        assert!(is_range || accepts(text.as_bytes()) == theirs.is_ok(), "{text}");
    }
}

proptest! {
    #![proptest_config(Config { cases: 32, ..Config::default() })]

    #[test]
    fn a3_truncated_requests_never_panic((signal, packed, json) in requests()) {
        for cut in 0..packed.len() {
            let _ = check(signal, &packed[..cut]);
        }
        for cut in (0..json.len()).step_by(29) {
            assert!(decode_json(signal, &json.as_bytes()[..cut]).is_err(), "cut at {cut}");
        }
    }
}
