//! The agent contract over `query`: every tool of `mcp-tools` answered on stored data.
//!
//! One file a tool; each asks one question and lays the answer out as the contract's tables. The [`Caller`] comes from the
//! gate in front, never from an argument. Nothing here judges
//! or computes beyond rounding.
//!
//! Reading order: this file, `bodies` (how many bytes of calls are in memory), [`window`] (time arguments), [`cells`] (numbers for models), [`page`] (cursors), `fault`
//! (what went wrong, in words an agent can act on), `doubt` (what makes values of metrics doubtful), `meant` (what
//! `service` in a filter means), `listeners` (who hears of anomalies), then the tools.

mod aggregate;
mod anomaly_timeline;
mod bodies;
mod cells;
mod compare_attributes;
mod describe_data;
mod doubt;
mod fault;
mod get_evidence;
mod impact;
mod investigation;
mod list_services;
mod listeners;
mod log_patterns;
mod meant;
mod page;
mod proof;
mod query_metrics;
mod root_cause;
mod search_logs;
mod search_traces;
mod service_health;
mod service_map;
mod tally;
mod test_hypothesis;
mod trace_graph;
mod triage;
mod what_changed;
mod window;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::middleware;
use axum::response::{IntoResponse, Response};
use mcp_tools::{
    AggregateAsk, AnomalyTimelineAsk, Answer, CompareAttributesAsk, DescribeDataAsk, Ended, Fault,
    GetEvidenceAsk, ImpactAsk, InvestigationAsk, Limits, ListServicesAsk, LogPatternsAsk, QueryMetricsAsk,
    RootCauseAsk, SearchLogsAsk, SearchTracesAsk, ServiceHealthAsk, ServiceMapAsk, TestHypothesisAsk,
    TraceGraphAsk, Triage, TriageAsk, WhatChangedAsk,
};
use tokio_util::sync::CancellationToken;

use crate::admit::{Turn, Turns};
use crate::model::tenant::Scope;
use crate::query::Query;

use self::bodies::Bodies;
use self::listeners::Listener;
pub use self::tally::{Call, Tally};

/// Accepts any name: they are looked at in front.
const ANY: &str = "*";

/// What can be chosen about MCP.
#[derive(Debug, Clone)]
pub struct Options {
    /// The path it is served on.
    pub path: String,
    /// Tool calls at once; 0 sets no bound.
    pub concurrent_max: usize,
    /// Time a call may take; zero sets no bound.
    pub call_timeout: Duration,
}

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// Whose data are asked about.
    pub scope: Scope,
    /// Whether notes may be written among them.
    pub may_write: bool,
}

/// The route of MCP. What looks at `Host` and `Origin` and what inserts the [`Caller`] must stand in front of it. Those who
/// listen are let go when `stop` is cancelled.
pub fn router(options: Options, query: Query, tally: Arc<Tally>, stop: CancellationToken) -> Router {
    let limits = Limits {
        // Turns bound them, by tenant too.
        max_concurrent: 0,
        call_timeout: options.call_timeout,
        allowed_hosts: vec![ANY.to_owned()],
        allowed_origins: vec![ANY.to_owned()],
        ..Limits::default()
    };
    let bodies = Bodies::new(limits.body_bytes_max);
    let turns = Turns::new(if options.concurrent_max == 0 { usize::MAX } else { options.concurrent_max });
    let service = mcp_tools::service(Arc::new(Tools { query, tally, turns, stop }), limits);
    let gathered = middleware::from_fn(move |request, next| bodies.clone().gathered(request, next));
    Router::new().route_service(&options.path, service).layer(gathered)
}

/// The answer to who may not ask, as an error of JSON-RPC about no message: none was read.
pub fn forbidden(message: &str) -> Response {
    let body = mcp_tools::refusal_json(message);
    (StatusCode::FORBIDDEN, [(CONTENT_TYPE, "application/json")], body).into_response()
}

/// The tools.
#[derive(Debug, Clone)]
struct Tools {
    query: Query,
    tally: Arc<Tally>,
    turns: Turns,
    stop: CancellationToken,
}

impl Tools {
    /// The answer to a question, or the one given to the same question a moment ago.
    async fn remembered<F>(&self, scope: &Scope, question: String, work: F) -> Result<Answer, Fault>
    where
        F: Future<Output = Result<Answer, Fault>>,
    {
        let answer = self.query.remember(scope, question, work).await?;
        Ok(Arc::unwrap_or_clone(answer))
    }
}

impl Triage for Tools {
    type Caller = Caller;
    type Listener = Listener;
    type Turn = Turn;

    fn turn(&self, Caller { scope, .. }: &Caller) -> Result<Turn, Fault> {
        self.turns.take(scope.tenant()).ok_or(Fault::Overloaded)
    }

    async fn get_service_map(
        &self,
        Caller { scope, .. }: &Caller,
        ask: ServiceMapAsk,
    ) -> Result<Answer, Fault> {
        let question = format!("{ask:?}");
        self.remembered(scope, question, service_map::answer(&self.query, scope, ask)).await
    }

    async fn get_service_health(
        &self,
        Caller { scope, .. }: &Caller,
        ask: ServiceHealthAsk,
    ) -> Result<Answer, Fault> {
        let question = format!("{ask:?}");
        self.remembered(scope, question, service_health::answer(&self.query, scope, ask)).await
    }

    async fn root_cause_analysis(
        &self,
        Caller { scope, .. }: &Caller,
        ask: RootCauseAsk,
    ) -> Result<Answer, Fault> {
        let question = format!("{ask:?}");
        self.remembered(scope, question, root_cause::answer(&self.query, scope, ask)).await
    }

    async fn impact_analysis(&self, Caller { scope, .. }: &Caller, ask: ImpactAsk) -> Result<Answer, Fault> {
        let question = format!("{ask:?}");
        self.remembered(scope, question, impact::answer(&self.query, scope, ask)).await
    }

    async fn get_anomaly_timeline(
        &self,
        Caller { scope, .. }: &Caller,
        ask: AnomalyTimelineAsk,
    ) -> Result<Answer, Fault> {
        let question = format!("{ask:?}");
        self.remembered(scope, question, anomaly_timeline::answer(&self.query, scope, ask)).await
    }

    async fn trace_graph(&self, Caller { scope, .. }: &Caller, ask: TraceGraphAsk) -> Result<Answer, Fault> {
        trace_graph::answer(&self.query, scope, ask).await
    }

    async fn search_logs(&self, Caller { scope, .. }: &Caller, ask: SearchLogsAsk) -> Result<Answer, Fault> {
        search_logs::answer(&self.query, scope, ask).await
    }

    async fn triage(&self, Caller { scope, .. }: &Caller, ask: TriageAsk) -> Result<Answer, Fault> {
        let question = format!("{ask:?}");
        self.remembered(scope, question, triage::answer(&self.query, scope, ask)).await
    }

    async fn list_services(
        &self,
        Caller { scope, .. }: &Caller,
        ask: ListServicesAsk,
    ) -> Result<Answer, Fault> {
        let question = format!("{ask:?}");
        self.remembered(scope, question, list_services::answer(&self.query, scope, ask)).await
    }

    async fn search_traces(
        &self,
        Caller { scope, .. }: &Caller,
        ask: SearchTracesAsk,
    ) -> Result<Answer, Fault> {
        let question = format!("{ask:?}");
        self.remembered(scope, question, search_traces::answer(&self.query, scope, ask)).await
    }

    async fn get_log_patterns(
        &self,
        Caller { scope, .. }: &Caller,
        ask: LogPatternsAsk,
    ) -> Result<Answer, Fault> {
        let question = format!("{ask:?}");
        self.remembered(scope, question, log_patterns::answer(&self.query, scope, ask)).await
    }

    async fn query_metrics(
        &self,
        Caller { scope, .. }: &Caller,
        ask: QueryMetricsAsk,
    ) -> Result<Answer, Fault> {
        let question = format!("{ask:?}");
        self.remembered(scope, question, query_metrics::answer(&self.query, scope, ask)).await
    }

    async fn what_changed(
        &self,
        Caller { scope, .. }: &Caller,
        ask: WhatChangedAsk,
    ) -> Result<Answer, Fault> {
        let question = format!("{ask:?}");
        self.remembered(scope, question, what_changed::answer(&self.query, scope, ask)).await
    }

    async fn compare_attributes(
        &self,
        Caller { scope, .. }: &Caller,
        ask: CompareAttributesAsk,
    ) -> Result<Answer, Fault> {
        let question = format!("{ask:?}");
        self.remembered(scope, question, compare_attributes::answer(&self.query, scope, ask)).await
    }

    async fn test_hypothesis(
        &self,
        Caller { scope, .. }: &Caller,
        ask: TestHypothesisAsk,
    ) -> Result<Answer, Fault> {
        let question = format!("{ask:?}");
        self.remembered(scope, question, test_hypothesis::answer(&self.query, scope, ask)).await
    }

    async fn describe_data(
        &self,
        Caller { scope, .. }: &Caller,
        ask: DescribeDataAsk,
    ) -> Result<Answer, Fault> {
        let question = format!("{ask:?}");
        self.remembered(scope, question, describe_data::answer(&self.query, scope, ask)).await
    }

    async fn aggregate(&self, Caller { scope, .. }: &Caller, ask: AggregateAsk) -> Result<Answer, Fault> {
        let question = format!("{ask:?}");
        self.remembered(scope, question, aggregate::answer(&self.query, scope, ask)).await
    }

    async fn get_evidence(
        &self,
        Caller { scope, .. }: &Caller,
        ask: GetEvidenceAsk,
    ) -> Result<Answer, Fault> {
        let question = format!("{ask:?}");
        self.remembered(scope, question, get_evidence::answer(&self.query, scope, ask)).await
    }

    async fn investigation(&self, caller: &Caller, ask: InvestigationAsk) -> Result<Answer, Fault> {
        investigation::answer(&self.query, caller, ask).await
    }

    async fn services(&self, Caller { scope, .. }: &Caller) -> Result<Vec<String>, Fault> {
        Ok(self.query.service_names(scope))
    }

    fn listen(&self, Caller { scope, .. }: &Caller) -> Result<Listener, Fault> {
        let place = self.tally.listeners.place(scope.tenant()).ok_or(Fault::Overloaded)?;
        Ok(Listener::new(self.query.clone(), scope.clone(), place, self.stop.clone()))
    }

    fn ended(&self, call: Ended) {
        self.tally.count(call);
    }
}
