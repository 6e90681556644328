//! Less traffic than before: a peak that is over is no trouble, and what callers no longer call is.

use std::collections::BTreeMap;

use crate::diagnose::evidence::{EdgeEvidence, Evidence, Node, OperationEvidence};
use crate::diagnose::health::health;
use crate::diagnose::verdict::{Health, Status};
use crate::model::id::{OperationId, ServiceId};
use crate::model::node::NodeKind;
use crate::model::rollup::{Cell, Seen};
use crate::model::span::SpanKind;
use crate::model::time::{UnixNanos, Window};

const FRONT: ServiceId = ServiceId(1);
const BACK: ServiceId = ServiceId(2);

fn calls(count: u64) -> Cell {
    let mut cell = Cell::default();
    (0..count).for_each(|_| {
        cell.add(&Seen::Call { duration_ns: 1_000_000, caller_ns: 1_000_000, error: false });
    });
    cell
}

/// Users call the front, whose outgoing spans call the back; each time now and before, in windows of equal length.
fn two(front: [u64; 2], outgoing: [u64; 2], back: [u64; 2]) -> Evidence {
    let at = UnixNanos::from_seconds;
    let mut evidence = Evidence::empty(Window::new(at(600), at(1_200)));
    evidence.baseline = Some(Window::new(at(0), at(600)));
    for (id, name) in [(FRONT, "front"), (BACK, "back")] {
        evidence.nodes.push(Node { id, name: name.to_owned(), kind: NodeKind::Service });
    }
    for (id, service, kind, counts) in [
        (1, FRONT, SpanKind::SERVER, front),
        (2, FRONT, SpanKind::CLIENT, outgoing),
        (3, BACK, SpanKind::SERVER, back),
    ] {
        let [now, before] = counts.map(calls);
        let (id, name) = (OperationId(id), format!("operation {id}"));
        evidence.operations.push(OperationEvidence { id, service, name, kind, now, before });
    }
    for (from, to, counts) in [(1, 2, outgoing), (2, 3, back)] {
        let [now, before] = counts.map(calls);
        evidence.edges.push(EdgeEvidence { from: OperationId(from), to: OperationId(to), now, before });
    }
    evidence
}

fn check(evidence: &Evidence, wanted: [Status; 2]) -> Vec<Health> {
    let found = health(evidence, &BTreeMap::new());
    let statuses: Vec<Status> = found.iter().map(|it| it.status).collect();
    assert_eq!(statuses, wanted, "{found:?}");
    found
}

#[test]
fn a_peak_that_is_over_is_a_mild_finding_where_users_call_and_none_below() {
    let over = two([250, 1_000], [250, 1_000], [250, 1_000]);
    let found = check(&over, [Status::Degraded, Status::Healthy]);
    assert!(found[0].score >= 0.75, "{found:?}");
    assert_eq!(found[0].reasons, ["operation 1: 250 requests where 1000 were expected."]);
    // What was usual before the peak is expected again.
    let usual = BTreeMap::from([(OperationId(1), 0.4)]);
    assert!(health(&over, &usual).iter().all(|it| it.status == Status::Healthy));
}

#[test]
fn users_who_are_all_gone_are_missed_where_they_called() {
    check(&two([20, 1_000], [20, 1_000], [20, 1_000]), [Status::Critical, Status::Healthy]);
    check(&two([0, 1_000], [0, 1_000], [0, 1_000]), [Status::Critical, Status::Unknown]);
}

#[test]
fn calls_that_callers_no_longer_make_or_that_do_not_arrive_are_lost() {
    // The front calls half as often, of which all arrives; then it calls, and little arrives.
    check(&two([1_000, 1_000], [600, 1_000], [600, 1_000]), [Status::Healthy, Status::Healthy]);
    let found =
        check(&two([1_000, 1_000], [1_000, 1_000], [100, 1_000]), [Status::Healthy, Status::Critical]);
    assert!(found[1].reasons[0].ends_with("1000 were expected by what its callers do."), "{found:?}");
    check(&two([1_000, 1_000], [100, 1_000], [100, 1_000]), [Status::Healthy, Status::Critical]);
    // Less traffic, of which little arrives.
    check(&two([600, 1_000], [600, 1_000], [20, 1_000]), [Status::Healthy, Status::Critical]);
}
