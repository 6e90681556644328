//! What runs by the clock or at start, beside requests and questions.
//!
//! Everything derived can be rebuilt from the store: [`restore`] gives the graph its recent past from the roll-ups,
//! [`index`] brings the search index up to the store, from wherever it stands; [`retention`] lets go of what is old,
//! after `reckoning` made hours of metric points; [`anomalies`] writes down what left its normal course; [`watch`] looks after the
//! rest. None of them ends in a panic: it is a
//! round that failed (`rounds`).

pub mod anomalies;
pub mod index;
mod leaps;
mod reckoning;
pub mod restore;
pub mod retention;
mod rounds;
pub mod watch;
