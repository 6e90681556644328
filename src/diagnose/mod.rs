//! The heart: evidence in, verdict out. Pure: no I/O, no clock, and the same answer for the same evidence in any
//! order.
//!
//! Reading order: [`evidence`] and [`verdict`].

pub mod evidence;
pub mod verdict;
