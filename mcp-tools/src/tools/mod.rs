//! The tools, one file each: name, description, arguments, and the question they make.
//!
//! To add one: write its file, then give it a line in [`SPECS`], a variant of [`Question`] with its two arms,
//! and a method of [`Triage`](crate::triage::Triage).

use serde_json::{Map, Value};

use crate::answer::Answer;
use crate::arguments::Spec;
use crate::fault::{Fault, suggestion};
use crate::tools::anomaly_timeline::AnomalyTimelineAsk;
use crate::tools::impact::ImpactAsk;
use crate::tools::root_cause::RootCauseAsk;
use crate::tools::search_logs::SearchLogsAsk;
use crate::tools::service_health::ServiceHealthAsk;
use crate::tools::service_map::ServiceMapAsk;
use crate::tools::trace_graph::TraceGraphAsk;
use crate::triage::Triage;

pub(crate) mod anomaly_timeline;
pub(crate) mod impact;
pub(crate) mod root_cause;
pub(crate) mod search_logs;
pub(crate) mod service_health;
pub(crate) mod service_map;
pub(crate) mod trace_graph;

/// Every tool, in the order they are listed: the ones to begin with first.
pub(crate) const SPECS: [&Spec; 7] = [
    &root_cause::SPEC,
    &service_health::SPEC,
    &impact::SPEC,
    &service_map::SPEC,
    &anomaly_timeline::SPEC,
    &trace_graph::SPEC,
    &search_logs::SPEC,
];

/// The names of every tool, in the order they are listed.
pub const TOOL_NAMES: [&str; SPECS.len()] = {
    let mut names = [""; SPECS.len()];
    let mut at = 0;
    while at < SPECS.len() {
        names[at] = SPECS[at].name;
        at += 1;
    }
    names
};

/// A call whose arguments were read: bounded, and the names of its fields are right.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Question {
    /// `get_service_map`
    ServiceMap(ServiceMapAsk),
    /// `get_service_health`
    ServiceHealth(ServiceHealthAsk),
    /// `root_cause_analysis`
    RootCause(RootCauseAsk),
    /// `impact_analysis`
    Impact(ImpactAsk),
    /// `get_anomaly_timeline`
    AnomalyTimeline(AnomalyTimelineAsk),
    /// `trace_graph`
    TraceGraph(TraceGraphAsk),
    /// `search_logs`
    SearchLogs(SearchLogsAsk),
}

impl Question {
    /// Reads the arguments of a call of `tool`.
    ///
    /// Errs with [`Fault::NotFound`] for a tool that does not exist, and with [`Fault::Invalid`] naming every
    /// mistaken argument and the nearest valid one.
    pub fn parse(tool: &str, arguments: Map<String, Value>) -> Result<Self, Fault> {
        match tool {
            "root_cause_analysis" => root_cause::read(arguments).map(Self::RootCause),
            "get_service_health" => service_health::read(arguments).map(Self::ServiceHealth),
            "impact_analysis" => impact::read(arguments).map(Self::Impact),
            "get_service_map" => service_map::read(arguments).map(Self::ServiceMap),
            "get_anomaly_timeline" => anomaly_timeline::read(arguments).map(Self::AnomalyTimeline),
            "trace_graph" => trace_graph::read(arguments).map(Self::TraceGraph),
            "search_logs" => search_logs::read(arguments).map(Self::SearchLogs),
            _ => Err(unknown_tool(tool)),
        }
    }

    /// The size the answer may have, in tokens.
    pub const fn max_tokens(&self) -> usize {
        match self {
            Self::ServiceMap(ask) => ask.max_tokens,
            Self::ServiceHealth(ask) => ask.max_tokens,
            Self::RootCause(ask) => ask.max_tokens,
            Self::Impact(ask) => ask.max_tokens,
            Self::AnomalyTimeline(ask) => ask.max_tokens,
            Self::TraceGraph(ask) => ask.max_tokens,
            Self::SearchLogs(ask) => ask.max_tokens,
        }
    }

    /// Puts the question to whoever can answer it.
    pub(crate) async fn put<T: Triage>(self, triage: &T, caller: &T::Caller) -> Result<Answer, Fault> {
        match self {
            Self::ServiceMap(ask) => triage.get_service_map(caller, ask).await,
            Self::ServiceHealth(ask) => triage.get_service_health(caller, ask).await,
            Self::RootCause(ask) => triage.root_cause_analysis(caller, ask).await,
            Self::Impact(ask) => triage.impact_analysis(caller, ask).await,
            Self::AnomalyTimeline(ask) => triage.get_anomaly_timeline(caller, ask).await,
            Self::TraceGraph(ask) => triage.trace_graph(caller, ask).await,
            Self::SearchLogs(ask) => triage.search_logs(caller, ask).await,
        }
    }
}

/// The fault of a call to a tool that does not exist, naming the nearest one that does.
pub(crate) fn unknown_tool(name: &str) -> Fault {
    Fault::not_found(format!("unknown tool {}{}", crate::fault::echoed(name), suggestion(name, &TOOL_NAMES)))
}

#[cfg(test)]
mod tests;
