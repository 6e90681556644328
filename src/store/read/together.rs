//! The newest rows of many walks at once.
//!
//! To merge walks SQLite hands each row on from one to the next, through up to two hundred of them. Where many rows are wanted
//! of many walks it takes half as long to read the last moment of each as it comes, and more of the time before while
//! these are too few: the newest of them are the newest of all. How much more is guessed from how many came; where that would
//! be far too many, or too many guesses, they are merged after all.

use std::cmp::Reverse;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::lines;
use super::reader::Reader;
use super::scan::{Scan, Walk};
use crate::model::time::{UnixNanos, Window};
use crate::store::day::Day;
use crate::store::error::Error;
use crate::store::sql::Dialect;

/// Walks from which on this takes less, and at most.
const WALKS: RangeInclusive<usize> = 8..=20_000;
/// Rows from which on it does, and at most.
const ROWS: RangeInclusive<usize> = 256..=1_000_000;
const COLUMNS: &[&str] = &["at", "id"];
/// The first stretch of time that is read.
const FIRST: Duration = Duration::from_millis(50);
/// How many times as long a stretch may be as all before it, and how many there may be.
const GROWTH: (f64, f64) = (0.5, 64.0);
const STRETCHES_MAX: usize = 8;
/// How many times as many rows as are wanted may be read.
const BEYOND: usize = 4;

/// The ids of the newest `rows_max` rows of a day within `band`, in no order; none where it is better to merge the walks.
pub(super) async fn newest<T: Send + Unpin>(
    scan: &Scan<'_, T>,
    reader: &mut Reader,
    walks: &[Walk],
    (day, band): (Day, Window),
    rows_max: usize,
) -> Result<Option<Vec<i64>>, Error> {
    let suits =
        reader.dialect() == Dialect::Sqlite && WALKS.contains(&walks.len()) && ROWS.contains(&rows_max);
    // What else must hold may let few of those pass that are looked at.
    let is_bare = scan.conditions.is_empty() && scan.keyed.is_none();
    let Some(condition) = Walk::together(walks).filter(|_| suits && is_bare) else { return Ok(None) };
    let end = scan.after.map_or(band.to, |(at, _)| UnixNanos(at.0.saturating_add(1)).min(band.to));
    let (time, table) = (scan.time, scan.table.on(day));
    let index = reader.dialect().indexed(scan.table, day, walks[0].index());
    let mut rows: Vec<(i64, i64)> = Vec::new();
    let (mut to, mut length) = (end, FIRST);
    for stretch in 0..STRETCHES_MAX {
        let from = to.minus(length).max(band.from);
        let mut sql = reader.sql(format!(
            "SELECT {} FROM (SELECT s.{time} AS at, s.id AS id FROM {table} AS s{index} WHERE {condition} AND s.{time} >= {}",
            lines::joined(COLUMNS),
            day.since(from)
        ));
        match stretch {
            0 => scan.push_end(&mut sql, (day, band)),
            _ => drop(sql.push(format_args!(" AND s.{time} < {}", day.since(to)))),
        }
        let limit = BEYOND * rows_max - rows.len();
        sql.push(format_args!(" LIMIT {limit})"));
        let read = |fields: &mut lines::Fields<'_>| Some((fields.number()?, fields.number()?));
        let found = lines::read(reader, sql, COLUMNS, read).await?;
        if found.len() == limit {
            return Ok(None);
        }
        rows.extend(found);
        if rows.len() >= rows_max || from == band.from {
            return Ok(Some(newest_of(rows, rows_max)));
        }
        let missing = (rows_max - rows.len()) as f64 / rows.len().max(1) as f64;
        length = end.since(from).mul_f64((1.2 * missing).clamp(GROWTH.0, GROWTH.1));
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
