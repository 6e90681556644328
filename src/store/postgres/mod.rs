//! Postgres: how the server gets in.
//!
//! Promises: [`login`] tells every mistake in a DSN with its remedy, tries the hosts of a DSN in order until one
//! accepts and, where asked, can be written to, and never shows a password.
//!
//! Files in reading order: [`dsn`] (both forms of a connection string, parsed), [`login`] (hosts tried, TLS, the
//! connection).

pub mod dsn;
mod keywords;
pub mod login;
#[cfg(test)]
mod tests;
