//! Roll-ups: observations become cells, and touched cells are written whole.
//!
//! The recent cells stay in memory, so that a commit adds to them without reading. A cell that memory does not
//! hold, and that the table may, is read first: late telemetry and a restart lose no count. What a commit adds
//! is computed beside the cells and taken over only after the commit succeeded, so a commit that is tried twice
//! counts once.

use std::collections::{BTreeSet, HashMap};

use super::connection::Connection;
use super::day::Day;
use super::error::Error;
use super::hours::{self, Touched};
use super::partition::{Family, Partition, Partitions};
use super::row::Row;
use super::sql::Sql;
use super::table;
use super::values::Values;
use crate::model::id::TenantNumber;
use crate::model::rollup::{COARSE_SECONDS, Cell, FINE_SECONDS, HOUR_SECONDS, Observation, Subject};
use crate::model::sketch::Sketch;
use crate::model::time::UnixNanos;

/// How far behind a tenant's newest bucket its cells stay in memory, for the fine and the coarse width. What
/// comes later is added all the same, at the cost of a read.
const FINE_OPEN_SECONDS: i64 = 120;
const COARSE_OPEN_SECONDS: i64 = 600;
/// Most cells in memory, about 400 bytes each; past it all of them are let go, and read again when touched.
pub(super) const OPEN_CELLS_MAX: usize = 250_000;
/// Cells that one statement looks for.
const PROBES: usize = 128;

/// Where a cell is. The order is the table's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) tenant: TenantNumber,
    pub(super) width: i64,
    pub(super) bucket: i64,
    pub(super) subject: [i64; 4],
}

/// What a commit adds: a cell for each place it touches.
pub(super) type Delta = HashMap<Place, Cell>;

/// The cells in memory.
#[derive(Debug)]
pub(super) struct Rollups {
    open: HashMap<Place, Cell>,
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

/// Adds up observations. Buckets of the fine width first; the coarse ones are made of them.
pub(super) fn fold(observations: &[(TenantNumber, Observation)]) -> Delta {
    let mut delta = Delta::new();
    for (tenant, observation) in observations {
        let width = match observation.subject {
            Subject::Logs(..) => COARSE_SECONDS,
            _ => FINE_SECONDS,
        };
        let bucket = observation.at.bucket_seconds(width);
        let place = Place { tenant: *tenant, width, bucket, subject: columns(observation.subject) };
        delta.entry(place).or_default().add(&observation.seen);
    }
    let mut coarse = Delta::new();
    for (place, cell) in delta.iter().filter(|(place, _)| place.width == FINE_SECONDS) {
        let bucket = place.bucket.div_euclid(COARSE_SECONDS) * COARSE_SECONDS;
        coarse.entry(Place { width: COARSE_SECONDS, bucket, ..*place }).or_default().merge(cell);
    }
    // Log cells and those of spans never meet: the subject tells them apart.
    delta.extend(coarse);
    delta
}

impl Rollups {
    /// Starts with nothing in memory, where at most `open_max` cells stay: what lies after the newest bucket of a
    /// tenant in the newest partition does not exist yet.
    pub(super) async fn start(
        connection: &mut Connection,
        partitions: &Partitions,
        open_max: usize,
    ) -> Result<Self, Error> {
        let (reaches, touched, stored_before) = (HashMap::new(), Touched::new(), HashMap::new());
        let mut rollups = Self { open: HashMap::new(), open_max, reaches, touched, stored_before };
        for width in [FINE_SECONDS, COARSE_SECONDS] {
            let family = Family::of_width(width);
            let Some(day) = partitions.all(family).first().copied() else { continue };
            rollups.stored_before.insert(width, day.start_seconds());
            let table = family.tables()[0].on(day);
            // The tenants that have cells: one probe of the key each, where DISTINCT would read the whole table.
            let newest = connection.sql(format!(
                "WITH RECURSIVE t (id) AS (SELECT min(tenant_id) FROM {table} UNION ALL \
                 SELECT (SELECT min(r.tenant_id) FROM {table} AS r WHERE r.tenant_id > t.id) FROM t WHERE t.id IS NOT NULL) \
                 SELECT id, (SELECT max(bucket) FROM {table} AS r WHERE r.tenant_id = t.id AND r.width = {width}) \
                 FROM t WHERE id IS NOT NULL"
            ));
            let newest = connection.rows(newest, |row| Ok((TenantNumber(row.get(0)?), row.get::<i64>(1)?)));
            for (tenant, newest) in newest.await? {
                rollups.reaches.insert((tenant, width), Reach { complete_from: newest + 1, newest });
            }
        }
        Ok(rollups)
    }

    /// Lets fewer cells stay in memory, as a test of what is let go wants it.
    #[cfg(test)]
    pub(super) const fn set_open_max(&mut self, open_max: usize) {
        self.open_max = open_max;
    }

    /// Writes the cells of `delta` and answers them whole, for [`Rollups::take`]. Changes nothing in memory.
    pub(super) async fn write(
        &self,
        connection: &mut Connection,
        partitions: &Partitions,
        delta: Delta,
    ) -> Result<Vec<(Place, Cell)>, Error> {
        let mut cells: Vec<(Place, Cell)> = delta.into_iter().collect();
        cells.sort_unstable_by_key(|(place, _)| *place);
        let mut unknown = Vec::new();
        for (index, (place, cell)) in cells.iter_mut().enumerate() {
            match self.open.get(place) {
                Some(held) => {
                    // The held cell is the larger one, as a rule: copy it once and add the few new counts.
                    let mut whole = held.clone();
                    whole.merge(cell);
                    *cell = whole;
                }
                None if self.may_be_stored(place) && partitions.has(place.partition()) => unknown.push(index),
                None => {}
            }
        }
        let unknown: Vec<Place> = unknown.into_iter().map(|index: usize| cells[index].0).collect();
        for group in unknown.chunk_by(|a, b| a.partition() == b.partition()) {
            for places in group.chunks(PROBES) {
                for (place, stored) in read(connection, places).await? {
                    if let Ok(found) = cells.binary_search_by_key(&place, |(place, _)| *place) {
                        cells[found].1.merge(&stored);
                    }
                }
            }
        }
        let fresh = hours_of(&cells).into_iter().filter(|hour| !self.touched.has(*hour));
        hours::note(connection, "unrolled", fresh).await?;
        for group in cells.chunk_by(|(a, _), (b, _)| a.partition() == b.partition()) {
            let Partition { family, day } = group[0].0.partition();
            let target = table::ROLLUPS.on(family.tables()[0], day);
            connection.insert(&target, group, |values, (place, cell)| bind(values, place, cell)).await?;
        }
        Ok(cells)
    }

    /// Takes over cells that were written, then lets go of those that are too old or too many.
    pub(super) fn take(&mut self, cells: Vec<(Place, Cell)>) {
        self.touched.touch(hours_of(&cells));
        let moved = self.advance(&cells);
        let reaches = &self.reaches;
        let is_open = |place: &Place| {
            let reach = reaches.get(&(place.tenant, place.width));
            reach.is_some_and(|reach| place.bucket >= reach.keep_from(place.width))
        };
        if moved {
            self.open.retain(|place, _| is_open(place));
        }
        self.open.extend(cells.into_iter().filter(|(place, _)| is_open(place)));
        if self.open.len() > self.open_max {
            self.let_go();
        }
    }

    /// Lets go of the cells of partitions that were given up.
    pub(super) fn forget(&mut self, given: &[Partition]) {
        self.open.retain(|place, _| !given.contains(&place.partition()));
    }

    /// Moves each tenant's newest bucket to where half of what it just sent is older. Answers whether any moved,
    /// so that there are cells to let go of.
    fn advance(&mut self, cells: &[(Place, Cell)]) -> bool {
        let mut moved = false;
        // The cells are sorted by tenant, width and bucket.
        for group in cells.chunk_by(|(a, _), (b, _)| (a.tenant, a.width) == (b.tenant, b.width)) {
            let first = group[0].0;
            let middle = group[group.len() / 2].0.bucket;
            let reach = self.reaches.entry((first.tenant, first.width)).or_insert(Reach {
                complete_from: self.stored_before.get(&first.width).copied().unwrap_or(i64::MIN),
                newest: middle,
            });
            moved |= middle > reach.newest;
            reach.newest = reach.newest.max(middle);
            reach.complete_from = reach.complete_from.max(reach.keep_from(first.width));
        }
        moved
    }

    fn let_go(&mut self) {
        for place in self.open.keys() {
            if let Some(reach) = self.reaches.get_mut(&(place.tenant, place.width)) {
                reach.complete_from = reach.complete_from.max(place.bucket + 1);
            }
        }
        self.open = HashMap::new();
    }

    fn may_be_stored(&self, place: &Place) -> bool {
        match self.reaches.get(&(place.tenant, place.width)) {
            Some(reach) => place.bucket < reach.complete_from,
            None => self.stored_before.get(&place.width).is_some_and(|before| place.bucket < *before),
        }
    }
}

impl Place {
    /// Where the cell is kept.
    pub(super) fn partition(&self) -> Partition {
        Family::of_width(self.width).partition(Day::of(UnixNanos::from_seconds(self.bucket)))
    }
}

/// The hours of cells of a minute.
fn hours_of(cells: &[(Place, Cell)]) -> BTreeSet<i64> {
    let minutes = cells.iter().filter(|(place, _)| place.width == COARSE_SECONDS);
    minutes.map(|(place, _)| place.bucket.div_euclid(HOUR_SECONDS) * HOUR_SECONDS).collect()
}

/// The partitions of the cells of `delta`.
pub(super) fn partitions_of(delta: &Delta) -> impl Iterator<Item = Partition> {
    delta.keys().map(Place::partition)
}

impl Reach {
    const fn keep_from(&self, width: i64) -> i64 {
        self.newest - if width == FINE_SECONDS { FINE_OPEN_SECONDS } else { COARSE_OPEN_SECONDS }
    }
}

/// The columns kind, a, b and c.
pub(super) fn columns(subject: Subject) -> [i64; 4] {
    match subject {
        Subject::Operation(operation) => [0, operation.0.into(), 0, 0],
        Subject::Instance(service, resource) => [1, service.0.into(), resource.0.into(), 0],
        Subject::Edge(caller, callee) => [2, caller.0.into(), callee.0.into(), 0],
        Subject::Logs(service, template, severity) => {
            [3, service.0.into(), template.0.into(), severity.0.into()]
        }
    }
}

pub(super) fn bind(values: &mut Values, place: &Place, cell: &Cell) {
    values.int(place.tenant.0);
    values.int(place.width);
    values.int(place.bucket);
    place.subject.iter().for_each(|column| values.int(*column));
    for sum in [cell.count, cell.errors, cell.sum_ns, cell.max_ns, cell.other_ns, cell.answered] {
        values.unsigned(sum);
    }
    let mut sketch = Vec::with_capacity(64);
    cell.sketch.encode(&mut sketch);
    values.owned_blob(sketch);
}

/// Reads the cells at `places`, all of one partition.
async fn read(connection: &mut Connection, places: &[Place]) -> Result<Vec<(Place, Cell)>, Error> {
    let Some(first) = places.first() else { return Ok(Vec::new()) };
    let Partition { family, day } = first.partition();
    let mut sql: Sql = connection.sql(
        "SELECT r.tenant_id, r.width, r.bucket, r.kind, r.a, r.b, r.c, r.count, r.errors, r.sum_ns, r.max_ns, \
         r.other_ns, r.answered, r.sketch FROM (VALUES ",
    );
    for (index, place) in places.iter().enumerate() {
        let [kind, a, b, c] = place.subject;
        let comma = if index == 0 { "" } else { "," };
        let (tenant, width, bucket) = (place.tenant.0, place.width, place.bucket);
        sql.push(format_args!("{comma}({tenant},{width},{bucket},{kind},{a},{b},{c})"));
    }
    sql.push(format_args!(
        ") AS w CROSS JOIN {} AS r WHERE r.tenant_id = w.column1 AND r.width = w.column2 AND r.bucket = w.column3 \
         AND r.kind = w.column4 AND r.a = w.column5 AND r.b = w.column6 AND r.c = w.column7",
        family.tables()[0].on(day)
    ));
    connection.rows(sql, stored).await
}

fn stored(row: Row<'_>) -> Result<(Place, Cell), Error> {
    let place = Place {
        tenant: TenantNumber(row.get(0)?),
        width: row.get(1)?,
        bucket: row.get(2)?,
        subject: [row.get(3)?, row.get(4)?, row.get(5)?, row.get(6)?],
    };
    let sum = |column: usize| row.get::<i64>(column).map(i64::unsigned_abs);
    let sketch = Sketch::decode(row.get(13)?).ok_or(Error::Unreadable { what: "duration sketch" })?;
    let cell = Cell {
        count: sum(7)?,
        errors: sum(8)?,
        sum_ns: sum(9)?,
        max_ns: sum(10)?,
        other_ns: sum(11)?,
        answered: sum(12)?,
        sketch,
    };
    Ok((place, cell))
}
