//! Moving data in and out: backup and restore, the move to Postgres, export and import.
//!
//! Promises: a backup holds exactly what was acknowledged up to its mark, whatever is ingested meanwhile, and is told
//! from a damaged or unfinished one before anything is restored; a restore replaces nothing before it has verified
//! all, deletes nothing, and can be run again after it was killed at any step; a move copies everything or nothing; what
//! is exported decodes to what is stored; an import accounts for every line and goes on where it stopped.
//!
//! Never: a backup or an export writes to the data of a server, takes its locks or waits for it; a move changes what it
//! copies; nothing here holds more than a part of what it moves in memory.
//!
//! Files in reading order: [`backup`], [`restore`] and [`unfinished`] with `manifest` (what a backup says about
//! itself) and `files` (durable copies with digests); [`relocate`]; [`export`] over `rebuild` (rows to batches)
//! and [`json`] with `fields` (protobuf to OTLP/JSON); [`lines`] (lines of files),
//! [`deliver`] (the door of a server, [`import`] through it, [`predecessor`] and
//! [`letters`] likewise) and [`account`]; [`progress`],
//! [`error`].

pub mod account;
pub mod backup;
pub mod deliver;
pub mod error;
pub mod export;
mod fields;
mod files;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
pub mod import;
pub mod json;
pub mod letters;
pub mod lines;
mod manifest;
pub mod predecessor;
pub mod progress;
mod rebuild;
pub mod relocate;
pub mod restore;
#[cfg(test)]
mod tests;
pub mod unfinished;
