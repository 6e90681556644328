//! SQLite: one file, one connection that writes, several that read.

pub(super) mod file;
pub(super) mod insert;
