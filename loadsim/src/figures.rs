//! What the server says about itself, and how long it takes until it has stored what it acknowledged.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::ledger::Ledger;
use crate::report::Server;
use crate::send::{self, Signal};

/// How long what was acknowledged is waited for at most.
const CATCH_UP_MAX: Duration = Duration::from_secs(60);
/// How long nothing may be stored before the rest is given up: the server leaves out some items after it acknowledged them.
const STILL_MAX: Duration = Duration::from_secs(3);
/// Time from one look to the next.
const BETWEEN: Duration = Duration::from_millis(200);
/// How long a look may take.
const READ_MAX: Duration = Duration::from_secs(10);

/// Where a server tells its figures; cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Source {
    client: reqwest::Client,
    url: String,
}

/// Figures of the server at one instant; counters are since its start.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Figures {
    /// Processor seconds used.
    pub(crate) cpu_seconds: f64,
    /// Memory in use.
    pub(crate) resident_bytes: f64,
    /// Bytes of database, journal and index.
    pub(crate) disk_bytes: f64,
    /// Items that wait to be stored.
    pub(crate) waiting: f64,
    /// Spans, log records and points that were stored.
    pub(crate) stored: [f64; 3],
    /// Spans that came again.
    duplicates: f64,
}

impl Source {
    /// The metrics at `url`.
    ///
    /// # Errors
    /// When there can be no client.
    pub(crate) fn new(url: &str) -> Result<Self> {
        send::encrypt();
        let client = reqwest::Client::builder().timeout(READ_MAX).build()?;
        Ok(Self { client, url: url.to_owned() })
    }

    /// Reads the figures.
    ///
    /// # Errors
    /// When they cannot be read or lack one.
    pub(crate) async fn read(&self) -> Result<Figures> {
        let text = self.client.get(&self.url).send().await?.error_for_status()?.text().await?;
        Figures::of(&text).with_context(|| self.url.clone())
    }
}

impl Figures {
    /// The figures in a text of metrics.
    ///
    /// # Errors
    /// When it lacks one.
    pub(crate) fn of(text: &str) -> Result<Self> {
        let value = |start: &str| -> Result<f64> {
            let lines = text.lines().filter(|line| line.starts_with(start));
            let values: Vec<f64> = lines.filter_map(|line| line.rsplit(' ').next()?.parse().ok()).collect();
            anyhow::ensure!(!values.is_empty(), "the metrics do not show {start}");
            Ok(values.iter().sum())
        };
        let stored = |signal: Signal| {
            value(&format!("otelcontext_ingest_stored_total{{signal=\"{}\"}}", signal.name()))
        };
        Ok(Self {
            cpu_seconds: value("otelcontext_process_cpu_seconds_total")?,
            resident_bytes: value("otelcontext_process_resident_memory_bytes")?,
            disk_bytes: value("otelcontext_disk_component_bytes")?,
            waiting: value("otelcontext_ingest_pipeline_queue_items")?,
            stored: [stored(Signal::Traces)?, stored(Signal::Logs)?, stored(Signal::Metrics)?],
            duplicates: value("otelcontext_ingest_duplicate_spans_total")?,
        })
    }

    /// Items of each signal that the server is done with; spans that came again are.
    fn done(&self) -> [f64; 3] {
        let [spans, logs, points] = self.stored;
        [spans + self.duplicates, logs, points]
    }
}

/// Where waiting for the server led.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CaughtUp {
    /// The figures of the last look that showed something new stored, or of the first.
    figures: Figures,
    /// How long it took until that look.
    after: Duration,
    /// Acknowledged items that the server had not counted as stored.
    unstored: f64,
}

/// Waits until everything that `ledger` has as acknowledged is stored, of all signals, counted from `before`; no longer than
/// a minute, and no more than some seconds in which nothing is stored.
///
/// # Errors
/// When the metrics cannot be read.
pub(crate) async fn catch_up(source: &Source, before: &Figures, ledger: &Ledger) -> Result<CaughtUp> {
    let began = Instant::now();
    let acknowledged = ledger.sums().map(|sums| sums.acknowledged as f64);
    let mut wait = Wait::new(acknowledged, *before, source.read().await?, began.elapsed());
    while !wait.is_over(began.elapsed()) {
        tokio::time::sleep(BETWEEN).await;
        wait.look(source.read().await?, began.elapsed());
    }
    Ok(wait.found)
}

/// Waiting, look by look.
struct Wait {
    acknowledged: [f64; 3],
    before: Figures,
    found: CaughtUp,
}

impl Wait {
    fn new(acknowledged: [f64; 3], before: Figures, figures: Figures, after: Duration) -> Self {
        let mut wait = Self { acknowledged, before, found: CaughtUp { figures, after, unstored: 0.0 } };
        wait.found.unstored = wait.unstored(&figures);
        wait
    }

    fn look(&mut self, figures: Figures, after: Duration) {
        if figures.done() != self.found.figures.done() {
            self.found = CaughtUp { figures, after, unstored: self.unstored(&figures) };
        }
    }

    fn is_over(&self, now: Duration) -> bool {
        self.found.unstored <= 0.0 || now >= CATCH_UP_MAX || now >= self.found.after + STILL_MAX
    }

    fn unstored(&self, figures: &Figures) -> f64 {
        let done = figures.done().into_iter().zip(self.before.done()).map(|(now, before)| now - before);
        self.acknowledged.into_iter().zip(done).map(|(wanted, done)| (wanted - done).max(0.0)).sum()
    }
}

/// What the server spent from `before` on, over a run of so many seconds and until it had caught up.
pub(crate) fn server(before: &Figures, caught_up: &CaughtUp, seconds: f64) -> Server {
    let CaughtUp { figures: after, after: waited, unstored } = caught_up;
    let cpu = after.cpu_seconds - before.cpu_seconds;
    let disk = after.disk_bytes - before.disk_bytes;
    let spans = after.stored[0] - before.stored[0];
    let items = after.stored.iter().sum::<f64>() - before.stored.iter().sum::<f64>();
    let each = |figure: f64, count: f64| (count > 0.0).then(|| figure / count);
    Server {
        cores: cpu / (seconds + waited.as_secs_f64()).max(1e-9),
        cpu_us_per_span: each(1e6 * cpu, spans),
        cpu_us_per_item: each(1e6 * cpu, items),
        resident_mib: after.resident_bytes / f64::from(1 << 20),
        disk_bytes_per_span: each(disk, spans),
        disk_bytes_per_item: each(disk, items),
        spans_stored: spans,
        items_stored: items,
        duplicates: after.duplicates - before.duplicates,
        caught_up_seconds: waited.as_secs_f64(),
        unstored_items: *unstored,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Figures = Figures {
        cpu_seconds: 10.0,
        resident_bytes: 1048576.0,
        disk_bytes: 5000.0,
        waiting: 60.0,
        stored: [100.0, 200.0, 300.0],
        duplicates: 7.0,
    };

    fn figures(spans: f64, logs: f64, points: f64, duplicates: f64) -> Figures {
        let stored = [START.stored[0] + spans, START.stored[1] + logs, START.stored[2] + points];
        let (cpu_seconds, disk_bytes) = (START.cpu_seconds + 2.0, START.disk_bytes + 8000.0);
        Figures { cpu_seconds, disk_bytes, stored, duplicates: START.duplicates + duplicates, ..START }
    }

    fn at(seconds: f64) -> Duration {
        Duration::from_secs_f64(seconds)
    }

    #[test]
    fn figures_are_read_from_metrics_of_all_signals() {
        let text = "\
            # TYPE otelcontext_ingest_stored counter\n\
            otelcontext_process_cpu_seconds_total 10\n\
            otelcontext_process_resident_memory_bytes 1048576\n\
            otelcontext_disk_component_bytes{component=\"database\"} 2000\n\
            otelcontext_disk_component_bytes{component=\"journal\"} 3000\n\
            otelcontext_ingest_pipeline_queue_items 60\n\
            otelcontext_ingest_pipeline_queue_max_items 9000\n\
            otelcontext_ingest_stored_total{signal=\"traces\"} 100\n\
            otelcontext_ingest_stored_total{signal=\"logs\"} 200\n\
            otelcontext_ingest_stored_total{signal=\"metrics\"} 300\n\
            otelcontext_ingest_duplicate_spans_total 7\n";
        assert_eq!(Figures::of(text).unwrap(), START);
        let without = text.replace("signal=\"logs\"", "signal=\"other\"");
        assert!(Figures::of(&without).unwrap_err().to_string().contains("signal=\"logs\""));
    }

    #[test]
    fn all_signals_are_waited_for_and_spans_that_came_again_count_as_done() {
        let mut wait = Wait::new([50.0, 20.0, 30.0], START, figures(50.0, 0.0, 0.0, 0.0), at(0.1));
        assert!(!wait.is_over(at(0.1)));
        wait.look(figures(40.0, 20.0, 0.0, 10.0), at(2.0));
        assert!(!wait.is_over(at(2.0)) && wait.found.unstored == 30.0);
        wait.look(figures(40.0, 20.0, 30.0, 10.0), at(4.0));
        assert!(wait.is_over(at(4.0)) && wait.found.unstored == 0.0 && wait.found.after == at(4.0));
    }

    #[test]
    fn waiting_ends_when_nothing_moves_or_after_a_minute() {
        let mut wait = Wait::new([50.0, 0.0, 0.0], START, figures(10.0, 0.0, 0.0, 0.0), at(0.0));
        wait.look(figures(30.0, 0.0, 0.0, 0.0), at(2.0));
        for seconds in [2.2, 3.0, 4.8] {
            wait.look(figures(30.0, 0.0, 0.0, 0.0), at(seconds));
            assert!(!wait.is_over(at(seconds)));
        }
        assert!(wait.is_over(at(5.0)) && wait.found.unstored == 20.0 && wait.found.after == at(2.0));
        let mut slow = Wait::new([50.0, 0.0, 0.0], START, START, at(0.0));
        for second in 1..30 {
            slow.look(figures(f64::from(second), 0.0, 0.0, 0.0), at(2.0 * f64::from(second)));
            assert!(!slow.is_over(at(2.0 * f64::from(second))));
        }
        slow.look(figures(30.0, 0.0, 0.0, 0.0), at(60.0));
        assert!(slow.is_over(at(60.0)));
    }

    #[test]
    fn figures_a_span_are_absent_where_no_span_was_stored() {
        let server_of = |figures: Figures| {
            let wait = Wait::new([0.0; 3], START, figures, at(0.0));
            server(&START, &wait.found, 4.0)
        };
        let mixed = server_of(figures(20.0, 50.0, 10.0, 5.0));
        assert_eq!((mixed.cpu_us_per_span, mixed.cpu_us_per_item), (Some(1e5), Some(2.5e4)));
        assert_eq!((mixed.disk_bytes_per_span, mixed.disk_bytes_per_item), (Some(400.0), Some(100.0)));
        assert_eq!((mixed.spans_stored, mixed.items_stored, mixed.duplicates), (20.0, 80.0, 5.0));
        assert_eq!((mixed.cores, mixed.resident_mib), (0.5, 1.0));
        let silent = server_of(figures(0.0, 60.0, 40.0, 0.0));
        assert_eq!((silent.cpu_us_per_span, silent.disk_bytes_per_span), (None, None));
        assert_eq!((silent.cpu_us_per_item, silent.disk_bytes_per_item), (Some(2e4), Some(80.0)));
    }
}
