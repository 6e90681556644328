//! Journal and pipeline in a simulated world: what the machine does to them is decided by a seed.

mod client;
mod database;
mod simulation;
