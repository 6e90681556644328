//! `search_logs`.

use mcp_tools::{Answer, Fault, SearchLogsAsk, Shown, Table};
use serde_json::{Value, json};

use crate::model::id::{TemplateId, TraceId};
use crate::model::log::Severity;
use crate::model::tenant::Scope;
use crate::model::time::{UnixNanos, Window};
use crate::query::Query;
use crate::query::logs::{LogQuestion, LogsFound};
use crate::store::read::logs::StoredLog;

use super::meant::{self, Meaning};
use super::window::Asked;
use super::{cells, fault, page};

/// The columns of a log record.
pub(super) const COLUMNS: [&str; 7] =
    ["time", "severity", "service", "body", "template", "trace_id", "attributes"];

/// Everything a tenant may have kept.
const EVERYWHERE: Window = Window { from: UnixNanos(0), to: UnixNanos(i64::MAX) };

pub(super) async fn answer(query: &Query, scope: &Scope, ask: SearchLogsAsk) -> Result<Answer, Fault> {
    let asked = Asked::resolve(query, &ask.range.unwrap_or(mcp_tools::TimeRange::LAST_HOUR))?;
    let window = if ask.range.is_some() { asked.window } else { EVERYWHERE };
    let template = ask.template.as_deref().map(template).transpose()?;
    let before = page::position(ask.cursor.as_deref())?;
    let question = |meant: Meaning| LogQuestion {
        window,
        text: ask.query.clone().unwrap_or_default(),
        severity_min: ask.severity.map_or(Severity(0), |severity| Severity(severity.number_min())),
        service: meant.service,
        trace: ask.trace_id.and_then(|bytes| TraceId::try_from(bytes.as_slice()).ok()),
        template,
        attributes: meant.filter,
        before,
        limit: ask.limit,
    };
    let (meant, otherwise) = meant::meanings((query, scope), ask.service.as_deref(), &ask.filter);
    let mut found = query.logs(scope, question(meant)).await.map_err(fault::of)?;
    let otherwise = otherwise.filter(|_| found.records.is_empty() && found.next.is_none());
    let by_attribute = otherwise.is_some();
    if let Some(meant) = otherwise {
        found = query.logs(scope, question(meant)).await.map_err(fault::of)?;
    }
    let mut answer = asked.answer();
    if found.not_indexed > 0 {
        answer.warnings.push(format!(
            "{} records arrived so recently that words are not searched in them yet",
            found.not_indexed
        ));
    }
    answer.summary = summary(&found);
    if found.records.is_empty() {
        answer.why_empty = Some(meant::why_empty(why_empty(&ask, &found), (query, scope), &ask.filter));
    } else if by_attribute {
        answer.warnings.push(meant::BY_ATTRIBUTE.to_owned());
    }
    let mut table = Table::new("logs", COLUMNS);
    table.rows = found.records.iter().map(|log| row(query, log, asked.window.to)).collect();
    table.cursors = found.records.iter().map(|log| page::position_text((log.row.time, log.id))).collect();
    answer.shown = shown(&found);
    answer.cursor = found.next.map(page::position_text);
    let trace = found.records.iter().find_map(|log| log.row.trace_id);
    page::offer_trace(&mut answer, (query, scope), trace).await?;
    answer.tables.push(table);
    Ok(answer)
}

fn summary(found: &LogsFound) -> String {
    let goes_on = found.next.is_some();
    match (found.records.len(), found.total) {
        (0, _) if goes_on => "No log record matches among those looked at; there are more to look at.".into(),
        (0, _) => "No log record matches.".into(),
        (shown, Some(total)) => format!("{total} log records match; the newest {shown} are shown."),
        (shown, None) if !goes_on => format!("{shown} log records match."),
        (shown, None) if found.next_matches => {
            format!("The newest {shown} matching log records; there are more.")
        }
        (shown, None) => format!("The newest {shown} matching log records; there are more to look at."),
    }
}

/// How many of them are shown; none where all are, or where none is and there may be some.
fn shown(found: &LogsFound) -> Option<Shown> {
    let rows = found.records.len() as u64;
    match found.total {
        Some(total) => (rows < total as u64 || found.next.is_some()).then(|| Shown::new(rows, total as u64)),
        None if rows == 0 || found.next.is_none() => None,
        None => Some(Shown { at_least: true, ..Shown::new(rows, rows + u64::from(found.next_matches)) }),
    }
}

/// One record as a row. The body and the attributes are the observed system's words.
pub(super) fn row(query: &Query, log: &StoredLog, end: UnixNanos) -> Vec<Value> {
    let record = &log.row;
    let attributes: serde_json::Map<String, Value> =
        record.detail.attributes().map(|(key, value)| (key.to_owned(), json!(value.render()))).collect();
    vec![
        cells::relative(record.time, end),
        json!(record.severity.name()),
        json!(query.service_name(record.service)),
        json!(record.detail.line()),
        json!(format!("template:{}", record.template.0)),
        json!(record.trace_id.map(|id| id.to_string())),
        Value::Object(attributes),
    ]
}

fn template(text: &str) -> Result<TemplateId, Fault> {
    let digits = text.strip_prefix("template:").unwrap_or(text);
    // As evidence it says when it was observed.
    let digits = digits.split('@').next().unwrap_or(digits);
    digits
        .parse()
        .map(TemplateId)
        .map_err(|_| Fault::invalid("template: give an id such as `template:17`, as answers show it"))
}

fn why_empty(ask: &SearchLogsAsk, found: &LogsFound) -> String {
    if found.next.is_some() {
        return "those looked at do not match; follow the cursor, or ask for less with `service` or `since`"
            .into();
    }
    if found.not_indexed > 0 {
        return "the newest records are not searchable yet: ask again in a moment".into();
    }
    let mut filters = Vec::new();
    filters.extend(ask.query.is_some().then_some("query"));
    filters.extend(ask.severity.is_some().then_some("severity"));
    filters.extend(ask.service.is_some().then_some("service"));
    filters.extend(ask.trace_id.is_some().then_some("trace_id"));
    filters.extend(ask.template.is_some().then_some("template"));
    filters.extend((!ask.filter.is_empty()).then_some("filter"));
    if filters.is_empty() {
        "no log record was received in the window; try a longer `since`".into()
    } else {
        format!("nothing in the window passes {}; drop one or try a longer `since`", filters.join(" and "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_without_a_match_is_not_the_end() {
        let found = LogsFound { next: Some((UnixNanos(7), 7)), ..LogsFound::default() };
        assert_eq!(
            summary(&found),
            "No log record matches among those looked at; there are more to look at."
        );
        assert_eq!(shown(&found), None);
        let found = LogsFound::default();
        assert_eq!((summary(&found).as_str(), shown(&found)), ("No log record matches.", None));
    }
}
