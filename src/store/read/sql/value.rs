//! The values of an answer, whatever their types are.

use std::fmt::Write;

use jiff::Timestamp;
use sqlx::postgres::{PgRow, PgValueFormat};
use sqlx::sqlite::SqliteRow;
use sqlx::{Column, Row as _, TypeInfo, ValueRef};

use crate::store::error::Error;
use crate::store::postgres::text;
use crate::store::row::Row;

/// Seconds from 1970 to 2000, from where Postgres counts.
const SECONDS_TO_2000: i64 = 946_684_800;

/// A value.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// No value.
    Null,
    /// A truth value; SQLite has numbers instead.
    Bool(bool),
    /// A whole number.
    Integer(i64),
    /// Another number. Decimal digits of Postgres come as the nearest of 64 bits.
    Real(f64),
    /// Text, and moments of Postgres in RFC 3339.
    Text(String),
    /// Bytes.
    Bytes(Vec<u8>),
}

impl Value {
    /// Bytes of its text.
    pub(super) const fn text_bytes(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Bytes(bytes) => 2 * bytes.len(),
            _ => 0,
        }
    }
}

/// The names of the columns of a row.
pub(super) fn columns(row: Row<'_>) -> Vec<String> {
    match row {
        Row::Sqlite(row) => row.columns().iter().map(|column| column.name().to_owned()).collect(),
        Row::Postgres(row) => row.columns().iter().map(|column| column.name().to_owned()).collect(),
    }
}

/// The values of a row; errs where Postgres sends a type that is not known here.
pub(super) fn values(row: Row<'_>) -> Result<Vec<Value>, Error> {
    match row {
        Row::Sqlite(row) => (0..row.columns().len()).map(|column| of_sqlite(row, column)).collect(),
        Row::Postgres(row) => (0..row.columns().len()).map(|column| of_postgres(row, column)).collect(),
    }
}

fn of_sqlite(row: &SqliteRow, column: usize) -> Result<Value, Error> {
    let value = row.try_get_raw(column)?;
    if value.is_null() {
        return Ok(Value::Null);
    }
    let kind = value.type_info().name().to_owned();
    Ok(match kind.as_str() {
        "INTEGER" => Value::Integer(row.try_get_unchecked(column)?),
        "REAL" => Value::Real(row.try_get_unchecked(column)?),
        "BLOB" => Value::Bytes(row.try_get_unchecked(column)?),
        _ => Value::Text(row.try_get_unchecked(column)?),
    })
}

fn of_postgres(row: &PgRow, column: usize) -> Result<Value, Error> {
    let value = row.try_get_raw(column)?;
    if value.is_null() {
        return Ok(Value::Null);
    }
    let kind = value.type_info().name().to_owned();
    if value.format() != PgValueFormat::Binary {
        return Err(Error::Unreadable { what: "answer in text" });
    }
    let bytes = value.as_bytes().map_err(|source| Error::Statement(sqlx::Error::Decode(source)))?;
    let found = match kind.as_str() {
        "BOOL" => bytes.first().map(|byte| Value::Bool(*byte != 0)),
        "INT2" | "INT4" | "INT8" => integer(bytes).map(Value::Integer),
        "FLOAT4" => bytes.try_into().ok().map(|bytes| Value::Real(f32::from_be_bytes(bytes).into())),
        "FLOAT8" => bytes.try_into().ok().map(|bytes| Value::Real(f64::from_be_bytes(bytes))),
        "NUMERIC" => decimal(bytes).map(Value::Real),
        "TEXT" | "VARCHAR" | "CHAR" | "NAME" | "UNKNOWN" => {
            std::str::from_utf8(bytes).ok().map(|found| Value::Text(text::from_stored(found).into_owned()))
        }
        "BYTEA" => Some(Value::Bytes(bytes.to_vec())),
        "TIMESTAMPTZ" | "TIMESTAMP" => integer(bytes).and_then(moment).map(Value::Text),
        "DATE" => integer(bytes).and_then(date).map(Value::Text),
        _ => {
            let column = row.columns().get(column).map(|column| column.name().to_owned()).unwrap_or_default();
            return Err(Error::Kind { column, kind });
        }
    };
    found.ok_or(Error::Unreadable { what: "value of an answer" })
}

fn integer(bytes: &[u8]) -> Option<i64> {
    Some(match *bytes {
        [a, b] => i64::from(i16::from_be_bytes([a, b])),
        [a, b, c, d] => i64::from(i32::from_be_bytes([a, b, c, d])),
        _ => i64::from_be_bytes(bytes.try_into().ok()?),
    })
}

/// Microseconds since 2000 as RFC 3339; the infinities as such.
fn moment(micros: i64) -> Option<String> {
    match micros {
        i64::MAX => return Some("infinity".to_owned()),
        i64::MIN => return Some("-infinity".to_owned()),
        _ => {}
    }
    let micros = micros.checked_add(SECONDS_TO_2000 * 1_000_000)?;
    Timestamp::from_microsecond(micros).ok().map(|at| format!("{at:.6}"))
}

/// Days since 2000 as a date.
fn date(days: i64) -> Option<String> {
    let seconds = days.checked_mul(86_400)?.checked_add(SECONDS_TO_2000)?;
    let at = Timestamp::from_second(seconds).ok()?;
    Some(format!("{at:.0}").chars().take_while(|c| *c != 'T').collect())
}

/// Decimal digits as Postgres sends them (`numeric_send`): how many groups of four, the weight of the first, the sign, the
/// digits behind the point, then the groups.
fn decimal(bytes: &[u8]) -> Option<f64> {
    let mut words = bytes.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]]));
    let (count, weight, sign, _scale) = (words.next()?, words.next()?, words.next()?, words.next()?);
    let weight = i32::from(weight.cast_signed());
    let negative = match sign {
        0x0000 => false,
        0x4000 => true,
        0xC000 => return Some(f64::NAN),
        0xD000 => return Some(f64::INFINITY),
        0xF000 => return Some(f64::NEG_INFINITY),
        _ => return None,
    };
    let mut digits = String::from(if negative { "-0" } else { "0" });
    for group in words.by_ref().take(count.into()) {
        // Writing to a string cannot fail.
        let _ = write!(digits, "{group:04}");
    }
    let exponent = 4 * (weight + 1 - i32::from(count.cast_signed()));
    format!("{digits}e{exponent}").parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(words: &[u16]) -> Vec<u8> {
        words.iter().flat_map(|word| word.to_be_bytes()).collect()
    }

    #[test]
    fn decimal_digits_become_the_nearest_number() {
        for (words, wanted) in [
            (&[0, 0, 0, 0][..], Some(0.0)),
            (&[1, 0, 0, 0, 7], Some(7.0)),
            (&[2, 0, 0x4000, 2, 12, 3_400], Some(-12.34)),
            (&[1, 0xffff, 0, 4, 1], Some(0.0001)),
            (&[2, 1, 0, 0, 123, 4_567], Some(1_234_567.0)),
            (&[1, 2, 0, 0, 5], Some(500_000_000.0)),
            (&[0, 0, 0xD000, 0], Some(f64::INFINITY)),
            (&[0, 0, 0x1234, 0], None),
            (&[1, 0], None),
        ] {
            assert_eq!(decimal(&sent(words)), wanted, "{words:?}");
        }
    }

    #[test]
    fn moments_are_counted_from_2000() {
        assert_eq!(moment(0).unwrap(), "2000-01-01T00:00:00.000000Z");
        assert_eq!(moment(-1).unwrap(), "1999-12-31T23:59:59.999999Z");
        assert_eq!(moment(i64::MAX).unwrap(), "infinity");
        assert_eq!(date(-1).unwrap(), "1999-12-31");
        assert_eq!(date(59).unwrap(), "2000-02-29");
    }
}
