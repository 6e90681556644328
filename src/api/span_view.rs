//! Spans, log records and their senders as answers show them.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::model::id::{InstrumentationId, ResourceId};
use crate::query::Query;
use crate::store::read::logs::StoredLog;
use crate::store::rows::SpanRow;

use super::time::{milliseconds, rfc3339};
use super::value;

/// A span.
#[derive(Serialize, ToSchema)]
#[schema(as = Span)]
pub(super) struct SpanView {
    /// The trace it belongs to: 32 hexadecimal digits.
    trace_id: String,
    /// Its own id: 16 hexadecimal digits.
    span_id: String,
    /// The span that caused it; null for a root.
    parent_span_id: Option<String>,
    /// The service that sent it.
    service: String,
    /// Its name.
    operation: String,
    /// `internal`, `server`, `client`, `producer`, `consumer` or `unknown`.
    kind: &'static str,
    /// `unset`, `ok` or `error`.
    status: &'static str,
    /// What its sender says about the status.
    #[serde(skip_serializing_if = "String::is_empty")]
    status_message: String,
    /// When it began.
    #[schema(format = DateTime)]
    start: String,
    /// How long it took, in milliseconds.
    #[schema(minimum = 0)]
    duration_ms: f64,
    /// Whether it is where a request enters its service.
    entry: bool,
    /// The database, queue or host that it calls, where it calls one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    dependency: Option<String>,
    /// Its attributes, with their types.
    #[schema(value_type = Object)]
    attributes: Map<String, Value>,
    /// What happened during it, in order of arrival.
    events: Vec<EventView>,
    /// The spans that it points to.
    links: Vec<LinkView>,
    /// Who sent it: a key of `resources`.
    resource: String,
    /// The library that made it.
    scope: ScopeView,
    /// W3C trace state.
    #[serde(skip_serializing_if = "String::is_empty")]
    trace_state: String,
    /// All 32 flag bits; the low eight are the W3C trace flags.
    flags: u32,
    /// Attributes that its sender says it dropped.
    #[serde(skip_serializing_if = "is_zero")]
    dropped_attributes: u64,
    /// Events that its sender says it dropped.
    #[serde(skip_serializing_if = "is_zero")]
    dropped_events: u64,
    /// Links that its sender says it dropped.
    #[serde(skip_serializing_if = "is_zero")]
    dropped_links: u64,
}

/// Something that happened during a span.
#[derive(Serialize, ToSchema)]
#[schema(as = Event)]
struct EventView {
    /// When.
    #[schema(format = DateTime)]
    time: String,
    /// What; `exception` for recorded exceptions.
    name: String,
    /// Its attributes, with their types.
    #[schema(value_type = Object)]
    attributes: Map<String, Value>,
}

/// A pointer to a span of the same or another trace.
#[derive(Serialize, ToSchema)]
#[schema(as = Link)]
struct LinkView {
    /// The linked trace.
    trace_id: String,
    /// The linked span.
    span_id: String,
    /// The link's attributes, with their types.
    #[schema(value_type = Object)]
    attributes: Map<String, Value>,
}

/// The library that made a span or a record.
#[derive(Serialize, ToSchema)]
#[schema(as = Scope)]
struct ScopeView {
    /// Its name; may be empty.
    name: String,
    /// Its version; may be empty.
    version: String,
    /// Its attributes, with their types; absent where it has none.
    #[serde(skip_serializing_if = "Map::is_empty")]
    #[schema(value_type = Object)]
    attributes: Map<String, Value>,
}

/// A log record.
#[derive(Serialize, ToSchema)]
#[schema(as = LogRecord)]
pub(super) struct LogView {
    /// Its number in the store.
    id: String,
    /// When it happened.
    #[schema(format = DateTime)]
    time: String,
    /// When it was observed, where its sender says it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime, nullable = false)]
    observed_time: Option<String>,
    /// `trace`, `debug`, `info`, `warn`, `error`, `fatal` or `unknown`.
    severity: &'static str,
    /// The severity as a number of the OpenTelemetry data model; 0 where it is unknown.
    #[schema(maximum = 24)]
    severity_number: u8,
    /// The severity as its sender spells it.
    #[serde(skip_serializing_if = "String::is_empty")]
    severity_text: String,
    /// The service that sent it.
    service: String,
    /// What it says: text, or any other value with its type.
    body: Value,
    /// The name of the event that it is, where it is one.
    #[serde(skip_serializing_if = "String::is_empty")]
    event_name: String,
    /// The template of its body, by the id that `/api/v1/log-templates` shows.
    template: u32,
    /// The trace it belongs to.
    trace_id: Option<String>,
    /// The span it belongs to.
    span_id: Option<String>,
    /// Its attributes, with their types.
    #[schema(value_type = Object)]
    attributes: Map<String, Value>,
    /// Who sent it: a key of `resources`.
    resource: String,
    /// The library that made it.
    scope: ScopeView,
}

/// Who sent what is on the page.
#[derive(Serialize, ToSchema)]
pub(super) struct Senders {
    /// The resources that items refer to, by key.
    resources: BTreeMap<String, ResourceView>,
}

/// A resource: an instance of a service in one version.
#[derive(Serialize, ToSchema)]
#[schema(as = Resource)]
struct ResourceView {
    /// The service.
    service: String,
    /// Its attributes, with their types.
    #[schema(value_type = Object)]
    attributes: Map<String, Value>,
    /// Attributes that its sender says it dropped.
    #[serde(skip_serializing_if = "is_zero")]
    dropped_attributes: u64,
    /// The schema of its attributes.
    #[serde(skip_serializing_if = "String::is_empty")]
    schema_url: String,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands over a reference")]
const fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl SpanView {
    /// The span as answers show it.
    pub(super) fn new(query: &Query, row: &SpanRow) -> Self {
        let detail = &row.detail;
        let [dropped_attributes, dropped_events, dropped_links] = detail.dropped();
        Self {
            trace_id: row.trace_id.to_string(),
            span_id: row.span_id.to_string(),
            parent_span_id: row.parent_id.map(|id| id.to_string()),
            service: query.service_name(row.service),
            operation: query.operation_name(row.operation),
            kind: row.kind.name(),
            status: row.status.name(),
            status_message: detail.status_message().to_owned(),
            start: rfc3339(row.start),
            duration_ms: milliseconds(row.duration_ns),
            entry: row.entry,
            dependency: row.dependency.map(|id| query.service_name(id)),
            attributes: value::object(detail.attributes()),
            events: detail
                .events()
                .map(|event| EventView {
                    time: rfc3339(event.time()),
                    name: event.name().to_owned(),
                    attributes: value::object(event.attributes()),
                })
                .collect(),
            links: detail
                .links()
                .map(|link| LinkView {
                    trace_id: link.trace_id.to_string(),
                    span_id: link.span_id.to_string(),
                    attributes: value::object(link.attributes()),
                })
                .collect(),
            resource: row.resource.0.to_string(),
            scope: ScopeView::new(query, row.instrumentation),
            trace_state: detail.trace_state().to_owned(),
            flags: detail.flags(),
            dropped_attributes,
            dropped_events,
            dropped_links,
        }
    }
}

impl LogView {
    /// The record as answers show it.
    pub(super) fn new(query: &Query, log: &StoredLog) -> Self {
        let (row, detail) = (&log.row, &log.row.detail);
        Self {
            id: log.id.to_string(),
            time: rfc3339(row.time),
            observed_time: detail.observed_time().map(rfc3339),
            severity: row.severity.name(),
            severity_number: row.severity.0,
            severity_text: detail.severity_text().to_owned(),
            service: query.service_name(row.service),
            body: value::json(&detail.body(), 1),
            event_name: detail.event_name().to_owned(),
            template: row.template.0,
            trace_id: row.trace_id.map(|id| id.to_string()),
            span_id: row.span_id.map(|id| id.to_string()),
            attributes: value::object(detail.attributes()),
            resource: row.resource.0.to_string(),
            scope: ScopeView::new(query, row.instrumentation),
        }
    }
}

impl ScopeView {
    fn new(query: &Query, id: InstrumentationId) -> Self {
        let scope = query.instrumentation(id);
        let scope = scope.as_ref().map(|info| &info.instrumentation);
        Self {
            name: scope.map(|scope| scope.name.to_string()).unwrap_or_default(),
            version: scope.map(|scope| scope.version.to_string()).unwrap_or_default(),
            attributes: scope.map(|scope| value::object(scope.attributes.iter())).unwrap_or_default(),
        }
    }
}

impl Senders {
    /// The senders with these ids; what nothing describes is left out.
    pub(super) fn new(query: &Query, ids: impl Iterator<Item = ResourceId>) -> Self {
        let mut resources = BTreeMap::new();
        for id in ids {
            let key = id.0.to_string();
            if resources.contains_key(&key) {
                continue;
            }
            let Some(info) = query.resource(id) else { continue };
            let view = ResourceView {
                service: info.resource.service.to_string(),
                attributes: value::object(info.resource.attributes.iter()),
                dropped_attributes: info.resource.dropped_attributes.into(),
                schema_url: info.resource.schema_url.to_string(),
            };
            resources.insert(key, view);
        }
        Self { resources }
    }
}
