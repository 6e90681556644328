//! What a commit carries: rows whose names were turned into ids, ready to be written.

use std::sync::Arc;

use super::day::Day;
use crate::model::id::{
    InstrumentationId, OperationId, ResourceId, ServiceId, SpanId, TemplateId, TenantNumber, TraceId,
};
use crate::model::log::{LogDetail, Severity};
use crate::model::metric::{MetricKind, Point, Temporality};
use crate::model::packed::Attributes;
use crate::model::rollup::Folded;
use crate::model::span::{SpanDetail, SpanKind, Status};
use crate::model::text::Text;
use crate::model::time::UnixNanos;
use crate::model::trace_key::TraceKey;

/// One span as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpanRow {
    /// Whose it is.
    pub tenant: TenantNumber,
    /// The key of its trace: that of the trace's first-seen span.
    pub trace_key: TraceKey,
    /// The trace it belongs to.
    pub trace_id: TraceId,
    /// Its own id within the trace.
    pub span_id: SpanId,
    /// The span that caused it; none for a root.
    pub parent_id: Option<SpanId>,
    /// The service that sent it.
    pub service: ServiceId,
    /// Its name and kind.
    pub operation: OperationId,
    /// The resource that sent it.
    pub resource: ResourceId,
    /// The library that made it.
    pub instrumentation: InstrumentationId,
    /// Its part in a call.
    pub kind: SpanKind,
    /// How it ended.
    pub status: Status,
    /// Whether it is where a request enters its service.
    pub entry: bool,
    /// The HTTP status code; 0 where there is none.
    pub http_status: u16,
    /// The database, queue or external host that it calls.
    pub dependency: Option<ServiceId>,
    /// When it began.
    pub start: UnixNanos,
    /// How long it took.
    pub duration_ns: u64,
    /// Everything else, packed.
    pub detail: SpanDetail,
}

impl SpanRow {
    /// When it ended; saturates.
    pub const fn end(&self) -> UnixNanos {
        self.start.plus(std::time::Duration::from_nanos(self.duration_ns))
    }
}

/// One log record as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogRow {
    /// Whose it is.
    pub tenant: TenantNumber,
    /// When it happened.
    pub time: UnixNanos,
    /// How severe it is.
    pub severity: Severity,
    /// The service that sent it.
    pub service: ServiceId,
    /// The resource that sent it.
    pub resource: ResourceId,
    /// The library that made it.
    pub instrumentation: InstrumentationId,
    /// The template of its body.
    pub template: TemplateId,
    /// The trace it belongs to.
    pub trace_id: Option<TraceId>,
    /// The span it belongs to.
    pub span_id: Option<SpanId>,
    /// Everything else, packed.
    pub detail: LogDetail,
}

/// What all points of a metric share. With the point's attributes and its sender it makes a series.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeriesDefinition {
    /// The instrument's name.
    pub name: Text,
    /// The unit in UCUM; may be empty.
    pub unit: Text,
    /// What the sender says about it; may be empty. Not part of the series' identity: the first one is kept.
    pub description: Text,
    /// Attributes of the metric itself. Not part of the series' identity: the first ones are kept.
    pub metadata: Attributes,
    /// Which kind of data the points hold.
    pub kind: MetricKind,
    /// Over which time they count.
    pub temporality: Temporality,
    /// True for sums that only grow.
    pub monotonic: bool,
}

/// One metric point as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PointRow {
    /// Whose it is.
    pub tenant: TenantNumber,
    /// The service that sent it.
    pub service: ServiceId,
    /// The resource that sent it.
    pub resource: ResourceId,
    /// The library that made it.
    pub instrumentation: InstrumentationId,
    /// The metric.
    pub series: Arc<SeriesDefinition>,
    /// The point.
    pub point: Point,
}

/// A log template, new or with a text that became more general.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TemplateRow {
    /// Its id, handed out by the miner.
    pub id: TemplateId,
    /// Whose it is.
    pub tenant: TenantNumber,
    /// The service whose lines it was mined from.
    pub service: ServiceId,
    /// Tokens joined by one space, variables as `<*>`.
    pub text: String,
    /// One line it was mined from.
    pub sample: String,
    /// When its first line was seen; the earliest is kept.
    pub first_seen: UnixNanos,
}

/// A template that the miner forgot: no record of a commit from then on has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GoneTemplate {
    /// Its id.
    pub id: TemplateId,
    /// Where a record of it was counted since, it has this last day or a later one, and stays.
    pub before: Day,
}

/// Everything that is written in one transaction.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Commit {
    /// The journal position that is applied once this commit is: everything up to and including it.
    pub lsn: u64,
    /// Spans in order of arrival.
    pub spans: Vec<SpanRow>,
    /// Log records in order of arrival.
    pub logs: Vec<LogRow>,
    /// Metric points in order of arrival.
    pub points: Vec<PointRow>,
    /// What to add to the roll-ups. The log records above are counted in it: it tells which templates are still seen.
    pub cells: Folded,
    /// Templates to write or to overwrite.
    pub templates: Vec<TemplateRow>,
    /// Templates to remove.
    pub gone: Vec<GoneTemplate>,
}

/// What became of a commit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Committed {
    /// The numbers of the log records, in the order of [`Commit::logs`]; rising within a day and tenant.
    pub log_ids: Vec<i64>,
    /// Bytes of packed details before compression.
    pub detail_bytes: u64,
    /// Bytes of the blocks that hold them.
    pub block_bytes: u64,
    /// Points whose series lies past the tenant's limit and that went to its overflow series.
    pub overflowed_points: u64,
}
