//! Metrics of all five kinds, in both temporalities, with every field of their points.

use opentelemetry_proto::tonic::metrics::v1::exemplar;
use opentelemetry_proto::tonic::metrics::v1::exponential_histogram_data_point::Buckets;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value as Number;
use opentelemetry_proto::tonic::metrics::v1::summary_data_point::ValueAtQuantile;
use opentelemetry_proto::tonic::metrics::v1::{
    Exemplar, ExponentialHistogram, ExponentialHistogramDataPoint, Gauge, Histogram, HistogramDataPoint,
    Metric, NumberDataPoint, Sum, Summary, SummaryDataPoint,
};
use serde_json::{Value, json};

use super::samples::{TRACE, TRACE_HEX, attributes, attributes_json};

/// The numbers of both aggregation temporalities: delta and cumulative.
const TEMPORALITIES: [i32; 2] = [1, 2];

fn exemplars(now: u64) -> Vec<Exemplar> {
    let exemplar = |value| Exemplar {
        filtered_attributes: attributes(),
        time_unix_nano: now - 5,
        span_id: b"exemplar".to_vec(),
        trace_id: TRACE.to_vec(),
        value: Some(value),
    };
    vec![exemplar(exemplar::Value::AsDouble(2.5)), exemplar(exemplar::Value::AsInt(-2))]
}

fn exemplars_json(now: u64) -> Value {
    let exemplar = |name: &str, value: Value| {
        json!({
            "filteredAttributes": attributes_json(), "timeUnixNano": (now - 5).to_string(),
            "spanId": "6578656d706c6172", "traceId": TRACE_HEX, name: value,
        })
    };
    json!([exemplar("asDouble", json!(2.5)), exemplar("asInt", json!("-2"))])
}

fn number(now: u64, value: Option<Number>) -> NumberDataPoint {
    NumberDataPoint {
        attributes: attributes(),
        start_time_unix_nano: now - 1_000,
        time_unix_nano: now,
        exemplars: exemplars(now),
        // A point without value says that it is a gap.
        flags: u32::from(value.is_none()),
        value,
    }
}

fn number_json(now: u64, value: Option<(&str, Value)>) -> Value {
    let mut point = json!({
        "attributes": attributes_json(), "startTimeUnixNano": (now - 1_000).to_string(),
        "timeUnixNano": now.to_string(), "exemplars": exemplars_json(now), "flags": u8::from(value.is_none()),
    });
    if let Some((name, value)) = value {
        point[name] = value;
    }
    point
}

fn metric(name: String, data: Data) -> Metric {
    let (description, unit) = ("What it measures.".into(), "By".into());
    Metric { name, description, unit, metadata: attributes(), data: Some(data) }
}

fn metric_json(name: String, kind: &str, data: Value) -> Value {
    json!({
        "name": name, "description": "What it measures.", "unit": "By", "metadata": attributes_json(), kind: data,
    })
}

/// Metrics with one point each, measured at the time `now`, in nanoseconds.
pub(super) fn metrics(now: u64) -> Vec<Metric> {
    let gauge = |value| Data::Gauge(Gauge { data_points: vec![number(now, value)] });
    let mut metrics = vec![
        metric("gauge.double".into(), gauge(Some(Number::AsDouble(-0.0)))),
        metric("gauge.int".into(), gauge(Some(Number::AsInt(i64::MIN)))),
        metric("gauge.nan".into(), gauge(Some(Number::AsDouble(f64::NAN)))),
        metric("gauge.gap".into(), gauge(None)),
    ];
    for aggregation_temporality in TEMPORALITIES {
        let name = |kind: &str| format!("{kind}.{aggregation_temporality}");
        for is_monotonic in [true, false] {
            let data_points = vec![number(now, Some(Number::AsInt(17)))];
            let sum = Data::Sum(Sum { data_points, aggregation_temporality, is_monotonic });
            metrics.push(metric(name(&format!("sum.{is_monotonic}")), sum));
        }
        let data_points = vec![histogram(now)];
        metrics.push(metric(
            name("histogram"),
            Data::Histogram(Histogram { data_points, aggregation_temporality }),
        ));
        let exponential =
            ExponentialHistogram { data_points: vec![exponential(now)], aggregation_temporality };
        metrics.push(metric(name("exponential"), Data::ExponentialHistogram(exponential)));
    }
    metrics.push(metric("summary".into(), Data::Summary(Summary { data_points: vec![summary(now)] })));
    metrics
}

/// [`metrics`] in JSON.
pub(super) fn metrics_json(now: u64) -> Value {
    let gauge = |value| json!({"dataPoints": [number_json(now, value)]});
    let mut metrics = vec![
        metric_json("gauge.double".into(), "gauge", gauge(Some(("asDouble", json!(-0.0))))),
        metric_json("gauge.int".into(), "gauge", gauge(Some(("asInt", json!(i64::MIN.to_string()))))),
        metric_json("gauge.nan".into(), "gauge", gauge(Some(("asDouble", json!("NaN"))))),
        metric_json("gauge.gap".into(), "gauge", gauge(None)),
    ];
    for temporality in TEMPORALITIES {
        let name = |kind: &str| format!("{kind}.{temporality}");
        let data = |point: Value| json!({"dataPoints": [point], "aggregationTemporality": temporality});
        for is_monotonic in [true, false] {
            let mut sum = data(number_json(now, Some(("asInt", json!("17")))));
            sum["isMonotonic"] = json!(is_monotonic);
            metrics.push(metric_json(name(&format!("sum.{is_monotonic}")), "sum", sum));
        }
        metrics.push(metric_json(name("histogram"), "histogram", data(histogram_json(now))));
        metrics.push(metric_json(name("exponential"), "exponentialHistogram", data(exponential_json(now))));
    }
    let summary = json!({"dataPoints": [summary_json(now)]});
    metrics.push(metric_json("summary".into(), "summary", summary));
    json!(metrics)
}

fn histogram(now: u64) -> HistogramDataPoint {
    HistogramDataPoint {
        attributes: attributes(),
        start_time_unix_nano: now - 1_000,
        time_unix_nano: now,
        count: 6,
        sum: Some(9.75),
        bucket_counts: vec![1, 0, 5],
        explicit_bounds: vec![-1.0, 2.5],
        exemplars: exemplars(now),
        flags: 0,
        min: Some(-3.0),
        max: Some(4.0),
    }
}

fn histogram_json(now: u64) -> Value {
    json!({
        "attributes": attributes_json(), "startTimeUnixNano": (now - 1_000).to_string(),
        "timeUnixNano": now.to_string(), "count": "6", "sum": 9.75, "bucketCounts": ["1", 0, "5"],
        "explicitBounds": [-1, 2.5], "exemplars": exemplars_json(now), "min": -3, "max": "4",
    })
}

fn exponential(now: u64) -> ExponentialHistogramDataPoint {
    ExponentialHistogramDataPoint {
        attributes: attributes(),
        start_time_unix_nano: now - 1_000,
        time_unix_nano: now,
        count: 9,
        sum: Some(-1.5),
        scale: -3,
        zero_count: 2,
        positive: Some(Buckets { offset: -7, bucket_counts: vec![1, 0, 2] }),
        negative: Some(Buckets { offset: 4, bucket_counts: vec![4] }),
        flags: 0,
        exemplars: exemplars(now),
        min: Some(-9.0),
        max: Some(8.0),
        zero_threshold: 0.25,
    }
}

fn exponential_json(now: u64) -> Value {
    json!({
        "attributes": attributes_json(), "startTimeUnixNano": (now - 1_000).to_string(),
        "timeUnixNano": now.to_string(), "count": 9, "sum": -1.5, "scale": -3, "zeroCount": "2",
        "positive": {"offset": -7, "bucketCounts": ["1", "0", "2"]},
        "negative": {"offset": 4, "bucketCounts": [4]},
        "exemplars": exemplars_json(now), "min": -9.0, "max": 8.0, "zeroThreshold": 0.25,
    })
}

fn summary(now: u64) -> SummaryDataPoint {
    let quantile = |quantile, value| ValueAtQuantile { quantile, value };
    SummaryDataPoint {
        attributes: attributes(),
        start_time_unix_nano: now - 1_000,
        time_unix_nano: now,
        count: 4,
        sum: 10.0,
        quantile_values: vec![quantile(0.0, 1.0), quantile(0.5, 2.0), quantile(1.0, 5.0)],
        flags: 0,
    }
}

fn summary_json(now: u64) -> Value {
    json!({
        "attributes": attributes_json(), "startTimeUnixNano": (now - 1_000).to_string(),
        "timeUnixNano": now.to_string(), "count": "4", "sum": 10,
        "quantileValues": [{"value": 1}, {"quantile": 0.5, "value": 2}, {"quantile": 1, "value": 5}],
    })
}
