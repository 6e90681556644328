//! Whether what is wrong sits in a place that the bad instances share and the healthy ones of the same services do not: a
//! host, a zone, a kind of machine.
//!
//! One bad place is a simpler explanation than bad instances of several services at once, all of which happen to be there. How
//! well a place tells the bad instances (see [`super::apart`]) from the others, both ways, is
//!
//! ```text
//! separation = bad there / (bad there + healthy there + ½) · bad there / bad anywhere
//! ```
//!
//! The half keeps two instances from being as sure as ten. A place is offered from [`SEPARATION_MIN`] on, where instances of
//! two services say so, or three instances; services whose trouble is that of somebody whom they call do not count, as they
//! would show it beside a bad callee on their own host. A zone is told only where it separates better than any host in it, and
//! so on. The place takes the blame of its services, which are not listed beside it; in the verdict the one that most is held
//! against stands for it.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::id::{ResourceId, SeriesId, ServiceId, SpanId};

use super::apart::{Parted, Worse, parted};
use super::evidence::{PlaceKind, Placed};
use super::rank::{BLAME_WEIGHT, SCORE_MIN, SIGNAL_WEIGHT, Suspect};
use super::series::is_used_up;
use super::signal::{Signal, Signals, Source};
use super::verdict::{Cause, Fault, Level, Proof, Reference, SymptomKind};
use super::view::View;

/// How well a place must tell bad instances from others.
pub(super) const SEPARATION_MIN: f64 = 0.7;
/// How many times better a broader place must do it to be told in place of one within it.
const BROADER: f64 = 1.05;
/// Part of a service's trouble that its bad instances must hold: the rest may be that of others.
const HELD_MIN: f64 = 0.4;
/// Failing spans of a service with which failures begin, and the part of them that must lie there for its trouble to be the
/// place's where it has that of its callees beside, so that its instances say less.
const BEGINNINGS: (usize, f64) = (5, 0.8);
/// Part of what is held against the worst service that must be held against another for it to count.
const WITNESS_MIN: f64 = 0.15;
/// Bad instances that are cited.
const INSTANCES_MAX: usize = 4;
/// References that one cause cites at most.
const PROOF_MAX: usize = 8;

/// A place by kind and name.
pub(super) type Name<'a> = (PlaceKind, &'a str);

/// What is at a place.
#[derive(Default)]
pub(super) struct Here<'p, 'a> {
    pub(super) worse: Vec<(ServiceId, &'p Worse<'a>)>,
    /// Instances that are well.
    pub(super) well: usize,
}

impl Here<'_, '_> {
    /// How well the place tells the bad instances from the others; `all` are bad anywhere.
    pub(super) fn separation(&self, all: usize) -> f64 {
        let worse = self.worse.len() as f64;
        worse / (worse + self.well as f64 + 0.5) * worse / all.max(1) as f64
    }

    fn services(&self) -> BTreeSet<ServiceId> {
        self.worse.iter().map(|(service, _)| *service).collect()
    }
}

/// What is at each place, of services of which some instances are worse than others.
pub(super) fn by_place<'p, 'a>(
    view: &View<'a>,
    parted: &'p [Parted<'a>],
) -> BTreeMap<Name<'a>, Here<'p, 'a>> {
    let mut names: BTreeMap<ResourceId, BTreeSet<Name<'a>>> = BTreeMap::new();
    for place in &view.evidence.places {
        if let Placed::Instance(resource) = place.of {
            names.entry(resource).or_default().insert((place.kind, place.name.as_str()));
        }
    }
    let mut places: BTreeMap<Name<'a>, Here<'p, 'a>> = BTreeMap::new();
    for part in parted {
        for worse in &part.worse {
            for name in names.get(&worse.instance.resource).into_iter().flatten() {
                places.entry(*name).or_default().worse.push((part.service, worse));
            }
        }
        for well in &part.well {
            for name in names.get(&well.resource).into_iter().flatten() {
                places.entry(*name).or_default().well += 1;
            }
        }
    }
    places
}

/// How the bad and the healthy instances lie, in words.
pub(super) fn tally_text(kind: PlaceKind, here: &Here<'_, '_>, parted: &[Parted<'_>]) -> String {
    let bad: usize = parted.iter().map(|it| it.worse.len()).sum();
    let well: usize = parted.iter().map(|it| it.well.len()).sum();
    let (services, count) = (here.services().len(), here.worse.len());
    let place = if level_of(kind) == Level::Zone { "in it" } else { "on it" };
    format!(
        "{count} of {bad} bad instances of {services} service{} run{} {place}, {} of {well} healthy ones {}",
        if services == 1 { "" } else { "s" },
        if count == 1 { "s" } else { "" },
        here.well,
        if here.well == 1 { "does" } else { "do" },
    )
}

const fn level_of(kind: PlaceKind) -> Level {
    match kind {
        PlaceKind::Zone | PlaceKind::Region | PlaceKind::Cluster => Level::Zone,
        PlaceKind::Host | PlaceKind::Machine | PlaceKind::System | PlaceKind::Runtime => Level::Host,
    }
}

/// How a place is called, as a sentence begins with it.
fn title((kind, name): Name<'_>) -> String {
    let kind = kind.name();
    format!("{}{} {name}", kind[..1].to_uppercase(), &kind[1..])
}

/// The place that a cause names; none where it names none.
pub(super) fn place_of(cause: &Cause) -> Option<&str> {
    let is_place = matches!(cause.level, Level::Host | Level::Zone);
    cause.sentence.split_once(": ").map(|(title, _)| title).filter(|_| is_place)
}

/// A place that explains what is wrong with instances of several services.
pub(super) struct Shared {
    level: Level,
    fault: Fault,
    sentence: String,
    proof: Vec<Proof>,
    score: f64,
    /// The service that stands for the place in the verdict.
    lead: ServiceId,
    /// Those whose trouble is the place's, and who measures it.
    parts: BTreeSet<ServiceId>,
}

impl Shared {
    /// The place that explains most of what instances show; none where they do not tell of one.
    pub(super) fn new(
        view: &View<'_>,
        suspects: &BTreeMap<ServiceId, Suspect>,
        signals: &Signals,
        inherits: impl Fn(ServiceId) -> bool,
    ) -> Option<Self> {
        if view.evidence.places.is_empty() {
            return None;
        }
        let parted = parted(view);
        let score = |service: &ServiceId| suspects.get(service).map_or(0.0, |suspect| suspect.score);
        let held = parted.iter().filter(|it| it.held >= HELD_MIN && score(&it.service) >= SCORE_MIN);
        let mut held: BTreeSet<ServiceId> = held.map(|it| it.service).collect();
        let own: BTreeSet<ServiceId> = held.iter().copied().filter(|it| !inherits(*it)).collect();
        let most = own.iter().map(&score).fold(0.0, f64::max);
        let mut witnesses: BTreeSet<ServiceId> =
            own.into_iter().filter(|it| score(it) >= WITNESS_MIN * most).collect();
        // Those with which the symptom has nothing to do bear witness too.
        let beside = parted.iter().filter(|it| it.held >= HELD_MIN && score(&it.service) < SCORE_MIN);
        let beside = beside.filter(|it| !calls_any(view, it.service, &parted)).map(|it| it.service);
        let beside: Vec<ServiceId> = beside.collect();
        held.extend(&beside);
        witnesses.extend(beside);
        let all: usize = parted.iter().map(|it| it.worse.len()).sum();
        let (name, here) = best(by_place(view, &parted), all, &witnesses)?;
        let mut parts: BTreeSet<ServiceId> = here.services().intersection(&held).copied().collect();
        parts.extend(failing_there(view, name).into_iter().filter(|it| suspects.contains_key(it)));
        let found = parts.iter().filter(|it| witnesses.contains(*it) && score(it) >= SCORE_MIN);
        let lead = *found.max_by(|a, b| score(a).total_cmp(&score(b)).then(b.cmp(a)))?;
        let mut by_kind: BTreeMap<SymptomKind, f64> = BTreeMap::new();
        for ((kind, _), share) in parts.iter().filter_map(|it| suspects.get(it)).flat_map(|it| &it.blames) {
            *by_kind.entry(*kind).or_default() += share;
        }
        let innocence: f64 = by_kind.values().map(|share| 1.0 - BLAME_WEIGHT * share.min(1.0)).product();
        let together = (1.0 - innocence) * here.separation(all);
        let mut shared = Self {
            level: level_of(name.0),
            fault: Fault::Latency,
            sentence: format!("{}: {}.", title(name), tally_text(name.0, &here, &parted)),
            proof: Vec::new(),
            score: parts.iter().map(score).fold(together, f64::max),
            lead,
            parts,
        };
        shared.cite(view, &here);
        shared.measure(view, (suspects, signals), name);
        Some(shared)
    }

    /// Tells how the instances do, that of the lead first.
    fn cite(&mut self, view: &View<'_>, here: &Here<'_, '_>) {
        let mut worse: Vec<&(ServiceId, &Worse<'_>)> = here.worse.iter().collect();
        worse.sort_by_key(|(service, it)| (*service != self.lead, *service, it.instance.resource));
        if let Some((service, first)) = worse.first() {
            let errors = first.kind == SymptomKind::Errors;
            self.fault = if errors { Fault::Errors } else { Fault::Latency };
            self.add(&format!("; {}: {}", view.node_name(*service), first.text));
        }
        // One of each service before the second of any.
        let mut cited = BTreeSet::new();
        let (firsts, others): (Vec<&(ServiceId, &Worse<'_>)>, Vec<_>) =
            worse.into_iter().partition(|worse| cited.insert(worse.0));
        let proof = firsts.into_iter().chain(others).take(INSTANCES_MAX).map(|(service, it)| {
            let reference = Reference::Instance { service: *service, resource: it.instance.resource };
            Proof::new(reference, it.text.clone())
        });
        self.proof.extend(proof);
    }

    /// Adds what was measured of the place itself.
    fn measure(
        &mut self,
        view: &View<'_>,
        (suspects, signals): (&BTreeMap<ServiceId, Suspect>, &Signals),
        name: Name<'_>,
    ) {
        let at_place = view.evidence.places.iter().filter(|it| (it.kind, it.name.as_str()) == name);
        let measures: BTreeSet<SeriesId> = at_place
            .filter_map(|it| match it.of {
                Placed::Series(id) => Some(id),
                Placed::Instance(_) => None,
            })
            .collect();
        let is_of_place = |it: &Signal| matches!(it.source, Source::Resource(id) if measures.contains(&id));
        let told = signals.by_service.values().flatten().filter(|it| is_of_place(it));
        let strongest = told.max_by(|a, b| a.strength.total_cmp(&b.strength).then(b.source.cmp(&a.source)));
        let Some((signal, Source::Resource(id))) = strongest.map(|it| (it, it.source)) else { return };
        self.score = 1.0 - (1.0 - self.score) * (1.0 - SIGNAL_WEIGHT.0 * signal.strength);
        if is_used_up(view, id, signal.levels.1) {
            self.fault = Fault::Saturation;
        }
        let text = format!("{} on {}", signal.text, name.1);
        self.add(&format!(", while {text}"));
        self.proof.push(Proof::new(Reference::Series(id), text));
        // Who does nothing but measure the place is no cause beside it.
        let measuring = suspects.iter().filter(|(_, it)| it.blames.is_empty() && !it.signals.is_empty());
        let measuring = measuring.filter(|(_, it)| it.signals.iter().all(&is_of_place));
        self.parts.extend(measuring.map(|(service, _)| *service));
    }

    /// Goes on with the sentence.
    fn add(&mut self, text: &str) {
        self.sentence.pop();
        self.sentence.push_str(text);
        self.sentence.push('.');
    }

    /// Puts the place where its services were.
    pub(super) fn take_over(&self, suspects: &mut BTreeMap<ServiceId, Suspect>) {
        suspects.retain(|service, _| *service == self.lead || !self.parts.contains(service));
        if let Some(lead) = suspects.get_mut(&self.lead) {
            lead.score = self.score;
        }
    }

    /// The services that the place explains.
    pub(super) const fn parts(&self) -> &BTreeSet<ServiceId> {
        &self.parts
    }

    /// The cause as it is told: that of the lead names the place.
    pub(super) fn told(&self, mut cause: Cause) -> Cause {
        if cause.service != self.lead {
            return cause;
        }
        let own = std::mem::take(&mut cause.proof);
        cause.proof.clone_from(&self.proof);
        let is_new = |it: &Proof| self.proof.iter().all(|known| known.reference != it.reference);
        cause.proof.extend(own.into_iter().filter(is_new));
        cause.proof.truncate(PROOF_MAX);
        Cause {
            operation: None,
            level: self.level,
            fault: self.fault,
            sentence: self.sentence.clone(),
            ..cause
        }
    }
}

/// Whether a service calls another one of which some instances are worse.
fn calls_any(view: &View<'_>, service: ServiceId, parted: &[Parted<'_>]) -> bool {
    let of = |at: usize| view.operations[at].service;
    let called = view.edges.iter().filter(|it| of(it.from) == service).map(|it| of(it.to));
    called.filter(|it| *it != service).any(|it| parted.iter().any(|other| other.service == it))
}

/// The services whose own failures begin at a place alone.
fn failing_there(view: &View<'_>, name: Name<'_>) -> BTreeSet<ServiceId> {
    let at_place = view.evidence.places.iter().filter(|it| (it.kind, it.name.as_str()) == name);
    let there: BTreeSet<ResourceId> = at_place
        .filter_map(|it| match it.of {
            Placed::Instance(resource) => Some(resource),
            Placed::Series(_) => None,
        })
        .collect();
    let mut begun: BTreeMap<ServiceId, (usize, usize)> = BTreeMap::new();
    for trace in &view.traces {
        let failing = || trace.spans.iter().filter(|span| span.error);
        let passed_on: BTreeSet<SpanId> = failing().filter_map(|span| span.parent_id).collect();
        for span in failing().filter(|span| !passed_on.contains(&span.span_id)) {
            let (here, all) = begun.entry(span.service).or_default();
            *here += usize::from(there.contains(&span.resource));
            *all += 1;
        }
    }
    let is_there =
        |(here, all): (usize, usize)| BEGINNINGS.0 <= all && BEGINNINGS.1 * all as f64 <= here as f64;
    begun.into_iter().filter(|(_, counts)| is_there(*counts)).map(|(service, _)| service).collect()
}

/// The place that separates best, of those that enough instances of the witnesses tell of.
fn best<'p, 'a>(
    places: BTreeMap<Name<'a>, Here<'p, 'a>>,
    all: usize,
    witnesses: &BTreeSet<ServiceId>,
) -> Option<(Name<'a>, Here<'p, 'a>)> {
    let is_enough = |here: &Here<'_, '_>| {
        let own = here.worse.iter().filter(|(service, _)| witnesses.contains(service));
        let services: BTreeSet<ServiceId> = own.clone().map(|(service, _)| *service).collect();
        services.len() >= 2 || own.count() >= 3
    };
    let mut best: Option<(f64, Name<'a>, Here<'p, 'a>)> = None;
    for (name, here) in places {
        let separation = here.separation(all);
        if separation < SEPARATION_MIN || !is_enough(&here) {
            continue;
        }
        let is_better = |(known, (kind, _), _): &(f64, Name<'_>, Here<'_, '_>)| {
            separation > known * if *kind == name.0 { 1.0 } else { BROADER }
        };
        if best.as_ref().is_none_or(is_better) {
            best = Some((separation, name, here));
        }
    }
    best.map(|(_, name, here)| (name, here))
}
