//! Measured series that left their baseline.
//!
//! A series is read by what [`super::meaning`] makes of it: a resource that fills up is a cause, latency and failures are
//! symptoms, anything else says nothing. The spread of the baseline is the unit; bounded measures (shares and percentages) must
//! also move by a part of their range that matters.

use std::collections::BTreeMap;

use crate::model::id::{SeriesId, ServiceId};

use super::evidence::SeriesEvidence;
use super::meaning::{FEW, Meaning, Words, grain_of};
use super::signal::{OneKind, Signal, Source, keep_strongest, short};
use super::spoken::Names;
use super::stats::{saturate, share_surprise};
use super::traffic::Traffic;
use super::verdict::SymptomKind;
use super::view::View;

/// Spreads that a series must move.
const SPREADS_MIN: f64 = 4.0;
/// Standard deviations that failures behind a share of success must leave behind.
const FAILURES_MIN: f64 = 3.0;
/// What measured troubles are worth of a service that takes hardly any of the traffic.
const IDLE: f64 = 0.2;
/// Least spread of a share of success, as part of its level: one in a thousand.
const SUCCESS_SPREAD: f64 = 0.001;
/// Part of the requests from which on new failures weigh much.
const NEW_FAILURES: f64 = 0.02;
/// What an extreme (a maximum or a far percentile) is worth: few requests move it.
const EXTREME: f64 = 0.6;
/// What a measure of the machine is worth: services share it.
const SHARED: f64 = 0.3;
/// What measured latency or failures are worth where spans are counted, which tell more.
const COUNTED: f64 = 0.3;
/// Part of a bounded resource from which on it is used up.
const USED_UP: f64 = 0.8;

/// Resources that left their baseline, the strongest of each service; those that more requests explain as far as somebody
/// suffers.
pub(super) fn resources(view: &View<'_>, traffic: &Traffic) -> OneKind {
    moved(view, Source::Resource, (None, Some(traffic)), |meaning| meaning == Meaning::Resource)
}

/// Measured latency (or failures) that left its baseline, the strongest of each service.
pub(super) fn performance(view: &View<'_>, kind: SymptomKind) -> OneKind {
    let wanted = move |meaning| {
        meaning == Meaning::Worse(kind) || meaning == Meaning::Better && kind == SymptomKind::Errors
    };
    moved(view, Source::Performance, (Some(kind), None), wanted)
}

/// The root of each service's part of the busiest one's traffic, as far as series measure it; the largest where there are
/// several. Empty where there is no traffic.
pub(super) fn parts_of_traffic(view: &View<'_>) -> BTreeMap<ServiceId, f64> {
    let mut found: BTreeMap<ServiceId, f64> = BTreeMap::new();
    for series in view.series_of(Meaning::Traffic) {
        let level = if series.before.count > 0 { series.before.median } else { series.now.median };
        let known = found.entry(series.service).or_default();
        *known = known.max(level);
    }
    let busiest = found.values().copied().fold(0.0, f64::max);
    found.retain(|_, _| busiest > 0.0);
    found.values_mut().for_each(|requests| *requests = (*requests / busiest).sqrt());
    found
}

/// A percentile far out, a maximum, or a measure of a machine is worth less.
fn trust_of(name: &str) -> f64 {
    let words = Words::of(name);
    let extreme = if words.any(&["p95", "p99", "p999", "max"]) { EXTREME } else { 1.0 };
    let of_machine = words.any(&["node", "host", "system"])
        && words.any(&["cpu", "memory", "disk", "filesystem", "network"]);
    extreme * if of_machine { SHARED } else { 1.0 }
}

/// How far a series moved in its bad direction: in spreads of its baseline, relative to its level, and the level of
/// the worst quarter of the window. It must leave nine tenths of its baseline behind, whatever a stray point reached.
fn movement(series: &SeriesEvidence, meaning: Meaning) -> Option<(f64, f64, f64)> {
    let (now, before) = (&series.now, &series.before);
    if now.count == 0 || before.count < 3 {
        return None;
    }
    // One more or less of what is counted is no move, and none at all before makes no growth endless.
    let grain = grain_of(&series.metric, &series.unit);
    let level = before.median.abs().max(FEW * grain);
    let usual = grain.max((before.upper - before.lower) / 1.349).max((before.high - before.low) / 3.29);
    let (spread, apart, moved, reached) = if meaning == Meaning::Better {
        let reached = f64::midpoint(now.lower, now.low);
        (usual.max(SUCCESS_SPREAD * level), before.low - reached, before.median - reached, reached)
    } else {
        let reached = f64::midpoint(now.upper, now.high);
        (usual.max(0.05 * level), reached - before.high, reached - before.median, reached)
    };
    let spreads = moved / spread.max(1e-9);
    (apart > 0.0 && spreads > SPREADS_MIN).then(|| (spreads, moved / (level + 1e-9), reached))
}

/// Whether nothing is left of a resource at `level`; of those whose bound is not known, always.
pub(super) fn is_used_up(view: &View<'_>, id: SeriesId, level: f64) -> bool {
    let series = view.evidence.series.iter().find(|series| series.id == id);
    series.and_then(|series| part_used(series, level)).is_none_or(|part| part >= USED_UP)
}

/// Whether nothing is left of a resource whose bound is known.
pub(super) fn is_at_limit(series: &SeriesEvidence, level: f64) -> bool {
    part_used(series, level).is_some_and(|part| part >= USED_UP)
}

/// Which part of a resource a level is, where its bound is known.
fn part_used(series: &SeriesEvidence, level: f64) -> Option<f64> {
    match (series.unit.as_str(), Words::of(&series.metric).is_utilization()) {
        ("%", _) => Some(level / 100.0),
        (_, true) => Some(level),
        _ => None,
    }
}

/// How much of a bounded measure's range the move covers; unbounded measures are judged by their growth.
fn weight_of_move(series: &SeriesEvidence, meaning: Meaning, relative: f64) -> f64 {
    let moved = (relative * series.before.median.abs()).abs();
    let is_part = Words::of(&series.metric).is_utilization();
    match meaning {
        Meaning::Better => saturate(relative, 0.05),
        Meaning::Resource if series.unit == "%" => saturate(moved, 20.0),
        Meaning::Resource if is_part || series.unit.contains("cpu") => saturate(moved, 0.2),
        _ => saturate(relative, 0.3),
    }
}

/// How much failures weigh that there were none of before: by their part of the requests, where these are measured.
fn part_of_requests(series: &SeriesEvidence, meaning: Meaning, requests: Option<&SeriesEvidence>) -> f64 {
    let is_new = series.before.max <= 0.0 && meaning == Meaning::Worse(SymptomKind::Errors);
    let requests = requests.filter(|requests| is_new && requests.id != series.id && requests.now.mean > 0.0);
    requests.map_or(1.0, |requests| saturate(series.now.mean / requests.now.mean, NEW_FAILURES))
}

/// How much a service's measured troubles weigh by its part of the traffic.
fn weight_of_traffic(parts: &BTreeMap<ServiceId, f64>, service: ServiceId) -> f64 {
    if parts.is_empty() {
        return 1.0;
    }
    IDLE + (1.0 - IDLE) * parts.get(&service).copied().unwrap_or(0.0)
}

/// Failures that a share of success stands for where the requests are measured too: standard deviations beyond the
/// baseline's, the part that fails more than before, and the level of the window.
fn failures(series: &SeriesEvidence, requests: Option<&SeriesEvidence>) -> Option<(f64, f64, f64)> {
    let requests = requests?;
    let whole = if series.unit == "%" { 100.0 } else { 1.0 };
    let (now, before) = (&series.now, &series.before);
    let is_share = [now.max, before.max].iter().all(|most| *most <= whole) && now.min.min(before.min) >= 0.0;
    if now.count == 0 || before.count < 3 || !is_share {
        return None;
    }
    let tries =
        [(now, &requests.now), (before, &requests.before)].map(|(share, it)| it.mean * share.count as f64);
    let failing = [now, before].map(|share| 1.0 - share.mean / whole);
    let surprise = share_surprise(failing[0] * tries[0], tries[0], failing[1] * tries[1], tries[1]);
    let more = failing[0] - failing[1];
    (more > 0.0 && surprise > FAILURES_MIN).then_some((surprise, more, now.mean))
}

/// How many seconds the unit of a series is, by the unit or by how the name ends.
fn seconds_of(series: &SeriesEvidence) -> Option<f64> {
    let name = &series.metric;
    let ends = |word: &str| {
        series.unit == word || name.ends_with(&format!("_{word}")) || name.ends_with(&format!(".{word}"))
    };
    let units =
        [("ns", 1e-9), ("us", 1e-6), ("ms", 1e-3), ("milliseconds", 1e-3), ("s", 1.0), ("seconds", 1.0)];
    units.into_iter().find(|(word, _)| ends(word)).map(|(_, seconds)| seconds)
}

/// The series that counts each service's requests.
pub(super) fn requests_of<'a>(view: &View<'a>) -> BTreeMap<ServiceId, &'a SeriesEvidence> {
    let mut found: BTreeMap<ServiceId, &SeriesEvidence> = BTreeMap::new();
    for series in view.series_of(Meaning::Traffic) {
        let known = found.entry(series.service).or_insert(series);
        if (known.before.mean, series.id) < (series.before.mean, known.id) {
            *known = series;
        }
    }
    found
}

fn moved(
    view: &View<'_>,
    source: fn(SeriesId) -> Source,
    (kind, traffic): (Option<SymptomKind>, Option<&Traffic>),
    wanted: impl Fn(Meaning) -> bool,
) -> OneKind {
    let mut found = BTreeMap::new();
    let (parts, requests) = (parts_of_traffic(view), requests_of(view));
    let names = Names::new(view);
    let wanted = view.series.iter().filter(|(meaning, _)| wanted(*meaning));
    for (meaning, series) in wanted.filter(|(_, series)| view.nodes.contains_key(&series.service)) {
        let meaning = *meaning;
        let counted = requests.get(&series.service).copied().filter(|_| meaning == Meaning::Better);
        let (strength, reached) = if counted.is_some() {
            let Some((surprise, more, reached)) = failures(series, counted) else { continue };
            (saturate(surprise - FAILURES_MIN + 1.0, 2.0) * (0.5 + 0.5 * saturate(more, 0.05)), reached)
        } else {
            let Some((spreads, relative, reached)) = movement(series, meaning) else { continue };
            let beyond = if meaning == Meaning::Better { series.below } else { series.above };
            let tries = series.before.count as f64;
            let lasting = share_surprise(beyond as f64, series.now.count as f64, 0.05 * tries, tries);
            let strength = saturate(spreads - 2.0, 6.0)
                * saturate(lasting - 1.0, 1.0)
                * weight_of_move(series, meaning, relative)
                * part_of_requests(series, meaning, requests.get(&series.service).copied());
            (strength, reached)
        };
        let spans_tell = kind.is_some() && !view.operations.is_empty();
        let strength = strength
            * trust_of(&series.metric)
            * if kind.is_some() { weight_of_traffic(&parts, series.service) } else { 1.0 }
            * if spans_tell { COUNTED } else { 1.0 }
            * traffic.map_or(1.0, |traffic| traffic.worth(series));
        let levels = (series.before.median, reached);
        let slower_s = seconds_of(series)
            .filter(|_| kind == Some(SymptomKind::Latency))
            .map(|it| it * (levels.1 - levels.0));
        let other = names.other_in(&series.name, series.service);
        let name = match other {
            Some(_) => format!("{} of {}", series.name, view.node_name(series.service)),
            None => series.name.clone(),
        };
        let mut text =
            said(&name, series, (reached, if counted.is_some() { "on average" } else { "at worst" }));
        if let Some(times) = traffic.and_then(|traffic| traffic.explains(series)) {
            text = format!("{text}, with {} times the requests", short(times));
        }
        let signal = Signal { strength, source: source(series.id), kind, slower_s, levels, text };
        keep_strongest(&mut found, other.unwrap_or(series.service), signal);
    }
    found
}

/// What is said of a series that moved: its middle where that went most of the way, which is what is found when it is looked
/// at again, with what it came to beyond that; else both middles.
fn said(name: &str, series: &SeriesEvidence, (reached, how): (f64, &str)) -> String {
    let (now, before) = (series.now.median, series.before.median);
    let unit = match series.unit.as_str() {
        "" | "1" => String::new(),
        unit => format!(" {unit}"),
    };
    let has_moved = (now - before) / (reached - before) >= 0.5;
    let beyond = (reached - now).abs() > 0.1 * reached.abs().max(now.abs());
    let [now, before, reached] = [now, before, reached].map(short);
    // Its own past is none that it could be compared with.
    let name = if series.replaced { format!("{name} of a new instance") } else { name.to_owned() };
    let of_whom = if series.replaced { " in those it replaced" } else { " before" };
    if !has_moved {
        format!("{name} came to {reached}{unit} {how}: its median is {now}{unit}, {before}{unit}{of_whom}")
    } else if series.replaced {
        format!("{name} is at {now}{unit}, {before}{unit}{of_whom}, {reached}{unit} {how}")
    } else if beyond {
        format!("{name} went from {before} to {now}{unit}, {reached}{unit} {how}")
    } else {
        format!("{name} went from {before} to {now}{unit}")
    }
}

#[cfg(test)]
mod tests {
    use crate::diagnose::evidence::Spread;

    use super::*;

    fn series(metric: &str, unit: &str, before: &[f64], now: &[f64]) -> SeriesEvidence {
        SeriesEvidence {
            id: SeriesId(1),
            service: ServiceId(1),
            name: metric.to_owned(),
            metric: metric.to_owned(),
            attributes: Vec::new(),
            unit: unit.to_owned(),
            now: Spread::of(now.to_vec()),
            before: Spread::of(before.to_vec()),
            above: now.len() as u64,
            below: 0,
            replaced: false,
        }
    }

    #[test]
    fn what_is_said_of_a_level_is_its_middle() {
        let slow = [0.008, 0.009, 0.009, 0.07, 0.08];
        let stray = series("http.server.request.duration", "s", &[0.0107; 9], &slow);
        let text = "d came to 0.0750 s at worst: its median is 0.00900 s, 0.0107 s before";
        assert_eq!(said("d", &stray, (0.075, "at worst")), text);
        let full = series("db.client.connections.usage", "{connection}", &[4.0; 9], &[19.0, 20.0, 20.0]);
        assert_eq!(said("pool", &full, (20.0, "at worst")), "pool went from 4.00 to 20.0 {connection}");
        let lag = series("kafka.consumer.lag", "1", &[0.0; 9], &[0.0, 200.0, 400.0]);
        assert_eq!(said("lag", &lag, (400.0, "at worst")), "lag went from 0 to 200, 400 at worst");
    }

    #[test]
    fn one_thing_more_is_no_move() {
        let lag =
            |now: &[f64]| movement(&series("kafka.consumer.lag", "1", &[0.0; 60], now), Meaning::Resource);
        assert_eq!(lag(&[0.0, 0.5, 0.5, 1.0]), None);
        assert!(lag(&[50.0, 150.0, 250.0, 400.0]).is_some_and(|(_, relative, _)| relative > 10.0));
        let share = series("system.cpu.utilization", "1", &[0.2; 60], &[0.9; 60]);
        assert!(movement(&share, Meaning::Resource).is_some());
    }

    #[test]
    fn extremes_and_machines_are_trusted_less() {
        assert!(trust_of("node.latency.p50") > trust_of("node.latency.p99"));
        assert!(trust_of("k8s.pod.cpu.usage") > trust_of("k8s.node.cpu.utilization"));
    }
}
