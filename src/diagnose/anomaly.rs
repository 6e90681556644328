//! Episodes in which a subject leaves its baseline, bucket by bucket.
//!
//! The baseline of a bucket is the median and the median deviation of the buckets before it that were normal
//! themselves, so that an incident never becomes its own baseline. An episode begins with the first of
//! [`Options::buckets_min`] deviating buckets and ends with as many normal ones: one anomaly each, not one a bucket.
//! Traffic that rises and traffic that falls are two. That an instance ends is none where others take its requests over.

use std::collections::{BTreeMap, VecDeque};

use crate::model::rollup::Subject;
use crate::model::subject_map::SubjectMap;
use crate::model::time::UnixNanos;

use super::evidence::Slice;
use super::replaced::Replaced;
use super::stats::{deviation_from, rate_surprise, saturate, share_surprise};
use super::verdict::{Anomaly, AnomalyKind};

/// How anomalies are told from noise.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Options {
    /// Normal buckets that a baseline must hold before anything is judged; fewer make anomalies earlier and falser.
    pub baseline_min: usize,
    /// Normal buckets that a baseline holds at most; more make it slower to follow.
    pub baseline_max: usize,
    /// Deviating buckets that make an episode, and normal ones that end it.
    pub buckets_min: usize,
    /// Calls that a bucket must hold to be judged by errors or latency.
    pub count_min: u64,
    /// Standard deviations that a deviating bucket must leave behind.
    pub surprise_min: f64,
    /// Seconds by which telemetry may be late: so close to the end of the series, and as close as the subject's calls take,
    /// what is missing may be still to come. More make falls known later.
    pub late_s: i64,
    /// Buckets of one subject after which a lasting change of level becomes the baseline.
    pub episode_max: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            baseline_min: 6,
            baseline_max: 60,
            buckets_min: 2,
            count_min: 5,
            surprise_min: 4.5,
            late_s: 30,
            episode_max: 360,
        }
    }
}

/// Failures that a bucket must hold to deviate by errors.
const ERRORS_MIN: u64 = 3;
/// Most buckets of one subject; what lies before the last so many is left out.
const BUCKETS_MAX: usize = 100_000;

/// The anomalies of all subjects by onset, then by subject and kind.
///
/// Slices may come in any order; two of the same subject and bucket are added up. Missing buckets between the
/// first and the last bucket of the whole series count as empty ones.
pub fn anomalies(series: &[Slice], options: &Options) -> Vec<Anomaly> {
    let Some(last) =
        series.iter().map(|slice| (slice.bucket_s + slice.width_s.max(1), slice.width_s.max(1))).max()
    else {
        return Vec::new();
    };
    let mut found: Vec<Anomaly> = Vec::new();
    for (subject, mut buckets) in by_subject(series) {
        // They are most often in order already.
        buckets.sort_by_key(|slice| slice.bucket_s);
        let filled = filled(&buckets, last.0);
        // A call is counted where it began, and known once it is over.
        let count = filled.iter().map(|bucket| bucket.count).sum();
        let sum_ns = filled.iter().map(|bucket| bucket.sum_ns as f64).sum();
        let length_s = filled.first().map_or(0, |first| last.0 - first.bucket_s);
        let settled_s = (last.0 - options.late_s - usual_s(count, sum_ns).min(length_s / 3)).min(last.0 - 1);
        let mut kinds = vec![AnomalyKind::Latency, AnomalyKind::Traffic];
        if filled.iter().any(|bucket| bucket.errors >= ERRORS_MIN) {
            kinds.push(AnomalyKind::Errors);
        }
        for kind in kinds {
            found.extend(Detector { options, kind, subject, settled_s }.run(&filled));
        }
    }
    let replaced = Replaced::new(series, options.late_s);
    found.retain(|anomaly| !replaced.is(anomaly));
    found.sort_by_key(|anomaly| (anomaly.onset, anomaly.subject, anomaly.kind));
    found
}

/// The slices of each subject and width, by subject and width.
fn by_subject(series: &[Slice]) -> Vec<(Subject, Vec<Slice>)> {
    let mut by_width: BTreeMap<i64, SubjectMap<Vec<Slice>>> = BTreeMap::new();
    for slice in series {
        let own = by_width.entry(slice.width_s.max(1)).or_default();
        own.entry(slice.subject).or_default().push(*slice);
    }
    let mut all: Vec<(Subject, Vec<Slice>)> = by_width.into_values().flatten().collect();
    all.sort_by_key(|(subject, _)| *subject);
    all
}

fn add(known: &mut Slice, more: &Slice) {
    known.count += more.count;
    known.errors += more.errors;
    known.sum_ns = known.sum_ns.saturating_add(more.sum_ns);
    known.other_ns = known.other_ns.saturating_add(more.other_ns);
}

/// All buckets from the subject's first to the end of the whole series, empty ones included. `buckets` are those of one
/// subject and width that hold anything, in order; some may be of the same bucket.
fn filled(buckets: &[Slice], end_s: i64) -> Vec<Slice> {
    let (Some(first), Some(latest)) = (buckets.first(), buckets.last()) else { return Vec::new() };
    let (subject, width_s) = (first.subject, first.width_s.max(1));
    let span = i64::try_from(BUCKETS_MAX).unwrap_or(i64::MAX).saturating_mul(width_s);
    let end_s = end_s.max(latest.bucket_s.saturating_add(1));
    let mut at = if end_s.saturating_sub(first.bucket_s) > span { end_s - span } else { first.bucket_s };
    let begin = at;
    let mut rest = buckets.iter().skip_while(|slice| slice.bucket_s < begin).peekable();
    let mut filled = Vec::new();
    while at < end_s {
        let mut bucket =
            Slice { subject, bucket_s: at, width_s, count: 0, errors: 0, sum_ns: 0, other_ns: 0 };
        while let Some(slice) = rest.next_if(|slice| slice.bucket_s < at + width_s) {
            add(&mut bucket, slice);
        }
        // The last bucket may still be filling and is no sign of silence.
        if !(bucket.count == 0 && at + 2 * width_s > end_s) {
            filled.push(bucket);
        }
        at += width_s;
    }
    filled
}

/// How long so many calls of a subject usually take that took so much time together, in seconds and with some to spare.
pub(super) fn usual_s(count: u64, sum_ns: f64) -> i64 {
    (1.5 * sum_ns / count.max(1) as f64 / 1e9) as i64
}

/// Finds the episodes of one subject and kind.
struct Detector<'o> {
    options: &'o Options,
    kind: AnomalyKind,
    subject: Subject,
    /// Up to where all that there was is known.
    settled_s: i64,
}

/// The normal buckets before the one that is judged.
#[derive(Default)]
struct Normal {
    buckets: VecDeque<Slice>,
    /// The levels of those that have one, the lowest first.
    levels: Vec<f64>,
}

impl Normal {
    /// The middle of all levels; 0 where there are none.
    fn median(&self) -> f64 {
        let middle = self.levels.len() / 2;
        match (self.levels.get(middle), middle.checked_sub(1).and_then(|below| self.levels.get(below))) {
            (Some(upper), Some(lower)) if self.levels.len().is_multiple_of(2) => {
                f64::midpoint(*lower, *upper)
            }
            (Some(level), _) => *level,
            (None, _) => 0.0,
        }
    }
}

/// An episode that is being followed.
struct Episode {
    onset_s: i64,
    before: f64,
    peak: f64,
    severity: f64,
    silent: bool,
    buckets: Vec<Slice>,
    calm: usize,
    calm_since_s: i64,
}

impl Detector<'_> {
    fn run(&self, buckets: &[Slice]) -> Vec<Anomaly> {
        let mut normal = Normal::default();
        let mut found = Vec::new();
        let mut episode: Option<Episode> = None;
        for bucket in buckets {
            let verdict = self.judge(bucket, &normal);
            let Some(current) = &mut episode else {
                match verdict {
                    Some(Judged { deviates: true, value, before, severity }) => {
                        episode = Some(Episode::new(bucket, value, before, severity));
                    }
                    _ => self.learn(&mut normal, bucket),
                }
                continue;
            };
            match verdict {
                Some(judged) if judged.deviates && !current.goes_the_way_of(&judged) => {
                    let Judged { value, before, severity, .. } = judged;
                    let over = std::mem::replace(current, Episode::new(bucket, value, before, severity));
                    let over_s = if over.calm > 0 { over.calm_since_s } else { bucket.bucket_s };
                    found.extend(self.over(&over, over_s, &mut normal));
                    continue;
                }
                Some(Judged { deviates: true, value, severity, .. }) => {
                    current.extend(bucket, value, severity)
                }
                Some(_) => current.rest(bucket),
                None => {}
            }
            let lasts = current.buckets.len() >= self.options.buckets_min;
            if current.calm >= self.options.buckets_min || (!lasts && current.calm > 0) {
                found.extend(self.over(current, current.calm_since_s, &mut normal));
                self.learn(&mut normal, bucket);
                episode = None;
            } else if current.buckets.len() >= self.options.episode_max {
                found.push(self.close(current, None));
                normal = Normal::default();
                let level: Vec<Slice> = current.buckets.drain(..).collect();
                level.iter().for_each(|bucket| self.learn(&mut normal, bucket));
                episode = None;
            }
        }
        found.extend(
            episode.filter(|it| it.buckets.len() >= self.options.buckets_min).map(|it| self.close(&it, None)),
        );
        found
    }

    /// What ended at `over_s`; the buckets of what did not last are normal after all.
    fn over(&self, episode: &Episode, over_s: i64, normal: &mut Normal) -> Option<Anomaly> {
        if episode.buckets.len() >= self.options.buckets_min {
            return Some(self.close(episode, Some(UnixNanos::from_seconds(over_s))));
        }
        episode.buckets.iter().for_each(|bucket| self.learn(normal, bucket));
        None
    }

    fn learn(&self, normal: &mut Normal, bucket: &Slice) {
        normal.buckets.push_back(*bucket);
        if let Some(level) = self.level(bucket) {
            let at = normal.levels.partition_point(|other| other.total_cmp(&level).is_lt());
            normal.levels.insert(at, level);
        }
        while normal.buckets.len() > self.options.baseline_max.max(1) {
            let Some(level) = normal.buckets.pop_front().and_then(|bucket| self.level(&bucket)) else {
                continue;
            };
            if let Ok(at) = normal.levels.binary_search_by(|other| other.total_cmp(&level)) {
                normal.levels.remove(at);
            }
        }
    }

    /// What of a bucket has a level; none where it says nothing of it.
    fn level(&self, bucket: &Slice) -> Option<f64> {
        match self.kind {
            AnomalyKind::Errors => None,
            AnomalyKind::Latency if bucket.count < self.options.count_min => None,
            AnomalyKind::Latency => Some(bucket.sum_ns as f64 / bucket.count as f64),
            AnomalyKind::Traffic | AnomalyKind::Silence => Some(bucket.count as f64),
        }
    }

    fn close(&self, episode: &Episode, end: Option<UnixNanos>) -> Anomaly {
        Anomaly {
            subject: self.subject,
            kind: if self.kind == AnomalyKind::Traffic && episode.silent {
                AnomalyKind::Silence
            } else {
                self.kind
            },
            onset: UnixNanos::from_seconds(episode.onset_s),
            end,
            peak: episode.peak,
            before: episode.before,
            severity: episode.severity.clamp(0.0, 1.0),
        }
    }

    /// Compares a bucket with the normal ones before it; none where it cannot be judged.
    fn judge(&self, bucket: &Slice, normal: &Normal) -> Option<Judged> {
        if normal.buckets.len() < self.options.baseline_min.max(1) {
            return None;
        }
        match self.kind {
            AnomalyKind::Errors => self.judge_errors(bucket, normal),
            AnomalyKind::Latency => self.judge_latency(bucket, normal),
            AnomalyKind::Traffic | AnomalyKind::Silence => {
                let judged = self.judge_traffic(bucket, normal);
                // That a bucket holds little which may still be filling says nothing.
                let is_settled = bucket.bucket_s + bucket.width_s <= self.settled_s;
                (is_settled || judged.value >= judged.before).then_some(judged)
            }
        }
    }

    fn judge_errors(&self, bucket: &Slice, normal: &Normal) -> Option<Judged> {
        if bucket.count < self.options.count_min {
            return None;
        }
        if bucket.errors < ERRORS_MIN {
            return Some(Judged::CALM);
        }
        let tries: u64 = normal.buckets.iter().map(|slice| slice.count).sum();
        let failed: u64 = normal.buckets.iter().map(|slice| slice.errors).sum();
        let value = bucket.errors as f64 / bucket.count as f64;
        let before = if tries == 0 { 0.0 } else { failed as f64 / tries as f64 };
        let surprise = share_surprise(bucket.errors as f64, bucket.count as f64, failed as f64, tries as f64);
        let deviates = surprise > self.options.surprise_min && value > before + 0.01;
        Some(Judged { deviates, value, before, severity: saturate(value - before, 0.1) })
    }

    fn judge_latency(&self, bucket: &Slice, normal: &Normal) -> Option<Judged> {
        let value = self.level(bucket)?;
        if normal.levels.len() < self.options.baseline_min.max(1) {
            return None;
        }
        let before = normal.median();
        if value <= 1.3 * before {
            return Some(Judged::CALM);
        }
        let spread = deviation_from(before, &normal.levels).max(0.08 * before).max(1.0);
        let deviates = value - before > self.options.surprise_min * spread;
        Some(Judged { deviates, value, before, severity: saturate(value / before.max(1.0) - 1.0, 2.0) })
    }

    fn judge_traffic(&self, bucket: &Slice, normal: &Normal) -> Judged {
        let counts = &normal.levels;
        let level = normal.median();
        let (count, width_s) = (bucket.count as f64, bucket.width_s as f64);
        if count != 0.0 && (0.5 * level..=2.0 * level).contains(&count) {
            return Judged::CALM;
        }
        let spread = deviation_from(level, counts).max(level.sqrt()).max(0.1 * level).max(1.0);
        let spreads = (count - level).abs() / spread;
        let surprise = rate_surprise(count, 1.0, counts.iter().sum(), counts.len() as f64).abs();
        let multiple = count > 2.0 * level || count < 0.5 * level;
        let volume = count.max(level) >= 2.0 * self.options.count_min as f64;
        let deviates = multiple
            && volume
            && spreads > self.options.surprise_min
            && surprise > 0.7 * self.options.surprise_min
            || count == 0.0
                && level >= 2.0 * self.options.count_min as f64
                && surprise > 0.7 * self.options.surprise_min;
        let far = if count < level {
            1.0 - count / level.max(1.0)
        } else {
            saturate(count / level.max(1.0) - 1.0, 4.0)
        };
        Judged { deviates, value: count / width_s, before: level / width_s, severity: far }
    }
}

/// What comparing a bucket with its baseline says.
struct Judged {
    deviates: bool,
    value: f64,
    before: f64,
    severity: f64,
}

impl Judged {
    /// Plainly within the baseline; the measures of such buckets are never shown.
    const CALM: Self = Self { deviates: false, value: 0.0, before: 0.0, severity: 0.0 };
}

impl Episode {
    fn new(bucket: &Slice, value: f64, before: f64, severity: f64) -> Self {
        let mut episode = Self {
            onset_s: bucket.bucket_s,
            before,
            peak: value,
            severity,
            silent: true,
            buckets: Vec::new(),
            calm: 0,
            calm_since_s: bucket.bucket_s,
        };
        episode.extend(bucket, value, severity);
        episode
    }

    /// Whether a bucket that deviates is on the same side of the baseline.
    fn goes_the_way_of(&self, judged: &Judged) -> bool {
        (self.peak > self.before) == (judged.value > judged.before)
    }

    fn extend(&mut self, bucket: &Slice, value: f64, severity: f64) {
        if severity > self.severity {
            (self.peak, self.severity) = (value, severity);
        }
        self.silent &= (bucket.count as f64) < 0.1 * self.before * bucket.width_s as f64;
        self.buckets.push(*bucket);
        self.calm = 0;
    }

    fn rest(&mut self, bucket: &Slice) {
        if self.calm == 0 {
            self.calm_since_s = bucket.bucket_s;
        }
        self.calm += 1;
    }
}
