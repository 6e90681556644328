//! Many rows in one statement.
//!
//! A statement for each row costs several times what the row itself does. Rows therefore go in statements of a
//! few fixed sizes, so that each is prepared once and stays in the connection's cache.

use std::sync::Arc;

use sqlx::AssertSqlSafe;
use sqlx::sqlite::SqliteConnection;

use crate::store::error::Error;
use crate::store::sql::Dialect;
use crate::store::table::{Clash, Target};
use crate::store::values::Values;

/// Rows of one statement, largest first; any number of rows is a sum of these.
const SIZES: [usize; 5] = [512, 128, 32, 8, 1];

/// An `INSERT` of a table, in all sizes.
#[derive(Debug)]
pub(in crate::store) struct Insert {
    columns: usize,
    statements: [Arc<str>; SIZES.len()],
}

impl Insert {
    /// A statement that fails leaves what it wrote so far to the transaction, which is rolled back anyway; to
    /// undo a statement alone, SQLite would copy every page that the statement touches. A row that takes the place
    /// of another does so by `OR REPLACE`: on a table without row ids and other indexes that is one write in place,
    /// where an upsert looks, deletes and inserts.
    pub(in crate::store) fn new(target: &Target) -> Self {
        let (verb, clash) = match target.table.clash {
            Clash::Never => ("INSERT OR FAIL", String::new()),
            Clash::Keep { key } => ("INSERT OR FAIL", format!("ON CONFLICT ({key}) DO NOTHING")),
            Clash::Replace { .. } => ("INSERT OR REPLACE", String::new()),
            Clash::Fold { key, set } => {
                // The functions of two values have the names of the aggregates, and answer NULL where one is.
                let set = set.replace("least(", "min(").replace("greatest(", "max(");
                ("INSERT OR FAIL", format!("ON CONFLICT ({key}) DO UPDATE SET {set}"))
            }
        };
        let columns = target.table.columns(Dialect::Sqlite).count();
        let row = format!("({})", vec!["?"; columns].join(","));
        let statements = SIZES.map(|rows| {
            let values = vec![row.as_str(); rows].join(",");
            format!(
                "{verb} INTO {} AS t ({}) VALUES {values} {clash}",
                target.name,
                target.table.list(Dialect::Sqlite)
            )
            .into()
        });
        Self { columns, statements }
    }

    /// Writes all `rows`; `bind` adds the values of one row in the order of the columns. While SQLite, on its own thread,
    /// works on one statement, the values of the next are put together.
    pub(in crate::store) async fn run<T: Sync>(
        &self,
        connection: &mut SqliteConnection,
        rows: &[T],
        bind: impl Fn(&mut Values, &T) + Send,
    ) -> Result<(), Error> {
        let bound = |(statement, batch): (&Arc<str>, &[T])| {
            let mut values = Values::for_sqlite(self.columns * batch.len());
            batch.iter().for_each(|row| bind(&mut values, row));
            Ok::<_, Error>((Arc::clone(statement), values.into_arguments()?))
        };
        let mut batches = self.batches(rows);
        let mut next = batches.next().map(&bound).transpose()?;
        while let Some((statement, arguments)) = next {
            let executing = sqlx::query_with(AssertSqlSafe(statement), arguments).execute(&mut *connection);
            // The statement is handed over before the next one is put together.
            let (executed, following) =
                tokio::join!(biased; executing, async { batches.next().map(&bound).transpose() });
            executed?;
            next = following?;
        }
        Ok(())
    }

    /// `rows` cut into statements.
    fn batches<'r, T>(&'r self, mut rows: &'r [T]) -> impl Iterator<Item = (&'r Arc<str>, &'r [T])> {
        let mut sizes = SIZES.iter().zip(&self.statements).peekable();
        std::iter::from_fn(move || {
            while let Some((size, statement)) = sizes.peek() {
                if let Some((batch, rest)) = rows.split_at_checked(**size) {
                    rows = rest;
                    return Some((*statement, batch));
                }
                sizes.next();
            }
            None
        })
    }
}
