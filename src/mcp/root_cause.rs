//! `root_cause_analysis`.

use mcp_tools::{
    Answer, Coverage, CoverageState, Fault, Next, RootCauseAsk, RuledOut, Table, Verdict, rfc3339,
};
use serde_json::{Value, json};

use crate::diagnose::verdict::{Cause, Outcome, Reference};
use crate::model::tenant::Scope;
use crate::model::time::Window;
use crate::query::Query;
use crate::query::root_cause::Explanation;

use super::window::Asked;
use super::{cells, fault, page, proof};

/// Proofs shown for one cause.
const PROOFS_MAX: usize = 6;
/// Pieces of evidence that are offered to be opened again.
const EVIDENCE_MAX: usize = 3;
/// What is said where changes alone are told, though there are measurements.
const CALM: &str = " Nothing that was measured fails, slows down or falls silent.";
/// What is said where causes are told of no symptom, and nothing could have shown one.
const UNMEASURED: &str = " No spans or metrics measure it.";
/// Suspects shown as ruled out.
const RULED_OUT_MAX: usize = 8;

pub(super) async fn answer(query: &Query, scope: &Scope, ask: RootCauseAsk) -> Result<Answer, Fault> {
    let asked = Asked::resolve(query, &ask.range)?;
    let from = page::offset(ask.cursor.as_deref())?;
    let found = query.root_cause(scope, asked.window, ask.service.as_deref()).await.map_err(fault::of)?;
    Ok(laid_out(query, &asked, &found, (from, ask.limit)))
}

/// The verdict with its causes from `page.0` on, `page.1` at most.
pub(super) fn laid_out(query: &Query, asked: &Asked, found: &Explanation, page: (usize, usize)) -> Answer {
    let verdict = &found.verdict;
    let mut answer = asked.answer_about(found.comparison.now);
    answer.verdict = Some(match verdict.outcome {
        Outcome::CauseFound => Verdict::CauseFound,
        Outcome::Candidates => Verdict::Candidates,
        Outcome::InsufficientEvidence => Verdict::InsufficientEvidence,
    });
    answer.summary = summary(query, found);
    let columns = [
        "rank",
        "service",
        "cause",
        "confidence",
        "level",
        "fault",
        "operation",
        "onset",
        "path",
        "evidence",
    ];
    let rows = verdict
        .causes
        .iter()
        .enumerate()
        .map(|(index, cause)| row(query, asked, (index, cause), &mut answer))
        .collect();
    page::put(&mut answer, Table::new("causes", columns), rows, page);
    if !verdict.changes.is_empty() {
        answer.tables.push(changes(query, asked, found));
    }
    answer.ruled_out = verdict
        .ruled_out
        .iter()
        .take(RULED_OUT_MAX)
        .map(|suspect| RuledOut {
            subject: query.service_name(suspect.service),
            reason: suspect.reason.clone(),
        })
        .collect();
    let state = if verdict.coverage.is_empty() { CoverageState::Complete } else { CoverageState::Partial };
    let mut told = verdict.coverage.clone();
    told.extend(query.counted_together(&found.namesakes));
    answer.coverage = Some(Coverage { state, detail: (!told.is_empty()).then(|| told.join(" ")) });
    if verdict.causes.is_empty() {
        answer.why_empty = Some(if found.nodes == 0 {
            "no span of this tenant was received in the window (metrics alone are stored, not diagnosed); try a longer `since`".into()
        } else {
            format!(
                "{} services and dependencies and {} traces were examined; none deviates significantly",
                found.nodes, found.traces
            )
        });
    }
    answer.next = next(query, asked, found);
    answer
}

/// What was changed, and may have brought it about.
fn changes(query: &Query, asked: &Asked, found: &Explanation) -> Table {
    let mut table =
        Table::new("changes", ["rank", "at", "service", "kind", "change", "revision", "score", "because"]);
    for (index, change) in found.verdict.changes.iter().enumerate() {
        table.rows.push(vec![
            json!(index + 1),
            cells::relative(change.at, asked.window.to),
            json!(change.service.map(|id| query.service_name(id))),
            json!(change.kind),
            json!(change.text),
            json!((!change.revision.is_empty()).then_some(&change.revision)),
            cells::rounded(change.score),
            json!(change.reason),
        ]);
    }
    table
}

fn summary(query: &Query, found: &Explanation) -> String {
    let verdict = &found.verdict;
    let symptom = verdict.symptom.as_ref().map(|symptom| {
        let operation =
            symptom.operation.map(|id| format!(" {}", query.operation_name(id))).unwrap_or_default();
        format!(" Symptom: {} of {}{operation}.", symptom.kind.name(), query.service_name(symptom.service))
    });
    let symptom = symptom.unwrap_or_else(|| without_symptom(found).to_owned());
    match (verdict.outcome, verdict.causes.first()) {
        (Outcome::InsufficientEvidence, _) | (_, None) => {
            format!("Insufficient evidence for a root cause in this window.{symptom}")
        }
        (Outcome::CauseFound, Some(cause)) => format!("{}{symptom}", cause.sentence),
        (Outcome::Candidates, Some(cause)) => {
            format!(
                "{} candidates, none clearly ahead; first: {}{symptom}",
                verdict.causes.len(),
                cause.sentence
            )
        }
    }
}

/// What there is to say of causes without a symptom. Who complains in logs alone is in trouble all the same.
fn without_symptom(found: &Explanation) -> &'static str {
    match found.verdict.outcome {
        Outcome::InsufficientEvidence => "",
        _ if !found.is_measured => UNMEASURED,
        _ if found.verdict.is_calm() => CALM,
        _ => "",
    }
}

fn row(query: &Query, asked: &Asked, (index, cause): (usize, &Cause), answer: &mut Answer) -> Vec<Value> {
    let mut handles = Vec::new();
    for evidence in cause.proof.iter().take(PROOFS_MAX).map(|one| proof::evidence(query, one)) {
        handles.push(evidence.id.clone());
        if !answer.evidence.contains(&evidence) {
            answer.evidence.push(evidence);
        }
    }
    let path: Vec<String> = cause.path.iter().map(|id| query.service_name(*id)).collect();
    vec![
        json!(index + 1),
        json!(query.service_name(cause.service)),
        json!(cause.sentence),
        cells::rounded(cause.confidence),
        json!(cause.level.name()),
        json!(cause.fault.name()),
        json!(cause.operation.map(|id| query.operation_name(id))),
        cause.onset.map_or(Value::Null, |onset| cells::relative(onset, asked.window.to)),
        json!(path.join(" -> ")),
        json!(handles),
    ]
}

fn next(query: &Query, asked: &Asked, found: &Explanation) -> Vec<Next> {
    let Some(cause) = found.verdict.causes.first() else {
        return vec![asked.next("what_changed", []), asked.next("get_service_health", [])];
    };
    let service = query.service_name(cause.service);
    // About the time that the causes are told of, so that what is opened agrees with them.
    let now = found.comparison.now;
    let mut next = vec![asked.next_about(now, "impact_analysis", [("service", json!(service))])];
    let trace = cause.proof.iter().find_map(|proof| match proof.reference {
        Reference::Trace(id) | Reference::Span(id, _) => Some(id),
        _ => None,
    });
    if let Some(trace) = trace {
        next.push(Next::new("trace_graph", [("trace_id", json!(trace.to_string()))]));
    }
    let ids = cause.proof.iter().map(|proof| super::proof::evidence(query, proof).id);
    // In a list of ids a semicolon stands between two.
    let ids: Vec<String> = ids.filter(|id| !id.contains(';')).take(EVIDENCE_MAX).collect();
    if !ids.is_empty() && next.len() < 2 {
        next.push(Next::new("get_evidence", [("ids", json!(ids.join("; ")))]));
    }
    let since = Window::new(now.from, asked.window.to);
    next.push(asked.next_about(
        since,
        "search_logs",
        [("service", json!(service)), ("severity", json!("warn"))],
    ));
    next
}

/// What changed at the onset that the causes are told of.
pub(super) fn next_changed(query: &Query, asked: &Asked, found: &Explanation) -> Next {
    let service = found.verdict.causes.first().map(|cause| query.service_name(cause.service));
    let mut arguments: Vec<(&'static str, Value)> = Vec::new();
    arguments.extend(service.map(|service| ("service", json!(service))));
    let onset = found.comparison.now.from;
    arguments.extend((asked.window.from < onset).then(|| ("at", json!(rfc3339(onset.0)))));
    asked.next("what_changed", arguments)
}

#[cfg(test)]
mod tests {
    use crate::diagnose::verdict;
    use crate::model::id::ServiceId;
    use crate::model::time::UnixNanos;
    use crate::query::window::Comparison;

    use super::*;

    /// Causes of these faults, without a symptom.
    fn found(faults: &[verdict::Fault], outcome: Outcome, is_measured: bool) -> Explanation {
        let cause = |fault: &verdict::Fault| Cause {
            service: ServiceId(1),
            operation: None,
            level: verdict::Level::Service,
            fault: *fault,
            sentence: "It stands out.".to_owned(),
            confidence: 0.5,
            onset: None,
            path: Vec::new(),
            proof: Vec::new(),
        };
        let causes = faults.iter().map(cause).collect();
        let verdict = verdict::Verdict {
            outcome,
            symptom: None,
            causes,
            changes: Vec::new(),
            ruled_out: Vec::new(),
            coverage: Vec::new(),
        };
        let window = Window::new(UnixNanos(0), UnixNanos(1));
        let comparison = Comparison { now: window, before: window };
        Explanation { verdict, comparison, traces: 0, nodes: 1, is_measured, namesakes: Vec::new() }
    }

    #[test]
    fn nothing_is_told_as_calm_beside_trouble_in_logs() {
        let (change, errors) = (verdict::Fault::Change, verdict::Fault::Errors);
        let told = |faults: &[verdict::Fault], is_measured| {
            without_symptom(&found(faults, Outcome::Candidates, is_measured))
        };
        assert_eq!(told(&[change, change], true), CALM);
        assert_eq!(told(&[change, errors], true), "");
        assert_eq!(told(&[errors], false), UNMEASURED);
        assert_eq!(told(&[change], false), UNMEASURED);
        let weak = found(&[errors], Outcome::InsufficientEvidence, true);
        assert_eq!(without_symptom(&weak), "");
    }
}
