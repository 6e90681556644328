use opentelemetry_proto::tonic::metrics::v1::exponential_histogram_data_point::Buckets;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value as Number;
use opentelemetry_proto::tonic::metrics::v1::summary_data_point::ValueAtQuantile;
use opentelemetry_proto::tonic::metrics::v1::{
    Exemplar, ExponentialHistogram, ExponentialHistogramDataPoint, Gauge, Histogram, HistogramDataPoint,
    NumberDataPoint, Sum, Summary, SummaryDataPoint,
};
use prost::Message;

use super::requests::{BEFORE, attribute, metric, packed_metrics, record, span, text, wrapped};
use super::{Limits, RECEIVED, decode_protobuf, metrics};
use crate::decode::Error;
use crate::model::batch::Signal;
use crate::model::metric::{MetricKind, Point, PointValue, Temporality};
use crate::model::packed::value::Value;
use crate::model::time::UnixNanos;

pub(super) fn number(value: Option<Number>) -> NumberDataPoint {
    NumberDataPoint {
        attributes: vec![attribute("route", text("/pay"))],
        start_time_unix_nano: BEFORE - 9,
        time_unix_nano: BEFORE,
        value,
        ..NumberDataPoint::default()
    }
}

pub(super) fn gauge() -> Data {
    Data::Gauge(Gauge { data_points: vec![number(Some(Number::AsDouble(0.5)))] })
}

pub(super) fn sum(temporality: i32) -> Data {
    Data::Sum(Sum {
        data_points: vec![number(Some(Number::AsInt(-4))), number(Some(Number::AsInt(i64::MIN)))],
        aggregation_temporality: temporality,
        is_monotonic: true,
    })
}

pub(super) fn histogram(buckets: &[u64], bounds: &[f64], count: u64) -> Data {
    let point = HistogramDataPoint {
        attributes: vec![attribute("route", text("/pay"))],
        time_unix_nano: BEFORE,
        count,
        sum: Some(7.5),
        bucket_counts: buckets.to_vec(),
        explicit_bounds: bounds.to_vec(),
        min: Some(0.0),
        ..HistogramDataPoint::default()
    };
    Data::Histogram(Histogram { data_points: vec![point], aggregation_temporality: 2 })
}

fn exponential(point: ExponentialHistogramDataPoint) -> Data {
    let point = ExponentialHistogramDataPoint { time_unix_nano: BEFORE, ..point };
    Data::ExponentialHistogram(ExponentialHistogram { data_points: vec![point], aggregation_temporality: 1 })
}

fn quantiles(pairs: &[(f64, f64)]) -> Data {
    let quantile_values = pairs
        .iter()
        .map(|(quantile, value)| ValueAtQuantile { quantile: *quantile, value: *value })
        .collect();
    let point =
        SummaryDataPoint { time_unix_nano: BEFORE, count: 3, quantile_values, ..SummaryDataPoint::default() };
    Data::Summary(Summary { data_points: vec![point] })
}

pub(super) fn summary() -> Data {
    quantiles(&[(0.0, 1.0), (0.5, 2.0), (1.0, f64::NAN)])
}

/// The only point of a metric of `data`, or the message that says why there is none.
fn check(data: Data) -> Result<Point, String> {
    let decoded = decode_protobuf(Signal::Metrics, packed_metrics(vec![metric("m", data)])).unwrap();
    match metrics(&decoded).first() {
        Some(metric) => Ok(metric.points[0].clone()),
        None => Err(decoded.message.unwrap_or_default()),
    }
}

#[test]
fn numbers_keep_what_they_say() {
    let mut sent = metric("requests", sum(2));
    sent.description = "all of them".into();
    sent.metadata = vec![attribute("origin", text("prometheus"))];
    let decoded = decode_protobuf(Signal::Metrics, packed_metrics(vec![sent])).unwrap();
    assert_eq!((decoded.batch.items(), decoded.rejected, decoded.message.clone()), (2, 0, None));
    let found = metrics(&decoded)[0];
    assert_eq!((found.name.as_str(), found.unit.as_str()), ("requests", "1"));
    assert_eq!(found.description.as_str(), "all of them");
    assert_eq!(found.metadata.text("origin"), Some("prometheus"));
    assert_eq!((found.kind, found.temporality), (MetricKind::Sum, Temporality::Cumulative));
    assert!(found.monotonic);
    assert_eq!(found.points[0].value, PointValue::Int(-4));
    assert_eq!(found.points[1].value, PointValue::Int(i64::MIN));
    assert_eq!(found.points[0].attributes.get("route"), Some(Value::Text("/pay")));
    assert_eq!(found.points[0].time, UnixNanos(BEFORE as i64));
    assert_eq!(found.points[0].start, UnixNanos(BEFORE as i64 - 9));
    assert!(found.points[0].detail.as_bytes().is_empty());
    assert_eq!(check(gauge()).unwrap().value, PointValue::Double(0.5));
}

#[test]
fn a9_numbers_need_a_value_or_a_gap() {
    let one = |point| check(Data::Gauge(Gauge { data_points: vec![point] }));
    assert!(one(number(None)).unwrap_err().contains("without a value"));
    assert_eq!(one(NumberDataPoint { flags: 1, ..number(None) }).unwrap().value, PointValue::Gap);
    let double = |value| one(number(Some(Number::AsDouble(value)))).unwrap().value;
    for value in [f64::NAN, f64::NEG_INFINITY, -0.0] {
        assert_eq!(double(value), PointValue::Double(value));
    }
}

#[test]
fn a8_points_need_a_time() {
    let timed = |start, time| {
        let point = NumberDataPoint {
            start_time_unix_nano: start,
            time_unix_nano: time,
            ..number(Some(Number::AsInt(1)))
        };
        check(Data::Gauge(Gauge { data_points: vec![point] }))
    };
    assert!(timed(0, 0).unwrap_err().contains("without a time"));
    assert!(timed(0, 1 << 63).unwrap_err().contains("too far in the future"));
    assert!(timed(u64::MAX, BEFORE).unwrap_err().contains("too far in the future"));
    assert!(timed(0, RECEIVED.0 as u64).is_ok());
}

#[test]
fn metrics_need_a_name_and_a_temporality() {
    for (name, data, wanted) in [
        ("", sum(1), "2 of a metric without a name"),
        ("m", sum(0), "2 of a metric without aggregation temporality"),
    ] {
        let decoded = decode_protobuf(Signal::Metrics, packed_metrics(vec![metric(name, data)])).unwrap();
        assert_eq!((decoded.batch.items(), decoded.rejected), (0, 2));
        assert_eq!(decoded.message.unwrap(), format!("2 of 2 data points rejected: {wanted}"));
    }
    assert!(check(sum(3)).is_err());
    let mut unspecified = histogram(&[1], &[], 1);
    if let Data::Histogram(data) = &mut unspecified {
        data.aggregation_temporality = 0;
    }
    assert!(check(unspecified).is_err());
}

#[test]
fn a9_histograms_must_add_up() {
    let point = check(histogram(&[1, 2, 3], &[0.5, 1.5], 6)).unwrap();
    assert_eq!(point.value, PointValue::Distribution { count: 6, sum: Some(7.5) });
    assert_eq!(point.detail.histogram().counts, [1, 2, 3]);
    assert_eq!(point.detail.histogram().bounds, [0.5, 1.5]);
    assert!(!point.attributes.is_empty());
    assert!(check(histogram(&[], &[], 6)).is_ok());
    assert!(check(histogram(&[6], &[], 6)).is_ok());
    assert!(check(histogram(&[1, 2], &[f64::INFINITY], 3)).is_ok());
    for (buckets, bounds) in [
        (vec![], vec![1.0]),
        (vec![1, 2], vec![]),
        (vec![1], vec![1.0]),
        (vec![1, 2, 3], vec![1.0, 1.0]),
        (vec![1, 2, 3], vec![2.0, 1.0]),
        (vec![1, 2], vec![f64::NAN]),
    ] {
        let why = check(histogram(&buckets, &bounds, buckets.iter().sum())).unwrap_err();
        assert!(why.contains("do not fit their bounds"), "{why}");
    }
    assert!(check(histogram(&[1, 2], &[1.0], 4)).unwrap_err().contains("do not add up"));
    assert!(check(histogram(&[u64::MAX, 2], &[1.0], 1)).unwrap_err().contains("do not add up"));
    let many: Vec<u64> = vec![0; 1_000_000];
    let bounds: Vec<f64> = (1..1_000_000).map(f64::from).collect();
    assert!(check(histogram(&many, &bounds, 0)).unwrap_err().contains("too many buckets"));
}

#[test]
fn a9_exponential_histograms_must_add_up_and_stay_in_range() {
    let side =
        |offset, bucket_counts: &[u64]| Some(Buckets { offset, bucket_counts: bucket_counts.to_vec() });
    let good = ExponentialHistogramDataPoint {
        count: 10,
        scale: -3,
        zero_count: 1,
        positive: side(-5, &[2, 3]),
        negative: side(i32::MAX - 1, &[4]),
        zero_threshold: 0.25,
        max: Some(9.0),
        ..ExponentialHistogramDataPoint::default()
    };
    let point = check(exponential(good.clone())).unwrap();
    assert_eq!(point.value, PointValue::Distribution { count: 10, sum: None });
    let shape = point.detail.exponential();
    assert_eq!((shape.scale, shape.zero_count, shape.zero_threshold), (-3, 1, 0.25));
    assert_eq!((shape.positive.offset, shape.positive.counts), (-5, vec![2, 3]));
    let wrong = |change: &dyn Fn(&mut ExponentialHistogramDataPoint)| {
        let mut point = good.clone();
        change(&mut point);
        check(exponential(point)).unwrap_err()
    };
    assert!(wrong(&|point| point.count = 9).contains("do not add up"));
    assert!(wrong(&|point| point.zero_count = u64::MAX).contains("do not add up"));
    assert!(wrong(&|point| point.scale = i32::MAX).contains("out of range"));
    assert!(wrong(&|point| point.scale = i32::MIN).contains("out of range"));
    assert!(wrong(&|point| point.zero_threshold = f64::NAN).contains("out of range"));
    assert!(wrong(&|point| point.positive = side(i32::MAX, &[2, 3])).contains("out of range"));
    assert!(wrong(&|point| point.positive = side(0, &vec![0; 20_000])).contains("too many buckets"));
    assert!(wrong(&|point| point.negative = side(0, &vec![0; 1_000_000])).contains("too many buckets"));
}

#[test]
fn a9_quantiles_must_rise() {
    let point = check(summary()).unwrap();
    assert_eq!(point.value, PointValue::Distribution { count: 3, sum: Some(0.0) });
    assert_eq!(point.detail.quantiles()[1], (0.5, 2.0));
    for pairs in [
        &[(0.5, 1.0), (0.5, 2.0)][..],
        &[(0.9, 1.0), (0.5, 2.0)],
        &[(-0.1, 1.0)],
        &[(1.1, 1.0)],
        &[(f64::NAN, 1.0)],
        &[(0.5, -1.0)],
    ] {
        assert!(check(quantiles(pairs)).unwrap_err().contains("quantiles"), "{pairs:?}");
    }
}

#[test]
fn a6_other_signals_are_no_metrics() {
    for item in [span("pay").encode_to_vec(), record("body").encode_to_vec()] {
        let refused = decode_protobuf(Signal::Metrics, wrapped(&item)).unwrap_err();
        assert_eq!(refused, Error::WrongSignal { signal: Signal::Metrics, items: 1 });
    }
}

#[test]
fn a13_points_with_too_many_attributes_are_rejected() {
    let attributes = 0..=Limits::default().attributes_per_item_max;
    let attributes = attributes.map(|index| attribute(&index.to_string(), text("v"))).collect();
    let point = NumberDataPoint { attributes, ..number(Some(Number::AsInt(1))) };
    let why = check(Data::Gauge(Gauge { data_points: vec![point] })).unwrap_err();
    assert!(why.contains("too many attributes"));
}

#[test]
fn a5_exemplars_of_any_kind_are_kept() {
    let exemplar = Exemplar { span_id: vec![1; 3], trace_id: vec![0; 16], ..Exemplar::default() };
    let point = NumberDataPoint { exemplars: vec![exemplar], flags: 2, ..number(Some(Number::AsInt(1))) };
    let found = check(Data::Gauge(Gauge { data_points: vec![point] })).unwrap();
    assert_eq!(found.value, PointValue::Int(1));
    assert!(!found.detail.as_bytes().is_empty());
    assert_eq!(found.attributes.iter().count(), 1);
}
