//! How the server itself is doing: its log, its metrics, its health, and spans of what it was asked.
//!
//! Parts of the server count in plain atomics of their own and hand `app` a function that reads them; nothing
//! here knows the parts. Counters exist at zero from the start. No metric is labelled with a tenant.
//!
//! Reading order: [`health`] (named checks behind `/ready`), [`metrics`] (the exposition behind `/metrics`),
//! [`log`] (structured records on standard error), [`spans`] (OTLP to where the operator wants it), [`process`] (what the
//! operating system says about us).

pub mod health;
pub mod log;
pub mod metrics;
pub mod process;
pub mod spans;
