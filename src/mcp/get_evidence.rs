//! `get_evidence`.

use mcp_tools::{Answer, Fault, GetEvidenceAsk, Next, Table, unescaped};
use serde_json::{Value, json};

use crate::diagnose::observed::Observed;
use crate::model::tenant::Scope;
use crate::model::time::Window;
use crate::query::Query;
use crate::query::reopened::{Named, Reopened};

use super::proof::Handle;
use super::window::Asked;
use super::{cells, fault, proof};

pub(super) async fn answer(query: &Query, scope: &Scope, ask: GetEvidenceAsk) -> Result<Answer, Fault> {
    let asked = Asked::resolve(query, &ask.range)?;
    let handles = read_all(&ask.ids)?;
    let mut answer = asked.answer();
    let mut table =
        Table::new("evidence", ["id", "state", "what", "unit", "now", "before", "window_from", "window_s"]);
    let mut states = Vec::new();
    for (id, handle) in ask.ids.iter().zip(&handles) {
        let opened = open(query, scope, handle, asked.window).await?;
        states.push(opened.state);
        let (window, is_observed) = (opened.window, !opened.unit.is_empty());
        table.rows.push(vec![
            json!(unescaped(id)),
            json!(opened.state),
            json!(opened.what),
            json!(opened.unit),
            opened.now,
            opened.before,
            json!(is_observed.then(|| mcp_tools::rfc3339(window.from.0))),
            if is_observed { cells::rounded(window.length().as_secs_f64()) } else { Value::Null },
        ]);
        let is_first = answer.next.is_empty() && opened.state != "gone";
        if let (Named::Trace(trace) | Named::Span(trace, _), true) = (&handle.named, is_first) {
            answer.next.push(Next::new("trace_graph", [("trace_id", json!(trace.to_string()))]));
        }
    }
    answer.summary = summary(&states);
    answer.tables.push(table);
    Ok(answer)
}

/// What became of how many of them; of those that are but opened, why nothing is said of that.
fn summary(states: &[&str]) -> String {
    let count = |state| states.iter().filter(|it| **it == state).count();
    let opened = match count("opened") {
        0 => String::new(),
        opened => format!(
            " {opened} are records, or of a window that was not over when the id was given: these are not compared."
        ),
    };
    format!(
        "{} pieces of evidence: {} the same, {} drifted, {} gone.{opened}",
        states.len(),
        count("same"),
        count("drifted"),
        count("gone")
    )
}

/// Reads evidence ids, or tells of the first that is none.
pub(super) fn read_all(ids: &[String]) -> Result<Vec<Handle>, Fault> {
    let read = |id: &String| {
        proof::read(id).ok_or_else(|| {
            let short = echoed(id);
            Fault::invalid(format!(
                "`{short}` is no evidence id; give ids as answers show them in `evidence`, such as `template:17` or \
                 `operation:payment POST /charge@1795950000+600#3f9a`, with `;` between them"
            ))
        })
    };
    ids.iter().map(read).collect()
}

/// The beginning of an id as a refusal repeats it.
pub(super) fn echoed(id: &str) -> String {
    unescaped(id).chars().filter(|c| !c.is_control()).take(60).collect()
}

/// A piece of evidence as it is now.
pub(super) struct Opened {
    /// What became of it since the id was made.
    pub(super) state: &'static str,
    /// What it is.
    pub(super) what: String,
    /// The unit of the measures; empty for a record.
    pub(super) unit: &'static str,
    /// The measures in the window, and before.
    pub(super) now: Value,
    pub(super) before: Value,
    /// The window in which they were measured.
    pub(super) window: Window,
}

/// Opens evidence, in `window` where its id names none.
pub(super) async fn open(
    query: &Query,
    scope: &Scope,
    handle: &Handle,
    window: Window,
) -> Result<Opened, Fault> {
    let window = handle.seen.map_or(window, |(window, _)| window);
    let digest = handle.seen.and_then(|(_, digest)| digest);
    let found = Box::pin(query.reopen(scope, &handle.named, window, digest)).await.map_err(fault::of)?;
    let state = state(handle, &found);
    let (what, unit, now, before) = told(found);
    Ok(Opened { state, what, unit, now, before, window })
}

/// What became of it since the handle was made.
fn state(handle: &Handle, found: &Reopened) -> &'static str {
    match (found, handle.seen) {
        (Reopened::Nothing, _) => "gone",
        (Reopened::Observed { now: Some(now), .. }, Some((_, Some(digest)))) if now.digest() == digest => {
            "same"
        }
        (Reopened::Observed { .. }, Some((_, Some(_)))) => "drifted",
        (Reopened::Observed { .. } | Reopened::Record(_), _) => "opened",
    }
}

/// What it is, the unit, and the measures in the window and before.
fn told(found: Reopened) -> (String, &'static str, Value, Value) {
    match found {
        Reopened::Nothing => {
            ("nothing of this name is stored any more".to_owned(), "", Value::Null, Value::Null)
        }
        Reopened::Record(text) => (text, "", Value::Null, Value::Null),
        Reopened::Observed { now, before, what } => {
            let unit = match now.or(before) {
                Some(Observed::Requests(_)) => "requests, failed, mean_ms, p95_ms",
                Some(Observed::Records(_)) => "records",
                Some(Observed::Level(_)) => "level",
                None => "none",
            };
            (what, unit, measured(now), measured(before))
        }
    }
}

fn measured(observed: Option<Observed>) -> Value {
    match observed {
        None => Value::Null,
        Some(Observed::Records(count)) => json!(count),
        Some(Observed::Level(level)) => cells::rounded(level),
        Some(Observed::Requests(it)) => json!([
            it.count,
            it.errors,
            cells::milliseconds(it.mean_ns),
            cells::milliseconds(it.p95_ns as f64)
        ]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_compared_is_told_apart() {
        assert_eq!(
            summary(&["same", "gone", "same"]),
            "3 pieces of evidence: 2 the same, 0 drifted, 1 gone."
        );
        let opened = summary(&["opened", "drifted"]);
        assert!(
            opened.starts_with("2 pieces of evidence: 0 the same, 1 drifted, 0 gone. 1 are records"),
            "{opened}"
        );
    }
}
