//! Operations that take another way than they used to.
//!
//! After each step (a log record, a call, the beginning) another one follows in a share of all cases. Where that share
//! changed by much and beyond chance, the code, its configuration or its input changed: the deepest service that shows
//! it is where to look, because callers take other ways when they are answered otherwise (Nezha, FSE 2023, compares
//! such pairs of events too). Of what comes after a call to another node, as much as fails more than before tells of the
//! failure and of nothing else.

use std::collections::BTreeMap;

use crate::model::id::{OperationId, ServiceId};
use crate::model::node::NodeKind;
use crate::model::rollup::Cell;

use super::evidence::{Step, StepEvidence};
use super::message::cut;
use super::signal::{OneKind, Signal, Source, keep_strongest};
use super::stats::{even_surprise, excess_errors, saturate};
use super::view::View;

/// Standard deviations that a share must leave behind; hundreds of pairs are compared.
const SURPRISE_MIN: f64 = 3.5;
/// Change of a share that must be exceeded.
const CHANGE_MIN: f64 = 0.1;

/// What it is worth against a service that its caller goes on otherwise after it was answered.
const ANSWERED: f64 = 0.45;

/// The strongest change of way of each service; where it comes after another's answer, that may be the reason, and the
/// more callers go on otherwise the more so.
pub(super) fn signals(view: &View<'_>) -> OneKind {
    let mut found = BTreeMap::new();
    let mut answered: BTreeMap<ServiceId, OneKind> = BTreeMap::new();
    for step in view.evidence.steps.iter().filter(|step| view.nodes.contains_key(&step.service)) {
        let share = |(times, of): (u64, u64)| times as f64 / (of as f64).max(1.0);
        let change = (share(step.now) - share(step.before)).abs();
        let surprise = even_surprise(step.now, step.before);
        if change < CHANGE_MIN || surprise < SURPRISE_MIN {
            continue;
        }
        let signal = |change: f64| Signal {
            strength: saturate(surprise - SURPRISE_MIN + 0.5, 2.0) * change,
            source: Source::Step(step.operation),
            kind: None,
            slower_s: None,
            levels: (share(step.before), share(step.now)),
            text: words(view, step),
        };
        if let Some((answering, operation)) = answering(view, step) {
            let own = Signal { source: Source::Step(operation), ..signal(change) };
            keep_strongest(answered.entry(answering).or_default(), step.service, own);
        }
        let change = change - failing_more(view, step);
        if change >= CHANGE_MIN {
            keep_strongest(&mut found, step.service, signal(change));
        }
    }
    for (service, callers) in answered {
        let innocence: f64 = callers.values().map(|it| 1.0 - ANSWERED * it.strength).product();
        let worst = callers.iter().max_by(|a, b| a.1.strength.total_cmp(&b.1.strength).then(b.0.cmp(a.0)));
        if let Some((caller, signal)) = worst {
            let text =
                format!("what comes after its answer changed: {} {}", view.node_name(*caller), signal.text);
            let signal = Signal { strength: 1.0 - innocence, text, ..signal.clone() };
            keep_strongest(&mut found, service, signal);
        }
    }
    found
}

/// Whose answer a step comes after, if another service's, and its operation.
fn answering(view: &View<'_>, step: &StepEvidence) -> Option<(ServiceId, OperationId)> {
    let Step::Call(operation) = step.after else { return None };
    let called = &view.operations[view.position(operation)?];
    let is_other = called.service != step.service && called.node_kind == NodeKind::Service;
    is_other.then_some((called.service, operation))
}

/// The part of the calls before a step, to another node, that fails beyond the part that did before: who is failed goes on
/// otherwise for that reason.
fn failing_more(view: &View<'_>, step: &StepEvidence) -> f64 {
    let Step::Call(operation) = step.after else { return 0.0 };
    let Some(at) = view.position(operation) else { return 0.0 };
    let called = &view.operations[at];
    let is_own = called.service == step.service;
    if is_own && !called.kind.is_outbound() {
        return 0.0;
    }
    let part = |now: &Cell, before: &Cell| excess_errors(now, before) / now.count.max(1) as f64;
    // What the callee does not know of, its caller does.
    let made = called.callers.iter().map(|edge| &view.edges[*edge]).filter(|edge| {
        let caller = &view.operations[edge.from];
        caller.service == step.service && caller.kind.is_outbound()
    });
    let by_callers = made.map(|edge| {
        let caller = &view.operations[edge.from];
        part(edge.now, edge.before).max(part(&caller.now, &caller.before))
    });
    by_callers.fold(part(&called.now, &called.before), f64::max)
}

fn words(view: &View<'_>, step: &StepEvidence) -> String {
    let ((now, of), (before, of_before)) = (step.now, step.before);
    let operation = view.position(step.operation).map_or("?", |at| view.operations[at].name);
    let name = |step: Step| match step {
        Step::Begin => "its beginning".to_owned(),
        Step::End => "its end".to_owned(),
        Step::Call(id) => match view.position(id) {
            Some(at) => {
                let called = &view.operations[at];
                format!("{} {}", view.node_name(called.service), called.name)
            }
            None => "a call".to_owned(),
        },
        Step::Log(id) => {
            let template = view.evidence.templates.iter().find(|template| template.id == id);
            template.map_or_else(|| "a log record".to_owned(), |it| format!("“{}”", cut(&it.text, 60)))
        }
    };
    // Many requests may not even come so far.
    let mut others = view.evidence.steps.iter();
    let begins = others.find(|other| other.operation == step.operation && other.after == Step::Begin);
    let among = |of: u64, requests: Option<u64>| {
        requests.filter(|all| *all > of).map_or_else(String::new, |all| format!(" in {all} requests"))
    };
    format!(
        "{operation} goes another way: after {} comes {} {now} times of {of}{}, {before} of {of_before}{} before",
        name(step.after),
        name(step.then),
        among(of, begins.map(|it| it.now.1)),
        among(of_before, begins.map(|it| it.before.1))
    )
}
