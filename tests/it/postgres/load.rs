//! Telemetry of many services, with ledgers of what was sent and acknowledged.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use loadsim::oracle::entries::Entries;
use loadsim::report::Report;
use loadsim::run::{self, Options};
use loadsim::send::{self, Protocol, Signal};
use loadsim::watch;
use tempfile::TempDir;
use tokio::task::JoinHandle;

/// The tenant of all loads.
pub(super) const TENANT: &str = "load";

/// The ledgers of loads, one after the other.
pub(super) struct Ledgers {
    folder: TempDir,
    pub(super) paths: Vec<PathBuf>,
}

impl Ledgers {
    pub(super) fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), paths: Vec::new() }
    }

    /// The acknowledged spans, `trace span` each.
    pub(super) fn acknowledged(&self) -> Vec<String> {
        let mut spans = Vec::new();
        for path in &self.paths {
            let entries = Entries::read(path).unwrap();
            let ids = entries.acknowledged(Signal::Traces).map(|item| item.id.split_at(32));
            spans.extend(ids.map(|(trace, span)| format!("{trace} {span}")));
        }
        spans
    }
}

/// A load under way.
pub(super) struct Load {
    task: JoinHandle<Report>,
}

/// Starts to send `spans_per_second` for `seconds` to the gRPC `endpoint`, and again what is not acknowledged.
pub(super) fn start(
    ledgers: &mut Ledgers,
    endpoint: &str,
    seed: u64,
    spans_per_second: f64,
    seconds: u64,
) -> Load {
    let ledger = ledgers.folder.path().join(ledgers.paths.len().to_string());
    ledgers.paths.push(ledger.clone());
    let options = Options {
        send: send::Options {
            endpoint: endpoint.to_owned(),
            protocol: Protocol::Grpc,
            tenant: TENANT.into(),
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
        ledger: Some(ledger),
        watch: watch::Options::default(),
        manner: run::Manner::default(),
    };
    let task = tokio::spawn(async move { run::run(&options, |_, _| {}).await.unwrap() });
    Load { task }
}

/// Loads of two seconds, one after the other, until [`Endless::end`].
pub(super) struct Endless {
    task: JoinHandle<(Vec<Report>, Ledgers)>,
    over: Arc<AtomicBool>,
}

/// Starts to send `spans_per_second` to the gRPC `endpoint` until it is told to end.
pub(super) fn endless(endpoint: &str, seed: u64, spans_per_second: f64) -> Endless {
    let (endpoint, over) = (endpoint.to_owned(), Arc::new(AtomicBool::new(false)));
    let is_over = Arc::clone(&over);
    let task = tokio::spawn(async move {
        let (mut reports, mut ledgers) = (Vec::new(), Ledgers::new());
        while !is_over.load(Ordering::Relaxed) {
            let seed = seed + reports.len() as u64;
            reports.push(start(&mut ledgers, &endpoint, seed, spans_per_second, 2).end().await);
        }
        (reports, ledgers)
    });
    Endless { task, over }
}

impl Endless {
    /// Ends the load and waits for its last answer. Answers how many requests were sent again, the slowest
    /// acknowledgement in milliseconds, and the ledgers.
    pub(super) async fn end(self) -> (u64, f64, Ledgers) {
        self.over.store(true, Ordering::Relaxed);
        let (reports, ledgers) = self.task.await.unwrap();
        let again = reports.iter().map(|report| report.spans.retries).sum();
        let slowest = reports.iter().map(|report| report.acknowledgement_ms.max).fold(0.0, f64::max);
        (again, slowest, ledgers)
    }
}

impl Load {
    /// Waits for the end. Nothing may have been refused for good or stayed unanswered.
    pub(super) async fn end(self) -> Report {
        let report = self.task.await.unwrap();
        assert_eq!((report.spans.refused, report.spans.unknown), (0, 0), "{}", report.text());
        report
    }
}
