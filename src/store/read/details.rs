//! The packed rest of rows, out of their blocks.
//!
//! Rows are grouped by block, so that a question reads each block once, and one block at a time, so that it
//! holds no more than one of them. What is kept is copied out: a slice would keep the whole block in memory.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;

use super::columns::Found;
use super::promising::Scope;
use super::reader::Reader;
use crate::model::id::{ServiceId, TenantNumber};
use crate::model::log::LogDetail;
use crate::model::span::SpanDetail;
use crate::store::blocks::Block;
use crate::store::day::Day;
use crate::store::error::Error;
use crate::store::packing::Signal;
use crate::store::rows::{LogRow, SpanRow};

/// A row whose details lie in a block.
pub(super) trait Detailed: Send {
    /// Whose details they are.
    const SIGNAL: Signal;

    /// Takes the details over.
    fn set_detail(&mut self, packed: Bytes);

    /// Whether packed details hold attribute `key` with a value that renders as `value`.
    fn holds(packed: &Bytes, key: &str, value: &str) -> bool;
}

impl Detailed for SpanRow {
    const SIGNAL: Signal = Signal::Spans;

    fn set_detail(&mut self, packed: Bytes) {
        self.detail = SpanDetail::from_checked(packed);
    }

    fn holds(packed: &Bytes, key: &str, value: &str) -> bool {
        let detail = SpanDetail::from_checked(packed.clone());
        detail.attribute(key).is_some_and(|found| found.render() == value)
    }
}

impl Detailed for LogRow {
    const SIGNAL: Signal = Signal::Logs;

    fn set_detail(&mut self, packed: Bytes) {
        self.detail = LogDetail::from_checked(packed);
    }

    fn holds(packed: &Bytes, key: &str, value: &str) -> bool {
        let detail = LogDetail::from_checked(packed.clone());
        detail.attribute(key).is_some_and(|found| found.render() == value)
    }
}

/// Loads the details of `rows`.
pub(super) async fn load<T: Detailed>(reader: &mut Reader, rows: &mut [Found<T>]) -> Result<(), Error> {
    load_of(reader, rows, |_| true).await
}

/// Loads the details of those `rows` that are wanted.
pub(super) async fn load_of<T: Detailed>(
    reader: &mut Reader,
    rows: &mut [Found<T>],
    is_wanted: impl Fn(&Found<T>) -> bool,
) -> Result<(), Error> {
    for (block, indexes) in by_block(reader, rows, is_wanted).await? {
        let positions = indexes.iter().map(|index| (rows[*index].id - block.1) as usize).collect();
        let details = open::<T>(reader, block, positions, Vec::new()).await?;
        for (index, detail) in indexes.into_iter().zip(details) {
            // Nothing is asked for, so nothing is left out.
            rows[index].row.set_detail(detail.unwrap_or_default());
        }
    }
    Ok(())
}

/// Those of a tenant's `rows` that hold all of `attributes`, in their order and with their details; they are of `services`, or
/// of any. Opens only blocks whose filter does not rule an attribute out.
pub(super) async fn matching<T: Detailed>(
    reader: &mut Reader,
    (tenant, services): (TenantNumber, &[ServiceId]),
    mut rows: Vec<Found<T>>,
    attributes: &[(String, String)],
) -> Result<Vec<Found<T>>, Error> {
    let mut groups = by_block(reader, &rows, |_| true).await?;
    let days: BTreeSet<Day> = groups.keys().map(|(day, _)| *day).collect();
    for day in days {
        let of_day = groups.range((day, i64::MIN)..=(day, i64::MAX));
        let of_day: Vec<i64> = of_day.map(|((_, block), _)| *block).collect();
        let scope = Scope { signal: T::SIGNAL, tenant, day, services, least_ns: None };
        let promising = scope.of_blocks(reader, &of_day, attributes).await?;
        groups.retain(|(of, block), _| *of != day || promising.contains(block));
    }
    let mut kept = vec![false; rows.len()];
    for (block, indexes) in groups {
        let positions = indexes.iter().map(|index| (rows[*index].id - block.1) as usize).collect();
        let details = open::<T>(reader, block, positions, attributes.to_vec()).await?;
        for (index, detail) in indexes.into_iter().zip(details) {
            if let Some(detail) = detail {
                rows[index].row.set_detail(detail);
                kept[index] = true;
            }
        }
    }
    let mut kept = kept.into_iter();
    rows.retain(|_| kept.next().unwrap_or_default());
    Ok(rows)
}

/// A block: its day, and the id of its first row.
pub(super) type Place = (Day, i64);

/// A block, and the ids of its rows that may hold what was asked for, as the columns of its attributes tell.
pub(super) struct Searched {
    block: i64,
    pub(super) ids: Vec<i64>,
}

/// Searches `blocks`, which lie on one day, for rows that may hold all of `attributes`. Reads their fronts, and all of those
/// alone whose fronts have not the columns.
pub(super) async fn search<T: Detailed>(
    reader: &mut Reader,
    day: Day,
    blocks: &[i64],
    attributes: &Arc<[(String, String)]>,
) -> Result<Vec<Searched>, Error> {
    let (mut searched, longer) = search_in::<T>(reader, (day, false), blocks, attributes).await?;
    if !longer.is_empty() {
        searched.extend(search_in::<T>(reader, (day, true), &longer, attributes).await?.0);
    }
    Ok(searched)
}

/// Searches the fronts of `blocks` or all of them; tells too, of which the front is not enough.
async fn search_in<T: Detailed>(
    reader: &mut Reader,
    (day, whole): (Day, bool),
    blocks: &[i64],
    attributes: &Arc<[(String, String)]>,
) -> Result<(Vec<Searched>, Vec<i64>), Error> {
    let parts = if whole { "front, rest" } else { "front" };
    let mut sql = reader.sql(format!("SELECT id, {parts} FROM {} WHERE id", T::SIGNAL.blocks().on(day)));
    sql.push(reader.dialect().is_one_of(blocks.iter().copied()));
    let searches = reader.all(sql, |row| {
        let (block, mut data) = (row.get::<i64>(0)?, row.get::<&[u8]>(1)?.to_vec());
        if whole {
            data.extend_from_slice(row.get(2)?);
        }
        let attributes = Arc::clone(attributes);
        // While one is searched the next is read.
        let search = tokio::task::spawn_blocking(move || {
            let mut opened = Block::open_front(&data)?;
            if !attributes.iter().all(|(key, _)| opened.reaches(T::SIGNAL.attributes(), key)) {
                return Ok(None);
            }
            let may = may_hold::<T>(&mut opened, &attributes)?;
            let ids = (block..).zip(may).filter_map(|(id, may)| may.then_some(id)).collect();
            Ok::<_, Error>(Some(Searched { block, ids }))
        });
        Ok((block, search))
    });
    let (mut searched, mut longer) = (Vec::new(), Vec::new());
    for (block, search) in searches.await? {
        match search.await.map_err(Error::Lost)?? {
            Some(found) => searched.push(found),
            None => longer.push(block),
        }
    }
    Ok((searched, longer))
}

impl Searched {
    /// The details of those of its rows `ids` that do hold all of `attributes`.
    pub(super) async fn details<T: Detailed>(
        self,
        reader: &mut Reader,
        day: Day,
        ids: Vec<i64>,
        attributes: &Arc<[(String, String)]>,
    ) -> Result<Vec<(i64, Bytes)>, Error> {
        let positions: Vec<usize> = ids.iter().map(|id| (id - self.block) as usize).collect();
        let details = open::<T>(reader, (day, self.block), positions, attributes.to_vec()).await?;
        Ok(ids.into_iter().zip(details).filter_map(|(id, detail)| Some((id, detail?))).collect())
    }
}

/// The indexes of rows by their block: the last that begins with them or before.
async fn by_block<T: Detailed>(
    reader: &mut Reader,
    rows: &[Found<T>],
    is_wanted: impl Fn(&Found<T>) -> bool,
) -> Result<BTreeMap<Place, Vec<usize>>, Error> {
    let mut by_day: BTreeMap<Day, BTreeSet<i64>> = BTreeMap::new();
    for found in rows.iter().filter(|found| is_wanted(found)) {
        by_day.entry(found.day).or_default().insert(found.id);
    }
    let mut blocks = BTreeSet::new();
    for (day, ids) in by_day {
        let table = T::SIGNAL.blocks().on(day);
        let numbers = reader.dialect().numbers(ids);
        let sql = format!("SELECT DISTINCT (SELECT max(id) FROM {table} WHERE id <= w.n) FROM {numbers}");
        blocks.extend(reader.all(reader.sql(sql), |row| Ok((day, row.get::<i64>(0)?))).await?);
    }
    let mut groups: BTreeMap<Place, Vec<usize>> = BTreeMap::new();
    for (index, found) in rows.iter().enumerate().filter(|(_, found)| is_wanted(found)) {
        let block = blocks.range(..=(found.day, found.id)).next_back();
        let block = block.filter(|(day, _)| *day == found.day).ok_or(Error::Unreadable { what: "block" })?;
        groups.entry(*block).or_default().push(index);
    }
    Ok(groups)
}

/// The details at `positions` of a block; none at those that lack one of `attributes`.
async fn open<T: Detailed>(
    reader: &mut Reader,
    (day, block): Place,
    positions: Vec<usize>,
    attributes: Vec<(String, String)>,
) -> Result<Vec<Option<Bytes>>, Error> {
    let data = data::<T>(reader, (day, block)).await?;
    // A block of the largest size takes some milliseconds.
    let taken = tokio::task::spawn_blocking(move || take::<T>(&data, &positions, &attributes));
    taken.await.map_err(Error::Lost)?
}

async fn data<T: Detailed>(reader: &mut Reader, (day, block): Place) -> Result<Vec<u8>, Error> {
    let table = T::SIGNAL.blocks().on(day);
    let sql = reader.sql(format!("SELECT front, rest FROM {table} WHERE id = {block}"));
    let data = reader.first(sql, |row| Ok([row.get::<&[u8]>(0)?, row.get::<&[u8]>(1)?].concat())).await?;
    data.ok_or(Error::Unreadable { what: "block" })
}

/// The details at `positions` of a block that is at hand; none at those that lack one of `attributes`. Reads the columns
/// of these first, and the others only where a row may have them.
fn take<T: Detailed>(
    data: &[u8],
    positions: &[usize],
    attributes: &[(String, String)],
) -> Result<Vec<Option<Bytes>>, Error> {
    let mut block = Block::open(data)?;
    let may = may_hold::<T>(&mut block, attributes)?;
    let may = |position: &&usize| may.get(**position).copied().unwrap_or(true);
    let promising: Vec<usize> = positions.iter().filter(may).copied().collect();
    let mut rows = block.at(&promising)?.into_iter();
    Ok(positions
        .iter()
        .map(|position| {
            let packed = Some(position).filter(may).and_then(|_| rows.next())?;
            attributes.iter().all(|(key, value)| T::holds(&packed, key, value)).then_some(packed)
        })
        .collect())
}

/// For each row of a block, whether it may hold all of `attributes`, as their columns tell.
fn may_hold<T: Detailed>(block: &mut Block<'_>, attributes: &[(String, String)]) -> Result<Vec<bool>, Error> {
    let mut may = vec![true; block.len()];
    for (key, value) in attributes {
        let found = block.may_have(T::SIGNAL.attributes(), key, value)?;
        may.iter_mut().zip(found).for_each(|(may, found)| *may &= found);
    }
    Ok(may)
}
