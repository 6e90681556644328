//! The packed rest of rows, out of their blocks.
//!
//! Rows are grouped by block, so that a question reads each block once, and one block at a time, so that it
//! holds no more than one of them. What is kept is copied out: a slice would keep the whole block in memory.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use bytes::Bytes;

use super::columns::Found;
use super::reader::Reader;
use crate::model::id::TenantNumber;
use crate::model::log::LogDetail;
use crate::model::span::SpanDetail;
use crate::model::time::{UnixNanos, Window};
use crate::store::blocks::{self, Block};
use crate::store::day::Day;
use crate::store::error::Error;
use crate::store::partition::{self, Family, Kept, Partition};
use crate::store::rows::{LogRow, SpanRow};
use crate::store::sql::Sql;

/// Attributes that filters are asked about; further ones are looked for in the blocks alone.
const FILTERED_MAX: usize = 16;

/// A row whose details lie in a block.
pub(super) trait Detailed: Send {
    /// Where the blocks are.
    const BLOCKS: Kept;

    /// Where the blocks are listed by values of promoted attributes.
    const VALUES: Kept;
    /// The number of the field that holds an attribute in their details.
    const ATTRIBUTES: u32;

    /// Takes the details over.
    fn set_detail(&mut self, packed: Bytes);

    /// Whether packed details hold attribute `key` with a value that renders as `value`.
    fn holds(packed: &Bytes, key: &str, value: &str) -> bool;
}

impl Detailed for SpanRow {
    const BLOCKS: Kept = partition::SPAN_BLOCKS;
    const VALUES: Kept = partition::SPAN_VALUES;
    const ATTRIBUTES: u32 = SpanDetail::ATTRIBUTES;

    fn set_detail(&mut self, packed: Bytes) {
        self.detail = SpanDetail::from_checked(packed);
    }

    fn holds(packed: &Bytes, key: &str, value: &str) -> bool {
        let detail = SpanDetail::from_checked(packed.clone());
        detail.attribute(key).is_some_and(|found| found.render() == value)
    }
}

impl Detailed for LogRow {
    const BLOCKS: Kept = partition::LOG_BLOCKS;
    const VALUES: Kept = partition::LOG_VALUES;
    const ATTRIBUTES: u32 = LogDetail::ATTRIBUTES;

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
    for (block, indexes) in by_block(reader, rows).await? {
        let positions = indexes.iter().map(|index| (rows[*index].id - block.1) as usize).collect();
        let details = open::<T>(reader, block, positions, Vec::new()).await?;
        for (index, detail) in indexes.into_iter().zip(details) {
            // Nothing is asked for, so nothing is left out.
            rows[index].row.set_detail(detail.unwrap_or_default());
        }
    }
    Ok(())
}

/// Those of `rows` that hold all of `attributes`, in their order and with their details. Opens only blocks whose
/// filter does not rule an attribute out.
pub(super) async fn matching<T: Detailed>(
    reader: &mut Reader,
    mut rows: Vec<Found<T>>,
    attributes: &[(String, String)],
) -> Result<Vec<Found<T>>, Error> {
    let mut groups = by_block(reader, &rows).await?;
    let promising = promising::<T>(reader, groups.keys().copied(), attributes).await?;
    groups.retain(|block, _| promising.contains(block));
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

/// Those of `attributes` that are promoted on a day.
pub(super) async fn promoted<'a>(
    reader: &mut Reader,
    family: Family,
    day: Day,
    attributes: &'a [(String, String)],
) -> Result<Vec<&'a (String, String)>, Error> {
    if attributes.is_empty() {
        return Ok(Vec::new());
    }
    let Partition { family, day } = family.partition(day);
    let sql = format!("SELECT key FROM promoted WHERE family = {} AND day = {}", family as u8, day.0);
    let keys = reader.all(reader.sql(sql), |row| row.get::<String>(0)).await?;
    Ok(attributes.iter().filter(|(key, _)| keys.contains(key)).collect())
}

/// Blocks of a tenant's rows of `window`, on one day, that may hold all of `attributes`, each with when its newest row
/// happened.
pub(super) async fn promising_of_day<T: Detailed>(
    reader: &mut Reader,
    (family, tenant, day): (Family, TenantNumber, Day),
    window: Window,
    attributes: &[(String, String)],
) -> Result<Vec<(UnixNanos, Place)>, Error> {
    let mut sql = reader.sql(format!(
        "SELECT id, max_ns FROM {}{} WHERE tenant_id = {} AND max_ns >= {} AND min_ns < {}",
        T::BLOCKS.on(day),
        reader.dialect().indexed(T::BLOCKS, day, "by_time"),
        tenant.0,
        day.since(window.from),
        day.since(window.to)
    ));
    push_filters(&mut sql, attributes);
    for (key, value) in promoted(reader, family, day, attributes).await? {
        let token = blocks::token(key, value).cast_signed();
        let values = T::VALUES.on(day);
        sql.push(format_args!(" AND id IN (SELECT block_id FROM {values} WHERE token = {token})"));
    }
    reader.all(sql, |row| Ok((day.after(row.get(1)?), (day, row.get(0)?)))).await
}

/// Appends that a block may hold all of `attributes`, as its filter tells.
fn push_filters(sql: &mut Sql, attributes: &[(String, String)]) {
    for (key, value) in attributes.iter().take(FILTERED_MAX) {
        let may_hold = sql.dialect.may_hold(key, value);
        sql.push(" AND ").push(may_hold);
    }
}

/// The rows of a block that hold all of `attributes`: their ids and details.
pub(super) async fn search<T: Detailed>(
    reader: &mut Reader,
    (day, block): Place,
    attributes: &[(String, String)],
) -> Result<HashMap<i64, Bytes>, Error> {
    let data = data::<T>(reader, (day, block)).await?;
    let attributes = attributes.to_vec();
    let taken = tokio::task::spawn_blocking(move || take::<T>(&data, None, &attributes));
    let rows = taken.await.map_err(Error::Lost)??;
    Ok((block..).zip(rows).filter_map(|(id, detail)| Some((id, detail?))).collect())
}

/// The indexes of rows by their block: the last that begins with them or before.
async fn by_block<T: Detailed>(
    reader: &mut Reader,
    rows: &[Found<T>],
) -> Result<BTreeMap<Place, Vec<usize>>, Error> {
    let mut by_day: BTreeMap<Day, BTreeSet<i64>> = BTreeMap::new();
    for found in rows {
        by_day.entry(found.day).or_default().insert(found.id);
    }
    let mut blocks = BTreeSet::new();
    for (day, ids) in by_day {
        let table = T::BLOCKS.on(day);
        let numbers = reader.dialect().numbers(ids);
        let sql = format!("SELECT DISTINCT (SELECT max(id) FROM {table} WHERE id <= w.n) FROM {numbers}");
        blocks.extend(reader.all(reader.sql(sql), |row| Ok((day, row.get::<i64>(0)?))).await?);
    }
    let mut groups: BTreeMap<Place, Vec<usize>> = BTreeMap::new();
    for (index, found) in rows.iter().enumerate() {
        let block = blocks.range(..=(found.day, found.id)).next_back();
        let block = block.filter(|(day, _)| *day == found.day).ok_or(Error::Unreadable { what: "block" })?;
        groups.entry(*block).or_default().push(index);
    }
    Ok(groups)
}

/// Which of `blocks` may hold all of `attributes` in some row.
async fn promising<T: Detailed>(
    reader: &mut Reader,
    blocks: impl Iterator<Item = Place>,
    attributes: &[(String, String)],
) -> Result<HashSet<Place>, Error> {
    let mut by_day: BTreeMap<Day, Vec<i64>> = BTreeMap::new();
    blocks.for_each(|(day, block)| by_day.entry(day).or_default().push(block));
    let mut answers = HashSet::new();
    for (day, blocks) in by_day {
        let mut sql = reader.sql(format!("SELECT id FROM {} WHERE id", T::BLOCKS.on(day)));
        sql.push(reader.dialect().is_one_of(blocks));
        push_filters(&mut sql, attributes);
        answers.extend(reader.all(sql, |row| Ok((day, row.get(0)?))).await?);
    }
    Ok(answers)
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
    let taken = tokio::task::spawn_blocking(move || take::<T>(&data, Some(&positions), &attributes));
    taken.await.map_err(Error::Lost)?
}

async fn data<T: Detailed>(reader: &mut Reader, (day, block): Place) -> Result<Vec<u8>, Error> {
    let sql = reader.sql(format!("SELECT data FROM {} WHERE id = {block}", T::BLOCKS.on(day)));
    let data = reader.first(sql, |row| Ok(row.get::<&[u8]>(0)?.to_vec())).await?;
    data.ok_or(Error::Unreadable { what: "block" })
}

/// The details at `positions`, or of all rows, of a block that is at hand. Reads the columns of `attributes` first, and
/// the others only where a row may have them.
fn take<T: Detailed>(
    data: &[u8],
    positions: Option<&[usize]>,
    attributes: &[(String, String)],
) -> Result<Vec<Option<Bytes>>, Error> {
    let mut block = Block::open(data)?;
    let all: Vec<usize> = positions.map_or_else(|| (0..block.len()).collect(), <[usize]>::to_vec);
    let positions = &all[..];
    let mut may = vec![true; block.len()];
    for (key, value) in attributes {
        let found = block.may_have(T::ATTRIBUTES, key, value)?;
        may.iter_mut().zip(found).for_each(|(may, found)| *may &= found);
    }
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
