//! Seeded telemetry over real OTLP.
//!
//! A [`topology::Topology`] says which services exist and what their operations call; [`traffic::Traffic`] plays
//! requests through it, with [`fault::Fault`]s; [`encode`] turns what happened into OTLP; [`send`] delivers it over
//! gRPC or HTTP and retries as an SDK would; [`ledger`] sums up what was sent, acknowledged and refused; [`run`]
//! does all of it at a fixed rate, with traffic that is played `live` or, to cost less than what it measures, from a `reel`
//! that was made beforehand. Meanwhile a [`watch`] looks at the server: [`series`] has figures over time, [`ask`] puts
//! questions, and [`queryable`] waits until the last items are answered. [`report`] says how it went, [`graph`] draws it,
//! and [`compare`] says how two runs differ. [`oracle`] keeps on disk what was sent and answered, and compares it with what
//! is stored. [`incidents`] sends recorded incidents again and asks a server for their cause; [`planted`] does so with
//! faults of its own. The same seed gives the same traffic, but for the ids of traces of a reel. [`conformance`] is apart
//! from all that: it tries the rules of OTLP on a server.

mod accounts;
pub mod accuracy;
pub mod ask;
pub mod compare;
pub mod conformance;
pub mod dice;
mod effect;
pub mod encode;
pub mod fault;
mod figures;
pub mod graph;
pub mod incidents;
mod lasts;
pub mod ledger;
mod live;
mod mcp;
pub mod oracle;
pub mod planted;
mod processor;
pub mod queryable;
mod reel;
pub mod report;
pub mod run;
pub mod send;
pub mod series;
pub mod sharing;
pub mod templates;
pub mod topology;
pub mod traffic;
pub mod watch;
