//! Tells apart senders that share one identity.
//!
//! Each stream of cumulative points should have one writer (data model, "Single-Writer"). Processes of one service whose
//! resources do not tell them apart break that: read as one sequence, their points fall and rise at every export. What
//! tells them apart is the start that each of them names: a sequence that goes on beside another one gets a series of its
//! own with the same labels, so that what both counted adds up.

use std::collections::HashMap;

use foldhash::fast::RandomState;

use super::rows::{PointRow, SeriesDefinition};
use crate::model::id::SeriesId;
use crate::model::metric::{MetricKind, PointValue, START_WANDER_NS, Temporality};

/// Most writers of one identity that are told apart; the points of more go to its first series.
const WRITERS_MAX: u8 = 64;

/// How far apart two starts of one sequence may lie whose value may fall, so that it does not tell senders apart.
const LEVEL_WANDER_NS: u64 = 50_000_000;

/// The newest sequence of each writer, since the server started. Writers of a series are numbered from zero, the number
/// of one that has stopped goes to the next sequence that begins after that.
#[derive(Debug, Default)]
pub(super) struct Writers {
    newest: HashMap<(SeriesId, u8), Sequence, RandomState>,
}

/// What a commit changes in [`Writers`] once it succeeded.
pub(super) type Staged = HashMap<(SeriesId, u8), Sequence, RandomState>;

/// A cumulative sequence as far as it is known.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Sequence {
    start_ns: i64,
    /// The latest time of its points.
    time_ns: i64,
    /// How far apart its last points lie; zero where there was one alone.
    every_ns: i64,
    /// How much the point that came last has counted.
    size: f64,
    /// Of the first writer: how many writers the series has.
    writers: u8,
}

/// Where a point belongs.
enum Place {
    /// To the sequence of this writer, or after it.
    Writer(u8),
    /// Before the sequence of this writer: it comes late.
    Before(u8),
    /// To none that is known.
    Beside,
}

impl Writers {
    /// Which writer of `series` sent the point of `row`: zero for the first one and for points that do not tell.
    pub(super) fn writer(&self, series: SeriesId, row: &PointRow, staged: &mut Staged) -> u8 {
        let Some(mut now) = Sequence::of(row) else { return 0 };
        let newest = |writer, staged: &Staged| {
            let key = (series, writer);
            staged.get(&key).or_else(|| self.newest.get(&key)).copied()
        };
        let first = newest(0, staged);
        let count = first.map_or(0, |first| first.writers);
        let place = match first {
            None => Place::Writer(0),
            Some(first) if first.start_ns == now.start_ns => Place::Writer(0),
            Some(_) => {
                let known: Vec<Sequence> = (0..count).filter_map(|writer| newest(writer, staged)).collect();
                now.place_among(&known, only_grows(&row.series))
            }
        };
        let writer = match place {
            Place::Writer(writer) => writer,
            Place::Before(writer) => return writer,
            Place::Beside if count < WRITERS_MAX => count,
            Place::Beside => return 0,
        };
        if matches!(row.point.value, PointValue::Gap) {
            // The end of a sequence says nothing about others.
            return if writer < count { writer } else { 0 };
        }
        if let Some(known) = newest(writer, staged) {
            now.follow(&known);
        }
        now.writers = count.max(1);
        staged.insert((series, writer), now);
        if writer == count
            && let Some(first) = first
        {
            staged.insert((series, 0), Sequence { writers: count + 1, ..first });
        }
        writer
    }

    /// Takes over what [`Writers::writer`] staged.
    pub(super) fn take(&mut self, staged: Staged) {
        self.newest.extend(staged);
    }

    /// Forgets the writers of a series.
    pub(super) fn forget(&mut self, series: SeriesId) {
        let writers = self.newest.get(&(series, 0)).map_or(0, |first| first.writers);
        for writer in 0..writers {
            self.newest.remove(&(series, writer));
        }
    }
}

impl Sequence {
    /// The sequence of a point that counts since a start; none of others.
    fn of(row: &PointRow) -> Option<Self> {
        let definition = &row.series;
        if definition.temporality != Temporality::Cumulative && definition.kind != MetricKind::Summary {
            return None;
        }
        let (start_ns, time_ns) = (row.point.start.0, row.point.time.0);
        let size = match row.point.value {
            PointValue::Gap => 0.0,
            PointValue::Int(value) => value as f64,
            PointValue::Double(value) => value,
            PointValue::Distribution { count, .. } => count as f64,
        };
        // A point that names its own time says only that the true start is not known.
        let told = start_ns != 0 && start_ns < time_ns;
        told.then_some(Self { start_ns, time_ns, every_ns: 0, size, writers: 1 })
    }

    /// Takes over what is known of the same writer.
    fn follow(&mut self, known: &Self) {
        let apart_ns = self.time_ns.saturating_sub(known.time_ns);
        let is_next = apart_ns > 0 && self.start_ns.abs_diff(known.start_ns) <= START_WANDER_NS;
        self.every_ns = if is_next { apart_ns } else { known.every_ns };
        self.time_ns = self.time_ns.max(known.time_ns);
    }

    /// Where this one belongs among the `known` sequences.
    fn place_among(&self, known: &[Self], only_grows: bool) -> Place {
        let numbered = || (0_u8..).zip(known);
        let same = numbered().find(|(_, it)| it.start_ns == self.start_ns);
        // After one that has stopped: of several the one that has been silent for longest.
        let stopped =
            || numbered().filter(|(_, it)| it.has_stopped_before(self)).min_by_key(|(_, it)| it.time_ns);
        // One sender's start that wanders with its clock.
        let wander_ns = if only_grows { START_WANDER_NS } else { LEVEL_WANDER_NS };
        let wandered = || {
            let grew = |it: &Self| !only_grows || it.size <= self.size;
            numbered().find(|(_, it)| it.start_ns.abs_diff(self.start_ns) <= wander_ns && grew(it))
        };
        if let Some((writer, _)) = same.or_else(stopped).or_else(wandered) {
            return Place::Writer(writer);
        }
        let after =
            numbered().filter(|(_, it)| self.time_ns <= it.start_ns).min_by_key(|(_, it)| it.start_ns);
        after.map_or(Place::Beside, |(writer, _)| Place::Before(writer))
    }

    /// Whether it was over before `other` began: nothing of it had come when its next point was about due. A sender between two
    /// of its points has not stopped; one that is asked at set times comes in time whether it began anew or not.
    const fn has_stopped_before(&self, other: &Self) -> bool {
        let every_ns =
            if self.every_ns > 0 { self.every_ns } else { self.time_ns.saturating_sub(self.start_ns) };
        let due_ns = self.time_ns.saturating_add(every_ns - every_ns / 8);
        self.time_ns <= other.start_ns && due_ns <= other.time_ns
    }
}

/// True when a value that fell belongs to another sequence.
fn only_grows(definition: &SeriesDefinition) -> bool {
    definition.kind != MetricKind::Sum || definition.monotonic
}
