//! Reckoning with metric points: what was counted, how fast, and how it was distributed.
//!
//! Points go in, numbers come out, exactly as the OpenTelemetry metrics data model reads them
//! (<https://opentelemetry.io/docs/specs/otel/metrics/data-model/>; its sections are named where they decide
//! something). A [`Rollup`] holds what the points of one series say about one interval. It carries its first and last
//! raw point, so roll-ups of neighbouring intervals merge into the roll-up of both: counts, buckets, extremes and
//! whole numbers exactly, sums of doubles to within their rounding.
//!
//! Never: no clock, no I/O, no knowledge of tenants or names. No value is made up: where the points do not say, the
//! answer is none. NaN is no measurement: such a point is counted as skipped and left out. An infinite gauge takes
//! part as it is, an infinite counter is skipped, an infinite sum of a distribution makes its sum unknown.
//!
//! Files in reading order: [`nature`] (what kind of series), [`number`], [`totals`], [`explicit`] and [`exponential`]
//! (amounts of each kind), [`amount`], [`link`] (from one point to the next: resets, gaps, overlaps), [`rollup`],
//! `coding` (its bytes), [`steps`] (intervals in a row), [`gather`] (several series as one answer).

pub mod amount;
mod coding;
pub mod explicit;
pub mod exponential;
pub mod function;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
pub mod gather;
pub mod link;
pub mod nature;
pub mod number;
pub mod rollup;
pub mod steps;
#[cfg(test)]
mod tests;
pub mod totals;

pub use self::function::Function;
pub use self::nature::Nature;
pub use self::rollup::Rollup;
