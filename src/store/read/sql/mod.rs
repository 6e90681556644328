//! Questions in SQL by the operator: one statement that reads the views for people.
//!
//! Promises: a statement is taken only where `rules` know all of it, and is answered from one state of the database in
//! which no other tenant than the named one is known; it takes at most
//! [`QUESTION_TIME_MAX`](super::QUESTION_TIME_MAX); an answer is cut at [`ROWS_MAX`] rows and [`BYTES_MAX`] bytes and says so;
//! dropping the future stops the statement.
//!
//! Never: a statement writes, whatever the rules overlook: the connection is told to read only. On SQLite it has a
//! connection of its own, which sorts in temporary files rather than in memory.
//!
//! Files in reading order: `tokens` and [`words`] (what a statement is made of), `rules` (how), [`refusal`] (why not), [`value`]
//! (what it answers).

#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
pub mod refusal;
mod rules;
#[cfg(test)]
mod tests;
mod tokens;
pub mod value;
pub mod words;

use super::reader::Reader;
use crate::model::tenant::TenantId;
use crate::store::Store;
use crate::store::error::Error;
use crate::store::pool::Pool;
use crate::store::sql::{Dialect, Sql};

use self::value::Value;

/// Most rows of an answer.
pub const ROWS_MAX: usize = 10_000;
/// Most bytes of an answer in memory, about as many as it has as text.
pub const BYTES_MAX: usize = 16 << 20;
/// What a value takes beside its text.
const VALUE_BYTES: usize = 32;
/// How a connection of SQLite is set up for one statement.
const ALONE: [&str; 2] = ["PRAGMA temp_store = file", "PRAGMA cache_size = -16384"];

/// The answer to a statement.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Table {
    /// The names of the columns; the same name may come twice.
    pub columns: Vec<String>,
    /// The rows, with a value for each column.
    pub rows: Vec<Vec<Value>>,
    /// True where there are more rows than an answer holds.
    pub truncated: bool,
}

impl Store {
    /// Answers a statement, at most `rows_max` rows of it and [`ROWS_MAX`].
    ///
    /// # Errors
    /// [`Error::NotTaken`] where the rules do not know it; [`Error::Shared`] where the database has data of another
    /// tenant than `tenant`; [`Error::Asked`] where the database does not take it; [`Error::TimedOut`].
    pub async fn sql(&self, tenant: &TenantId, text: &str, rows_max: usize) -> Result<Table, Error> {
        let dialect = self.readers().dialect();
        let text = rules::checked(text, dialect)?;
        match dialect {
            Dialect::Postgres => ask(self.reader().await?, tenant, text, rows_max).await,
            Dialect::Sqlite => {
                let alone = Pool::new(&self.inner.options, 1).await?;
                let mut connection = alone.acquire().await?;
                for setting in ALONE {
                    connection.borrow().execute(Sql::from(dialect, setting)).await?;
                }
                let answer = ask(Reader::begin(connection).await?, tenant, text, rows_max).await;
                alone.close().await;
                answer
            }
        }
    }
}

async fn ask(mut reader: Reader, tenant: &TenantId, text: String, rows_max: usize) -> Result<Table, Error> {
    if reader.dialect() == Dialect::Postgres {
        // A text ends where the rules say, whatever the server's settings are.
        let strings = reader.sql("SET LOCAL standard_conforming_strings = on");
        reader.all(strings, |_| Ok(())).await?;
    }
    let mut others = reader.sql("SELECT id FROM tenants WHERE name <> ");
    others.bind(tenant.as_str()).push(" LIMIT 1");
    if reader.first(others, |row| row.get::<i64>(0)).await?.is_some() {
        return Err(Error::Shared);
    }
    let mut table = Table::default();
    let mut bytes = 0;
    let asked = reader.sql(text);
    let read = reader
        .all(asked.clone(), |row| {
            if table.columns.is_empty() {
                table.columns = value::columns(row);
            }
            let values = value::values(row)?;
            bytes += values.iter().map(|value| value.text_bytes() + VALUE_BYTES).sum::<usize>();
            if table.rows.len() >= rows_max.min(ROWS_MAX) || bytes > BYTES_MAX {
                table.truncated = true;
                return Err(Error::Unreadable { what: "row beyond the last" });
            }
            table.rows.push(values);
            Ok(())
        })
        .await;
    match read {
        Ok(_) => {}
        // The rest is not wanted: the reader is dropped, which stops the statement.
        Err(_) if table.truncated => return Ok(table),
        Err(Error::Statement(source)) => return Err(Error::Asked(source)),
        Err(error) => return Err(error),
    }
    if table.rows.is_empty() {
        table.columns = reader.columns(asked).await?;
    }
    reader.finish().await?;
    Ok(table)
}
