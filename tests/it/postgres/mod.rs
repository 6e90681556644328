//! A real Postgres, and what logging in to it is like.

mod login;
pub(crate) mod server;
