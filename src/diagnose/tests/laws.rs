//! Laws that hold for every answer: order does not matter, impact points to callers, health compares with the past,
//! an episode is one anomaly.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::{Strategy, any, prop_assert, prop_assert_eq, proptest};

use crate::diagnose::anomaly::{self, anomalies};
use crate::diagnose::evidence::{
    CallEvidence, ChangeEvidence, Evidence, Node, OperationEvidence, SeriesEvidence, Slice, Spread, Step,
    StepEvidence, TemplateEvidence,
};
use crate::diagnose::health::health;
use crate::diagnose::impact::{Supposed, impact};
use crate::diagnose::verdict::{self, AnomalyKind, Health, Outcome, Reference, Status, SymptomKind};
use crate::diagnose::{Options, root_cause};
use crate::model::id::{OperationId, SeriesId, ServiceId, TemplateId};
use crate::model::log::Severity;
use crate::model::node::NodeKind;
use crate::model::rollup::{Cell, Seen, Subject};
use crate::model::span::SpanKind;
use crate::model::time::{UnixNanos, Window};

use super::shop::{
    BANK, CACHE, CART, CATALOG, CHECKOUT, DATABASE, EVENTS, Fault, GATEWAY, ORDERS, PAYMENTS, Random,
    SHIPPING,
};
use super::simulation::simulate;

fn shuffled(mut evidence: Evidence, seed: u64) -> Evidence {
    let mut random = Random::new(seed);
    random.shuffle(&mut evidence.nodes);
    random.shuffle(&mut evidence.operations);
    random.shuffle(&mut evidence.edges);
    random.shuffle(&mut evidence.instances);
    random.shuffle(&mut evidence.templates);
    random.shuffle(&mut evidence.series);
    random.shuffle(&mut evidence.calls);
    random.shuffle(&mut evidence.changes);
    random.shuffle(&mut evidence.traces);
    random.shuffle(Arc::make_mut(&mut evidence.timeline));
    evidence.traces.iter_mut().for_each(|trace| random.shuffle(&mut trace.spans));
    evidence
}

#[test]
fn order_does_not_matter() {
    let faults = [
        Fault::Errors { operation: 22, share: 0.2 },
        Fault::SlowDependency { node: DATABASE, more_ms: 60.0 },
        Fault::Down { service: PAYMENTS },
        Fault::BadVersion { service: ORDERS, share: 0.8 },
        Fault::SlowWay { operation: 62, more_ms: 50.0 },
        Fault::Quiet,
    ];
    for (seed, fault) in (0..).zip(faults) {
        let evidence = simulate(seed, 60, fault);
        let (verdict, hurt) = (
            root_cause(&evidence, None, &Options::default()),
            impact(&evidence, Supposed::down(ServiceId(ORDERS)), &BTreeMap::new()),
        );
        for round in 0..3 {
            let other = shuffled(evidence.clone(), round);
            assert_eq!(root_cause(&other, None, &Options::default()), verdict, "{fault:?}");
            assert_eq!(impact(&other, Supposed::down(ServiceId(ORDERS)), &BTreeMap::new()), hurt);
            assert_eq!(
                anomalies(&other.timeline, &anomaly::Options::default()),
                anomalies(&evidence.timeline, &anomaly::Options::default())
            );
        }
    }
}

#[test]
fn verdicts_are_complete() {
    let evidence = simulate(3, 60, Fault::Errors { operation: 22, share: 0.4 });
    for symptom in [None, Some(ServiceId(GATEWAY)), Some(ServiceId(CHECKOUT)), Some(ServiceId(PAYMENTS))] {
        let verdict = root_cause(&evidence, symptom, &Options::default());
        assert_eq!(verdict.outcome, Outcome::CauseFound);
        let shown = verdict.symptom.unwrap();
        assert_eq!(shown.service, symptom.unwrap_or(ServiceId(GATEWAY)));
        assert_eq!(shown.kind, SymptomKind::Errors);
        assert!(shown.now > shown.before && shown.onset.is_some());
        let cause = &verdict.causes[0];
        assert_eq!((cause.service, cause.operation), (ServiceId(PAYMENTS), Some(OperationId(22))));
        assert_eq!(cause.path.first(), Some(&ServiceId(PAYMENTS)));
        assert_eq!(cause.path.last(), Some(&shown.service));
        assert!(
            cause.onset.is_some_and(|onset| onset.since(evidence.window.from).as_secs() < 60),
            "{:?}",
            cause.onset
        );
        assert!(cause.proof.iter().any(|proof| matches!(proof.reference, Reference::Span(..))));
        assert!(verdict.causes.windows(2).all(|pair| pair[0].confidence >= pair[1].confidence));
        assert!(verdict.causes.iter().all(|cause| (0.0..=1.0).contains(&cause.confidence)));
        let dismissed: Vec<ServiceId> = verdict.ruled_out.iter().map(|it| it.service).collect();
        assert!(!dismissed.contains(&cause.service));
        assert!(symptom.is_some() || dismissed.contains(&ServiceId(CHECKOUT)), "{:?}", verdict.ruled_out);
    }
}

#[test]
fn services_that_are_well_are_not_explained() {
    let evidence = simulate(4, 60, Fault::Errors { operation: 22, share: 0.4 });
    let verdict = root_cause(&evidence, Some(ServiceId(CATALOG)), &Options::default());
    assert_eq!(verdict.outcome, Outcome::InsufficientEvidence);
    assert!(verdict.coverage.iter().any(|note| note.contains("catalog")));
    let nothing = root_cause(&Evidence::empty(evidence.window), None, &Options::default());
    assert_eq!((nothing.outcome, nothing.causes.len()), (Outcome::InsufficientEvidence, 0));
}

#[test]
fn failures_are_found_without_a_baseline() {
    for seed in 0..10 {
        let mut evidence = simulate(seed, 60, Fault::Errors { operation: 22, share: 0.3 });
        evidence.baseline = None;
        evidence.operations.iter_mut().for_each(|it| it.before = Cell::default());
        evidence.edges.iter_mut().for_each(|it| it.before = Cell::default());
        evidence.instances.iter_mut().for_each(|it| it.before = Cell::default());
        evidence.templates.iter_mut().for_each(|it| it.before = 0);
        let verdict = root_cause(&evidence, None, &Options::default());
        assert_eq!(verdict.causes[0].service, ServiceId(PAYMENTS));
        assert_ne!(verdict.outcome, Outcome::InsufficientEvidence);
        assert!(verdict.coverage.iter().any(|note| note.contains("no baseline")));
    }
}

#[test]
fn roll_ups_suffice_and_so_do_torn_traces() {
    for seed in 0..10 {
        let mut evidence = simulate(seed, 60, Fault::Errors { operation: 22, share: 0.3 });
        for trace in &mut evidence.traces {
            trace.spans.retain(|span| span.operation.0 != 22);
        }
        assert_eq!(root_cause(&evidence, None, &Options::default()).causes[0].service, ServiceId(PAYMENTS));
        evidence.traces.clear();
        assert_eq!(root_cause(&evidence, None, &Options::default()).causes[0].service, ServiceId(PAYMENTS));
    }
}

/// A deployment of `back` with a commit of an hour before, and another commit of that time.
fn add_changes(evidence: &mut Evidence, back: ServiceId) {
    let change = ChangeEvidence {
        at: evidence.window.from,
        service: Some(back),
        kind: "deployment".to_owned(),
        text: "v2".to_owned(),
        revision: "abc".to_owned(),
        files: String::new(),
    };
    let commit = ChangeEvidence {
        at: evidence.window.from.minus(Duration::from_secs(3_600)),
        service: None,
        kind: "vcs.commit".to_owned(),
        text: "Read dates in the new way".to_owned(),
        revision: "abc".to_owned(),
        files: "lib/parse.go".to_owned(),
    };
    let other =
        ChangeEvidence { revision: "def".to_owned(), files: "lib/color.go".to_owned(), ..commit.clone() };
    evidence.changes.extend([other, change, commit]);
}

#[test]
fn metrics_and_logs_alone_give_candidates() {
    let window = Window::new(UnixNanos::from_seconds(2_000), UnixNanos::from_seconds(2_600));
    let mut evidence = Evidence::empty(window);
    evidence.baseline = Some(Window::new(UnixNanos::from_seconds(0), UnixNanos::from_seconds(2_000)));
    let (front, middle, back) = (ServiceId(1), ServiceId(2), ServiceId(3));
    for (id, name) in [(front, "front"), (middle, "middle"), (back, "back")] {
        evidence.nodes.push(Node { id, name: name.to_owned(), kind: NodeKind::Service });
    }
    let spread = |value: f64| Spread {
        count: 10,
        min: 0.9 * value,
        low: 0.92 * value,
        lower: 0.97 * value,
        median: value,
        upper: 1.03 * value,
        high: 1.08 * value,
        max: 1.1 * value,
        mean: value,
    };
    let mut series = |id: u32, service, before, now| {
        let name = "node.latency.avg".to_owned();
        let (now, before) = (spread(now), spread(before));
        evidence.series.push(SeriesEvidence {
            id: SeriesId(id),
            service,
            metric: name.clone(),
            attributes: Vec::new(),
            name,
            unit: "s".to_owned(),
            now,
            before,
            above: 10,
            below: 0,
            replaced: false,
        });
    };
    series(1, front, 0.3, 0.9);
    series(2, middle, 0.1, 0.7);
    series(3, back, 0.05, 0.05);
    evidence.calls = vec![
        CallEvidence { from: front, to: middle, now: 100.0, before: 100.0 },
        CallEvidence { from: middle, to: back, now: 100.0, before: 100.0 },
    ];
    let verdict = root_cause(&evidence, None, &Options::default());
    assert_eq!((verdict.outcome, verdict.causes[0].service), (Outcome::Candidates, middle));
    assert_eq!(verdict.causes[0].fault, verdict::Fault::Latency);
    let callers: Vec<ServiceId> = impact(&evidence, Supposed::down(back), &BTreeMap::new())
        .affected
        .iter()
        .map(|it| it.service)
        .collect();
    assert_eq!(callers, [front, middle]);
    evidence.series.clear();
    evidence.templates.push(TemplateEvidence {
        id: TemplateId(1),
        service: back,
        severity: Severity::ERROR,
        text: "cannot parse <*>".to_owned(),
        first_seen: window.from,
        now: 40,
        before: 0,
    });
    add_changes(&mut evidence, back);
    let verdict = root_cause(&evidence, Some(front), &Options::default());
    // The commit came into effect with the deployment, and speaks of what fails.
    assert_eq!((verdict.changes[0].kind.as_str(), verdict.changes[0].service), ("vcs.commit", Some(back)));
    assert!(verdict.changes[0].reason.ends_with("speak of parse"), "{:?}", verdict.changes);
    assert_eq!(verdict.causes[0].service, back);
    assert!(verdict.causes[0].proof.iter().any(|proof| matches!(proof.reference, Reference::Change(_))));
}

#[test]
fn who_is_spoken_of_is_suspected_not_the_speaker() {
    let mut evidence = simulate(1, 60, Fault::Quiet);
    let complaint = |service, text: &str| TemplateEvidence {
        id: TemplateId(1),
        service: ServiceId(service),
        severity: Severity::ERROR,
        text: text.to_owned(),
        first_seen: evidence.window.from,
        now: 60,
        before: 0,
    };
    for (text, suspect) in [
        ("INSERT failed: orders-db is gone", DATABASE),
        ("orders lost its way", ORDERS),
        ("orders-db-7 and bank.example are gone", BANK),
        ("orders-db and bank.example are gone", ORDERS),
    ] {
        let templates = vec![complaint(ORDERS, text)];
        let verdict = root_cause(&Evidence { templates, ..evidence.clone() }, None, &Options::default());
        assert_eq!(verdict.causes[0].service, ServiceId(suspect), "{text}: {}", verdict.causes[0].sentence);
        let says = verdict.causes[0].sentence.contains("orders has new log pattern");
        assert_eq!(says, suspect != ORDERS, "{}", verdict.causes[0].sentence);
    }
    // Callers that go on otherwise after they were answered.
    let step = |service, operation, answer| StepEvidence {
        service: ServiceId(service),
        operation: OperationId(operation),
        after: Step::Call(OperationId(answer)),
        then: Step::End,
        now: (2, 60),
        before: (60, 60),
    };
    evidence.steps = vec![step(GATEWAY, 12, 24), step(CHECKOUT, 41, 23)];
    let verdict = root_cause(&evidence, None, &Options::default());
    assert_eq!(verdict.causes[0].service, ServiceId(ORDERS), "{}", verdict.causes[0].sentence);
    assert!(verdict.causes[0].sentence.contains("what comes after its answer changed"));
}

/// Services that are affected when one fails, by the shop's plan; those it reaches over the queue included.
fn truly_affected(service: u32) -> Vec<u32> {
    match service {
        CART | PAYMENTS | ORDERS => vec![CHECKOUT, GATEWAY],
        CHECKOUT | CATALOG => vec![GATEWAY],
        BANK => vec![PAYMENTS, CHECKOUT, GATEWAY],
        CACHE => vec![CART, CATALOG, CHECKOUT, GATEWAY],
        DATABASE => vec![ORDERS, CATALOG, SHIPPING, CHECKOUT, GATEWAY],
        EVENTS => vec![ORDERS, SHIPPING, CHECKOUT, GATEWAY],
        _ => vec![],
    }
}

#[test]
fn impact_names_callers_and_only_callers() {
    let evidence = simulate(1, 60, Fault::Quiet);
    for service in [CART, CHECKOUT, PAYMENTS, ORDERS, CATALOG, BANK, CACHE, DATABASE, EVENTS] {
        let found = impact(&evidence, Supposed::down(ServiceId(service)), &BTreeMap::new());
        let named: BTreeSet<u32> = found.affected.iter().map(|it| it.service.0).collect();
        let expected: BTreeSet<u32> = truly_affected(service).into_iter().collect();
        assert_eq!(named, expected, "{service}");
        assert!(found.affected[0].entry);
        assert!(found.affected.windows(2).all(|pair| pair[0].entry >= pair[1].entry));
        assert!(found.affected.iter().all(|it| it.share > 0.0 && it.share <= 1.0));
    }
    let database = impact(&evidence, Supposed::down(ServiceId(DATABASE)), &BTreeMap::new());
    let entries: Vec<u32> =
        database.affected.iter().filter(|it| it.entry).filter_map(|it| it.operation.map(|it| it.0)).collect();
    assert_eq!(entries.iter().copied().collect::<BTreeSet<_>>(), BTreeSet::from([11, 12, 13]));
    let list = Supposed { operation: Some(OperationId(24)), ..Supposed::down(ServiceId(ORDERS)) };
    let one = impact(&evidence, list, &BTreeMap::new());
    assert_eq!(one.affected.iter().filter_map(|it| it.operation.map(|it| it.0)).collect::<Vec<_>>(), [12]);
    let payments = impact(&evidence, Supposed::down(ServiceId(PAYMENTS)), &BTreeMap::new());
    assert_eq!(
        payments.affected.iter().map(|it| (it.service.0, it.distance)).collect::<Vec<_>>(),
        [(GATEWAY, 2), (CHECKOUT, 1)]
    );
    assert!(payments.affected.iter().all(|it| it.share > 0.9));
    assert!(impact(&evidence, Supposed::down(ServiceId(99)), &BTreeMap::new()).affected.is_empty());
}

#[test]
fn a_dead_service_still_hurts_its_callers() {
    let evidence = simulate(2, 60, Fault::Down { service: PAYMENTS });
    let found = impact(&evidence, Supposed::down(ServiceId(PAYMENTS)), &BTreeMap::new());
    let named: BTreeSet<u32> = found.affected.iter().map(|it| it.service.0).collect();
    assert_eq!(named, BTreeSet::from([CHECKOUT, GATEWAY]));
    assert!(found.affected.iter().all(|it| it.share > 0.9 && it.observed_errors > 0.9));
}

#[test]
fn cycles_end() {
    let mut evidence = simulate(5, 60, Fault::Errors { operation: 22, share: 0.5 });
    let mut back = evidence.edges.iter().find(|edge| edge.from == OperationId(51)).unwrap().clone();
    (back.from, back.to) = (OperationId(22), OperationId(11));
    evidence.edges.push(back);
    assert_eq!(impact(&evidence, Supposed::down(ServiceId(BANK)), &BTreeMap::new()).affected.len(), 3);
    let verdict = root_cause(&evidence, None, &Options::default());
    assert!(verdict.causes.iter().all(|cause| cause.confidence.is_finite()));
}

fn health_by_service(evidence: &Evidence) -> Vec<Health> {
    health(evidence, &BTreeMap::new()).into_iter().filter(|it| it.service.0 < BANK).collect()
}

#[test]
fn health_compares_with_the_past() {
    let status = |fault, service| {
        let all = health_by_service(&simulate(8, 60, fault));
        all.into_iter().find(|it| it.service == ServiceId(service)).unwrap()
    };
    for service in [GATEWAY, CART, CHECKOUT, PAYMENTS, ORDERS, CATALOG, SHIPPING] {
        let quiet = status(Fault::Quiet, service);
        assert_eq!((quiet.status, quiet.reasons.len()), (Status::Healthy, 0), "{quiet:?}");
    }
    assert_eq!(status(Fault::Errors { operation: 22, share: 0.6 }, PAYMENTS).status, Status::Critical);
    assert_eq!(status(Fault::Errors { operation: 22, share: 0.6 }, CART).status, Status::Healthy);
    let slow = status(Fault::Latency { operation: 25, more_ms: 20.0 }, CATALOG);
    assert_eq!(slow.status, Status::Degraded, "{slow:?}");
    let silent = status(Fault::Stops { operation: 41, callee: 62 }, PAYMENTS);
    assert_eq!(silent.status, Status::Critical, "{silent:?}");
    assert!(!silent.reasons.is_empty());
    let mut few = Evidence::empty(Window::new(UnixNanos(0), UnixNanos::from_seconds(60)));
    few.operations.push(OperationEvidence {
        id: OperationId(1),
        service: ServiceId(1),
        name: "GET".to_owned(),
        kind: SpanKind::SERVER,
        now: Cell::default(),
        before: Cell::default(),
    });
    assert_eq!(health_by_service(&few)[0].status, Status::Unknown);
}

fn slice(minute: i64, count: u64, errors: u64, mean_ns: u64) -> Slice {
    let subject = Subject::Operation(OperationId(1));
    Slice { subject, bucket_s: 60 * minute, width_s: 60, count, errors, sum_ns: count * mean_ns, other_ns: 0 }
}

#[test]
fn an_episode_is_one_anomaly() {
    let calm = |minute: i64| {
        slice(minute, 100 + (minute * 7 % 11) as u64, 0, 1_000_000 + (minute * 13 % 7) as u64 * 10_000)
    };
    let find = |change: &dyn Fn(i64) -> Slice| {
        let series: Vec<Slice> = (0..60).map(change).collect();
        anomalies(&series, &anomaly::Options::default())
    };
    assert_eq!(find(&calm), []);
    let errors = find(&|minute| {
        if (30..40).contains(&minute) { slice(minute, 100, 30, 1_000_000) } else { calm(minute) }
    });
    assert_eq!(errors.len(), 1);
    assert_eq!(
        (errors[0].kind, errors[0].onset.seconds(), errors[0].end.unwrap().seconds()),
        (AnomalyKind::Errors, 1_800, 2_400)
    );
    assert!((errors[0].peak - 0.3).abs() < 1e-9 && errors[0].before < 0.001);
    let latency = find(&|minute| if minute >= 45 { slice(minute, 100, 0, 3_000_000) } else { calm(minute) });
    assert_eq!(
        latency.iter().map(|it| (it.kind, it.end)).collect::<Vec<_>>(),
        [(AnomalyKind::Latency, None)]
    );
    let silence =
        find(&|minute| if (20..30).contains(&minute) { slice(minute, 0, 0, 0) } else { calm(minute) });
    assert_eq!(
        silence.iter().map(|it| (it.kind, it.onset.seconds())).collect::<Vec<_>>(),
        [(AnomalyKind::Silence, 1_200)]
    );
    let rise = find(&|minute| if minute >= 50 { slice(minute, 400, 0, 1_000_000) } else { calm(minute) });
    assert_eq!(rise.iter().map(|it| it.kind).collect::<Vec<_>>(), [AnomalyKind::Traffic]);
    let surge = find(&|minute| match minute {
        30..35 => slice(minute, 400, 0, 1_000_000),
        35.. => slice(minute, 0, 0, 0),
        _ => calm(minute),
    });
    let (rise, fall) = (AnomalyKind::Traffic, AnomalyKind::Silence);
    assert_eq!(
        surge
            .iter()
            .map(|it| (it.kind, it.onset.seconds(), it.end.map(UnixNanos::seconds)))
            .collect::<Vec<_>>(),
        [(rise, 1_800, Some(2_100)), (fall, 2_100, None)]
    );
    // The last minute may not be over yet.
    let filling = find(&|minute| match minute {
        57.. => slice(minute, if minute == 59 { 20 } else { 400 }, 0, 1_000_000),
        _ => calm(minute),
    });
    assert_eq!(filling.iter().map(|it| it.peak.round()).collect::<Vec<_>>(), [7.0]);
    let stray = find(&|minute| if minute == 33 { slice(minute, 100, 40, 9_000_000) } else { calm(minute) });
    assert_eq!(stray, []);
    let gone: Vec<Slice> = (0..60).filter(|minute| !(20..30).contains(minute)).map(calm).collect();
    let gone = anomalies(&gone, &anomaly::Options::default());
    assert_eq!(gone.iter().map(|it| it.kind).collect::<Vec<_>>(), [AnomalyKind::Silence]);
}

#[test]
fn quiet_timelines_stay_quiet() {
    let found: usize = (0..6)
        .map(|seed| {
            anomalies(&simulate(seed, 120, Fault::Quiet).timeline, &anomaly::Options::default()).len()
        })
        .sum();
    assert!(found <= 3, "{found} false episodes");
}

fn any_cell() -> impl Strategy<Value = Cell> {
    proptest::collection::vec((any::<u32>(), any::<bool>()), 0..40).prop_map(|calls| {
        let mut cell = Cell::default();
        for (duration, error) in calls {
            cell.add(&Seen::Call {
                duration_ns: u64::from(duration),
                caller_ns: u64::from(duration / 2),
                error,
            });
        }
        cell
    })
}

proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(64))]
    #[test]
    fn strange_evidence_never_panics(
        cells in proptest::collection::vec((any_cell(), any_cell(), 0_u32..8, 0_u32..8, 0_u8..7), 0..24),
        kinds in proptest::collection::vec(0_i64..4, 6),
    ) {
        let mut evidence = Evidence::empty(Window::new(UnixNanos(0), UnixNanos::from_seconds(60)));
        evidence.baseline = Some(Window::new(UnixNanos::from_seconds(-60), UnixNanos(0)));
        for (id, kind) in (0..).zip(&kinds) {
            let kind = NodeKind::from_number(*kind).unwrap();
            evidence.nodes.push(Node { id: ServiceId(id), name: format!("n{id}"), kind });
        }
        for (id, (now, before, service, to, kind)) in (0_u32..).zip(&cells) {
            let (now, before) = (now.clone(), before.clone());
            evidence.edges.push(crate::diagnose::evidence::EdgeEvidence {
                from: OperationId(id), to: OperationId(*to), now: now.clone(), before: before.clone(),
            });
            evidence.operations.push(OperationEvidence {
                id: OperationId(id), service: ServiceId(*service), name: String::new(), kind: SpanKind(*kind), now, before,
            });
        }
        let verdict = root_cause(&evidence, None, &Options::default());
        for cause in &verdict.causes {
            prop_assert!((0.0..=1.0).contains(&cause.confidence), "{}", cause.confidence);
        }
        prop_assert_eq!(root_cause(&shuffled(evidence.clone(), 1), None, &Options::default()), verdict);
        let hurt = impact(&evidence, Supposed::down(ServiceId(0)), &BTreeMap::new());
        prop_assert!(hurt.affected.iter().all(|it| it.share > 0.0 && it.share <= 1.0));
    }
}

/// What takes half a minute is not silent because nothing that began in the last half minute is over.
#[test]
fn calls_that_last_are_not_silent_at_the_end() {
    let calls = |id: u32, seconds: u64, until: i64| {
        (0..until).map(move |step| Slice {
            subject: Subject::Operation(OperationId(id)),
            bucket_s: 10 * step,
            width_s: 10,
            count: 30,
            errors: 0,
            sum_ns: 30 * seconds * 1_000_000_000,
            other_ns: 0,
        })
    };
    let found = |slow: i64| {
        let series: Vec<Slice> = calls(1, 30, slow).chain(calls(2, 0, 90)).collect();
        let found = anomalies(&series, &anomaly::Options::default());
        found.iter().map(|it| (it.kind, it.onset.seconds())).collect::<Vec<_>>()
    };
    assert_eq!(found(87), []);
    assert_eq!(found(70), [(AnomalyKind::Silence, 700)]);
}
