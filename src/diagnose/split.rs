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
/// Seconds between two instants in question.
const STEP_S: i64 = 10;
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
/// beyond chance.
pub fn split(window: Window, tracks: &[Track]) -> Option<UnixNanos> {
    let (mut votes, mut at) = most_changed(window, tracks)?;
    for _ in 0..LATER_MAX {
        let rest = Window::new(at, window.to);
        let later: Vec<Track> = tracks.iter().map(|track| track.since(at.seconds())).collect();
        match most_changed(rest, &later) {
            Some((more, then)) if more >= LATER_PART * votes => (votes, at) = (more, then),
            _ => break,
        }
    }
    Some(at)
}

/// How much changed at an instant; comparable between instants for the same tracks.
pub fn votes(tracks: &[Track], at: UnixNanos) -> f64 {
    tracks.iter().map(|track| vote(track, at.seconds())).sum()
}

/// Where the votes are highest.
fn most_changed(window: Window, tracks: &[Track]) -> Option<(f64, UnixNanos)> {
    let (from, to) = (window.from.seconds(), window.to.seconds());
    let side = (((to - from) as f64 * SIDE_MIN) as i64).max(2 * STEP_S);
    let mut best: Option<(f64, i64)> = None;
    let mut at = (from + side).div_euclid(STEP_S) * STEP_S;
    while at <= to - side {
        let votes: f64 = tracks.iter().map(|track| vote(track, at)).sum();
        if best.is_none_or(|(most, _)| votes > most) {
            best = Some((votes, at));
        }
        at += STEP_S;
    }
    best.filter(|(votes, _)| *votes >= VOTES_MIN).map(|(votes, at)| (votes, UnixNanos::from_seconds(at)))
}

impl Track {
    /// What comes from `at` on.
    fn since(&self, at: i64) -> Self {
        match self {
            Self::Level(points) => {
                Self::Level(points[points.partition_point(|point| point.0 < at)..].to_vec())
            }
            Self::Share(points) => {
                Self::Share(points[points.partition_point(|point| point.0 < at)..].to_vec())
            }
        }
    }
}

fn vote(track: &Track, at: i64) -> f64 {
    let strength = match track {
        Track::Level(points) => {
            let cut = points.partition_point(|point| point.0 < at);
            squared_t(&points[..cut], &points[cut..])
        }
        Track::Share(points) => {
            let sum = |points: &[(i64, u64, u64)]| {
                points.iter().fold((0, 0), |sum, it| (sum.0 + it.1, sum.1 + it.2))
            };
            let cut = points.partition_point(|point| point.0 < at);
            even_surprise(sum(&points[cut..]), sum(&points[..cut])).powi(2)
        }
    };
    if strength > VOTE_MIN { VOTE_SCALE * ((strength - VOTE_MIN) / VOTE_SCALE).ln_1p() } else { 0.0 }
}

/// The square of Welch's t of two halves; a fiftieth of the level is noise at least.
fn squared_t(before: &[(i64, f64)], after: &[(i64, f64)]) -> f64 {
    if before.len().min(after.len()) < HALF_MIN {
        return 0.0;
    }
    let ((mean_before, noise_before), (mean, noise)) = (mean_and_noise(before), mean_and_noise(after));
    (mean - mean_before).powi(2) / (noise_before + noise).max(f64::MIN_POSITIVE)
}

/// The mean and the square of its error.
fn mean_and_noise(points: &[(i64, f64)]) -> (f64, f64) {
    let count = points.len() as f64;
    let mean = points.iter().map(|point| point.1).sum::<f64>() / count;
    let squares = points.iter().map(|point| (point.1 - mean).powi(2)).sum::<f64>();
    (mean, (squares / (count - 1.0).max(1.0)).max((0.02 * mean).powi(2)) / count)
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
        let found = split(window(), &[quiet.clone(), stepping(1_200, 180.0), share]).unwrap();
        assert!((1_140..=1_200).contains(&found.seconds()), "{}", found.seconds());
        assert_eq!(split(window(), &[quiet]), None);
        assert_eq!(split(window(), &[]), None);
    }
}
