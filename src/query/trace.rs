//! One trace, whole.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use crate::model::id::{SpanId, TraceId};
use crate::model::log::Severity;
use crate::model::span::Status;
use crate::model::tenant::Scope;
use crate::model::time::{UnixNanos, Window};
use crate::store::read::logs::{LogAsk, StoredLog};
use crate::store::read::trace::StoredTrace;
use crate::store::rows::SpanRow;

use super::error::Error;
use super::exemplars;
use super::handle::Query;

/// Spans of one trace that are read at most.
const SPANS_MAX: usize = 10_000;
/// Log records of one trace that are read at most.
const LOGS_MAX: usize = 200;
/// How far from the spans of their trace log records are looked for.
const LOGS_WITHIN: Duration = Duration::from_secs(3_600);

/// A trace as a tree in reading order.
#[derive(Debug, Clone)]
pub struct TraceTree {
    /// Its spans: parents before children, siblings by start.
    pub spans: Vec<TreeSpan>,
    /// Spans that are stored; more than shown where the trace is huge.
    pub total: u64,
    /// Its log records not more than an hour away from its spans, earliest first.
    pub logs: Vec<StoredLog>,
}

/// A span in its place.
#[derive(Debug, Clone)]
pub struct TreeSpan {
    /// The span.
    pub row: SpanRow,
    /// Steps from the root; a span whose parent is missing counts as a root.
    pub depth: usize,
    /// Time spent in the span itself, not covered by its children.
    pub self_ns: u64,
    /// True when it failed and none of its children did: where the failure began.
    pub origin: bool,
    /// True when its parent is not stored.
    pub orphan: bool,
    /// What went wrong, in the sender's words.
    pub message: Option<String>,
}

impl Query {
    /// Whether any span of a trace is stored: log records may name one of which none came.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn has_trace(&self, scope: &Scope, id: TraceId) -> Result<bool, Error> {
        let Some(tenant) = self.tenant(scope) else { return Ok(false) };
        Ok(self.store.trace(tenant, id, 1).await?.is_some())
    }

    /// The trace with this id; none when nothing of it is stored for the tenant. Of its log records those that are not more
    /// than an hour away from its spans.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn trace(&self, scope: &Scope, id: TraceId) -> Result<Option<TraceTree>, Error> {
        let Some(tenant) = self.tenant(scope) else { return Ok(None) };
        let Some(trace) = self.store.trace(tenant, id, SPANS_MAX).await? else { return Ok(None) };
        let mut logs = self.store.logs(tenant, &logs_of(&trace, LOGS_MAX)).await?.items;
        logs.reverse();
        Ok(Some(TraceTree { spans: tree(trace.spans), total: trace.total, logs }))
    }
}

/// Asks for the newest log records of a trace, as far from its spans as records are looked for: each minute costs a look.
pub(super) fn logs_of(trace: &StoredTrace, limit: usize) -> LogAsk {
    let starts = trace.spans.iter().map(|span| span.start);
    let from = starts.min().unwrap_or(UnixNanos(i64::MIN)).minus(LOGS_WITHIN);
    let to = trace.end.plus(LOGS_WITHIN);
    LogAsk {
        window: Window::new(from, to),
        severity_min: Severity(0),
        services: Vec::new(),
        templates: Vec::new(),
        trace: Some(trace.trace_id),
        span: None,
        attributes: Vec::new(),
        before: None,
        limit,
        with_detail: true,
    }
}

/// Orders spans as a tree. Iterative, and safe against cycles: what is not reached from a root comes last.
fn tree(rows: Vec<SpanRow>) -> Vec<TreeSpan> {
    let known: HashSet<SpanId> = rows.iter().map(|row| row.span_id).collect();
    let mut children: HashMap<SpanId, Vec<usize>> = HashMap::new();
    let mut roots = Vec::new();
    for (index, row) in rows.iter().enumerate() {
        match row.parent_id.filter(|parent| known.contains(parent) && *parent != row.span_id) {
            Some(parent) => children.entry(parent).or_default().push(index),
            None => roots.push(index),
        }
    }
    let mut spans = Vec::with_capacity(rows.len());
    let mut placed = vec![false; rows.len()];
    let mut place = |start: usize, placed: &mut Vec<bool>| {
        let mut pending = vec![(start, 0)];
        while let Some((index, depth)) = pending.pop() {
            if std::mem::replace(&mut placed[index], true) {
                continue;
            }
            let row = &rows[index];
            let below = children.get(&row.span_id).map(Vec::as_slice).unwrap_or_default();
            spans.push(tree_span(row, depth, below.iter().map(|child| &rows[*child]), &known));
            pending.extend(below.iter().rev().map(|child| (*child, depth + 1)));
        }
    };
    for root in roots {
        place(root, &mut placed);
    }
    for index in 0..rows.len() {
        if !placed[index] {
            place(index, &mut placed);
        }
    }
    spans
}

fn tree_span<'a>(
    row: &SpanRow,
    depth: usize,
    children: impl Iterator<Item = &'a SpanRow> + Clone,
    known: &HashSet<SpanId>,
) -> TreeSpan {
    let failed = row.status == Status::Error;
    let said = row.detail.status_message();
    let exception =
        exemplars::exception(row).map(|exception| format!("{}: {}", exception.kind, exception.message));
    TreeSpan {
        depth,
        self_ns: self_ns(row, children.clone()),
        origin: failed && !children.clone().any(|child| child.status == Status::Error),
        orphan: row.parent_id.is_some_and(|parent| !known.contains(&parent)),
        message: exception.or_else(|| (!said.is_empty()).then(|| said.to_owned())),
        row: row.clone(),
    }
}

/// The part of a span that none of its children covers; children may overlap one another.
fn self_ns<'a>(row: &SpanRow, children: impl Iterator<Item = &'a SpanRow>) -> u64 {
    let end_of =
        |row: &SpanRow| row.start.0.saturating_add(i64::try_from(row.duration_ns).unwrap_or(i64::MAX));
    let (start, end) = (row.start.0, end_of(row));
    let mut covered: Vec<(i64, i64)> =
        children.map(|child| (child.start.0.clamp(start, end), end_of(child).clamp(start, end))).collect();
    covered.sort_unstable();
    let (mut total, mut reached) = (0, start);
    for (from, to) in covered {
        total += (to - from.max(reached)).max(0);
        reached = reached.max(to);
    }
    row.duration_ns.saturating_sub(u64::try_from(total).unwrap_or(0))
}
