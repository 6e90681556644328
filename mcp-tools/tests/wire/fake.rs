//! A triage that answers from nothing, with names that make it misbehave.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use mcp_tools::{
    AggregateAsk, AnomalyTimelineAsk, Answer, CompareAttributesAsk, DescribeDataAsk, Ended, Evidence, Fault,
    GetEvidenceAsk, ImpactAsk, InvestigationAsk, ListServicesAsk, Listener, LogPatternsAsk, Next,
    QueryMetricsAsk, RootCauseAsk, SearchLogsAsk, SearchTracesAsk, ServiceHealthAsk, ServiceMapAsk, Table,
    TestHypothesisAsk, TraceGraphAsk, Triage, TriageAsk, Verdict, WhatChangedAsk, Window,
};
use serde_json::json;
use tokio::sync::{Notify, watch};

/// Most who listen at once.
pub(crate) const LISTENERS_MAX: usize = 2;

/// A caller that has as many questions as it may.
pub(crate) const GREEDY: &str = "greedy";

const SERVICES: [&str; 3] = ["checkout", "cart", "payments"];

/// Who the fake believes is asking.
#[derive(Debug, Clone)]
pub(crate) struct Caller(pub(crate) String);

#[derive(Default)]
pub(crate) struct Fake {
    /// Told whenever a question that never ends has begun.
    pub(crate) stuck: Notify,
    /// Told whenever such a question was dropped.
    pub(crate) dropped: Arc<Notify>,
    pub(crate) ended: std::sync::Mutex<Vec<Ended>>,
    pub(crate) questions: AtomicUsize,
    /// Lets a question about the service `slow` be answered.
    pub(crate) released: Notify,
    /// How often the anomalies of each caller changed; none from the stop on.
    changes: watch::Sender<Changes>,
    /// Who listens.
    pub(crate) listening: Arc<AtomicUsize>,
}

#[derive(Default)]
struct Changes {
    by_caller: BTreeMap<String, u64>,
    is_over: bool,
}

impl Changes {
    fn of(&self, caller: &str) -> u64 {
        self.by_caller.get(caller).copied().unwrap_or_default()
    }
}

/// A caller who listens to the fake.
pub(crate) struct Ear {
    caller: String,
    seen: u64,
    changes: watch::Receiver<Changes>,
    listening: Arc<AtomicUsize>,
}

impl Listener for Ear {
    async fn changed(&mut self) -> bool {
        let wanted = |changes: &Changes| changes.is_over || changes.of(&self.caller) != self.seen;
        let Ok(now) = self.changes.wait_for(wanted).await else { return false };
        self.seen = now.of(&self.caller);
        !now.is_over
    }

    async fn stopped(&mut self) {
        let _ = self.changes.wait_for(|changes| changes.is_over).await;
    }
}

impl Drop for Ear {
    fn drop(&mut self) {
        self.listening.fetch_sub(1, Ordering::SeqCst);
    }
}

struct TellsOnDrop(Arc<Notify>);

impl Drop for TellsOnDrop {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

impl Fake {
    /// Anomalies of a caller begin or end.
    pub(crate) fn change(&self, caller: &str) {
        self.changes.send_modify(|changes| *changes.by_caller.entry(caller.to_owned()).or_default() += 1);
    }

    /// Nothing will change any more.
    pub(crate) fn stop(&self) {
        self.changes.send_modify(|changes| changes.is_over = true);
    }

    fn answer(&self, caller: &Caller, summary: &str) -> Answer {
        self.questions.fetch_add(1, Ordering::Relaxed);
        Answer {
            summary: format!("{summary} for {}", caller.0),
            window: Window::new(0, 3_600_000_000_000, 3_600_000_000_000),
            ..Answer::default()
        }
    }

    fn known(service: Option<&String>) -> Result<(), Fault> {
        match service {
            Some(service) if !SERVICES.contains(&service.as_str()) => {
                Err(Fault::unknown("service", service, SERVICES))
            }
            _ => Ok(()),
        }
    }
}

impl Triage for Fake {
    type Caller = Caller;
    type Listener = Ear;
    type Turn = ();

    fn turn(&self, caller: &Caller) -> Result<(), Fault> {
        if caller.0 == GREEDY { Err(Fault::Overloaded) } else { Ok(()) }
    }

    async fn get_service_map(&self, caller: &Caller, ask: ServiceMapAsk) -> Result<Answer, Fault> {
        Self::known(ask.service.as_ref())?;
        Ok(self.answer(caller, &format!("map of depth {}", ask.depth)))
    }

    async fn get_service_health(&self, caller: &Caller, ask: ServiceHealthAsk) -> Result<Answer, Fault> {
        match ask.service.as_deref() {
            Some("stuck") => {
                let _tells = TellsOnDrop(Arc::clone(&self.dropped));
                self.stuck.notify_one();
                std::future::pending().await
            }
            Some("slow") => {
                self.released.notified().await;
                Ok(self.answer(caller, "it took long"))
            }
            Some("broken") => Err(Fault::internal("secret detail")),
            Some("panic") => panic!("a defect"),
            _ => {
                Self::known(ask.service.as_ref())?;
                let mut table = Table::new("services", ["service", "status", "score"]);
                table.rows =
                    SERVICES.iter().map(|service| vec![json!(service), json!("ok"), json!(0.1)]).collect();
                Ok(Answer { tables: vec![table], ..self.answer(caller, "3 services are well") })
            }
        }
    }

    async fn root_cause_analysis(&self, caller: &Caller, ask: RootCauseAsk) -> Result<Answer, Fault> {
        Self::known(ask.service.as_ref())?;
        let mut table = Table::new("causes", ["rank", "service", "cause", "confidence"]);
        table.rows.push(vec![json!(1), json!("payments"), json!("charge: slow"), json!(0.93)]);
        Ok(Answer {
            verdict: Some(Verdict::CauseFound),
            tables: vec![table],
            evidence: vec![Evidence {
                id: "E1".into(),
                kind: "latency".into(),
                text: "p95 20 → 900 ms".into(),
            }],
            next: vec![
                Next::new("impact_analysis", [("service", json!("payments"))]),
                Next::new("impact_analysis", [("servce", json!("refused by the contract"))]),
                Next::new("no_such_tool", []),
            ],
            ..self.answer(caller, "payments is slow")
        })
    }

    async fn impact_analysis(&self, caller: &Caller, ask: ImpactAsk) -> Result<Answer, Fault> {
        Self::known(Some(&ask.service))?;
        Ok(self.answer(caller, "checkout is hurt"))
    }

    async fn get_anomaly_timeline(&self, caller: &Caller, ask: AnomalyTimelineAsk) -> Result<Answer, Fault> {
        ask.range.resolve(3_600_000_000_000)?;
        Ok(self.answer(caller, "nothing moved"))
    }

    async fn trace_graph(&self, caller: &Caller, ask: TraceGraphAsk) -> Result<Answer, Fault> {
        Ok(self.answer(caller, &format!("trace {:02x?}", ask.trace_id[0])))
    }

    async fn search_logs(&self, caller: &Caller, ask: SearchLogsAsk) -> Result<Answer, Fault> {
        let mut table = Table::new("logs", ["time", "body"]);
        table.rows =
            (0..ask.limit).map(|at| vec![json!(format!("-{at}s")), json!("x".repeat(100))]).collect();
        table.cursors = (0..ask.limit).map(|at| format!("after-{at}")).collect();
        Ok(Answer { tables: vec![table], ..self.answer(caller, "logs") })
    }

    async fn triage(&self, caller: &Caller, ask: TriageAsk) -> Result<Answer, Fault> {
        let TriageAsk { service, range, limit, max_tokens } = ask;
        self.root_cause_analysis(caller, RootCauseAsk { service, range, limit, cursor: None, max_tokens })
            .await
    }

    async fn list_services(&self, caller: &Caller, ask: ListServicesAsk) -> Result<Answer, Fault> {
        Ok(self.answer(caller, &format!("services by {:?}", ask.sort)))
    }

    async fn search_traces(&self, caller: &Caller, ask: SearchTracesAsk) -> Result<Answer, Fault> {
        Ok(self.answer(caller, &format!("traces with {:?}", ask.filter)))
    }

    async fn get_log_patterns(&self, caller: &Caller, ask: LogPatternsAsk) -> Result<Answer, Fault> {
        Ok(self.answer(caller, &format!("patterns of {:?}", ask.service)))
    }

    async fn query_metrics(&self, caller: &Caller, ask: QueryMetricsAsk) -> Result<Answer, Fault> {
        Ok(self.answer(caller, &format!("metric {:?}", ask.metric)))
    }

    async fn what_changed(&self, caller: &Caller, ask: WhatChangedAsk) -> Result<Answer, Fault> {
        Self::known(ask.service.as_ref())?;
        Ok(self.answer(caller, "nothing changed"))
    }

    async fn compare_attributes(&self, caller: &Caller, ask: CompareAttributesAsk) -> Result<Answer, Fault> {
        Ok(self.answer(caller, &format!("compared {:?}", ask.target)))
    }

    async fn test_hypothesis(&self, caller: &Caller, _ask: TestHypothesisAsk) -> Result<Answer, Fault> {
        Ok(self.answer(caller, "test_hypothesis"))
    }

    async fn describe_data(&self, caller: &Caller, _ask: DescribeDataAsk) -> Result<Answer, Fault> {
        Ok(self.answer(caller, "describe_data"))
    }

    async fn aggregate(&self, caller: &Caller, _ask: AggregateAsk) -> Result<Answer, Fault> {
        Ok(self.answer(caller, "aggregate"))
    }

    async fn get_evidence(&self, caller: &Caller, _ask: GetEvidenceAsk) -> Result<Answer, Fault> {
        Ok(self.answer(caller, "get_evidence"))
    }

    async fn investigation(&self, caller: &Caller, _ask: InvestigationAsk) -> Result<Answer, Fault> {
        Ok(self.answer(caller, "investigation"))
    }

    async fn services(&self, _caller: &Caller) -> Result<Vec<String>, Fault> {
        Ok(SERVICES.map(str::to_owned).to_vec())
    }

    fn listen(&self, Caller(caller): &Caller) -> Result<Ear, Fault> {
        if self.listening.load(Ordering::SeqCst) >= LISTENERS_MAX {
            return Err(Fault::Overloaded);
        }
        self.listening.fetch_add(1, Ordering::SeqCst);
        let changes = self.changes.subscribe();
        let seen = changes.borrow().of(caller);
        Ok(Ear { caller: caller.clone(), seen, changes, listening: Arc::clone(&self.listening) })
    }

    fn ended(&self, call: Ended) {
        self.ended.lock().unwrap().push(call);
    }
}
