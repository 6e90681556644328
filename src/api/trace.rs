//! `/api/v1/traces/{trace_id}`.

use serde::Serialize;
use utoipa::ToSchema;

use crate::auth::Right;
use crate::model::id::SpanId;
use crate::model::time::{UnixNanos, Window};
use crate::store::read::trace::TRACE_SPANS_MAX;
use crate::store::rows::SpanRow;

use super::answer::{Answer, Page, laid_out};
use super::call::{Call, foreign_cursor, trace_id};
use super::cursor::Place;
use super::parameter::{CURSOR, Parameter, TRACE_ID};
use super::problem::Problem;
use super::routes::Route;
use super::span_view::{LogView, Senders, SpanView};

const ID: Parameter = TRACE_ID.described("The trace: 32 hexadecimal digits.");

pub(super) const ROUTE: Route = Route {
    path: "/api/v1/traces/{trace_id}",
    right: Right::Read,
    name: "getTrace",
    summary: "One trace with everything it has",
    description: "All spans of the trace by start, up to the first 10,000, with attributes, events and links; and on the \
                  first page its newest 1,000 log records that are not more than an hour away from its spans, \
                  earliest first. `window` reaches from its first start to \
                  past its last end. A trace over 16 MiB is answered in pages.",
    in_path: &[&ID],
    in_body: None,
    parameters: &[&CURSOR],
    schema: |schemas| schemas.page_with::<SpanView, TraceDetail>(),
    answer: |call| Box::pin(answer(call)),
};

/// What a trace has beside its spans.
#[derive(Serialize, ToSchema)]
struct TraceDetail {
    /// Its id: 32 hexadecimal digits.
    trace_id: String,
    /// Spans that are stored.
    total_spans: u64,
    /// Its log records not more than an hour away from its spans, earliest first; on the first page only.
    logs: Vec<LogView>,
    /// True when it has more log records in that time than these; `/api/v1/logs` with its id has all of them.
    more_logs: bool,
    #[serde(flatten)]
    #[schema(inline)]
    senders: Senders,
}

async fn answer(call: Call) -> Result<Answer, Problem> {
    let id = trace_id(call.path(0))?;
    let after = call.resumed()?.after;
    let after = after.as_ref().map(|place| place.fixed::<2>().ok_or_else(foreign_cursor)).transpose()?;
    let found = call.query().whole_trace(&call.scope, id).await?;
    let found = found.ok_or_else(|| {
        let why = call.query().sampled();
        Problem::not_found(format!(
            "no span of trace {id} is stored{why}; see /api/v1/traces for those that are"
        ))
    })?;
    laid_out(move || {
        let query = call.query();
        let mut spans = found.stored.spans;
        let from = spans.iter().map(|row| row.start).min().unwrap_or_default();
        let to = spans.iter().map(SpanRow::end).max().unwrap_or(from);
        let window = Window::new(from, UnixNanos(to.0.saturating_add(1)));
        spans.retain(|row| after.is_none_or(|after| number(row) > after));
        let mut page = Page::new(&call.seal, window);
        page.incomplete = found.stored.truncated.then(|| {
            format!(
                "only the {TRACE_SPANS_MAX} spans that began first are answered; /api/v1/spans has the others"
            )
        });
        page.fill(&spans, None, |row| SpanView::new(query, row), |_, row| Place::at(number(row)))?;
        let logs = if after.is_none() { found.logs } else { Vec::new() };
        let resources = spans.iter().map(|row| row.resource).chain(logs.iter().map(|log| log.row.resource));
        let detail = TraceDetail {
            trace_id: id.to_string(),
            total_spans: found.stored.total,
            more_logs: found.more_logs,
            senders: Senders::new(query, resources),
            logs: logs.iter().map(|log| LogView::new(query, log)).collect(),
        };
        page.finish_with(&detail)
    })
    .await
}

/// Where a span stands in its trace: by start, then by the bytes of its id.
fn number(row: &SpanRow) -> [i64; 2] {
    let id: SpanId = row.span_id;
    // The ids are ordered as unsigned numbers.
    [row.start.0, u64::from_be_bytes(*id.as_bytes()).wrapping_sub(1 << 63).cast_signed()]
}
