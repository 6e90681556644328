//! Long spans, and the slowest.
//!
//! Blocks say of each service how long the longest of its spans in them is: see `blocks::longest`. So those are read that have
//! what is asked for, the newest first or those with the longest spans, until no other can have more of it. A block is a
//! range of ids, and its rows lie side by side.
//!
//! So many blocks are read and no more: what else is asked of the spans may leave out most that are long. How far they were
//! looked through is said then, and indexes lead to the rest.

use std::cmp::Reverse;
use std::collections::HashMap;

use super::columns::{self, Found};
use super::details;
use super::promising::{Filters, Leveled, Scope};
use super::reader::Reader;
use super::scan::bands;
use crate::model::id::{ServiceId, TenantNumber};
use crate::model::time::{UnixNanos, Window};
use crate::store::blocks::longest::{self, UNKNOWN};
use crate::store::day::Day;
use crate::store::error::Error;
use crate::store::packing::Signal;
use crate::store::partition::{Family, SPANS};
use crate::store::rows::SpanRow;

/// Blocks whose rows are read with one statement: at first, and at most.
const TOGETHER: (usize, usize) = if cfg!(test) { (2, 4) } else { (8, 64) };
/// Filters, each of up to 64 blocks, that are asked before their blocks are read.
const FILTERS: usize = if cfg!(test) { 3 } else { 32 };
/// Blocks of which nothing is known, because an earlier release wrote them, that are read nevertheless.
const UNKNOWN_MAX: usize = if cfg!(test) { 10 } else { 256 };
/// Blocks that are read: half a second. With attributes they are opened as well, which takes ten times as long.
const BLOCKS_MAX: usize = if cfg!(test) { 24 } else { 2_048 };
const OPENED_MAX: usize = BLOCKS_MAX / 8;

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

/// How many blocks may still be read.
struct Budget {
    blocks: usize,
    unknown: usize,
}

impl Search<'_> {
    /// The newest spans, whatever their attributes, and in which part of the window there may be more of them because it was not
    /// looked into.
    pub(super) async fn newest(
        &self,
        reader: &mut Reader,
    ) -> Result<(Vec<Found<SpanRow>>, Option<Window>), Error> {
        let mut found = Vec::new();
        let mut budget = Budget { blocks: BLOCKS_MAX, unknown: UNKNOWN_MAX };
        for band in bands(reader, Family::Spans, self.window) {
            let before_end = UnixNanos(band.to.0.saturating_sub(1));
            let mut filters = Vec::new();
            for day in reader.days(Family::Spans, band) {
                filters.extend(self.scope(day).filters(reader, band).await?);
            }
            filters.sort_unstable_by_key(|filter| Reverse((filter.newest, filter.day)));
            for filters in filters.chunks_mut(FILTERS) {
                if self.has_all(&found, filters[0].newest) {
                    break;
                }
                filters.sort_by_key(|filter| filter.day);
                let mut candidates = self.candidates(reader, filters).await?;
                candidates.sort_unstable_by_key(|(day, block)| Reverse((block.newest, *day, block.id)));
                for part in candidates.chunks(TOGETHER.1) {
                    // What is newer than all that follows is complete.
                    let newest = part[0].1.newest.min(before_end);
                    if self.has_all(&found, newest) {
                        break;
                    }
                    if !budget.has(part) {
                        found.retain(|row| row.row.start > newest);
                        let rest = Window::new(self.window.from, UnixNanos(newest.0.saturating_add(1)));
                        return Ok((found, Some(rest)));
                    }
                    self.newest_of(reader, (band, part), &mut found).await?;
                }
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
                let order = "s.start_ns DESC, s.id DESC";
                found.extend(self.rows(reader, (day, band), ranges, (self.least_ns, order)).await?);
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

    /// The slowest spans, and a duration below which there may be more of them because not all blocks were looked into.
    pub(super) async fn slowest(
        &self,
        reader: &mut Reader,
    ) -> Result<(Vec<Found<SpanRow>>, Option<u64>), Error> {
        let mut candidates = Vec::new();
        for day in reader.days(Family::Spans, self.window) {
            let filters = self.scope(day).filters(reader, self.window).await?;
            let mut of_day = self.candidates(reader, &filters).await?;
            if !self.attributes.is_empty() && !of_day.is_empty() {
                let holding = self.scope(day).holding(reader, self.window, self.attributes).await?;
                of_day.retain(|(_, block)| holding.contains(&block.id));
            }
            candidates.extend(of_day);
        }
        candidates.sort_unstable_by_key(|(day, block)| Reverse((block.level, block.newest, *day, block.id)));
        let mut found: Vec<Found<SpanRow>> = Vec::new();
        let unknown = candidates.iter().filter(|(_, block)| block.level == UNKNOWN).count();
        if unknown > UNKNOWN_MAX {
            // They come first, and would be read in vain.
            return Ok((found, Some(u64::MAX)));
        }
        let (mut candidates, mut together) = (&candidates[..], TOGETHER.0);
        let blocks = if self.attributes.is_empty() { BLOCKS_MAX } else { OPENED_MAX };
        let mut budget = Budget { blocks, unknown };
        while let Some((_, block)) = candidates.first() {
            // All that is left is shorter.
            let beyond = longest::least(block.level.saturating_add(1)).unwrap_or(u64::MAX);
            let last = found.get(self.limit - 1).map(|last| last.row.duration_ns);
            if last.is_some_and(|last| last >= beyond) {
                break;
            }
            let (part, rest) = candidates.split_at(together.min(candidates.len()));
            if !budget.has(part) {
                found.retain(|row| row.row.duration_ns >= beyond);
                return Ok((found, Some(beyond)));
            }
            for (day, blocks) in by_day(part) {
                let ranges = ranges(reader, (day, self.window), &blocks).await?;
                let order = "s.duration_ns DESC, s.start_ns DESC, s.id DESC";
                let least_ns = last.unwrap_or(self.least_ns);
                found.extend(self.rows(reader, (day, self.window), &ranges, (least_ns, order)).await?);
            }
            found.sort_unstable_by_key(|row| Reverse((row.row.duration_ns, row.row.start, row.number())));
            found.truncate(self.limit);
            candidates = rest;
            // With attributes all that is long enough is read and opened.
            together = if self.attributes.is_empty() { (2 * together).min(TOGETHER.1) } else { together };
        }
        Ok((found, None))
    }

    fn scope(&self, day: Day) -> Scope<'_> {
        let (signal, tenant, services) = (Signal::Spans, self.tenant, self.services);
        Scope { signal, tenant, day, services, least_ns: None }
    }

    /// The blocks of `filters` that may have what is asked for.
    async fn candidates(&self, reader: &mut Reader, filters: &[Filters]) -> Result<Vec<Candidate>, Error> {
        let least = longest::level(self.least_ns);
        let mut candidates = Vec::new();
        for filters in filters.chunk_by(|a, b| a.day == b.day) {
            let day = filters[0].day;
            let blocks = self.scope(day).levels(reader, filters).await?.into_iter();
            candidates.extend(blocks.filter(|block| block.level >= least).map(|block| (day, block)));
        }
        Ok(candidates)
    }

    /// The first of the rows of blocks that are asked for and took at least so long, in an order that need not be that of the
    /// answer.
    async fn rows(
        &self,
        reader: &mut Reader,
        (day, window): (Day, Window),
        ranges: &[Range],
        (least_ns, order): (u64, &str),
    ) -> Result<Vec<Found<SpanRow>>, Error> {
        if ranges.is_empty() {
            return Ok(Vec::new());
        }
        let dialect = reader.dialect();
        let ids: Vec<(i64, i64)> =
            ranges.iter().map(|range| (range.first, range.first + range.rows)).collect();
        let mut sql = reader.sql(format!(
            "SELECT {} FROM (SELECT s.id AS id FROM {}{}",
            columns::SPAN,
            dialect.in_ranges(SPANS.on(day), &ids),
            self.conditions,
        ));
        sql.push(format_args!(
            " AND s.duration_ns >= {} AND s.start_ns >= {} AND s.start_ns < {}",
            i64::try_from(least_ns).unwrap_or(i64::MAX),
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

impl Budget {
    /// Whether `part` may be read; it is counted.
    fn has(&mut self, part: &[Candidate]) -> bool {
        let unknown = part.iter().filter(|(_, block)| block.level == UNKNOWN).count();
        match (self.blocks.checked_sub(part.len()), self.unknown.checked_sub(unknown)) {
            (Some(blocks), Some(unknown)) => {
                *self = Self { blocks, unknown };
                true
            }
            _ => false,
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
