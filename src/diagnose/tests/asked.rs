//! More requests than before: what they explain of the resources that services use, and what they do not.

use crate::diagnose::evidence::{Evidence, SeriesEvidence, Spread};
use crate::diagnose::verdict::{self, Cause, Verdict};
use crate::diagnose::{Options, root_cause};
use crate::model::id::{SeriesId, ServiceId};

use super::shop::{CART, Fault};
use super::simulation::simulate;

/// A shop whose cart takes 2.75 times as many requests, each of which takes so much longer.
fn busy(more_ms: f64) -> Evidence {
    simulate(7, 200, Fault::Surge { entry: 10, times: 4.0, operation: 20, more_ms })
}

/// A series of the cart that went from one level to another.
fn series(metric: &str, (before, now): (f64, f64)) -> SeriesEvidence {
    let spread =
        |level: f64| Spread::of((0..40).map(|at| level * (1.0 + f64::from(at % 5) / 100.0)).collect());
    SeriesEvidence {
        id: SeriesId(1),
        service: ServiceId(CART),
        name: metric.to_owned(),
        metric: metric.to_owned(),
        attributes: Vec::new(),
        unit: String::new(),
        now: spread(now),
        before: spread(before),
        above: 40,
        below: 0,
        replaced: false,
    }
}

fn explained(evidence: &Evidence, metric: &str, levels: (f64, f64)) -> Verdict {
    let evidence = Evidence { series: vec![series(metric, levels)], ..evidence.clone() };
    root_cause(&evidence, None, &Options::default())
}

fn of_cart(verdict: &Verdict) -> Option<&Cause> {
    verdict.causes.iter().find(|cause| cause.service == ServiceId(CART))
}

#[test]
fn a_level_that_rises_with_the_requests_is_no_cause_where_nobody_suffers() {
    for (metric, levels) in [
        ("process.cpu.utilization", (0.2, 0.5)),
        ("k8s.pod.cpu.usage", (0.4, 1.1)),
        ("db.client.connections", (10.0, 26.0)),
    ] {
        let verdict = explained(&busy(0.0), metric, levels);
        assert_eq!(of_cart(&verdict), None, "{metric}: {verdict:?}");
    }
}

#[test]
fn a_level_that_more_requests_do_not_explain_is_a_candidate() {
    let quiet = simulate(7, 200, Fault::Quiet);
    for (evidence, metric, levels) in [
        // Without more requests, and by more than these.
        (&quiet, "process.cpu.utilization", (0.2, 0.5)),
        (&busy(0.0), "process.cpu.utilization", (0.08, 0.6)),
        // At its limit, and what requests do not give back.
        (&busy(0.0), "process.cpu.utilization", (0.36, 0.95)),
        (&busy(0.0), "process.memory.utilization", (0.2, 0.5)),
    ] {
        let verdict = explained(evidence, metric, levels);
        let cause = of_cart(&verdict);
        let fault = cause.map(|cause| cause.fault);
        assert_eq!(fault, Some(verdict::Fault::Saturation), "{metric} {levels:?}: {verdict:?}");
    }
}

#[test]
fn who_is_slow_under_more_requests_does_not_cope_with_them() {
    let evidence = busy(60.0);
    let without = root_cause(&evidence, None, &Options::default());
    let with = explained(&evidence, "process.cpu.utilization", (0.2, 0.5));
    for verdict in [&without, &with] {
        let cause = &verdict.causes[0];
        assert_eq!((cause.service, cause.fault), (ServiceId(CART), verdict::Fault::Surge), "{verdict:?}");
    }
    assert!(with.causes[0].confidence >= without.causes[0].confidence);
    let told = |verdict: &Verdict| {
        let mut proof = verdict.causes[0].proof.iter();
        proof.any(|proof| proof.text.ends_with("times the requests"))
    };
    assert_eq!((told(&without), told(&with)), (false, true), "{with:?}");
}
