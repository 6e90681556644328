//! The values of rows on their way into a table, in the order of its columns.

use std::sync::Arc;

use sqlx::Arguments;
use sqlx::sqlite::SqliteArguments;

use super::day::Day;
use super::error::Error;
use super::postgres::text;
use super::table::Kind;

/// Values that are gathered: for a statement on SQLite, or as the binary format of COPY on Postgres.
#[derive(Debug)]
pub(super) struct Values {
    gathered: Gathered,
    refused: Option<sqlx::error::BoxDynError>,
}

#[derive(Debug)]
enum Gathered {
    Sqlite(SqliteArguments),
    Postgres { bytes: Vec<u8>, kinds: Vec<Kind>, at: usize },
}

/// A number that the column cannot hold.
#[derive(Debug, thiserror::Error)]
#[error("{number} does not fit its column")]
struct TooLarge {
    number: i64,
}

/// More bytes than a value may have on Postgres.
#[derive(Debug, thiserror::Error)]
#[error("a value of {bytes} bytes is too large")]
struct TooLong {
    bytes: usize,
}

impl Values {
    pub(super) fn for_sqlite(values: usize) -> Self {
        let mut arguments = SqliteArguments::default();
        arguments.reserve(values, 0);
        Self { gathered: Gathered::Sqlite(arguments), refused: None }
    }

    pub(super) fn for_postgres(kinds: Vec<Kind>) -> Self {
        Self { gathered: Gathered::Postgres { bytes: Vec::new(), kinds, at: 0 }, refused: None }
    }

    pub(super) fn int(&mut self, value: impl Into<i64>) {
        self.optional_int(Some(value.into()));
    }

    /// The day of the row's partition.
    pub(super) fn day(&mut self, day: Day) {
        if let Gathered::Postgres { .. } = self.gathered {
            self.int(day.0);
        }
    }

    /// A number that a database would read as negative becomes the largest it knows.
    pub(super) fn unsigned(&mut self, value: u64) {
        self.int(i64::try_from(value).unwrap_or(i64::MAX));
    }

    pub(super) fn optional_int(&mut self, value: Option<i64>) {
        match &mut self.gathered {
            Gathered::Sqlite(_) => self.add(value),
            Gathered::Postgres { bytes, kinds, at } => {
                let kind = begin(bytes, kinds, at);
                let Some(number) = value else { return bytes.extend_from_slice(&(-1_i32).to_be_bytes()) };
                let fits = match kind {
                    Kind::Small => {
                        i16::try_from(number).map(|number| put(bytes, &number.to_be_bytes())).is_ok()
                    }
                    Kind::Int | Kind::Day => {
                        i32::try_from(number).map(|number| put(bytes, &number.to_be_bytes())).is_ok()
                    }
                    _ => {
                        put(bytes, &number.to_be_bytes());
                        true
                    }
                };
                if !fits {
                    self.refused.get_or_insert_with(|| Box::new(TooLarge { number }));
                }
            }
        }
    }

    pub(super) fn optional_real(&mut self, value: Option<f64>) {
        match &mut self.gathered {
            Gathered::Sqlite(_) => self.add(value),
            Gathered::Postgres { .. } => {
                let bytes = value.map(f64::to_be_bytes);
                self.raw(bytes.as_ref().map(<[u8; 8]>::as_slice));
            }
        }
    }

    pub(super) fn text(&mut self, value: &str) {
        match &mut self.gathered {
            Gathered::Sqlite(_) => self.add(value),
            Gathered::Postgres { .. } => self.raw(Some(text::to_stored(value).as_bytes())),
        }
    }

    pub(super) fn shared_text(&mut self, value: &Arc<str>) {
        match &mut self.gathered {
            Gathered::Sqlite(_) => self.add(Arc::clone(value)),
            Gathered::Postgres { .. } => self.text(value),
        }
    }

    pub(super) fn blob(&mut self, value: &[u8]) {
        self.optional_blob(Some(value));
    }

    pub(super) fn owned_blob(&mut self, value: Vec<u8>) {
        match &mut self.gathered {
            Gathered::Sqlite(_) => self.add(value),
            Gathered::Postgres { .. } => self.raw(Some(&value)),
        }
    }

    pub(super) fn optional_blob(&mut self, value: Option<&[u8]>) {
        match &mut self.gathered {
            Gathered::Sqlite(_) => self.add(value),
            Gathered::Postgres { .. } => self.raw(value),
        }
    }

    /// The values for a statement on SQLite.
    pub(super) fn into_arguments(self) -> Result<SqliteArguments, Error> {
        match (self.gathered, self.refused) {
            (Gathered::Sqlite(arguments), None) => Ok(arguments),
            (_, Some(error)) => Err(Error::Statement(sqlx::Error::Encode(error))),
            (Gathered::Postgres { .. }, None) => Err(Error::Unreadable { what: "statement" }),
        }
    }

    /// Takes what was gathered for Postgres so far; whole rows only.
    pub(super) fn take_copied(&mut self) -> Result<Vec<u8>, Error> {
        if let Some(error) = self.refused.take() {
            return Err(Error::Statement(sqlx::Error::Encode(error)));
        }
        match &mut self.gathered {
            Gathered::Postgres { bytes, .. } => Ok(std::mem::take(bytes)),
            Gathered::Sqlite(_) => Ok(Vec::new()),
        }
    }

    /// Bytes that were gathered for Postgres.
    pub(super) const fn copied_bytes(&self) -> usize {
        match &self.gathered {
            Gathered::Postgres { bytes, .. } => bytes.len(),
            Gathered::Sqlite(_) => 0,
        }
    }

    /// A value of Postgres whose bytes are known.
    fn raw(&mut self, value: Option<&[u8]>) {
        let Gathered::Postgres { bytes, kinds, at } = &mut self.gathered else { return };
        begin(bytes, kinds, at);
        match value {
            None => bytes.extend_from_slice(&(-1_i32).to_be_bytes()),
            Some(value) if value.len() > i32::MAX as usize / 2 => {
                self.refused.get_or_insert_with(|| Box::new(TooLong { bytes: value.len() }));
            }
            Some(value) => put(bytes, value),
        }
    }

    fn add<'v, T: sqlx::Encode<'v, sqlx::Sqlite> + sqlx::Type<sqlx::Sqlite>>(&mut self, value: T) {
        if let Gathered::Sqlite(arguments) = &mut self.gathered
            && let Err(error) = arguments.add(value)
        {
            self.refused.get_or_insert(error);
        }
    }
}

/// Begins a value, and with the first one its row: two bytes that count the columns.
fn begin(bytes: &mut Vec<u8>, kinds: &[Kind], at: &mut usize) -> Kind {
    if *at == 0 {
        bytes.extend_from_slice(&(kinds.len() as i16).to_be_bytes());
    }
    let kind = kinds[*at];
    *at = (*at + 1) % kinds.len();
    kind
}

/// A value after its length.
fn put(bytes: &mut Vec<u8>, value: &[u8]) {
    bytes.extend_from_slice(&(value.len() as i32).to_be_bytes());
    bytes.extend_from_slice(value);
}
