//! Calls that go on after their caller has ended: what it does not wait for makes it no slower.

use std::collections::BTreeMap;

use crate::diagnose::evidence::{
    EdgeEvidence, Evidence, ExemplarSpan, ExemplarTrace, Node, OperationEvidence,
};
use crate::diagnose::verdict::Verdict;
use crate::diagnose::{Options, root_cause};
use crate::model::id::{OperationId, ResourceId, ServiceId, SpanId, TraceId};
use crate::model::node::NodeKind;
use crate::model::rollup::{Cell, Seen, Subject};
use crate::model::span::SpanKind;
use crate::model::time::{UnixNanos, Window};

use super::shop::{Fault, PAYMENTS, SHIPPING};
use super::simulation::simulate;

const FRONT: ServiceId = ServiceId(1);
const BACK: ServiceId = ServiceId(2);
const AUDIT: ServiceId = ServiceId(3);
/// Operations: what users ask the front, which asks the back and has the audit write it down.
const OPERATIONS: [(u32, ServiceId, SpanKind); 5] = [
    (1, FRONT, SpanKind::SERVER),
    (2, FRONT, SpanKind::CLIENT),
    (3, BACK, SpanKind::SERVER),
    (4, FRONT, SpanKind::CLIENT),
    (5, AUDIT, SpanKind::SERVER),
];
const CALLS: [(u32, u32); 4] = [(1, 2), (2, 3), (1, 4), (4, 5)];

/// How long a request takes, in milliseconds.
#[derive(Debug, Clone, Copy)]
struct Request {
    own_ms: u64,
    back_ms: u64,
    audit_ms: u64,
    /// How long the front waits for the audit, once all else is done; where it does not, the audit is asked first.
    patience_ms: Option<u64>,
}

/// When a span of an operation begins and how long it takes, in nanoseconds.
type Times = BTreeMap<u32, (u64, u64)>;

impl Request {
    fn times(self, number: u64) -> Times {
        // Never quite the same.
        let ns = |ms: u64| ms * (10_000 * (100 + number % 5));
        let (own, back, audit) = (ns(self.own_ms), ns(self.back_ms), ns(self.audit_ms));
        let (begins, waited) = match self.patience_ms {
            Some(patience) => (own + back, audit.min(patience.saturating_mul(1_000_000))),
            None => (0, 0),
        };
        let (asked, written) = ((own / 2, back), (begins, audit));
        BTreeMap::from([(1, (0, own + back + waited)), (2, asked), (3, asked), (4, written), (5, written)])
    }
}

/// The sums of so many requests.
fn sums(request: Request, requests: u64) -> BTreeMap<Subject, Cell> {
    let mut cells: BTreeMap<Subject, Cell> = BTreeMap::new();
    for times in (0..requests).map(|number| request.times(number)) {
        for (operation, _, _) in OPERATIONS {
            let call = Seen::Call { duration_ns: times[&operation].1, caller_ns: 0, error: false };
            cells.entry(Subject::Operation(OperationId(operation))).or_default().add(&call);
        }
        for (from, to) in CALLS {
            let (parent, child) = (times[&from], times[&to]);
            let call = Seen::Call { duration_ns: child.1, caller_ns: parent.1.max(child.1), error: false };
            let edge = Subject::Edge(OperationId(from), OperationId(to));
            cells.entry(edge).or_default().add(&call);
            let end = (parent.0 + parent.1).min(child.0 + child.1);
            let beside = Seen::Children { duration_ns: end.saturating_sub(child.0) };
            cells.entry(Subject::Operation(OperationId(from))).or_default().add(&beside);
        }
    }
    cells
}

fn trace(request: Request, number: u64) -> ExemplarTrace {
    let id_of = |number: u64| SpanId::try_from(&number.to_be_bytes()[..]).unwrap();
    let times = request.times(number);
    let span = |(operation, service, kind): (u32, ServiceId, SpanKind)| {
        let parent = CALLS.iter().find(|(_, to)| *to == operation).map(|(from, _)| *from);
        ExemplarSpan {
            span_id: id_of(u64::from(operation)),
            parent_id: parent.map(|parent| id_of(u64::from(parent))),
            service,
            operation: OperationId(operation),
            resource: ResourceId(service.0),
            kind,
            peer: None,
            error: false,
            start: UnixNanos(1_000_000_000_000 + times[&operation].0 as i64),
            duration_ns: times[&operation].1,
            status_message: String::new(),
            exception: None,
        }
    };
    let id = [(number + 1).to_be_bytes(), [7; 8]].concat();
    let spans = OPERATIONS.map(span).to_vec();
    ExemplarTrace { trace_id: TraceId::try_from(&id[..]).unwrap(), spans }
}

fn explained(before: Request, now: Request) -> Verdict {
    let at = UnixNanos::from_seconds;
    let mut evidence = Evidence::empty(Window::new(at(1_000), at(1_300)));
    evidence.baseline = Some(Window::new(at(400), at(1_000)));
    for (id, name) in [(FRONT, "front"), (BACK, "back"), (AUDIT, "audit")] {
        evidence.nodes.push(Node { id, name: name.to_owned(), kind: NodeKind::Service });
    }
    let (before, now, example) = (sums(before, 200), sums(now, 100), now);
    for (id, service, kind) in OPERATIONS {
        let (id, name) = (OperationId(id), format!("operation {id}"));
        let [now, before] = [&now, &before].map(|sums| sums[&Subject::Operation(id)].clone());
        evidence.operations.push(OperationEvidence { id, service, name, kind, now, before });
    }
    for (from, to) in CALLS.map(|(from, to)| (OperationId(from), OperationId(to))) {
        let [now, before] = [&now, &before].map(|sums| sums[&Subject::Edge(from, to)].clone());
        evidence.edges.push(EdgeEvidence { from, to, now, before });
    }
    evidence.traces = (0..30).map(|number| trace(example, number)).collect();
    root_cause(&evidence, None, &Options::default())
}

fn check(before: Request, now: Request, cause: ServiceId) {
    let verdict = explained(before, now);
    assert_eq!(verdict.symptom.as_ref().map(|it| it.service), Some(FRONT), "{verdict:?}");
    assert_eq!(verdict.causes[0].service, cause, "{now:?}: {verdict:?}");
    let is_named = verdict.causes.iter().any(|cause| cause.service == AUDIT);
    assert_eq!(is_named, cause == AUDIT, "{now:?}: {verdict:?}");
}

#[test]
fn what_nobody_waits_for_makes_nobody_slower() {
    // It always ended later, or only does now.
    for audit_ms in [200, 5] {
        let before = Request { own_ms: 20, back_ms: 30, audit_ms, patience_ms: None };
        let now = Request { audit_ms: 900, ..before };
        check(before, Request { back_ms: 130, ..now }, BACK);
    }
    // What goes on beside it does not hide that the front is slow itself.
    let before = Request { own_ms: 20, back_ms: 30, audit_ms: 200, patience_ms: None };
    check(before, Request { own_ms: 120, audit_ms: 900, ..before }, FRONT);
}

#[test]
fn who_is_waited_for_to_the_end_or_for_a_while_makes_others_slower() {
    for patience_ms in [u64::MAX, 100] {
        let before = Request { own_ms: 20, back_ms: 30, audit_ms: 10, patience_ms: Some(patience_ms) };
        check(before, Request { audit_ms: 900, ..before }, AUDIT);
    }
    let before = Request { own_ms: 20, back_ms: 30, audit_ms: 10, patience_ms: Some(u64::MAX) };
    check(before, Request { back_ms: 130, ..before }, BACK);
}

#[test]
fn who_takes_messages_makes_nobody_slower_who_sent_them() {
    let mut evidence = simulate(3, 60, Fault::Latency { operation: 22, more_ms: 80.0 });
    let spans = evidence.traces.iter_mut().flat_map(|trace| &mut trace.spans);
    for span in spans.filter(|span| span.operation == OperationId(26)) {
        span.duration_ns += 800_000_000;
    }
    let verdict = root_cause(&evidence, None, &Options::default());
    assert_eq!(verdict.causes[0].service, ServiceId(PAYMENTS), "{verdict:?}");
    assert!(verdict.causes.iter().all(|cause| cause.service != ServiceId(SHIPPING)), "{verdict:?}");
}
