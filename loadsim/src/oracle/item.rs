//! What is known of one item: who it is, and a digest of all that it says.

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::metrics::v1::{Metric, metric};
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message;
use xxhash_rust::xxh3::Xxh3Default;

use crate::ledger::hex;

/// One span, log record or point.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// What must be there once: trace and span id in hexadecimal for a span, the digest for all else, which has no name.
    pub id: String,
    /// A digest of the item with its resource and scope; the order of attributes does not matter.
    pub digest: u128,
}

/// The spans of a request.
pub fn spans(message: &ExportTraceServiceRequest) -> Vec<Item> {
    let mut items = Vec::new();
    for of_resource in &message.resource_spans {
        for of_scope in &of_resource.scope_spans {
            let origin = origin(
                (of_resource.resource.as_ref(), &of_resource.schema_url),
                (of_scope.scope.as_ref(), &of_scope.schema_url),
            );
            for span in &of_scope.spans {
                let mut span = span.clone();
                sort(&mut span.attributes);
                span.events.iter_mut().for_each(|event| sort(&mut event.attributes));
                span.links.iter_mut().for_each(|link| sort(&mut link.attributes));
                // A status that says nothing is none.
                span.status = span.status.filter(|status| *status != Default::default());
                let id = format!("{}{}", hex(&span.trace_id), hex(&span.span_id));
                items.push(Item { id, digest: digest(&origin, &span) });
            }
        }
    }
    items
}

/// The log records of a request.
pub fn logs(message: &ExportLogsServiceRequest) -> Vec<Item> {
    let mut items = Vec::new();
    for of_resource in &message.resource_logs {
        for of_scope in &of_resource.scope_logs {
            let origin = origin(
                (of_resource.resource.as_ref(), &of_resource.schema_url),
                (of_scope.scope.as_ref(), &of_scope.schema_url),
            );
            for record in &of_scope.log_records {
                let mut record = record.clone();
                sort(&mut record.attributes);
                items.push(nameless(digest(&origin, &record)));
            }
        }
    }
    items
}

/// The points of a request, each with what its metric says.
pub fn points(message: &ExportMetricsServiceRequest) -> Vec<Item> {
    let mut items = Vec::new();
    for of_resource in &message.resource_metrics {
        for of_scope in &of_resource.scope_metrics {
            let origin = origin(
                (of_resource.resource.as_ref(), &of_resource.schema_url),
                (of_scope.scope.as_ref(), &of_scope.schema_url),
            );
            for metric in &of_scope.metrics {
                let apart = apart(metric);
                items.extend(apart.iter().map(|metric| nameless(digest(&origin, metric))));
            }
        }
    }
    items
}

/// A metric for each of its points.
fn apart(metric: &Metric) -> Vec<Metric> {
    let bare = bare(metric);
    /// A metric whose data is `$data` with one of its points.
    macro_rules! each {
        ($data:ident, $kind:ident) => {{
            let mut rest = $data.clone();
            let points = std::mem::take(&mut rest.data_points);
            let each = points.into_iter().map(|mut point| {
                sort(&mut point.attributes);
                let mut data = rest.clone();
                data.data_points.push(point);
                Metric { data: Some(metric::Data::$kind(data)), ..bare.clone() }
            });
            each.collect()
        }};
    }
    match &metric.data {
        Some(metric::Data::Gauge(data)) => each!(data, Gauge),
        Some(metric::Data::Sum(data)) => each!(data, Sum),
        Some(metric::Data::Histogram(data)) => each!(data, Histogram),
        Some(metric::Data::ExponentialHistogram(data)) => each!(data, ExponentialHistogram),
        Some(metric::Data::Summary(data)) => each!(data, Summary),
        None => Vec::new(),
    }
}

/// A metric without its data.
fn bare(metric: &Metric) -> Metric {
    let mut metadata = metric.metadata.clone();
    sort(&mut metadata);
    let (name, description, unit) = (metric.name.clone(), metric.description.clone(), metric.unit.clone());
    Metric { name, description, unit, metadata, data: None }
}

fn nameless(digest: u128) -> Item {
    Item { id: format!("{digest:032x}"), digest }
}

/// What all items of one scope share, as bytes.
fn origin(
    (resource, schema): (Option<&Resource>, &str),
    (scope, scope_schema): (Option<&InstrumentationScope>, &str),
) -> Vec<u8> {
    let mut resource = resource.cloned().unwrap_or_default();
    sort(&mut resource.attributes);
    let mut scope = scope.cloned().unwrap_or_default();
    sort(&mut scope.attributes);
    let mut bytes = resource.encode_length_delimited_to_vec();
    bytes.extend(scope.encode_length_delimited_to_vec());
    for url in [schema, scope_schema] {
        bytes.extend((url.len() as u64).to_le_bytes());
        bytes.extend(url.as_bytes());
    }
    bytes
}

fn sort(attributes: &mut [KeyValue]) {
    attributes.sort_by(|a, b| a.key.cmp(&b.key));
}

fn digest(origin: &[u8], item: &impl Message) -> u128 {
    let mut hasher = Xxh3Default::new();
    hasher.update(&(origin.len() as u64).to_le_bytes());
    hasher.update(origin);
    hasher.update(&item.encode_to_vec());
    hasher.digest128()
}

#[cfg(test)]
mod tests {
    use super::*;
    use opentelemetry_proto::tonic::common::v1::{AnyValue, any_value};
    use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};

    fn attribute(key: &str, value: i64) -> KeyValue {
        let value = Some(AnyValue { value: Some(any_value::Value::IntValue(value)) });
        KeyValue { key: key.into(), value, ..KeyValue::default() }
    }

    fn id(service: i64, attributes: Vec<KeyValue>) -> String {
        let resource = Resource { attributes: vec![attribute("service", service)], ..Resource::default() };
        let record = LogRecord { attributes, ..LogRecord::default() };
        let message = ExportLogsServiceRequest {
            resource_logs: vec![ResourceLogs {
                resource: Some(resource),
                scope_logs: vec![ScopeLogs { log_records: vec![record], ..ScopeLogs::default() }],
                ..ResourceLogs::default()
            }],
        };
        logs(&message).pop().unwrap().id
    }

    #[test]
    fn what_is_said_makes_the_digest_and_the_order_of_attributes_does_not() {
        let one = id(1, vec![attribute("a", 1), attribute("b", 2)]);
        assert_eq!(one, id(1, vec![attribute("b", 2), attribute("a", 1)]));
        assert_ne!(one, id(1, vec![attribute("a", 2), attribute("b", 1)]), "other values");
        assert_ne!(one, id(2, vec![attribute("a", 1), attribute("b", 2)]), "another resource");
    }
}
