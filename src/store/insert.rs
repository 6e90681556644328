//! Many rows in one statement.
//!
//! A statement for each row costs several times what the row itself does. Rows therefore go in statements of a
//! few fixed sizes, so that each is prepared once and stays in the connection's cache.

use std::sync::Arc;

use sqlx::sqlite::{SqliteArguments, SqliteConnection};
use sqlx::{Arguments, AssertSqlSafe};

use super::error::Error;

/// Rows of one statement, largest first; any number of rows is a sum of these.
const SIZES: [usize; 5] = [256, 64, 16, 4, 1];
/// SQLite's own limit on the values of one statement.
const VALUES_MAX: usize = 32_766;

/// An `INSERT` of a table, in all sizes.
#[derive(Debug)]
pub(super) struct Insert {
    columns: usize,
    statements: [Arc<str>; SIZES.len()],
}

impl Insert {
    /// `INSERT INTO {into} VALUES (…), … {conflict}`, where `into` names the table and its `columns` columns.
    ///
    /// A statement that fails leaves what it wrote so far to the transaction, which is rolled back anyway; to
    /// undo a statement alone, SQLite would copy every page that the statement touches.
    pub(super) fn new(into: &str, columns: usize, conflict: &str) -> Self {
        Self::with_verb("INSERT OR FAIL", into, columns, conflict)
    }

    /// The same, where a new row takes the place of the one with its key. On a table without row ids and other
    /// indexes that is one write in place, where an upsert looks, deletes and inserts.
    pub(super) fn replacing(into: &str, columns: usize) -> Self {
        Self::with_verb("INSERT OR REPLACE", into, columns, "")
    }

    fn with_verb(verb: &str, into: &str, columns: usize, conflict: &str) -> Self {
        assert!(columns * SIZES[0] <= VALUES_MAX, "{into} has too many columns for one statement");
        let row = format!("({})", vec!["?"; columns].join(","));
        let statements = SIZES.map(|rows| {
            let values = vec![row.as_str(); rows].join(",");
            format!("{verb} INTO {into} VALUES {values} {conflict}").into()
        });
        Self { columns, statements }
    }

    /// Writes all `rows`; `bind` adds the values of one row in the order of the columns.
    pub(super) async fn run<T: Sync>(
        &self,
        connection: &mut SqliteConnection,
        mut rows: &[T],
        bind: impl Fn(&mut Values, &T) + Send,
    ) -> Result<(), Error> {
        for (size, statement) in SIZES.iter().zip(&self.statements) {
            while let Some((batch, rest)) = rows.split_at_checked(*size) {
                rows = rest;
                let mut values = Values::with_capacity(self.columns * size);
                batch.iter().for_each(|row| bind(&mut values, row));
                values.execute(Arc::clone(statement), connection).await?;
            }
        }
        Ok(())
    }
}

/// The values of a statement, in order.
#[derive(Debug)]
pub(super) struct Values {
    arguments: SqliteArguments,
    refused: Option<sqlx::error::BoxDynError>,
}

impl Values {
    pub(super) fn with_capacity(values: usize) -> Self {
        let mut arguments = SqliteArguments::default();
        arguments.reserve(values, 0);
        Self { arguments, refused: None }
    }

    pub(super) fn int(&mut self, value: impl Into<i64>) {
        self.add(value.into());
    }

    /// A number that SQLite would read as negative becomes the largest it knows.
    pub(super) fn unsigned(&mut self, value: u64) {
        self.add(i64::try_from(value).unwrap_or(i64::MAX));
    }

    pub(super) fn optional_int(&mut self, value: Option<i64>) {
        self.add(value);
    }

    pub(super) fn optional_real(&mut self, value: Option<f64>) {
        self.add(value);
    }

    pub(super) fn text(&mut self, value: &str) {
        self.add(value);
    }

    pub(super) fn shared_text(&mut self, value: &Arc<str>) {
        self.add(Arc::clone(value));
    }

    pub(super) fn blob(&mut self, value: &[u8]) {
        self.add(value);
    }

    pub(super) fn owned_blob(&mut self, value: Vec<u8>) {
        self.add(value);
    }

    pub(super) fn optional_blob(&mut self, value: Option<&[u8]>) {
        self.add(value);
    }

    /// The values themselves, for a statement that reads.
    pub(super) fn into_arguments(self) -> Result<SqliteArguments, Error> {
        match self.refused {
            None => Ok(self.arguments),
            Some(error) => Err(Error::Statement(sqlx::Error::Encode(error))),
        }
    }

    async fn execute(self, statement: Arc<str>, connection: &mut SqliteConnection) -> Result<(), Error> {
        let arguments = self.into_arguments()?;
        sqlx::query_with(AssertSqlSafe(statement), arguments).execute(connection).await?;
        Ok(())
    }

    fn add<'v, T: sqlx::Encode<'v, sqlx::Sqlite> + sqlx::Type<sqlx::Sqlite>>(&mut self, value: T) {
        if let Err(error) = self.arguments.add(value) {
            self.refused.get_or_insert(error);
        }
    }
}
