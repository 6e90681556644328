//! What differs between two windows: each fact once, what is worse before what is better, and what came just before.

use crate::diagnose::difference::{Difference, DifferenceKind, differences};
use crate::diagnose::evidence::{EdgeEvidence, Evidence, InstanceEvidence, Node, OperationEvidence};
use crate::diagnose::verdict::Reference;
use crate::model::id::{OperationId, ResourceId, ServiceId};
use crate::model::node::NodeKind;
use crate::model::rollup::{Cell, Seen};
use crate::model::span::SpanKind;
use crate::model::time::{UnixNanos, Window};

const SHOP: ServiceId = ServiceId(1);
const FARE: ServiceId = ServiceId(2);
const FARE_HOST: ServiceId = ServiceId(3);
const STORE: ServiceId = ServiceId(4);

fn at(seconds: i64) -> UnixNanos {
    UnixNanos::from_seconds(seconds)
}

fn calls(count: u64, failed: u64, duration_ns: u64) -> Cell {
    let mut cell = Cell::default();
    (0..count).for_each(|call| {
        cell.add(&Seen::Call { duration_ns, caller_ns: 0, error: call < failed });
    });
    cell
}

/// Two windows of equal length, and the nodes.
fn nothing() -> Evidence {
    let mut evidence = Evidence::empty(Window::new(at(3_600), at(7_200)));
    evidence.baseline = Some(Window::new(at(0), at(3_600)));
    for (id, name, kind) in [
        (SHOP, "shop", NodeKind::Service),
        (FARE, "fare", NodeKind::Service),
        (FARE_HOST, "fare:8080", NodeKind::External),
        (STORE, "store", NodeKind::Database),
    ] {
        evidence.nodes.push(Node { id, name: name.to_owned(), kind });
    }
    evidence
}

fn operation(id: u32, service: ServiceId, kind: SpanKind, (now, before): (Cell, Cell)) -> OperationEvidence {
    OperationEvidence { id: OperationId(id), service, name: format!("operation {id}"), kind, now, before }
}

fn edge(from: u32, to: u32, (now, before): (Cell, Cell)) -> EdgeEvidence {
    EdgeEvidence { from: OperationId(from), to: OperationId(to), now, before }
}

/// The shop calls fare, which is also counted as the host that it is called by, and asks its store. So many calls of 200
/// fail where they are made, and where they are answered.
fn failing(made: u64, answered: u64) -> Evidence {
    let mut evidence = nothing();
    let cells = |failed| (calls(200, failed, 1_000_000), calls(200, 0, 1_000_000));
    let mut to_host = cells(made);
    (to_host.0.answered, to_host.1.answered) = (200, 200);
    evidence.operations = vec![
        operation(1, SHOP, SpanKind::CLIENT, cells(made)),
        operation(2, FARE, SpanKind::SERVER, cells(answered)),
        operation(3, FARE_HOST, SpanKind::CLIENT, cells(made)),
        operation(4, SHOP, SpanKind::CLIENT, cells(60)),
        operation(5, STORE, SpanKind::CLIENT, cells(60)),
    ];
    evidence.edges = vec![edge(1, 2, cells(answered)), edge(1, 3, to_host), edge(4, 5, cells(60))];
    evidence
}

fn errors(evidence: &Evidence) -> Vec<Difference> {
    let found = differences(evidence).changed.into_iter();
    found.filter(|it| it.kind == DifferenceKind::Errors).collect()
}

#[test]
fn a_fact_is_told_once() {
    let found = errors(&failing(150, 150));
    let references: Vec<_> = found.iter().filter_map(|it| it.reference).collect();
    let way = Reference::Edge { from: OperationId(4), to: OperationId(5) };
    let is_answer = |it: &Reference| matches!(it, Reference::Operation { id, .. } if *id == OperationId(2));
    assert_eq!(found.len(), 2, "{found:#?}");
    assert!(references.contains(&way) && references.iter().any(is_answer), "{found:#?}");
}

#[test]
fn what_only_callers_see_is_told_by_the_way() {
    let found = errors(&failing(150, 0));
    let references: Vec<_> = found.iter().filter_map(|it| it.reference).collect();
    let ways =
        [(1, 3), (4, 5)].map(|(from, to)| Reference::Edge { from: OperationId(from), to: OperationId(to) });
    assert_eq!(found.len(), 2, "{found:#?}");
    assert!(ways.iter().all(|way| references.contains(way)), "{found:#?}");
}

#[test]
fn what_is_better_comes_after_all_that_is_worse() {
    let mut evidence = nothing();
    let (slow, fast) = (calls(20_000, 0, 90_000_000), calls(20_000, 0, 1_000_000));
    evidence.operations = vec![
        operation(1, SHOP, SpanKind::SERVER, (fast, slow)),
        operation(2, FARE, SpanKind::SERVER, (calls(40, 39, 1_000_000), calls(40, 0, 1_000_000))),
    ];
    let found = differences(&evidence).changed;
    let kinds: Vec<DifferenceKind> = found.iter().map(|it| it.kind).collect();
    assert_eq!(kinds, [DifferenceKind::Errors, DifferenceKind::Latency], "{found:#?}");
    assert!(found[1].score > found[0].score && found[1].is_better, "{found:#?}");
}

#[test]
fn a_version_that_came_just_before_is_told() {
    let instance = |resource, version: &str, first_seen: i64, before| InstanceEvidence {
        service: FARE,
        resource: ResourceId(resource),
        version: version.to_owned(),
        instance: String::new(),
        first_seen: at(first_seen),
        now: calls(100, 0, 1_000_000),
        before: calls(before, 0, 1_000_000),
    };
    let told = |instances: Vec<InstanceEvidence>| {
        let found = differences(&Evidence { instances, ..nothing() }).changed.into_iter();
        let versions = found.filter(|it| it.kind == DifferenceKind::Version);
        versions.map(|it| (it.name, it.at)).collect::<Vec<_>>()
    };
    let new = |first_seen| vec![instance(1, "1", -9_000, 100), instance(2, "2", first_seen, 5)];
    assert_eq!(told(new(3_480)), [("2".to_owned(), Some(at(3_480)))]);
    assert!(told(new(600)).is_empty(), "long before");
    let together = vec![instance(1, "1", 3_470, 90), instance(2, "2", 3_480, 90)];
    assert!(told(together).is_empty(), "both were always there, as far as anybody knows");
    let inside = vec![instance(1, "1", -9_000, 100), instance(2, "2", 3_700, 0)];
    assert_eq!(told(inside), [("2".to_owned(), Some(at(3_700)))]);
}
