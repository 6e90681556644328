//! What is measured, logged and done otherwise beside spans that are well: what of it is a symptom.

use crate::diagnose::evidence::{Evidence, SeriesEvidence, Spread, Step, StepEvidence, TemplateEvidence};
use crate::diagnose::verdict::{self, SymptomKind, Verdict};
use crate::diagnose::view::View;
use crate::diagnose::{Options, root_cause, steps};
use crate::model::id::{OperationId, SeriesId, ServiceId, TemplateId};
use crate::model::log::Severity;

use super::shop::{BANK, CHECKOUT, Fault, ORDERS, PAYMENTS};
use super::simulation::simulate;

/// A shop in which spans show nothing.
fn calm() -> Evidence {
    let evidence = simulate(1, 60, Fault::Quiet);
    assert_eq!(explained(&evidence).symptom, None);
    evidence
}

fn explained(evidence: &Evidence) -> Verdict {
    root_cause(evidence, None, &Options::default())
}

/// A series of the checkout that went from one level to another.
fn series(metric: &str, attribute: (&str, &str), (before, now): (f64, f64)) -> SeriesEvidence {
    let spread =
        |level: f64| Spread::of((0..40).map(|at| level * (1.0 + f64::from(at % 5) / 100.0)).collect());
    let (key, value) = attribute;
    SeriesEvidence {
        id: SeriesId(1),
        service: ServiceId(CHECKOUT),
        name: format!("{metric}{{{key}={value}}}"),
        metric: metric.to_owned(),
        attributes: vec![(key.to_owned(), value.to_owned())],
        unit: String::new(),
        now: spread(now),
        before: spread(before),
        above: if now > before { 40 } else { 0 },
        below: if now < before { 40 } else { 0 },
        replaced: false,
    }
}

#[test]
fn a_symptom_is_what_was_measured_to_be_wrong() {
    let evidence = calm();
    for (metric, attribute, levels, kind) in [
        ("app.requests", ("outcome", "error"), (1.0, 20.0), Some(SymptomKind::Errors)),
        ("app.requests", ("namespace", "default"), (10.0, 90.0), None),
        ("app.request.duration", ("outcome", "SUCCESS"), (0.9, 0.1), None),
        ("app.request.duration", ("outcome", "SUCCESS"), (0.1, 0.9), Some(SymptomKind::Latency)),
        ("feature_flag.evaluation.count", ("key", "new"), (1.0, 20.0), None),
        ("jvm.gc.duration", ("action", "major"), (0.1, 0.9), None),
        ("process.cpu.utilization", ("host", "a"), (0.1, 0.9), None),
    ] {
        let measured = Evidence { series: vec![series(metric, attribute, levels)], ..evidence.clone() };
        let symptom = explained(&measured).symptom;
        assert_eq!(symptom.as_ref().map(|it| it.kind), kind, "{metric} {attribute:?} {levels:?}");
        assert!(symptom.is_none_or(|it| it.service == ServiceId(CHECKOUT) && it.before != it.now));
    }
}

#[test]
fn a_shown_name_keeps_its_attributes() {
    let mut evidence = calm();
    evidence.series.push(series("app.requests", ("outcome", "error"), (1.0, 20.0)));
    let verdict = explained(&evidence);
    let mut texts = verdict.causes.iter().flat_map(|cause| &cause.proof).map(|proof| proof.text.as_str());
    assert!(texts.any(|text| text.contains("app.requests{outcome=error} went from")), "{verdict:?}");
}

#[test]
fn what_is_done_otherwise_is_a_change_and_no_symptom() {
    let evidence = calm();
    let step = StepEvidence {
        service: ServiceId(ORDERS),
        operation: OperationId(23),
        after: Step::Begin,
        then: Step::Call(OperationId(57)),
        now: (60, 60),
        before: (0, 120),
    };
    let line = TemplateEvidence {
        id: TemplateId(99),
        service: ServiceId(ORDERS),
        severity: Severity(9),
        text: "priced anew".to_owned(),
        first_seen: evidence.window.from,
        now: 90,
        before: 0,
    };
    let complaint = TemplateEvidence { severity: Severity::ERROR, ..line.clone() };
    for (steps, templates, fault) in [
        (vec![step], Vec::new(), verdict::Fault::Change),
        (Vec::new(), vec![line], verdict::Fault::Change),
        (Vec::new(), vec![complaint], verdict::Fault::Errors),
    ] {
        let verdict = explained(&Evidence { steps, templates, ..evidence.clone() });
        assert_eq!(verdict.symptom, None);
        let cause = &verdict.causes[0];
        assert_eq!((cause.service, cause.fault), (ServiceId(ORDERS), fault), "{}", cause.sentence);
        let says = cause.sentence.starts_with("orders changed: ");
        assert_eq!(says, fault == verdict::Fault::Change, "{}", cause.sentence);
        assert_eq!(verdict.is_calm(), says, "{verdict:?}");
        assert_eq!(verdict.sufferer(), (!says).then_some(ServiceId(ORDERS)), "{verdict:?}");
    }
}

#[test]
fn who_complains_where_nothing_is_measured_suffers() {
    let shop = calm();
    assert!(shop.is_measured());
    let complaint = TemplateEvidence {
        id: TemplateId(99),
        service: ServiceId(ORDERS),
        severity: Severity::ERROR,
        text: "cannot parse <*>".to_owned(),
        first_seen: shop.window.from,
        now: 90,
        before: 0,
    };
    let usual = TemplateEvidence {
        id: TemplateId(98),
        severity: Severity(9),
        text: "parsed <*>".to_owned(),
        now: 300,
        before: 600,
        ..complaint.clone()
    };
    let mut evidence = Evidence::empty(shop.window);
    (evidence.baseline, evidence.nodes) = (shop.baseline, shop.nodes);
    evidence.templates = vec![complaint, usual];
    assert!(!evidence.is_measured());
    let verdict = explained(&evidence);
    assert_eq!((verdict.symptom.as_ref(), verdict.is_calm()), (None, false));
    assert_eq!(verdict.sufferer(), Some(ServiceId(ORDERS)), "{verdict:?}");
}

#[test]
fn what_follows_a_failing_call_is_no_other_way() {
    let step = |after, then, now, before| StepEvidence {
        service: ServiceId(PAYMENTS),
        operation: OperationId(22),
        after,
        then,
        now,
        before,
    };
    let bank = Step::Call(OperationId(55));
    let begins = step(Step::Begin, bank, (400, 400), (400, 400));
    let failing = Fault::FailingDependency { node: BANK, share: 0.5, message: "no" };
    for (fault, is_told) in [(Fault::Quiet, true), (failing, false)] {
        let mut evidence = simulate(1, 60, fault);
        evidence.steps = vec![begins, step(bank, Step::End, (140, 200), (200, 200))];
        let found = steps::signals(&View::new(&evidence));
        let told = found.get(&ServiceId(PAYMENTS)).map(|signal| signal.text.as_str());
        assert_eq!(told.is_some(), is_told, "{told:?}");
        let among = "its end 140 times of 200 in 400 requests, 200 of 200 in 400 requests before";
        assert!(told.is_none_or(|told| told.ends_with(among)), "{told:?}");
    }
}
