//! What logs, measured series and changes say about a service, apart from its spans.
//!
//! Each says how suspicious a service looks, 0 to 1. A caller logs and measures the troubles of its callees too, so
//! what may be inherited counts less where a callee of the service shows the same. Where spans show no symptom, the
//! worst measured symptom of a service that no deviating service calls takes its place, and suspects that it does
//! not reach count less.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::id::{OperationId, SeriesId, ServiceId, TemplateId};
use crate::model::log::Severity;
use crate::model::time::UnixNanos;

use super::message::cut;
use super::silence::reachable;
use super::stats::saturate;
use super::traffic::Traffic;
use super::verdict::SymptomKind;
use super::view::View;
use super::{series, steps, template};

/// What an inherited signal is worth compared with one's own.
const INHERITED: f64 = 0.3;
/// What a signal is worth that the measured symptom does not lead to, or that is of another kind.
const UNRELATED: f64 = 0.4;

/// Part of the symptom's slowness that makes another one count half.
const EXPLAINS_HALF: f64 = 0.1;
/// Part of a service's slowness that a callee's must make to explain it.
const EXPLAINS_MIN: f64 = 0.3;
/// What a measured signal is worth that explains nothing else.
const ALONE: f64 = 0.4;

/// How suspicious a service looks by one kind of signal, and why.
#[derive(Debug, Clone)]
pub(super) struct Signal {
    /// 0 to 1.
    pub(super) strength: f64,
    pub(super) source: Source,
    /// The kind of symptom that it measures, if it measures one.
    pub(super) kind: Option<SymptomKind>,
    /// How many seconds slower, for measured latencies.
    pub(super) slower_s: Option<f64>,
    /// Level in the baseline and in the window, for measured series.
    pub(super) levels: (f64, f64),
    pub(super) text: String,
}

/// Where a signal comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Source {
    Template(TemplateId),
    /// A resource that is used up, such as processor time.
    Resource(SeriesId),
    /// A measured error share or latency.
    Performance(SeriesId),
    Change(UnixNanos),
    /// An operation that takes another way.
    Step(OperationId),
}

impl Source {
    /// Whether it tells that something is wrong, and not only that it is other than before.
    pub(super) fn complains(self, view: &View<'_>) -> bool {
        match self {
            Self::Step(_) | Self::Change(_) => false,
            Self::Template(id) => {
                view.evidence.templates.iter().any(|it| it.id == id && it.severity >= Severity::WARN)
            }
            Self::Resource(_) | Self::Performance(_) => true,
        }
    }
}

/// All signals.
pub(super) struct Signals {
    /// Of each service, strongest first.
    pub(super) by_service: BTreeMap<ServiceId, Vec<Signal>>,
    /// The measured symptoms, for windows in which no span deviates: how much each weighs, worst first.
    symptoms: Vec<(f64, ServiceId, Signal)>,
}

/// Signals of one kind: the strongest of each service.
pub(super) type OneKind = BTreeMap<ServiceId, Signal>;

impl Signals {
    /// Reads templates, series and changes; the measured symptom is that of `asked`, where a service is asked about.
    pub(super) fn new(view: &View<'_>, asked: Option<ServiceId>) -> Self {
        let callees = view.callees_by_service();
        let measured =
            [SymptomKind::Errors, SymptomKind::Latency].map(|kind| series::performance(view, kind));
        let symptoms = symptoms(view, &measured, &callees, asked);
        let traffic = Traffic::new(view, &measured, &callees);
        let measured = measured.map(|kind| explaining(kind, &callees));
        let [errors, latency] = measured;
        let kinds = [template::signals(view), steps::signals(view), errors, latency]
            .map(|kind| discounted(kind, &callees));
        let mut by_service: BTreeMap<ServiceId, Vec<Signal>> = BTreeMap::new();
        for kind in kinds.into_iter().chain([series::resources(view, &traffic), changes(view)]) {
            for (service, signal) in kind {
                by_service.entry(service).or_default().push(signal);
            }
        }
        for list in by_service.values_mut() {
            list.sort_by(|a, b| b.strength.total_cmp(&a.strength).then(a.source.cmp(&b.source)));
        }
        Self { by_service, symptoms }
    }

    /// The worst of the measured symptoms.
    pub(super) fn symptom(&self) -> Option<(ServiceId, &Signal)> {
        self.symptoms.first().map(|(_, service, signal)| (*service, signal))
    }

    /// Weakens what has nothing to do with the measured symptoms, by how much each of them weighs.
    pub(super) fn focus(&mut self, view: &View<'_>) {
        let all: f64 = self.symptoms.iter().map(|(weight, ..)| weight).sum();
        if all <= 0.0 {
            return;
        }
        let callees = view.callees_by_service();
        let within: Vec<BTreeSet<ServiceId>> =
            self.symptoms.iter().map(|(_, service, _)| reachable(&callees, *service)).collect();
        for (service, list) in &mut self.by_service {
            for signal in list.iter_mut() {
                let symptoms = self.symptoms.iter().zip(&within);
                let related: f64 = symptoms
                    .map(|((weight, _, symptom), within)| {
                        weight * relation(signal, symptom, within.contains(service))
                    })
                    .sum();
                signal.strength *= related / all;
            }
            list.sort_by(|a, b| b.strength.total_cmp(&a.strength).then(a.source.cmp(&b.source)));
        }
    }
}

/// How much a signal has to do with a measured symptom from which its service is reached or not.
fn relation(signal: &Signal, symptom: &Signal, is_reached: bool) -> f64 {
    let related =
        if !is_reached || signal.kind.is_some() && signal.kind != symptom.kind { UNRELATED } else { 1.0 };
    match signal.slower_s.zip(symptom.slower_s).filter(|it| it.1 > 0.0) {
        Some((own, theirs)) => related * saturate(own.max(0.0) / theirs, EXPLAINS_HALF),
        None => related,
    }
}

/// Keeps `signal` where it is the strongest of the service.
pub(super) fn keep_strongest(found: &mut OneKind, service: ServiceId, signal: Signal) {
    let better = |known: &Signal| {
        signal.strength.total_cmp(&known.strength).then(known.source.cmp(&signal.source)).is_gt()
    };
    if signal.strength > 0.0 && found.get(&service).is_none_or(better) {
        found.insert(service, signal);
    }
}

/// The measured symptoms of services that no other deviating service calls, worst first; each weighs by the square of its
/// strength and its traffic.
fn symptoms(
    view: &View<'_>,
    measured: &[OneKind; 2],
    callees: &BTreeMap<ServiceId, BTreeSet<ServiceId>>,
    asked: Option<ServiceId>,
) -> Vec<(f64, ServiceId, Signal)> {
    let parts = series::parts_of_traffic(view);
    let weight = |service: &ServiceId| parts.get(service).copied().unwrap_or(1.0);
    let deviating = measured.iter().flat_map(BTreeMap::keys);
    let below: BTreeSet<ServiceId> =
        deviating.flat_map(|service| callees.get(service).into_iter().flatten()).copied().collect();
    let surfaces = |service: &ServiceId| asked.map_or(!below.contains(service), |asked| asked == *service);
    let all = measured.iter().flatten().filter(|(service, _)| surfaces(service));
    let mut found: Vec<(f64, ServiceId, Signal)> = all
        .map(|(service, signal)| ((signal.strength * weight(service)).powi(2), *service, signal.clone()))
        .collect();
    // Where nothing tells two apart, the first of the first kind.
    found.sort_by(|a, b| b.0.total_cmp(&a.0));
    found
}

/// Weakens measured signals by how much of all that deviates they do not explain: what calls them, and themselves.
fn explaining(kind: OneKind, callees: &BTreeMap<ServiceId, BTreeSet<ServiceId>>) -> OneKind {
    let strengths: Vec<(ServiceId, f64)> = kind.iter().map(|(service, it)| (*service, it.strength)).collect();
    let all: f64 = strengths.iter().map(|(_, strength)| strength).sum();
    let below: BTreeMap<ServiceId, BTreeSet<ServiceId>> =
        strengths.iter().map(|(service, _)| (*service, reachable(callees, *service))).collect();
    let weigh = |(service, mut signal): (ServiceId, Signal)| {
        let explained: f64 = strengths
            .iter()
            .filter(|(caller, _)| *caller == service || below[caller].contains(&service))
            .map(|(_, strength)| strength)
            .sum();
        signal.strength *= ALONE + (1.0 - ALONE) * explained / all.max(f64::MIN_POSITIVE);
        (service, signal)
    };
    kind.into_iter().map(weigh).collect()
}

/// Weakens the signals of services below which a similarly strong one is seen.
fn discounted(kind: OneKind, callees: &BTreeMap<ServiceId, BTreeSet<ServiceId>>) -> OneKind {
    let known: BTreeMap<ServiceId, (f64, Option<f64>)> =
        kind.iter().map(|(service, signal)| (*service, (signal.strength, signal.slower_s))).collect();
    let below: BTreeMap<ServiceId, BTreeSet<ServiceId>> =
        known.keys().map(|service| (*service, reachable(callees, *service))).collect();
    let weaken = |(service, mut signal): (ServiceId, Signal)| {
        let deeper = known.iter().any(|(other, (strength, slower_s))| {
            // A few milliseconds more below do not explain a second.
            let accounts =
                slower_s.zip(signal.slower_s).is_none_or(|(theirs, own)| theirs >= EXPLAINS_MIN * own);
            *other != service
                && accounts
                && *strength >= 0.5 * signal.strength
                && below[&service].contains(other)
                && !below[other].contains(&service)
        });
        if deeper {
            signal.strength *= INHERITED;
        }
        (service, signal)
    };
    kind.into_iter().map(weaken).collect()
}

/// Changes up to the end of the window.
fn changes(view: &View<'_>) -> OneKind {
    let mut found = BTreeMap::new();
    for change in view.evidence.changes.iter().filter(|change| change.at < view.evidence.window.to) {
        let Some(service) = change.service.filter(|service| view.nodes.contains_key(service)) else {
            continue;
        };
        let text = format!("{}: {}", change.kind, cut(&change.text, 100));
        let source = Source::Change(change.at);
        let signal = Signal { strength: 0.5, source, kind: None, slower_s: None, levels: (0.0, 0.0), text };
        keep_strongest(&mut found, service, signal);
    }
    found
}

/// A number with three significant digits.
pub(super) fn short(value: f64) -> String {
    if value == 0.0 {
        return "0".to_owned();
    }
    let digits = (2 - value.abs().log10().floor() as i32).clamp(0, 6) as usize;
    format!("{value:.digits$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        assert_eq!([0.0, 0.0123, 1.234, 123.4, 45_678.0].map(short), ["0", "0.0123", "1.23", "123", "45678"]);
    }
}
