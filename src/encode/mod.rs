//! Batches to OTLP protobuf, the inverse of decoding: what was decoded once decodes to the same batch again; and batches to
//! parts of them. Never: a clock, a file, a failure.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;

use crate::model::batch::{Batch, Group};
use crate::model::log::LogRecord;
use crate::model::metric::{Metric, MetricKind, Point, PointValue, Temporality};
use crate::model::packed::write::Packer;
use crate::model::packed::{Attributes, wire};
use crate::model::resource::{Instrumentation, Resource};
use crate::model::span::Span;

/// The export request that holds `batch`. Groups of one resource that follow each other share its message.
pub fn request(batch: &Batch) -> Bytes {
    match batch {
        Batch::Traces(groups) => groups_of(groups, span),
        Batch::Logs(groups) => groups_of(groups, log),
        Batch::Metrics(groups) => groups_of(groups, metric),
    }
}

/// The batch in two halves of about as many items each; none where it holds but one item.
pub fn halves(batch: &Batch) -> Option<(Batch, Batch)> {
    let items = batch.items();
    if items < 2 {
        return None;
    }
    Some(match batch {
        Batch::Traces(groups) => {
            let (first, second) = split(groups, items / 2, |_| 1, |item, _| (item.clone(), item.clone()));
            (Batch::Traces(first), Batch::Traces(second))
        }
        Batch::Logs(groups) => {
            let (first, second) = split(groups, items / 2, |_| 1, |item, _| (item.clone(), item.clone()));
            (Batch::Logs(first), Batch::Logs(second))
        }
        Batch::Metrics(groups) => {
            let cut = |metric: &Metric, at: usize| {
                let with = |points: &[Point]| Metric { points: points.to_vec(), ..metric.clone() };
                (with(&metric.points[..at]), with(&metric.points[at..]))
            };
            let (first, second) = split(groups, items / 2, |metric| metric.points.len(), cut);
            (Batch::Metrics(first), Batch::Metrics(second))
        }
    })
}

/// The items of `batch` at the places in `wanted`, spans, log records or points counted from 0.
pub fn pick(batch: &Batch, wanted: &BTreeSet<usize>) -> Batch {
    fn of<T>(groups: &[Group<T>], mut pick: impl FnMut(&T) -> Option<T>) -> Vec<Group<T>> {
        let groups = groups.iter().map(|group| Group {
            resource: Arc::clone(&group.resource),
            instrumentation: Arc::clone(&group.instrumentation),
            items: group.items.iter().filter_map(&mut pick).collect(),
        });
        groups.filter(|group| !group.items.is_empty()).collect()
    }
    let mut places = 0..;
    let mut is_wanted = || places.next().is_some_and(|place| wanted.contains(&place));
    match batch {
        Batch::Traces(groups) => Batch::Traces(of(groups, |span| is_wanted().then(|| span.clone()))),
        Batch::Logs(groups) => Batch::Logs(of(groups, |record| is_wanted().then(|| record.clone()))),
        Batch::Metrics(groups) => Batch::Metrics(of(groups, |metric| {
            let points = metric.points.iter().filter(|_| is_wanted()).cloned();
            let points: Vec<Point> = points.collect();
            (!points.is_empty()).then(|| Metric { points, ..metric.clone() })
        })),
    }
}

/// Shares out groups so that the first part holds `wanted` in all, where an item counts `size` and can be cut by `cut`
/// at less than its size.
fn split<T: Clone>(
    groups: &[Group<T>],
    wanted: usize,
    size: impl Fn(&T) -> usize,
    cut: impl Fn(&T, usize) -> (T, T),
) -> (Vec<Group<T>>, Vec<Group<T>>) {
    let (mut first, mut second) = (Vec::new(), Vec::new());
    let mut left = wanted;
    for group in groups {
        let mut parts = (Vec::new(), Vec::new());
        for item in &group.items {
            let counts = size(item);
            if left == 0 {
                parts.1.push(item.clone());
            } else if counts <= left {
                left -= counts;
                parts.0.push(item.clone());
            } else {
                let (head, tail) = cut(item, left);
                left = 0;
                parts.0.push(head);
                parts.1.push(tail);
            }
        }
        for (part, items) in [(&mut first, parts.0), (&mut second, parts.1)] {
            if !items.is_empty() {
                let (resource, instrumentation) =
                    (Arc::clone(&group.resource), Arc::clone(&group.instrumentation));
                part.push(Group { resource, instrumentation, items });
            }
        }
    }
    (first, second)
}

fn groups_of<T>(groups: &[Group<T>], item: impl Fn(&T, &mut Packer)) -> Bytes {
    let mut packer = Packer::default();
    let same = |a: &Group<T>, b: &Group<T>| Arc::ptr_eq(&a.resource, &b.resource) || a.resource == b.resource;
    for run in groups.chunk_by(same) {
        let Some(Group { resource, .. }) = run.first() else { continue };
        packer.message(1, |outer| {
            outer.message(1, |message| sender(resource, message));
            for group in run {
                outer.message(2, |inner| {
                    scope(&group.instrumentation, inner);
                    group.items.iter().for_each(|each| inner.message(2, |message| item(each, message)));
                    text(3, group.instrumentation.schema_url.as_str(), inner);
                });
            }
            text(3, resource.schema_url.as_str(), outer);
        });
    }
    packer.finish()
}

fn sender(resource: &Resource, packer: &mut Packer) {
    attributes(1, &resource.attributes, packer);
    number(2, u64::from(resource.dropped_attributes), packer);
}

fn scope(instrumentation: &Instrumentation, packer: &mut Packer) {
    packer.message(1, |scope| {
        text(1, instrumentation.name.as_str(), scope);
        text(2, instrumentation.version.as_str(), scope);
        attributes(3, &instrumentation.attributes, scope);
        number(4, u64::from(instrumentation.dropped_attributes), scope);
    });
}

fn span(span: &Span, packer: &mut Packer) {
    packer.bytes(1, span.trace_id.as_bytes());
    packer.bytes(2, span.span_id.as_bytes());
    if let Some(parent) = span.parent_id {
        packer.bytes(4, parent.as_bytes());
    }
    text(5, span.name.as_str(), packer);
    number(6, u64::from(span.kind.0), packer);
    time(7, span.start.0, packer);
    packer.fixed64(8, span.start.0.cast_unsigned().saturating_add(span.duration_ns));
    packer.raw(span.detail.as_bytes());
}

fn log(record: &LogRecord, packer: &mut Packer) {
    time(1, record.time.0, packer);
    number(2, u64::from(record.severity.0), packer);
    if let Some(trace) = record.trace_id {
        packer.bytes(9, trace.as_bytes());
    }
    if let Some(span) = record.span_id {
        packer.bytes(10, span.as_bytes());
    }
    packer.raw(record.detail.as_bytes());
}

fn metric(metric: &Metric, packer: &mut Packer) {
    text(1, metric.name.as_str(), packer);
    text(2, metric.description.as_str(), packer);
    text(3, metric.unit.as_str(), packer);
    packer.message(metric.kind as u32, |data| {
        for each in &metric.points {
            data.message(1, |message| point(metric.kind, each, message));
        }
        if metric.temporality != Temporality::None {
            data.varint(2, metric.temporality as u64);
        }
        if metric.kind == MetricKind::Sum && metric.monotonic {
            data.varint(3, 1);
        }
    });
    attributes(12, &metric.metadata, packer);
}

fn point(kind: MetricKind, point: &Point, packer: &mut Packer) {
    let attributes_at = match kind {
        MetricKind::Gauge | MetricKind::Sum | MetricKind::Summary => 7,
        MetricKind::Histogram => 9,
        MetricKind::ExponentialHistogram => 1,
    };
    attributes(attributes_at, &point.attributes, packer);
    time(2, point.start.0, packer);
    time(3, point.time.0, packer);
    match point.value {
        PointValue::Gap => {}
        PointValue::Double(value) => packer.double(4, value),
        PointValue::Int(value) => packer.fixed64(6, value.cast_unsigned()),
        PointValue::Distribution { count, sum } => {
            packer.fixed64(4, count);
            if let Some(sum) = sum {
                packer.double(5, sum);
            }
        }
    }
    packer.raw(point.detail.as_bytes());
}

/// Attributes under field `at`, whatever their number was where they came from.
fn attributes(at: u32, attributes: &Attributes, packer: &mut Packer) {
    for (_, field) in wire::Fields::new(attributes.as_bytes()) {
        if let wire::Field::Bytes(entry) = field {
            packer.bytes(at, entry);
        }
    }
}

fn text(at: u32, value: &str, packer: &mut Packer) {
    if !value.is_empty() {
        packer.text(at, value);
    }
}

fn number(at: u32, value: u64, packer: &mut Packer) {
    if value != 0 {
        packer.varint(at, value);
    }
}

/// A time; zero is "not given" and no time lies before 1970.
fn time(at: u32, nanos: i64, packer: &mut Packer) {
    if let Ok(nanos @ 1..) = u64::try_from(nanos) {
        packer.fixed64(at, nanos);
    }
}
