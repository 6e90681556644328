//! The questions that can be asked about what was received: one file a question.
//!
//! Every question takes the caller's [`Scope`](crate::model::tenant::Scope) first and sees nothing of other tenants.
//! Questions gather evidence from the graph where it still remembers the window, else from the store, and leave
//! judgement to `diagnose`. Nothing here writes but [`investigations`]. All answers are bounded and in a fixed order.
//!
//! Reading order: [`handle`] (what a question has at hand), [`window`] (which time it is about), [`sums`] (what was counted
//! in it), [`evidence`] (everything known about it; `measured` (with `replaced`: what new instances are compared with), `places`, `announced`, `exemplars` and `steps` are parts of that), then the
//! questions: [`service_map`], [`service_health`], [`root_cause`] (with `compared`: both sides of an onset), [`impact`],
//! [`changed`], [`hypothesis`], [`attributes`], [`described`], [`aggregate`], [`reopened`], [`investigations`],
//! [`anomalies`] (with [`usual`]: what is none at its time of day, and `changes`: who is told of them), [`trace`],
//! [`traces`], [`spans`], [`logs`], [`log_records`], [`log_templates`] (with `patterns`: which templates are one), [`names`],
//! [`namesakes`] (which services share a name: said beside other answers), [`metrics`], [`holdings`]; [`sql`], in which the
//! operator asks; [`cache`] remembers answers for a few seconds.

pub mod aggregate;
mod announced;
pub mod anomalies;
pub mod attributes;
pub mod cache;
pub mod changed;
mod changes;
mod compared;
pub mod described;
pub mod error;
pub mod evidence;
mod exemplars;
pub mod handle;
pub mod holdings;
pub mod hypothesis;
pub mod impact;
pub mod investigations;
mod log_minutes;
pub mod log_records;
pub mod log_templates;
pub mod logs;
mod measured;
pub mod metrics;
pub mod names;
pub mod namesakes;
mod passing;
mod patterns;
mod places;
pub mod reopened;
mod replaced;
pub mod root_cause;
pub mod service_health;
pub mod service_map;
pub mod spans;
pub mod sql;
mod steps;
pub mod sums;
pub mod trace;
pub mod traces;
pub mod usual;
pub mod window;

pub use self::error::Error;
pub use self::handle::{Options, Query};
pub use self::impact::WhatIf;
