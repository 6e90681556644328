//! Suspicions about nodes that are called in vain, or no longer called: their own spans show nothing.

use crate::diagnose::evidence::{EdgeEvidence, Evidence, Node, OperationEvidence};
use crate::diagnose::hypothesis::{Finding, Judgement, Question, Speaks, Tested, test};
use crate::diagnose::{Options, root_cause};
use crate::model::id::{OperationId, ServiceId};
use crate::model::node::NodeKind;
use crate::model::rollup::{Cell, Seen};

use super::shop::{CART, CHECKOUT, CLIENT, Fault, GATEWAY, PAYMENTS};
use super::simulation::simulate;

fn finding(tested: &Tested, question: Question) -> &Finding {
    tested.findings.iter().find(|it| it.question == question).unwrap()
}

/// A shop whose payments are dead, but for `answered` calls that arrive and are well.
fn dead_payments(answered: u64) -> Evidence {
    let mut evidence = simulate(2, 60, Fault::Down { service: PAYMENTS });
    let well = |before: &Cell| {
        let mut cell = Cell::default();
        let duration_ns = before.mean_ns() as u64;
        (0..answered).for_each(|_| {
            cell.add(&Seen::Call { duration_ns, caller_ns: duration_ns, error: false });
        });
        cell
    };
    let charge = OperationId(22);
    for operation in evidence.operations.iter_mut().filter(|it| it.id == charge) {
        operation.now = well(&operation.before);
    }
    for edge in evidence.edges.iter_mut().filter(|it| it.to == charge) {
        edge.now = well(&edge.before);
    }
    evidence
}

#[test]
fn who_does_not_answer_is_not_cleared_by_the_few_calls_that_arrive() {
    for answered in [0, 5, 12] {
        let evidence = dead_payments(answered);
        let tested = test(&evidence, ServiceId(PAYMENTS), ServiceId(CHECKOUT));
        assert_eq!(tested.judgement, Judgement::Supported, "{answered}: {tested:?}");
        let deviation = finding(&tested, Question::Deviation);
        assert!(deviation.text.ends_with("do not arrive at payments/Charge"), "{}", deviation.text);
        assert_eq!(finding(&tested, Question::Own).speaks, Speaks::For);
        assert_eq!(finding(&tested, Question::Examples).speaks, Speaks::For, "{tested:?}");
        let innocent = test(&evidence, ServiceId(CART), ServiceId(CHECKOUT));
        assert_eq!(innocent.judgement, Judgement::Refuted, "{innocent:?}");
    }
}

#[test]
fn who_no_longer_calls_deviates() {
    let evidence = simulate(2, 60, Fault::Stops { operation: 41, callee: 63 });
    let tested = test(&evidence, ServiceId(CHECKOUT), ServiceId(GATEWAY));
    let deviation = finding(&tested, Question::Deviation);
    assert_eq!(deviation.speaks, Speaks::For, "{tested:?}");
    assert!(
        deviation.text.ends_with("calls of orders.Create by commit of checkout are missing"),
        "{tested:?}"
    );
}

#[test]
fn who_is_well_is_cleared() {
    let evidence = simulate(2, 60, Fault::Errors { operation: 22, share: 0.5 });
    let tested = test(&evidence, ServiceId(CART), ServiceId(CHECKOUT));
    assert_eq!(tested.judgement, Judgement::Refuted, "{tested:?}");
}

#[test]
fn a_service_is_not_named_by_its_host_too() {
    let mut evidence = simulate(2, 60, Fault::Errors { operation: 22, share: 0.5 });
    let (host, operation) = (ServiceId(50), OperationId(90));
    evidence.nodes.push(Node { id: host, name: "payments:50051".to_owned(), kind: NodeKind::External });
    evidence.operations.push(OperationEvidence {
        id: operation,
        service: host,
        name: "payments/Charge".to_owned(),
        kind: CLIENT,
        now: Cell::default(),
        before: Cell::default(),
    });
    let calls = evidence.edges.iter().find(|edge| edge.to == OperationId(22)).unwrap().clone();
    let answered = |cell: Cell| Cell { answered: cell.count, ..cell };
    let (now, before) = (answered(calls.now), answered(calls.before));
    evidence.edges.push(EdgeEvidence { from: calls.from, to: operation, now, before });
    let verdict = root_cause(&evidence, None, &Options::default());
    assert_eq!(verdict.causes[0].service, ServiceId(PAYMENTS), "{}", verdict.causes[0].sentence);
    assert!(verdict.causes.iter().all(|cause| cause.service != host), "{:?}", verdict.causes);
    assert!(verdict.ruled_out.iter().all(|out| out.service != host), "{:?}", verdict.ruled_out);
}
