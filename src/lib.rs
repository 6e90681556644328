//! otelcontext: the observability server that AI agents ask when production breaks.

pub mod clock;
pub mod fault;
pub mod model;
