//! What logs, measured series and changes say about a service, apart from its spans.
//!
//! Each says how suspicious a service looks, 0 to 1. A caller logs and measures the troubles of its callees too, so
//! what may be inherited counts less where a callee of the service shows the same.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::id::{SeriesId, ServiceId, TemplateId};
use crate::model::log::Severity;
use crate::model::time::UnixNanos;

use super::evidence::{SeriesEvidence, TemplateEvidence};
use super::message::cut;
use super::silence::reachable;
use super::stats::{rate_surprise, saturate};
use super::view::View;

/// What an inherited signal is worth compared with one's own.
const INHERITED: f64 = 0.3;
/// Standard deviations that count rates of logs must leave behind.
const LOG_SURPRISE_MIN: f64 = 4.0;
/// Spreads that a measured series must leave behind.
const SERIES_SPREADS_MIN: f64 = 6.0;

/// How suspicious a service looks by one kind of signal, and why.
#[derive(Debug, Clone)]
pub(super) struct Signal {
    /// 0 to 1.
    pub(super) strength: f64,
    pub(super) source: Source,
    pub(super) text: String,
}

/// Where a signal comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Source {
    Template(TemplateId),
    /// A resource that is used up, such as processor time.
    Resource(SeriesId),
    /// A measured rate, error share or latency.
    Performance(SeriesId),
    Change(UnixNanos),
}

/// The strongest signals of each service, strongest first.
pub(super) type Signals = BTreeMap<ServiceId, Vec<Signal>>;

/// Reads templates, series and changes.
pub(super) fn signals(view: &View<'_>) -> Signals {
    let callees = view.callees_by_service();
    let mut found: Signals = BTreeMap::new();
    for kind in
        [template_signals(view), resource_signals(view), performance_signals(view), change_signals(view)]
    {
        let inherits =
            kind.values().any(|signal| matches!(signal.source, Source::Template(_) | Source::Performance(_)));
        let kind = if inherits { discounted(kind, &callees) } else { kind };
        for (service, signal) in kind {
            found.entry(service).or_default().push(signal);
        }
    }
    for list in found.values_mut() {
        list.sort_by(|a, b| b.strength.total_cmp(&a.strength).then(a.source.cmp(&b.source)));
    }
    found
}

type OneKind = BTreeMap<ServiceId, Signal>;

fn keep_strongest(found: &mut OneKind, service: ServiceId, signal: Signal) {
    let better = |known: &Signal| {
        signal.strength.total_cmp(&known.strength).then(known.source.cmp(&signal.source)).is_gt()
    };
    if signal.strength > 0.0 && found.get(&service).is_none_or(better) {
        found.insert(service, signal);
    }
}

/// Weakens the signals of services below which a similarly strong one is seen.
fn discounted(kind: OneKind, callees: &BTreeMap<ServiceId, BTreeSet<ServiceId>>) -> OneKind {
    let strengths: BTreeMap<ServiceId, f64> =
        kind.iter().map(|(service, signal)| (*service, signal.strength)).collect();
    let weaken = |(service, mut signal): (ServiceId, Signal)| {
        let below = reachable(callees, service);
        let deeper = strengths.iter().any(|(other, strength)| {
            *other != service
                && below.contains(other)
                && *strength >= 0.6 * signal.strength
                && !reachable(callees, *other).contains(&service)
        });
        if deeper {
            signal.strength *= INHERITED;
        }
        (service, signal)
    };
    kind.into_iter().map(weaken).collect()
}

fn template_signals(view: &View<'_>) -> OneKind {
    let mut found = BTreeMap::new();
    if view.baseline_s <= 0.0 {
        return found;
    }
    for template in
        view.evidence.templates.iter().filter(|template| view.nodes.contains_key(&template.service))
    {
        let surprise =
            rate_surprise(template.now as f64, view.window_s, template.before as f64, view.baseline_s);
        let Some((strength, text)) = template_strength(view, template, surprise) else { continue };
        let source = Source::Template(template.id);
        keep_strongest(&mut found, template.service, Signal { strength, source, text });
    }
    found
}

fn template_strength(view: &View<'_>, template: &TemplateEvidence, surprise: f64) -> Option<(f64, String)> {
    let grown = saturate(surprise - LOG_SURPRISE_MIN + 1.0, 4.0);
    let fresh = template.before == 0 && template.first_seen >= view.evidence.baseline?.from;
    let weight = match template.severity {
        severity if severity >= Severity::ERROR => 1.0,
        severity if severity >= Severity::WARN => 0.6,
        _ => 0.15,
    };
    let quote = cut(&template.text, 100);
    let word = if fresh { "new log pattern" } else { "log pattern" };
    if surprise > LOG_SURPRISE_MIN {
        let text = format!("{word} “{quote}”: {} records, {} before", template.now, template.before);
        return Some((grown * weight * if fresh { 1.0 } else { 0.7 }, text));
    }
    let expected = template.before as f64 * view.window_s / view.baseline_s;
    if surprise < -6.0 && expected > 20.0 && (template.now as f64) < 0.1 * expected {
        let text = format!(
            "log pattern “{quote}” ceased: {} records where {expected:.0} were expected",
            template.now
        );
        return Some((0.3, text));
    }
    None
}

/// What a series is about, judged by the words of its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Meaning {
    /// Rising is bad, and no callee can cause it.
    Resource,
    /// Rising is bad, and callees may cause it.
    Worse,
    /// Falling is bad, and callees may cause it.
    Better,
    /// Says nothing about faults.
    Neutral,
}

fn meaning_of(name: &str) -> Meaning {
    let name = name.to_ascii_lowercase();
    let says = |words: &[&str]| words.iter().any(|word| name.contains(word));
    if says(&["availability", "success", "apdex"]) {
        Meaning::Better
    } else if says(&["latency", "duration", "response_time", "response.time", "error", "fault", "failure"]) {
        Meaning::Worse
    } else if says(&[
        "cpu",
        "memory",
        "throttl",
        "heap",
        "gc.",
        "gc_",
        "disk",
        "pressure",
        "queue",
        "lag",
        "saturation",
        "utilization",
        "connections",
        "threads",
    ]) && !says(&["available", "free", "idle", "limit_bytes", "request_bytes"])
    {
        Meaning::Resource
    } else {
        Meaning::Neutral
    }
}

/// How far a series moved in its bad direction, in spreads of its baseline, and relative to its level.
fn movement(series: &SeriesEvidence, meaning: Meaning) -> Option<(f64, f64)> {
    let (now, before) = (&series.now, &series.before);
    if now.count == 0 || before.count < 3 {
        return None;
    }
    let level = before.median.abs();
    let spread = ((before.upper - before.lower) / 1.349).max(0.05 * level).max(1e-9);
    let apart = match meaning {
        Meaning::Better => before.min.min(before.lower) - now.median,
        _ => now.median - before.max.max(before.upper),
    };
    let moved =
        if meaning == Meaning::Better { before.median - now.median } else { now.median - before.median };
    (apart > 0.0 && moved / spread > SERIES_SPREADS_MIN).then(|| (moved / spread, moved / (level + 1e-9)))
}

fn series_signals(view: &View<'_>, wanted: &[Meaning], source: fn(SeriesId) -> Source) -> OneKind {
    let mut moved = Vec::new();
    for series in view.evidence.series.iter().filter(|series| view.nodes.contains_key(&series.service)) {
        let meaning = meaning_of(&series.name);
        if !wanted.contains(&meaning) {
            continue;
        }
        if let Some((spreads, relative)) = movement(series, meaning) {
            moved.push((series, spreads, relative));
        }
    }
    let widest = moved.iter().map(|(_, spreads, _)| *spreads).fold(1.0, f64::max);
    let mut found = BTreeMap::new();
    for (series, spreads, relative) in moved {
        let strength =
            saturate(spreads - 3.0, 6.0) * saturate(relative, 0.3) * (0.5 + 0.5 * (spreads / widest).sqrt());
        let text = format!(
            "{} went from {} to {}{}",
            series.name,
            short(series.before.median),
            short(series.now.median),
            if series.unit.is_empty() || series.unit == "1" {
                String::new()
            } else {
                format!(" {}", series.unit)
            }
        );
        keep_strongest(&mut found, series.service, Signal { strength, source: source(series.id), text });
    }
    found
}

fn resource_signals(view: &View<'_>) -> OneKind {
    series_signals(view, &[Meaning::Resource], Source::Resource)
}

fn performance_signals(view: &View<'_>) -> OneKind {
    series_signals(view, &[Meaning::Worse, Meaning::Better], Source::Performance)
}

/// Changes between the start of the baseline and the end of the window.
fn change_signals(view: &View<'_>) -> OneKind {
    let mut found = BTreeMap::new();
    for change in &view.evidence.changes {
        let Some(service) = change.service.filter(|service| view.nodes.contains_key(service)) else {
            continue;
        };
        if change.at < view.evidence.window.to {
            let text = format!("{}: {}", change.kind, cut(&change.text, 100));
            keep_strongest(
                &mut found,
                service,
                Signal { strength: 0.5, source: Source::Change(change.at), text },
            );
        }
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
    fn names_have_meanings() {
        assert_eq!(meaning_of("k8s.pod.cpu_limit_utilization"), Meaning::Resource);
        assert_eq!(meaning_of("node.latency.p95"), Meaning::Worse);
        assert_eq!(meaning_of("node.availability"), Meaning::Better);
        assert_eq!(meaning_of("process.memory.available"), Meaning::Neutral);
        assert_eq!(meaning_of("orders.sold"), Meaning::Neutral);
    }

    #[test]
    fn numbers_are_short() {
        assert_eq!(
            ["0", "0.012", "1.23", "123", "45678"],
            [0.0, 0.012, 1.234, 123.4, 45_678.0]
                .map(short)
                .each_ref()
                .map(|text| text.trim_end_matches('0'))
                .map(|text| if text.is_empty() { "0" } else { text })
        );
    }
}
