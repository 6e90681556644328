//! `/api/v1/traces`.

use serde::Serialize;
use utoipa::ToSchema;

use crate::auth::Right;
use crate::model::time::UnixNanos;
use crate::model::trace_key::TraceKey;
use crate::query::Query;
use crate::query::traces::{TraceQuestion, duration_ns, place_in};
use crate::store::read::summaries::{TraceOrder, TracePlace, TraceSummary};

use super::answer::{Answer, Page, laid_out};
use super::call::{Call, foreign_cursor};
use super::cursor::Place;
use super::parameter::{
    ATTRIBUTE, CURSOR, FROM, LIMIT, MAX_DURATION, MIN_DURATION, OPERATION, Parameter, SERVICE, SINCE, STATUS,
    Shape, TO,
};
use super::problem::Problem;
use super::routes::Route;
use super::spans::{halves, whole};
use super::time::{milliseconds, rfc3339};

const ORDER: Parameter = Parameter {
    name: "order",
    description: "What comes first: `newest` (default) by when they began, `slowest` by how long they took, or `errors` \
                  by how many of their spans failed.",
    shape: Shape::Choice(&["newest", "slowest", "errors"]),
};

pub(super) const ROUTE: Route = Route {
    path: "/api/v1/traces",
    right: Right::Read,
    name: "searchTraces",
    summary: "Traces, without their spans",
    description: "Traces that began in the window and pass every condition. Service, operation and attributes must all \
                  hold for one span of the trace; status and durations are about the trace as a whole, from its first \
                  start to its last end. A page may hold fewer items than asked for and still have a `next_cursor`, \
                  where few of the traces looked at pass.",
    in_path: &[],
    in_body: None,
    parameters: &[
        &FROM,
        &TO,
        &SINCE,
        &SERVICE,
        &OPERATION,
        &STATUS,
        &MIN_DURATION,
        &MAX_DURATION,
        &ATTRIBUTE,
        &ORDER,
        &LIMIT,
        &CURSOR,
    ],
    schema: |schemas| schemas.page::<TraceView>(),
    answer: |call| Box::pin(answer(call)),
};

/// What is known about a trace beside its spans.
#[derive(Serialize, ToSchema)]
#[schema(as = Trace)]
struct TraceView {
    /// Its id: 32 hexadecimal digits.
    trace_id: String,
    /// The service of its root span; that of its first span while no root was seen.
    service: String,
    /// The name of its root span; that of its first span while no root was seen.
    operation: String,
    /// Whether a span without parent was seen.
    has_root: bool,
    /// When its first span began.
    #[schema(format = DateTime)]
    start: String,
    /// From its first start to its last end, in milliseconds.
    #[schema(minimum = 0)]
    duration_ms: f64,
    /// Spans that are stored.
    spans: u64,
    /// Spans that failed.
    errors: u64,
}

impl TraceView {
    fn new(query: &Query, summary: &TraceSummary) -> Self {
        let operation = summary.root_operation.unwrap_or(summary.first_operation);
        Self {
            trace_id: summary.trace_id.to_string(),
            service: query.operation_service_name(operation),
            operation: query.operation_name(operation),
            has_root: summary.root_operation.is_some(),
            start: rfc3339(summary.start),
            duration_ms: milliseconds(duration_ns(summary)),
            spans: summary.spans,
            errors: summary.errors,
        }
    }
}

async fn answer(call: Call) -> Result<Answer, Problem> {
    let resumed = call.resumed()?;
    let order = match call.text(&ORDER) {
        Some("slowest") => TraceOrder::Slowest,
        Some("errors") => TraceOrder::MostErrors,
        _ => TraceOrder::Newest,
    };
    let question = TraceQuestion {
        window: resumed.window,
        service: call.owned(&SERVICE),
        operation: call.owned(&OPERATION),
        failed: call.failed(&STATUS),
        duration_min_ns: call.duration_ns(&MIN_DURATION),
        duration_max_ns: call.duration_ns(&MAX_DURATION),
        attributes: call.attributes()?,
        order,
        after: resumed.after.as_ref().map(|place| read(place).ok_or_else(foreign_cursor)).transpose()?,
        limit: resumed.limit,
    };
    let found = call.query().traces(&call.scope, question).await?;
    laid_out(move || {
        let query = call.query();
        let mut page = Page::new(&call.seal, resumed.window);
        page.fill(
            &found.traces,
            found.next.as_ref().map(write),
            |summary| TraceView::new(query, summary),
            |_, summary| write(&place_in(order, summary)),
        )?;
        page.finish()
    })
    .await
}

fn write(place: &TracePlace) -> Place {
    let [first, second] = halves(place.trace_id);
    Place::at([place.rank.cast_signed(), place.start.0, place.key.0, first, second])
}

fn read(place: &Place) -> Option<TracePlace> {
    let [rank, start, key, first, second] = place.fixed()?;
    let trace_id = whole([first, second])?;
    Some(TracePlace { rank: rank.cast_unsigned(), start: UnixNanos(start), key: TraceKey(key), trace_id })
}
