//! The tools, one file each: name, description, arguments, and the question they make.
//!
//! To add one: write its file, then give it a line in [`SPECS`], a variant of [`Question`] with its two arms,
//! and a method of [`Triage`](crate::triage::Triage).

use serde_json::{Map, Value};

use crate::answer::Answer;
use crate::arguments::Spec;
use crate::fault::{Fault, suggestion};
use crate::tools::aggregate::AggregateAsk;
use crate::tools::anomaly_timeline::AnomalyTimelineAsk;
use crate::tools::compare_attributes::CompareAttributesAsk;
use crate::tools::describe_data::DescribeDataAsk;
use crate::tools::get_evidence::GetEvidenceAsk;
use crate::tools::impact::ImpactAsk;
use crate::tools::investigation::InvestigationAsk;
use crate::tools::list_services::ListServicesAsk;
use crate::tools::log_patterns::LogPatternsAsk;
use crate::tools::query_metrics::QueryMetricsAsk;
use crate::tools::root_cause::RootCauseAsk;
use crate::tools::search_logs::SearchLogsAsk;
use crate::tools::search_traces::SearchTracesAsk;
use crate::tools::service_health::ServiceHealthAsk;
use crate::tools::service_map::ServiceMapAsk;
use crate::tools::test_hypothesis::TestHypothesisAsk;
use crate::tools::trace_graph::TraceGraphAsk;
use crate::tools::triage::TriageAsk;
use crate::tools::what_changed::WhatChangedAsk;
use crate::triage::Triage;

pub(crate) mod aggregate;
pub(crate) mod anomaly_timeline;
pub(crate) mod compare_attributes;
pub(crate) mod describe_data;
pub(crate) mod get_evidence;
pub(crate) mod impact;
pub(crate) mod investigation;
pub(crate) mod list_services;
pub(crate) mod log_patterns;
pub(crate) mod query_metrics;
pub(crate) mod root_cause;
pub(crate) mod search_logs;
pub(crate) mod search_traces;
pub(crate) mod service_health;
pub(crate) mod service_map;
pub(crate) mod test_hypothesis;
pub(crate) mod trace_graph;
pub(crate) mod triage;
pub(crate) mod what_changed;

/// Every tool, in the order they are listed: the ones to begin with first.
pub(crate) const SPECS: [&Spec; 19] = [
    &triage::SPEC,
    &root_cause::SPEC,
    &service_health::SPEC,
    &what_changed::SPEC,
    &impact::SPEC,
    &test_hypothesis::SPEC,
    &compare_attributes::SPEC,
    &anomaly_timeline::SPEC,
    &service_map::SPEC,
    &list_services::SPEC,
    &search_traces::SPEC,
    &trace_graph::SPEC,
    &log_patterns::SPEC,
    &search_logs::SPEC,
    &query_metrics::SPEC,
    &investigation::SPEC,
    &get_evidence::SPEC,
    &aggregate::SPEC,
    &describe_data::SPEC,
];

/// The tools that write; what they add is never taken away or changed by another call.
pub(crate) const WRITERS: [&str; 1] = ["investigation"];

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
    /// `investigation`
    Investigation(InvestigationAsk),
    /// `get_evidence`
    GetEvidence(GetEvidenceAsk),
    /// `aggregate`
    Aggregate(AggregateAsk),
    /// `describe_data`
    DescribeData(DescribeDataAsk),
    /// `test_hypothesis`
    TestHypothesis(TestHypothesisAsk),
    /// `triage`
    Triage(TriageAsk),
    /// `list_services`
    ListServices(ListServicesAsk),
    /// `search_traces`
    SearchTraces(SearchTracesAsk),
    /// `get_log_patterns`
    LogPatterns(LogPatternsAsk),
    /// `query_metrics`
    QueryMetrics(QueryMetricsAsk),
    /// `what_changed`
    WhatChanged(WhatChangedAsk),
    /// `compare_attributes`
    CompareAttributes(CompareAttributesAsk),
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
            "test_hypothesis" => test_hypothesis::read(arguments).map(Self::TestHypothesis),
            "describe_data" => describe_data::read(arguments).map(Self::DescribeData),
            "aggregate" => aggregate::read(arguments).map(Self::Aggregate),
            "get_evidence" => get_evidence::read(arguments).map(Self::GetEvidence),
            "investigation" => investigation::read(arguments).map(Self::Investigation),
            "search_logs" => search_logs::read(arguments).map(Self::SearchLogs),
            "triage" => triage::read(arguments).map(Self::Triage),
            "list_services" => list_services::read(arguments).map(Self::ListServices),
            "search_traces" => search_traces::read(arguments).map(Self::SearchTraces),
            "get_log_patterns" => log_patterns::read(arguments).map(Self::LogPatterns),
            "query_metrics" => query_metrics::read(arguments).map(Self::QueryMetrics),
            "what_changed" => what_changed::read(arguments).map(Self::WhatChanged),
            "compare_attributes" => compare_attributes::read(arguments).map(Self::CompareAttributes),
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
            Self::Investigation(ask) => ask.max_tokens,
            Self::GetEvidence(ask) => ask.max_tokens,
            Self::Aggregate(ask) => ask.max_tokens,
            Self::DescribeData(ask) => ask.max_tokens,
            Self::TestHypothesis(ask) => ask.max_tokens,
            Self::Triage(ask) => ask.max_tokens,
            Self::ListServices(ask) => ask.max_tokens,
            Self::SearchTraces(ask) => ask.max_tokens,
            Self::LogPatterns(ask) => ask.max_tokens,
            Self::QueryMetrics(ask) => ask.max_tokens,
            Self::WhatChanged(ask) => ask.max_tokens,
            Self::CompareAttributes(ask) => ask.max_tokens,
        }
    }

    /// Puts the question to whoever can answer it. On the heap: the largest of the answers would be short of stack.
    pub(crate) async fn put<T: Triage>(self, triage: &T, caller: &T::Caller) -> Result<Answer, Fault> {
        match self {
            Self::ServiceMap(ask) => Box::pin(triage.get_service_map(caller, ask)).await,
            Self::ServiceHealth(ask) => Box::pin(triage.get_service_health(caller, ask)).await,
            Self::RootCause(ask) => Box::pin(triage.root_cause_analysis(caller, ask)).await,
            Self::Impact(ask) => Box::pin(triage.impact_analysis(caller, ask)).await,
            Self::AnomalyTimeline(ask) => Box::pin(triage.get_anomaly_timeline(caller, ask)).await,
            Self::TraceGraph(ask) => Box::pin(triage.trace_graph(caller, ask)).await,
            Self::TestHypothesis(ask) => Box::pin(triage.test_hypothesis(caller, ask)).await,
            Self::DescribeData(ask) => Box::pin(triage.describe_data(caller, ask)).await,
            Self::Aggregate(ask) => Box::pin(triage.aggregate(caller, ask)).await,
            Self::GetEvidence(ask) => Box::pin(triage.get_evidence(caller, ask)).await,
            Self::Investigation(ask) => Box::pin(triage.investigation(caller, ask)).await,
            Self::SearchLogs(ask) => Box::pin(triage.search_logs(caller, ask)).await,
            Self::Triage(ask) => Box::pin(triage.triage(caller, ask)).await,
            Self::ListServices(ask) => Box::pin(triage.list_services(caller, ask)).await,
            Self::SearchTraces(ask) => Box::pin(triage.search_traces(caller, ask)).await,
            Self::LogPatterns(ask) => Box::pin(triage.get_log_patterns(caller, ask)).await,
            Self::QueryMetrics(ask) => Box::pin(triage.query_metrics(caller, ask)).await,
            Self::WhatChanged(ask) => Box::pin(triage.what_changed(caller, ask)).await,
            Self::CompareAttributes(ask) => Box::pin(triage.compare_attributes(caller, ask)).await,
        }
    }
}

/// The fault of a call to a tool that does not exist, naming the nearest one that does.
pub(crate) fn unknown_tool(name: &str) -> Fault {
    Fault::not_found(format!("unknown tool {}{}", crate::fault::echoed(name), suggestion(name, &TOOL_NAMES)))
}

#[cfg(test)]
mod tests;
