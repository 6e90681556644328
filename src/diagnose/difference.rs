//! What differs between a window and its baseline, over all signals, the most telling first; and of how much nothing
//! differs.
//!
//! A difference counts that chance does not explain and that is large enough to matter; its score is both, pressed into
//! 0 to 1. Unlike a root cause it blames nobody: callers and callees are listed alike.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::model::id::{OperationId, ServiceId};
use crate::model::log::Severity;
use crate::model::node::NodeKind;
use crate::model::rollup::{COARSE_SECONDS, Cell};
use crate::model::time::{UnixNanos, Window};

use super::evidence::{Evidence, InstanceEvidence, SeriesEvidence, TemplateEvidence};
use super::meaning::{FEW, grain_of};
use super::moved::{Move, moved};
use super::restated::without_restated;
use super::stats::{error_surprise, latency_shift, saturate};
use super::verdict::Reference;

/// Standard deviations that a difference must leave behind.
const SURPRISE_MIN: f64 = 4.0;
/// Standard deviations beyond that which make a score of one half.
const SURPRISE_HALF: f64 = 6.0;
/// Part of all requests that must fail more, or fewer.
const ERRORS_MIN: f64 = 0.005;
/// Growth of a duration, in part of what it was.
const LATENCY_MIN: f64 = 0.15;
/// Part of its level that a series must move.
const SERIES_MIN: f64 = 0.1;
/// Calls that a way must have, or must have had, to be new or gone.
const CALLS_MIN: u64 = 5;
/// What the level of a series is worth beside requests that fail or slow down.
const LEVEL: f64 = 0.6;
/// Score of a change that somebody announced.
const ANNOUNCED: f64 = 0.9;
/// How long before the window a version that came is a change too: its effect may show later than it does.
const JUST_BEFORE: Duration = Duration::from_secs(15 * 60);
/// How much later than another version of its service it must have come: those that begin together were always there.
const LATER_MIN: Duration = Duration::from_secs(60);

/// What kind of thing differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DifferenceKind {
    /// A change that was sent as an event.
    Event,
    /// A version that did not run before, or came shortly before the window.
    Version,
    /// The share of an operation's requests that fail.
    Errors,
    /// How long an operation takes.
    Latency,
    /// How often an operation is called.
    Traffic,
    /// Calls from one operation to another that there were not before, or are no longer.
    Calls,
    /// An instance that came or went.
    Instance,
    /// Records of a log template.
    LogPattern,
    /// A measured series.
    Metric,
}

impl DifferenceKind {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Event,
        Self::Version,
        Self::Errors,
        Self::Latency,
        Self::Traffic,
        Self::Calls,
        Self::Instance,
        Self::LogPattern,
        Self::Metric,
    ];

    /// The lower-case name used in answers.
    pub const fn name(self) -> &'static str {
        ["event", "version", "errors", "latency", "traffic", "calls", "instance", "log_pattern", "metric"]
            [self as usize]
    }

    /// The unit of its measures; a metric has its own.
    pub const fn unit(self) -> &'static str {
        match self {
            Self::Errors => "failed_pct",
            Self::Latency => "mean_ms",
            Self::Traffic | Self::Calls | Self::Instance => "per_s",
            Self::LogPattern => "per_min",
            Self::Event | Self::Version | Self::Metric => "",
        }
    }
}

/// Something that differs.
#[derive(Debug, Clone, PartialEq)]
pub struct Difference {
    /// What kind of thing.
    pub kind: DifferenceKind,
    /// The service it concerns; for calls the callee.
    pub service: Option<ServiceId>,
    /// What to open; none for a version.
    pub reference: Option<Reference>,
    /// Its name: that of a version, a series or an event, the text of a template; empty where `reference` names it.
    pub name: String,
    /// The measure in the baseline, in [`DifferenceKind::unit`]; none where there was none.
    pub before: Option<f64>,
    /// The measure in the window; none where there is none.
    pub now: Option<f64>,
    /// The unit of a metric; empty otherwise.
    pub unit: String,
    /// When it was first seen, where that is known and lies in the window; of a version that is told, always.
    pub at: Option<UnixNanos>,
    /// Whether it is for the better: fewer failures or complaints, or less time.
    pub is_better: bool,
    /// 0 to 1: how far beyond chance, times how large.
    pub score: f64,
}

/// What was compared.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Differences {
    /// What differs, the highest score first; what is for the better after all else. What only states again what another
    /// states is left out.
    pub changed: Vec<Difference>,
    /// Of each kind, how many were compared and how many of them differ.
    pub compared: BTreeMap<DifferenceKind, (usize, usize)>,
    /// Series that were too many to be read, and metrics that were not read as their names say nothing.
    pub unread: (usize, usize),
}

/// What differs between the window of `evidence` and its baseline. Without a baseline nothing but events.
pub fn differences(evidence: &Evidence) -> Differences {
    let mut found = Finder { evidence, seconds: (0.0, 0.0), found: Differences::default() };
    found.events();
    if let Some(baseline) = evidence.baseline {
        found.seconds = (evidence.window.length().as_secs_f64(), baseline.length().as_secs_f64());
        found.operations();
        found.calls();
        found.instances();
        found.patterns();
        found.series();
    }
    let mut found = found.found;
    found.unread = (evidence.unread_series, evidence.unread_metrics);
    found.changed = without_restated(evidence, found.changed);
    found.changed.sort_by(|a, b| {
        let by_score = || b.score.total_cmp(&a.score).then_with(|| order(a).cmp(&order(b)));
        a.is_better.cmp(&b.is_better).then_with(by_score)
    });
    found
}

/// What tells apart what has the same score.
fn order(of: &Difference) -> (DifferenceKind, Option<ServiceId>, &str, [u64; 3]) {
    let reference = match of.reference {
        Some(Reference::Operation { id, .. }) => [u64::from(id.0), 0, 0],
        Some(Reference::Edge { from, to }) => [u64::from(from.0), u64::from(to.0), 1],
        Some(Reference::Instance { service, resource }) => [u64::from(service.0), u64::from(resource.0), 2],
        Some(Reference::Template(id)) => [u64::from(id.0), 0, 3],
        Some(Reference::Series(id)) => [u64::from(id.0), 0, 4],
        Some(Reference::Change(at)) => [at.0.unsigned_abs(), 0, 5],
        Some(Reference::Trace(_) | Reference::Span(..)) | None => [0, 0, 6],
    };
    (of.kind, of.service, &of.name, reference)
}

struct Finder<'a> {
    evidence: &'a Evidence,
    /// Length of the window and of the baseline.
    seconds: (f64, f64),
    found: Differences,
}

/// A difference whose reference names it, and which was not first seen in the window.
fn plain(kind: DifferenceKind, service: ServiceId, reference: Reference, score: f64) -> Difference {
    Difference {
        kind,
        service: Some(service),
        reference: Some(reference),
        name: String::new(),
        before: None,
        now: None,
        unit: String::new(),
        at: None,
        is_better: false,
        score,
    }
}

/// How far beyond chance, times how large.
fn score(surprise: f64, effect: f64) -> f64 {
    saturate(surprise.abs() - SURPRISE_MIN, SURPRISE_HALF) * effect
}

impl Finder<'_> {
    fn put(&mut self, kind: DifferenceKind, found: Option<Difference>) {
        let (compared, differ) = self.found.compared.entry(kind).or_default();
        *compared += 1;
        *differ += usize::from(found.is_some());
        self.found.changed.extend(found);
    }

    fn events(&mut self) {
        for change in self.evidence.changes.iter().filter(|change| change.at < self.evidence.window.to) {
            let difference = Difference {
                kind: DifferenceKind::Event,
                service: change.service,
                reference: Some(Reference::Change(change.at)),
                name: format!("{}: {}", change.kind, change.text),
                before: None,
                now: None,
                unit: String::new(),
                at: Some(change.at),
                is_better: false,
                score: ANNOUNCED,
            };
            self.put(DifferenceKind::Event, Some(difference));
        }
    }

    fn operations(&mut self) {
        let (seconds, seconds_before) = self.seconds;
        for operation in &self.evidence.operations {
            let (now, before) = (&operation.now, &operation.before);
            let reference = Reference::Operation { id: operation.id, before: before.into(), now: now.into() };
            let of = |kind, score| plain(kind, operation.service, reference, score);
            let traffic = moved((now.count, seconds), (before.count, seconds_before));
            let is_traffic = traffic.kind != Move::Steady;
            self.put(
                DifferenceKind::Traffic,
                is_traffic.then(|| Difference {
                    before: Some(before.count as f64 / seconds_before.max(1e-9)),
                    now: Some(now.count as f64 / seconds.max(1e-9)),
                    ..of(DifferenceKind::Traffic, score(traffic.surprise, saturate(traffic.ratio - 1.0, 1.5)))
                }),
            );
            self.requests((now, before), of);
        }
    }

    /// How often something fails, and how long it takes.
    fn requests(&mut self, (now, before): (&Cell, &Cell), of: impl Fn(DifferenceKind, f64) -> Difference) {
        if now.count == 0 || before.count == 0 {
            return;
        }
        let (share, share_before) = (now.error_ratio(), before.error_ratio());
        let surprise = error_surprise(now, before);
        let is_failing = surprise.abs() > SURPRISE_MIN && (share - share_before).abs() > ERRORS_MIN;
        self.put(
            DifferenceKind::Errors,
            is_failing.then(|| Difference {
                before: Some(share_before),
                now: Some(share),
                is_better: share < share_before,
                ..of(DifferenceKind::Errors, score(surprise, saturate((share - share_before).abs(), 0.05)))
            }),
        );
        let (slower, faster) = (latency_shift(now, before), latency_shift(before, now));
        let shift = if slower.surprise >= faster.surprise { slower } else { faster };
        let is_moved = shift.surprise > SURPRISE_MIN && shift.growth > LATENCY_MIN;
        self.put(
            DifferenceKind::Latency,
            is_moved.then(|| Difference {
                before: Some(before.mean_ns()),
                now: Some(now.mean_ns()),
                is_better: now.mean_ns() < before.mean_ns(),
                ..of(DifferenceKind::Latency, score(shift.surprise, saturate(shift.growth, 0.5)))
            }),
        );
    }

    fn calls(&mut self) {
        let owners: BTreeMap<OperationId, ServiceId> =
            self.evidence.operations.iter().map(|operation| (operation.id, operation.service)).collect();
        let nodes = self.evidence.nodes.iter();
        let instrumented: BTreeSet<ServiceId> =
            nodes.filter(|node| node.kind == NodeKind::Service).map(|node| node.id).collect();
        let (seconds, seconds_before) = self.seconds;
        for edge in &self.evidence.edges {
            let Some(service) = owners.get(&edge.to).copied() else { continue };
            let (now, before) = (edge.now.count, edge.before.count);
            let calls = moved((now, seconds), (before, seconds_before));
            let differs = matches!(calls.kind, Move::New | Move::Gone) && now.max(before) >= CALLS_MIN;
            let reference = Reference::Edge { from: edge.from, to: edge.to };
            self.put(
                DifferenceKind::Calls,
                differs.then(|| Difference {
                    before: (before > 0).then_some(before as f64 / seconds_before.max(1e-9)),
                    now: (now > 0).then_some(now as f64 / seconds.max(1e-9)),
                    ..plain(DifferenceKind::Calls, service, reference, score(calls.surprise, 1.0))
                }),
            );
            if !instrumented.contains(&service) {
                // Who sends no spans is known by its callers.
                self.requests((&edge.now, &edge.before), |kind, score| {
                    plain(kind, service, reference, score)
                });
            }
        }
    }

    fn instances(&mut self) {
        let (seconds, seconds_before) = self.seconds;
        let mut versions: BTreeMap<(ServiceId, &str), (u64, u64, UnixNanos)> = BTreeMap::new();
        for instance in &self.evidence.instances {
            let InstanceEvidence { service, version, now, before, first_seen, .. } = instance;
            let (calls, calls_before, seen) =
                versions.entry((*service, version)).or_insert((0, 0, *first_seen));
            (*calls, *calls_before) = (*calls + now.count, *calls_before + before.count);
            *seen = (*seen).min(*first_seen);
            let came_or_went = moved((now.count, seconds), (before.count, seconds_before));
            let differs = matches!(came_or_went.kind, Move::New | Move::Gone);
            let reference = Reference::Instance { service: *service, resource: instance.resource };
            self.put(
                DifferenceKind::Instance,
                differs.then(|| Difference {
                    before: (before.count > 0).then_some(before.count as f64 / seconds_before.max(1e-9)),
                    now: (now.count > 0).then_some(now.count as f64 / seconds.max(1e-9)),
                    at: self.seen_inside(*first_seen),
                    ..plain(
                        DifferenceKind::Instance,
                        *service,
                        reference,
                        0.5 * score(came_or_went.surprise, 1.0),
                    )
                }),
            );
        }
        self.versions(&versions);
    }

    /// Versions that began to run, while or after another one of their service did.
    fn versions(&mut self, versions: &BTreeMap<(ServiceId, &str), (u64, u64, UnixNanos)>) {
        let window = self.evidence.window;
        let recently = Window::new(window.from.minus(JUST_BEFORE), window.from);
        for ((service, version), (now, before, first_seen)) in versions {
            let known = versions.iter().filter(|((of, _), (_, calls, _))| of == service && *calls > 0);
            let mut others = known.filter(|((_, other), _)| other != version);
            let is_told = if *before == 0 {
                others.next().is_some()
            } else {
                recently.contains(*first_seen)
                    && others.any(|(_, (.., seen))| seen.plus(LATER_MIN) <= *first_seen)
            };
            let difference = (is_told && *now > 0 && !version.is_empty()).then(|| Difference {
                kind: DifferenceKind::Version,
                service: Some(*service),
                reference: None,
                name: (*version).to_owned(),
                before: None,
                now: Some(*now as f64 / self.seconds.0.max(1e-9)),
                unit: String::new(),
                at: Some(*first_seen),
                is_better: false,
                score: ANNOUNCED,
            });
            self.put(DifferenceKind::Version, difference);
        }
    }

    fn patterns(&mut self) {
        // Records are counted a minute at a time; the minute in which the window begins is the window's.
        let minute = |at: UnixNanos| at.bucket_seconds(COARSE_SECONDS) as f64;
        let begins = minute(self.evidence.window.from);
        let seconds = self.evidence.window.to.0 as f64 / 1e9 - begins;
        let seconds_before = self.evidence.baseline.map_or(0.0, |baseline| begins - minute(baseline.from));
        for template in &self.evidence.templates {
            let TemplateEvidence { now, before, .. } = template;
            let change = moved((*now, seconds), (*before, seconds_before));
            let differs = change.kind != Move::Steady;
            let weight = if template.severity >= Severity::WARN { 1.0 } else { 0.5 };
            let reference = Reference::Template(template.id);
            let score = weight * score(change.surprise, saturate(change.ratio - 1.0, 1.5));
            self.put(
                DifferenceKind::LogPattern,
                differs.then(|| Difference {
                    name: template.text.clone(),
                    before: Some(*before as f64 * 60.0 / seconds_before.max(1e-9)),
                    now: Some(*now as f64 * 60.0 / seconds.max(1e-9)),
                    at: self.seen_inside(template.first_seen),
                    is_better: change.surprise < 0.0 && template.severity >= Severity::WARN,
                    ..plain(DifferenceKind::LogPattern, template.service, reference, score)
                }),
            );
        }
    }

    fn series(&mut self) {
        for series in &self.evidence.series {
            let difference = level_moved(series).map(|score| Difference {
                name: match series.replaced {
                    true => format!("{} of a new instance, beside those it replaced", series.name),
                    false => series.name.clone(),
                },
                before: Some(series.before.median),
                now: Some(series.now.median),
                unit: series.unit.clone(),
                ..plain(DifferenceKind::Metric, series.service, Reference::Series(series.id), score)
            });
            self.put(DifferenceKind::Metric, difference);
        }
    }

    fn seen_inside(&self, first_seen: UnixNanos) -> Option<UnixNanos> {
        Some(first_seen).filter(|at| *at >= self.evidence.window.from && *at < self.evidence.window.to)
    }
}

/// How far the middle of a series moved; none where it lies within what it used to be.
fn level_moved(series: &SeriesEvidence) -> Option<f64> {
    let (now, before) = (&series.now, &series.before);
    if now.count < 2 || before.count < 3 {
        return None;
    }
    // One more or less of what is counted is no move, and none at all before makes no growth endless.
    let grain = grain_of(&series.metric, &series.unit);
    let level = before.median.abs().max(FEW * grain);
    let spread = grain.max((before.upper - before.lower) / 1.349).max((before.high - before.low) / 3.29);
    let spread = spread.max(0.02 * level).max(1e-9);
    let distance = (now.median - before.median).abs();
    let relative = distance / level.max(1e-9);
    let surprise = distance / spread;
    (surprise > SURPRISE_MIN && relative > SERIES_MIN)
        .then(|| LEVEL * score(surprise, saturate(relative, 0.5)))
}
