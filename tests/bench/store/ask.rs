//! Questions to a filled store.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use otelcontext::model::id::{ServiceId, TenantNumber, TraceId};
use otelcontext::model::packed::value::Value as Packed;
use otelcontext::model::rollup::COARSE_SECONDS;
use otelcontext::model::time::{NANOS_PER_SECOND, UnixNanos, Window};
use otelcontext::store::Store;
use otelcontext::store::read::rollups::RollupKind;
use otelcontext::store::read::spans::SpanAsk;
use otelcontext::store::rows::SpanRow;
use serde_json::{Map, Value, json};
use tokio::runtime::Runtime;

use crate::measure::{Report, Times, print_head, timed};
use crate::place::Place;
use crate::random::Random;

const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);
const TRACES: usize = 200;
const ROUNDS: usize = 50;
/// Questions that look at much.
const LARGE_ROUNDS: usize = 10;
const KINDS: [RollupKind; 3] = [RollupKind::Operation, RollupKind::Instance, RollupKind::Edge];

enum Question {
    Trace(TraceId),
    Spans(SpanAsk),
    Sums(Window),
}

/// Asks every kind of question; with a cold cache where `cold` says so, anew before each kind.
pub(crate) fn run(place: &Place, runtime: &Runtime, cold: bool, report: &mut Report) -> Result<()> {
    let mut store = runtime.block_on(Store::open(place.options()?))?;
    let tenant = crate::tenant(&store)?;
    let kinds = runtime.block_on(Asker::new(&store, tenant))?;
    let kinds = runtime.block_on(kinds.questions(&store))?;
    println!("{}", if cold { "each kind begins with a cold cache" } else { "with a warm cache" });
    print_head();
    let mut figures = Map::new();
    for (name, questions) in kinds {
        if cold {
            runtime.block_on(store.stop());
            forget_cache()?;
            store = runtime.block_on(Store::open(place.options()?))?;
        }
        let (mut times, mut items, mut failures) = (Times::default(), 0, Vec::new());
        for question in &questions {
            let (time, answer) = timed(|| runtime.block_on(question.ask(&store, tenant)));
            times.add(time);
            match answer {
                Ok(count) => items += count,
                Err(error) => failures.push(error.to_string()),
            }
        }
        let mean = items / questions.len().max(1);
        let failed =
            failures.first().map_or(String::new(), |first| format!(", {} failed: {first}", failures.len()));
        times.print(name, &format!("{mean} each{failed}"));
        let mut figure = times.report();
        figure["items_each"] = json!(mean);
        figure["failures"] = json!(failures.len());
        figures.insert(name.to_owned(), figure);
    }
    report.put("cold", json!(cold));
    report.put("questions", Value::Object(figures));
    runtime.block_on(store.stop());
    Ok(())
}

/// Makes the system forget what it read from the disk. Needs root.
fn forget_cache() -> Result<()> {
    let synced = std::process::Command::new("sync").status().context("sync")?;
    if !synced.success() {
        bail!("sync failed");
    }
    std::fs::write("/proc/sys/vm/drop_caches", "3").context("a cold cache needs root")
}

impl Question {
    /// How many items the answer has.
    async fn ask(&self, store: &Store, tenant: TenantNumber) -> Result<usize> {
        Ok(match self {
            Self::Trace(trace) => {
                let found = store.trace(tenant, *trace, 10_000).await?;
                found.context("a trace that was written is missing")?.spans.len()
            }
            Self::Spans(ask) => store.spans(tenant, ask).await?.len(),
            Self::Sums(window) => store.merged_rollups(tenant, COARSE_SECONDS, *window, &KINDS).await?.len(),
        })
    }
}

/// Makes questions about what is there.
struct Asker {
    tenant: TenantNumber,
    services: Vec<ServiceId>,
    all: Window,
    random: Random,
}

impl Asker {
    async fn new(store: &Store, tenant: TenantNumber) -> Result<Self> {
        let all = store.rollup_range(tenant).await?.context("the store has no spans: fill it first")?;
        let services = store.names().services_of(tenant).into_iter().map(|service| service.id).collect();
        Ok(Self { tenant, services, all, random: Random::new(11) })
    }

    async fn questions(mut self, store: &Store) -> Result<Vec<(&'static str, Vec<Question>)>> {
        let mut traces = Vec::new();
        let mut tries = 0;
        while traces.len() < TRACES && tries < 20 * TRACES {
            tries += 1;
            let row = self.some_span(store, false).await?;
            traces.extend(row.map(|row| Question::Trace(row.trace_id)));
        }
        let mut kinds = vec![("a trace by its id", traces)];
        let newest = self.many(ROUNDS, |asker| {
            let services = vec![asker.service()];
            SpanAsk { services, ..asker.spans_of_some_hour() }
        });
        kinds.push(("newest 50 of a service in an hour", newest));
        let failed = self.many(ROUNDS, |asker| SpanAsk { failed: true, ..asker.spans_of_some_hour() });
        kinds.push(("newest 50 that failed in an hour", failed));
        let failed = self.many(ROUNDS, |asker| SpanAsk { failed: true, ..asker.spans(asker.all) });
        kinds.push(("newest 50 that failed", failed));
        let slow = self.many(ROUNDS, |asker| {
            let duration_min_ns = Some(500_000_000);
            SpanAsk { duration_min_ns, ..asker.spans_of_some_hour() }
        });
        kinds.push(("newest 50 of 500 ms in an hour", slow));
        let few = self.by_attribute(store, "customer.id", ROUNDS, false).await?;
        kinds.push(("attribute of few, a service's hour", few));
        let rare = self.by_attribute(store, "session.id", LARGE_ROUNDS, true).await?;
        kinds.push(("attribute of one, a day", rare));
        for (name, length, rounds) in
            [("sums of an hour", HOUR, 2 * LARGE_ROUNDS), ("sums of 24 hours", DAY, LARGE_ROUNDS)]
        {
            let sums = (0..rounds).map(|_| {
                let from = self.hour().from;
                Question::Sums(Window::new(from, from.plus(length)))
            });
            kinds.push((name, sums.collect()));
        }
        kinds.push(("sums of all time", (0..LARGE_ROUNDS).map(|_| Question::Sums(self.all)).collect()));
        Ok(kinds)
    }

    fn many(&mut self, rounds: usize, make: impl Fn(&mut Self) -> SpanAsk) -> Vec<Question> {
        (0..rounds).map(|_| Question::Spans(make(self))).collect()
    }

    /// Spans that have an attribute whose value is taken from a span of the time and service.
    async fn by_attribute(
        &mut self,
        store: &Store,
        key: &str,
        rounds: usize,
        over_day: bool,
    ) -> Result<Vec<Question>> {
        let mut questions = Vec::new();
        let mut tries = 0;
        while questions.len() < rounds && tries < 20 * rounds {
            tries += 1;
            let Some(row) = self.some_span(store, true).await? else { continue };
            let Some(Packed::Text(value)) = row.detail.attribute(key) else { continue };
            let width = if over_day { DAY } else { HOUR };
            let from = row.start.bucket_seconds(width.as_secs() as i64);
            let from = UnixNanos::from_seconds(from);
            questions.push(Question::Spans(SpanAsk {
                services: if over_day { Vec::new() } else { vec![row.service] },
                attributes: vec![(key.to_owned(), value.to_owned())],
                ..self.spans(Window::new(from, from.plus(width)))
            }));
        }
        Ok(questions)
    }

    /// A span out of those of a random hour and service.
    async fn some_span(&mut self, store: &Store, with_detail: bool) -> Result<Option<SpanRow>> {
        let (services, window) = (vec![self.service()], self.hour());
        let ask = SpanAsk { services, with_detail, limit: 100, ..self.spans(window) };
        let mut rows = store.spans(self.tenant, &ask).await?;
        let at = self.random.below(rows.len().max(1) as u64) as usize;
        Ok((at < rows.len()).then(|| rows.swap_remove(at)))
    }

    fn service(&mut self) -> ServiceId {
        self.services[self.random.below(self.services.len() as u64) as usize]
    }

    /// A whole hour of those that have spans.
    fn hour(&mut self) -> Window {
        let first = self.all.from.bucket_seconds(3_600);
        let hours = ((self.all.to.0 - 1) / NANOS_PER_SECOND - first).max(0) / 3_600 + 1;
        let from = UnixNanos::from_seconds(first + self.random.below(hours as u64) as i64 * 3_600);
        Window::new(from, from.plus(HOUR))
    }

    fn spans_of_some_hour(&mut self) -> SpanAsk {
        let window = self.hour();
        self.spans(window)
    }

    fn spans(&self, window: Window) -> SpanAsk {
        SpanAsk { with_detail: true, ..SpanAsk::newest(window, 50) }
    }
}
