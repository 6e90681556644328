//! How a run went, as JSON and in a few lines.

use serde::Serialize;

use crate::ask::tally::Asked;
use crate::ledger::{Ledger, Sums};
use crate::queryable::Queryable;
use crate::series::Point;
use crate::watch::Watched;

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
    /// Bytes of requests of spans for each span, before any compression; nothing where no spans were sent.
    pub sent_bytes_per_span: Option<f64>,
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
    /// Questions beside the load, where there were any.
    pub asked: Option<Asked>,
    /// Seconds until the last items were answered, where that was asked for.
    pub queryable_seconds: Option<Queryable>,
    /// What was to be looked at and could not be, and why.
    pub unseen: Vec<String>,
    /// The run over time.
    pub series: Vec<Point>,
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
    /// Processor microseconds for each span sent, whatever else was sent; nothing where no spans were.
    pub cpu_us_per_span: Option<f64>,
    /// Processor microseconds for each span, log record and point sent.
    pub cpu_us_per_item: Option<f64>,
}

/// The server's own figures over the run. Figures for each span or item are of what was stored, and there is none where nothing
/// was.
#[derive(Debug, Clone, Serialize)]
pub struct Server {
    /// Processor seconds used for each second of the run, and of the time until it had caught up.
    pub cores: f64,
    /// Processor microseconds for each span, whatever else was stored.
    pub cpu_us_per_span: Option<f64>,
    /// Processor microseconds for each span, log record and point.
    pub cpu_us_per_item: Option<f64>,
    /// Memory in use at the end.
    pub resident_mib: f64,
    /// Bytes of database, journal and index that were added for each span, logs and metrics included.
    pub disk_bytes_per_span: Option<f64>,
    /// The same for each span, log record and point.
    pub disk_bytes_per_item: Option<f64>,
    /// Spans stored since the start of the run; those that came again are not.
    pub spans_stored: f64,
    /// Spans, log records and points stored since then.
    pub items_stored: f64,
    /// Spans that came again and were not stored twice.
    pub duplicates: f64,
    /// Seconds from the last acknowledgement until everything acknowledged was stored, or until nothing more was.
    pub caught_up_seconds: f64,
    /// Acknowledged items that were not counted as stored by then: left out by the server's rules, or still on their way.
    pub unstored_items: f64,
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
    /// The report of a run, of what its ledger holds and of what was seen beside it.
    pub(crate) fn new(run: Run, ledger: &Ledger, watched: Watched) -> Self {
        let [spans, logs, points] = ledger.sums();
        let sum = |of: fn(&Sums) -> u64| of(&spans) + of(&logs) + of(&points);
        let each_second = |count: u64| count as f64 / run.seconds.max(1e-9);
        let share = |part: u64, whole: u64| part as f64 / whole.max(1) as f64;
        let for_each = |figure: f64, count: u64| (count > 0).then(|| figure / count as f64);
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
            sent_bytes_per_span: for_each(spans.bytes as f64, spans.sent),
            own: run.processor_seconds.map(|cpu| Own {
                cores: cpu / run.seconds.max(1e-9),
                cpu_us_per_span: for_each(1e6 * cpu, spans.sent),
                cpu_us_per_item: for_each(1e6 * cpu, sum(|sums| sums.sent)),
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
            server: watched.server,
            asked: watched.asked,
            queryable_seconds: watched.queryable,
            unseen: watched.unseen,
            series: watched.series,
        }
    }

    /// The report for a person.
    pub fn text(&self) -> String {
        let latency = &self.acknowledgement_ms;
        let mut text = format!(
            "{:.0} spans/s acknowledged of {:.0} asked for, over {:.1} s\n\
             spans: {} sent, {} acknowledged, {} rejected, {} refused, {} unknown; {} retries\n\
             logs: {} acknowledged, {:.0} a second; points: {} acknowledged, {:.0} a second\n\
             {:.0} requests/s{}; {:.2} % of all items accepted at the first try\n\
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
            figure(self.sent_bytes_per_span, 0, "bytes a span"),
            100.0 * self.first_try_share,
            latency.p50,
            latency.p90,
            latency.p99,
            latency.p999,
            latency.max,
        );
        if let Some(Own { cores, cpu_us_per_span, cpu_us_per_item }) = &self.own {
            let a_span = figure(*cpu_us_per_span, 2, "µs a span");
            let an_item = figure(*cpu_us_per_item, 2, "µs an item");
            text.push_str(&format!("loadsim: {cores:.2} cores{a_span}{an_item}\n"));
        }
        if let Some(server) = &self.server {
            text.push_str(&server.text());
        }
        if let Some(queryable) = &self.queryable_seconds {
            text.push_str(&queryable.text());
        }
        if let Some(asked) = &self.asked {
            text.push_str(&asked.text());
        }
        for unseen in &self.unseen {
            text.push_str(&format!("not seen: {unseen}\n"));
        }
        for (reason, count) in &self.reasons {
            text.push_str(&format!("{count} × {reason}\n"));
        }
        text
    }
}

impl Server {
    fn text(&self) -> String {
        let mut text = format!(
            "server: {:.2} cores{}{}, {:.0} MiB resident{}{}\n\
             server: {:.0} spans stored, {:.0} duplicates; {:.0} items stored",
            self.cores,
            figure(self.cpu_us_per_span, 1, "µs a span"),
            figure(self.cpu_us_per_item, 1, "µs an item"),
            self.resident_mib,
            figure(self.disk_bytes_per_span, 0, "bytes on disk a span"),
            figure(self.disk_bytes_per_item, 0, "bytes on disk an item"),
            self.spans_stored,
            self.duplicates,
            self.items_stored,
        );
        let (seconds, unstored) = (self.caught_up_seconds, self.unstored_items);
        text.push_str(&if unstored > 0.0 {
            format!(" by {seconds:.1} s after the end, {unstored:.0} acknowledged ones not\n")
        } else {
            format!(", caught up after {seconds:.1} s\n")
        });
        text
    }
}

/// A figure with its unit as what follows in a list; nothing where there is none.
fn figure(figure: Option<f64>, decimals: usize, unit: &str) -> String {
    figure.map(|figure| format!(", {figure:.decimals$} {unit}")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::send::{Delivery, Outcome, Request, Signal};

    const SERVER: Server = Server {
        cores: 0.5,
        cpu_us_per_span: None,
        cpu_us_per_item: Some(2.0),
        resident_mib: 64.0,
        disk_bytes_per_span: None,
        disk_bytes_per_item: Some(80.0),
        spans_stored: 0.0,
        items_stored: 10.0,
        duplicates: 3.0,
        caught_up_seconds: 0.2,
        unstored_items: 0.0,
    };

    /// The report of a run in which ten items of one signal were sent.
    fn report(signal: Signal, server: Server) -> Report {
        let ledger = Ledger::new().unwrap();
        let request = Request { signal, body: vec![0_u8; 500].into(), items: 10 };
        let outcome = Outcome::Acknowledged { rejected: 0 };
        let delivery = Delivery { outcome, retries: 0, latency: Duration::ZERO };
        ledger.enter(&request, &delivery, Duration::ZERO);
        let run = Run {
            seed: 1,
            services: 2,
            target_spans_per_second: 0.0,
            seconds: 1.0,
            processor_seconds: Some(0.5),
        };
        Report::new(run, &ledger, Watched { server: Some(server), ..Watched::default() })
    }

    #[test]
    fn without_spans_there_are_no_figures_a_span() {
        let report = report(Signal::Logs, SERVER);
        let text = report.text();
        assert!(!text.contains("a span") && text.contains("0 spans stored, 3 duplicates"), "{text}");
        assert!(text.contains("loadsim: 0.50 cores, 50000.00 µs an item"), "{text}");
        assert!(
            text.contains("0.50 cores, 2.0 µs an item, 64 MiB resident, 80 bytes on disk an item"),
            "{text}"
        );
        let json = serde_json::to_value(&report).unwrap();
        for pointer in ["/sent_bytes_per_span", "/own/cpu_us_per_span", "/server/disk_bytes_per_span"] {
            assert!(json.pointer(pointer).unwrap().is_null(), "{pointer}");
        }
        assert_eq!(json.pointer("/server/duplicates").unwrap().as_f64(), Some(3.0));
    }

    #[test]
    fn with_spans_there_are_and_what_is_not_stored_is_told() {
        let server = Server { cpu_us_per_span: Some(4.0), unstored_items: 2.0, ..SERVER };
        let text = report(Signal::Traces, server).text();
        for part in [
            "1 requests/s, 50 bytes a span;",
            "50000.00 µs a span, 50000.00 µs an item",
            "4.0 µs a span, 2.0 µs an item",
            "10 items stored by 0.2 s after the end, 2 acknowledged ones not",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
    }
}
