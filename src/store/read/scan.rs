//! Newest first over several indexes and days at once.
//!
//! A question about two services walks the index of each from its newest end; so does one about all of them,
//! where there is no index over the tenant's time. The database merges the walks as it goes: each of them is ordered
//! by (time, id) already, so a statement that stops after fifty rows reads little more than fifty rows. Days come one
//! after the other, so a question that is answered by today never opens yesterday.
//!
//! Attributes are in no index. What many rows have is soon met on such a walk; what few have is looked for by the
//! filters of the blocks: see [`sift`].

use std::cmp::Reverse;
use std::collections::BTreeSet;

use super::columns::Found;
use super::details::{self, Detailed};
use super::lines::{self, Fields};
use super::reader::Reader;
use super::sift;
use super::together;
use crate::model::id::{ServiceId, TenantNumber, TraceId};
use crate::model::time::{UnixNanos, Window};
use crate::model::trace_key::{LogKey, TraceKey};
use crate::store::day::{Day, days_of};
use crate::store::error::Error;
use crate::store::partition::{Family, Kept};
use crate::store::row::Row;
use crate::store::sql::{Dialect, Sql};

/// Walks that one statement merges; SQLite itself stops at 500.
const WALKS_MAX: usize = 200;
/// Characters of one statement, about; SQLite itself stops at a million.
const STATEMENT_MAX: usize = 400_000;
/// Rows that are read at a time where attributes decide which of them are kept: first, and later on.
const SEARCHED: (usize, usize) = (32, 2_048);
/// Rows from which on SQLite joins them.
const JOINED_MIN: usize = 256;
/// Rows that a walk may have to look at where attributes decide; where it is likely to be more, the
/// filters of the blocks are asked.
const WALKED_MAX: usize = 8_000;

/// An index in the order of time, and the condition that begins it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Walk {
    index: &'static str,
    /// In SQL, about a table `s`, up to the number that completes it.
    condition: &'static str,
    /// Of the tenant or service.
    number: i64,
}

impl Walk {
    const SERVICE: &str = "s.service_id = ";

    /// A walk over an index of the whole tenant; `condition` ends with what the tenant's number completes.
    pub(super) fn of_tenant(index: &'static str, condition: &'static str, tenant: TenantNumber) -> Self {
        Self { index, condition, number: tenant.0.into() }
    }

    /// A walk for each service.
    pub(super) fn of_services(index: &'static str, services: &[ServiceId]) -> Vec<Self> {
        Self::of_each(index, Self::SERVICE, services)
    }

    /// A walk for each service over the spans that took so long. The number is that of the index, which is used only where its
    /// own condition is spelled out.
    pub(super) fn of_long(services: &[ServiceId]) -> Vec<Self> {
        Self::of_each("long", "s.duration_ns >= 200000000 AND s.service_id = ", services)
    }

    fn of_each(index: &'static str, condition: &'static str, services: &[ServiceId]) -> Vec<Self> {
        services.iter().map(|service| Self { index, condition, number: service.0.into() }).collect()
    }

    /// The index that all of `walks` are over, and the condition that begins one of them or another; none where there are none.
    pub(super) fn together(walks: &[Self]) -> Option<(&'static str, String)> {
        let first = walks.first()?;
        let begin = first.condition.strip_suffix(" = ")?;
        let numbers: Vec<String> = walks.iter().map(|walk| walk.number.to_string()).collect();
        Some((first.index, format!("{begin} IN ({})", numbers.join(","))))
    }

    /// What comes after FROM for the rows of a day that it leads to, to its own condition.
    pub(super) fn rows(&self, dialect: Dialect, table: Kept, day: Day) -> String {
        let index = dialect.indexed(table, day, self.index);
        format!("{} AS s{index} WHERE {}{}", table.on(day), self.condition, self.number)
    }

    /// Whether it meets every service.
    pub(super) fn is_whole(&self) -> bool {
        !self.condition.ends_with(Self::SERVICE)
    }
}

/// Reads a row of a day out of the texts of its columns.
type ReadText<T> = fn(&mut Fields<'_>, Day) -> Option<Found<T>>;

/// What to walk over.
pub(super) struct Scan<'a, T> {
    /// What is walked over.
    pub(super) family: Family,
    /// The columns that `read` reads, out of a table `s` and those beside it.
    pub(super) columns: &'static str,
    /// The table that is walked over.
    pub(super) table: Kept,
    /// What comes after FROM to lead to the rows of a day by their ids, to the first condition.
    pub(super) tables: fn(Dialect, Day) -> String,
    /// The column that the indexes are ordered by, before the id; it counts from the beginning of the day.
    pub(super) time: &'static str,
    /// Reads a row of a day.
    pub(super) read: fn(Row<'_>, Day) -> Result<Found<T>, Error>,
    /// The columns that are joined into texts, and what reads a row out of them; see [`super::lines`].
    pub(super) lines: (&'static [&'static str], ReadText<T>),
    /// When a row happened.
    pub(super) at: fn(&T) -> UnixNanos,
    /// Where to look.
    pub(super) walks: &'a [Walk],
    /// Whose rows.
    pub(super) tenant: TenantNumber,
    /// Within which time.
    pub(super) window: Window,
    /// Further conditions about a table `s`, each beginning with ` AND `; numbers only.
    pub(super) conditions: &'a str,
    /// What the details must hold.
    pub(super) attributes: &'a [(String, String)],
    /// The services that all rows are of; none where they are of any. Only filters are asked about them: the walks or conditions
    /// must see to it.
    pub(super) services: &'a [ServiceId],
    /// How long the rows took at least; only blocks are asked about it: the conditions must see to it.
    pub(super) least_ns: Option<u64>,
    /// Only rows of this trace, by the keys that it can have at the time of the row.
    pub(super) keyed: Option<TraceId>,
    /// Where the answer begins: right after this time and number.
    pub(super) after: Option<(UnixNanos, i64)>,
}

impl<T: Detailed + Unpin> Scan<'_, T> {
    /// The newest `limit` rows, in the order of time and number. Their details are loaded only where attributes were
    /// asked for.
    pub(super) async fn run(mut self, reader: &mut Reader, limit: usize) -> Result<Vec<Found<T>>, Error> {
        if self.attributes.is_empty() {
            return self.bare(reader, limit).await;
        }
        let (mut found, mut looked_at) = (Vec::new(), 0);
        let mut chunk = SEARCHED.0;
        for band in bands(reader, self.family, self.remaining()) {
            let sifts = self.keyed.is_none();
            let mut blocks = None;
            if sifts {
                blocks = sift::blocks(&self, reader, band, true).await?;
            }
            loop {
                if sifts && blocks.is_none() && is_rare(looked_at, found.len(), limit) {
                    blocks = sift::blocks(&self, reader, band, false).await?;
                }
                if let Some(blocks) = &blocks {
                    found.extend(sift::newest(&self, reader, band, blocks, limit - found.len()).await?);
                    break;
                }
                let rows = self.chunk(reader, band, chunk).await?;
                let last = rows.len() < chunk;
                self.after = rows.last().map(|row| self.place(row)).or(self.after);
                looked_at += rows.len();
                found.extend(
                    details::matching(reader, (self.tenant, self.services), rows, self.attributes).await?,
                );
                chunk = (2 * chunk).min(SEARCHED.1);
                if last || found.len() >= limit {
                    break;
                }
            }
            if found.len() >= limit {
                break;
            }
        }
        found.truncate(limit);
        Ok(found)
    }
}

impl<T: Send + Unpin> Scan<'_, T> {
    /// The newest `limit` rows, in the order of time and number, whatever their details.
    pub(super) async fn bare(mut self, reader: &mut Reader, limit: usize) -> Result<Vec<Found<T>>, Error> {
        let mut found: Vec<Found<T>> = Vec::new();
        for band in bands(reader, self.family, self.remaining()) {
            let rows = self.chunk(reader, band, limit - found.len()).await?;
            self.after = rows.last().map(|row| self.place(row)).or(self.after);
            found.extend(rows);
            if found.len() >= limit {
                break;
            }
        }
        Ok(found)
    }

    /// The window as far as the answer has not come yet.
    fn remaining(&self) -> Window {
        let end = self.after.map_or(self.window.to, |(at, _)| UnixNanos(at.0.saturating_add(1)));
        Window::new(self.window.from, self.window.to.min(end))
    }

    /// The rows of a day with these ids that are within `band` and of what the walks lead to.
    pub(super) async fn by_id(
        &self,
        reader: &mut Reader,
        (day, band): (Day, Window),
        ids: impl Iterator<Item = i64>,
    ) -> Result<Vec<Found<T>>, Error> {
        let (dialect, time) = (reader.dialect(), self.time);
        let tables = (self.tables)(dialect, day);
        let mut sql = reader.sql(format!("SELECT {} FROM {tables} AND s.id", self.columns));
        sql.push(dialect.is_one_of(ids));
        sql.push(format_args!(" AND s.{time} >= {}{}", day.since(band.from), self.conditions));
        if !self.walks.iter().any(Walk::is_whole) {
            let services = self.walks.iter().map(|walk| walk.number);
            sql.push(" AND s.service_id").push(dialect.is_one_of(services));
        }
        self.push_end(&mut sql, (day, band));
        let read = self.read;
        reader.all(sql, |row| read(row, day)).await
    }

    pub(super) fn place(&self, row: &Found<T>) -> (UnixNanos, i64) {
        ((self.at)(&row.row), row.number())
    }

    async fn chunk(
        &self,
        reader: &mut Reader,
        band: Window,
        rows_max: usize,
    ) -> Result<Vec<Found<T>>, Error> {
        let walks_max = (STATEMENT_MAX / (400 + self.conditions.len())).clamp(1, WALKS_MAX);
        let joins = reader.dialect() == Dialect::Sqlite && rows_max >= JOINED_MIN;
        let mut rows = Vec::new();
        let mut statements = 0;
        for day in reader.days(self.family, band) {
            if joins && let Some(ids) = together::newest(self, reader, (day, band), rows_max).await? {
                rows.extend(self.of_ids(reader, ids, day).await?);
                statements += 1;
                continue;
            }
            for walks in self.walks.chunks(walks_max) {
                // Walks lead to ids; what stands in other tables is read for those alone that are answered.
                let mut ids = reader.sql("(");
                for (index, walk) in walks.iter().enumerate() {
                    ids.push(if index == 0 { "" } else { " UNION ALL " });
                    self.push_walk(&mut ids, walk, (day, band));
                }
                ids.push(format_args!(" ORDER BY at DESC, id DESC LIMIT {rows_max}) AS w"));
                rows.extend(match joins {
                    true => self.joined(reader, &ids, day).await?,
                    false => self.one_by_one(reader, &ids, day).await?,
                });
                statements += 1;
            }
        }
        if statements > 1 || joins {
            rows.sort_by_key(|row| Reverse(self.place(row)));
            rows.truncate(rows_max);
        }
        Ok(rows)
    }

    /// The rows whose ids a table `w` has.
    async fn one_by_one(&self, reader: &mut Reader, ids: &Sql, day: Day) -> Result<Vec<Found<T>>, Error> {
        let (tables, time) = ((self.tables)(reader.dialect(), day), self.time);
        let sql = reader.sql(format!(
            "SELECT {} FROM {} CROSS JOIN {tables} AND s.id = w.id ORDER BY s.{time} DESC, s.id DESC",
            self.columns, ids.text
        ));
        let read = self.read;
        reader.all(sql, |row| read(row, day)).await
    }

    /// The same as texts, in no order. What arrived together lies together, and is read from one end to the other.
    async fn joined(&self, reader: &mut Reader, ids: &Sql, day: Day) -> Result<Vec<Found<T>>, Error> {
        const ID: &[&str] = &["w.id"];
        let sql = reader.sql(format!("SELECT {} FROM {}", lines::joined(ID), ids.text));
        let ids = lines::read(reader, sql, ID, |fields| fields.number()).await?;
        self.of_ids(reader, ids, day).await
    }

    /// The rows with these ids, as texts, in no order.
    async fn of_ids(&self, reader: &mut Reader, mut ids: Vec<i64>, day: Day) -> Result<Vec<Found<T>>, Error> {
        ids.sort_unstable();
        let (columns, read) = self.lines;
        let tables = (self.tables)(reader.dialect(), day);
        let mut sql = reader.sql(format!(
            "SELECT {} FROM {tables} AND s.tenant_id = {} AND s.id",
            lines::joined(columns),
            self.tenant.0
        ));
        match ids[..] {
            [first, .., last] if last - first < 2 * ids.len() as i64 => {
                sql.push(format_args!(" >= {first} AND s.id <= {last}"));
            }
            _ => {
                sql.push(reader.dialect().is_one_of(ids.iter().copied()));
            }
        }
        let mut rows = lines::read(reader, sql, columns, |fields| read(fields, day)).await?;
        rows.retain(|row| ids.binary_search(&row.id).is_ok());
        Ok(rows)
    }

    fn push_walk(&self, sql: &mut Sql, walk: &Walk, (day, band): (Day, Window)) {
        let time = self.time;
        let rows = walk.rows(sql.dialect, self.table, day);
        sql.push(format_args!(
            "SELECT s.{time} AS at, s.id AS id FROM {rows} AND s.{time} >= {}{}",
            day.since(band.from),
            self.conditions,
        ));
        if let Some(trace) = self.keyed {
            let day = Window::new(band.from.max(day.start()), band.to.min(day.end()));
            let keys = LogKey::candidates(day, self.tenant, trace).map(|key| key.0);
            // Records that earlier builds stored have keys by the hour.
            let before = TraceKey::candidates(day, self.tenant, trace).map(|key| key.0);
            let keys = sql.dialect.is_one_of(keys.chain(before));
            sql.push(" AND s.trace_key").push(keys);
        }
        self.push_end(sql, (day, band));
    }

    /// Where in time the rows of a day end.
    fn push_end(&self, sql: &mut Sql, (day, band): (Day, Window)) {
        let time = self.time;
        // One bound on the time, not two: a walk must begin at the place, not at the end of the band.
        match self.after.filter(|(at, _)| *at < band.to) {
            Some((at, number)) if Day::of_row(number) == day => {
                sql.push(format_args!(" AND (s.{time}, s.id) < ({}, {})", day.since(at), Day::id_of(number)))
            }
            // Among equals the later day comes first.
            Some((at, number)) if day < Day::of_row(number) => {
                sql.push(format_args!(" AND s.{time} <= {}", day.since(at)))
            }
            Some((at, _)) => sql.push(format_args!(" AND s.{time} < {}", day.since(at))),
            None => sql.push(format_args!(" AND s.{time} < {}", day.since(band.to))),
        };
    }
}

/// Whether what was found among the rows that were looked at says that a walk to the others would be long.
const fn is_rare(looked_at: usize, found: usize, limit: usize) -> bool {
    looked_at > 0 && (found == 0 || looked_at.saturating_mul(limit) / found > WALKED_MAX)
}

/// `window` cut at midnights, the newest part first, without parts in which the tables of `family` can have nothing.
pub(super) fn bands(reader: &Reader, family: Family, window: Window) -> Vec<Window> {
    // Spans of one day may lie in the tables of the days beside it.
    let beside = i32::from(family == Family::Spans);
    let (first, last) = days_of(window);
    let mut days = BTreeSet::new();
    for day in reader.days(family, window) {
        days.extend((day.0 - beside..=day.0 + beside).map(Day));
    }
    let cut = |from: UnixNanos, to: UnixNanos| Window::new(window.from.max(from), window.to.min(to));
    let days = days.into_iter().rev().filter(|day| first <= *day && *day <= last);
    let mut bands: Vec<Window> = days.map(|day| cut(day.start(), day.end())).collect();
    if family == Family::Spans {
        // Times before 1970 lie under the first keys, beyond any day of theirs.
        bands.retain(|band| Day(0).start() <= band.from);
        bands.push(cut(UnixNanos(i64::MIN), Day(0).start()));
    }
    bands.retain(|band| band.from < band.to);
    bands
}
