//! Questions: what the store answers about what was committed.
//!
//! Promises: every question names its tenant and sees nothing of another one, unless it says that it is about
//! all of them; it sees one state of the database, whatever is committed meanwhile; its order does not depend on
//! chance; what it answers is bounded, by a limit that is lowered silently where a caller asks for more than the
//! maximum beside it, and otherwise by [`Error::TooMuch`](super::error::Error::TooMuch). Dropping the future of a
//! question stops the statement that runs for it, and so does the time limit
//! ([`Error::TimedOut`](super::error::Error::TimedOut)).
//!
//! Never: a question writes nothing, keeps nothing between two questions, and takes no connection but the
//! readers'.
//!
//! Files in reading order: `reader` (a connection for the length of one question), `columns` (rows as they come
//! out of the tables), `promising` (which blocks may hold attributes or long spans), `details` (the packed rest, out of the blocks), `scan`
//! (newest first over several indexes), `sift` (attributes that few rows have), `longest` (long spans); then one file a question: [`trace`],
//! [`summaries`] and `parts` (of traces), [`spans`], [`outlines`] (of spans), [`logs`], [`rollups`], `known` (of which time) and `long` (over hours), [`minutes`] (far apart), [`edges`],
//! [`templates`], [`metrics`] and [`metric_hours`] (what was reckoned of their points), [`counts`]; and [`sql`], in which the operator asks.
//!
//! The questions are methods of [`Store`](super::Store).

mod anomalies;
pub(super) mod columns;
pub mod counts;
mod details;
pub mod edges;
pub mod exemplars;
mod investigations;
mod known;
mod lines;
pub mod logs;
mod long;
mod longest;
pub mod metric_hours;
pub mod metrics;
pub mod minutes;
pub mod outlines;
mod parts;
mod promising;
pub(super) mod reader;
pub mod rollups;
mod scan;
mod sift;
pub mod spans;
pub mod sql;
pub mod summaries;
pub mod templates;
#[cfg(test)]
mod tests;
mod together;
pub mod trace;

use std::time::Duration;

/// Longest time that the statements of one question may take together.
pub const QUESTION_TIME_MAX: Duration = Duration::from_secs(30);
/// Most services, operations, templates or attributes that one question may name; it is refused above it.
pub const NAMED_MAX: usize = 2_000;

/// A part of a longer answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T, C> {
    /// The answers, in the order of the question.
    pub items: Vec<T>,
    /// Where the next part begins; none after the last.
    pub next: Option<C>,
}
