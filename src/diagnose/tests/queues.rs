//! A queue that is asked for messages: who asks waits for as long as there are none.

use std::collections::BTreeMap;

use crate::diagnose::evidence::{EdgeEvidence, Evidence, OperationEvidence};
use crate::diagnose::impact::{Supposed, impact};
use crate::diagnose::verdict::{Level, Outcome};
use crate::diagnose::{Options, root_cause};
use crate::model::id::{OperationId, ServiceId};
use crate::model::rollup::{Cell, Seen};
use crate::model::span::SpanKind;

use super::shop::{EVENTS, Fault, SHIPPING};
use super::simulation::simulate;

/// The operation by which the shipping asks for events.
const ASKS: OperationId = OperationId(90);
const QUEUE: OperationId = OperationId(75);

/// So many answers, so many of them failures.
fn answers(count: u32, failed: u32) -> Cell {
    let mut cell = Cell::default();
    for answer in 0..count {
        cell.add(&Seen::Call { duration_ns: 0, caller_ns: 0, error: answer < failed });
    }
    cell
}

/// A quiet shop whose shipping asks the queue for events: what is answered now, and what was before.
fn shop(now: &Cell, before: &Cell) -> Evidence {
    let mut evidence = simulate(1, 60, Fault::Quiet);
    evidence.operations.push(OperationEvidence {
        id: ASKS,
        service: ServiceId(SHIPPING),
        name: "receive".to_owned(),
        kind: SpanKind::CLIENT,
        now: now.clone(),
        before: before.clone(),
    });
    evidence.edges.push(EdgeEvidence { from: QUEUE, to: ASKS, now: now.clone(), before: before.clone() });
    evidence
}

#[test]
fn how_often_a_queue_is_asked_says_nothing() {
    let quiet = root_cause(&simulate(1, 60, Fault::Quiet), None, &Options::default());
    assert_eq!(quiet.outcome, Outcome::InsufficientEvidence);
    for (now, before) in [(10, 600), (600, 10)] {
        let evidence = shop(&answers(now, 0), &answers(before, 0));
        let verdict = root_cause(&evidence, None, &Options::default());
        assert_eq!((verdict.outcome, verdict.symptom), (quiet.outcome, quiet.symptom.clone()));
    }
}

#[test]
fn a_queue_that_answers_nobody_is_to_blame_and_hurts_who_asks() {
    let evidence = shop(&answers(100, 90), &answers(200, 0));
    let cause = root_cause(&evidence, None, &Options::default()).causes.remove(0);
    assert_eq!((cause.service, cause.level), (ServiceId(EVENTS), Level::Dependency), "{}", cause.sentence);
    assert!(cause.sentence.contains("90 of "), "{}", cause.sentence);
    let hurt = impact(&evidence, Supposed::down(ServiceId(EVENTS)), &BTreeMap::new());
    assert!(hurt.affected.iter().any(|it| it.operation == Some(ASKS)), "{hurt:?}");
}
