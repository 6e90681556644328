//! `root_cause_analysis`.

use std::collections::BTreeMap;

use mcp_tools::{
    Answer, Coverage, CoverageState, Fault, Next, RootCauseAsk, RuledOut, Table, Verdict, rfc3339,
};
use serde_json::{Value, json};

use crate::diagnose::verdict::{self, Cause, Level, Outcome, Reference, Symptom};
use crate::model::id::{OperationId, ServiceId};
use crate::model::rollup::Subject;
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
        let whose = format!("{}{operation}", query.service_name(symptom.service));
        symptom_text(verdict.outcome, symptom, &whose)
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

/// The symptom in words. Without a cause, what a measured series alone shows is none: among many series one always stands out
/// most.
fn symptom_text(outcome: Outcome, symptom: &Symptom, whose: &str) -> String {
    let kind = symptom.kind.name();
    match (outcome, symptom.operation) {
        (Outcome::InsufficientEvidence, None) => {
            format!(" Nothing deviates significantly; most of all does {kind} of {whose}.")
        }
        (Outcome::InsufficientEvidence, Some(_)) => {
            format!(" What deviates, for no reason that is told from others: {kind} of {whose}.")
        }
        _ => format!(" Symptom: {kind} of {whose}."),
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
    let owner = |operation| query.node_of(Subject::Operation(operation));
    next.push(match whose_logs(cause, &found.logged, owner) {
        Some((service, warns)) => {
            let mut arguments = vec![("service", json!(query.service_name(service)))];
            arguments.extend(warns.then(|| ("severity", json!("warn"))));
            asked.next_about(Window::new(now.from, asked.window.to), "search_logs", arguments)
        }
        None => next_changed(query, asked, found),
    });
    next
}

/// Whose log records tell of a cause, and whether there are warnings among them: the caller's where it is told by callers, else
/// its own, else those of who is next to suffer; none where none of them logs.
fn whose_logs(
    cause: &Cause,
    logged: &BTreeMap<ServiceId, bool>,
    owner: impl Fn(OperationId) -> Option<ServiceId>,
) -> Option<(ServiceId, bool)> {
    let order = [caller(cause, owner), Some(cause.service), cause.path.get(1).copied()];
    order.into_iter().flatten().find_map(|service| Some((service, *logged.get(&service)?)))
}

/// Who makes the calls that go wrong, where a cause lies on the way, cannot be reached, or sends no telemetry of its own.
fn caller(cause: &Cause, owner: impl Fn(OperationId) -> Option<ServiceId>) -> Option<ServiceId> {
    let is_told_by_callers =
        matches!(cause.level, Level::Edge | Level::Dependency) || cause.fault == verdict::Fault::Unreachable;
    if !is_told_by_callers {
        return None;
    }
    let calling = cause.proof.iter().find_map(|proof| match proof.reference {
        Reference::Edge { from, .. } => owner(from),
        _ => None,
    });
    calling.or_else(|| cause.path.get(1).copied())
}

/// What changed at the onset that the causes are told of, at the first or, where it is told by its callers, at them.
pub(super) fn next_changed(query: &Query, asked: &Asked, found: &Explanation) -> Next {
    let owner = |operation| query.node_of(Subject::Operation(operation));
    let first = found.verdict.causes.first();
    let service = first.map(|cause| query.service_name(caller(cause, owner).unwrap_or(cause.service)));
    let mut arguments: Vec<(&'static str, Value)> = Vec::new();
    arguments.extend(service.map(|service| ("service", json!(service))));
    let onset = found.comparison.now.from;
    arguments.extend((asked.window.from < onset).then(|| ("at", json!(rfc3339(onset.0)))));
    asked.next("what_changed", arguments)
}

#[cfg(test)]
mod tests {
    use crate::diagnose::verdict::{Proof, SymptomKind};
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
        let (namesakes, logged) = (Vec::new(), BTreeMap::new());
        Explanation { verdict, comparison, traces: 0, nodes: 1, is_measured, namesakes, logged }
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

    #[test]
    fn who_logs_nothing_is_asked_about_by_way_of_its_caller() {
        let (database, booking, front) = (ServiceId(1), ServiceId(2), ServiceId(3));
        let mut cause = found(&[verdict::Fault::Errors], Outcome::Candidates, true).verdict.causes.remove(0);
        cause.path = vec![database, booking, front];
        let logged = BTreeMap::from([(database, false), (booking, true), (front, true)]);
        let owner = |id: OperationId| (id == OperationId(7)).then_some(front);
        assert_eq!(caller(&cause, owner), None);
        assert_eq!(whose_logs(&cause, &logged, owner), Some((database, false)));
        let others = BTreeMap::from([(booking, true), (front, true)]);
        assert_eq!(whose_logs(&cause, &others, owner), Some((booking, true)), "itself it logs nothing");
        assert_eq!(whose_logs(&cause, &BTreeMap::new(), owner), None);
        cause.level = Level::Dependency;
        assert_eq!(caller(&cause, owner), Some(booking));
        let edge = Reference::Edge { from: OperationId(7), to: OperationId(8) };
        cause.proof.push(Proof::new(edge, String::new()));
        assert_eq!(caller(&cause, owner), Some(front));
        let logged = BTreeMap::from([(database, true), (front, true)]);
        assert_eq!(whose_logs(&cause, &logged, owner), Some((front, true)));
    }

    #[test]
    fn a_quiet_system_has_no_symptom() {
        let kind = SymptomKind::Latency;
        let mut symptom =
            Symptom { service: ServiceId(1), operation: None, kind, before: 1.0, now: 2.0, onset: None };
        let told = |outcome, symptom: &Symptom| symptom_text(outcome, symptom, "booking");
        let quiet = told(Outcome::InsufficientEvidence, &symptom);
        assert_eq!(quiet, " Nothing deviates significantly; most of all does latency of booking.");
        assert_eq!(told(Outcome::Candidates, &symptom), " Symptom: latency of booking.");
        symptom.operation = Some(OperationId(7));
        let unexplained = told(Outcome::InsufficientEvidence, &symptom);
        assert!(unexplained.ends_with("told from others: latency of booking."), "{unexplained}");
    }
}
