//! `/api/v1/spans`.

use crate::auth::Right;
use crate::model::id::{SpanId, TraceId};
use crate::model::span::SpanKind;
use crate::model::time::UnixNanos;
use crate::query::spans::{SpanPlace, SpanQuestion};
use crate::store::read::spans::SpanOrder;

use super::answer::{Answer, Page, laid_out};
use super::call::{Call, foreign_cursor};
use super::cursor::Place;
use super::parameter::{
    ATTRIBUTE, CURSOR, FROM, LIMIT, MAX_DURATION, MIN_DURATION, OPERATION, Parameter, SERVICE, SINCE,
    SPAN_ID, STATUS, Shape, TO, TRACE_ID,
};
use super::problem::Problem;
use super::routes::Route;
use super::span_view::{Senders, SpanView};

const ORDER: Parameter = Parameter {
    name: "order",
    description: "What comes first: `newest` (default) by when they began, or `slowest` by how long they took; only the \
                  slowest 10,000 are ranked.",
    shape: Shape::Choice(&["newest", "slowest"]),
};
const KINDS: [(&str, SpanKind); 5] = [
    ("internal", SpanKind::INTERNAL),
    ("server", SpanKind::SERVER),
    ("client", SpanKind::CLIENT),
    ("producer", SpanKind::PRODUCER),
    ("consumer", SpanKind::CONSUMER),
];
const KIND: Parameter = Parameter {
    name: "kind",
    description: "Only spans with this part in a call.",
    shape: Shape::Choice(&["internal", "server", "client", "producer", "consumer"]),
};

pub(super) const ROUTE: Route = Route {
    path: "/api/v1/spans",
    right: Right::Read,
    name: "searchSpans",
    summary: "Single spans",
    description: "Spans that began in the window and pass every condition, with everything that they carry. A page may \
                  hold fewer items than asked for and still have a `next_cursor`, where few of the spans looked at \
                  pass.",
    in_path: &[],
    in_body: None,
    parameters: &[
        &FROM,
        &TO,
        &SINCE,
        &SERVICE,
        &OPERATION,
        &KIND,
        &STATUS,
        &MIN_DURATION,
        &MAX_DURATION,
        &ATTRIBUTE,
        &TRACE_ID,
        &SPAN_ID,
        &ORDER,
        &LIMIT,
        &CURSOR,
    ],
    schema: |schemas| schemas.page_with::<SpanView, Senders>(),
    answer: |call| Box::pin(answer(call)),
};

async fn answer(call: Call) -> Result<Answer, Problem> {
    let resumed = call.resumed()?;
    let kind = call.text(&KIND);
    let question = SpanQuestion {
        window: resumed.window,
        service: call.owned(&SERVICE),
        operation: call.owned(&OPERATION),
        kind: KINDS.iter().find(|(name, _)| Some(*name) == kind).map(|(_, kind)| *kind),
        failed: call.failed(&STATUS),
        duration_min_ns: call.duration_ns(&MIN_DURATION),
        duration_max_ns: call.duration_ns(&MAX_DURATION),
        attributes: call.attributes()?,
        trace: call.trace_id()?,
        span: call.span_id()?,
        order: match call.text(&ORDER) {
            Some("slowest") => SpanOrder::Slowest,
            _ => SpanOrder::Newest,
        },
        after: resumed.after.as_ref().map(|place| read(place).ok_or_else(foreign_cursor)).transpose()?,
        limit: resumed.limit,
    };
    let found = call.query().spans(&call.scope, question).await?;
    laid_out(move || {
        let query = call.query();
        let mut page = Page::new(&call.seal, resumed.window);
        page.incomplete = found.cut.then(|| {
            "more spans were there than can be put in order; ask about less time, or give more conditions"
                .to_owned()
        });
        page.fill(
            &found.spans,
            found.next.as_ref().map(write),
            |row| SpanView::new(query, row),
            |_, row| write(&SpanPlace::of(row)),
        )?;
        page.finish_with(&Senders::new(query, found.spans.iter().map(|row| row.resource)))
    })
    .await
}

fn write(place: &SpanPlace) -> Place {
    let [first, second] = halves(place.trace_id);
    let span = i64::from_be_bytes(*place.span_id.as_bytes());
    Place::at([place.duration_ns.cast_signed(), place.start.0, first, second, span])
}

fn read(place: &Place) -> Option<SpanPlace> {
    let [duration, start, first, second, span] = place.fixed()?;
    Some(SpanPlace {
        duration_ns: duration.cast_unsigned(),
        start: UnixNanos(start),
        trace_id: whole([first, second])?,
        span_id: SpanId::try_from(&span.to_be_bytes()[..]).ok()?,
    })
}

/// A trace id as two numbers.
pub(super) fn halves(id: TraceId) -> [i64; 2] {
    let number = u128::from_be_bytes(*id.as_bytes());
    [(number >> 64) as i64, number as i64]
}

/// The trace id of two numbers.
pub(super) fn whole([first, second]: [i64; 2]) -> Option<TraceId> {
    TraceId::try_from(&[first.to_be_bytes(), second.to_be_bytes()].concat()[..]).ok()
}
