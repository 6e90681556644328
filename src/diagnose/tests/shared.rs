//! Calls to many by one name, and callers that fail by themselves: whoever is called is as well as before.

use std::collections::BTreeMap;

use crate::diagnose::evidence::{EdgeEvidence, Evidence, Node, OperationEvidence};
use crate::diagnose::health::health;
use crate::diagnose::verdict::Status;
use crate::model::id::{OperationId, ServiceId};
use crate::model::node::NodeKind;
use crate::model::rollup::{Cell, Seen};
use crate::model::span::SpanKind;
use crate::model::time::{UnixNanos, Window};

const A: ServiceId = ServiceId(1);
const B: ServiceId = ServiceId(2);
const C: ServiceId = ServiceId(3);
const HOST: ServiceId = ServiceId(4);

/// Calls now and before.
type Counts = [u64; 2];

fn calls(count: u64, failed: u64) -> Cell {
    let mut cell = Cell::default();
    (0..count).for_each(|call| {
        cell.add(&Seen::Call { duration_ns: 1_000_000, caller_ns: 1_000_000, error: call < failed });
    });
    cell
}

/// Windows of equal length in which nothing was called.
fn nothing() -> Evidence {
    let at = UnixNanos::from_seconds;
    let mut evidence = Evidence::empty(Window::new(at(600), at(1_200)));
    evidence.baseline = Some(Window::new(at(0), at(600)));
    for (id, name) in [(A, "a"), (B, "b"), (C, "c"), (HOST, "host.example")] {
        let kind = if id == HOST { NodeKind::External } else { NodeKind::Service };
        evidence.nodes.push(Node { id, name: name.to_owned(), kind });
    }
    evidence
}

fn add_operation(evidence: &mut Evidence, id: u32, (service, kind): (ServiceId, SpanKind), counts: Counts) {
    let [now, before] = counts.map(|count| calls(count, 0));
    let (id, name) = (OperationId(id), format!("operation {id}"));
    evidence.operations.push(OperationEvidence { id, service, name, kind, now, before });
}

fn add_edge(evidence: &mut Evidence, (from, to): (u32, u32), counts: Counts) {
    let [now, before] = counts.map(|count| calls(count, 0));
    evidence.edges.push(EdgeEvidence { from: OperationId(from), to: OperationId(to), now, before });
}

/// A gateway whose two endpoints call by one name: one calls B, the other C, of which so much arrives.
fn by_one_client(first: Counts, second: Counts, arrived: [Counts; 2]) -> Evidence {
    let mut evidence = nothing();
    let (server, client) = ((A, SpanKind::SERVER), (A, SpanKind::CLIENT));
    add_operation(&mut evidence, 1, server, first);
    add_operation(&mut evidence, 2, server, second);
    add_operation(&mut evidence, 3, client, [first[0] + second[0], first[1] + second[1]]);
    add_operation(&mut evidence, 4, (B, SpanKind::SERVER), arrived[0]);
    add_operation(&mut evidence, 5, (C, SpanKind::SERVER), arrived[1]);
    for (way, counts) in [((1, 3), first), ((2, 3), second), ((3, 4), arrived[0]), ((3, 5), arrived[1])] {
        add_edge(&mut evidence, way, counts);
    }
    evidence
}

/// A proxy whose endpoint is one for all, with a client for each of B and C, of which so much arrives.
fn by_one_server(first: Counts, second: Counts, arrived: [Counts; 2]) -> Evidence {
    let mut evidence = nothing();
    add_operation(&mut evidence, 1, (A, SpanKind::SERVER), [first[0] + second[0], first[1] + second[1]]);
    add_operation(&mut evidence, 2, (A, SpanKind::CLIENT), first);
    add_operation(&mut evidence, 3, (A, SpanKind::CLIENT), second);
    add_operation(&mut evidence, 4, (B, SpanKind::SERVER), arrived[0]);
    add_operation(&mut evidence, 5, (C, SpanKind::SERVER), arrived[1]);
    for (way, counts) in [((1, 2), first), ((1, 3), second), ((2, 4), arrived[0]), ((3, 5), arrived[1])] {
        add_edge(&mut evidence, way, counts);
    }
    evidence
}

fn check(evidence: &Evidence, wanted: [Status; 2]) {
    let found = health(evidence, &BTreeMap::new());
    let of = |service| found.iter().find(|it| it.service == service).map(|it| it.status);
    assert_eq!([of(B), of(C)], wanted.map(Some), "{found:?}");
}

#[test]
fn more_traffic_of_one_endpoint_takes_nothing_from_another() {
    let (steady, grown) = ([1_000, 1_000], [5_000, 1_000]);
    for one_name in [by_one_client, by_one_server] {
        check(&one_name(steady, grown, [steady, grown]), [Status::Healthy; 2]);
        check(&one_name(grown, steady, [grown, steady]), [Status::Healthy; 2]);
        // Users who no longer call one endpoint are not missed behind it.
        check(&one_name([0, 1_000], steady, [[0, 1_000], steady]), [Status::Unknown, Status::Healthy]);
    }
}

#[test]
fn who_does_not_answer_is_missed_among_those_called_by_one_name() {
    let (steady, grown, dead) = ([1_000, 1_000], [5_000, 1_000], [0, 1_000]);
    for one_name in [by_one_client, by_one_server] {
        check(&one_name(steady, grown, [dead, grown]), [Status::Critical, Status::Healthy]);
        check(&one_name(steady, grown, [steady, dead]), [Status::Healthy, Status::Critical]);
        check(&one_name(steady, steady, [dead, steady]), [Status::Critical, Status::Healthy]);
    }
}

#[test]
fn calls_to_a_host_go_elsewhere_too() {
    let (steady, grown) = ([1_000, 1_000], [5_000, 1_000]);
    let to_host = |arrived: Counts| {
        let mut evidence = by_one_client(steady, grown, [arrived, [0, 0]]);
        evidence.edges.retain(|edge| edge.to != OperationId(5));
        evidence.operations.retain(|operation| operation.id != OperationId(5));
        add_operation(&mut evidence, 6, (HOST, SpanKind::CLIENT), grown);
        add_edge(&mut evidence, (3, 6), grown);
        let found = health(&evidence, &BTreeMap::new());
        found.into_iter().find(|it| it.service == B).map(|it| it.status)
    };
    assert_eq!(to_host(steady), Some(Status::Healthy));
    assert_eq!(to_host([0, 1_000]), Some(Status::Critical));
}

#[test]
fn requests_that_fail_by_themselves_are_not_due_further_on() {
    let (steady, few) = ([1_000, 1_000], [50, 1_000]);
    let failing = |failed: u64| {
        let mut evidence = nothing();
        add_operation(&mut evidence, 1, (A, SpanKind::SERVER), steady);
        evidence.operations[0].now = calls(1_000, failed);
        add_operation(&mut evidence, 2, (A, SpanKind::CLIENT), few);
        add_operation(&mut evidence, 3, (B, SpanKind::SERVER), few);
        add_edge(&mut evidence, (1, 2), few);
        add_edge(&mut evidence, (2, 3), few);
        let found = health(&evidence, &BTreeMap::new());
        found.into_iter().map(|it| (it.service, it.status)).collect::<Vec<_>>()
    };
    assert_eq!(failing(950), [(A, Status::Critical), (B, Status::Healthy)]);
    // Without failures that stop them, the calls are missing.
    assert_eq!(failing(0), [(A, Status::Healthy), (B, Status::Critical)]);
}

#[test]
fn failures_of_the_call_itself_excuse_nobody_who_does_not_answer() {
    let (steady, dead) = ([1_000, 1_000], [0, 1_000]);
    let mut evidence = nothing();
    add_operation(&mut evidence, 1, (A, SpanKind::SERVER), steady);
    add_operation(&mut evidence, 2, (A, SpanKind::CLIENT), steady);
    add_operation(&mut evidence, 3, (B, SpanKind::SERVER), dead);
    add_edge(&mut evidence, (1, 2), steady);
    add_edge(&mut evidence, (2, 3), dead);
    for at in 0..2 {
        evidence.operations[at].now = calls(1_000, 1_000);
    }
    evidence.edges[0].now = calls(1_000, 1_000);
    let found = health(&evidence, &BTreeMap::new());
    assert_eq!(found[1].status, Status::Critical, "{found:?}");
}
