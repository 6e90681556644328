//! Reading the database file of the Go program that came before this one: rows as they are, page by page.
//!
//! Tables and columns that a version of it did not have yet are read as empty. The file is opened read-only.

use std::collections::BTreeSet;
use std::path::Path;

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteRow};
use sqlx::{ConnectOptions, Connection, Row};

use super::error::Error;
use super::sqlite::file::LOCK_WAIT;

/// The tables whose rows are carried over.
const CARRIED: [&str; 3] = ["spans", "logs", "metric_buckets"];
/// Longest value of one column that is read, in bytes; longer ones are cut.
const VALUE_BYTES_MAX: u32 = 16 * 1024 * 1024;

/// A predecessor's database.
#[derive(Debug)]
pub struct Predecessor {
    connection: SqliteConnection,
    /// The columns of the tables that are carried over, as `table.column`.
    columns: BTreeSet<String>,
}

/// A row of `spans`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OldSpan {
    /// Its number.
    pub id: i64,
    /// `tenant_id`.
    pub tenant: String,
    /// `trace_id`, in hexadecimal as a rule.
    pub trace: String,
    /// `span_id`.
    pub span: String,
    /// `parent_span_id`; may be empty.
    pub parent: String,
    /// `operation_name`.
    pub operation: String,
    /// `service_name`.
    pub service: String,
    /// `status`, as in `STATUS_CODE_ERROR`.
    pub status: String,
    /// `start_time`, as text.
    pub start: String,
    /// `end_time`, as text.
    pub end: String,
    /// `duration`, in microseconds.
    pub duration_us: i64,
    /// `attributes_json`: JSON, compressed with zstd or not.
    pub attributes: Vec<u8>,
}

/// A row of `logs`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OldLog {
    /// Its number.
    pub id: i64,
    /// `tenant_id`.
    pub tenant: String,
    /// `trace_id`; may be empty.
    pub trace: String,
    /// `span_id`; may be empty.
    pub span: String,
    /// `severity`, as in `ERROR`.
    pub severity: String,
    /// `body`.
    pub body: String,
    /// `service_name`.
    pub service: String,
    /// `timestamp`, as text.
    pub time: String,
    /// `attributes_json`: JSON, compressed with zstd or not.
    pub attributes: Vec<u8>,
    /// `ai_insight`: text, compressed with zstd or not; may be empty.
    pub insight: Vec<u8>,
}

/// A row of `metric_buckets`.
#[derive(Debug, Clone, PartialEq)]
pub struct OldBucket {
    /// Its number.
    pub id: i64,
    /// `tenant_id`.
    pub tenant: String,
    /// `name`.
    pub name: String,
    /// `service_name`.
    pub service: String,
    /// `time_bucket`, as text: the start of 30 seconds.
    pub time: String,
    /// `min`.
    pub min: f64,
    /// `max`.
    pub max: f64,
    /// `sum`.
    pub sum: f64,
    /// `count`.
    pub count: i64,
    /// `attributes_json`: JSON, compressed with zstd or not.
    pub attributes: Vec<u8>,
}

impl Predecessor {
    /// Opens the database at `path`, which must have at least one of the tables that are carried over.
    ///
    /// # Errors
    /// When there is no such database.
    pub async fn open(path: &Path) -> Result<Self, Error> {
        let opening = |source| Error::Open { path: path.to_owned(), source };
        let options = SqliteConnectOptions::new()
            .filename(path)
            .read_only(true)
            .busy_timeout(LOCK_WAIT)
            .disable_statement_logging();
        let mut connection = options.connect().await.map_err(opening)?;
        let mut columns = BTreeSet::new();
        for table in CARRIED {
            let names: Vec<String> = sqlx::query_scalar("SELECT name FROM pragma_table_info(?)")
                .bind(table)
                .fetch_all(&mut connection)
                .await?;
            columns.extend(names.into_iter().map(|name| format!("{table}.{name}")));
        }
        if columns.is_empty() {
            return Err(opening(sqlx::Error::Protocol(
                "it has none of the tables spans, logs and metric_buckets: it is not a predecessor's".into(),
            )));
        }
        Ok(Self { connection, columns })
    }

    /// How many rows each table has, by name; SQLite's own tables are left out.
    pub async fn counts(&mut self) -> Result<Vec<(String, u64)>, Error> {
        let tables: Vec<String> = sqlx::query_scalar(
            "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%' \
             AND name NOT LIKE '%\\_fts%' ESCAPE '\\' ORDER BY name",
        )
        .fetch_all(&mut self.connection)
        .await?;
        let mut counts = Vec::new();
        for table in tables {
            let quoted = table.replace('"', "\"\"");
            let count: i64 =
                sqlx::query_scalar(sqlx::AssertSqlSafe(format!("SELECT count(*) FROM \"{quoted}\"")))
                    .fetch_one(&mut self.connection)
                    .await?;
            counts.push((table, count.unsigned_abs()));
        }
        Ok(counts)
    }

    /// The `limit` spans after number `after`, in order.
    pub async fn spans(&mut self, after: i64, limit: u32) -> Result<Vec<OldSpan>, Error> {
        const TEXTS: [&str; 9] = [
            "tenant_id",
            "trace_id",
            "span_id",
            "parent_span_id",
            "operation_name",
            "service_name",
            "status",
            "start_time",
            "end_time",
        ];
        let rows = self.page("spans", (&TEXTS, &["attributes_json"], &["duration"]), (after, limit)).await?;
        rows.iter()
            .map(|row| {
                let mut texts = texts(row, TEXTS.len())?.into_iter();
                let mut next = || texts.next().unwrap_or_default();
                Ok(OldSpan {
                    id: row.try_get(0)?,
                    tenant: next(),
                    trace: next(),
                    span: next(),
                    parent: next(),
                    operation: next(),
                    service: next(),
                    status: next(),
                    start: next(),
                    end: next(),
                    attributes: row.try_get(1 + TEXTS.len())?,
                    duration_us: row.try_get::<f64, _>(2 + TEXTS.len())? as i64,
                })
            })
            .collect()
    }

    /// The `limit` log records after number `after`, in order.
    pub async fn logs(&mut self, after: i64, limit: u32) -> Result<Vec<OldLog>, Error> {
        const TEXTS: [&str; 7] =
            ["tenant_id", "trace_id", "span_id", "severity", "body", "service_name", "timestamp"];
        let packed = ["attributes_json", "ai_insight"];
        let rows = self.page("logs", (&TEXTS, &packed, &[]), (after, limit)).await?;
        rows.iter()
            .map(|row| {
                let mut texts = texts(row, TEXTS.len())?.into_iter();
                let mut next = || texts.next().unwrap_or_default();
                Ok(OldLog {
                    id: row.try_get(0)?,
                    tenant: next(),
                    trace: next(),
                    span: next(),
                    severity: next(),
                    body: next(),
                    service: next(),
                    time: next(),
                    attributes: row.try_get(1 + TEXTS.len())?,
                    insight: row.try_get(2 + TEXTS.len())?,
                })
            })
            .collect()
    }

    /// The `limit` metric buckets after number `after`, in order.
    pub async fn buckets(&mut self, after: i64, limit: u32) -> Result<Vec<OldBucket>, Error> {
        const TEXTS: [&str; 4] = ["tenant_id", "name", "service_name", "time_bucket"];
        let numbers = ["min", "max", "sum", "count"];
        let rows =
            self.page("metric_buckets", (&TEXTS, &["attributes_json"], &numbers), (after, limit)).await?;
        rows.iter()
            .map(|row| {
                let mut texts = texts(row, TEXTS.len())?.into_iter();
                let mut next = || texts.next().unwrap_or_default();
                let number = |at: usize| row.try_get::<f64, _>(2 + TEXTS.len() + at);
                Ok(OldBucket {
                    id: row.try_get(0)?,
                    tenant: next(),
                    name: next(),
                    service: next(),
                    time: next(),
                    attributes: row.try_get(1 + TEXTS.len())?,
                    min: number(0)?,
                    max: number(1)?,
                    sum: number(2)?,
                    count: number(3)? as i64,
                })
            })
            .collect()
    }

    /// Rows of a table by number: texts, bytes and numbers in that order, each with an empty value where there is none.
    async fn page(
        &mut self,
        table: &str,
        (texts, packed, numbers): (&[&str], &[&str], &[&str]),
        (after, limit): (i64, u32),
    ) -> Result<Vec<SqliteRow>, Error> {
        if !self.columns.contains(&format!("{table}.id")) {
            return Ok(Vec::new());
        }
        let value = |column: &&str, form: &str| {
            let is_there = self.columns.contains(&format!("{table}.{column}"));
            let source = if is_there { format!("\"{column}\"") } else { "NULL".to_owned() };
            form.replace('$', &source)
        };
        let text = format!("coalesce(substr(CAST($ AS TEXT), 1, {VALUE_BYTES_MAX}), '')");
        let bytes = format!("coalesce(substr(CAST($ AS BLOB), 1, {VALUE_BYTES_MAX}), x'')");
        let columns: Vec<String> = texts
            .iter()
            .map(|column| value(column, &text))
            .chain(packed.iter().map(|column| value(column, &bytes)))
            .chain(numbers.iter().map(|column| value(column, "coalesce(CAST($ AS REAL), 0.0)")))
            .collect();
        let statement =
            format!("SELECT id, {} FROM {table} WHERE id > ? ORDER BY id LIMIT {limit}", columns.join(", "));
        // Names come from the lists above, never from the file.
        let query = sqlx::query(sqlx::AssertSqlSafe(statement)).bind(after);
        Ok(query.fetch_all(&mut self.connection).await?)
    }

    /// Closes the file.
    pub async fn close(self) -> Result<(), Error> {
        Ok(self.connection.close().await?)
    }
}

/// The texts of a row, after its number. Text that is not UTF-8 is repaired.
fn texts(row: &SqliteRow, count: usize) -> Result<Vec<String>, Error> {
    (1..=count)
        .map(|column| {
            let bytes: &[u8] = row.try_get_unchecked(column)?;
            Ok(String::from_utf8_lossy(bytes).into_owned())
        })
        .collect()
}
