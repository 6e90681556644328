//! Commits of spans, one after the other.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use otelcontext::store::Store;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::measure::{Report, Times, load_average, process_cpu, round, thread_cpu, timed};
use crate::place::Place;
use crate::traffic::{Schedule, Traffic};
use crate::world::World;

/// Spans between two lines of the table.
const LINE_SPANS: u64 = 1_000_000;
/// Commits between two calls that make them durable: about ten seconds at 50,000 spans a second.
const SYNC_COMMITS: u64 = 25;

/// How much, and how fast the clock of the telemetry runs.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Amount {
    /// Spans to write.
    #[arg(long, default_value_t = 1_000_000)]
    spans: u64,
    /// Spans of one commit.
    #[arg(long, default_value_t = 20_000)]
    pub(crate) batch: usize,
    /// Days over which they are spread.
    #[arg(long, default_value_t = 1)]
    days: u32,
    /// Spans a second of telemetry, in one run at the beginning of each hour; 0 spreads them evenly over all the time.
    #[arg(long, default_value_t = 50_000.0)]
    pub(crate) rate: f64,
}

/// What was spent since the last line.
#[derive(Default)]
struct Spent {
    spans: u64,
    commits: Times,
    hours: Duration,
    syncs: Duration,
    made: Duration,
    cpu: Duration,
    detail_bytes: u64,
    block_bytes: u64,
    cells: u64,
}

/// Fills the store and prints a line for every million spans.
pub(crate) fn run(place: &Place, runtime: &Runtime, amount: &Amount, report: &mut Report) -> Result<()> {
    let store = runtime.block_on(Store::open(place.options()?))?;
    let begin = crate::first_instant(runtime, &store)?;
    let schedule = Schedule::new(begin, amount.spans, amount.days, amount.rate);
    let mut traffic = Traffic::new(World::new(store.names(), begin)?, schedule, begin.0 as u64);
    print_head();
    let (mut lines, mut all, mut part) = (Vec::new(), Spent::default(), Spent::default());
    let mut hour = 0;
    let mut commits = 0;
    while all.spans + part.spans < amount.spans {
        let (cpu, made) = (process_cpu()?, thread_cpu()?);
        let commit = Arc::new(traffic.commit(store.applied() + 1, amount.batch)?);
        part.made += thread_cpu()?.saturating_sub(made);
        part.spans += commit.spans.len() as u64;
        part.cells += commit.cells.len() as u64;
        let (time, committed) = timed(|| runtime.block_on(store.commit(commit)));
        let committed = committed?;
        part.commits.add(time);
        part.detail_bytes += committed.detail_bytes;
        part.block_bytes += committed.block_bytes;
        commits += 1;
        if commits % SYNC_COMMITS == 0 {
            let (time, synced) = timed(|| runtime.block_on(store.sync()));
            synced?;
            part.syncs += time;
        }
        if hour < traffic.now().bucket_seconds(3_600) {
            hour = traffic.now().bucket_seconds(3_600);
            let (time, rolled) = timed(|| runtime.block_on(store.roll_up_hours(traffic.now())));
            rolled?;
            part.hours += time;
        }
        part.cpu += process_cpu()?.saturating_sub(cpu);
        if part.spans >= LINE_SPANS || all.spans + part.spans >= amount.spans {
            let line = std::mem::take(&mut part);
            all.add(&line);
            let sizes = sizes(place, runtime, &store)?;
            lines.push(line.print(all.spans, sizes));
        }
    }
    let later = traffic.now().plus(Duration::from_secs(7_200));
    let (time, rolled) = timed(|| runtime.block_on(store.roll_up_hours(later)));
    println!("hours added up at the end: {} in {:.1} ms", rolled?, time.as_secs_f64() * 1e3);
    let sizes = sizes(place, runtime, &store)?;
    report.put("total", all.print(all.spans, sizes));
    println!(
        "{:.1} bytes of detail a span; {:.1} cells a span",
        all.detail_bytes as f64 / all.spans as f64,
        all.cells as f64 / all.spans as f64
    );
    report.put("lines", Value::Array(lines));
    report.put("commits", all.commits.report());
    let begun = Instant::now();
    runtime.block_on(store.stop());
    report.put("stop_seconds", json!(round(begun.elapsed().as_secs_f64())));
    Ok(())
}

/// The head of the table that [`Spent::print`] goes on with.
fn print_head() {
    println!(
        "{:>11} {:>9} {:>8} {:>8} {:>8} {:>8} {:>9} {:>9} {:>8} {:>8} {:>8} {:>8} {:>5}",
        "spans",
        "spans/s",
        "cpu µs",
        "make µs",
        "p50 ms",
        "p99 ms",
        "hours ms",
        "sync ms",
        "file B",
        "log B",
        "used B",
        "block B",
        "load"
    );
}

/// Bytes of the database, of its log, and of what is in use.
fn sizes(place: &Place, runtime: &Runtime, store: &Store) -> Result<[u64; 3]> {
    let used = runtime.block_on(store.used_bytes())?;
    Ok(match place.path() {
        Some(path) => {
            let size = Store::size(path);
            [size.database, size.log, used]
        }
        None => [runtime.block_on(store.data_bytes())?, 0, used],
    })
}

impl Spent {
    fn add(&mut self, other: &Self) {
        self.spans += other.spans;
        self.commits.extend(&other.commits);
        self.hours += other.hours;
        self.syncs += other.syncs;
        self.made += other.made;
        self.cpu += other.cpu;
        self.detail_bytes += other.detail_bytes;
        self.block_bytes += other.block_bytes;
        self.cells += other.cells;
    }

    /// Prints a line; sizes are those of the database so far, over `total` spans.
    fn print(&self, total: u64, [file, log, used]: [u64; 3]) -> Value {
        let spans = self.spans as f64;
        let rate = spans / self.commits.sum().as_secs_f64();
        let cpu = self.cpu.saturating_sub(self.made).as_secs_f64() * 1e6 / spans;
        let made = self.made.as_secs_f64() * 1e6 / spans;
        let (median, top) = (self.commits.milliseconds(0.5), self.commits.milliseconds(0.99));
        let (hours, syncs) = (self.hours.as_secs_f64() * 1e3, self.syncs.as_secs_f64() * 1e3);
        let each = |bytes: u64| bytes as f64 / total as f64;
        let block = self.block_bytes as f64 / spans;
        let load = load_average();
        println!(
            "{total:>11} {rate:>9.0} {cpu:>8.2} {made:>8.2} {median:>8.1} {top:>8.1} {hours:>9.1} {syncs:>9.1} \
             {:>8.1} {:>8.1} {:>8.1} {block:>8.1} {load:>5.1}",
            each(file),
            each(log),
            each(used)
        );
        json!({
            "spans": total,
            "spans_per_second": round(rate),
            "cpu_us_per_span": round(cpu),
            "generator_us_per_span": round(made),
            "commit_p50_ms": median,
            "commit_p99_ms": top,
            "hours_ms": round(hours),
            "sync_ms": round(syncs),
            "file_bytes_per_span": round(each(file)),
            "log_bytes_per_span": round(each(log)),
            "used_bytes_per_span": round(each(used)),
            "block_bytes_per_span": round(block),
            "load_average": load,
        })
    }
}
