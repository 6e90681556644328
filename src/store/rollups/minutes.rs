//! What a commit writes of roll-ups, and the minutes that are over.

use std::collections::{BTreeMap, BTreeSet};

use super::group::{self, Cells, Group};
use super::tables::{PROBES, read, read_groups};
use super::{Delta, MinuteOf, OVER_SECONDS, Place, Rollups, State, bind, hours_of};
use crate::model::id::TenantNumber;
use crate::model::rollup::{COARSE_SECONDS, Cell, FINE_SECONDS};
use crate::store::commit::Writer;
use crate::store::connection::Connection;
use crate::store::error::Error;
use crate::store::hours;
use crate::store::partition::{self, Partition, Partitions};
use crate::store::table;
use crate::store::values::Values;

/// What a commit makes of the cells, computed without the database.
#[derive(Debug, Default)]
pub(in crate::store) struct Prepared {
    /// The partitions that it touches.
    pub(in crate::store) partitions: BTreeSet<Partition>,
    /// What cells of ten seconds have more, in the order of the table.
    fine: Vec<(Place, Cell)>,
    /// Their groups as they will be; none where the table may have a group that memory does not hold.
    groups: Vec<(Group, Option<Vec<u8>>)>,
    /// What open minutes have more.
    added: Vec<(Place, Cell)>,
    /// The minutes that become open with it.
    opened: BTreeSet<MinuteOf>,
    /// Cells of other minutes, whole but for those that `unknown` counts.
    whole: Vec<(Place, Cell)>,
    unknown: Vec<usize>,
    /// Open minutes that are over, and their cells.
    over: Vec<MinuteOf>,
    sums: Vec<(Place, Cell)>,
    /// The hours of the minutes, and which of them are not noted yet.
    hours: BTreeSet<i64>,
    fresh: Vec<i64>,
    middles: Vec<((TenantNumber, i64), i64)>,
}

/// What was written, for [`Rollups::take`].
#[derive(Debug, Default)]
pub(in crate::store) struct Staged {
    /// Groups that memory did not hold, as they were.
    pub(super) loaded: BTreeMap<Group, Cells>,
    /// What cells of ten seconds have more.
    pub(super) fine: Vec<(Place, Cell)>,
    /// What open minutes have more.
    pub(super) added: Vec<(Place, Cell)>,
    /// Cells of other minutes as they are now.
    pub(super) whole: Vec<(Place, Cell)>,
    /// Minutes that are open no more.
    pub(super) over: Vec<MinuteOf>,
    /// The hours of the minutes.
    pub(super) hours: BTreeSet<i64>,
    /// Where most of what came lies, by tenant and width.
    pub(super) middles: Vec<((TenantNumber, i64), i64)>,
}

impl Rollups {
    /// Computes what `delta` makes of the cells. Changes nothing.
    pub(in crate::store) fn prepare(&self, delta: Delta) -> Prepared {
        let partitions = delta.keys().map(Place::partition).collect();
        let mut cells: Vec<(Place, Cell)> = delta.into_iter().collect();
        cells.sort_unstable_by_key(|(place, _)| *place);
        let (middles, hours) = (middles(&cells), hours_of(&cells));
        let fresh = hours.iter().copied().filter(|hour| !self.touched.has(*hour)).collect();
        let (fine, coarse): (Vec<_>, Vec<_>) =
            cells.into_iter().partition(|(place, _)| place.width == FINE_SECONDS);
        let groups = of_groups(&fine).map(|cells| {
            let group = Group::of(&cells[0].0);
            let held = self.fine.get(&group);
            let unknown = held.is_none() && self.may_be_stored(group.tenant, FINE_SECONDS, group.bucket);
            (group, (!unknown).then(|| group::encode(held.map_or(&[], Vec::as_slice), cells)))
        });
        let groups = groups.collect();
        let (added, mut whole): (Vec<_>, Vec<_>) =
            coarse.into_iter().partition(|(place, _)| self.is_open(place));
        let unknown = self.complete(&mut whole);
        let opened = self.opened(&added);
        let over = self.over();
        // A minute that is over takes what just came with it.
        let sums = self.sums(&over, &added);
        Prepared {
            partitions,
            fine,
            groups,
            added,
            opened,
            whole,
            unknown,
            over,
            sums,
            hours,
            fresh,
            middles,
        }
    }

    /// Adds to cells of minutes that are not open what memory holds of them; answers which the table may have besides.
    fn complete(&self, cells: &mut [(Place, Cell)]) -> Vec<usize> {
        let mut unknown = Vec::new();
        for (index, (place, cell)) in cells.iter_mut().enumerate() {
            let minute = self.minutes.get(&(place.tenant, place.bucket));
            match minute.and_then(|minute| minute.cells.get(&place.subject)) {
                Some(held) => cell.merge(held),
                None if self.may_be_stored(place.tenant, place.width, place.bucket) => unknown.push(index),
                None => {}
            }
        }
        unknown
    }

    /// Whether the minute of a cell is open, or becomes so with this cell.
    fn is_open(&self, place: &Place) -> bool {
        let minute = self.minutes.get(&(place.tenant, place.bucket));
        place.subject[0] != super::LOGS
            && match minute.map(|minute| minute.state) {
                Some(State::Open) => true,
                Some(State::Written) => false,
                Some(State::Empty) | None => !self.may_be_stored(place.tenant, COARSE_SECONDS, place.bucket),
            }
    }

    /// The minutes that become open with cells that are added.
    fn opened(&self, added: &[(Place, Cell)]) -> BTreeSet<MinuteOf> {
        let minutes = added.iter().map(|(place, _)| (place.tenant, place.bucket));
        let is_open =
            |minute: &MinuteOf| self.minutes.get(minute).is_some_and(|minute| minute.state == State::Open);
        minutes.filter(|minute| !is_open(minute)).collect()
    }

    /// The open minutes that are over; all of them where memory holds too much.
    fn over(&self) -> Vec<MinuteOf> {
        let crowded = self.held > self.open_max;
        let newest = |tenant| self.reaches.get(&(tenant, COARSE_SECONDS)).map(|reach| reach.newest);
        self.open(|(tenant, minute)| {
            crowded || newest(tenant).is_some_and(|newest| minute <= newest - OVER_SECONDS)
        })
    }

    /// Those open minutes that `wanted` accepts, in order.
    fn open(&self, wanted: impl Fn(MinuteOf) -> bool) -> Vec<MinuteOf> {
        let open = self.minutes.iter().filter(|(_, minute)| minute.state == State::Open);
        let mut open: Vec<MinuteOf> =
            open.map(|(minute, _)| *minute).filter(|minute| wanted(*minute)).collect();
        open.sort_unstable();
        open
    }

    /// The cells of open minutes with what was added to them, in the order of the table.
    fn sums(&self, minutes: &[MinuteOf], added: &[(Place, Cell)]) -> Vec<(Place, Cell)> {
        let mut cells = Delta::default();
        for (tenant, bucket) in minutes {
            let held = self.minutes.get(&(*tenant, *bucket)).into_iter().flat_map(|minute| &minute.cells);
            for (subject, cell) in held.filter(|(subject, _)| subject[0] != super::LOGS) {
                let place =
                    Place { tenant: *tenant, width: COARSE_SECONDS, bucket: *bucket, subject: *subject };
                cells.insert(place, cell.clone());
            }
        }
        for (place, cell) in added {
            if minutes.binary_search(&(place.tenant, place.bucket)).is_ok() {
                cells.entry(*place).or_default().merge(cell);
            }
        }
        let mut cells: Vec<(Place, Cell)> = cells.into_iter().collect();
        cells.sort_unstable_by_key(|(place, _)| *place);
        cells
    }

    /// Notes that minutes are written.
    pub(super) fn close(&mut self, minutes: &[MinuteOf]) {
        for minute in minutes {
            if let Some(minute) = self.minutes.get_mut(minute) {
                minute.state = State::Written;
            }
        }
    }
}

impl Prepared {
    /// Writes it, and answers what memory is to take over.
    pub(in crate::store) async fn write(
        mut self,
        connection: &mut Connection,
        partitions: &Partitions,
    ) -> Result<Staged, Error> {
        hours::note(connection, "unrolled", std::mem::take(&mut self.fresh)).await?;
        let loaded = self.write_groups(connection, partitions).await?;
        self.write_whole(connection, partitions).await?;
        note(connection, std::mem::take(&mut self.opened)).await?;
        write_over(connection, partitions, self.sums, &self.over).await?;
        let Self { fine, added, whole, over, hours, middles, .. } = self;
        Ok(Staged { loaded, fine, added, whole, over, hours, middles })
    }

    /// Writes the groups, and answers those that had to be read.
    async fn write_groups(
        &mut self,
        connection: &mut Connection,
        partitions: &Partitions,
    ) -> Result<BTreeMap<Group, Cells>, Error> {
        let unknown: Vec<Group> =
            self.groups.iter().filter(|(_, cells)| cells.is_none()).map(|(group, _)| *group).collect();
        let loaded = read_groups(connection, partitions, &unknown).await?;
        for ((group, encoded), cells) in self.groups.iter_mut().zip(of_groups(&self.fine)) {
            let held = || loaded.get(group).map_or(&[][..], Vec::as_slice);
            encoded.get_or_insert_with(|| group::encode(held(), cells));
        }
        let day = |group: &Group| Place::of_group(group).partition().day;
        for of_day in self.groups.chunk_by(|(a, _), (b, _)| day(a) == day(b)) {
            let target = table::GROUPS.on(partition::FINE, day(&of_day[0].0));
            let bind = |values: &mut Values, (group, cells): &(Group, Option<Vec<u8>>)| {
                group.bind(values, cells.as_deref().unwrap_or_default());
            };
            connection.insert(&target, of_day, bind).await?;
        }
        Ok(loaded)
    }

    /// Writes cells of minutes that are not open.
    async fn write_whole(
        &mut self,
        connection: &mut Connection,
        partitions: &Partitions,
    ) -> Result<(), Error> {
        let cells = &mut self.whole;
        let unknown = self.unknown.iter().map(|index| cells[*index].0);
        let unknown: Vec<Place> = unknown.filter(|place| partitions.has(place.partition())).collect();
        for group in unknown.chunk_by(|a, b| a.partition() == b.partition()) {
            for places in group.chunks(PROBES) {
                for (place, stored) in read(connection, places).await? {
                    if let Ok(found) = cells.binary_search_by_key(&place, |(place, _)| *place) {
                        cells[found].1.merge(&stored);
                    }
                }
            }
        }
        insert(connection, cells).await
    }
}

/// Cells of ten seconds, cut into groups.
fn of_groups(fine: &[(Place, Cell)]) -> impl Iterator<Item = &[(Place, Cell)]> {
    fine.chunk_by(|(a, _), (b, _)| Group::of(a) == Group::of(b))
}

impl Writer {
    /// Writes the open minutes that ended before `before`, in seconds. A minute that nothing follows stays open, and its
    /// tens of seconds are not kept as long as it is.
    pub(in crate::store) async fn close_minutes(&mut self, before: i64) -> Result<(), Error> {
        let mut rollups = self.rollups.write().await;
        let over = rollups.open(|(_, minute)| minute.saturating_add(COARSE_SECONDS) <= before);
        if over.is_empty() {
            return Ok(());
        }
        let (sums, partitions) = (rollups.sums(&over, &[]), &self.partitions);
        self.connection
            .in_transaction(async |connection| write_over(connection, partitions, sums, &over).await)
            .await?;
        rollups.close(&over);
        Ok(())
    }
}

/// Writes the cells of minutes that are over. Those of a day that was given up are given up with it.
async fn write_over(
    connection: &mut Connection,
    partitions: &Partitions,
    mut sums: Vec<(Place, Cell)>,
    minutes: &[MinuteOf],
) -> Result<(), Error> {
    sums.retain(|(place, _)| partitions.has(place.partition()));
    insert(connection, &sums).await?;
    for of_tenant in minutes.chunk_by(|(a, _), (b, _)| a == b) {
        for part in of_tenant.chunks(PROBES) {
            let tenant = part[0].0.0;
            let mut sql =
                connection.sql(format!("DELETE FROM open_minutes WHERE tenant_id = {tenant} AND minute"));
            sql.push(connection.dialect().is_one_of(part.iter().map(|(_, minute)| *minute)));
            connection.execute(sql).await?;
        }
    }
    Ok(())
}

/// Notes that minutes are open.
async fn note(connection: &mut Connection, minutes: BTreeSet<MinuteOf>) -> Result<(), Error> {
    if minutes.is_empty() {
        return Ok(());
    }
    let minutes: Vec<String> =
        minutes.into_iter().map(|(tenant, minute)| format!("({}, {minute})", tenant.0)).collect();
    let minutes = minutes.join(",");
    let sql = format!(
        "INSERT INTO open_minutes (tenant_id, minute) VALUES {minutes} ON CONFLICT (tenant_id, minute) DO NOTHING"
    );
    connection.execute(connection.sql(sql)).await.map(|_| ())
}

/// Writes cells that have a row each, in the order of the table.
async fn insert(connection: &mut Connection, cells: &[(Place, Cell)]) -> Result<(), Error> {
    for group in cells.chunk_by(|(a, _), (b, _)| a.partition() == b.partition()) {
        let Partition { family, day } = group[0].0.partition();
        let target = table::ROLLUPS.on(family.tables()[0], day);
        connection.insert(&target, group, |values, (place, cell)| bind(values, place, cell)).await?;
    }
    Ok(())
}

/// Where half of the cells of each tenant and width are older.
fn middles(cells: &[(Place, Cell)]) -> Vec<((TenantNumber, i64), i64)> {
    // They are sorted by tenant, width and bucket.
    let groups = cells.chunk_by(|(a, _), (b, _)| (a.tenant, a.width) == (b.tenant, b.width));
    groups.map(|group| ((group[0].0.tenant, group[0].0.width), group[group.len() / 2].0.bucket)).collect()
}

impl Place {
    /// The place of one of a group's cells.
    const fn of_group(group: &Group) -> Self {
        Self {
            tenant: group.tenant,
            width: FINE_SECONDS,
            bucket: group.bucket,
            subject: [group.kind, 0, 0, 0],
        }
    }
}
