//! A real Postgres, and what logging in to it is like.

mod endpoint;
mod entra;
mod login;
pub(crate) mod server;
