//! How a run went, as JSON and in a few lines.

use serde::Serialize;

use crate::ledger::{Ledger, Sums};

/// What is known of a run beside its ledger.
#[derive(Debug, Clone, Copy)]
pub struct Run {
    /// The seed that repeats it.
    pub seed: u64,
    /// Services simulated.
    pub services: usize,
    /// Spans a second that were asked for, in all.
    pub target_spans_per_second: f64,
    /// Seconds it took, warm-up not counted.
    pub seconds: f64,
    /// Processor seconds that loadsim used meanwhile, where the system tells.
    pub processor_seconds: Option<f64>,
}

/// The report of one run.
#[derive(Debug, Serialize)]
pub struct Report {
    /// The seed that repeats it.
    pub seed: u64,
    /// Services simulated.
    pub services: usize,
    /// Spans a second that were asked for, in all.
    pub target_spans_per_second: f64,
    /// Seconds it took, warm-up not counted.
    pub seconds: f64,
    /// Spans a second that were acknowledged.
    pub acknowledged_spans_per_second: f64,
    /// Log records a second that were acknowledged.
    pub acknowledged_logs_per_second: f64,
    /// Metric points a second that were acknowledged.
    pub acknowledged_points_per_second: f64,
    /// Requests of all signals that were sent in a second, tries not counted.
    pub requests_per_second: f64,
    /// The share of all items sent that was accepted at the first try.
    pub first_try_share: f64,
    /// Bytes of requests of spans for each span, before any compression.
    pub sent_bytes_per_span: f64,
    /// Accounts of spans.
    pub spans: Account,
    /// Accounts of log records.
    pub logs: Account,
    /// Accounts of metric points.
    pub points: Account,
    /// Time from when a request was due to its acknowledgement.
    pub acknowledgement_ms: Latency,
    /// Why requests were refused or given up.
    pub reasons: Vec<(String, u64)>,
    /// What loadsim itself cost, where the system tells.
    pub own: Option<Own>,
    /// What the server says about itself, where its metrics were asked for.
    pub server: Option<Server>,
}

/// Accounts of one signal.
#[derive(Debug, Serialize)]
#[expect(missing_docs, reason = "the fields are those of `ledger::Sums`")]
pub struct Account {
    pub sent: u64,
    pub acknowledged: u64,
    pub rejected: u64,
    pub refused: u64,
    pub unknown: u64,
    pub requests: u64,
    pub retries: u64,
    pub first_try: u64,
}

/// Percentiles in milliseconds.
#[derive(Debug, Serialize)]
#[expect(missing_docs, reason = "the names are the percentiles")]
pub struct Latency {
    pub p50: f64,
    pub p90: f64,
    pub p99: f64,
    pub p999: f64,
    pub max: f64,
}

/// What loadsim used over the run; making a reel comes before it and is not counted.
#[derive(Debug, Clone, Serialize)]
pub struct Own {
    /// Processor seconds used for each second of the run.
    pub cores: f64,
    /// Processor microseconds for each span sent, whatever else was sent.
    pub cpu_us_per_span: f64,
}

/// The server's own figures over the run.
#[derive(Debug, Clone, Serialize)]
pub struct Server {
    /// Processor seconds used for each second of the run.
    pub cores: f64,
    /// Processor microseconds for each span stored.
    pub cpu_us_per_span: f64,
    /// Memory in use at the end.
    pub resident_mib: f64,
    /// Bytes of database, journal and index that were added for each span stored, logs and metrics included.
    pub disk_bytes_per_span: f64,
    /// Spans stored since the start of the run.
    pub spans_stored: f64,
    /// Seconds from the last acknowledgement until everything acknowledged was stored.
    pub caught_up_seconds: f64,
}

impl From<&Sums> for Account {
    fn from(sums: &Sums) -> Self {
        Self {
            sent: sums.sent,
            acknowledged: sums.acknowledged,
            rejected: sums.rejected,
            refused: sums.refused,
            unknown: sums.unknown,
            requests: sums.requests,
            retries: sums.retries,
            first_try: sums.first_try,
        }
    }
}

impl Report {
    /// The report of a run and of what its ledger holds.
    pub fn new(run: Run, ledger: &Ledger, server: Option<Server>) -> Self {
        let [spans, logs, points] = ledger.sums();
        let sum = |of: fn(&Sums) -> u64| of(&spans) + of(&logs) + of(&points);
        let each_second = |count: u64| count as f64 / run.seconds.max(1e-9);
        let share = |part: u64, whole: u64| part as f64 / whole.max(1) as f64;
        Self {
            seed: run.seed,
            services: run.services,
            target_spans_per_second: run.target_spans_per_second,
            seconds: run.seconds,
            acknowledged_spans_per_second: each_second(spans.acknowledged),
            acknowledged_logs_per_second: each_second(logs.acknowledged),
            acknowledged_points_per_second: each_second(points.acknowledged),
            requests_per_second: each_second(sum(|sums| sums.requests)),
            first_try_share: share(sum(|sums| sums.first_try_items), sum(|sums| sums.sent)),
            sent_bytes_per_span: share(spans.bytes, spans.sent),
            own: run.processor_seconds.map(|cpu| Own {
                cores: cpu / run.seconds.max(1e-9),
                cpu_us_per_span: 1e6 * cpu / spans.sent.max(1) as f64,
            }),
            spans: (&spans).into(),
            logs: (&logs).into(),
            points: (&points).into(),
            acknowledgement_ms: Latency {
                p50: ledger.latency_ms(0.5),
                p90: ledger.latency_ms(0.9),
                p99: ledger.latency_ms(0.99),
                p999: ledger.latency_ms(0.999),
                max: ledger.latency_ms(1.0),
            },
            reasons: ledger.reasons(),
            server,
        }
    }

    /// The report for a person.
    pub fn text(&self) -> String {
        let latency = &self.acknowledgement_ms;
        let mut text = format!(
            "{:.0} spans/s acknowledged of {:.0} asked for, over {:.1} s\n\
             spans: {} sent, {} acknowledged, {} rejected, {} refused, {} unknown; {} retries\n\
             logs: {} acknowledged, {:.0} a second; points: {} acknowledged, {:.0} a second\n\
             {:.0} requests/s, {:.0} bytes a span; {:.2} % of all items accepted at the first try\n\
             acknowledgement: p50 {:.1} ms, p90 {:.1} ms, p99 {:.1} ms, p99.9 {:.1} ms, max {:.1} ms\n",
            self.acknowledged_spans_per_second,
            self.target_spans_per_second,
            self.seconds,
            self.spans.sent,
            self.spans.acknowledged,
            self.spans.rejected,
            self.spans.refused,
            self.spans.unknown,
            self.spans.retries,
            self.logs.acknowledged,
            self.acknowledged_logs_per_second,
            self.points.acknowledged,
            self.acknowledged_points_per_second,
            self.requests_per_second,
            self.sent_bytes_per_span,
            100.0 * self.first_try_share,
            latency.p50,
            latency.p90,
            latency.p99,
            latency.p999,
            latency.max,
        );
        if let Some(own) = &self.own {
            text.push_str(&format!(
                "loadsim: {:.2} cores, {:.2} µs a span\n",
                own.cores, own.cpu_us_per_span
            ));
        }
        if let Some(server) = &self.server {
            text.push_str(&format!(
                "server: {:.2} cores, {:.1} µs a span, {:.0} MiB resident, {:.0} bytes on disk a span, caught up after {:.1} s\n",
                server.cores, server.cpu_us_per_span, server.resident_mib, server.disk_bytes_per_span, server.caught_up_seconds,
            ));
        }
        for (reason, count) in &self.reasons {
            text.push_str(&format!("{count} × {reason}\n"));
        }
        text
    }
}
