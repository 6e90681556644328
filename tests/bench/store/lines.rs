//! Commits of log records and of metric points.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use bytes::Bytes;
use otelcontext::model::id::{ServiceId, SpanId, TemplateId, TraceId};
use otelcontext::model::log::{LogDetail, Severity};
use otelcontext::model::metric::{MetricKind, Point, PointDetail, PointValue, Temporality};
use otelcontext::model::packed::Attributes;
use otelcontext::model::packed::write::Packer;
use otelcontext::model::rollup::{Observation, Seen, Subject};
use otelcontext::model::time::UnixNanos;
use otelcontext::store::Store;
use otelcontext::store::rows::{Commit, LogRow, PointRow, SeriesDefinition, TemplateRow};
use serde_json::json;
use tokio::runtime::Runtime;

use crate::measure::{Report, Times, print_head, process_cpu, round, thread_cpu, timed};
use crate::pattern::Pattern;
use crate::place::Place;
use crate::random::Random;
use crate::world::World;

const TEMPLATES: u32 = 400;
const METRICS: usize = 25;
/// Records and points a second of telemetry.
const RATE: f64 = 20_000.0;
const BUCKETS: usize = 12;

/// How much.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Amount {
    /// Log records to write.
    #[arg(long, default_value_t = 1_000_000)]
    logs: usize,
    /// Metric points to write.
    #[arg(long, default_value_t = 1_000_000)]
    points: usize,
    /// Records or points of one commit.
    #[arg(long, default_value_t = 10_000)]
    batch: usize,
}

/// Fills the store with log records, then with points.
pub(crate) fn run(place: &Place, runtime: &Runtime, amount: &Amount, report: &mut Report) -> Result<()> {
    let store = runtime.block_on(Store::open(place.options()?))?;
    let begin = crate::first_instant(runtime, &store)?;
    let world = World::new(store.names(), begin)?;
    let mut random = Random::new(begin.0 as u64);
    print_head();
    let patterns: Vec<Pattern> = (0..TEMPLATES).map(pattern).collect();
    let logs = Filling { name: "logs", rows: amount.logs, batch: amount.batch };
    logs.run(runtime, &store, report, |lsn, from, count| {
        let mut commit = Commit { lsn, ..Commit::default() };
        if from == 0 {
            commit.templates = (0..TEMPLATES).map(|number| template(&world, number, begin)).collect();
        }
        for number in from..from + count {
            let time = begin.plus(Duration::from_secs_f64(number as f64 / RATE));
            let row = log(&world, &patterns, &mut random, time)?;
            let subject = Subject::Logs(row.service, row.template, row.severity);
            let seen = Seen::Call { duration_ns: 0, caller_ns: 0, error: row.severity >= Severity::ERROR };
            commit.cells.add(world.tenant, &Observation { subject, at: time, seen });
            commit.logs.push(row);
        }
        Ok(commit)
    })?;
    let series: Vec<Arc<SeriesDefinition>> = (0..METRICS).map(definition).collect();
    let points = Filling { name: "points", rows: amount.points, batch: amount.batch };
    points.run(runtime, &store, report, |lsn, from, count| {
        let mut commit = Commit { lsn, ..Commit::default() };
        for number in from..from + count {
            let time = begin.plus(Duration::from_secs_f64(number as f64 / RATE));
            commit.points.push(point(&world, &series, &mut random, (number, time)));
        }
        Ok(commit)
    })?;
    runtime.block_on(store.stop());
    Ok(())
}

/// A number of rows in commits of one size.
struct Filling {
    name: &'static str,
    rows: usize,
    batch: usize,
}

impl Filling {
    fn run(
        &self,
        runtime: &Runtime,
        store: &Store,
        report: &mut Report,
        mut make: impl FnMut(u64, usize, usize) -> Result<Commit>,
    ) -> Result<()> {
        if self.rows == 0 {
            return Ok(());
        }
        let used = runtime.block_on(store.used_bytes())?;
        let (cpu, mut made, mut times) = (process_cpu()?, Duration::ZERO, Times::default());
        let mut from = 0;
        while from < self.rows {
            let begun = thread_cpu()?;
            let count = self.batch.max(1).min(self.rows - from);
            let commit = Arc::new(make(store.applied() + 1, from, count)?);
            made += thread_cpu()?.saturating_sub(begun);
            let (time, committed) = timed(|| runtime.block_on(store.commit(commit)));
            committed?;
            times.add(time);
            from += count;
        }
        let rows = self.rows as f64;
        let cpu = process_cpu()?.saturating_sub(cpu).saturating_sub(made).as_secs_f64() * 1e6 / rows;
        let bytes = runtime.block_on(store.used_bytes())?.saturating_sub(used) as f64 / rows;
        let rate = rows / times.sum().as_secs_f64();
        let note = format!("{rate:.0} rows/s, {cpu:.2} µs of processor and {bytes:.1} bytes a row");
        times.print(&format!("a commit of {} {}", self.batch, self.name), &note);
        report.put(
            self.name,
            json!({
                "rows": self.rows,
                "rows_per_second": round(rate),
                "cpu_us_per_row": round(cpu),
                "used_bytes_per_row": round(bytes),
                "commits": times.report(),
            }),
        );
        Ok(())
    }
}

fn pattern(number: u32) -> Pattern {
    let mut packer = Packer::default();
    packer.text(3, "INFO");
    let body = format!(
        "step {number} of the job took ##### ms for customer-##### with key ~~~~~~~~~~~~ and {number} retries on node-####"
    );
    packer.message(5, |value| value.text(1, &body));
    packer.attribute_text(6, "logger.name", &format!("com.shop.jobs.Job{number}"));
    packer.attribute_text(6, "thread.name", "worker-####");
    packer.attribute_text(6, "customer.id", "customer-#####");
    packer.attribute_int(6, "thread.id", Pattern::INTEGER);
    Pattern::new(&packer.finish())
}

fn service_of(world: &World, template: u32) -> ServiceId {
    world.services[template as usize % world.services.len()].id
}

fn template(world: &World, number: u32, at: UnixNanos) -> TemplateRow {
    TemplateRow {
        id: TemplateId(number + 1),
        tenant: world.tenant,
        service: service_of(world, number),
        text: format!(
            "step {number} of the job took <*> ms for <*> with key <*> and {number} retries on <*>"
        ),
        sample: format!("step {number} of the job took 5 ms"),
        first_seen: at,
    }
}

fn log(world: &World, patterns: &[Pattern], random: &mut Random, time: UnixNanos) -> Result<LogRow> {
    let template = random.below(patterns.len() as u64) as u32;
    let service = &world.services[template as usize % world.services.len()];
    let mut detail = Vec::new();
    patterns[template as usize].fill(random, &mut detail);
    let severity = match random.below(100) {
        0..2 => Severity::ERROR,
        2..7 => Severity::WARN,
        _ => Severity(9),
    };
    let halves = [random.next(), random.next() | 1].map(u64::to_be_bytes);
    let in_trace = random.below(10) < 7;
    Ok(LogRow {
        tenant: world.tenant,
        time,
        severity,
        service: service.id,
        resource: service.resources[random.below(service.resources.len() as u64) as usize],
        instrumentation: world.instrumentation,
        template: TemplateId(template + 1),
        trace_id: if in_trace { Some(TraceId::try_from(halves.as_flattened())?) } else { None },
        span_id: if in_trace { Some(SpanId::try_from(&halves[1][..])?) } else { None },
        detail: LogDetail::from_checked(Bytes::from(detail)),
    })
}

/// Gauges, sums and histograms in turn.
fn definition(number: usize) -> Arc<SeriesDefinition> {
    let (kind, temporality) = match number % 5 {
        0 | 1 => (MetricKind::Gauge, Temporality::None),
        2 | 3 => (MetricKind::Sum, Temporality::Cumulative),
        _ => (MetricKind::Histogram, Temporality::Cumulative),
    };
    Arc::new(SeriesDefinition {
        name: format!("shop.metric.{number}").into(),
        unit: "ms".into(),
        description: "how long it takes".into(),
        metadata: Attributes::default(),
        kind,
        temporality,
        monotonic: kind == MetricKind::Sum,
    })
}

/// All series of all instances in turn, as exporters send them.
fn point(
    world: &World,
    series: &[Arc<SeriesDefinition>],
    random: &mut Random,
    (number, time): (usize, UnixNanos),
) -> PointRow {
    let series = &series[number % series.len()];
    let service = &world.services[number / METRICS % world.services.len()];
    let instance = number / METRICS / world.services.len() % service.resources.len();
    let mut packer = Packer::default();
    packer.attribute_text(7, "pool", "default");
    let mut detail = PointDetail::default();
    let value = match series.kind {
        MetricKind::Gauge => PointValue::Double(random.below(1_000_000) as f64 / 64.0),
        MetricKind::Sum => PointValue::Int(number as i64 * 10 + random.below(10) as i64),
        _ => {
            let counts: Vec<u64> = (0..BUCKETS).map(|_| random.below(10_000)).collect();
            let mut shape = Packer::default();
            shape.fixed64s(6, counts.iter().copied());
            shape.fixed64s(7, (1..BUCKETS).map(|bound| (bound as f64 * 10.0).to_bits()));
            detail = PointDetail::from_checked(shape.finish());
            PointValue::Distribution { count: counts.iter().sum(), sum: Some(random.below(100_000) as f64) }
        }
    };
    PointRow {
        tenant: world.tenant,
        service: service.id,
        resource: service.resources[instance],
        instrumentation: world.instrumentation,
        series: Arc::clone(series),
        point: Point {
            time,
            start: UnixNanos(0),
            attributes: Attributes::from_checked(packer.finish()),
            value,
            detail,
        },
    }
}
