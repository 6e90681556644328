//! Tells apart senders that share one identity.
//!
//! Each stream of cumulative points should have one writer (data model, "Single-Writer"). Processes of one service whose
//! resources do not tell them apart break that: read as one sequence, their points fall and rise at every export. What
//! tells them apart is the start that each of them names: a sequence that goes on beside another one gets a series of its
//! own with the same labels, so that what both counted adds up.

use std::collections::HashMap;

use super::rows::{PointRow, SeriesDefinition};
use crate::model::id::SeriesId;
use crate::model::metric::{MetricKind, PointValue, START_WANDER_NS, Temporality};

/// Most writers of one identity that are told apart; the points of more go to its first series.
const WRITERS_MAX: u8 = 64;

/// The newest sequence of each writer, since the server started. Writers of a series are numbered from zero, the number
/// of one that has stopped goes to the next sequence that begins after that.
#[derive(Debug, Default)]
pub(super) struct Writers {
    newest: HashMap<(SeriesId, u8), Sequence>,
}

/// What a commit changes in [`Writers`] once it succeeded.
pub(super) type Staged = HashMap<(SeriesId, u8), Sequence>;

/// A cumulative sequence as far as it is known.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Sequence {
    start_ns: i64,
    /// The latest time of its points.
    time_ns: i64,
    /// How much the point that came last has counted.
    size: f64,
    /// Of the first writer: how many writers the series has.
    writers: u8,
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
        let writer = match first {
            None => Some(0),
            Some(first) if first.start_ns == now.start_ns => Some(0),
            Some(_) => {
                let known: Vec<Sequence> = (0..count).filter_map(|writer| newest(writer, staged)).collect();
                now.among(&known, only_grows(&row.series))
            }
        };
        if matches!(row.point.value, PointValue::Gap) {
            // The end of a sequence says nothing about others.
            return writer.unwrap_or(0);
        }
        let writer = match writer {
            Some(writer) => writer,
            None if count < WRITERS_MAX => count,
            None => return 0,
        };
        if let Some(known) = newest(writer, staged) {
            now.time_ns = now.time_ns.max(known.time_ns);
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
        (start_ns != 0 && start_ns <= time_ns).then_some(Self { start_ns, time_ns, size, writers: 1 })
    }

    /// Which of the `known` sequences this one goes on or follows; none when it runs beside them.
    fn among(&self, known: &[Self], only_grows: bool) -> Option<u8> {
        let same = known.iter().position(|it| it.start_ns == self.start_ns);
        // It begins after the last point of another one: of those that stopped the one that has been silent for longest.
        let stopped = || {
            let stopped = known.iter().enumerate().filter(|(_, it)| it.time_ns <= self.start_ns);
            stopped.min_by_key(|(_, it)| it.time_ns).map(|(place, _)| place)
        };
        // One sender's start that wanders with its clock.
        let wandered = || {
            let grew = |it: &Self| !only_grows || it.size <= self.size;
            let near = |it: &Self| it.start_ns.abs_diff(self.start_ns) <= START_WANDER_NS;
            known.iter().position(|it| near(it) && grew(it))
        };
        let place = same.or_else(stopped).or_else(wandered)?;
        u8::try_from(place).ok()
    }
}

/// True when a value that fell belongs to another sequence.
fn only_grows(definition: &SeriesDefinition) -> bool {
    definition.kind != MetricKind::Sum || definition.monotonic
}
