//! Telemetry of many services, with a ledger of what was acknowledged.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use loadsim::report::Report;
use loadsim::run::{self, Options};
use loadsim::send::{self, Protocol};
use tempfile::TempDir;
use tokio::task::JoinHandle;

/// A load under way.
pub(super) struct Load {
    task: JoinHandle<Report>,
    ledger: PathBuf,
    _folder: TempDir,
}

/// Starts to send `spans_per_second` for `seconds` to the gRPC `endpoint`, and again what is not acknowledged.
pub(super) fn start(endpoint: &str, seed: u64, spans_per_second: f64, seconds: u64) -> Load {
    let folder = tempfile::tempdir().unwrap();
    let ledger = folder.path().join("acknowledged");
    let options = Options {
        send: send::Options {
            endpoint: endpoint.to_owned(),
            protocol: Protocol::Grpc,
            tenant: "load".into(),
            api_key: String::new(),
            timeout: Duration::from_secs(10),
            retry_for: Duration::from_secs(60),
        },
        seed,
        services: 30,
        spans_per_second,
        duration: Duration::from_secs(seconds),
        warmup: Duration::ZERO,
        backfill: Duration::ZERO,
        connections: 4,
        batch: 256,
        chatter: 0.1,
        fault: None,
        ledger: Some(ledger.clone()),
        metrics_url: None,
    };
    let task = tokio::spawn(async move { run::run(&options, |_, _| {}).await.unwrap() });
    Load { task, ledger, _folder: folder }
}

/// Loads of two seconds, one after the other, until [`Endless::end`].
pub(super) struct Endless {
    task: JoinHandle<Vec<(Report, Vec<String>)>>,
    over: Arc<AtomicBool>,
}

/// Starts to send `spans_per_second` to the gRPC `endpoint` until it is told to end.
pub(super) fn endless(endpoint: &str, seed: u64, spans_per_second: f64) -> Endless {
    let (endpoint, over) = (endpoint.to_owned(), Arc::new(AtomicBool::new(false)));
    let is_over = Arc::clone(&over);
    let task = tokio::spawn(async move {
        let mut loads = Vec::new();
        while !is_over.load(Ordering::Relaxed) {
            let seed = seed + loads.len() as u64;
            loads.push(start(&endpoint, seed, spans_per_second, 2).end().await);
        }
        loads
    });
    Endless { task, over }
}

impl Endless {
    /// Ends the load and waits for its last answer. Answers how many requests were sent again, the slowest
    /// acknowledgement in milliseconds, and the acknowledged spans.
    pub(super) async fn end(self) -> (u64, f64, Vec<String>) {
        self.over.store(true, Ordering::Relaxed);
        let loads = self.task.await.unwrap();
        let again = loads.iter().map(|(report, _)| report.spans.retries).sum();
        let slowest = loads.iter().map(|(report, _)| report.acknowledgement_ms.max).fold(0.0, f64::max);
        (again, slowest, loads.into_iter().flat_map(|(_, spans)| spans).collect())
    }
}

impl Load {
    /// Waits for the end. Nothing may have been refused for good or stayed unanswered. Answers the report and the
    /// acknowledged spans, `trace span` each.
    pub(super) async fn end(self) -> (Report, Vec<String>) {
        let report = self.task.await.unwrap();
        assert_eq!((report.spans.refused, report.spans.unknown), (0, 0), "{}", report.text());
        let ledger = std::fs::read_to_string(&self.ledger).unwrap();
        (report, ledger.lines().map(str::to_owned).collect())
    }
}
