//! Newest first over several indexes at once.
//!
//! A question about two services walks the index of each from its newest end; so does one about all of them,
//! where there is no index over the tenant's time. SQLite merges the walks as it goes: each of them is ordered
//! by (time, id) already, so a statement that stops after fifty rows reads little more than fifty rows.

use sqlx::sqlite::SqliteRow;
use sqlx::{QueryBuilder, Sqlite};

use super::columns::Found;
use super::details::{self, Detailed};
use super::reader::Reader;
use crate::model::id::{ServiceId, TenantNumber};
use crate::model::time::{UnixNanos, Window};
use crate::store::error::Error;

/// Walks that one statement merges; SQLite itself stops at 500.
const WALKS_MAX: usize = 200;
/// Characters of one statement, about; SQLite itself stops at a million.
const STATEMENT_MAX: usize = 400_000;
/// Rows that are read at a time where attributes decide which of them are kept: first, and later on.
const SEARCHED: (usize, usize) = (256, 2_048);

/// An index in the order of time, and the condition that begins it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Walk {
    index: &'static str,
    /// In SQL, up to the number that completes it.
    condition: &'static str,
    /// Of the tenant or service.
    number: i64,
}

impl Walk {
    const SERVICE: &str = "service_id = ";

    /// A walk over an index of the whole tenant; `condition` ends with what the tenant's number completes.
    pub(super) fn of_tenant(index: &'static str, condition: &'static str, tenant: TenantNumber) -> Self {
        Self { index, condition, number: tenant.0.into() }
    }

    /// A walk for each service.
    pub(super) fn of_services(index: &'static str, services: &[ServiceId]) -> Vec<Self> {
        let walk = |service: &ServiceId| Self { index, condition: Self::SERVICE, number: service.0.into() };
        services.iter().map(walk).collect()
    }

    /// Whether it meets every service.
    pub(super) fn is_whole(&self) -> bool {
        self.condition != Self::SERVICE
    }
}

/// What to walk over.
pub(super) struct Scan<'a, T> {
    /// The table.
    pub(super) table: &'static str,
    /// The columns that `read` reads.
    pub(super) columns: &'static str,
    /// The column that the indexes are ordered by, before the id.
    pub(super) time: &'static str,
    /// Reads a row.
    pub(super) read: fn(&SqliteRow) -> Result<Found<T>, Error>,
    /// Where a row is in the order: its time and id.
    pub(super) place: fn(&Found<T>) -> (UnixNanos, i64),
    /// Where to look.
    pub(super) walks: &'a [Walk],
    /// Within which time.
    pub(super) window: Window,
    /// Further conditions, each beginning with ` AND `; numbers only.
    pub(super) conditions: &'a str,
    /// What the details must hold.
    pub(super) attributes: &'a [(String, String)],
    /// Where the answer begins: right after this place.
    pub(super) after: Option<(UnixNanos, i64)>,
}

impl<T: Detailed + Unpin> Scan<'_, T> {
    /// The newest `limit` rows. Their details are loaded only where attributes were asked for.
    pub(super) async fn run(mut self, reader: &mut Reader, limit: usize) -> Result<Vec<Found<T>>, Error> {
        let mut chunk = if self.attributes.is_empty() { limit } else { SEARCHED.0 };
        let mut found = Vec::new();
        loop {
            let rows = self.chunk(reader, chunk).await?;
            let last = rows.len() < chunk;
            self.after = rows.last().map(self.place);
            if self.attributes.is_empty() {
                found = rows;
            } else {
                found.extend(details::matching(reader, rows, self.attributes).await?);
                chunk = (2 * chunk).min(SEARCHED.1);
            }
            if last || found.len() >= limit {
                found.truncate(limit);
                return Ok(found);
            }
        }
    }

    async fn chunk(&self, reader: &mut Reader, rows_max: usize) -> Result<Vec<Found<T>>, Error> {
        let walks_max = (STATEMENT_MAX / (400 + self.conditions.len())).clamp(1, WALKS_MAX);
        let mut rows = Vec::new();
        for walks in self.walks.chunks(walks_max) {
            let mut query = QueryBuilder::<Sqlite>::new("");
            for (index, walk) in walks.iter().enumerate() {
                query.push(if index == 0 { "" } else { " UNION ALL " });
                self.push_walk(&mut query, walk);
            }
            query.push(" ORDER BY ").push(self.time).push(" DESC, id DESC LIMIT ").push(rows_max);
            rows.extend(reader.all(query, self.read).await?);
        }
        if self.walks.len() > walks_max {
            rows.sort_by_key(|row| std::cmp::Reverse((self.place)(row)));
            rows.truncate(rows_max);
        }
        Ok(rows)
    }

    fn push_walk(&self, query: &mut QueryBuilder<Sqlite>, walk: &Walk) {
        let time = self.time;
        query.push(format_args!(
            "SELECT {} FROM {} INDEXED BY {} WHERE {}{} AND {time} >= {}{}",
            self.columns,
            self.table,
            walk.index,
            walk.condition,
            walk.number,
            self.window.from.0,
            self.conditions,
        ));
        // One bound on the time, not two: the walk must begin at the place, not at the end of the window.
        match self.after.filter(|(at, _)| *at < self.window.to) {
            Some((at, id)) => query.push(format_args!(" AND ({time}, id) < ({}, {id})", at.0)),
            None => query.push(format_args!(" AND {time} < {}", self.window.to.0)),
        };
    }
}
