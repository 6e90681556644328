//! `search_traces`.

use mcp_tools::{Answer, Fault, Next, SearchTracesAsk, Shown, Table, TraceSort};
use serde_json::{Value, json};

use crate::model::tenant::Scope;
use crate::model::time::UnixNanos;
use crate::query::Query;
use crate::query::traces::{TraceQuestion, duration_ns, place_in};
use crate::store::read::summaries::{TraceOrder, TraceSummary};

use super::meant::{self, Meaning};
use super::window::Asked;
use super::{cells, fault, page};

const NANOS_PER_MS: u64 = 1_000_000;

pub(super) async fn answer(query: &Query, scope: &Scope, ask: SearchTracesAsk) -> Result<Answer, Fault> {
    let asked = Asked::resolve(query, &ask.range)?;
    if let (Some(least), Some(most)) = (ask.min_duration_ms, ask.max_duration_ms)
        && least > most
    {
        return Err(Fault::invalid(
            "`min_duration_ms` is above `max_duration_ms`: no trace can be that long",
        ));
    }
    let order = match ask.sort {
        TraceSort::Newest => TraceOrder::Newest,
        TraceSort::Slowest => TraceOrder::Slowest,
        TraceSort::MostErrors => TraceOrder::MostErrors,
    };
    let nanos = |ms: Option<u32>| ms.map(|ms| u64::from(ms) * NANOS_PER_MS);
    let after = page::trace_place(ask.cursor.as_deref())?;
    let question = |meant: Meaning| TraceQuestion {
        window: asked.window,
        service: meant.service,
        operation: ask.operation.clone(),
        failed: ask.failed,
        duration_min_ns: nanos(ask.min_duration_ms),
        duration_max_ns: nanos(ask.max_duration_ms),
        attributes: meant.filter,
        order,
        after,
        limit: ask.limit,
    };
    let (meant, otherwise) = meant::meanings((query, scope), ask.service.as_deref(), &ask.filter);
    let mut found = query.traces(scope, question(meant)).await.map_err(fault::of)?;
    let otherwise = otherwise.filter(|_| found.traces.is_empty() && found.next.is_none());
    let by_attribute = otherwise.is_some();
    if let Some(meant) = otherwise {
        found = query.traces(scope, question(meant)).await.map_err(fault::of)?;
    }
    let mut answer = asked.answer();
    let shown = found.traces.len();
    answer.summary = match (shown, &found.next) {
        (0, None) => "No trace matches.".to_owned(),
        (0, Some(_)) => "No trace matches among those looked at; there are more to look at.".to_owned(),
        (shown, Some(_)) => format!("The first {shown} matching traces; there are more."),
        (shown, None) => format!("{shown} traces match."),
    };
    if found.traces.is_empty() {
        let why = why_empty(&ask, found.next.is_some());
        answer.why_empty = Some(meant::why_empty(why, (query, scope), &ask.filter));
    } else if by_attribute {
        answer.warnings.push(meant::BY_ATTRIBUTE.to_owned());
    }
    let columns = ["trace_id", "start", "service", "operation", "duration_ms", "spans", "failed_spans"];
    let mut table = Table::new("traces", columns);
    table.rows = found.traces.iter().map(|trace| row(query, trace, asked.window.to)).collect();
    table.cursors = found.traces.iter().map(|trace| page::trace_place_text(place_in(order, trace))).collect();
    if found.next.is_some() {
        answer.shown = Some(Shown { at_least: true, ..Shown::new(shown as u64, shown as u64 + 1) });
    }
    answer.cursor = found.next.map(page::trace_place_text);
    if let Some(first) = found.traces.first() {
        answer.next.push(Next::new("trace_graph", [("trace_id", json!(first.trace_id.to_string()))]));
    }
    answer.tables.push(table);
    Ok(answer)
}

fn row(query: &Query, trace: &TraceSummary, end: UnixNanos) -> Vec<Value> {
    let operation = trace.root_operation.unwrap_or(trace.first_operation);
    vec![
        json!(trace.trace_id.to_string()),
        cells::relative(trace.start, end),
        json!(query.operation_service_name(operation)),
        json!(query.operation_name(operation)),
        cells::milliseconds(duration_ns(trace) as f64),
        json!(trace.spans),
        json!(trace.errors),
    ]
}

fn why_empty(ask: &SearchTracesAsk, goes_on: bool) -> String {
    if goes_on {
        return "those looked at do not match; follow the cursor, or ask for less with `service` or `operation`".into();
    }
    let given = [
        ("service", ask.service.is_some()),
        ("operation", ask.operation.is_some()),
        ("status", ask.failed.is_some()),
        ("min_duration_ms", ask.min_duration_ms.is_some()),
        ("max_duration_ms", ask.max_duration_ms.is_some()),
        ("filter", !ask.filter.is_empty()),
    ];
    let given: Vec<&str> =
        given.into_iter().filter(|(_, is_given)| *is_given).map(|(name, _)| name).collect();
    if given.is_empty() {
        "no trace began in the window; try a longer `since`".to_owned()
    } else {
        format!("no trace in the window passes {}; drop one or try a longer `since`", given.join(" and "))
    }
}
