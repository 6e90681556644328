//! `search_logs`.

use mcp_tools::{Answer, Fault, SearchLogsAsk, Shown, Table};
use serde_json::{Value, json};

use crate::model::id::{TemplateId, TraceId};
use crate::model::log::Severity;
use crate::model::tenant::Scope;
use crate::model::time::{UnixNanos, Window};
use crate::query::Query;
use crate::query::logs::LogQuestion;
use crate::store::read::logs::StoredLog;

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
    let question = LogQuestion {
        window,
        text: ask.query.clone().unwrap_or_default(),
        severity_min: ask.severity.map_or(Severity(0), |severity| Severity(severity.number_min())),
        service: ask.service.clone(),
        trace: ask.trace_id.and_then(|bytes| TraceId::try_from(bytes.as_slice()).ok()),
        template: ask.template.as_deref().map(template).transpose()?,
        attributes: ask.filter.clone(),
        before: page::position(ask.cursor.as_deref())?,
        limit: ask.limit,
    };
    let found = query.logs(scope, question).await.map_err(fault::of)?;
    let mut answer = asked.answer();
    if found.not_indexed > 0 {
        answer.warnings.push(format!(
            "{} records arrived so recently that words are not searched in them yet",
            found.not_indexed
        ));
    }
    let total = found.total.unwrap_or(found.records.len());
    answer.summary = match (found.records.len(), found.total, &found.next) {
        (0, ..) => "No log record matches.".into(),
        (shown, Some(total), _) => format!("{total} log records match; the newest {shown} are shown."),
        (shown, None, Some(_)) => format!("The newest {shown} matching log records; there are more."),
        (shown, None, None) => format!("{shown} log records match."),
    };
    if found.records.is_empty() {
        answer.why_empty = Some(if found.not_indexed > 0 {
            "the newest records are not searchable yet: ask again in a moment".into()
        } else {
            why_empty(&ask)
        });
    }
    let mut table = Table::new("logs", COLUMNS);
    table.rows = found.records.iter().map(|log| row(query, log, asked.window.to)).collect();
    table.cursors = found.records.iter().map(|log| page::position_text((log.row.time, log.id))).collect();
    if found.records.len() < total || found.next.is_some() {
        let at_least = found.total.is_none();
        let total = if at_least { total + 1 } else { total };
        answer.shown = Some(Shown { at_least, ..Shown::new(found.records.len() as u64, total as u64) });
    }
    answer.cursor = found.next.map(page::position_text);
    let trace = found.records.iter().find_map(|log| log.row.trace_id);
    page::offer_trace(&mut answer, (query, scope), trace).await?;
    answer.tables.push(table);
    Ok(answer)
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

fn why_empty(ask: &SearchLogsAsk) -> String {
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
