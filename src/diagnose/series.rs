//! Measured series that left their baseline.
//!
//! A series is read by the words of its name: a resource that fills up is a cause, latency and failures are symptoms,
//! anything else says nothing. The spread of the baseline is the unit; bounded measures (shares and percentages) must
//! also move by a part of their range that matters.

use std::collections::BTreeMap;

use crate::model::id::{SeriesId, ServiceId};

use super::evidence::SeriesEvidence;
use super::signal::{OneKind, Signal, Source, keep_strongest, short};
use super::stats::saturate;
use super::verdict::SymptomKind;
use super::view::View;

/// Spreads that a series must move.
const SPREADS_MIN: f64 = 6.0;
/// What an extreme (a maximum or a far percentile) is worth: few requests move it.
const EXTREME: f64 = 0.6;
/// What a measure of the machine is worth: services share it.
const SHARED: f64 = 0.3;
/// What measured latency or failures are worth of a service whose own spans were counted.
const COUNTED: f64 = 0.3;

/// What a series is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Meaning {
    /// Rising is bad, and no callee can cause it.
    Resource,
    /// Rising is bad, and callees may cause it.
    Worse(SymptomKind),
    /// A share of success: falling is bad, and callees may cause it.
    Better,
    /// Calls in some time.
    Traffic,
    /// Says nothing about faults.
    Neutral,
}

/// Resources that left their baseline, the strongest of each service.
pub(super) fn resources(view: &View<'_>) -> OneKind {
    moved(view, Source::Resource, None, |meaning| meaning == Meaning::Resource)
}

/// Measured latency (or failures) that left its baseline, the strongest of each service.
pub(super) fn performance(view: &View<'_>, kind: SymptomKind) -> OneKind {
    let wanted = move |meaning| {
        meaning == Meaning::Worse(kind) || meaning == Meaning::Better && kind == SymptomKind::Errors
    };
    moved(view, Source::Performance, Some(kind), wanted)
}

/// The traffic that series measure, by service; the largest where there are several.
pub(super) fn traffic(view: &View<'_>) -> BTreeMap<ServiceId, f64> {
    let mut found: BTreeMap<ServiceId, f64> = BTreeMap::new();
    for series in view.evidence.series.iter().filter(|series| meaning_of(&series.name) == Meaning::Traffic) {
        let level = if series.before.count > 0 { series.before.median } else { series.now.median };
        let known = found.entry(series.service).or_default();
        *known = known.max(level);
    }
    found
}

fn meaning_of(name: &str) -> Meaning {
    const RESOURCES: [&str; 14] = [
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
    ];
    let name = name.to_ascii_lowercase();
    let says = |words: &[&str]| words.iter().any(|word| name.contains(word));
    if says(&["availability", "success", "apdex"]) {
        Meaning::Better
    } else if says(&["error", "fault", "failure", "failed"]) {
        Meaning::Worse(SymptomKind::Errors)
    } else if says(&["latency", "duration", "response_time", "response.time"]) {
        Meaning::Worse(SymptomKind::Latency)
    } else if says(&RESOURCES) && !says(&["available", "free", "idle", "limit_bytes", "request_bytes"]) {
        Meaning::Resource
    } else if says(&["requests", "calls", "request_count", "request.count"]) {
        Meaning::Traffic
    } else {
        Meaning::Neutral
    }
}

/// A percentile far out, a maximum, or a measure of a machine is worth less.
fn trust_of(name: &str) -> f64 {
    let words: Vec<&str> = name.split(|c: char| !c.is_ascii_alphanumeric()).collect();
    let says = |known: &[&str]| words.iter().any(|word| known.contains(word));
    let extreme = if says(&["p95", "p99", "p999", "max"]) { EXTREME } else { 1.0 };
    let of_machine =
        says(&["node", "host", "system"]) && says(&["cpu", "memory", "disk", "filesystem", "network"]);
    extreme * if of_machine { SHARED } else { 1.0 }
}

/// How far a series moved in its bad direction: in spreads of its baseline, relative to its level, and the level of
/// the worse half of the window.
fn movement(series: &SeriesEvidence, meaning: Meaning) -> Option<(f64, f64, f64)> {
    let (now, before) = (&series.now, &series.before);
    if now.count == 0 || before.count < 3 {
        return None;
    }
    let level = before.median.abs();
    let usual = (before.upper - before.lower) / 1.349;
    let (spread, apart, moved, reached) = if meaning == Meaning::Better {
        let spread = usual.max(0.005 * level);
        (spread, before.min - now.lower, before.median - now.lower, now.lower)
    } else {
        let reached = f64::midpoint(now.median, now.upper);
        (usual.max(0.05 * level), reached - before.max, reached - before.median, reached)
    };
    let spreads = moved / spread.max(1e-9);
    (apart > 0.0 && spreads > SPREADS_MIN).then(|| (spreads, moved / (level + 1e-9), reached))
}

/// How much of a bounded measure's range the move covers; unbounded measures are judged by their growth.
fn weight_of_move(series: &SeriesEvidence, meaning: Meaning, relative: f64) -> f64 {
    let moved = (relative * series.before.median.abs()).abs();
    let name = series.name.to_ascii_lowercase();
    match meaning {
        Meaning::Better => saturate(relative, 0.05),
        Meaning::Resource if series.unit == "%" => saturate(moved, 20.0),
        Meaning::Resource if name.contains("utilization") || series.unit.contains("cpu") => {
            saturate(moved, 0.2)
        }
        _ => saturate(relative, 0.3),
    }
}

fn moved(
    view: &View<'_>,
    source: fn(SeriesId) -> Source,
    kind: Option<SymptomKind>,
    wanted: impl Fn(Meaning) -> bool,
) -> OneKind {
    let mut found = BTreeMap::new();
    for series in view.evidence.series.iter().filter(|series| view.nodes.contains_key(&series.service)) {
        let meaning = meaning_of(&series.name);
        let Some((spreads, relative, reached)) = movement(series, meaning).filter(|_| wanted(meaning)) else {
            continue;
        };
        let counted = kind.is_some() && view.operations.iter().any(|it| it.service == series.service);
        let strength = saturate(spreads - 3.0, 6.0)
            * weight_of_move(series, meaning, relative)
            * trust_of(&series.name)
            * if counted { COUNTED } else { 1.0 };
        let unit = if series.unit == "1" { "" } else { &series.unit };
        let text =
            format!("{} went from {} to {} {unit}", series.name, short(series.before.median), short(reached));
        let levels = (series.before.median, reached);
        let text = text.trim_end().to_owned();
        let signal = Signal { strength, source: source(series.id), kind, levels, text };
        keep_strongest(&mut found, series.service, signal);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_meanings() {
        assert_eq!(meaning_of("k8s.pod.cpu_limit_utilization"), Meaning::Resource);
        assert_eq!(meaning_of("node.latency.p95"), Meaning::Worse(SymptomKind::Latency));
        assert_eq!(meaning_of("node.availability"), Meaning::Better);
        assert_eq!(meaning_of("process.memory.available"), Meaning::Neutral);
        assert_eq!(meaning_of("orders.sold"), Meaning::Neutral);
    }

    #[test]
    fn extremes_and_machines_are_trusted_less() {
        assert!(trust_of("node.latency.p50") > trust_of("node.latency.p99"));
        assert!(trust_of("k8s.pod.cpu.usage") > trust_of("k8s.node.cpu.utilization"));
    }
}
