//! When something may have changed, where neither a symptom nor the time before the window tells: the instants at which
//! most of what was counted and measured changes its level at once.
//!
//! For each instant in question every track is cut in two, and the squared t value of the two halves (for shares: twice
//! the gain of likelihood) is its vote, capped so that one track cannot decide alone. Noise votes about 1 whatever the
//! instant, so votes count from 9 on.

use crate::model::time::{NANOS_PER_SECOND, UnixNanos, Window};

use super::stats::even_surprise;

/// What a vote must exceed.
const VOTE_MIN: f64 = 9.0;
/// From where on a vote grows ever slower.
const VOTE_SCALE: f64 = 100.0;
/// What all votes must come to.
const VOTES_MIN: f64 = 30.0;
/// Part of the votes of the first instant that another must have to be in question too.
const ALSO_PART: f64 = 0.35;
/// What the instant from which on somebody asks counts at least, as part of the votes of the first: who asks knows something.
const ASKED_PART: f64 = 0.8;
/// Instants in question at most.
pub const INSTANTS_MAX: usize = 3;
/// Steps around an instant that belong to it.
const OWN_STEPS: usize = 6;
/// How much better a slope must tell a track than a step does.
const SLOPE_MIN: f64 = 10.0;
/// Points that a track must have to be told by its slope.
const SLOPE_POINTS_MIN: usize = 12;
/// Points that each half of a track must have.
const HALF_MIN: usize = 2;
/// Seconds between two instants in question.
const STEP_S: i64 = 10;
/// Steps before and after an instant that are close to it: a minute.
const CLOSE_STEPS: i64 = 6;
/// What the votes of what is known by the step must come to for it to decide between these.
const REFINED_MIN: f64 = 20.0;
/// Part of the window that each side must keep.
const SIDE_MIN: f64 = 0.03;

/// Something followed over time. Times are seconds since the Unix epoch, in order.
#[derive(Debug, Clone, PartialEq)]
pub enum Track {
    /// Values at some times.
    Level(Vec<(i64, f64)>),
    /// Values that may pile up, such as the length of a queue.
    Pile(Vec<(i64, f64)>),
    /// So many of so many at some times.
    Share(Vec<(i64, u64, u64)>),
}

/// An instant at which things may have changed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Instant {
    /// When.
    pub at: UnixNanos,
    /// How much speaks for it, as part of what speaks for the first.
    pub weight: f64,
}

/// The instants within `window` at which most changed, the likeliest first; none where nothing did beyond chance.
/// Where the time before `since` is known, none before it, and `since` itself among them.
pub fn instants(window: Window, tracks: &[Track], since: Option<UnixNanos>) -> Vec<Instant> {
    let summed: Vec<Summed> = tracks.iter().map(Summed::new).collect();
    let votes = votes_over(window, &summed);
    let most = votes.iter().map(|(_, votes)| *votes).fold(0.0, f64::max);
    if most < VOTES_MIN {
        return Vec::new();
    }
    let all_seldom = !summed.iter().any(Summed::is_fine);
    let is_highest = |at: usize| {
        let (before, after) = (&votes[at.saturating_sub(OWN_STEPS)..at], &votes[at..]);
        let own = votes[at].1;
        // Of instants that nothing tells apart the first. Where all comes so seldom, what came first may be of both times.
        let is_first = before.last().is_none_or(|(_, other)| *other != own);
        let is_seldom =
            all_seldom && is_first && after.iter().take_while(|(_, other)| *other == own).count() > OWN_STEPS;
        is_seldom
            || before.iter().all(|(_, other)| *other < own)
                && after.iter().take(OWN_STEPS + 1).all(|(_, other)| *other <= own)
    };
    let highest = (0..votes.len()).filter(|at| is_highest(*at)).map(|at| votes[at]);
    let mut found: Vec<(UnixNanos, f64)> = highest
        .map(|(at, votes)| (refined(window, &summed, at), votes))
        .filter(|(at, votes)| *votes >= ALSO_PART * most && since.is_none_or(|since| *at > since))
        .collect();
    found.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    let asked = since.map(|since| (since, vote_of(&summed, since).max(ASKED_PART * most)));
    let mut kept: Vec<(UnixNanos, f64)> = asked.into_iter().collect();
    for (at, votes) in found {
        // What lies as close as a step is the same.
        let is_new = kept.iter().all(|(known, _)| (known.0 - at.0).abs() > STEP_S * NANOS_PER_SECOND);
        if is_new && kept.len() < INSTANTS_MAX {
            kept.push((at, votes));
        }
    }
    kept.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    let most = kept.first().map_or(most, |(_, most)| *most);
    kept.into_iter().map(|(at, votes)| Instant { at, weight: votes / most }).collect()
}

/// The votes for each instant in question.
fn votes_over(window: Window, tracks: &[Summed]) -> Vec<(UnixNanos, f64)> {
    let (from, to) = (window.from.seconds(), window.to.seconds());
    let side = (((to - from) as f64 * SIDE_MIN) as i64).max(2 * STEP_S);
    let first = (from + side).div_euclid(STEP_S) * STEP_S;
    let times = (0..).map(|step| first + STEP_S * step).take_while(|at| *at <= to - side);
    let mut votes: Vec<(i64, f64)> = times.map(|at| (at, 0.0)).collect();
    for track in tracks {
        // Instants rise: each cut lies where the one before it does, or further on.
        let (times, mut cut) = (track.times(), 0);
        for (at, sum) in &mut votes {
            cut += times[cut..].iter().take_while(|time| *time < at).count();
            *sum += track.vote_cut(*at, cut);
        }
    }
    votes.into_iter().map(|(at, votes)| (UnixNanos::from_seconds(at), votes)).collect()
}

/// The votes for one instant.
fn vote_of(tracks: &[Summed], at: UnixNanos) -> f64 {
    tracks.iter().map(|track| track.vote(at.seconds())).sum()
}

/// The instant close to `at` at which most changed of what is known by the step: minutes tell only in which minute.
fn refined(window: Window, tracks: &[Summed], at: UnixNanos) -> UnixNanos {
    let fine: Vec<&Summed> = tracks.iter().filter(|track| track.is_fine()).collect();
    let (from, to) = (window.from.seconds() + 2 * STEP_S, window.to.seconds() - 2 * STEP_S);
    let near = (-CLOSE_STEPS..=CLOSE_STEPS).map(|steps| at.seconds() + steps * STEP_S);
    let (mut most, mut when) = (REFINED_MIN, at.seconds());
    for then in near.filter(|then| (from..=to).contains(then)) {
        let votes: f64 = fine.iter().map(|track| track.vote(then)).sum();
        if votes > most {
            (most, when) = (votes, then);
        }
    }
    UnixNanos::from_seconds(when)
}

/// A track with running sums, so that a vote looks at no point.
enum Summed {
    /// Times; and the sums of the points before each, and of all. Times are counted from the first, values from the first.
    /// One that goes on rising or falling once it changed is told by its slope.
    Level { times: Vec<i64>, first: f64, sums: Vec<Sums>, slopes: bool },
    /// Times; and of the points before each, and of all, so many of so many.
    Share { times: Vec<i64>, sums: Vec<(u64, u64)> },
}

/// Sums over points: how many, of times, of values, and of their products.
#[derive(Debug, Clone, Copy, Default)]
struct Sums {
    count: f64,
    time: f64,
    value: f64,
    times: f64,
    values: f64,
    both: f64,
}

impl Sums {
    fn with(self, time: f64, value: f64) -> Self {
        Self {
            count: self.count + 1.0,
            time: self.time + time,
            value: self.value + value,
            times: self.times + time * time,
            values: self.values + value * value,
            both: self.both + time * value,
        }
    }

    fn without(self, other: Self) -> Self {
        Self {
            count: self.count - other.count,
            time: self.time - other.time,
            value: self.value - other.value,
            times: self.times - other.times,
            values: self.values - other.values,
            both: self.both - other.both,
        }
    }

    /// The mean, and the squares of what differs from it.
    fn mean(self) -> (f64, f64) {
        let mean = self.value / self.count;
        (mean, (self.values - self.value * mean).max(0.0))
    }
}

impl Summed {
    fn new(track: &Track) -> Self {
        let summed = Self::of(track);
        debug_assert!(summed.times().is_sorted(), "the points of a track lie in order");
        summed
    }

    fn of(track: &Track) -> Self {
        match track {
            Track::Level(points) | Track::Pile(points) => {
                let (begin, first) = points.first().copied().unwrap_or_default();
                let mut sums = vec![Sums::default()];
                for (time, value) in points {
                    let sum = sums.last().copied().unwrap_or_default();
                    sums.push(sum.with((time - begin) as f64, value - first));
                }
                let times: Vec<i64> = points.iter().map(|point| point.0).collect();
                let most = |strength: &dyn Fn(usize) -> f64| {
                    (HALF_MIN..=times.len().saturating_sub(HALF_MIN)).map(strength).fold(0.0, f64::max)
                };
                let may_slope = matches!(track, Track::Pile(_)) && times.len() >= SLOPE_POINTS_MIN;
                let slopes = may_slope && {
                    let stepping = most(&|cut| step_strength(&sums, cut, first));
                    most(&|cut| slope_strength(&sums, cut, times[cut] - begin, first)) > SLOPE_MIN * stepping
                };
                Self::Level { times, first, sums, slopes }
            }
            Track::Share(points) => {
                let mut sums = vec![(0, 0)];
                let (mut some, mut all) = (0, 0);
                for (_, part, whole) in points {
                    (some, all) = (some + part, all + whole);
                    sums.push((some, all));
                }
                Self::Share { times: points.iter().map(|point| point.0).collect(), sums }
            }
        }
    }

    /// Whether it tells one step from the next.
    fn is_fine(&self) -> bool {
        self.times().windows(2).any(|pair| pair[1] - pair[0] <= STEP_S)
    }

    fn times(&self) -> &[i64] {
        let (Self::Level { times, .. } | Self::Share { times, .. }) = self;
        times
    }

    /// How much what comes from `at` on differs from what comes before.
    fn vote(&self, at: i64) -> f64 {
        self.vote_cut(at, self.times().partition_point(|time| *time < at))
    }

    /// The same, where so many points come before `at`.
    fn vote_cut(&self, at: i64, cut: usize) -> f64 {
        if let Self::Share { sums, .. } = self
            && sums.last().is_none_or(|(some, all)| *some == 0 || some == all)
        {
            return 0.0;
        }
        let all = self.times().len();
        let strength = match self {
            Self::Level { .. } if cut.min(all - cut) < HALF_MIN => return 0.0,
            Self::Level { times, first, sums, slopes: true } => {
                slope_strength(sums, cut, at - times[0], *first)
            }
            Self::Level { first, sums, .. } => step_strength(sums, cut, *first),
            Self::Share { sums, .. } => {
                let half = |from: usize, to: usize| (sums[to].0 - sums[from].0, sums[to].1 - sums[from].1);
                even_surprise(half(cut, all), half(0, cut)).powi(2)
            }
        };
        if strength > VOTE_MIN { VOTE_SCALE * ((strength - VOTE_MIN) / VOTE_SCALE).ln_1p() } else { 0.0 }
    }
}

/// The sums of the points before the one at `cut`, and of the others.
fn halves(sums: &[Sums], cut: usize) -> (Sums, Sums) {
    let all = sums.last().copied().unwrap_or_default();
    (sums[cut], all.without(sums[cut]))
}

/// The least noise of a level, squared: a fiftieth of it.
fn least_noise(level: f64) -> f64 {
    (0.02 * level).powi(2).max(f64::MIN_POSITIVE)
}

/// The square of Welch's t of two halves: whether the level is another. Values are those above `first`.
fn step_strength(sums: &[Sums], cut: usize, first: f64) -> f64 {
    let (before, after) = halves(sums, cut);
    let half = |sums: Sums| {
        let (mean, squares) = sums.mean();
        let spread = squares / (sums.count - 1.0).max(1.0);
        (mean, spread.max(least_noise(first + mean)) / sums.count)
    };
    let ((mean_before, noise_before), (mean, noise)) = (half(before), half(after));
    (mean - mean_before).powi(2) / (noise_before + noise)
}

/// The square of the t of a slope that begins at the time `at`: whether what was level until then rises or falls since.
fn slope_strength(sums: &[Sums], cut: usize, at: i64, first: f64) -> f64 {
    let ((before, after), at) = (halves(sums, cut), at as f64);
    let (level, squares_before) = before.mean();
    // Sums of (time - at)², (value - level)² and of their product.
    let times = after.times - 2.0 * at * after.time + at * at * after.count;
    let values = after.values - 2.0 * level * after.value + level * level * after.count;
    let both = after.both - at * after.value - level * after.time + at * level * after.count;
    if times <= 0.0 {
        return 0.0;
    }
    let slope = both / times;
    let rest = squares_before + (values - slope * both).max(0.0);
    let noise = rest / (before.count + after.count - 2.0).max(1.0);
    slope * both / noise.max(least_noise(first + after.value / after.count))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window() -> Window {
        Window::new(UnixNanos::from_seconds(0), UnixNanos::from_seconds(1_800))
    }

    /// Values around 100 that are never quite the same.
    fn wavering(from: i64, to: i64, level: f64) -> Vec<(i64, f64)> {
        (from / 60..to / 60).map(|minute| (60 * minute, level + ((minute * 7919) % 13) as f64)).collect()
    }

    #[test]
    fn the_instant_at_which_several_tracks_change_is_found() {
        let stepping =
            |at: i64, level: f64| Track::Level([wavering(0, at, 100.0), wavering(at, 1_800, level)].concat());
        let share =
            Track::Share((0..30).map(|minute| (60 * minute, if minute < 20 { 9 } else { 1 }, 10)).collect());
        let quiet = Track::Level(wavering(0, 1_800, 100.0));
        let found = instants(window(), &[quiet.clone(), stepping(1_200, 180.0), share], None)[0].at;
        assert!((1_140..=1_200).contains(&found.seconds()), "{}", found.seconds());
        assert_eq!(instants(window(), &[quiet], None), []);
        let rising = |(time, value): (i64, f64)| (time, value + 0.5 * (time - 900).max(0) as f64);
        let rising = Track::Pile(wavering(0, 1_800, 100.0).into_iter().map(rising).collect());
        let found = instants(window(), &[rising], None)[0].at;
        assert!((840..=960).contains(&found.seconds()), "{}", found.seconds());
        assert_eq!(instants(window(), &[], None), []);
    }
}
