//! What blocks may hold, on its way into the tables.
//!
//! The filter of a block is a row of its own, where it can be read without the block. As soon as a tenant has
//! [`SLICED`] of them on a day, one row takes their place, and their bits lie in slices: see `blocks::slices`. Among these lies
//! what blocks of spans say of the longest, of each by itself and then of all together: see [`longest`].

use std::collections::{BTreeSet, HashMap};

use super::blocks::longest::{self, Longest};
use super::blocks::{self, LONGEST, SLICED, SLICES_MAX};
use super::connection::Connection;
use super::day::Day;
use super::error::Error;
use super::packing::{Block, Signal};
use super::table;
use crate::model::id::TenantNumber;

/// The row of the filter of a block, or of many.
struct Row {
    id: i64,
    tenant: TenantNumber,
    /// Since the beginning of the day.
    times: (i64, i64),
    ids: Vec<i64>,
    /// As [`blocks::parts`] reads it.
    filter_bytes: usize,
    filter: Vec<u8>,
}

/// Writes the filters of blocks, of one signal and day, and lays filters across each other where there are enough.
pub(super) async fn write(
    connection: &mut Connection,
    (signal, day): (Signal, Day),
    blocks: &[(i64, Block)],
) -> Result<(), Error> {
    let rows = blocks.iter().map(|(id, block)| Row {
        id: *id,
        tenant: block.tenant,
        times: (day.since(block.times.0), day.since(block.times.1)),
        ids: Vec::new(),
        filter_bytes: if block.filter.is_empty() { 0 } else { blocks::telling(block.filter.len()) },
        filter: block.filter.clone(),
    });
    insert(connection, (signal, day), &rows.collect::<Vec<_>>()).await?;
    let longest = blocks.iter().filter_map(|(id, block)| {
        Some((slice_id(*id, LONGEST), longest::put(&[Some(block.longest.clone()?)])))
    });
    insert_slices(connection, (signal, day), &longest.collect::<Vec<_>>()).await?;
    let tenants: BTreeSet<i64> = blocks.iter().map(|(_, block)| block.tenant.0.into()).collect();
    let table = signal.filters().on(day);
    let mut sql = connection.sql(format!("SELECT tenant_id, count(*) FROM {table} WHERE tenant_id"));
    sql.push(connection.dialect().is_one_of(tenants));
    sql.push(format_args!(" AND blocks = 1 GROUP BY tenant_id HAVING count(*) >= {SLICED}"));
    let enough = connection.rows(sql, |row| Ok((TenantNumber(row.get(0)?), row.get::<i64>(1)?))).await?;
    for (tenant, count) in enough {
        for _ in 0..count.unsigned_abs() / SLICED as u64 {
            lay_across(connection, (signal, day), tenant).await?;
        }
    }
    Ok(())
}

async fn insert(
    connection: &mut Connection,
    (signal, day): (Signal, Day),
    rows: &[Row],
) -> Result<(), Error> {
    let target = table::FILTERS.on(signal.filters(), day);
    connection
        .insert(&target, rows, |values, row| {
            values.day(day);
            values.int(row.id);
            values.int(row.tenant.0);
            values.unsigned(row.ids.len().max(1) as u64);
            values.int(row.times.0);
            values.int(row.times.1);
            values.unsigned(row.filter_bytes as u64);
            values.blob(&row.ids.iter().flat_map(|id| id.to_be_bytes()).collect::<Vec<u8>>());
            values.blob(&row.filter);
        })
        .await
}

/// Replaces the first [`SLICED`] filters of a tenant that stand alone.
async fn lay_across(
    connection: &mut Connection,
    (signal, day): (Signal, Day),
    tenant: TenantNumber,
) -> Result<(), Error> {
    let table = signal.filters().on(day);
    let sql = connection.sql(format!(
        "SELECT id, min_ns, max_ns, filter, filter_bytes FROM {table} WHERE tenant_id = {} AND blocks = 1 \
         ORDER BY id LIMIT {SLICED}",
        tenant.0
    ));
    let (mut some_tell, mut all_tell) = (false, true);
    let rows = connection.rows(sql, |row| {
        let times: (i64, i64) = (row.get(1)?, row.get(2)?);
        let filter = row.get::<&[u8]>(3)?.to_vec();
        let (_, tells) = blocks::parts(row.get::<i64>(4)?.unsigned_abs() as usize);
        some_tell |= tells;
        // An empty one may hold everything in any case.
        all_tell &= tells || filter.is_empty();
        Ok((row.get::<i64>(0)?, times, filter))
    });
    let rows = rows.await?;
    let Some((first, ..)) = rows.first() else { return Ok(()) };
    let first = *first;
    let ids: Vec<i64> = rows.iter().map(|(id, ..)| *id).collect();
    let times = rows
        .iter()
        .fold((i64::MAX, i64::MIN), |(min, max), (_, times, _)| (min.min(times.0), max.max(times.1)));
    let filters: Vec<Vec<u8>> = rows.into_iter().map(|(.., filter)| filter).collect();
    // Up to a megabyte of bits: some milliseconds.
    let sliced = tokio::task::spawn_blocking(move || blocks::slice(&filters));
    let (bytes, slices) = sliced.await.map_err(Error::Lost)?;
    let filter_bytes = if some_tell && all_tell { blocks::telling(bytes) } else { bytes };
    let mut sql = connection.sql(format!("DELETE FROM {table} WHERE id"));
    sql.push(connection.dialect().is_one_of(ids.iter().copied()));
    connection.execute(sql).await?;
    let longest = match signal {
        Signal::Spans => Some(take_longest(connection, day, &ids).await?),
        Signal::Logs => None,
    };
    insert(
        connection,
        (signal, day),
        &[Row { id: first, tenant, times, ids, filter_bytes, filter: Vec::new() }],
    )
    .await?;
    let mut slices: Vec<(i64, Vec<u8>)> = (slice_id(first, 0)..).zip(slices).collect();
    slices.extend(longest.map(|longest| (slice_id(first, LONGEST), longest::put(&longest))));
    insert_slices(connection, (signal, day), &slices).await
}

/// Takes away what the blocks `ids` say of their longest spans. Those that an earlier release wrote say nothing.
async fn take_longest(
    connection: &mut Connection,
    day: Day,
    ids: &[i64],
) -> Result<Vec<Option<Longest>>, Error> {
    let table = Signal::Spans.slices().on(day);
    let these = connection.dialect().is_one_of(ids.iter().map(|id| slice_id(*id, LONGEST)));
    let sql = connection.sql(format!("SELECT id, bits FROM {table} WHERE id{these}"));
    let read = connection.rows(sql, |row| Ok((row.get::<i64>(0)?, longest::first(row.get(1)?))));
    let mut longest: HashMap<i64, Option<Longest>> = read.await?.into_iter().collect();
    connection.execute(connection.sql(format!("DELETE FROM {table} WHERE id{these}"))).await?;
    Ok(ids.iter().map(|id| longest.remove(&slice_id(*id, LONGEST)).flatten()).collect())
}

async fn insert_slices(
    connection: &mut Connection,
    (signal, day): (Signal, Day),
    slices: &[(i64, Vec<u8>)],
) -> Result<(), Error> {
    connection
        .insert(&table::SLICES.on(signal.slices(), day), slices, |values, (id, bits)| {
            values.day(day);
            values.int(*id);
            values.blob(bits);
        })
        .await
}

/// The id of a slice of the filters `id`.
pub(super) const fn slice_id(id: i64, slice: usize) -> i64 {
    id * SLICES_MAX as i64 + slice as i64
}
