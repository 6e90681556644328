//! The newest rows of many walks at once.
//!
//! To merge walks SQLite hands each row on from one to the next, through up to two hundred of them. Where many rows are wanted
//! of many walks it takes half as long to read the last stretch of time of all of them, in no order, and longer ones before it
//! until there are enough rows: the newest of these are the newest of all. How long the next one is is guessed from how many
//! rows came. Where that would be far too many, or would take too many guesses, the walks are merged after all.

use std::cmp::Reverse;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::lines;
use super::reader::Reader;
use super::scan::{Scan, Walk};
use crate::model::time::Window;
use crate::store::day::Day;
use crate::store::error::Error;

/// Walks from which on this takes less, and at most.
const WALKS: RangeInclusive<usize> = 8..=20_000;
const COLUMNS: &[&str] = &["at", "id"];
/// The first stretch of time that is read.
const FIRST: Duration = Duration::from_millis(50);
/// How many times as long a stretch is as all before it: at least, where some rows came with the last one or none, and at most.
const GROWTH_MIN: f64 = 0.5;
const GROWTH_MIN_AFTER_NONE: f64 = 8.0;
const GROWTH_MAX: f64 = 64.0;
/// Stretches at most.
const STRETCHES_MAX: usize = 8;
/// How many times as many rows as are wanted may be read.
const BEYOND: usize = 4;

/// The ids of the newest `rows_max` rows of a day within `band` in SQLite, in no order; none where it is better to merge the walks,
/// as it also is where few rows are wanted.
pub(super) async fn newest<T>(
    scan: &Scan<'_, T>,
    reader: &mut Reader,
    (day, band): (Day, Window),
    rows_max: usize,
) -> Result<Option<Vec<i64>>, Error> {
    // What else must hold may let few of those pass that are looked at.
    let is_bare = scan.conditions.is_empty() && scan.keyed.is_none();
    let begins_later = scan.after.is_some_and(|(at, _)| at < band.to);
    if !WALKS.contains(&scan.walks.len()) || !is_bare || begins_later {
        return Ok(None);
    }
    let Some((index, condition)) = Walk::together(scan.walks) else { return Ok(None) };
    let (time, table) = (scan.time, scan.table.on(day));
    let index = reader.dialect().indexed(scan.table, day, index);
    let mut rows: Vec<(i64, i64)> = Vec::new();
    let (mut to, mut length) = (band.to, FIRST);
    for _ in 0..STRETCHES_MAX {
        let from = to.minus(length).max(band.from);
        let limit = (BEYOND * rows_max).saturating_sub(rows.len());
        let sql = reader.sql(format!(
            "SELECT {} FROM (SELECT s.{time} AS at, s.id AS id FROM {table} AS s{index} WHERE {condition} \
             AND s.{time} >= {} AND s.{time} < {} LIMIT {limit})",
            lines::joined(COLUMNS),
            day.since(from),
            day.since(to)
        ));
        let read = |fields: &mut lines::Fields<'_>| Some((fields.number()?, fields.number()?));
        let found = lines::read(reader, sql, COLUMNS, read).await?;
        if found.len() == limit {
            return Ok(None);
        }
        let least = if found.is_empty() { GROWTH_MIN_AFTER_NONE } else { GROWTH_MIN };
        rows.extend(found);
        if rows.len() >= rows_max || from == band.from {
            return Ok(Some(newest_of(rows, rows_max)));
        }
        let missing = 1.2 * (rows_max - rows.len()) as f64 / rows.len().max(1) as f64;
        let growth = missing.clamp(least, GROWTH_MAX);
        length = band.to.since(from).mul_f64(growth);
        to = from;
    }
    Ok(None)
}

/// The ids of the `rows_max` newest of `rows`, each a time and an id; among equals those of the highest ids.
fn newest_of(mut rows: Vec<(i64, i64)>, rows_max: usize) -> Vec<i64> {
    if rows.len() > rows_max {
        rows.select_nth_unstable_by_key(rows_max - 1, |row| Reverse(*row));
        rows.truncate(rows_max);
    }
    rows.into_iter().map(|(_, id)| id).collect()
}
