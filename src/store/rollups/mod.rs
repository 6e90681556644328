//! Roll-ups: observations become cells, and what a commit touches is written whole.
//!
//! Buckets of ten seconds are written with every commit, in groups. Those of a minute are the sums of them: while a
//! minute is *open* memory adds it up, `open_minutes` names it, and questions read its ten seconds; when it is over it
//! is written once, a row for each cell. Log records have minutes only, which are written with every commit.
//!
//! The recent cells stay in memory, so that a commit adds to them without reading. A cell that memory does not
//! hold, and that the table may, is read first: late telemetry and a restart lose no count. What a commit adds
//! is computed beside the cells and taken over only after the commit succeeded, so a commit that is tried twice
//! counts once.
//!
//! Files: this one (cells in memory), `group` (cells of ten seconds in a row), `tables` (what is read and written),
//! `minutes` (minutes that are over).

mod group;
mod minutes;
mod tables;

use std::collections::{BTreeSet, HashMap};

use foldhash::quality::RandomState;

pub(super) use self::group::{Cells, decode};
pub(super) use self::minutes::{Prepared, Staged};
pub(super) use self::tables::{bind, columns};

use self::group::Group;
use super::connection::Connection;
use super::day::Day;
use super::error::Error;
use super::hours::Touched;
use super::partition::{Family, Partition, Partitions};
use crate::model::id::TenantNumber;
use crate::model::rollup::{COARSE_SECONDS, Cell, FINE_SECONDS, Folded, FoldedCell, HOUR_SECONDS, Subject};
use crate::model::time::UnixNanos;

/// How far behind a tenant's newest bucket its cells stay in memory, for the fine and the coarse width. What
/// comes later is added all the same, at the cost of a read.
const FINE_OPEN_SECONDS: i64 = 120;
const COARSE_OPEN_SECONDS: i64 = 600;
/// How far behind a tenant's newest minute one is over.
const OVER_SECONDS: i64 = 120;
/// Most cells in memory, about 400 bytes each; past it all of them are let go, and read again when touched.
pub(super) const OPEN_CELLS_MAX: usize = 250_000;
/// The kind of the cells of log records.
const LOGS: i64 = 3;

/// Where a cell is. The order is the table's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) tenant: TenantNumber,
    pub(super) width: i64,
    pub(super) bucket: i64,
    pub(super) subject: [i64; 4],
}

/// What a commit adds: a cell for each place it touches.
pub(super) type Delta = HashMap<Place, Cell, RandomState>;

/// A minute of a tenant, by its first second.
type MinuteOf = (TenantNumber, i64);

/// What memory holds of a minute.
#[derive(Debug, Default)]
struct Minute {
    cells: HashMap<[i64; 4], Cell, RandomState>,
    state: State,
}

/// What the table holds of a minute's cells, but for those of log records.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum State {
    /// There are none.
    #[default]
    Empty,
    /// None of them; `open_minutes` names it, and memory holds them all.
    Open,
    /// All of them.
    Written,
}

/// The cells in memory.
#[derive(Debug)]
pub(super) struct Rollups {
    fine: HashMap<Group, Cells, RandomState>,
    minutes: HashMap<MinuteOf, Minute>,
    /// How many cells both hold.
    held: usize,
    open_max: usize,
    /// By tenant and width.
    reaches: HashMap<(TenantNumber, i64), Reach>,
    /// The hours that are noted in `unrolled`.
    pub(super) touched: Touched,
    /// By width, where a tenant that has no reach may have cells: before this bucket.
    stored_before: HashMap<i64, i64>,
}

/// What memory knows about one tenant's cells of one width.
#[derive(Debug, Clone, Copy)]
struct Reach {
    /// From this bucket on, a cell that memory does not hold does not exist.
    complete_from: i64,
    /// The bucket around which most observations of the newest commit lay. Not the newest bucket of all: one
    /// sender with a wrong clock would close everyone's cells.
    newest: i64,
}

/// The cells that a commit adds, with those of the coarse width, which are made of them.
pub(super) fn delta(cells: &Folded) -> Delta {
    let mut delta = Delta::with_capacity_and_hasher(2 * cells.len(), RandomState::default());
    for FoldedCell { tenant, bucket_s, subject, cell, .. } in cells.iter() {
        let place = Place { tenant, width: FINE_SECONDS, bucket: bucket_s, subject: columns(subject) };
        // Log cells and those of spans never meet: the subject tells them apart.
        delta.entry(place.minute()).or_default().merge(cell);
        if !matches!(subject, Subject::Logs(..)) {
            delta.insert(place, cell.clone());
        }
    }
    delta
}

impl Rollups {
    /// Starts with open minutes alone in memory, where at most `open_max` cells stay: what lies after the newest bucket
    /// of a tenant in the newest partition that has any does not exist yet.
    pub(super) async fn start(
        connection: &mut Connection,
        partitions: &Partitions,
        open_max: usize,
    ) -> Result<Self, Error> {
        let mut rollups = Self {
            fine: HashMap::default(),
            minutes: HashMap::new(),
            held: 0,
            open_max,
            reaches: HashMap::new(),
            touched: Touched::new(),
            stored_before: HashMap::new(),
        };
        for width in [FINE_SECONDS, COARSE_SECONDS] {
            let family = Family::of_width(width);
            // Partitions are made ahead: the newest one that has cells tells.
            for day in partitions.all(family) {
                let newest = tables::newest(connection, family, day).await?;
                let is_empty = newest.is_empty();
                for (tenant, newest) in newest {
                    rollups.reaches.insert((tenant, width), Reach { complete_from: newest + 1, newest });
                }
                if !is_empty {
                    rollups.stored_before.insert(width, day.start_seconds());
                    break;
                }
            }
        }
        let stored_before = rollups.stored_before.get(&COARSE_SECONDS).copied();
        for (place, cell) in tables::open_minutes(connection, partitions).await? {
            let minute = rollups.minutes.entry((place.tenant, place.bucket)).or_default();
            minute.state = State::Open;
            minute.cells.entry(place.subject).or_default().merge(&cell);
            // A tenant without a reach may have rows of log records before the newest partition that has any.
            let complete_from = stored_before.map_or(place.bucket + 1, |before| before.max(place.bucket + 1));
            let newest = place.bucket;
            let reach = rollups.reaches.entry((place.tenant, COARSE_SECONDS));
            let reach = reach.or_insert(Reach { complete_from, newest });
            reach.complete_from = reach.complete_from.max(complete_from);
            reach.newest = reach.newest.max(newest);
        }
        rollups.held = rollups.minutes.values().map(|minute| minute.cells.len()).sum();
        Ok(rollups)
    }

    /// Lets fewer cells stay in memory, as a test of what is let go wants it.
    #[cfg(test)]
    pub(super) const fn set_open_max(&mut self, open_max: usize) {
        self.open_max = open_max;
    }

    /// Takes over what was written, then lets go of what is too old or too much.
    pub(super) fn take(&mut self, staged: Staged) {
        self.touched.touch(staged.hours);
        let moved = self.advance(&staged.middles);
        for (group, cells) in staged.loaded {
            self.held += cells.len();
            self.fine.insert(group, cells);
        }
        for (place, cell) in staged.fine {
            let cells = self.fine.entry(Group::of(&place)).or_default();
            let before = cells.len();
            group::add(cells, &place, cell);
            self.held += cells.len() - before;
        }
        for (place, cell) in staged.added {
            let minute = self.minutes.entry((place.tenant, place.bucket)).or_default();
            minute.state = State::Open;
            let before = minute.cells.len();
            minute.cells.entry(place.subject).or_default().merge(&cell);
            self.held += minute.cells.len() - before;
        }
        for (place, cell) in staged.whole {
            let minute = self.minutes.entry((place.tenant, place.bucket)).or_default();
            if place.subject[0] != LOGS {
                minute.state = State::Written;
            }
            let before = minute.cells.len();
            minute.cells.insert(place.subject, cell);
            self.held += minute.cells.len() - before;
        }
        self.close(&staged.over);
        if moved {
            self.let_go_of_old();
        }
        if self.held > self.open_max {
            self.let_go();
        }
    }

    /// Lets go of the cells of partitions that were given up.
    pub(super) fn forget(&mut self, given: &[Partition]) {
        let gone = |family: Family, bucket: i64| {
            given.contains(&family.partition(Day::of(UnixNanos::from_seconds(bucket))))
        };
        self.fine.retain(|group, _| !gone(Family::Fine, group.bucket));
        self.minutes.retain(|(_, minute), _| !gone(Family::Minute, *minute));
        self.recount();
    }

    /// Moves each tenant's newest bucket to where half of what it just sent is older. Answers whether any moved,
    /// so that there are cells to let go of.
    fn advance(&mut self, middles: &[((TenantNumber, i64), i64)]) -> bool {
        let mut moved = false;
        for ((tenant, width), middle) in middles {
            let reach = self.reaches.entry((*tenant, *width)).or_insert(Reach {
                complete_from: self.stored_before.get(width).copied().unwrap_or(i64::MIN),
                newest: *middle,
            });
            moved |= *middle > reach.newest;
            reach.newest = reach.newest.max(*middle);
            reach.complete_from = reach.complete_from.max(reach.keep_from(*width));
        }
        moved
    }

    fn let_go_of_old(&mut self) {
        let reaches = &self.reaches;
        let keeps = |tenant: TenantNumber, width: i64, bucket: i64| {
            let reach = reaches.get(&(tenant, width));
            reach.is_some_and(|reach| bucket >= reach.keep_from(width))
        };
        self.fine.retain(|group, _| keeps(group.tenant, FINE_SECONDS, group.bucket));
        self.minutes.retain(|(tenant, bucket), minute| {
            minute.state == State::Open || keeps(*tenant, COARSE_SECONDS, *bucket)
        });
        self.recount();
    }

    /// Lets go of everything but open minutes, of which memory alone holds the sums.
    fn let_go(&mut self) {
        let mut let_go = |tenant: TenantNumber, width: i64, bucket: i64| {
            if let Some(reach) = self.reaches.get_mut(&(tenant, width)) {
                reach.complete_from = reach.complete_from.max(bucket + 1);
            }
        };
        self.fine.keys().for_each(|group| let_go(group.tenant, FINE_SECONDS, group.bucket));
        self.fine = HashMap::default();
        self.minutes.retain(|(tenant, bucket), minute| {
            if minute.state != State::Open {
                let_go(*tenant, COARSE_SECONDS, *bucket);
            }
            minute.state == State::Open
        });
        self.recount();
    }

    fn recount(&mut self) {
        let minutes = self.minutes.values().map(|minute| minute.cells.len());
        self.held = minutes.chain(self.fine.values().map(Vec::len)).sum();
    }

    fn may_be_stored(&self, tenant: TenantNumber, width: i64, bucket: i64) -> bool {
        match self.reaches.get(&(tenant, width)) {
            Some(reach) => bucket < reach.complete_from,
            None => self.stored_before.get(&width).is_some_and(|before| bucket < *before),
        }
    }
}

impl Place {
    /// Where the cell is kept.
    pub(super) fn partition(&self) -> Partition {
        Family::of_width(self.width).partition(Day::of(UnixNanos::from_seconds(self.bucket)))
    }

    /// The cell of a minute that a cell of ten seconds is a part of.
    const fn minute(&self) -> Self {
        let bucket = self.bucket.div_euclid(COARSE_SECONDS) * COARSE_SECONDS;
        Self { width: COARSE_SECONDS, bucket, ..*self }
    }

    const fn hour(&self) -> i64 {
        self.bucket.div_euclid(HOUR_SECONDS) * HOUR_SECONDS
    }
}

/// The hours of cells of a minute.
fn hours_of(cells: &[(Place, Cell)]) -> BTreeSet<i64> {
    let minutes = cells.iter().filter(|(place, _)| place.width == COARSE_SECONDS);
    minutes.map(|(place, _)| place.hour()).collect()
}

impl Reach {
    const fn keep_from(&self, width: i64) -> i64 {
        self.newest - if width == FINE_SECONDS { FINE_OPEN_SECONDS } else { COARSE_OPEN_SECONDS }
    }
}
