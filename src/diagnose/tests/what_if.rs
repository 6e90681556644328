//! What if only one caller cannot reach a node, or each call to it took longer.

use std::collections::BTreeMap;

use crate::diagnose::evidence::{EdgeEvidence, Evidence};
use crate::diagnose::impact::{Passing, Supposed, impact};
use crate::model::id::{OperationId, ServiceId};
use crate::model::rollup::{Cell, Seen};

use super::shop::{CART, CATALOG, CHECKOUT, DATABASE, EVENTS, Fault, GATEWAY, ORDERS, SHIPPING};
use super::simulation::simulate;

#[test]
fn what_if_only_one_caller_cannot_reach_it() {
    let evidence = simulate(1, 60, Fault::Quiet);
    let entries = |caller: u32| {
        let what = Supposed { caller: Some(ServiceId(caller)), ..Supposed::down(ServiceId(CART)) };
        let found = impact(&evidence, what, &BTreeMap::new());
        let entries = found.affected.into_iter().filter(|it| it.entry);
        entries.filter_map(|it| it.operation.map(|it| it.0)).collect::<Vec<_>>()
    };
    // The gateway asks the cart for GET /cart, the checkout for POST /checkout.
    assert_eq!((entries(GATEWAY), entries(CHECKOUT)), (vec![10], vec![11]));
    let what = Supposed { caller: Some(ServiceId(CATALOG)), ..Supposed::down(ServiceId(CART)) };
    let none = impact(&evidence, what, &BTreeMap::new());
    assert!(none.affected.is_empty());
    assert_eq!(none.coverage, ["No calls of catalog to cart are known in the window or its baseline."]);
    // Nobody else puts events into the queue, so that those who read from it starve.
    let what = Supposed { caller: Some(ServiceId(ORDERS)), ..Supposed::down(ServiceId(EVENTS)) };
    let starved = impact(&evidence, what, &BTreeMap::new()).affected;
    assert!(starved.iter().any(|it| it.service == ServiceId(SHIPPING) && it.share > 0.9), "{starved:?}");
}

#[test]
fn what_if_each_call_took_longer() {
    let evidence = simulate(1, 60, Fault::Quiet);
    let what = Supposed { added_ns: Some(100_000_000), ..Supposed::down(ServiceId(DATABASE)) };
    let slower = impact(&evidence, what, &BTreeMap::new());
    let of = |operation: u32| {
        let found = slower.affected.iter().find(|it| it.operation == Some(OperationId(operation)));
        found.map(|it| it.added_ns / 1e6)
    };
    // Each makes one call to the database; the shipping that it reaches through a queue is not waited for.
    for operation in [11, 12, 13, 21, 23, 24, 25] {
        assert!((95.0..=105.0).contains(&of(operation).unwrap()), "{operation}: {:?}", of(operation));
    }
    assert_eq!(of(10), None);
    // Of requests that were read whole, the calls that they make count.
    let seen = BTreeMap::from([(OperationId(12), Passing { requests: 100, through: 40, calls: 300 })]);
    let read = impact(&evidence, what, &seen);
    let read = read.affected.iter().find(|it| it.operation == Some(OperationId(12))).unwrap();
    assert_eq!((read.share, read.added_ns), (0.4, 300_000_000.0));
}

/// The share of an operation's requests that is hurt where the orders are down; none where it is not told.
fn share(evidence: &Evidence, operation: u32, read: Option<u64>) -> Option<f64> {
    let read = read.map(|requests| (OperationId(operation), Passing { requests, through: 0, calls: 0 }));
    let found = impact(evidence, Supposed::down(ServiceId(ORDERS)), &read.into_iter().collect());
    found.affected.iter().find(|it| it.operation == Some(OperationId(operation))).map(|it| it.share)
}

fn calls(count: u64) -> Cell {
    let mut cell = Cell::default();
    (0..count).for_each(|_| cell.add(&Seen::Call { duration_ns: 1_000, caller_ns: 1_000, error: false }));
    cell
}

#[test]
fn requests_that_were_read_do_not_show_what_is_seldom() {
    let mut evidence = simulate(1, 60, Fault::Quiet);
    // Nobody else calls under this name, so that it is known to be called; only not how often.
    assert!(share(&evidence, 12, None).unwrap() > 0.9);
    assert_eq!(share(&evidence, 12, Some(30)), Some(0.1));
    // Two calls of hundreds of requests: none of thirty shows them.
    assert_eq!(share(&evidence, 10, None), None);
    let seldom =
        EdgeEvidence { from: OperationId(10), to: OperationId(24), now: Cell::default(), before: calls(2) };
    evidence.edges.push(seldom);
    let told = share(&evidence, 10, None).unwrap();
    assert!((0.002..0.02).contains(&told), "{told}");
    assert_eq!(share(&evidence, 10, Some(30)), Some(told));
}

#[test]
fn calls_under_the_name_of_others_are_told_by_requests_that_were_read() {
    let mut evidence = simulate(1, 60, Fault::Quiet);
    let edge = evidence.edges.iter().find(|edge| edge.from == OperationId(10)).unwrap().clone();
    for operation in evidence.operations.iter_mut().filter(|it| it.id == OperationId(52)) {
        operation.now.merge(&edge.now);
        operation.before.merge(&edge.before);
    }
    evidence.edges.push(EdgeEvidence { to: OperationId(52), ..edge });
    assert!(share(&evidence, 10, None).unwrap() > 0.2);
    assert_eq!(share(&evidence, 10, Some(30)), None);
}

#[test]
fn one_call_of_one_request_is_not_every_request() {
    let mut evidence = simulate(1, 60, Fault::Quiet);
    for operation in evidence.operations.iter_mut().filter(|it| it.id == OperationId(10)) {
        operation.now = calls(1);
    }
    let once =
        EdgeEvidence { from: OperationId(10), to: OperationId(24), now: calls(1), before: Cell::default() };
    evidence.edges.push(once);
    let told = share(&evidence, 10, None).unwrap();
    assert!((0.001..0.02).contains(&told), "{told}");
}
