//! Postgres: how the server gets in, who leads, and rows by COPY.
//!
//! Promises: [`login`] tells every mistake in a DSN with its remedy, tries the hosts of a DSN in order until one
//! accepts and, where asked, can be written to; a token stands in for the password where [`entra`] is asked for one, and
//! is replaced before it expires. Of several servers on one database one leads, and only that one commits. An answer that
//! does not come is not waited for for ever.
//!
//! Never: a password or token is shown in `Debug`, in an error or in the log.
//!
//! Files in reading order: [`dsn`] and `keywords` (both forms of a connection string, parsed), [`login`] (hosts tried,
//! TLS, the connection), [`entra`] (tokens) and [`https`] (how they are fetched), `lead` (the lock of the one that
//! writes), `patience` (how long an answer is waited for), `copy` (many rows into a table), `text` (what a text cannot
//! hold).

pub(in crate::store) mod copy;
pub mod dsn;
pub mod entra;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
pub mod https;
mod keywords;
pub(in crate::store) mod lead;
pub mod login;
pub(in crate::store) mod patience;
#[cfg(test)]
mod tests;
pub(in crate::store) mod text;
