//! The one trait an observability server implements to be asked.

use std::time::Duration;

use crate::answer::Answer;
use crate::fault::Fault;
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

/// Answers the questions of this contract, one method for each tool.
///
/// Each method gets who asks and a question whose fields are read and bounded. It errs with
/// [`Fault::NotFound`] when a named service, operation or trace does not exist ([`Fault::unknown`] words it),
/// and with [`Fault::Invalid`] when the window runs backwards once the clock is known. Nothing found is an
/// answer with `why_empty`, not a fault. A future may be dropped at any await, when the caller leaves or its
/// time is up.
pub trait Triage: Send + Sync + 'static {
    /// Who asks. It comes from the extensions of the HTTP request, where the layer that checked the
    /// credential put it; no argument of a tool can choose it.
    type Caller: Clone + Send + Sync + 'static;
    /// A caller that hears of its anomalies.
    type Listener: Listener;
    /// What a question holds for as long as it is worked on.
    type Turn: Send + 'static;

    /// Lets a question of a caller in; errs with [`Fault::Overloaded`] where the caller has as many as it may.
    fn turn(&self, caller: &Self::Caller) -> Result<Self::Turn, Fault>;

    /// Who calls whom.
    fn get_service_map(
        &self,
        caller: &Self::Caller,
        ask: ServiceMapAsk,
    ) -> impl Future<Output = Result<Answer, Fault>> + Send;

    /// Which services are well, worst first, in a table `services` beginning with `service`, `status`,
    /// `score`.
    fn get_service_health(
        &self,
        caller: &Self::Caller,
        ask: ServiceHealthAsk,
    ) -> impl Future<Output = Result<Answer, Fault>> + Send;

    /// What broke, in a table `causes` beginning with `rank`, `service`, `cause`, `confidence`, and a
    /// verdict.
    fn root_cause_analysis(
        &self,
        caller: &Self::Caller,
        ask: RootCauseAsk,
    ) -> impl Future<Output = Result<Answer, Fault>> + Send;

    /// Who is hurt, in a table `affected` beginning with `service`, `operation`, `share`.
    fn impact_analysis(
        &self,
        caller: &Self::Caller,
        ask: ImpactAsk,
    ) -> impl Future<Output = Result<Answer, Fault>> + Send;

    /// Anomalies in the order they began.
    fn get_anomaly_timeline(
        &self,
        caller: &Self::Caller,
        ask: AnomalyTimelineAsk,
    ) -> impl Future<Output = Result<Answer, Fault>> + Send;

    /// One trace as a tree of spans.
    fn trace_graph(
        &self,
        caller: &Self::Caller,
        ask: TraceGraphAsk,
    ) -> impl Future<Output = Result<Answer, Fault>> + Send;

    /// Log records.
    fn search_logs(
        &self,
        caller: &Self::Caller,
        ask: SearchLogsAsk,
    ) -> impl Future<Output = Result<Answer, Fault>> + Send;

    /// What is wrong, in one answer: a verdict and a table `causes` as of `root_cause_analysis`, and who is hurt.
    fn triage(
        &self,
        caller: &Self::Caller,
        ask: TriageAsk,
    ) -> impl Future<Output = Result<Answer, Fault>> + Send;

    /// The services there are, in a table `services` beginning with `service`, `kind`.
    fn list_services(
        &self,
        caller: &Self::Caller,
        ask: ListServicesAsk,
    ) -> impl Future<Output = Result<Answer, Fault>> + Send;

    /// Traces that match, in a table `traces` beginning with `trace_id`, `start`.
    fn search_traces(
        &self,
        caller: &Self::Caller,
        ask: SearchTracesAsk,
    ) -> impl Future<Output = Result<Answer, Fault>> + Send;

    /// Log templates compared with the time before, in a table `patterns` beginning with `template`, `status`.
    fn get_log_patterns(
        &self,
        caller: &Self::Caller,
        ask: LogPatternsAsk,
    ) -> impl Future<Output = Result<Answer, Fault>> + Send;

    /// A metric over time, in a table `series`; or the names there are, in a table `metrics`.
    fn query_metrics(
        &self,
        caller: &Self::Caller,
        ask: QueryMetricsAsk,
    ) -> impl Future<Output = Result<Answer, Fault>> + Send;

    /// What differs between both sides of a moment, in a table `changes` beginning with `rank`, `kind`, `service`,
    /// `subject`.
    fn what_changed(
        &self,
        caller: &Self::Caller,
        ask: WhatChangedAsk,
    ) -> impl Future<Output = Result<Answer, Fault>> + Send;

    /// Attribute values that bad spans have more often, in a table `values` beginning with `attribute`, `value`.
    fn compare_attributes(
        &self,
        caller: &Self::Caller,
        ask: CompareAttributesAsk,
    ) -> impl Future<Output = Result<Answer, Fault>> + Send;

    /// Whether a service can be what another suffers from: a verdict, and a table `checks` beginning with `check`,
    /// `speaks`.
    fn test_hypothesis(
        &self,
        caller: &Self::Caller,
        ask: TestHypothesisAsk,
    ) -> impl Future<Output = Result<Answer, Fault>> + Send;

    /// What telemetry there is, in tables `signals`, `attributes` and `quality`.
    fn describe_data(
        &self,
        caller: &Self::Caller,
        ask: DescribeDataAsk,
    ) -> impl Future<Output = Result<Answer, Fault>> + Send;

    /// Spans or log records by group, in a table `groups`: the keys, then the value and the items it rests on.
    fn aggregate(
        &self,
        caller: &Self::Caller,
        ask: AggregateAsk,
    ) -> impl Future<Output = Result<Answer, Fault>> + Send;

    /// Evidence opened again, in a table `evidence` beginning with `id`, `state`.
    fn get_evidence(
        &self,
        caller: &Self::Caller,
        ask: GetEvidenceAsk,
    ) -> impl Future<Output = Result<Answer, Fault>> + Send;

    /// What an agent found out, written, read again or exported; the only question that writes.
    fn investigation(
        &self,
        caller: &Self::Caller,
        ask: InvestigationAsk,
    ) -> impl Future<Output = Result<Answer, Fault>> + Send;

    /// The names of the services the caller may see, in any order, to complete what a person types.
    fn services(&self, caller: &Self::Caller) -> impl Future<Output = Result<Vec<String>, Fault>> + Send;

    /// Lets the caller hear of changes of its anomalies from now on, until what is returned is dropped. Errs with
    /// [`Fault::Overloaded`] while too many listen. Must not wait.
    fn listen(&self, caller: &Self::Caller) -> Result<Self::Listener, Fault>;

    /// Told once of every question that ended, refused ones too, so that the server can count them and make their spans.
    /// Must not wait.
    fn ended(&self, _call: Ended) {}
}

/// A caller that hears of its anomalies, and of nobody else's.
pub trait Listener: Send + 'static {
    /// Waits until an anomaly began or ended since this was last called, or since the caller was let in. What happened
    /// meanwhile is one change, however much it was. False once there will be no more: the server stops.
    fn changed(&mut self) -> impl Future<Output = bool> + Send;

    /// Waits until the server stops.
    fn stopped(&mut self) -> impl Future<Output = ()> + Send;
}

/// How one question ended. It holds nothing that the caller wrote but the trace context.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// The method of the protocol by which it came: `tools/call`, `resources/read` or `completion/complete`.
    pub method: &'static str,
    /// The tool, always one of [`TOOL_NAMES`](crate::TOOL_NAMES), `services` for a completion, or `unknown` for a tool or
    /// a resource that does not exist.
    pub tool: &'static str,
    /// What became of it.
    pub outcome: Outcome,
    /// From the call's arrival to its answer.
    pub duration: Duration,
    /// The size of the answer's JSON, once; zero when there is none.
    pub answer_bytes: usize,
    /// The trace context (W3C `traceparent`) of the message (SEP-414), or else of the HTTP request: at most 256 bytes,
    /// otherwise as the caller wrote it.
    pub traceparent: Option<String>,
    /// The revision of the protocol that the caller named, one of those that there are.
    pub protocol_version: Option<&'static str>,
}

/// What became of a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// It was answered.
    Answered,
    /// It was wrong, or asked for something that does not exist.
    Refused,
    /// It came while the server was at its limit.
    Overloaded,
    /// Its time ran out.
    TimedOut,
    /// The caller withdrew it, or left.
    Cancelled,
    /// A defect of the server.
    Failed,
}

impl Outcome {
    /// The word for it in a metric's label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Refused => "refused",
            Self::Overloaded => "overloaded",
            Self::TimedOut => "timed_out",
            Self::Cancelled => "cancelled",
            Self::Failed => "failed",
        }
    }

    pub(crate) const fn of<T>(result: &Result<T, Fault>) -> Self {
        match result {
            Ok(_) => Self::Answered,
            Err(Fault::Invalid { .. } | Fault::NotFound { .. }) => Self::Refused,
            Err(Fault::Overloaded) => Self::Overloaded,
            Err(Fault::TimedOut) => Self::TimedOut,
            Err(Fault::Cancelled) => Self::Cancelled,
            Err(Fault::Internal { .. }) => Self::Failed,
        }
    }
}
