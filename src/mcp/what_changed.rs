//! `what_changed`.

use mcp_tools::{Answer, Coverage, CoverageState, Fault, Table, WhatChangedAsk, rfc3339};
use serde_json::{Value, json};

use crate::diagnose::difference::{Difference, DifferenceKind};
use crate::diagnose::verdict::Reference;
use crate::model::tenant::Scope;
use crate::model::time::UnixNanos;
use crate::query::Query;
use crate::query::changed::Changed;
use crate::query::root_cause::Moment;

use super::window::Asked;
use super::{cells, fault, page, proof};

/// Longest name shown, in characters.
const NAME_CHARS_MAX: usize = 160;

pub(super) async fn answer(query: &Query, scope: &Scope, ask: WhatChangedAsk) -> Result<Answer, Fault> {
    let asked = Asked::resolve(query, &ask.range)?;
    let from = page::offset(ask.cursor.as_deref())?;
    let now = query.clock().now();
    let at = ask.at.map(|at| at.resolve(now.0)).transpose()?.map(UnixNanos);
    if let Some(at) = at
        && at >= asked.window.to
    {
        return Err(Fault::invalid(format!(
            "`at` ({}) must lie before the end of the window ({})",
            rfc3339(at.0),
            rfc3339(asked.window.to.0)
        )));
    }
    let found =
        query.what_changed(scope, asked.window, (ask.service.as_deref(), at)).await.map_err(fault::of)?;
    let (window, end) = (found.comparison.now, asked.window.to);
    let mut answer = asked.answer_about(window);
    answer.summary = summary(query, &found);
    let columns =
        ["rank", "kind", "service", "subject", "before", "now", "unit", "first_seen", "score", "evidence"];
    let changed = &found.differences.changed;
    let rows = changed
        .iter()
        .enumerate()
        .map(|(at, difference)| row(query, at, difference, (window.from, end)))
        .collect();
    page::put(&mut answer, Table::new("changes", columns), rows, (from, ask.limit));
    let compared = DifferenceKind::ALL.iter().filter_map(|kind| {
        let (compared, changed) = found.differences.compared.get(kind)?;
        Some(vec![json!(kind.name()), json!(compared - changed), json!(compared)])
    });
    let table = Table::new("not_changed", ["kind", "not_changed", "compared"]);
    page::put_beside(&mut answer, table, compared.collect(), DifferenceKind::ALL.len());
    let (series, metrics) = found.differences.unread;
    if series > 0 {
        answer.warnings.push(format!("{series} measured series were too many to be read"));
    }
    if metrics > 0 {
        answer.warnings.push(format!(
            "{metrics} metrics were not compared, as their names say nothing of faults or load: `query_metrics` shows them"
        ));
    }
    if !found.has_baseline {
        answer.coverage = Some(Coverage {
            state: CoverageState::Partial,
            detail: Some("Nothing is known of the time before: only change events are listed.".to_owned()),
        });
    }
    if changed.is_empty() {
        answer.why_empty = Some(if found.has_baseline {
            "nothing differs beyond chance; `not_changed` says what was compared".to_owned()
        } else {
            "nothing is known of the time before; give a later `at` or a longer `since`".to_owned()
        });
    }
    answer
        .next
        .push(asked.next("root_cause_analysis", ask.service.map(|service| ("service", json!(service)))));
    Ok(answer)
}

fn summary(query: &Query, found: &Changed) -> String {
    let moment = rfc3339(found.comparison.now.from.0);
    let how = match found.moment {
        Moment::Given => "as given",
        Moment::Symptom => "when the symptom began",
        Moment::Instant => "when most changed at once",
        Moment::Window => "where the window begins, as no moment stands out",
        Moment::Middle => {
            "in the middle of what is known, as no moment stands out and nothing older is known"
        }
    };
    let changed = &found.differences.changed;
    let compared: usize = found.differences.compared.values().map(|(compared, _)| compared).sum();
    let first = changed.first().map(|first| {
        let service = first.service.map(|id| format!(" of {}", query.service_name(id))).unwrap_or_default();
        format!(
            " First: {}{service}, {}.",
            first.kind.name(),
            subject(query, first, found.comparison.now.from)
        )
    });
    format!(
        "{} of {compared} things differ between both sides of {moment} ({how}).{}",
        changed.len(),
        first.unwrap_or_default()
    )
}

/// One line, with what is said of times before the moment, and of all others before the end.
fn row(
    query: &Query,
    at: usize,
    difference: &Difference,
    (moment, end): (UnixNanos, UnixNanos),
) -> Vec<Value> {
    let shown: fn(f64) -> Value = match difference.kind {
        DifferenceKind::Errors => cells::percent,
        DifferenceKind::Latency => cells::milliseconds,
        _ => cells::rounded,
    };
    let unit = if difference.unit.is_empty() { difference.kind.unit() } else { &difference.unit };
    vec![
        json!(at + 1),
        json!(difference.kind.name()),
        json!(difference.service.map(|id| query.service_name(id))),
        json!(subject(query, difference, moment)),
        difference.before.map_or(Value::Null, shown),
        difference.now.map_or(Value::Null, shown),
        json!(unit),
        difference.at.map_or(Value::Null, |at| cells::relative(at, end)),
        cells::rounded(difference.score),
        json!(difference.reference.as_ref().map(|reference| proof::handle(query, reference).0)),
    ]
}

/// What differs, in a few words; of a version that was there before `moment`, since when.
fn subject(query: &Query, difference: &Difference, moment: UnixNanos) -> String {
    let came = difference.at.filter(|at| difference.kind == DifferenceKind::Version && *at < moment);
    if let Some(came) = came {
        let minutes = moment.since(came).as_secs_f64() / 60.0;
        return format!("{}, first seen {minutes:.0} min before", shortened(&difference.name));
    }
    if !difference.name.is_empty() {
        return shortened(&difference.name);
    }
    match difference.reference {
        Some(Reference::Operation { id, .. }) => query.operation_name(id),
        Some(Reference::Edge { from, to }) => {
            format!("{} -> {}", query.operation_path(from), query.operation_path(to))
        }
        Some(Reference::Instance { resource, .. }) => query.instance_name(resource),
        _ => String::new(),
    }
}

fn shortened(name: &str) -> String {
    match name.char_indices().nth(NAME_CHARS_MAX) {
        Some((at, _)) => format!("{}…", &name[..at]),
        None => name.to_owned(),
    }
}
