//! The agent contract: which questions an agent may ask of its telemetry, and the shape of the answers.
//!
//! It promises that every tool call is read, bounded and answered in one form, over every revision of the
//! Model Context Protocol that clients speak, and that what is left out of an answer is named in it. It never
//! touches storage, knows no tenant, reads no clock and no environment: a server implements [`Triage`] and
//! mounts [`service`]. The protocol's own types do not leave this crate.
//!
//! In reading order: `triage` is the trait to implement; `tools` the questions, one file each; `answer` the
//! one shape of every answer; `fault` what goes wrong and how it is told; `arguments`, `filter` and `time` how
//! arguments are read; `nearest` the did-you-mean; `plain`, `untrusted` and `budget` how an answer is cleaned, marked and cut
//! to size; `gate` the limits on questions; `progress` the word of those that take long; `resources`, `prompts` and
//! `completions` the lesser doors; `listening` what those hear who wait for news; `asked` what is told of a question's end;
//! `server` the protocol; `http_service` the way in; `unread` what is said to those whose message cannot be read.

mod answer;
mod arguments;
mod asked;
mod budget;
mod completions;
mod fault;
mod filter;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
mod gate;
mod http_service;
mod listening;
mod nearest;
mod plain;
mod progress;
mod prompts;
mod resources;
mod server;
mod time;
mod tools;
mod triage;
mod unread;
mod untrusted;

pub use crate::answer::{
    Answer, Coverage, CoverageState, Evidence, NEXT_MAX, Next, RuledOut, Shown, Table, Verdict, Window,
};
pub use crate::arguments::{LIMIT_MAX, MAX_TOKENS_BOUNDS, MAX_TOKENS_DEFAULT};
pub use crate::budget::tokens;
pub use crate::fault::Fault;
pub use crate::http_service::{Limits, McpService, service};
pub use crate::nearest::nearest;
pub use crate::plain::unescaped;
pub use crate::server::{OVERLOADED_CODE, TIMED_OUT_CODE, tools_json};
pub use crate::time::{LOOKBACK_DEFAULT_NS, TimeExpression, TimeRange, rfc3339};
pub use crate::tools::aggregate::{AggregateAsk, Measure};
pub use crate::tools::anomaly_timeline::AnomalyTimelineAsk;
pub use crate::tools::compare_attributes::{BadSet, CompareAttributesAsk};
pub use crate::tools::describe_data::DescribeDataAsk;
pub use crate::tools::get_evidence::GetEvidenceAsk;
pub use crate::tools::impact::ImpactAsk;
pub use crate::tools::investigation::{Deed, InvestigationAsk};
pub use crate::tools::list_services::{ListServicesAsk, ServiceSort};
pub use crate::tools::log_patterns::{LogPatternsAsk, PatternStatus};
pub use crate::tools::query_metrics::QueryMetricsAsk;
pub use crate::tools::root_cause::RootCauseAsk;
pub use crate::tools::search_logs::{SearchLogsAsk, Severity};
pub use crate::tools::search_traces::{SearchTracesAsk, TraceSort};
pub use crate::tools::service_health::ServiceHealthAsk;
pub use crate::tools::service_map::ServiceMapAsk;
pub use crate::tools::test_hypothesis::TestHypothesisAsk;
pub use crate::tools::trace_graph::TraceGraphAsk;
pub use crate::tools::triage::TriageAsk;
pub use crate::tools::what_changed::WhatChangedAsk;
pub use crate::tools::{Question, TOOL_NAMES};
pub use crate::triage::{Ended, Listener, Outcome, Triage};
pub use crate::unread::{overloaded_json, refusal_json};
