//! What a commit writes of roll-ups, and the minutes that are over.

use std::collections::BTreeSet;

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

/// What was written, for [`Rollups::take`].
#[derive(Debug, Default)]
pub(in crate::store) struct Staged {
    /// Groups as they are now.
    pub(super) fine: Vec<(Group, Cells)>,
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
    /// Writes what `delta` makes of the cells and answers it. Changes nothing in memory.
    pub(in crate::store) async fn write(
        &self,
        connection: &mut Connection,
        partitions: &Partitions,
        delta: Delta,
    ) -> Result<Staged, Error> {
        let mut cells: Vec<(Place, Cell)> = delta.into_iter().collect();
        cells.sort_unstable_by_key(|(place, _)| *place);
        let mut staged = Staged { middles: middles(&cells), hours: hours_of(&cells), ..Staged::default() };
        let fresh = staged.hours.iter().copied().filter(|hour| !self.touched.has(*hour));
        hours::note(connection, "unrolled", fresh).await?;
        let (fine, coarse): (Vec<_>, Vec<_>) =
            cells.into_iter().partition(|(place, _)| place.width == FINE_SECONDS);
        staged.fine = self.write_groups(connection, partitions, &fine).await?;
        let (added, whole) = coarse.into_iter().partition(|(place, _)| self.is_open(place));
        staged.whole = self.write_whole(connection, partitions, whole).await?;
        note(connection, self.opened(&added)).await?;
        staged.over = self.over();
        // A minute that is over takes what just came with it.
        write_over(connection, partitions, self.sums(&staged.over, &added), &staged.over).await?;
        staged.added = added;
        Ok(staged)
    }

    async fn write_groups(
        &self,
        connection: &mut Connection,
        partitions: &Partitions,
        fine: &[(Place, Cell)],
    ) -> Result<Vec<(Group, Cells)>, Error> {
        let touched: Vec<&[(Place, Cell)]> =
            fine.chunk_by(|(a, _), (b, _)| Group::of(a) == Group::of(b)).collect();
        let unknown: Vec<Group> = touched
            .iter()
            .map(|cells| Group::of(&cells[0].0))
            .filter(|group| !self.fine.contains_key(group))
            .filter(|group| self.may_be_stored(group.tenant, FINE_SECONDS, group.bucket))
            .collect();
        let mut stored = read_groups(connection, partitions, &unknown).await?;
        let mut groups = Vec::with_capacity(touched.len());
        for cells in touched {
            let group = Group::of(&cells[0].0);
            let held = self.fine.get(&group).cloned().or_else(|| stored.remove(&group));
            let mut whole = held.unwrap_or_default();
            let ids = |place: &Place| [place.subject[1], place.subject[2], place.subject[3]];
            group::merge(&mut whole, cells.iter().map(|(place, cell)| (ids(place), cell)));
            groups.push((group, whole));
        }
        let day = |group: &Group| Place::of_group(group).partition().day;
        for of_day in groups.chunk_by(|(a, _), (b, _)| day(a) == day(b)) {
            let target = table::GROUPS.on(partition::FINE, day(&of_day[0].0));
            connection.insert(&target, of_day, |values, (group, cells)| group.bind(values, cells)).await?;
        }
        Ok(groups)
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

    /// Writes cells of minutes that are not open.
    async fn write_whole(
        &self,
        connection: &mut Connection,
        partitions: &Partitions,
        mut cells: Vec<(Place, Cell)>,
    ) -> Result<Vec<(Place, Cell)>, Error> {
        let mut unknown = Vec::new();
        for (index, (place, cell)) in cells.iter_mut().enumerate() {
            let minute = self.minutes.get(&(place.tenant, place.bucket));
            match minute.and_then(|minute| minute.cells.get(&place.subject)) {
                Some(held) => cell.merge(held),
                None if self.may_be_stored(place.tenant, place.width, place.bucket)
                    && partitions.has(place.partition()) =>
                {
                    unknown.push(index);
                }
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
        insert(connection, &cells).await?;
        Ok(cells)
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

impl Writer {
    /// Writes the open minutes that ended before `before`, in seconds. A minute that nothing follows stays open, and its
    /// tens of seconds are not kept as long as it is.
    pub(in crate::store) async fn close_minutes(&mut self, before: i64) -> Result<(), Error> {
        let over = self.rollups.open(|(_, minute)| minute + COARSE_SECONDS <= before);
        if over.is_empty() {
            return Ok(());
        }
        let (sums, partitions) = (self.rollups.sums(&over, &[]), &self.partitions);
        self.connection
            .in_transaction(async |connection| write_over(connection, partitions, sums, &over).await)
            .await?;
        self.rollups.close(&over);
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
    for (tenant, minute) in minutes {
        let sql = format!("DELETE FROM open_minutes WHERE tenant_id = {} AND minute = {minute}", tenant.0);
        connection.execute(connection.sql(sql)).await?;
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
