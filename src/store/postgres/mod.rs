//! Postgres: how the server gets in, who leads, and rows by COPY.
//!
//! Promises: [`login`] tells every mistake in a DSN with its remedy, tries the hosts of a DSN in order until one
//! accepts and, where asked, can be written to, and never shows a password. Of several servers on one database one
//! leads, and only that one commits.
//!
//! Files in reading order: [`dsn`] (both forms of a connection string, parsed), [`login`] (hosts tried, TLS, the
//! connection), `lead` (the lock of the one that writes), `copy` (many rows into a table), `text` (what a text cannot
//! hold).

pub(in crate::store) mod copy;
pub mod dsn;
mod keywords;
pub(in crate::store) mod lead;
pub mod login;
#[cfg(test)]
mod tests;
pub(in crate::store) mod text;
