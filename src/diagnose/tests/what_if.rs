//! What if only one caller cannot reach a node, or each call to it took longer.

use std::collections::BTreeMap;

use crate::diagnose::impact::{Passing, Supposed, impact};
use crate::model::id::{OperationId, ServiceId};

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
