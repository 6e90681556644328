//! What the database of a stopped server holds, in the words of OTLP.

use opentelemetry_proto::tonic::common::v1::{
    AnyValue, ArrayValue, InstrumentationScope, KeyValue, KeyValueList, any_value,
};
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_proto::tonic::metrics::v1::{
    ExponentialHistogram, ExponentialHistogramDataPoint, Gauge, Histogram, HistogramDataPoint, Metric,
    NumberDataPoint, Sum, Summary, SummaryDataPoint, metric, number_data_point,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::Span;
use otelcontext::model::id::{InstrumentationId, ResourceId, TenantNumber};
use otelcontext::model::metric::{MetricKind, Point, PointValue};
use otelcontext::model::packed::Attributes;
use otelcontext::model::packed::value::Value;
use otelcontext::model::tenant::TenantId;
use otelcontext::model::time::{UnixNanos, Window};
use otelcontext::store::Store;
use otelcontext::store::options::Options;
use otelcontext::store::read::counts::Counts;
use otelcontext::store::read::logs::LogAsk;
use otelcontext::store::read::metrics::{SeriesAsk, StoredSeries};
use otelcontext::store::read::spans::SpanAsk;
use prost::Message;

use crate::server::Server;

/// Items of one tenant that are read at most.
const ITEMS_MAX: usize = 10_000;
const ALWAYS: Window = Window { from: UnixNanos(i64::MIN), to: UnixNanos(i64::MAX) };

/// Where an item came from: its resource and scope, each with its schema.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Sender {
    pub(super) resource: Resource,
    pub(super) resource_schema: String,
    pub(super) scope: InstrumentationScope,
    pub(super) scope_schema: String,
}

/// The database of a server that has stopped.
pub(super) struct Stored {
    store: Store,
}

impl Stored {
    /// Stops `server` and opens what it left.
    pub(super) async fn after(server: &mut Server) -> Self {
        assert_eq!(server.terminate().await, Some(0), "{}", server.log());
        Self::of(server).await
    }

    /// Opens the database of a server that runs no more.
    pub(super) async fn of(server: &Server) -> Self {
        let options = Options::at(server.folder().join("data/otelcontext.db"));
        Self { store: Store::open(options).await.unwrap() }
    }

    /// The names of all tenants.
    pub(super) fn tenants(&self) -> Vec<String> {
        self.store.names().tenants().into_iter().map(|(_, tenant)| tenant.as_str().to_owned()).collect()
    }

    /// How much of everything there is.
    pub(super) async fn counts(&self) -> Counts {
        self.store.counts(None).await.unwrap()
    }

    fn tenant(&self, name: &str) -> Option<TenantNumber> {
        self.store.names().find_tenant(&TenantId::try_from(name).unwrap())
    }

    /// Every span of `tenant`, by its own time.
    pub(super) async fn spans(&self, tenant: &str) -> Vec<(Sender, Span)> {
        let Some(tenant) = self.tenant(tenant) else { return Vec::new() };
        let ask = SpanAsk { with_detail: true, ..SpanAsk::newest(ALWAYS, ITEMS_MAX) };
        let names = self.store.names();
        let mut spans = Vec::new();
        for row in self.store.spans(tenant, &ask).await.unwrap().into_iter().rev() {
            let mut span = Span::decode(row.detail.as_bytes().clone()).unwrap();
            span.trace_id = row.trace_id.as_bytes().to_vec();
            span.span_id = row.span_id.as_bytes().to_vec();
            span.parent_span_id = row.parent_id.map(|id| id.as_bytes().to_vec()).unwrap_or_default();
            span.name = names.operation_info(row.operation).unwrap().name.to_string();
            span.kind = row.kind.0.into();
            span.start_time_unix_nano = nanos(row.start);
            span.end_time_unix_nano = nanos(row.end());
            let said = span.status.as_ref().map_or(0, |status| status.code);
            assert_eq!(said, i32::from(row.status.number()), "the status is kept twice and differs");
            spans.push((self.sender(row.resource, row.instrumentation), span));
        }
        spans
    }

    /// Every log record of `tenant`, by its own time.
    pub(super) async fn logs(&self, tenant: &str) -> Vec<(Sender, LogRecord)> {
        let Some(tenant) = self.tenant(tenant) else { return Vec::new() };
        let ask = LogAsk { with_detail: true, ..LogAsk::newest(ALWAYS, ITEMS_MAX) };
        let mut logs = Vec::new();
        for row in self.store.logs(tenant, &ask).await.unwrap().items.into_iter().rev().map(|log| log.row) {
            let mut log = LogRecord::decode(row.detail.as_bytes().clone()).unwrap();
            log.time_unix_nano = nanos(row.time);
            log.severity_number = row.severity.0.into();
            log.trace_id = row.trace_id.map(|id| id.as_bytes().to_vec()).unwrap_or_default();
            log.span_id = row.span_id.map(|id| id.as_bytes().to_vec()).unwrap_or_default();
            logs.push((self.sender(row.resource, row.instrumentation), log));
        }
        logs
    }

    /// Every point of `tenant`, each as a metric of its own.
    pub(super) async fn metrics(&self, tenant: &str) -> Vec<(Sender, Metric)> {
        let Some(tenant) = self.tenant(tenant) else { return Vec::new() };
        let ask = SeriesAsk { limit: ITEMS_MAX, ..SeriesAsk::default() };
        let mut metrics = Vec::new();
        for series in self.store.series(tenant, &ask).await.unwrap() {
            let points = self.store.points(tenant, &[series.id], ALWAYS, ITEMS_MAX).await.unwrap();
            for (_, point) in points {
                let sender = self.sender(series.resource, series.instrumentation);
                metrics.push((sender, metric_of(&series, &point)));
            }
        }
        metrics
    }

    fn sender(&self, resource: ResourceId, instrumentation: InstrumentationId) -> Sender {
        let names = self.store.names();
        let resource = names.resource_info(resource).unwrap();
        let resource = &resource.resource;
        let scope = names.instrumentation_info(instrumentation).unwrap();
        let scope = &scope.instrumentation;
        Sender {
            resource: Resource {
                attributes: key_values(&resource.attributes),
                dropped_attributes_count: resource.dropped_attributes,
                entity_refs: Vec::new(),
            },
            resource_schema: resource.schema_url.as_str().to_owned(),
            scope: InstrumentationScope {
                name: scope.name.as_str().to_owned(),
                version: scope.version.as_str().to_owned(),
                attributes: key_values(&scope.attributes),
                dropped_attributes_count: scope.dropped_attributes,
            },
            scope_schema: scope.schema_url.as_str().to_owned(),
        }
    }
}

fn nanos(time: UnixNanos) -> u64 {
    u64::try_from(time.0).unwrap()
}

fn key_values(attributes: &Attributes) -> Vec<KeyValue> {
    attributes.iter().map(key_value).collect()
}

fn key_value((key, value): (&str, Value<'_>)) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(any_value(value)), ..KeyValue::default() }
}

fn any_value(value: Value<'_>) -> AnyValue {
    let value = match value {
        Value::Empty => None,
        Value::Text(text) => Some(any_value::Value::StringValue(text.to_owned())),
        Value::Bool(flag) => Some(any_value::Value::BoolValue(flag)),
        Value::Int(number) => Some(any_value::Value::IntValue(number)),
        Value::Double(number) => Some(any_value::Value::DoubleValue(number)),
        Value::Bytes(bytes) => Some(any_value::Value::BytesValue(bytes.to_vec())),
        Value::Array(items) => {
            Some(any_value::Value::ArrayValue(ArrayValue { values: items.iter().map(any_value).collect() }))
        }
        Value::Map(entries) => Some(any_value::Value::KvlistValue(KeyValueList {
            values: entries.iter().map(key_value).collect(),
        })),
    };
    AnyValue { value }
}

/// One stored point as a metric that has no other.
fn metric_of(series: &StoredSeries, point: &Point) -> Metric {
    let definition = &series.definition;
    let temporality = definition.temporality as i32;
    let data = match definition.kind {
        MetricKind::Gauge => metric::Data::Gauge(Gauge { data_points: vec![number(point)] }),
        MetricKind::Sum => metric::Data::Sum(Sum {
            data_points: vec![number(point)],
            aggregation_temporality: temporality,
            is_monotonic: definition.monotonic,
        }),
        MetricKind::Histogram => metric::Data::Histogram(Histogram {
            data_points: vec![histogram(point)],
            aggregation_temporality: temporality,
        }),
        MetricKind::ExponentialHistogram => metric::Data::ExponentialHistogram(ExponentialHistogram {
            data_points: vec![exponential(point)],
            aggregation_temporality: temporality,
        }),
        MetricKind::Summary => metric::Data::Summary(Summary { data_points: vec![summary(point)] }),
    };
    Metric {
        name: definition.name.as_str().to_owned(),
        description: definition.description.as_str().to_owned(),
        unit: definition.unit.as_str().to_owned(),
        metadata: key_values(&definition.metadata),
        data: Some(data),
    }
}

fn number(point: &Point) -> NumberDataPoint {
    NumberDataPoint {
        attributes: key_values(&point.attributes),
        start_time_unix_nano: nanos(point.start),
        time_unix_nano: nanos(point.time),
        value: match point.value {
            PointValue::Int(number) => Some(number_data_point::Value::AsInt(number)),
            PointValue::Double(number) => Some(number_data_point::Value::AsDouble(number)),
            _ => None,
        },
        ..NumberDataPoint::decode(point.detail.as_bytes().clone()).unwrap()
    }
}

fn totals(point: &Point) -> (u64, Option<f64>) {
    match point.value {
        PointValue::Distribution { count, sum } => (count, sum),
        _ => (0, None),
    }
}

fn histogram(point: &Point) -> HistogramDataPoint {
    let (count, sum) = totals(point);
    HistogramDataPoint {
        attributes: key_values(&point.attributes),
        start_time_unix_nano: nanos(point.start),
        time_unix_nano: nanos(point.time),
        count,
        sum,
        ..HistogramDataPoint::decode(point.detail.as_bytes().clone()).unwrap()
    }
}

fn exponential(point: &Point) -> ExponentialHistogramDataPoint {
    let (count, sum) = totals(point);
    ExponentialHistogramDataPoint {
        attributes: key_values(&point.attributes),
        start_time_unix_nano: nanos(point.start),
        time_unix_nano: nanos(point.time),
        count,
        sum,
        ..ExponentialHistogramDataPoint::decode(point.detail.as_bytes().clone()).unwrap()
    }
}

fn summary(point: &Point) -> SummaryDataPoint {
    let (count, sum) = totals(point);
    SummaryDataPoint {
        attributes: key_values(&point.attributes),
        start_time_unix_nano: nanos(point.start),
        time_unix_nano: nanos(point.time),
        count,
        sum: sum.unwrap_or_default(),
        ..SummaryDataPoint::decode(point.detail.as_bytes().clone()).unwrap()
    }
}
