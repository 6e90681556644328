//! Long spans, and the slowest.
//!
//! Blocks say of each service how long the longest of its spans in them is: see `blocks::longest`. So those are read that have
//! what is asked for, the newest first or those with the longest spans, until no other can have more of it. A block is a
//! range of ids, and its rows lie side by side.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};

use super::columns::{self, Found};
use super::details;
use super::promising::{Leveled, Scope};
use super::reader::Reader;
use super::scan::bands;
use crate::model::id::{ServiceId, TenantNumber};
use crate::model::time::{UnixNanos, Window};
use crate::store::blocks::{self, UNKNOWN};
use crate::store::day::Day;
use crate::store::error::Error;
use crate::store::packing::Signal;
use crate::store::partition::{Family, SPANS};
use crate::store::rows::SpanRow;

/// Blocks whose rows are read with one statement: at first, and at most.
const TOGETHER: (usize, usize) = (8, 64);
/// Blocks of which nothing is known, because an earlier release wrote them, that are read nevertheless.
const UNKNOWN_MAX: usize = 256;
/// Blocks that are read, and for each span that is wanted. What else is asked of the spans may leave out most that are long.
const BLOCKS_MAX: usize = if cfg!(test) { 24 } else { 512 };
const BLOCKS_PER_SPAN: usize = 4;

/// What is asked of spans.
pub(super) struct Search<'a> {
    pub(super) tenant: TenantNumber,
    pub(super) window: Window,
    /// The services that they are of; none where they are of any.
    pub(super) services: &'a [ServiceId],
    pub(super) least_ns: u64,
    /// What is asked about a table `s`, each beginning with ` AND `; numbers only. What most rows fail at and is read soonest
    /// comes first: that halves the time that a block takes.
    pub(super) conditions: String,
    pub(super) attributes: &'a [(String, String)],
    /// How many are wanted, at least one.
    pub(super) limit: usize,
}

/// A block that may have some, and its day.
type Candidate = (Day, Leveled);

/// The rows of a block.
struct Range {
    first: i64,
    rows: i64,
    newest: UnixNanos,
}

impl Search<'_> {
    /// The newest spans, whatever their attributes, and in which part of the window there may be more of them because it was not
    /// looked into.
    pub(super) async fn newest(
        &self,
        reader: &mut Reader,
    ) -> Result<(Vec<Found<SpanRow>>, Option<Window>), Error> {
        let mut found = Vec::new();
        let mut left = self.blocks_max();
        for band in bands(reader, Family::Spans, self.window) {
            let mut candidates = self.candidates(reader, band).await?;
            candidates.sort_unstable_by_key(|(day, block)| Reverse((block.newest, *day, block.id)));
            for part in candidates.chunks(TOGETHER.1) {
                let newest = part[0].1.newest;
                if self.has_all(&found, newest) {
                    break;
                }
                let Some(fewer) = left.checked_sub(part.len()) else {
                    // What is newer than all that follows is complete.
                    found.retain(|row| row.row.start > newest);
                    let rest = UnixNanos(newest.0.saturating_add(1)).min(band.to);
                    return Ok((found, Some(Window::new(self.window.from, rest))));
                };
                left = fewer;
                self.newest_of(reader, (band, part), &mut found).await?;
            }
            if found.len() >= self.limit {
                break;
            }
        }
        Ok((found, None))
    }

    /// Adds the newest spans of some blocks.
    async fn newest_of(
        &self,
        reader: &mut Reader,
        (band, part): (Window, &[Candidate]),
        found: &mut Vec<Found<SpanRow>>,
    ) -> Result<(), Error> {
        for (day, blocks) in by_day(part) {
            let mut ranges = ranges(reader, (day, band), &blocks).await?;
            ranges.sort_unstable_by_key(|range| Reverse((range.newest, range.first)));
            for ranges in ranges.chunks(TOGETHER.0) {
                if self.has_all(found, ranges[0].newest) {
                    break;
                }
                found.extend(self.rows(reader, (day, band), ranges, "s.start_ns DESC, s.id DESC").await?);
                found.sort_unstable_by_key(|row| Reverse((row.row.start, row.number())));
                found.truncate(self.limit);
            }
        }
        Ok(())
    }

    /// Whether as many are `found` as are wanted, and all of them began later than `newest`.
    fn has_all(&self, found: &[Found<SpanRow>], newest: UnixNanos) -> bool {
        found.len() >= self.limit && found.last().is_some_and(|last| last.row.start > newest)
    }

    /// The slowest spans; none where too many blocks would have to be read for them.
    pub(super) async fn slowest(&self, reader: &mut Reader) -> Result<Option<Vec<Found<SpanRow>>>, Error> {
        let mut candidates = self.candidates(reader, self.window).await?;
        if candidates.iter().filter(|(_, block)| block.level == UNKNOWN).count() > UNKNOWN_MAX {
            return Ok(None);
        }
        candidates.sort_unstable_by_key(|(day, block)| Reverse((block.level, block.newest, *day, block.id)));
        let mut found: Vec<Found<SpanRow>> = Vec::new();
        let (mut candidates, mut together) = (&candidates[..], TOGETHER.0);
        let mut left = self.blocks_max();
        while let Some((_, block)) = candidates.first() {
            // All that is left is shorter.
            let beyond = blocks::least(block.level.saturating_add(1));
            let last = found.get(self.limit - 1);
            if last.zip(beyond).is_some_and(|(last, beyond)| last.row.duration_ns >= beyond) {
                break;
            }
            let (part, rest) = candidates.split_at(together.min(candidates.len()));
            let Some(fewer) = left.checked_sub(part.len()) else { return Ok(None) };
            (candidates, together, left) = (rest, (2 * together).min(TOGETHER.1), fewer);
            for (day, blocks) in by_day(part) {
                let ranges = ranges(reader, (day, self.window), &blocks).await?;
                const ORDER: &str = "s.duration_ns DESC, s.start_ns DESC, s.id DESC";
                found.extend(self.rows(reader, (day, self.window), &ranges, ORDER).await?);
            }
            found.sort_unstable_by_key(|row| Reverse((row.row.duration_ns, row.row.start, row.number())));
            found.truncate(self.limit);
        }
        Ok(Some(found))
    }

    fn blocks_max(&self) -> usize {
        BLOCKS_MAX.max(BLOCKS_PER_SPAN * self.limit)
    }

    /// The blocks with spans of `window`, and of some beside it, that may have what is asked for.
    async fn candidates(&self, reader: &mut Reader, window: Window) -> Result<Vec<Candidate>, Error> {
        let least = blocks::level(self.least_ns);
        let mut candidates = Vec::new();
        for day in reader.days(Family::Spans, window) {
            let (signal, tenant, services) = (Signal::Spans, self.tenant, self.services);
            let scope = Scope { signal, tenant, day, services, least_ns: None };
            let mut blocks = scope.longest(reader, window).await?;
            blocks.retain(|block| block.level >= least);
            if !self.attributes.is_empty() {
                let promising = scope.newest(reader, window, self.attributes).await?;
                let promising: BTreeSet<i64> = promising.into_iter().map(|(_, id)| id).collect();
                blocks.retain(|block| promising.contains(&block.id));
            }
            candidates.extend(blocks.into_iter().map(|block| (day, block)));
        }
        Ok(candidates)
    }

    /// The first of the rows of blocks that are asked for, in an order that need not be that of the answer.
    async fn rows(
        &self,
        reader: &mut Reader,
        (day, window): (Day, Window),
        ranges: &[Range],
        order: &str,
    ) -> Result<Vec<Found<SpanRow>>, Error> {
        if ranges.is_empty() {
            return Ok(Vec::new());
        }
        let dialect = reader.dialect();
        let bounds = ranges.iter().map(|range| format!("({},{})", range.first, range.first + range.rows));
        let mut sql = reader.sql(format!(
            "SELECT {} FROM (SELECT s.id AS id FROM (SELECT column1 AS n, column2 AS beyond FROM (VALUES {}) AS v) AS r \
             CROSS JOIN {} AS s{} WHERE s.id >= r.n AND s.id < r.beyond{}",
            columns::SPAN,
            bounds.collect::<Vec<_>>().join(","),
            SPANS.on(day),
            dialect.by_ids(),
            self.conditions,
        ));
        sql.push(format_args!(
            " AND s.start_ns >= {} AND s.start_ns < {}",
            day.since(window.from),
            day.since(window.to)
        ));
        if self.attributes.is_empty() {
            sql.push(format_args!(" ORDER BY {order} LIMIT {}", self.limit));
        }
        let tables = columns::span_tables(dialect, day, None);
        sql.push(format_args!(") AS w CROSS JOIN {tables} AND s.id = w.id"));
        let rows = reader.all(sql, |row| columns::span(row, day)).await?;
        match self.attributes.is_empty() {
            true => Ok(rows),
            false => details::matching(reader, (self.tenant, self.services), rows, self.attributes).await,
        }
    }
}

/// Blocks by their days.
fn by_day(candidates: &[Candidate]) -> HashMap<Day, Vec<i64>> {
    let mut days: HashMap<Day, Vec<i64>> = HashMap::new();
    for (day, block) in candidates {
        days.entry(*day).or_default().push(block.id);
    }
    days
}

/// The rows of those of `blocks` that have some of `window`.
async fn ranges(
    reader: &mut Reader,
    (day, window): (Day, Window),
    blocks: &[i64],
) -> Result<Vec<Range>, Error> {
    let ids = reader.dialect().is_one_of(blocks.iter().copied());
    let sql = reader.sql(format!(
        "SELECT id, rows, max_ns FROM {} WHERE max_ns >= {} AND min_ns < {} AND id{ids}",
        Signal::Spans.blocks().on(day),
        day.since(window.from),
        day.since(window.to)
    ));
    reader
        .all(sql, |row| Ok(Range { first: row.get(0)?, rows: row.get(1)?, newest: day.after(row.get(2)?) }))
        .await
}
