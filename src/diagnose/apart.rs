//! Which instances of a service are worse than the others of it, and than they used to be.
//!
//! A service's instances are put in order, the best first. Where from some place on each one stands out beyond chance from all
//! that come before it, they are the worse ones, and the others are well. What is wrong with a callee shows in all instances
//! of its callers alike, so that none of these is apart. Instances that always were slower than others are not worse for it.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::id::ServiceId;
use crate::model::rollup::Cell;

use super::evidence::InstanceEvidence;
use super::figures::elsewhere_text;
use super::stats::{error_surprise, excess_errors, latency_shift};
use super::verdict::SymptomKind;
use super::view::View;

/// Requests that an instance must have taken to be judged.
const COUNT_MIN: u64 = 10;
/// Failures that an instance must show.
const ERRORS_MIN: u64 = 3;
/// Standard deviations by which it must stand out from the others, and by which its failures must from its own past.
const SURPRISE_MIN: (f64, f64) = (4.0, 3.0);
/// Part of its failures that must be beyond what the others show: as much as its durations must, see [`SLOWER_MIN`].
const BEYOND_MIN: f64 = 0.3;
/// How many times as long as the others it must take, next to how it used to be.
const SLOWER_MIN: f64 = 1.3;

/// A service of which some instances are worse than the others.
pub(super) struct Parted<'a> {
    pub(super) service: ServiceId,
    pub(super) worse: Vec<Worse<'a>>,
    pub(super) well: Vec<&'a InstanceEvidence>,
    /// Which part of what is too much in the whole service the worse ones hold, 0 to 1.
    pub(super) held: f64,
}

/// An instance that is worse than the others.
pub(super) struct Worse<'a> {
    pub(super) instance: &'a InstanceEvidence,
    pub(super) kind: SymptomKind,
    /// How it does next to those that are well.
    pub(super) text: String,
}

/// The services of which some instances are worse. Those are left out whose worse instances are just those of some versions:
/// the version explains as much, and says more.
pub(super) fn parted<'a>(view: &View<'a>) -> Vec<Parted<'a>> {
    let mut by_service: BTreeMap<ServiceId, Vec<&'a InstanceEvidence>> = BTreeMap::new();
    for instance in view.evidence.instances.iter().filter(|it| it.now.count >= COUNT_MIN) {
        by_service.entry(instance.service).or_default().push(instance);
    }
    let services = by_service.into_iter().filter_map(|(service, instances)| parted_one(service, instances));
    services.filter(|it| !is_by_version(it)).collect()
}

fn parted_one(service: ServiceId, instances: Vec<&InstanceEvidence>) -> Option<Parted<'_>> {
    let mut worse: Vec<Worse<'_>> = Vec::new();
    let mut held: f64 = 0.0;
    // What fails may be slow for it: failures tell more.
    for kind in [SymptomKind::Errors, SymptomKind::Latency] {
        let Some((apart, others)) = apart(kind, &instances) else { continue };
        held = held.max(held_by(kind, &apart, &instances));
        for instance in apart {
            if worse.iter().all(|it| it.instance.resource != instance.resource) {
                worse.push(Worse { instance, kind, text: elsewhere_text(kind, &instance.now, &others) });
            }
        }
    }
    let is_worse = |it: &&InstanceEvidence| worse.iter().any(|worse| worse.instance.resource == it.resource);
    let well: Vec<&InstanceEvidence> = instances.iter().copied().filter(|it| !is_worse(it)).collect();
    (!worse.is_empty() && !well.is_empty()).then_some(Parted { service, worse, well, held })
}

/// Whether the versions of the worse instances are none of those of the others.
fn is_by_version(parted: &Parted<'_>) -> bool {
    let others: BTreeSet<&str> = parted.well.iter().map(|it| it.version.as_str()).collect();
    parted.worse.iter().all(|it| {
        let version = it.instance.version.as_str();
        !version.is_empty() && !others.contains(version)
    })
}

/// The instances past the first gap, and what the others show together.
fn apart<'a>(
    kind: SymptomKind,
    instances: &[&'a InstanceEvidence],
) -> Option<(Vec<&'a InstanceEvidence>, Cell)> {
    let badness = |it: &InstanceEvidence| match kind {
        SymptomKind::Errors => it.now.error_ratio(),
        _ => it.now.mean_ns(),
    };
    let mut sorted = instances.to_vec();
    sorted.sort_by(|a, b| badness(a).total_cmp(&badness(b)).then(a.resource.cmp(&b.resource)));
    let (mut now, mut before) = (Cell::default(), Cell::default());
    for at in 1..sorted.len() {
        now.merge(&sorted[at - 1].now);
        before.merge(&sorted[at - 1].before);
        if sorted[at..].iter().all(|it| stands_out(kind, it, (&now, &before))) {
            return Some((sorted.split_off(at), now));
        }
    }
    None
}

fn stands_out(kind: SymptomKind, it: &InstanceEvidence, (others, others_before): (&Cell, &Cell)) -> bool {
    let (now, before) = (&it.now, &it.before);
    let is_known = before.count >= COUNT_MIN;
    match kind {
        SymptomKind::Errors => {
            let beyond = excess_errors(now, others);
            now.errors >= ERRORS_MIN
                && beyond >= BEYOND_MIN * now.errors as f64
                && error_surprise(now, others) > SURPRISE_MIN.0
                && (!is_known || error_surprise(now, before) > SURPRISE_MIN.1)
        }
        SymptomKind::Latency => {
            let usual = if is_known && others_before.count >= COUNT_MIN {
                (before.mean_ns() / others_before.mean_ns().max(1.0)).max(1.0)
            } else {
                1.0
            };
            now.mean_ns() > SLOWER_MIN * usual * others.mean_ns()
                && latency_shift(now, others).surprise > SURPRISE_MIN.0
                // Beside instances that fail at once it may seem slow.
                && (!is_known || latency_shift(now, before).surprise > SURPRISE_MIN.1)
        }
        SymptomKind::Silence => false,
    }
}

/// Which part of what is too much in `all` instances is that of `apart`; all of it where nothing was seen before.
fn held_by(kind: SymptomKind, apart: &[&InstanceEvidence], all: &[&InstanceEvidence]) -> f64 {
    let mut before = Cell::default();
    all.iter().for_each(|it| before.merge_totals(&it.before));
    if before.count < COUNT_MIN {
        return 1.0;
    }
    let too_much = |it: &&InstanceEvidence| match kind {
        SymptomKind::Errors => excess_errors(&it.now, &before),
        _ => it.now.count as f64 * (it.now.mean_ns() - before.mean_ns()).max(0.0),
    };
    let whole: f64 = all.iter().map(too_much).sum();
    let own: f64 = apart.iter().map(too_much).sum();
    if whole > 0.0 { own / whole } else { 1.0 }
}
