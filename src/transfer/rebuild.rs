//! Stored rows to the batches that they were decoded from.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::error::Error;
use crate::model::batch::{Batch, Group};
use crate::model::id::{InstrumentationId, ResourceId, SeriesId};
use crate::model::log::LogRecord;
use crate::model::metric::{Metric, Point};
use crate::model::packed::wire::{self, Field};
use crate::model::span::{Span, Status};
use crate::model::text::Text;
use crate::store::names::Names;
use crate::store::read::metrics::StoredSeries;
use crate::store::rows::{LogRow, SpanRow};

/// Who sent a row: what groups are made of.
type Sender = (ResourceId, InstrumentationId);

/// A batch of spans. [`Error::Nameless`] where a row refers to a name that the store did not have when it was opened.
pub(super) fn spans(names: &Names, rows: &[SpanRow]) -> Result<Batch, Error> {
    let mut groups: BTreeMap<Sender, Vec<Span>> = BTreeMap::new();
    for row in rows {
        let operation = names.operation_info(row.operation).ok_or(Error::Nameless { what: "span" })?;
        let span = Span {
            trace_id: row.trace_id,
            span_id: row.span_id,
            parent_id: row.parent_id,
            name: Text::from(&*operation.name),
            kind: row.kind,
            // The row's own is what the server makes of it, as in an HTTP status of 500.
            status: match wire::last(row.detail.as_bytes(), 15) {
                Some(Field::Bytes(status)) => Status::from_otlp(wire::varint(status, 3)),
                _ => Status::Unset,
            },
            start: row.start,
            duration_ns: row.duration_ns,
            detail: row.detail.clone(),
        };
        groups.entry((row.resource, row.instrumentation)).or_default().push(span);
    }
    Ok(Batch::Traces(grouped(names, groups, "span")?))
}

/// A batch of log records; errs as [`spans`] does.
pub(super) fn logs(names: &Names, rows: &[LogRow]) -> Result<Batch, Error> {
    let mut groups: BTreeMap<Sender, Vec<LogRecord>> = BTreeMap::new();
    for row in rows {
        let record = LogRecord {
            time: row.time,
            severity: row.severity,
            trace_id: row.trace_id,
            span_id: row.span_id,
            detail: row.detail.clone(),
        };
        groups.entry((row.resource, row.instrumentation)).or_default().push(record);
    }
    Ok(Batch::Logs(grouped(names, groups, "log record")?))
}

/// A batch of the points of some series, in order; errs as [`spans`] does. Series that are not among `series` are left
/// out.
pub(super) fn points(
    names: &Names,
    series: &[StoredSeries],
    points: &[(SeriesId, Point)],
) -> Result<Batch, Error> {
    let by_id: BTreeMap<SeriesId, &StoredSeries> = series.iter().map(|series| (series.id, series)).collect();
    let mut groups: BTreeMap<Sender, Vec<Metric>> = BTreeMap::new();
    for (id, point) in points {
        let Some(series) = by_id.get(id) else { continue };
        let definition = &series.definition;
        let metrics = groups.entry((series.resource, series.instrumentation)).or_default();
        let is_same = |metric: &Metric| {
            metric.name == definition.name
                && metric.unit == definition.unit
                && metric.kind == definition.kind
                && metric.temporality == definition.temporality
                && metric.monotonic == definition.monotonic
                && metric.description == definition.description
                && metric.metadata == definition.metadata
        };
        match metrics.last_mut().filter(|metric| is_same(metric)) {
            Some(metric) => metric.points.push(point.clone()),
            None => metrics.push(Metric {
                name: definition.name.clone(),
                unit: definition.unit.clone(),
                description: definition.description.clone(),
                metadata: definition.metadata.clone(),
                kind: definition.kind,
                temporality: definition.temporality,
                monotonic: definition.monotonic,
                points: vec![point.clone()],
            }),
        }
    }
    Ok(Batch::Metrics(grouped(names, groups, "metric point")?))
}

fn grouped<T>(
    names: &Names,
    groups: BTreeMap<Sender, Vec<T>>,
    what: &'static str,
) -> Result<Vec<Group<T>>, Error> {
    groups
        .into_iter()
        .map(|((resource, instrumentation), items)| {
            let resource = names.resource_info(resource).ok_or(Error::Nameless { what })?;
            let instrumentation =
                names.instrumentation_info(instrumentation).ok_or(Error::Nameless { what })?;
            Ok(Group {
                resource: Arc::clone(&resource.resource),
                instrumentation: Arc::clone(&instrumentation.instrumentation),
                items,
            })
        })
        .collect()
}
