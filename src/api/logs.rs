//! `/api/v1/logs`.

use crate::auth::Right;
use crate::model::id::TemplateId;
use crate::model::log::Severity;
use crate::model::time::UnixNanos;
use crate::query::log_records::{RecordQuestion, TEXT_BYTES_MAX};

use super::answer::{Answer, Page, laid_out};
use super::call::{Call, foreign_cursor};
use super::cursor::Place;
use super::parameter::{
    ATTRIBUTE, CURSOR, FROM, LIMIT, Parameter, SERVICE, SEVERITY, SINCE, SPAN_ID, Shape, TO, TRACE_ID,
};
use super::problem::Problem;
use super::routes::Route;
use super::span_view::{LogView, Senders};

const Q: Parameter = Parameter {
    name: "q",
    description: "What to search for, in the syntax of Lucene. Words are all needed, in the body or in attribute values, in \
                  whatever case; `\"connection reset\"` finds words in a row, `\"connection peer\"~2` words moved by \
                  two places, `conn*` a beginning; `a OR b`, `(a OR b) c`, `-word`, `NOT (a OR b)`, `+word`. \
                  `http.route:/api/pay` finds an attribute, `http.route:*` any value of it, `http.route:(/a OR /b)` or \
                  `http.route:IN [/a /b]` one of several, `code:[500 TO 599]`, `code:{1 TO 5}`, `code:>=500` a range. \
                  `severity:>=warn`, `service:pay*` and `template:17` name the level, the sender and the template.",
    shape: Shape::Text { bytes_max: TEXT_BYTES_MAX },
};
const TEMPLATE: Parameter = Parameter {
    name: "template",
    description: "Only records of this template, by the id that `/api/v1/log-templates` shows.",
    shape: Shape::Integer { min: 0, max: u32::MAX as u64, default: 0 },
};

pub(super) const ROUTE: Route = Route {
    path: "/api/v1/logs",
    right: Right::Read,
    name: "searchLogs",
    summary: "Log records, newest first",
    description: "Log records of the window that pass every condition, with everything that they carry. A page may hold \
                  fewer items than asked for and still have a `next_cursor`, where few of the records looked at pass.",
    in_path: &[],
    in_body: None,
    parameters: &[
        &FROM, &TO, &SINCE, &Q, &SEVERITY, &SERVICE, &TEMPLATE, &ATTRIBUTE, &TRACE_ID, &SPAN_ID, &LIMIT,
        &CURSOR,
    ],
    schema: |schemas| schemas.page_with::<LogView, Senders>(),
    answer: |call| Box::pin(answer(call)),
};

/// The least severity that a name stands for; 0 for no name.
pub(super) fn severity_min(call: &Call) -> Severity {
    call.text(&SEVERITY).and_then(Severity::from_name).unwrap_or(Severity(0))
}

async fn answer(call: Call) -> Result<Answer, Problem> {
    let resumed = call.resumed()?;
    let template = call.text(&TEMPLATE).and_then(|text| text.trim().parse().ok()).map(TemplateId);
    let before = resumed.after.as_ref().map(|place| place.fixed::<2>().ok_or_else(foreign_cursor));
    let question = RecordQuestion {
        window: resumed.window,
        text: call.owned(&Q),
        severity_min: severity_min(&call),
        service: call.owned(&SERVICE),
        template,
        trace: call.trace_id()?,
        span: call.span_id()?,
        attributes: call.attributes()?,
        before: before.transpose()?.map(|[time, id]| (UnixNanos(time), id)),
        limit: resumed.limit,
    };
    let found = call.query().log_records(&call.scope, question).await?;
    laid_out(move || {
        let query = call.query();
        let mut page = Page::new(&call.seal, resumed.window);
        page.incomplete = (found.not_indexed > 0).then(|| {
            format!(
                "{} records arrived so recently that words are not searched in them yet",
                found.not_indexed
            )
        });
        page.fill(
            &found.records,
            found.next.map(|(time, id)| Place::at([time.0, id])),
            |log| LogView::new(query, log),
            |_, log| Place::at([log.row.time.0, log.id]),
        )?;
        page.finish_with(&Senders::new(query, found.records.iter().map(|log| log.row.resource)))
    })
    .await
}
