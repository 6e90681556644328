//! The server from outside, and the rules that hold its source together.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop there")]

mod alerts;
mod anomalies;
mod answers;
mod api;
mod architecture;
mod beside;
mod causes;
mod client;
mod clients;
mod collected;
mod config;
mod conformance;
mod crash;
mod doctor;
mod door;
mod graph;
mod investigations;
mod isolation;
mod load;
mod mcp;
mod namesakes;
mod own_spans;
mod pinned;
mod planted;
mod postgres;
mod retention;
mod sampling;
mod server;
mod transfer;
mod turned;
mod vitals;
mod volume;
mod wire;
