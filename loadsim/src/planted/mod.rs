//! Faults planted in generated systems, where what is true is known: the service, how far down the fault lies, and who is
//! hurt by it; and systems in which nothing is wrong.

pub mod agent;
mod hurt;
pub(crate) mod judge;
mod plant;
mod play;
pub mod suite;
mod tables;
