//! Postgres: how the server gets in.
//!
//! Promises: [`login`] tells every mistake in a DSN with its remedy, tries the hosts of a DSN in order until one
//! accepts and, where asked, can be written to; a token stands in for the password where [`entra`] is asked for one, and
//! is replaced before it expires.
//!
//! Never: a password or token is shown in `Debug`, in an error or in the log.
//!
//! Files in reading order: [`dsn`] and `keywords` (both forms of a connection string, parsed), [`login`] (hosts tried,
//! TLS, the connection), [`entra`] (tokens) and [`https`] (how they are fetched).

pub mod dsn;
pub mod entra;
pub mod https;
mod keywords;
pub mod login;
#[cfg(test)]
mod tests;
