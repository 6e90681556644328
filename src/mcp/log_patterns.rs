//! `get_log_patterns`.

use std::collections::HashMap;

use mcp_tools::{Answer, Fault, LogPatternsAsk, PatternStatus, Table};
use serde_json::{Value, json};

use crate::diagnose::moved::Move;
use crate::model::id::{TemplateId, TraceId};
use crate::model::log::Severity;
use crate::model::tenant::Scope;
use crate::model::time::UnixNanos;
use crate::query::Query;
use crate::query::log_templates::LogPattern;

use super::window::Asked;
use super::{cells, fault, page};

/// What a pattern below warnings, and one of errors, is worth beside one of warnings.
const CHATTER: f64 = 0.5;
const GRAVE: f64 = 2.0;

pub(super) async fn answer(query: &Query, scope: &Scope, ask: LogPatternsAsk) -> Result<Answer, Fault> {
    let asked = Asked::resolve(query, &ask.range)?;
    let from = page::offset(ask.cursor.as_deref())?;
    let severity = ask.severity.map_or(Severity(0), |severity| Severity(severity.number_min()));
    let found = query
        .log_patterns(scope, asked.window, (ask.service.as_deref(), severity))
        .await
        .map_err(fault::of)?;
    let mut answer = asked.answer_about(found.window);
    let all = found.patterns.len();
    let count = |status| found.patterns.iter().filter(|it| status_of(it) == Some(status)).count();
    let told = [
        PatternStatus::New,
        PatternStatus::Returned,
        PatternStatus::Gone,
        PatternStatus::Up,
        PatternStatus::Down,
    ];
    let counts = told.map(|status| format!("{} {}", count(status), status.name()));
    answer.summary = format!(
        "{all} log patterns: {} against the {} before.",
        counts.join(", "),
        found.baseline.map_or_else(|| "time".to_owned(), |it| format!("{} s", it.length().as_secs())),
    );
    if found.baseline.is_none() {
        answer.warnings.push("nothing older than the window is known: patterns have no status".to_owned());
    }
    let part = ask.part.as_deref().map(str::to_lowercase);
    let mut patterns: Vec<&LogPattern> = found.patterns.iter().collect();
    patterns.retain(|it| {
        part.as_ref().is_none_or(|part| it.template.text.to_lowercase().contains(part))
            && ask.status.is_none_or(|wanted| status_of(it) == Some(wanted))
    });
    patterns.sort_by(|a, b| {
        weight(b).total_cmp(&weight(a)).then(b.now.cmp(&a.now)).then(a.template.id.cmp(&b.template.id))
    });
    if patterns.is_empty() {
        answer.why_empty = Some(match all {
            0 => "no log record was received in the window; try a longer `since`".to_owned(),
            _ => format!("none of {all} patterns passes the filters; drop `match`, `status` or `severity`"),
        });
    }
    let shown: Vec<LogPattern> = patterns.iter().skip(from).take(ask.limit).map(|it| (*it).clone()).collect();
    let traces = query.pattern_traces(scope, found.window, &shown).await.map_err(fault::of)?;
    let columns =
        ["template", "status", "service", "severity", "count", "before", "first_seen", "pattern", "trace_id"];
    let rows = patterns.iter().map(|pattern| row(query, pattern, found.window.to, &traces)).collect();
    page::put(&mut answer, Table::new("patterns", columns), rows, (from, ask.limit));
    if let Some(first) = patterns.first() {
        let template = json!(format!("template:{}", first.template.id.0));
        answer.next.push(asked.next("search_logs", [("template", template)]));
        let trace = traces.get(&first.template.id).copied();
        page::offer_trace(&mut answer, (query, scope), trace).await?;
    }
    Ok(answer)
}

fn status_of(pattern: &LogPattern) -> Option<PatternStatus> {
    pattern.moved.map(|moved| match moved.kind {
        Move::New if pattern.is_old => PatternStatus::Returned,
        Move::New => PatternStatus::New,
        Move::Gone => PatternStatus::Gone,
        Move::Up => PatternStatus::Up,
        Move::Down => PatternStatus::Down,
        Move::Steady => PatternStatus::Steady,
    })
}

/// How much a pattern's move is to be told; nothing for one that did not move.
fn weight(pattern: &LogPattern) -> f64 {
    let moved = pattern.moved.filter(|moved| moved.kind != Move::Steady);
    let part = match pattern.severity {
        severity if severity >= Severity::ERROR => GRAVE,
        severity if severity >= Severity::WARN => 1.0,
        _ => CHATTER,
    };
    moved.map_or(0.0, |moved| moved.surprise.abs() * part)
}

fn row(
    query: &Query,
    pattern: &LogPattern,
    end: UnixNanos,
    traces: &HashMap<TemplateId, TraceId>,
) -> Vec<Value> {
    let template = &pattern.template;
    vec![
        json!(format!("template:{}", template.id.0)),
        json!(status_of(pattern).map(PatternStatus::name)),
        json!(query.service_name(template.service)),
        json!(pattern.severity.name()),
        json!(pattern.now),
        json!(pattern.before),
        cells::relative(template.first_seen, end),
        json!(template.text),
        json!(traces.get(&template.id).map(TraceId::to_string)),
    ]
}

#[cfg(test)]
mod tests {
    use crate::diagnose::moved::moved;
    use crate::model::id::ServiceId;
    use crate::store::read::templates::TemplateText;

    use super::*;

    #[test]
    fn what_was_known_before_is_not_new() {
        let pattern = |is_old| LogPattern {
            template: TemplateText {
                id: TemplateId(1),
                service: ServiceId(1),
                text: "refused".to_owned(),
                first_seen: UnixNanos(0),
            },
            ids: vec![TemplateId(1)],
            severity: Severity::ERROR,
            now: 90,
            before: Some(0),
            moved: Some(moved((90, 600.0), (0, 600.0))),
            is_old,
        };
        assert_eq!(status_of(&pattern(false)), Some(PatternStatus::New));
        assert_eq!(status_of(&pattern(true)), Some(PatternStatus::Returned));
    }
}
