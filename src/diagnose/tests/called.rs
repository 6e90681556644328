//! Calls whose spans are named by their method alone: whom they go to, whether they arrive, how long they are on the way.

use std::sync::Arc;

use crate::diagnose::evidence::{
    ChangeEvidence, EdgeEvidence, Evidence, Exception, ExemplarSpan, ExemplarTrace, Node, OperationEvidence,
    Slice,
};
use crate::diagnose::hypothesis::{Judgement, Question, Speaks, Tested, test};
use crate::diagnose::verdict::{self, Cause, Level};
use crate::diagnose::{Options, root_cause};
use crate::model::id::{OperationId, ResourceId, ServiceId, SpanId, TraceId};
use crate::model::node::NodeKind;
use crate::model::rollup::{Cell, Seen, Subject};
use crate::model::span::SpanKind;
use crate::model::time::{UnixNanos, Window};

const BOOKING: ServiceId = ServiceId(1);
const SEAT: ServiceId = ServiceId(2);
const PAYMENTS: ServiceId = ServiceId(3);
const SEAT_HOST: ServiceId = ServiceId(11);
const PAYMENTS_HOST: ServiceId = ServiceId(12);
const FLAGS: ServiceId = ServiceId(20);

const BOOK: u32 = 1;
const POST: u32 = 2;
const RESERVE: u32 = 3;
const CHARGE: u32 = 4;
const TO_SEAT: u32 = 5;
const TO_PAYMENTS: u32 = 6;

/// Calls of so many milliseconds for who is called and who calls, spread by a fifth around them.
#[derive(Clone, Copy)]
struct Calls {
    count: u64,
    failed: u64,
    answered: u64,
    ms: (u64, u64),
}

const fn calls(count: u64, failed: u64, ms: (u64, u64)) -> Calls {
    Calls { count, failed, answered: 0, ms }
}

impl Calls {
    const fn answered(self, answered: u64) -> Self {
        Self { answered, ..self }
    }

    fn cell(self) -> Cell {
        let mut cell = Cell::default();
        for call in 0..self.count {
            let spread = |ms: u64| ms * 1_000_000 * (80 + call % 41) / 100;
            let (duration_ns, caller_ns) = (spread(self.ms.0), spread(self.ms.1));
            cell.add(&Seen::Call { duration_ns, caller_ns, error: call < self.failed });
        }
        cell.answered = self.answered;
        cell
    }
}

/// What is called, now and before.
type Change = [Calls; 2];

fn nothing() -> Evidence {
    let at = UnixNanos::from_seconds;
    let mut evidence = Evidence::empty(Window::new(at(600), at(1_200)));
    evidence.baseline = Some(Window::new(at(0), at(600)));
    for (id, name, kind) in [
        (BOOKING, "booking", NodeKind::Service),
        (SEAT, "seat", NodeKind::Service),
        (PAYMENTS, "payments", NodeKind::Service),
        (SEAT_HOST, "seat:8080", NodeKind::External),
        (PAYMENTS_HOST, "payments:8080", NodeKind::External),
        (FLAGS, "flags", NodeKind::Service),
    ] {
        evidence.nodes.push(Node { id, name: name.to_owned(), kind });
    }
    evidence
}

/// An operation that waits for nobody.
fn add(evidence: &mut Evidence, id: u32, (service, name, kind): (ServiceId, &str, SpanKind), of: Change) {
    let [now, before] = of.map(|calls| Cell { other_ns: 0, ..calls.cell() });
    let (id, name) = (OperationId(id), name.to_owned());
    evidence.operations.push(OperationEvidence { id, service, name, kind, now, before });
}

fn join(evidence: &mut Evidence, (from, to): (u32, u32), of: Change) {
    let [now, before] = of.map(|calls| calls.cell());
    evidence.edges.push(EdgeEvidence { from: OperationId(from), to: OperationId(to), now, before });
}

/// Bookings that reserve a seat and charge for it, by spans of one name: what the caller counts of the calls to each, and what
/// arrives of them.
fn bookings(book: Change, [seat, payments]: [(Change, Change); 2]) -> Evidence {
    let mut evidence = nothing();
    let both = |now: bool| {
        let of = |change: &Change| change[usize::from(!now)].cell();
        let mut cell = of(&seat.0);
        cell.merge(&of(&payments.0));
        cell.answered = 0;
        cell
    };
    add(&mut evidence, BOOK, (BOOKING, "POST /bookings", SpanKind::SERVER), book);
    let (now, before) = (both(true), both(false));
    let (id, name) = (OperationId(POST), "POST".to_owned());
    let kind = SpanKind::CLIENT;
    evidence.edges.push(EdgeEvidence {
        from: OperationId(BOOK),
        to: id,
        now: now.clone(),
        before: before.clone(),
    });
    let [now, before] = [now, before].map(|cell| Cell { other_ns: 0, ..cell });
    evidence.operations.push(OperationEvidence { id, service: BOOKING, name, kind, now, before });
    for operation in &mut evidence.operations {
        // A booking waits for its calls, a call for who answers it.
        let (waited, waited_before) = match operation.id.0 {
            BOOK => (both(true).sum_ns, both(false).sum_ns),
            _ => {
                let arrived = |side: usize| seat.1[side].cell().sum_ns + payments.1[side].cell().sum_ns;
                (arrived(0), arrived(1))
            }
        };
        operation.now.add(&Seen::Children { duration_ns: waited });
        operation.before.add(&Seen::Children { duration_ns: waited_before });
    }
    add(&mut evidence, RESERVE, (SEAT, "POST /reserve", SpanKind::SERVER), seat.1);
    add(&mut evidence, CHARGE, (PAYMENTS, "POST /charge", SpanKind::SERVER), payments.1);
    add(&mut evidence, TO_SEAT, (SEAT_HOST, "POST", SpanKind::CLIENT), seat.0);
    add(&mut evidence, TO_PAYMENTS, (PAYMENTS_HOST, "POST", SpanKind::CLIENT), payments.0);
    join(&mut evidence, (POST, RESERVE), seat.1);
    join(&mut evidence, (POST, CHARGE), payments.1);
    join(&mut evidence, (POST, TO_SEAT), seat.0);
    join(&mut evidence, (POST, TO_PAYMENTS), payments.0);
    evidence
}

/// A span of a trace: its number, that of its parent, whose it is, whom it says it calls, whether it fails, milliseconds.
type Row = (u8, u8, (ServiceId, u32, SpanKind), Option<ServiceId>, Option<&'static str>, u64);

fn trace(number: u8, rows: &[Row]) -> ExemplarTrace {
    let span_id = |id: u8| SpanId::try_from(&[id; 8][..]);
    let span = |(id, parent, (service, operation, kind), peer, error, ms): &Row| ExemplarSpan {
        span_id: span_id(*id).unwrap(),
        parent_id: span_id(*parent).ok(),
        service: *service,
        operation: OperationId(*operation),
        resource: ResourceId(1),
        kind: *kind,
        peer: *peer,
        error: error.is_some(),
        start: UnixNanos::from_seconds(700),
        duration_ns: ms * 1_000_000,
        status_message: String::new(),
        exception: error
            .filter(|text| !text.is_empty())
            .map(|text| Exception { kind: String::new(), message: text.to_owned() }),
    };
    let trace_id = TraceId::try_from(&[number; 16][..]).unwrap();
    ExemplarTrace { trace_id, spans: rows.iter().map(span).collect() }
}

const SERVER: (ServiceId, u32, SpanKind) = (BOOKING, BOOK, SpanKind::SERVER);
const CLIENT: (ServiceId, u32, SpanKind) = (BOOKING, POST, SpanKind::CLIENT);
const CHARGED: (ServiceId, u32, SpanKind) = (PAYMENTS, CHARGE, SpanKind::SERVER);

fn first(evidence: &Evidence) -> Cause {
    root_cause(evidence, None, &Options::default()).causes.remove(0)
}

fn speaks(tested: &Tested, question: Question) -> Speaks {
    tested.findings.iter().find(|it| it.question == question).unwrap().speaks
}

/// Seats that are as ever.
fn well() -> (Change, Change) {
    ([calls(400, 0, (22, 22)).answered(400); 2], [calls(400, 0, (20, 22)); 2])
}

const EXPIRED: &str = "call to payments failed: PKIX path validation failed: java.security.cert.CertPathValidatorException: \
                       validity check failed: NotAfter: Tue Dec 01 00:00:00 UTC 2026: the certificate has expired";

/// Payments of which no call arrives any more.
fn unreachable_payments() -> Evidence {
    let made = [calls(400, 400, (6, 6)), calls(400, 0, (42, 42)).answered(400)];
    let arrived = [calls(0, 0, (0, 0)), calls(400, 0, (40, 42))];
    let book = [calls(400, 400, (40, 40)), calls(400, 0, (70, 70))];
    let mut evidence = bookings(book, [well(), (made, arrived)]);
    evidence.traces = (1..=8)
        .map(|number| {
            let reserved = (SEAT, RESERVE, SpanKind::SERVER);
            trace(
                number,
                &[
                    (1, 0, SERVER, None, Some(EXPIRED), 40),
                    (2, 1, CLIENT, Some(SEAT_HOST), None, 22),
                    (3, 2, reserved, None, None, 20),
                    (4, 1, CLIENT, Some(PAYMENTS_HOST), Some(""), 6),
                ],
            )
        })
        .collect();
    evidence
}

#[test]
fn calls_are_counted_by_whom_they_go_to() {
    let evidence = unreachable_payments();
    let cause = first(&evidence);
    assert_eq!((cause.service, cause.fault), (PAYMENTS, verdict::Fault::Unreachable), "{}", cause.sentence);
    let counted =
        "400 of 400 calls by booking (POST) to payments:8080 fail and do not arrive at POST /charge";
    assert!(cause.sentence.contains(counted), "{}", cause.sentence);
    assert_eq!(cause.proof[0].text, "0 of 400 calls arrive, 400 of 400 before");
    // Why, is said where it was caught.
    assert!(cause.sentence.contains("the certificate has expired"), "{}", cause.sentence);
    assert!(cause.proof.iter().any(|proof| proof.text == EXPIRED), "{:?}", cause.proof);
}

#[test]
fn a_call_that_is_refused_is_the_trouble_of_whom_it_names() {
    let made = [calls(400, 30, (22, 22)).answered(370), calls(400, 0, (22, 22)).answered(400)];
    let arrived = [calls(370, 0, (20, 22)), calls(400, 0, (20, 22))];
    let payments = (
        [calls(370, 0, (42, 42)).answered(370), calls(400, 0, (42, 42)).answered(400)],
        [calls(370, 0, (40, 42)), calls(400, 0, (40, 42))],
    );
    let book = [calls(400, 30, (70, 70)), calls(400, 0, (70, 70))];
    let mut evidence = bookings(book, [(made, arrived), payments]);
    evidence.traces = (1..=8)
        .map(|number| {
            trace(number, &[(1, 0, SERVER, None, Some(""), 9), (2, 1, CLIENT, Some(SEAT_HOST), Some(""), 3)])
        })
        .collect();
    let cause = first(&evidence);
    assert_eq!(cause.service, SEAT, "{}", cause.sentence);
    assert!(cause.sentence.contains("30 of 400 calls by booking (POST) to seat:8080"), "{}", cause.sentence);
    let tested = test(&evidence, SEAT, BOOKING);
    assert_eq!(speaks(&tested, Question::Examples), Speaks::For, "{tested:?}");
    assert_eq!(tested.judgement, Judgement::Supported, "{tested:?}");
    assert_eq!(test(&evidence, PAYMENTS, BOOKING).judgement, Judgement::Refuted);
}

/// Calls to payments that spend so many milliseconds on the way.
fn distant_payments(way_ms: u64) -> Evidence {
    let made = [calls(400, 0, (40 + way_ms, 40 + way_ms)), calls(400, 0, (42, 42))];
    let made = made.map(|calls| calls.answered(400));
    let arrived = [calls(400, 0, (40, 40 + way_ms)), calls(400, 0, (40, 42))];
    let book = [calls(400, 0, (68 + way_ms, 68 + way_ms)), calls(400, 0, (70, 70))];
    let mut evidence = bookings(book, [well(), (made, arrived)]);
    let slice = |subject: u32, bucket_s: i64, ms: u64| Slice {
        subject: Subject::Operation(OperationId(subject)),
        bucket_s,
        width_s: 60,
        count: 40,
        errors: 0,
        sum_ns: 40 * ms * 1_000_000,
        other_ns: 0,
    };
    let buckets = (0..20).map(|bucket| bucket * 60);
    let slices = buckets.flat_map(|bucket_s| {
        let way_ms = if bucket_s < 600 { 2 } else { way_ms };
        // Payments take a little longer now and then.
        let own_ms = if bucket_s == 180 { 41 } else { 40 };
        [
            slice(BOOK, bucket_s, 68 + way_ms),
            slice(TO_PAYMENTS, bucket_s, 40 + way_ms),
            slice(CHARGE, bucket_s, own_ms),
        ]
    });
    evidence.timeline = slices.collect::<Arc<[Slice]>>();
    evidence.traces = (1..=8)
        .map(|number| {
            trace(
                number,
                &[
                    (1, 0, SERVER, None, None, 68 + way_ms),
                    (2, 1, CLIENT, Some(PAYMENTS_HOST), None, 40 + way_ms),
                    (3, 2, CHARGED, None, None, 40),
                ],
            )
        })
        .collect();
    evidence
}

#[test]
fn a_longer_way_is_shown_by_what_callers_wait() {
    let evidence = distant_payments(700);
    let cause = first(&evidence);
    assert_eq!((cause.service, cause.level), (PAYMENTS, Level::Edge), "{}", cause.sentence);
    assert_eq!(cause.onset, Some(UnixNanos::from_seconds(600)), "{}", cause.sentence);
    assert!(cause.proof[0].text.starts_with("beyond the answer callers wait "), "{:?}", cause.proof);
    assert!(cause.proof[1].text.starts_with("as the caller counts: 7"), "{:?}", cause.proof);
    let tested = test(&evidence, PAYMENTS, BOOKING);
    assert_eq!(speaks(&tested, Question::Deviation), Speaks::For, "{tested:?}");
    assert_eq!(speaks(&tested, Question::Examples), Speaks::For, "{tested:?}");
    assert_eq!(tested.judgement, Judgement::Supported, "{tested:?}");
}

#[test]
fn time_lost_where_nobody_answers_is_not_spent_on_the_way() {
    let made = [calls(400, 40, (240, 240)).answered(360), calls(400, 0, (42, 42)).answered(400)];
    let arrived = [calls(360, 0, (40, 42)), calls(400, 0, (40, 42))];
    let book = [calls(400, 40, (268, 268)), calls(400, 0, (70, 70))];
    let verdict = root_cause(&bookings(book, [well(), (made, arrived)]), None, &Options::default());
    assert_eq!(verdict.causes[0].service, PAYMENTS, "{:?}", verdict.causes);
    assert!(
        verdict.causes.iter().all(|cause| !cause.sentence.contains("on the way")),
        "{:?}",
        verdict.causes
    );
}

/// Calls that payments answer as well as ever, in so many milliseconds, and that booking does not wait for.
fn impatient_booking(ms: u64) -> Evidence {
    let made = [calls(400, 70, (ms, ms)), calls(400, 0, (14, 14))].map(|calls| calls.answered(400));
    // A call failed where either end says so.
    let arrived = [calls(400, 70, (ms, ms)), calls(400, 0, (12, 14))];
    let book = [calls(400, 70, (40, 40)), calls(400, 0, (40, 40))];
    let mut evidence = bookings(book, [well(), (made, arrived)]);
    evidence.operations.iter_mut().filter(|it| it.id.0 == CHARGE).for_each(|it| it.now.errors = 0);
    let late = Some("context deadline exceeded");
    evidence.traces = (1..=8)
        .map(|number| {
            trace(
                number,
                &[
                    (1, 0, SERVER, None, Some(""), 40),
                    (2, 1, CLIENT, Some(PAYMENTS_HOST), late, ms),
                    (3, 2, CHARGED, None, None, ms),
                ],
            )
        })
        .collect();
    evidence
}

#[test]
fn who_does_not_wait_gives_up() {
    let evidence = impatient_booking(12);
    let cause = first(&evidence);
    assert_eq!((cause.service, cause.level), (BOOKING, Level::Operation), "{}", cause.sentence);
    let said = "booking gives up before payments answers: 70 of 400 calls failed";
    assert!(cause.sentence.starts_with(said), "{}", cause.sentence);
    assert!(cause.sentence.contains("deadline exceeded"), "{}", cause.sentence);
    assert_eq!(speaks(&test(&evidence, BOOKING, BOOKING), Question::Own), Speaks::For);
    // Who takes three times as long is why others do not wait.
    let cause = first(&impatient_booking(36));
    assert_eq!((cause.service, cause.fault), (PAYMENTS, verdict::Fault::Latency), "{}", cause.sentence);
}

#[test]
fn who_takes_no_longer_is_not_slow() {
    let mut evidence = nothing();
    let takes = |ms: u64| calls(400, 0, (ms, ms));
    let external = (PAYMENTS_HOST, "POST", SpanKind::CLIENT);
    add(&mut evidence, BOOK, (BOOKING, "POST /bookings", SpanKind::SERVER), [takes(190), takes(150)]);
    add(&mut evidence, POST, (BOOKING, "POST", SpanKind::CLIENT), [takes(141); 2]);
    add(&mut evidence, TO_PAYMENTS, external, [takes(141); 2]);
    let waited = Seen::Children { duration_ns: takes(141).cell().sum_ns };
    evidence.operations[0].now.add(&waited);
    evidence.operations[0].before.add(&waited);
    join(&mut evidence, (BOOK, POST), [takes(141); 2]);
    join(&mut evidence, (POST, TO_PAYMENTS), [takes(141); 2]);
    // What is late is late where most varies.
    evidence.traces = (1..=20)
        .map(|number| {
            let client = (2, 1, CLIENT, Some(PAYMENTS_HOST), None, 340);
            trace(number, &[(1, 0, SERVER, None, None, 390), client])
        })
        .collect();
    let causes = root_cause(&evidence, None, &Options::default()).causes;
    assert_eq!(causes[0].service, BOOKING, "{causes:?}");
    assert!(causes.iter().all(|cause| cause.service != PAYMENTS_HOST), "{causes:?}");
}

#[test]
fn calls_tell_nothing_of_who_sends_no_spans_or_changed() {
    let evidence = distant_payments(700);
    let tested = test(&evidence, FLAGS, BOOKING);
    assert_eq!(speaks(&tested, Question::Path), Speaks::Neither, "{tested:?}");
    assert_eq!(tested.judgement, Judgement::Undecided, "{tested:?}");
    // Seats do not call payments; a change to them may harm payments all the same.
    assert_eq!(speaks(&test(&evidence, SEAT, PAYMENTS), Question::Path), Speaks::Against);
    let mut changed = evidence;
    changed.changes.push(ChangeEvidence {
        at: UnixNanos::from_seconds(590),
        service: Some(SEAT),
        kind: "deployment".to_owned(),
        text: "2.0".to_owned(),
        revision: String::new(),
        files: String::new(),
    });
    assert_eq!(speaks(&test(&changed, SEAT, PAYMENTS), Question::Path), Speaks::Neither);
}
