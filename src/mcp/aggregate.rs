//! `aggregate`.

use std::time::Duration;

use mcp_tools::{AggregateAsk, Answer, Coverage, CoverageState, Fault, Measure, Table};
use serde_json::{Value, json};

use crate::model::rollup::Cell;
use crate::model::tenant::Scope;
use crate::model::time::Window;
use crate::query::Query;
use crate::query::aggregate::{AggregateQuestion, Aggregated};

use super::meant::{self, Meaning};
use super::window::Asked;
use super::{cells, fault, page};

pub(super) async fn answer(query: &Query, scope: &Scope, ask: AggregateAsk) -> Result<Answer, Fault> {
    let asked = Asked::resolve(query, &ask.range)?;
    let from = page::offset(ask.cursor.as_deref())?;
    let question = |meant: Meaning| AggregateQuestion {
        of_logs: ask.of_logs,
        group_by: ask.group_by.clone(),
        service: meant.service,
        operation: ask.operation.clone(),
        filter: meant.filter,
        window: asked.window,
        step: ask.step_s.map(|seconds| Duration::from_secs(seconds.into())),
    };
    let (meant, otherwise) = meant::meanings((query, scope), ask.service.as_deref(), &ask.filter);
    let mut found = query.aggregate(scope, question(meant)).await.map_err(fault::of)?;
    let otherwise = otherwise.filter(|_| found.groups.is_empty());
    let by_attribute = otherwise.is_some();
    if let Some(meant) = otherwise {
        found = query.aggregate(scope, question(meant)).await.map_err(fault::of)?;
    }
    let whole = found.windows.first().copied().unwrap_or(asked.window);
    let mut answer = asked.answer_about(whole);
    let items = match (ask.of_logs, found.of_requests) {
        (true, _) => "log records",
        (false, true) => "requests",
        (false, false) => "spans",
    };
    let all: u64 = found.groups.values().filter_map(|cells| cells.first()).map(|cell| cell.count).sum();
    answer.summary = format!(
        "{} of {all} {items} by {}: {} groups.",
        ask.measure.name(),
        ask.group_by.join(", "),
        found.groups.len()
    );
    if let Some(looked_at) = found.looked_at.filter(|_| found.cut) {
        answer.coverage = Some(Coverage {
            state: CoverageState::Partial,
            detail: Some(format!(
                "Attributes are looked up item by item: these are the newest {looked_at} {items}, and `window` begins with \
                 the oldest of them; what came before is not counted. Ask about less with `service`, `filter` or `until`."
            )),
        });
    }
    for key in &found.absent {
        let unknown = Fault::unknown("attribute", key, found.keys.iter().map(String::as_str));
        answer.warnings.push(format!("none of the {items} has this key: {unknown}"));
    }
    if found.groups.is_empty() {
        let why = why_empty(&ask, items);
        answer.why_empty = Some(meant::why_empty(why, (query, scope), &ask.filter));
    } else if by_attribute {
        answer.warnings.push(meant::BY_ATTRIBUTE.to_owned());
    }
    let steps = found.windows.len().saturating_sub(1);
    if let Some(told) = told_of_steps(&found, whole) {
        answer.warnings.push(told);
    }
    let keys = ask.group_by.iter().map(String::as_str);
    let fixed = [ask.measure.name(), "items", "steps"].into_iter().take(if steps > 0 { 3 } else { 2 });
    let columns: Vec<&str> = keys.chain(fixed).collect();
    let rows = ranked(&found, ask.measure);
    page::put(&mut answer, Table::new("groups", columns), rows, (from, ask.limit));
    Ok(answer)
}

fn why_empty(ask: &AggregateAsk, items: &str) -> String {
    if ask.filter.is_empty() {
        format!("no {items} in the window; try a longer `since`")
    } else {
        format!("no {items} in the window have these attributes; drop `filter` or try a longer `since`")
    }
}

/// When the steps are, and what of the window they leave out; none where there are none.
fn told_of_steps(found: &Aggregated, whole: Window) -> Option<String> {
    let (first, last) = (*found.windows.get(1)?, *found.windows.last()?);
    let seconds = |window: Window| window.length().as_secs();
    let longest = found.windows[1..].iter().map(|step| seconds(*step)).max()?;
    let steps = found.windows.len() - 1;
    let begins = cells::relative(first.from, whole.to);
    let begins = begins.as_str().unwrap_or_default();
    let mut told = format!("the first of {steps} steps of {longest} s begins at {begins}");
    if whole.from < first.from {
        let missing = Window::new(whole.from, first.from).length().as_secs();
        told += &format!("; the {missing} s of the window before it have no steps: give a larger `step_s`");
    }
    let unknown = found.windows[1..].iter().filter(|step| !found.knows(step)).count();
    if unknown > 0 {
        told += &format!("; nothing was looked at in the first {unknown} of them, which are null");
    }
    if let Some(step) = found.windows[1..].get(unknown).filter(|_| unknown > 0) {
        told += &format!(", and of the next one {} s were looked at", seconds(*step));
    }
    let cut = [("first", first), ("last", last)].into_iter().filter(|(_, step)| seconds(*step) < longest);
    for (which, step) in cut {
        told += &format!("; the {which} holds {} s of the window only", seconds(step));
    }
    Some(told)
}

/// The groups, the largest value first.
fn ranked(found: &Aggregated, measure: Measure) -> Vec<Vec<Value>> {
    let whole = |cells: &[Cell]| value(&cells[0], found.windows[0], measure).unwrap_or(f64::NEG_INFINITY);
    let mut groups: Vec<(&Vec<String>, &Vec<Cell>)> = found.groups.iter().collect();
    groups.sort_by(|a, b| whole(b.1).total_cmp(&whole(a.1)).then_with(|| a.0.cmp(b.0)));
    let shown = |(cell, window): (&Cell, &Window)| {
        let known = value(cell, *window, measure).filter(|_| found.knows(window));
        known.map_or(Value::Null, cells::rounded)
    };
    let row = |(labels, sums): (&Vec<String>, &Vec<Cell>)| {
        let mut row: Vec<Value> = labels.iter().map(|label| json!(label)).collect();
        let mut values: Vec<Value> = sums.iter().zip(&found.windows).map(shown).collect();
        row.push(values.remove(0));
        row.push(json!(sums[0].count));
        if !values.is_empty() {
            row.push(Value::Array(values));
        }
        row
    };
    groups.into_iter().map(row).collect()
}

/// The measure of a group; none where nothing was counted.
fn value(cell: &Cell, window: Window, measure: Measure) -> Option<f64> {
    let quantile = |share| cell.sketch.quantile(share).map(|nanos| nanos as f64 / 1e6);
    match measure {
        Measure::Count => Some(cell.count as f64),
        Measure::Rate => Some(cells::per_second(cell.count, window)),
        _ if cell.count == 0 => None,
        Measure::ErrorsPct => Some(100.0 * cell.error_ratio()),
        Measure::MeanMs => Some(cell.mean_ns() / 1e6),
        Measure::P50Ms => quantile(0.5),
        Measure::P95Ms => quantile(0.95),
        Measure::P99Ms => quantile(0.99),
        Measure::MaxMs => Some(cell.max_ns as f64 / 1e6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::rollup::Seen;
    use crate::model::time::UnixNanos;

    fn at(from: i64, to: i64) -> Window {
        Window::new(UnixNanos::from_seconds(from), UnixNanos::from_seconds(to))
    }

    /// Three steps of a minute, of which the newest items reach back to the middle of the second.
    fn cut_short() -> Aggregated {
        let cell = |count: u64| {
            let mut cell = Cell::default();
            (0..count).for_each(|_| cell.add(&Seen::Call { duration_ns: 0, caller_ns: 0, error: false }));
            cell
        };
        let windows = vec![at(90, 180), at(0, 60), at(90, 120), at(120, 180)];
        let cells = vec![cell(90), cell(0), cell(60), cell(30)];
        Aggregated {
            groups: [(vec!["west".to_owned()], cells)].into(),
            windows,
            looked_at: Some(90),
            looked_from: Some(UnixNanos::from_seconds(90)),
            cut: true,
            ..Aggregated::default()
        }
    }

    #[test]
    fn what_was_not_looked_at_is_not_zero() {
        let found = cut_short();
        let counts = ranked(&found, Measure::Count);
        assert_eq!(counts, [vec![json!("west"), json!(90), json!(90), json!([null, 60, 30])]]);
        let rates = ranked(&found, Measure::Rate);
        assert_eq!(rates, [vec![json!("west"), json!(1), json!(90), json!([null, 2, 0.5])]]);
        let told = told_of_steps(&found, found.windows[0]).unwrap();
        assert!(told.contains("nothing was looked at in the first 1 of them"), "{told}");
        assert!(told.contains("of the next one 30 s were looked at"), "{told}");
        let whole = Aggregated { looked_from: None, ..found };
        assert_eq!(ranked(&whole, Measure::Count)[0][3], json!([0, 60, 30]));
    }
}
