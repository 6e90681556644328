//! Statements, and where the two dialects differ.
//!
//! Numbers are written into the text, ids as hexadecimal literals; text from outside is only ever bound.

use std::fmt::{Display, Write};

use super::blocks;
use super::day::Day;
use super::partition::Kept;

/// Whose SQL it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    Sqlite,
    Postgres,
}

impl Dialect {
    /// Which index to walk, after the name of a table of a day. Postgres chooses by itself.
    pub(super) fn indexed(self, table: Kept, day: Day, index: &str) -> String {
        match self {
            Self::Sqlite => format!(" INDEXED BY {}_{index}", table.on(day)),
            Self::Postgres => String::new(),
        }
    }

    /// After the name of a table: that its rows are looked up by their ids, whatever else is asked of them.
    pub(super) const fn by_ids(self) -> &'static str {
        match self {
            Self::Sqlite => " NOT INDEXED",
            Self::Postgres => "",
        }
    }

    /// After a text: that it is compared by its bytes. Postgres does so by itself only in some locales.
    pub(super) const fn by_bytes(self) -> &'static str {
        match self {
            Self::Sqlite => "",
            Self::Postgres => " COLLATE \"C\"",
        }
    }

    /// Bytes, given in hexadecimal.
    pub(super) fn bytes(self, hex: impl Display) -> String {
        match self {
            Self::Sqlite => format!("x'{hex}'"),
            Self::Postgres => format!("'\\x{hex}'::bytea"),
        }
    }

    /// A condition on the column before it: that it is one of `numbers`.
    pub(super) fn is_one_of(self, numbers: impl IntoIterator<Item = i64>) -> String {
        let mut list = String::from(if self == Self::Sqlite { " IN (" } else { " = ANY('{" });
        for (index, number) in numbers.into_iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            // Writing to a string cannot fail.
            let _ = write!(list, "{comma}{number}");
        }
        list.push_str(if self == Self::Sqlite { ")" } else { "}'::bigint[])" });
        list
    }

    /// A condition on the filter of a block, the column `filter`: that a row of the block may have an attribute, whose key
    /// may be promoted on the day of the block.
    pub(super) fn may_hold(self, key: &str, value: &str, is_promoted: bool) -> String {
        let mut condition = String::from("CASE length(filter)");
        for (length, bits) in blocks::probes(key, value, is_promoted) {
            let bits: Vec<String> = bits.into_iter().map(|bit| self.has_bit(bit)).collect();
            // Writing to a string cannot fail.
            let _ = write!(condition, " WHEN {length} THEN {}", bits.join(" AND "));
        }
        condition.push_str(" ELSE true END");
        condition
    }

    /// Whether a bit of the column `filter` is set.
    fn has_bit(self, bit: usize) -> String {
        match self {
            // SQLite knows no bits of bytes: one of the 128 bytes that have it is there.
            Self::Sqlite => {
                let with = (0..=u8::MAX).filter(|byte| byte & 1 << (bit % 8) != 0);
                let with: String = with.map(|byte| format!("{byte:02x}")).collect();
                format!("instr(x'{with}', substr(filter, {}, 1)) > 0", bit / 8 + 1)
            }
            Self::Postgres => format!("get_bit(filter, {bit}) = 1"),
        }
    }

    /// What comes after FROM for those rows `s` of a table whose ids lie in one of `ranges`, at least one, each up to its end,
    /// to the first condition. Postgres expects few rows only where the ends are in the text.
    pub(super) fn in_ranges(self, table: impl Display, ranges: &[(i64, i64)]) -> String {
        let list = |form: fn(&(i64, i64)) -> String, between| {
            ranges.iter().map(form).collect::<Vec<String>>().join(between)
        };
        match self {
            Self::Sqlite => format!(
                "(SELECT column1 AS n, column2 AS beyond FROM (VALUES {})) AS r CROSS JOIN {table} AS s{} \
                 WHERE s.id >= r.n AND s.id < r.beyond",
                list(|(n, beyond)| format!("({n},{beyond})"), ","),
                self.by_ids()
            ),
            Self::Postgres => format!(
                "{table} AS s WHERE ({})",
                list(|(n, beyond)| format!("s.id >= {n} AND s.id < {beyond}"), " OR ")
            ),
        }
    }

    /// Numbers, at least one, as a table `w` with one column `n`.
    pub(super) fn numbers(self, numbers: impl IntoIterator<Item = i64>) -> String {
        let numbers: Vec<String> = numbers.into_iter().map(|number| number.to_string()).collect();
        match self {
            Self::Sqlite => format!("(SELECT column1 AS n FROM (VALUES ({}))) AS w", numbers.join("),(")),
            Self::Postgres => format!("unnest('{{{}}}'::bigint[]) AS w(n)", numbers.join(",")),
        }
    }
}

/// A value that is bound to a statement.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Bound {
    Text(String),
}

/// A statement in one dialect with the values bound to it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Sql {
    pub(super) dialect: Dialect,
    pub(super) text: String,
    pub(super) bound: Vec<Bound>,
}

impl Sql {
    pub(super) fn from(dialect: Dialect, text: impl Into<String>) -> Self {
        Self { dialect, text: text.into(), bound: Vec::new() }
    }

    /// Appends text, or a number.
    pub(super) fn push(&mut self, part: impl Display) -> &mut Self {
        // Writing to a string cannot fail.
        let _ = write!(self.text, "{part}");
        self
    }

    /// Appends a place for `text` and binds it.
    pub(super) fn bind(&mut self, text: &str) -> &mut Self {
        self.bound.push(Bound::Text(text.to_owned()));
        let number = self.bound.len();
        match self.dialect {
            Dialect::Sqlite => self.push(format_args!("?{number}")),
            Dialect::Postgres => self.push(format_args!("${number}")),
        }
    }
}
