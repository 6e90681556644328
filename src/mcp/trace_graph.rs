//! `trace_graph`.

use mcp_tools::{Answer, Coverage, CoverageState, Fault, Next, Shown, Table, TraceGraphAsk};
use serde_json::{Value, json};

use crate::model::id::TraceId;
use crate::model::span::Status;
use crate::model::tenant::Scope;
use crate::model::time::{UnixNanos, Window};
use crate::query::Query;
use crate::query::trace::{TraceTree, TreeSpan};

use super::cells;
use super::window::Asked;
use super::{fault, page, search_logs};

/// Log records shown with a trace.
const LOGS_MAX: usize = 20;

pub(super) async fn answer(query: &Query, scope: &Scope, ask: TraceGraphAsk) -> Result<Answer, Fault> {
    let asked = Asked::resolve(query, &ask.range.unwrap_or(mcp_tools::TimeRange::LAST_HOUR))?;
    let from = page::offset(ask.cursor.as_deref())?;
    let id = TraceId::try_from(ask.trace_id.as_slice())
        .map_err(|error| Fault::invalid(format!("trace_id: {error}")))?;
    let Some(trace) = query.trace(scope, id).await.map_err(fault::of)? else {
        return Err(Fault::not_found(format!(
            "trace {id} is not stored{}; find one with root_cause_analysis or search_logs",
            query.sampled()
        )));
    };
    let window = extent(&trace);
    let mut answer = asked.answer_about(window);
    answer.summary = summary(query, id, &trace, window);
    let columns = [
        "depth",
        "service",
        "operation",
        "kind",
        "status",
        "start_ms",
        "duration_ms",
        "self_ms",
        "span_id",
        "origin",
        "message",
        "attributes",
    ];
    let rows: Vec<Vec<Value>> = trace.spans.iter().map(|span| row(query, span, window)).collect();
    page::put(&mut answer, Table::new("spans", columns), rows, (from, ask.limit));
    if trace.total > trace.spans.len() as u64 {
        answer.warnings.push(format!(
            "the trace has {} spans; only {} were read",
            trace.total,
            trace.spans.len()
        ));
        answer.shown =
            Some(Shown::new(trace.spans.len().saturating_sub(from).min(ask.limit) as u64, trace.total));
    }
    let orphans = trace.spans.iter().filter(|span| span.orphan).count();
    answer.coverage = Some(if orphans == 0 {
        Coverage { state: CoverageState::Complete, detail: None }
    } else {
        let detail = format!("the parents of {orphans} spans were never received; they are shown as roots");
        Coverage { state: CoverageState::Partial, detail: Some(detail) }
    });
    if !trace.logs.is_empty() {
        let rows = trace
            .logs
            .iter()
            .map(|log| placed(search_logs::row(query, log, window.to), log.row.time, window.from))
            .collect();
        page::put_beside(&mut answer, Table::new("logs", log_columns()), rows, LOGS_MAX);
    }
    if let Some(origin) = trace.spans.iter().find(|span| span.origin) {
        answer.next.push(Next::new(
            "root_cause_analysis",
            [("service", json!(query.service_name(origin.row.service)))],
        ));
    }
    Ok(answer)
}

/// The columns of a log record, beginning with its time from the start of the trace on.
fn log_columns() -> [&'static str; 7] {
    let mut columns = search_logs::COLUMNS;
    columns[0] = "time_ms";
    columns
}

/// A log record's row with its time from the start of the trace on, as those of the spans.
fn placed(mut row: Vec<Value>, at: UnixNanos, start: UnixNanos) -> Vec<Value> {
    row[0] = cells::milliseconds((at.0 - start.0) as f64);
    row
}

fn extent(trace: &TraceTree) -> Window {
    let from = trace.spans.iter().map(|span| span.row.start).min().unwrap_or(UnixNanos(0));
    let to = trace.spans.iter().map(|span| span.row.end()).max().unwrap_or(from);
    Window::new(from, to)
}

fn summary(query: &Query, id: TraceId, trace: &TraceTree, window: Window) -> String {
    let mut services: Vec<_> = trace.spans.iter().map(|span| span.row.service).collect();
    services.sort_unstable();
    services.dedup();
    let failed = trace.spans.iter().filter(|span| span.row.status == Status::Error).count();
    let mut text = format!(
        "Trace {id}: {} spans of {} services over {:.1} ms, {failed} failed.",
        trace.total,
        services.len(),
        window.length().as_secs_f64() * 1e3
    );
    if let Some(origin) = trace.spans.iter().find(|span| span.origin) {
        text.push_str(&format!(
            " The failure began in {} of {}.",
            query.operation_name(origin.row.operation),
            query.service_name(origin.row.service)
        ));
    } else if let Some(slowest) = trace.spans.iter().max_by_key(|span| span.self_ns) {
        text.push_str(&format!(
            " Most time was spent in {} of {}.",
            query.operation_name(slowest.row.operation),
            query.service_name(slowest.row.service)
        ));
    }
    text
}

fn row(query: &Query, span: &TreeSpan, window: Window) -> Vec<Value> {
    let row = &span.row;
    let attributes: serde_json::Map<String, Value> =
        row.detail.attributes().map(|(key, value)| (key.to_owned(), json!(value.render()))).collect();
    vec![
        json!(span.depth),
        json!(query.service_name(row.service)),
        json!(query.operation_name(row.operation)),
        json!(row.kind.name()),
        json!(row.status.name()),
        cells::milliseconds((row.start.0 - window.from.0) as f64),
        cells::milliseconds(row.duration_ns as f64),
        cells::milliseconds(span.self_ns as f64),
        json!(row.span_id.to_string()),
        json!(span.origin),
        json!(span.message),
        Value::Object(attributes),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_told_from_the_start_on_as_spans_are() {
        let row = vec![json!("-0.016s"), json!("error")];
        let (start, at) = (UnixNanos(1_000_000_000), UnixNanos(1_016_800_000));
        assert_eq!(placed(row, at, start), [json!(16.8), json!("error")]);
        assert_eq!((log_columns()[0], log_columns()[1]), ("time_ms", "severity"));
    }
}
