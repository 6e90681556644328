//! The agent contract over `query`: every tool of `mcp-tools` answered on stored data.
//!
//! One file a tool; each asks one question and lays the answer out as the contract's tables. The caller's
//! [`Scope`](crate::model::tenant::Scope) comes from the gate in front, never from an argument. Nothing here judges
//! or computes beyond rounding.
//!
//! Reading order: this file, [`window`] (time arguments), [`cells`] (numbers for models), [`page`] (cursors), `fault`
//! (what went wrong, in words an agent can act on), then the tools.

mod anomaly_timeline;
mod cells;
mod fault;
mod impact;
mod page;
mod proof;
mod root_cause;
mod search_logs;
mod service_health;
mod service_map;
mod tally;
mod trace_graph;
mod window;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use mcp_tools::{
    AnomalyTimelineAsk, Answer, Ended, Fault, ImpactAsk, Limits, RootCauseAsk, SearchLogsAsk,
    ServiceHealthAsk, ServiceMapAsk, TraceGraphAsk, Triage,
};

use crate::model::tenant::Scope;
use crate::query::Query;

pub use self::tally::Tally;

/// What can be chosen about MCP.
#[derive(Debug, Clone)]
pub struct Options {
    /// The path it is served on.
    pub path: String,
    /// Tool calls at once; 0 sets no bound.
    pub concurrent_max: usize,
    /// Time a call may take; zero sets no bound.
    pub call_timeout: Duration,
    /// Host names beyond loopback.
    pub allowed_hosts: Vec<String>,
    /// Browser origins beyond loopback.
    pub allowed_origins: Vec<String>,
}

/// The route of MCP. The gate that inserts the caller's `Scope` must stand in front of it.
pub fn router(options: Options, query: Query, tally: Arc<Tally>) -> Router {
    let limits = Limits {
        max_concurrent: options.concurrent_max,
        call_timeout: options.call_timeout,
        allowed_hosts: options.allowed_hosts,
        allowed_origins: options.allowed_origins,
        ..Limits::default()
    };
    Router::new().route_service(&options.path, mcp_tools::service(Arc::new(Tools { query, tally }), limits))
}

/// The tools.
#[derive(Debug, Clone)]
struct Tools {
    query: Query,
    tally: Arc<Tally>,
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
    type Caller = Scope;

    async fn get_service_map(&self, scope: &Scope, ask: ServiceMapAsk) -> Result<Answer, Fault> {
        let question = format!("{ask:?}");
        self.remembered(scope, question, service_map::answer(&self.query, scope, ask)).await
    }

    async fn get_service_health(&self, scope: &Scope, ask: ServiceHealthAsk) -> Result<Answer, Fault> {
        let question = format!("{ask:?}");
        self.remembered(scope, question, service_health::answer(&self.query, scope, ask)).await
    }

    async fn root_cause_analysis(&self, scope: &Scope, ask: RootCauseAsk) -> Result<Answer, Fault> {
        let question = format!("{ask:?}");
        self.remembered(scope, question, root_cause::answer(&self.query, scope, ask)).await
    }

    async fn impact_analysis(&self, scope: &Scope, ask: ImpactAsk) -> Result<Answer, Fault> {
        let question = format!("{ask:?}");
        self.remembered(scope, question, impact::answer(&self.query, scope, ask)).await
    }

    async fn get_anomaly_timeline(&self, scope: &Scope, ask: AnomalyTimelineAsk) -> Result<Answer, Fault> {
        let question = format!("{ask:?}");
        self.remembered(scope, question, anomaly_timeline::answer(&self.query, scope, ask)).await
    }

    async fn trace_graph(&self, scope: &Scope, ask: TraceGraphAsk) -> Result<Answer, Fault> {
        trace_graph::answer(&self.query, scope, ask).await
    }

    async fn search_logs(&self, scope: &Scope, ask: SearchLogsAsk) -> Result<Answer, Fault> {
        search_logs::answer(&self.query, scope, ask).await
    }

    async fn services(&self, scope: &Scope) -> Result<Vec<String>, Fault> {
        Ok(self.query.service_names(scope))
    }

    fn ended(&self, call: Ended) {
        self.tally.count(call);
    }
}
