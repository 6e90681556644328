//! Operations that take another way than they used to.
//!
//! After each step (a log record, a call, the beginning) another one follows in a share of all cases. Where that share
//! changed by much and beyond chance, the code, its configuration or its input changed: the deepest service that shows
//! it is where to look, because callers take other ways when they are answered otherwise (Nezha, FSE 2023, compares
//! such pairs of events too).

use std::collections::BTreeMap;

use super::evidence::{Step, StepEvidence};
use super::message::cut;
use super::signal::{OneKind, Signal, Source, keep_strongest};
use super::stats::{even_surprise, saturate};
use super::view::View;

/// Standard deviations that a share must leave behind; hundreds of pairs are compared.
const SURPRISE_MIN: f64 = 3.5;
/// Change of a share that must be exceeded.
const CHANGE_MIN: f64 = 0.1;

/// The strongest change of way of each service.
pub(super) fn signals(view: &View<'_>) -> OneKind {
    let mut found = BTreeMap::new();
    for step in view.evidence.steps.iter().filter(|step| view.nodes.contains_key(&step.service)) {
        let share = |(times, of): (u64, u64)| times as f64 / (of as f64).max(1.0);
        let change = (share(step.now) - share(step.before)).abs();
        let surprise = even_surprise(step.now, step.before);
        if change < CHANGE_MIN || surprise < SURPRISE_MIN {
            continue;
        }
        let signal = Signal {
            strength: saturate(surprise - SURPRISE_MIN + 0.5, 2.0) * change,
            source: Source::Step(step.operation),
            kind: None,
            slower_s: None,
            levels: (share(step.before), share(step.now)),
            text: words(view, step),
        };
        keep_strongest(&mut found, step.service, signal);
    }
    found
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
    format!(
        "{operation} goes another way: after {} comes {} {now} times of {of}, {before} of {of_before} before",
        name(step.after),
        name(step.then)
    )
}
