//! Hosts and zones that are bad: they are named where they tell bad instances from healthy ones, and nowhere else.

use std::time::Duration;

use crate::diagnose::evidence::{
    Evidence, InstanceEvidence, Node, PlaceEvidence, PlaceKind, Placed, SeriesEvidence, Spread,
};
use crate::diagnose::hypothesis::Judgement;
use crate::diagnose::verdict::{Cause, Fault as Wrong, Level, Reference, Verdict};
use crate::diagnose::{self, Options, root_cause};
use crate::model::id::{SeriesId, ServiceId};
use crate::model::node::NodeKind;
use crate::model::rollup::Cell;

use super::shop::{CART, Fault, GATEWAY, PAYMENTS};
use super::simulation::simulate;

const REQUESTS: u32 = 120;
const SEEDS: u64 = 6;

/// The number of an instance among those of its service; a new version's took the place of the second.
fn number_of(instance: &InstanceEvidence) -> u32 {
    match instance.resource.0 % 10 {
        9 => 1,
        number => number,
    }
}

fn place(evidence: &mut Evidence, kind: PlaceKind, name_of: impl Fn(&InstanceEvidence) -> String) {
    let places = evidence.instances.iter().map(|it| PlaceEvidence {
        of: Placed::Instance(it.resource),
        kind,
        name: name_of(it),
    });
    let places: Vec<PlaceEvidence> = places.collect();
    evidence.places.extend(places);
}

/// A shop whose instances run on three hosts in two zones: the first host in one, the others in the other.
fn placed_shop(seed: u64, fault: Fault) -> Evidence {
    placed(simulate(seed, REQUESTS, fault))
}

fn placed(mut evidence: Evidence) -> Evidence {
    place(&mut evidence, PlaceKind::Host, |it| format!("node-{}", number_of(it)));
    let zone = |it: &InstanceEvidence| if number_of(it) == 0 { "eu-1a" } else { "eu-1b" };
    place(&mut evidence, PlaceKind::Zone, |it| zone(it).to_owned());
    place(&mut evidence, PlaceKind::Region, |_| "eu-1".to_owned());
    evidence
}

fn failing(from: u32) -> Fault {
    Fault::BadHosts { from, share: 0.5, more_ms: 0.0 }
}

fn explained(evidence: &Evidence) -> Verdict {
    root_cause(evidence, None, &Options::default())
}

fn is_place(cause: &Cause) -> bool {
    matches!(cause.level, Level::Host | Level::Zone)
}

#[test]
fn a_host_is_named_where_instances_of_several_services_fail_on_it() {
    for seed in 0..SEEDS {
        let evidence = placed_shop(seed, failing(2));
        let verdict = explained(&evidence);
        let first = &verdict.causes[0];
        assert_eq!((first.level, first.fault), (Level::Host, Wrong::Errors), "{seed}: {verdict:#?}");
        assert!(first.sentence.starts_with("Host node-2: "), "{seed}: {}", first.sentence);
        assert_eq!(first.operation, None);
        assert!(!verdict.causes[1..].iter().any(is_place), "{seed}: {verdict:#?}");
        let cited = first.proof.iter().filter(|proof| match proof.reference {
            Reference::Instance { resource, .. } => resource.0 % 10 == 2,
            _ => false,
        });
        assert!(cited.count() >= 2, "{seed}: {:?}", first.proof);
    }
}

#[test]
fn a_host_is_named_where_instances_of_several_services_are_slow_on_it() {
    for seed in 0..SEEDS {
        let evidence = placed_shop(seed, Fault::BadHosts { from: 2, share: 0.0, more_ms: 150.0 });
        let verdict = explained(&evidence);
        let first = &verdict.causes[0];
        assert_eq!((first.level, first.fault), (Level::Host, Wrong::Latency), "{seed}: {verdict:#?}");
        assert!(first.sentence.starts_with("Host node-2: "), "{seed}: {}", first.sentence);
    }
}

#[test]
fn a_zone_is_named_where_all_hosts_in_it_are_bad() {
    for seed in 0..SEEDS {
        // Where most instances fail, what callers have of them hides more.
        let verdict = explained(&placed(simulate(seed, 4 * REQUESTS, failing(1))));
        let first = &verdict.causes[0];
        assert_eq!(first.level, Level::Zone, "{seed}: {verdict:#?}");
        assert!(first.sentence.starts_with("Availability zone eu-1b: "), "{seed}: {}", first.sentence);
    }
}

#[test]
fn a_host_that_is_all_of_its_zone_goes_before_it() {
    let mut evidence = placed_shop(3, failing(2));
    evidence.places.retain(|it| it.kind == PlaceKind::Host);
    let zone = |it: &InstanceEvidence| if number_of(it) == 2 { "eu-1c" } else { "eu-1a" };
    place(&mut evidence, PlaceKind::Zone, |it| zone(it).to_owned());
    let verdict = explained(&evidence);
    assert_eq!(verdict.causes[0].level, Level::Host, "{verdict:#?}");
}

#[test]
fn healthy_instances_on_the_same_host_clear_it() {
    let mut evidence = placed_shop(3, failing(2));
    evidence.places.clear();
    place(&mut evidence, PlaceKind::Host, |it| format!("node-{}", number_of(it).min(1)));
    place(&mut evidence, PlaceKind::Host, |it| format!("pod-{}", it.resource.0));
    let mixed = |it: &InstanceEvidence| if number_of(it) == 0 { "eu-1a" } else { "eu-1b" };
    place(&mut evidence, PlaceKind::Zone, |it| mixed(it).to_owned());
    let verdict = explained(&evidence);
    assert!(!verdict.causes.iter().any(is_place), "{verdict:#?}");
    let tested = diagnose::placed::test(&evidence, "node-0", ServiceId(GATEWAY));
    assert_eq!(tested.judgement, Judgement::Refuted, "{tested:?}");
}

#[test]
fn one_bad_instance_stays_an_instance() {
    for (service, seed) in [(PAYMENTS, 1), (CART, 2)] {
        let verdict = explained(&placed_shop(seed, Fault::BadInstance { service, share: 0.5 }));
        let first = &verdict.causes[0];
        assert_eq!((first.service, first.level), (ServiceId(service), Level::Instance), "{verdict:#?}");
        assert!(!verdict.causes.iter().any(is_place), "{verdict:#?}");
    }
}

#[test]
fn bad_versions_that_run_on_one_host_alone_stay_versions() {
    let mut evidence = placed_shop(3, failing(2));
    let since = evidence.window.from.minus(Duration::from_secs(5));
    for instance in evidence.instances.iter_mut().filter(|it| it.resource.0 % 10 == 2) {
        (instance.version, instance.first_seen) = ("2.0".to_owned(), since);
        instance.before = Cell::default();
    }
    let verdict = explained(&evidence);
    assert!(verdict.causes.iter().any(|it| it.level == Level::Version), "{verdict:#?}");
    assert!(!verdict.causes.iter().any(is_place), "{verdict:#?}");
}

#[test]
fn what_was_measured_of_the_host_is_told_with_it() {
    let mut evidence = placed_shop(3, Fault::BadHosts { from: 2, share: 0.0, more_ms: 150.0 });
    let agent = ServiceId(50);
    evidence.nodes.push(Node { id: agent, name: "node-agent".to_owned(), kind: NodeKind::Service });
    let spread = |level: f64| Spread::of((0..20_u8).map(|it| level + 0.001 * f64::from(it)).collect());
    for (number, level) in [(1, 0.35), (2, 0.97)] {
        evidence.series.push(SeriesEvidence {
            id: SeriesId(number),
            service: agent,
            name: "system.cpu.utilization".to_owned(),
            metric: "system.cpu.utilization".to_owned(),
            attributes: Vec::new(),
            unit: "1".to_owned(),
            now: spread(level),
            before: spread(0.35),
            above: if number == 2 { 20 } else { 0 },
            below: 0,
            replaced: false,
        });
        let (of, name) = (Placed::Series(SeriesId(number)), format!("node-{number}"));
        evidence.places.push(PlaceEvidence { of, kind: PlaceKind::Host, name });
    }
    let verdict = explained(&evidence);
    let first = &verdict.causes[0];
    assert_eq!((first.level, first.fault), (Level::Host, Wrong::Saturation), "{verdict:#?}");
    assert!(first.sentence.contains("system.cpu.utilization went from 0."), "{}", first.sentence);
    assert!(first.sentence.ends_with(" on node-2."), "{}", first.sentence);
    assert!(first.proof.iter().any(|it| it.reference == Reference::Series(SeriesId(2))), "{first:?}");
    assert!(verdict.causes.iter().all(|it| it.service != agent), "{verdict:#?}");
}

#[test]
fn a_host_can_be_suspected() {
    let evidence = placed_shop(3, failing(2));
    let judged = |name: &str| diagnose::placed::test(&evidence, name, ServiceId(GATEWAY)).judgement;
    assert_eq!(judged("node-2"), Judgement::Supported);
    assert_eq!(judged("node-0"), Judgement::Refuted);
    assert_eq!(judged("eu-1a"), Judgement::Refuted);
    assert_ne!(judged("elsewhere"), Judgement::Supported);
}
