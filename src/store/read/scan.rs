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
use crate::model::time::{UnixNanos, Window};
use crate::store::error::Error;

/// Walks that one statement merges; SQLite itself stops at 500.
const WALKS_MAX: usize = 200;
/// Rows that are read at a time where attributes decide which of them are kept: first, and later on.
const SEARCHED: (usize, usize) = (256, 2_048);

/// An index in the order of time, and the condition that begins it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Walk {
    /// The index.
    pub(super) index: &'static str,
    /// The condition in SQL, in which `number` takes the place after it.
    pub(super) condition: &'static str,
    /// The number of the tenant or service.
    pub(super) number: i64,
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
    /// Where a row is in the order.
    pub(super) place: fn(&Found<T>) -> Place,
    /// Where to look.
    pub(super) walks: &'a [Walk],
    /// Within which time.
    pub(super) window: Window,
    /// Further conditions, each beginning with ` AND `; numbers only.
    pub(super) conditions: &'a str,
    /// What the details must hold.
    pub(super) attributes: &'a [(String, String)],
    /// Where the answer begins: right after this place.
    pub(super) after: Option<Place>,
}

/// A place in the order of a scan: time and id; the newest comes first.
pub(super) type Place = (UnixNanos, i64);

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
        let mut rows = Vec::new();
        for walks in self.walks.chunks(WALKS_MAX) {
            let mut query = QueryBuilder::<Sqlite>::new("");
            for (index, walk) in walks.iter().enumerate() {
                query.push(if index == 0 { "" } else { " UNION ALL " });
                self.push_walk(&mut query, walk);
            }
            query.push(" ORDER BY ").push(self.time).push(" DESC, id DESC LIMIT ").push(rows_max);
            rows.extend(reader.all(query, self.read).await?);
        }
        if self.walks.len() > WALKS_MAX {
            rows.sort_by_key(|row| std::cmp::Reverse((self.place)(row)));
            rows.truncate(rows_max);
        }
        Ok(rows)
    }

    fn push_walk(&self, query: &mut QueryBuilder<Sqlite>, walk: &Walk) {
        let time = self.time;
        query.push(format_args!(
            "SELECT {} FROM {} INDEXED BY {} WHERE {}{} AND {time} >= {} AND {time} < {}{}",
            self.columns,
            self.table,
            walk.index,
            walk.condition,
            walk.number,
            self.window.from.0,
            self.window.to.0,
            self.conditions,
        ));
        if let Some((at, id)) = self.after {
            query.push(format_args!(" AND ({time}, id) < ({}, {id})", at.0));
        }
    }
}
