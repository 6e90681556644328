//! Clocks, percentiles, tables and the report.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::{Map, Value, json};

/// Clock ticks of `/proc` a second; a constant of Linux on all its usual machines.
const TICKS_PER_SECOND: u64 = 100;

/// Processor time of the whole process so far.
pub(crate) fn process_cpu() -> Result<Duration> {
    let stat = std::fs::read_to_string("/proc/self/stat").context("the processor time of the process")?;
    // The name, in parentheses, may hold spaces; user and system time are fields 14 and 15.
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace().skip(11).take(2);
    let ticks: u64 = fields.filter_map(|field| field.parse::<u64>().ok()).sum();
    Ok(Duration::from_millis(ticks * 1_000 / TICKS_PER_SECOND))
}

/// Processor time of the calling thread so far.
pub(crate) fn thread_cpu() -> Result<Duration> {
    let path = "/proc/thread-self/schedstat";
    let stat = std::fs::read_to_string(path).context("the processor time of a thread")?;
    let nanos = stat.split_whitespace().next().and_then(|field| field.parse().ok());
    Ok(Duration::from_nanos(nanos.context("an unknown form of schedstat")?))
}

/// Processes that ran or waited for a processor over the last minute.
pub(crate) fn load_average() -> f64 {
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    load.split(' ').next().and_then(|field| field.parse().ok()).unwrap_or(f64::NAN)
}

/// Durations of one kind.
#[derive(Debug, Default, Clone)]
pub(crate) struct Times(Vec<Duration>);

impl Times {
    pub(crate) fn add(&mut self, time: Duration) {
        self.0.push(time);
    }

    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn sum(&self) -> Duration {
        self.0.iter().sum()
    }

    pub(crate) fn extend(&mut self, other: &Self) {
        self.0.extend_from_slice(&other.0);
    }

    /// Milliseconds that this share of them (0 to 1) does not exceed.
    pub(crate) fn milliseconds(&self, share: f64) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        let at = ((sorted.len() as f64 * share) as usize).min(sorted.len().saturating_sub(1));
        round(sorted.get(at).map_or(0.0, |time| time.as_secs_f64() * 1e3))
    }

    /// Count, sum and percentiles.
    pub(crate) fn report(&self) -> Value {
        json!({
            "count": self.count(),
            "seconds": round(self.sum().as_secs_f64()),
            "p50_ms": self.milliseconds(0.5),
            "p95_ms": self.milliseconds(0.95),
            "p99_ms": self.milliseconds(0.99),
            "max_ms": self.milliseconds(1.0),
        })
    }

    /// Prints one line of the table that [`print_head`] begins.
    pub(crate) fn print(&self, name: &str, note: &str) {
        let [median, high, top, most] = [0.5, 0.95, 0.99, 1.0].map(|share| self.milliseconds(share));
        println!(
            "{name:<44} {:>6} {median:>10.2} {high:>10.2} {top:>10.2} {most:>10.2}  {note}",
            self.count()
        );
    }
}

/// Runs `work` and answers how long it took beside what it answered.
pub(crate) fn timed<T>(work: impl FnOnce() -> T) -> (Duration, T) {
    let begun = Instant::now();
    let answer = work();
    (begun.elapsed(), answer)
}

/// The head of a table of durations.
pub(crate) fn print_head() {
    println!(
        "{:<44} {:>6} {:>10} {:>10} {:>10} {:>10}",
        "milliseconds", "count", "median", "p95", "p99", "most"
    );
}

/// Three digits after the point.
pub(crate) fn round(number: f64) -> f64 {
    (number * 1e3).round() / 1e3
}

/// What was measured, for a file.
#[derive(Debug)]
pub(crate) struct Report {
    path: Option<PathBuf>,
    fields: Map<String, Value>,
}

impl Report {
    pub(crate) fn new(path: Option<PathBuf>, what: &str) -> Self {
        let mut report = Self { path, fields: Map::new() };
        report.put("what", json!(what));
        report.put("load_average_before", json!(load_average()));
        report
    }

    pub(crate) fn put(&mut self, name: &str, value: Value) {
        self.fields.insert(name.to_owned(), value);
    }

    /// Writes the file, where one was asked for.
    pub(crate) fn finish(mut self) -> Result<()> {
        self.put("load_average_after", json!(load_average()));
        let Some(path) = &self.path else { return Ok(()) };
        let text = serde_json::to_string_pretty(&self.fields).context("the report")?;
        std::fs::write(path, text + "\n").with_context(|| path.display().to_string())
    }
}
