//! A queue that is asked for messages: who asks waits for as long as there are none.

use std::collections::BTreeMap;

use crate::diagnose::evidence::{EdgeEvidence, Evidence, Node, OperationEvidence};
use crate::diagnose::health::health;
use crate::diagnose::hypothesis::{Question, Speaks, test};
use crate::diagnose::impact::{Supposed, impact};
use crate::diagnose::verdict::{self, Health, Level, Outcome, Status, SymptomKind};
use crate::diagnose::{Options, root_cause};
use crate::model::id::{OperationId, ServiceId};
use crate::model::node::NodeKind;
use crate::model::rollup::{Cell, Seen};
use crate::model::span::SpanKind;

use super::shop::{EVENTS, Fault, SHIPPING};
use super::simulation::simulate;

/// The operation by which the shipping asks for events.
const ASKS: OperationId = OperationId(90);
const QUEUE: OperationId = OperationId(75);
/// A service that does nothing but ask for events.
const WORKER: ServiceId = ServiceId(20);

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
    asked_by(ServiceId(SHIPPING), now, before)
}

/// The same where a worker asks that takes messages in no other way.
fn worker(now: u32, before: u32) -> Evidence {
    let mut evidence = asked_by(WORKER, &answers(now, 0), &answers(before, 0));
    evidence.nodes.push(Node { id: WORKER, name: "worker".to_owned(), kind: NodeKind::Service });
    evidence
}

fn health_of_worker(evidence: &Evidence) -> Health {
    let found = health(evidence, &BTreeMap::new());
    found.into_iter().find(|it| it.service == WORKER).unwrap()
}

fn asked_by(service: ServiceId, now: &Cell, before: &Cell) -> Evidence {
    let mut evidence = simulate(1, 60, Fault::Quiet);
    evidence.operations.push(OperationEvidence {
        id: ASKS,
        service,
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

#[test]
fn who_no_longer_asks_though_there_are_messages_is_silent() {
    // The baseline is twice as long as the window.
    for asked in [0, 20] {
        let evidence = worker(asked, 600);
        let health = health_of_worker(&evidence);
        assert_eq!(health.status, Status::Critical, "{health:?}");
        assert!(
            health.reasons[0].ends_with("300 were expected, and messages wait to be asked for."),
            "{health:?}"
        );
        for service in [None, Some(WORKER)] {
            let verdict = root_cause(&evidence, service, &Options::default());
            let symptom = verdict.symptom.map(|it| (it.service, it.kind));
            assert_eq!(symptom, Some((WORKER, SymptomKind::Silence)));
            assert_ne!(verdict.outcome, Outcome::InsufficientEvidence);
            let cause = &verdict.causes[0];
            assert_eq!((cause.service, cause.fault), (WORKER, verdict::Fault::Silence), "{}", cause.sentence);
        }
        let tested = test(&evidence, WORKER, WORKER);
        let deviation = tested.findings.iter().find(|it| it.question == Question::Deviation).unwrap();
        assert_eq!(deviation.speaks, Speaks::For, "{tested:?}");
        assert!(deviation.text.contains(&format!("asked events for messages {asked} times")), "{tested:?}");
    }
}

#[test]
fn who_asks_seldom_or_in_vain_is_not_silent() {
    let seldom = worker(40, 600);
    assert_eq!(health_of_worker(&seldom).status, Status::Healthy);
    assert_eq!(root_cause(&seldom, None, &Options::default()).symptom, None);
    let mut starved = worker(0, 600);
    for operation in starved.operations.iter_mut().filter(|it| it.id == QUEUE) {
        operation.now = Cell::default();
    }
    for edge in starved.edges.iter_mut().filter(|it| it.to == QUEUE) {
        edge.now = Cell::default();
    }
    assert_eq!(health_of_worker(&starved).status, Status::Unknown);
    let tested = test(&starved, WORKER, WORKER);
    assert!(tested.findings.iter().all(|it| !it.text.contains("asked events")), "{tested:?}");
}

#[test]
fn nobody_waits_for_who_reads_from_a_queue() {
    let mut evidence = worker(0, 0);
    let takes = OperationId(91);
    let messages = answers(30, 0);
    evidence.operations.push(OperationEvidence {
        id: takes,
        service: WORKER,
        name: "process".to_owned(),
        kind: SpanKind::CONSUMER,
        now: messages.clone(),
        before: messages.clone(),
    });
    evidence.edges.push(EdgeEvidence { from: QUEUE, to: takes, now: messages.clone(), before: messages });
    let found = impact(&evidence, Supposed::down(WORKER), &BTreeMap::new());
    assert_eq!(found.affected, [], "{found:?}");
    let read: Vec<(ServiceId, u64)> = found.reads.iter().map(|it| (it.queue, it.now)).collect();
    assert_eq!(read, [(ServiceId(EVENTS), 30)]);
    assert_eq!(found.coverage, ["It takes messages from events: nobody waits for it."]);
}
