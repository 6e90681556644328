//! When something changed, where neither a symptom nor the time before the window tells: the instant at which most of
//! what was counted and measured changes its level at once.
//!
//! For each instant in question every track is cut in two, and the squared t value of the two halves (for shares: twice
//! the gain of likelihood) is its vote, capped so that one track cannot decide alone. Noise votes about 1 whatever the
//! instant, so votes count from 9 on.

use crate::model::time::{UnixNanos, Window};

use super::stats::even_surprise;

/// What a vote must exceed.
const VOTE_MIN: f64 = 9.0;
/// From where on a vote grows ever slower.
const VOTE_SCALE: f64 = 100.0;
/// What all votes must come to.
const VOTES_MIN: f64 = 30.0;
/// Part of the votes that a later instant must have to be the one.
const LATER_PART: f64 = 0.9;
/// Times that a later one is looked for.
const LATER_MAX: usize = 1;
/// Points that each half of a track must have.
const HALF_MIN: usize = 2;
/// Part of what changed most that must have changed where the asked window begins, for it to be meant as it was asked for.
const AS_ASKED_PART: f64 = 0.8;
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
    /// So many of so many at some times.
    Share(Vec<(i64, u64, u64)>),
}

/// The instant within `window` at which most changed, or a later one at which nearly as much did; none where nothing did
/// beyond chance, nor before `since` or where nearly as much changed there.
pub fn split(window: Window, tracks: &[Track], since: Option<UnixNanos>) -> Option<UnixNanos> {
    let summed: Vec<Summed> = tracks.iter().map(Summed::new).collect();
    let (mut votes, mut at) = most_changed(window, &summed, i64::MIN)?;
    for _ in 0..LATER_MAX {
        let rest = Window::new(at, window.to);
        match most_changed(rest, &summed, at.seconds()) {
            Some((more, then)) if more >= LATER_PART * votes => (votes, at) = (more, then),
            _ => break,
        }
    }
    let at = refined(window, &summed, at);
    let Some(since) = since else { return Some(at) };
    let votes = |at: UnixNanos| summed.iter().map(|track| track.vote(i64::MIN, at.seconds())).sum::<f64>();
    (at > since && votes(since) < AS_ASKED_PART * votes(at)).then_some(at)
}

/// Where the votes are highest, among what comes from `since` on.
fn most_changed(window: Window, tracks: &[Summed], since: i64) -> Option<(f64, UnixNanos)> {
    let (from, to) = (window.from.seconds(), window.to.seconds());
    let side = (((to - from) as f64 * SIDE_MIN) as i64).max(2 * STEP_S);
    let mut best: Option<(f64, i64)> = None;
    let mut at = (from + side).div_euclid(STEP_S) * STEP_S;
    while at <= to - side {
        let votes: f64 = tracks.iter().map(|track| track.vote(since, at)).sum();
        if best.is_none_or(|(most, _)| votes > most) {
            best = Some((votes, at));
        }
        at += STEP_S;
    }
    best.filter(|(votes, _)| *votes >= VOTES_MIN).map(|(votes, at)| (votes, UnixNanos::from_seconds(at)))
}

/// The instant close to `at` at which most changed of what is known by the step: minutes tell only in which minute.
fn refined(window: Window, tracks: &[Summed], at: UnixNanos) -> UnixNanos {
    let fine: Vec<&Summed> = tracks.iter().filter(|track| track.is_fine()).collect();
    let (from, to) = (window.from.seconds() + 2 * STEP_S, window.to.seconds() - 2 * STEP_S);
    let near = (-CLOSE_STEPS..=CLOSE_STEPS).map(|steps| at.seconds() + steps * STEP_S);
    let (mut most, mut when) = (REFINED_MIN, at.seconds());
    for then in near.filter(|then| (from..=to).contains(then)) {
        let votes: f64 = fine.iter().map(|track| track.vote(i64::MIN, then)).sum();
        if votes > most {
            (most, when) = (votes, then);
        }
    }
    UnixNanos::from_seconds(when)
}

/// A track with running sums, so that a vote looks at no point.
enum Summed {
    /// Times; and of the points before each, and of all, the sums of what they are above the first and of its squares.
    Level { times: Vec<i64>, first: f64, sums: Vec<(f64, f64)> },
    /// Times; and of the points before each, and of all, so many of so many.
    Share { times: Vec<i64>, sums: Vec<(u64, u64)> },
}

impl Summed {
    fn new(track: &Track) -> Self {
        match track {
            Track::Level(points) => {
                let first = points.first().map_or(0.0, |point| point.1);
                let mut sums = vec![(0.0, 0.0)];
                let (mut sum, mut squares) = (0.0, 0.0);
                for (_, value) in points {
                    sum += value - first;
                    squares += (value - first).powi(2);
                    sums.push((sum, squares));
                }
                Self::Level { times: points.iter().map(|point| point.0).collect(), first, sums }
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
        let (Self::Level { times, .. } | Self::Share { times, .. }) = self;
        times.windows(2).any(|pair| pair[1] - pair[0] <= STEP_S)
    }

    /// How much what comes from `at` on differs from what comes between `since` and it.
    fn vote(&self, since: i64, at: i64) -> f64 {
        let strength = match self {
            Self::Level { times, first, sums } => {
                let (from, cut) = bounds(times, since, at);
                if (cut - from).min(times.len() - cut) < HALF_MIN {
                    return 0.0;
                }
                let half = |from: usize, to: usize| {
                    let (sum, squares) = (sums[to].0 - sums[from].0, sums[to].1 - sums[from].1);
                    mean_and_noise((to - from) as f64, sum, squares, *first)
                };
                squared_t(half(from, cut), half(cut, times.len()))
            }
            Self::Share { times, sums } => {
                let (from, cut) = bounds(times, since, at);
                let half = |from: usize, to: usize| (sums[to].0 - sums[from].0, sums[to].1 - sums[from].1);
                even_surprise(half(cut, times.len()), half(from, cut)).powi(2)
            }
        };
        if strength > VOTE_MIN { VOTE_SCALE * ((strength - VOTE_MIN) / VOTE_SCALE).ln_1p() } else { 0.0 }
    }
}

/// The positions of the first point from `since` on, and of the first from `at` on.
fn bounds(times: &[i64], since: i64, at: i64) -> (usize, usize) {
    let from = times.partition_point(|time| *time < since);
    (from, times.partition_point(|time| *time < at).max(from))
}

/// The square of Welch's t of two halves, of which the mean and the square of its error are known.
fn squared_t((mean_before, noise_before): (f64, f64), (mean, noise): (f64, f64)) -> f64 {
    (mean - mean_before).powi(2) / (noise_before + noise).max(f64::MIN_POSITIVE)
}

/// The mean and the square of its error; a fiftieth of the level is noise at least. The sums are of what is above `first`.
fn mean_and_noise(count: f64, sum: f64, squares: f64, first: f64) -> (f64, f64) {
    let above = sum / count;
    let spread = (squares - sum * above).max(0.0) / (count - 1.0).max(1.0);
    let mean = first + above;
    (mean, spread.max((0.02 * mean).powi(2)) / count)
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
        let found = split(window(), &[quiet.clone(), stepping(1_200, 180.0), share], None).unwrap();
        assert!((1_140..=1_200).contains(&found.seconds()), "{}", found.seconds());
        assert_eq!(split(window(), &[quiet], None), None);
        assert_eq!(split(window(), &[], None), None);
    }
}
