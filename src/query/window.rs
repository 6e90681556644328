//! Which time a question is about, and what it is compared with.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::diagnose::anomaly;
use crate::diagnose::evidence::Slice;
use crate::diagnose::verdict::{Anomaly, AnomalyKind};
use crate::model::rollup::{COARSE_SECONDS, FINE_SECONDS, Subject};
use crate::model::subject_map::SubjectMap;
use crate::model::time::{UnixNanos, Window};

/// Shortest baseline that is asked for, where so much is retained.
const BASELINE_MIN: Duration = Duration::from_secs(15 * 60);
/// Longest baseline.
const BASELINE_MAX: Duration = Duration::from_secs(6 * 3600);
/// Windows longer than this are summed in coarse buckets alone.
const RAGGED_MAX: Duration = Duration::from_secs(6 * 3600);
/// Onsets this close to the worst one's belong to the same trouble.
const SAME_TROUBLE: Duration = Duration::from_secs(120);

/// Severity from which on trouble is plain to see.
pub(super) const PLAIN_MIN: f64 = 0.5;
/// Part of the time of the busiest subject that one must take for its slowness to be felt.
const FELT_MIN: f64 = 0.05;
/// Trouble that was over sooner than this does not end the window: it may have been a first sign.
const TROUBLE_MIN: Duration = Duration::from_secs(120);
/// How late telemetry may come: whoever sent nothing for so long may not have been heard yet.
const LATE_MAX: Duration = Duration::from_secs(30);
/// Spans of a window that must have come before it is a matter of note that none comes any more.
const SPANS_MIN: u64 = 500;
/// Part of a silence in which nobody at all was heard from which on it is one of telemetry.
const UNHEARD_MIN: f64 = 0.8;

/// Steps of a timeline at most.
const STEPS_MAX: i64 = 240;
/// Windows up to this are looked at in fine steps.
const FINE_UP_TO_SECONDS: i64 = 31 * 60;

/// A window to explain and the one it is compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Comparison {
    /// The window to explain.
    pub now: Window,
    /// The window before it.
    pub before: Window,
}

/// A comparison around trouble that was noticed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trouble {
    /// What it suggests to compare; the plain comparison where nothing began inside the window.
    pub comparison: Comparison,
    /// Whether it is plain to see, and lasts to the end of the window.
    pub is_plain: bool,
}

/// The window and the time just before it, as long as the window within bounds.
pub fn plain(asked: Window) -> Comparison {
    let length = asked.length().clamp(BASELINE_MIN, BASELINE_MAX);
    Comparison { now: asked, before: Window::new(asked.from.minus(length), asked.from) }
}

/// The comparison that shows the trouble inside `asked`: where something began within it, what lies before that is
/// the better baseline. `slices` must reach back before the window; width is that of their buckets.
/// A silence of everybody is trouble only where `is_whole` says so: more often it is telemetry that is missing.
pub fn around_trouble(asked: Window, slices: &[Slice], is_whole: bool) -> Trouble {
    let none = Trouble { comparison: plain(asked), is_plain: false };
    let found = anomaly::anomalies(slices, &anomaly::Options::default());
    let times = times_within(asked, slices);
    let longest = times.values().copied().max().unwrap_or(0) as f64;
    let is_felt = |anomaly: &Anomaly| {
        let own = times.get(&anomaly.subject).copied().unwrap_or(0) as f64;
        anomaly.kind != AnomalyKind::Latency || own >= FELT_MIN * longest
    };
    let heard_in = Heard::of(slices);
    let inside: Vec<&Anomaly> = found
        .iter()
        .filter(|anomaly| overlaps(anomaly, asked) && is_symptom(anomaly) && is_felt(anomaly))
        .filter(|anomaly| is_whole || !heard_in.is_unheard(anomaly, asked.to))
        .collect();
    let rank = |anomaly: &Anomaly| (anomaly.kind != AnomalyKind::Silence, anomaly.severity);
    let worst = inside.iter().max_by(|a, b| {
        let ((a_loud, a_severity), (b_loud, b_severity)) = (rank(a), rank(b));
        a_loud.cmp(&b_loud).then(a_severity.total_cmp(&b_severity)).then(b.onset.cmp(&a.onset))
    });
    let Some(worst) = worst else { return none };
    // What began together is one trouble, and lasts until the last of it is over.
    let together: Vec<&&Anomaly> = inside
        .iter()
        .filter(|anomaly| anomaly.onset.plus(SAME_TROUBLE) >= worst.onset && rank(anomaly).0 == rank(worst).0)
        .collect();
    let onset = together.iter().map(|anomaly| anomaly.onset).min().unwrap_or(worst.onset);
    let known_before = slices.iter().any(|slice| slice.bucket_s < asked.from.seconds() - quarter_s(asked));
    let late = asked.from.plus(asked.length() / 2);
    if onset <= asked.from || known_before && onset < late {
        // Who asks for a window that is mostly trouble means all of it.
        return none;
    }
    let end = together.iter().map(|anomaly| anomaly.end.unwrap_or(asked.to)).max().unwrap_or(asked.to);
    let is_over = end < asked.to && end >= onset.plus(TROUBLE_MIN);
    let end = if is_over { end } else { asked.to };
    let length = Duration::max(asked.length(), BASELINE_MIN).min(BASELINE_MAX);
    let comparison =
        Comparison { now: Window::new(onset, end), before: Window::new(onset.minus(length), onset) };
    Trouble { comparison, is_plain: !is_over && worst.end.is_none() && worst.severity >= PLAIN_MIN }
}

/// The window up to the last span of any service, where none came for longer than telemetry is late.
pub fn heard(asked: Window, slices: &[Slice]) -> Window {
    let (from, to) = (asked.from.seconds(), asked.to.seconds());
    let heard = slices.iter().filter(|slice| slice.count > 0 && (from..to).contains(&slice.bucket_s));
    let of_operations = heard.clone().filter(|slice| matches!(slice.subject, Subject::Operation(_)));
    let spans: u64 = of_operations.map(|slice| slice.count).sum();
    let last = heard.map(|slice| UnixNanos::from_seconds(slice.bucket_s + slice.width_s)).max();
    match last {
        // Where spans come only now and then, that none came for a while says nothing.
        Some(last) if spans >= SPANS_MIN && last.plus(LATE_MAX) < asked.to => Window::new(asked.from, last),
        _ => asked,
    }
}

/// When anybody was heard.
pub(super) struct Heard {
    buckets: BTreeSet<i64>,
    width_s: i64,
}

impl Heard {
    pub(super) fn of(slices: &[Slice]) -> Self {
        let width_s = slices.iter().map(|slice| slice.width_s).min().unwrap_or(FINE_SECONDS);
        let heard = slices.iter().filter(|slice| slice.count > 0).map(|slice| slice.bucket_s);
        Self { buckets: heard.collect(), width_s }
    }

    /// `to`, or before it where nobody was heard any more: what has not come yet says nothing of anybody either.
    pub(super) fn until(&self, to: UnixNanos) -> UnixNanos {
        let end = self.buckets.last().map(|last| UnixNanos::from_seconds(last + self.width_s));
        end.map_or(to, |end| end.min(to))
    }

    /// True for a silence in which nobody else was heard either, up to `end` where it goes on: what was not received says
    /// nothing about a service.
    pub(super) fn is_unheard(&self, anomaly: &Anomaly, end: UnixNanos) -> bool {
        if anomaly.kind != AnomalyKind::Silence {
            return false;
        }
        let (from, to) =
            (anomaly.onset.seconds(), anomaly.end.unwrap_or(end).seconds().max(anomaly.onset.seconds()));
        let heard = self.buckets.range(from..to).count();
        (heard as i64 * self.width_s) as f64 <= (1.0 - UNHEARD_MIN) * (to - from) as f64
    }
}

/// A quarter of a window's length in seconds.
fn quarter_s(window: Window) -> i64 {
    i64::try_from(window.length().as_secs() / 4).unwrap_or(i64::MAX)
}

/// How much time each subject took within `window`.
fn times_within(window: Window, slices: &[Slice]) -> SubjectMap<u64> {
    let mut times: SubjectMap<u64> = SubjectMap::default();
    let (from, to) = (window.from.seconds(), window.to.seconds());
    for slice in slices.iter().filter(|slice| from < slice.bucket_s + slice.width_s && slice.bucket_s < to) {
        let sum = times.entry(slice.subject).or_default();
        *sum = sum.saturating_add(slice.sum_ns);
    }
    times
}

fn overlaps(anomaly: &Anomaly, window: Window) -> bool {
    anomaly.onset < window.to && anomaly.end.is_none_or(|end| end > window.from)
}

/// One instance that falls silent was retired or moved: its service tells whether anything is wrong.
pub(super) fn is_symptom(anomaly: &Anomaly) -> bool {
    match anomaly.kind {
        AnomalyKind::Errors | AnomalyKind::Latency => {
            matches!(anomaly.subject, Subject::Instance(..) | Subject::Operation(_))
        }
        AnomalyKind::Silence => matches!(anomaly.subject, Subject::Operation(_)),
        AnomalyKind::Traffic => false,
    }
}

/// A window cut where the buckets that sum it change their width.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    /// The part of the window; whole buckets, or ragged at the window's own ends.
    pub window: Window,
    /// The width of the buckets that fit it.
    pub width_seconds: i64,
}

/// Cuts a window into whole coarse buckets and, where its ends are ragged, fine ones, so that a window that ends where
/// trouble begins holds none of it. Beyond six hours a minute more or less does not matter.
pub fn parts(window: Window) -> Vec<Part> {
    let part = |from: i64, to: i64, width_seconds| {
        let window = Window::new(UnixNanos::from_seconds(from), UnixNanos::from_seconds(to));
        Part { window, width_seconds }
    };
    let fine = whole_buckets(window, FINE_SECONDS);
    let (from, to) = (fine.from.seconds(), fine.to.seconds());
    let coarse_from = (from + COARSE_SECONDS - 1).div_euclid(COARSE_SECONDS) * COARSE_SECONDS;
    let coarse_to = to.div_euclid(COARSE_SECONDS) * COARSE_SECONDS;
    if window.length() > RAGGED_MAX {
        let whole = whole_buckets(window, COARSE_SECONDS);
        return vec![part(whole.from.seconds(), whole.to.seconds(), COARSE_SECONDS)];
    }
    if coarse_from >= coarse_to {
        return vec![part(from, to, FINE_SECONDS)];
    }
    let cut = [
        part(from, coarse_from, FINE_SECONDS),
        part(coarse_from, coarse_to, COARSE_SECONDS),
        part(coarse_to, to, FINE_SECONDS),
    ];
    cut.into_iter().filter(|part| !part.window.length().is_zero()).collect()
}

/// The part of `window` that lies within `known`; none when nothing does.
pub fn clipped(window: Window, known: Window) -> Option<Window> {
    let (from, to) = (window.from.max(known.from), window.to.min(known.to));
    (from < to).then(|| Window::new(from, to))
}

/// Both windows of a comparison, cut to what is known; the baseline only where anything of it is. Where that begins does not
/// matter to some seconds: it begins with a minute, so that there is one ragged end less to be read in fine buckets.
pub fn known_part(comparison: Comparison, known: Window) -> (Window, Option<Window>) {
    let now = clipped(comparison.now, known).unwrap_or(comparison.now);
    let before = comparison.before;
    (now, clipped(Window::new(minute(before.from), before.to), known))
}

/// The beginning of the minute of an instant.
pub fn minute(at: UnixNanos) -> UnixNanos {
    UnixNanos::from_seconds(at.bucket_seconds(COARSE_SECONDS))
}

/// The window widened to whole buckets of `width_seconds`.
pub fn whole_buckets(window: Window, width_seconds: i64) -> Window {
    let from = UnixNanos::from_seconds(window.from.bucket_seconds(width_seconds));
    let last = UnixNanos(window.to.0.saturating_sub(1)).bucket_seconds(width_seconds);
    Window::new(from, UnixNanos::from_seconds(last + width_seconds))
}

/// The step of a timeline that suits a window: fine up to half an hour, then whole minutes, so many together that
/// there are at most [`STEPS_MAX`].
pub fn step_for(window: Window) -> i64 {
    let seconds = i64::try_from(window.length().as_secs()).unwrap_or(i64::MAX);
    if seconds <= FINE_UP_TO_SECONDS {
        return FINE_SECONDS;
    }
    (seconds / STEPS_MAX / COARSE_SECONDS + 1) * COARSE_SECONDS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_widen_to_whole_buckets() {
        let window = Window::new(UnixNanos::from_seconds(61), UnixNanos::from_seconds(120));
        assert_eq!(
            whole_buckets(window, 60),
            Window::new(UnixNanos::from_seconds(60), UnixNanos::from_seconds(120))
        );
        let window = Window::new(UnixNanos::from_seconds(59), UnixNanos(120_000_000_001));
        assert_eq!(
            whole_buckets(window, 60),
            Window::new(UnixNanos::from_seconds(0), UnixNanos::from_seconds(180))
        );
    }

    #[test]
    fn ragged_ends_are_summed_in_fine_buckets() {
        let at = |from, to| Window::new(UnixNanos::from_seconds(from), UnixNanos::from_seconds(to));
        let cut = |from, to| {
            parts(at(from, to)).into_iter().map(|part| (part.window, part.width_seconds)).collect::<Vec<_>>()
        };
        assert_eq!(cut(130, 310), [(at(130, 180), 10), (at(180, 300), 60), (at(300, 310), 10)]);
        assert_eq!(cut(120, 240), [(at(120, 240), 60)]);
        assert_eq!(cut(125, 170), [(at(120, 170), 10)]);
        assert_eq!(cut(10, 100_000), [(at(0, 100_020), 60)]);
    }

    #[test]
    fn a_quiet_window_is_compared_with_the_time_before() {
        let asked = Window::new(UnixNanos::from_seconds(10_000), UnixNanos::from_seconds(10_060));
        let comparison = around_trouble(asked, &[], false).comparison;
        assert_eq!(comparison.now, asked);
        assert_eq!(comparison.before.to, asked.from);
        assert_eq!(comparison.before.length(), BASELINE_MIN);
    }
}
