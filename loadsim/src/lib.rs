//! Seeded telemetry over real OTLP.
//!
//! A [`topology::Topology`] says which services exist and what their operations call; [`traffic::Traffic`] plays
//! requests through it, with [`fault::Fault`]s; [`encode`] turns what happened into OTLP; [`send`] delivers it over
//! gRPC or HTTP and retries as an SDK would; [`ledger`] sums up what was sent, acknowledged and refused; [`run`]
//! does all of it at a fixed rate and [`report`] says how it went, and [`compare`] how two runs differ. To cost less than what
//! it measures, a run may make a `reel` beforehand and play that again and again. [`oracle`] keeps on disk what was sent
//! and answered, and compares it with what is stored. [`incidents`] sends recorded incidents again and asks a server
//! for their cause; [`planted`] does so with faults of its own. The same seed gives the same traffic, but for the ids of
//! traces of a reel. [`conformance`] is apart from all that: it tries the rules of OTLP on a server.

pub mod accuracy;
pub mod compare;
pub mod conformance;
pub mod dice;
mod effect;
pub mod encode;
pub mod fault;
mod figures;
pub mod incidents;
pub mod ledger;
pub mod oracle;
pub mod planted;
mod processor;
mod reel;
pub mod report;
pub mod run;
pub mod send;
pub mod sharing;
pub mod templates;
pub mod topology;
pub mod traffic;
