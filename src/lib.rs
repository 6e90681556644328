//! otelcontext: the observability server that AI agents ask when production breaks.
//!
//! Telemetry flows in one direction through rooms named after what happens in them; questions flow in the other. The
//! two meet only in state. The modules stand here in the order of that flow; a module imports only from above, and a
//! test holds the map (see `docs/ARCHITECTURE.md`).

// Words.
pub mod clock;
pub mod fault;
pub mod model;
pub mod threads;
pub mod vitals;

// Gates and pure transforms.
pub mod admit;
pub mod auth;
pub mod decode;
pub mod diagnose;
pub mod encode;
pub mod net;
pub mod reckon;
pub mod rules;

// State: strangers to each other.
pub mod graph;
pub mod journal;
pub mod letters;
pub mod search;
pub mod store;
pub mod templates;

// Services: where state meets.
pub mod pipeline;
pub mod query;
pub mod transfer;
pub mod upkeep;

// Surfaces.
pub mod api;
pub mod mcp;
pub mod receive;

// Composition.
pub mod app;
pub mod cli;
pub mod config;

// Only where decoders and parsers are tried with any bytes.
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
