//! Log records and metric points beside those that belong to spans: what services say of their own accord.

use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_proto::tonic::metrics::v1::exponential_histogram_data_point::Buckets;
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, Exemplar, ExponentialHistogram, ExponentialHistogramDataPoint, Gauge, Histogram,
    HistogramDataPoint, Metric, NumberDataPoint, Sum, exemplar, metric, number_data_point,
};

use crate::dice::Dice;
use crate::encode::{integer, number, text};

/// Metrics of a service: a cumulative sum, a gauge, a delta sum, a histogram and an exponential histogram.
pub(crate) const METRICS: usize = 5;
/// Series of each of these.
pub(crate) const SERIES: usize = 2;

/// Upper bounds of the histogram, in seconds.
const BOUNDS: [f64; 10] = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
/// The attribute that tells the series of a metric apart.
const REGIONS: [&str; SERIES] = ["north", "south"];

const DEBUG: [&str; 3] = [
    "lookup of key user:{number} took {number} us",
    "retry budget of {word} is {percent} percent",
    "pool {word} holds {small} idle connections of {small}",
];
const INFO: [&str; 10] = [
    "session {id} of user {number} opened from {address}",
    "job {word}-{number} finished in {number} ms",
    "cache {word} refreshed with {number} entries",
    "published event {id} to topic {word}",
    "order {number} moved to state {word}",
    "loaded {number} rules of set {word} in {small} ms",
    "user {number} changed setting {word}",
    "partition {small} of topic {word} assigned to worker {small}",
    "uploaded {number} bytes as object {id}",
    "checked {small} endpoints of {word}, all healthy",
];
const WARN: [&str; 4] = [
    "slow query on {word}: {number} ms for {number} rows",
    "queue {word} is {percent} percent full",
    "rate limit of client {address} reached, {small} requests dropped",
    "certificate of {word} expires in {small} days",
];
const ERROR: [&str; 3] = [
    "cannot parse message {id} of topic {word} at byte {number}",
    "write to {address} failed after {small} tries: broken pipe",
    "constraint {word} violated by row {number}",
];
const WORDS: [&str; 24] = [
    "accounts",
    "alerts",
    "baskets",
    "billing",
    "catalog",
    "credits",
    "devices",
    "exports",
    "invoices",
    "labels",
    "offers",
    "orders",
    "payments",
    "prices",
    "profiles",
    "refunds",
    "reports",
    "returns",
    "routes",
    "search",
    "shipments",
    "stock",
    "tickets",
    "vouchers",
];

/// A span that a record or an exemplar belongs to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct About {
    /// Its trace.
    pub(crate) trace_id: [u8; 16],
    /// Its id.
    pub(crate) span_id: [u8; 8],
}

/// The times of a point.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Times {
    /// When the counters began.
    pub(crate) begin_ns: u64,
    /// The time of the point before in the same series.
    pub(crate) before_ns: u64,
    /// The point's own.
    pub(crate) at_ns: u64,
}

/// Says what services say; repeatable by the dice.
#[derive(Debug)]
pub(crate) struct Chatter {
    dice: Dice,
    totals: Vec<[u64; SERIES]>,
}

impl Chatter {
    /// The chatter of so many services.
    pub(crate) fn new(services: usize, dice: Dice) -> Self {
        Self { dice, totals: vec![[0; SERIES]; services] }
    }

    /// A log record: of twelve, seven INFO, two WARN, two DEBUG and one ERROR.
    pub(crate) fn record(&mut self, at_ns: u64, about: Option<About>) -> LogRecord {
        let dice = &mut self.dice;
        let (severity_number, severity_text, templates): (i32, &str, &[&str]) = match dice.below(12) {
            0..7 => (9, "INFO", &INFO),
            7 | 8 => (13, "WARN", &WARN),
            9 | 10 => (5, "DEBUG", &DEBUG),
            _ => (17, "ERROR", &ERROR),
        };
        let body = filled(templates[dice.below(templates.len())], dice);
        let thread = format!("pool-{}", dice.below(8));
        LogRecord {
            time_unix_nano: at_ns,
            observed_time_unix_nano: at_ns,
            severity_number,
            severity_text: severity_text.into(),
            body: Some(AnyValue { value: Some(any_value::Value::StringValue(body)) }),
            attributes: vec![
                text("thread.name", &thread),
                integer("code.line.number", dice.below(900) as i64),
            ],
            trace_id: about.map(|about| about.trace_id.to_vec()).unwrap_or_default(),
            span_id: about.map(|about| about.span_id.to_vec()).unwrap_or_default(),
            ..LogRecord::default()
        }
    }

    /// One of the metrics of a service, by its number below [`METRICS`], with a point for each of its series.
    pub(crate) fn metric(
        &mut self,
        service: usize,
        which: usize,
        times: Times,
        about: Option<About>,
    ) -> Metric {
        let each = 0..SERIES;
        let (name, unit, data) = match which {
            0 => {
                let data_points = each.map(|series| self.total(service, series, times)).collect();
                ("app.messages.handled", "{message}", sum(data_points, AggregationTemporality::Cumulative))
            }
            1 => {
                let data_points = each.map(|series| self.number(series, times, 200)).collect();
                ("app.queue.depth", "{message}", metric::Data::Gauge(Gauge { data_points }))
            }
            2 => {
                let data_points = each.map(|series| self.number(series, times, 1 << 20)).collect();
                ("app.bytes.sent", "By", sum(data_points, AggregationTemporality::Delta))
            }
            3 => {
                let data_points = each.map(|series| self.histogram(series, times, about)).collect();
                let aggregation_temporality = AggregationTemporality::Delta.into();
                let data = metric::Data::Histogram(Histogram { data_points, aggregation_temporality });
                ("app.job.duration", "s", data)
            }
            _ => {
                let data_points = each.map(|series| self.exponential(series, times)).collect();
                let aggregation_temporality = AggregationTemporality::Delta.into();
                let data = ExponentialHistogram { data_points, aggregation_temporality };
                ("app.payload.size", "By", metric::Data::ExponentialHistogram(data))
            }
        };
        Metric { name: name.into(), unit: unit.into(), data: Some(data), ..Metric::default() }
    }

    fn total(&mut self, service: usize, series: usize, times: Times) -> NumberDataPoint {
        let total = &mut self.totals[service][series];
        *total += 1 + self.dice.below(50) as u64;
        let value = Some(number_data_point::Value::AsInt((*total).cast_signed()));
        NumberDataPoint { value, ..number(0.0, times.begin_ns, times.at_ns, vec![region(series)]) }
    }

    fn number(&mut self, series: usize, times: Times, below: usize) -> NumberDataPoint {
        number(self.dice.below(below) as f64, times.before_ns, times.at_ns, vec![region(series)])
    }

    fn histogram(&mut self, series: usize, times: Times, about: Option<About>) -> HistogramDataPoint {
        let mut bucket_counts = vec![0; BOUNDS.len() + 1];
        let (count, mut sum) = (5 + self.dice.below(40), 0.0);
        for _ in 0..count {
            let seconds = self.dice.latency(1.5e8) as f64 / 1e9;
            sum += seconds;
            bucket_counts[BOUNDS.partition_point(|bound| *bound < seconds)] += 1;
        }
        let exemplars = about.map(|about| Exemplar {
            time_unix_nano: times.at_ns,
            trace_id: about.trace_id.to_vec(),
            span_id: about.span_id.to_vec(),
            value: Some(exemplar::Value::AsDouble(sum / count as f64)),
            ..Exemplar::default()
        });
        HistogramDataPoint {
            attributes: vec![region(series)],
            start_time_unix_nano: times.before_ns,
            time_unix_nano: times.at_ns,
            count: count as u64,
            sum: Some(sum),
            bucket_counts,
            explicit_bounds: BOUNDS.to_vec(),
            exemplars: exemplars.into_iter().collect(),
            ..HistogramDataPoint::default()
        }
    }

    fn exponential(&mut self, series: usize, times: Times) -> ExponentialHistogramDataPoint {
        const OFFSET: i32 = 20;
        let counts: Vec<u64> = (0..12).map(|_| self.dice.below(6) as u64).collect();
        // At scale 1 the base is the root of two; each value is taken to be its bucket's lower bound.
        let bounds = (OFFSET..).map(|index| 2_f64.powf(f64::from(index) / 2.0));
        let sum = counts.iter().zip(bounds).map(|(count, bound)| *count as f64 * bound).sum();
        ExponentialHistogramDataPoint {
            attributes: vec![region(series)],
            start_time_unix_nano: times.before_ns,
            time_unix_nano: times.at_ns,
            count: counts.iter().sum(),
            sum: Some(sum),
            scale: 1,
            positive: Some(Buckets { offset: OFFSET, bucket_counts: counts }),
            ..ExponentialHistogramDataPoint::default()
        }
    }
}

fn sum(data_points: Vec<NumberDataPoint>, temporality: AggregationTemporality) -> metric::Data {
    let aggregation_temporality = temporality.into();
    metric::Data::Sum(Sum { data_points, aggregation_temporality, is_monotonic: true })
}

fn region(series: usize) -> KeyValue {
    text("region", REGIONS[series])
}

/// A template with words and numbers where it names them.
fn filled(template: &str, dice: &mut Dice) -> String {
    let mut filled = String::new();
    for part in template.split_inclusive('}') {
        let (fixed, name) = part.split_once('{').unwrap_or((part, ""));
        filled.push_str(fixed);
        match name {
            "word}" => filled.push_str(WORDS[dice.below(WORDS.len())]),
            "number}" => filled.push_str(&dice.below(100_000).to_string()),
            "small}" => filled.push_str(&(1 + dice.below(60)).to_string()),
            "percent}" => filled.push_str(&format!("{:.1}", dice.share() * 100.0)),
            "id}" => filled.push_str(&format!("{:016x}", dice.word())),
            "address}" => {
                filled.push_str(&format!("10.{}.{}.{}", dice.below(4), dice.below(256), dice.below(256)))
            }
            _ => {}
        }
    }
    filled
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn records_have_the_severities_of_the_promise_and_no_open_places() {
        let mut chatter = Chatter::new(1, Dice::new(3));
        let records: Vec<LogRecord> = (0..12_000).map(|at_ns| chatter.record(at_ns, None)).collect();
        for (severity, share) in [("INFO", 7), ("WARN", 2), ("DEBUG", 2), ("ERROR", 1)] {
            let count = records.iter().filter(|record| record.severity_text == severity).count();
            assert!(count.abs_diff(share * 1000) < 200, "{severity}: {count}");
        }
        for record in &records {
            let body = record.body.as_ref().and_then(|body| body.value.as_ref());
            let Some(any_value::Value::StringValue(body)) = body else { panic!("{body:?}") };
            assert!(!body.contains(['{', '}']), "{body}");
        }
    }

    #[test]
    fn a_service_has_ten_series_and_its_totals_grow() {
        let mut chatter = Chatter::new(2, Dice::new(3));
        let times = Times { begin_ns: 1, before_ns: 2, at_ns: 3 };
        let mut total = 0;
        for _ in 0..5 {
            let Some(metric::Data::Sum(sum)) = chatter.metric(1, 0, times, None).data else {
                panic!("the first metric is a sum");
            };
            let Some(number_data_point::Value::AsInt(value)) = sum.data_points[0].value else {
                panic!("its values are whole numbers");
            };
            assert!(value > total && sum.data_points[0].start_time_unix_nano == 1);
            total = value;
        }
        let names: BTreeSet<String> =
            (0..METRICS).map(|which| chatter.metric(0, which, times, None).name).collect();
        assert_eq!(names.len() * SERIES, 10);
    }
}
