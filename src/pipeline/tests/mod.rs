//! Journal and pipeline in a simulated world: what the machine, the database and the operator do is decided by a seed. And
//! the queue by itself.

mod checks;
mod client;
mod database;
mod operator;
mod queue;
mod simulation;
mod store;
mod world;
