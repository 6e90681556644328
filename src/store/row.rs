//! One row of an answer, of either database.
//!
//! Postgres has numbers of two, four and eight bytes where SQLite has one kind of them, so a number is read by its
//! length. Sums and averages must be cast in the statement: Postgres would answer them in decimal digits.

use std::borrow::Cow;

use sqlx::postgres::{PgRow, PgValueFormat};
use sqlx::sqlite::SqliteRow;
use sqlx::{Row as _, ValueRef};

use super::error::Error;
use super::postgres::text;

/// A row.
#[derive(Clone, Copy)]
pub(super) enum Row<'r> {
    Sqlite(&'r SqliteRow),
    Postgres(&'r PgRow),
}

/// What can be read out of a column.
pub(super) trait FromColumn<'r>: Sized {
    fn from_column(row: Row<'r>, column: usize) -> Result<Self, Error>;
}

impl<'r> Row<'r> {
    /// The value of a column, counted from 0. Errs where it is of another type, or missing and not optional.
    pub(super) fn get<T: FromColumn<'r>>(self, column: usize) -> Result<T, Error> {
        T::from_column(self, column)
    }

    fn integer(self, column: usize) -> Result<Option<i64>, Error> {
        match self {
            Self::Sqlite(row) => Ok(row.try_get(column)?),
            Self::Postgres(_) => {
                let Some(bytes) = self.raw(column)? else { return Ok(None) };
                let number = match *bytes {
                    [only] => i64::from(only),
                    [a, b] => i64::from(i16::from_be_bytes([a, b])),
                    [a, b, c, d] => i64::from(i32::from_be_bytes([a, b, c, d])),
                    [a, b, c, d, e, f, g, h] => i64::from_be_bytes([a, b, c, d, e, f, g, h]),
                    _ => return Err(Error::Unreadable { what: "number" }),
                };
                Ok(Some(number))
            }
        }
    }

    fn real(self, column: usize) -> Result<Option<f64>, Error> {
        match self {
            Self::Sqlite(row) => Ok(row.try_get(column)?),
            Self::Postgres(_) => {
                let Some(bytes) = self.raw(column)? else { return Ok(None) };
                let bytes = bytes.try_into().map_err(|_| Error::Unreadable { what: "number" })?;
                Ok(Some(f64::from_be_bytes(bytes)))
            }
        }
    }

    fn bytes(self, column: usize) -> Result<Option<&'r [u8]>, Error> {
        match self {
            Self::Sqlite(row) => Ok(row.try_get(column)?),
            Self::Postgres(_) => self.raw(column),
        }
    }

    fn text(self, column: usize) -> Result<Option<Cow<'r, str>>, Error> {
        match self {
            Self::Sqlite(row) => Ok(row.try_get::<Option<&str>, _>(column)?.map(Cow::Borrowed)),
            Self::Postgres(_) => {
                let Some(bytes) = self.raw(column)? else { return Ok(None) };
                let found = std::str::from_utf8(bytes).map_err(|_| Error::Unreadable { what: "text" })?;
                Ok(Some(text::from_stored(found)))
            }
        }
    }

    /// The value as Postgres sent it.
    fn raw(self, column: usize) -> Result<Option<&'r [u8]>, Error> {
        let Self::Postgres(row) = self else { return Ok(None) };
        let value = row.try_get_raw(column)?;
        if value.is_null() {
            return Ok(None);
        }
        if value.format() != PgValueFormat::Binary {
            return Err(Error::Unreadable { what: "answer in text" });
        }
        value.as_bytes().map(Some).map_err(|source| Error::Statement(sqlx::Error::Decode(source)))
    }
}

const MISSING: Error = Error::Unreadable { what: "missing value" };
const NARROW: Error = Error::Unreadable { what: "number" };

impl<'r> FromColumn<'r> for i64 {
    fn from_column(row: Row<'r>, column: usize) -> Result<Self, Error> {
        row.integer(column)?.ok_or(MISSING)
    }
}

impl<'r> FromColumn<'r> for Option<i64> {
    fn from_column(row: Row<'r>, column: usize) -> Result<Self, Error> {
        row.integer(column)
    }
}

macro_rules! narrower {
    ($($number:ty),*) => {$(
        impl<'r> FromColumn<'r> for $number {
            fn from_column(row: Row<'r>, column: usize) -> Result<Self, Error> {
                row.get::<i64>(column)?.try_into().map_err(|_| NARROW)
            }
        }

        impl<'r> FromColumn<'r> for Option<$number> {
            fn from_column(row: Row<'r>, column: usize) -> Result<Self, Error> {
                row.integer(column)?.map(|number| number.try_into().map_err(|_| NARROW)).transpose()
            }
        }
    )*};
}

narrower!(u8, u32, i32);

impl<'r> FromColumn<'r> for bool {
    fn from_column(row: Row<'r>, column: usize) -> Result<Self, Error> {
        Ok(row.get::<i64>(column)? != 0)
    }
}

impl<'r> FromColumn<'r> for f64 {
    fn from_column(row: Row<'r>, column: usize) -> Result<Self, Error> {
        row.real(column)?.ok_or(MISSING)
    }
}

impl<'r> FromColumn<'r> for Option<f64> {
    fn from_column(row: Row<'r>, column: usize) -> Result<Self, Error> {
        row.real(column)
    }
}

impl<'r> FromColumn<'r> for &'r [u8] {
    fn from_column(row: Row<'r>, column: usize) -> Result<Self, Error> {
        row.bytes(column)?.ok_or(MISSING)
    }
}

impl<'r> FromColumn<'r> for Option<&'r [u8]> {
    fn from_column(row: Row<'r>, column: usize) -> Result<Self, Error> {
        row.bytes(column)
    }
}

impl<'r> FromColumn<'r> for Cow<'r, str> {
    fn from_column(row: Row<'r>, column: usize) -> Result<Self, Error> {
        row.text(column)?.ok_or(MISSING)
    }
}

impl<'r> FromColumn<'r> for String {
    fn from_column(row: Row<'r>, column: usize) -> Result<Self, Error> {
        Ok(row.get::<Cow<'r, str>>(column)?.into_owned())
    }
}
