//! Operations whose names hold ids: each is called once, and all together tell what is wrong.

use crate::diagnose::alike::together;
use crate::diagnose::evidence::{EdgeEvidence, Evidence, Node, OperationEvidence};
use crate::diagnose::verdict::{self, SymptomKind};
use crate::diagnose::{Options, root_cause};
use crate::model::id::{OperationId, ServiceId};
use crate::model::node::NodeKind;
use crate::model::rollup::{Cell, Seen};
use crate::model::span::SpanKind;
use crate::model::time::{UnixNanos, Window};

const FRONT: ServiceId = ServiceId(1);
const BACK: ServiceId = ServiceId(2);
const LOADS: OperationId = OperationId(1);

/// How long a request takes in the front itself and in the back, in milliseconds, and whether one of three fails.
#[derive(Debug, Clone, Copy)]
struct Requests {
    own_ms: u64,
    back_ms: u64,
    fail: bool,
}

const USUAL: Requests = Requests { own_ms: 20, back_ms: 10, fail: false };

impl Requests {
    /// The cells of one request: of the front, of the call, and of the back.
    fn cells(self, number: u64) -> [Cell; 3] {
        // Never quite the same.
        let ns = |ms: u64| ms * (10_000 * (100 + number % 5));
        let (own, back) = (ns(self.own_ms), ns(self.back_ms));
        let error = self.fail && number.is_multiple_of(3);
        let seen = |duration_ns, error| Seen::Call { duration_ns, caller_ns: duration_ns, error };
        let mut cells = [Cell::default(), Cell::default(), Cell::default()];
        cells[0].add(&Seen::Call { duration_ns: own + back, caller_ns: 0, error });
        cells[0].add(&Seen::Children { duration_ns: back });
        cells[1].add(&seen(back, false));
        cells[2].add(&seen(back, false));
        cells
    }
}

/// A front that answers 120 requests and then 60, each by a name of its own, and asks the back for each.
fn asked_by(name: fn(u64) -> String, now: Requests) -> Evidence {
    let at = UnixNanos::from_seconds;
    let mut evidence = Evidence::empty(Window::new(at(600), at(900)));
    evidence.baseline = Some(Window::new(at(0), at(600)));
    for (id, name) in [(FRONT, "front"), (BACK, "back")] {
        evidence.nodes.push(Node { id, name: name.to_owned(), kind: NodeKind::Service });
    }
    let (mut loads, mut loads_before) = (Cell::default(), Cell::default());
    for number in 0..180 {
        let is_now = number >= 120;
        let requests = if is_now { now } else { USUAL };
        let [front, call, back] = requests.cells(number);
        let sum = if is_now { &mut loads } else { &mut loads_before };
        sum.merge(&back);
        let sides = |cell: Cell| if is_now { (cell, Cell::default()) } else { (Cell::default(), cell) };
        let ((now, before), id) = (sides(front), OperationId(100 + number as u32));
        let (service, kind) = (FRONT, SpanKind::SERVER);
        evidence.operations.push(OperationEvidence { id, service, name: name(number), kind, now, before });
        let (now, before) = sides(call);
        evidence.edges.push(EdgeEvidence { from: id, to: LOADS, now, before });
    }
    let (service, kind, name) = (BACK, SpanKind::SERVER, "load".to_owned());
    let (now, before) = (loads, loads_before);
    evidence.operations.push(OperationEvidence { id: LOADS, service, name, kind, now, before });
    evidence
}

fn by_number(number: u64) -> String {
    format!("GET /users/{}", 8_000 + number)
}

fn by_words(number: u64) -> String {
    let letter = |place: u64| char::from(b'a' + (number / place % 26) as u8);
    format!("GET /articles/on-{}{}", letter(26), letter(1))
}

#[test]
fn operations_called_once_each_are_judged_together() {
    let failing = Requests { fail: true, ..USUAL };
    let slow = Requests { own_ms: 120, ..USUAL };
    let waiting = Requests { back_ms: 110, ..USUAL };
    for name in [by_number, by_words] {
        for (now, kind, cause, fault) in [
            (failing, SymptomKind::Errors, FRONT, verdict::Fault::Errors),
            (slow, SymptomKind::Latency, FRONT, verdict::Fault::Latency),
            (waiting, SymptomKind::Latency, BACK, verdict::Fault::Latency),
        ] {
            let verdict = root_cause(&asked_by(name, now), None, &Options::default());
            let symptom = verdict.symptom.as_ref().map(|it| (it.service, it.kind));
            assert_eq!(symptom, Some((FRONT, kind)), "{now:?}: {verdict:?}");
            let found = &verdict.causes[0];
            assert_eq!((found.service, found.fault), (cause, fault), "{now:?}: {verdict:?}");
        }
        let quiet = root_cause(&asked_by(name, USUAL), None, &Options::default());
        assert_eq!((quiet.outcome, quiet.symptom), (verdict::Outcome::InsufficientEvidence, None));
    }
    let told = root_cause(&asked_by(by_number, slow), None, &Options::default());
    assert!(told.causes[0].sentence.contains("GET /users/*"), "{}", told.causes[0].sentence);
}

#[test]
fn rare_operations_that_come_again_and_those_that_are_often_called_stay_apart() {
    // The same names now as before: which of them is called makes a difference.
    let mut again = asked_by(by_words, USUAL);
    for operation in again.operations.iter_mut().filter(|it| it.service == FRONT) {
        let once = if operation.now.count > 0 { operation.now.clone() } else { operation.before.clone() };
        (operation.now, operation.before) = (once.clone(), once);
    }
    assert!(together(&again).is_none());
    let mut often = asked_by(by_number, USUAL);
    for operation in often.operations.iter_mut().filter(|it| it.service == FRONT) {
        for cell in [&mut operation.now, &mut operation.before] {
            let one = cell.clone();
            (0..20).for_each(|_| cell.merge(&one));
        }
    }
    assert!(together(&often).is_none());
    // A few that are called now and then.
    let mut few = asked_by(by_words, USUAL);
    few.operations.retain(|it| it.service == BACK || it.id.0.is_multiple_of(10));
    few.edges.retain(|edge| edge.from.0.is_multiple_of(10));
    assert!(together(&few).is_none());
}

#[test]
fn who_is_called_stays_apart_from_whom_users_call() {
    let mut evidence = asked_by(by_number, USUAL);
    let caller =
        OperationEvidence { id: OperationId(2), name: "poll".to_owned(), ..evidence.operations[0].clone() };
    let call = EdgeEvidence { from: caller.id, to: OperationId(279), ..evidence.edges[0].clone() };
    evidence.operations.push(caller);
    evidence.edges.push(call);
    let joined = together(&evidence).unwrap();
    let mut names: Vec<&str> = joined.operations.iter().map(|it| it.name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["GET /users/*", "GET /users/8179", "load", "poll"]);
    let calls: u64 = joined.edges.iter().map(|edge| edge.now.count + edge.before.count).sum();
    assert_eq!((joined.edges.len(), calls), (3, 181));
}
