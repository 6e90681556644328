//! Giving up the oldest day while commits go on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use otelcontext::store::Store;
use otelcontext::store::partition::Family;
use otelcontext::store::retire::Reclaimed;
use serde_json::json;
use tokio::runtime::Runtime;
use tokio::time::MissedTickBehavior;

use crate::fill::Amount;
use crate::measure::{Report, Times, print_head, round};
use crate::place::Place;
use crate::traffic::{Schedule, Traffic};
use crate::world::World;

/// What the product waits between two steps.
const STEP_PAUSE: Duration = Duration::from_millis(20);
/// Commits are watched alone for so long before.
const BEFORE: Duration = Duration::from_secs(5);
/// Steps are told that so much time has passed, so that a server gives the tables up at once.
const GRACE: Duration = Duration::from_secs(120);

/// Gives up the oldest day and takes its space back.
pub(crate) fn run(place: &Place, runtime: &Runtime, amount: &Amount, report: &mut Report) -> Result<()> {
    let store = runtime.block_on(Store::open(place.options()?))?;
    let begin = crate::first_instant(runtime, &store)?;
    let rate = if amount.rate > 0.0 { amount.rate } else { 50_000.0 };
    // An hour of telemetry lasts an hour: the clock of the telemetry is that of the wall.
    let schedule = Schedule { from: begin, hour_spans: (rate * 3_600.0) as u64, rate };
    let traffic = Traffic::new(World::new(store.names(), begin)?, schedule, begin.0 as u64);
    let (retiring, stop) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let pace = Duration::from_secs_f64(amount.batch as f64 / rate);
    let committing =
        commit(store.clone(), traffic, (amount.batch, pace), [Arc::clone(&retiring), Arc::clone(&stop)]);
    let committing = runtime.spawn(committing);
    let given = runtime.block_on(async {
        tokio::time::sleep(BEFORE).await;
        retiring.store(true, Ordering::Relaxed);
        give_up(&store, report).await
    });
    stop.store(true, Ordering::Relaxed);
    let (before, meanwhile, spans) = runtime.block_on(committing)??;
    given?;
    before.print("a commit before", "");
    meanwhile.print("a commit meanwhile", &format!("{spans} spans"));
    report.put("commits_before", before.report());
    report.put("commits_meanwhile", meanwhile.report());
    report.put("spans_meanwhile", json!(spans));
    runtime.block_on(store.stop());
    Ok(())
}

async fn give_up(store: &Store, report: &mut Report) -> Result<()> {
    let partitions = store.partitions().await?;
    let spans = partitions.iter().filter(|partition| partition.family == Family::Spans);
    let oldest =
        spans.map(|partition| partition.day).min().context("the store has no spans: fill it first")?;
    let given: Vec<_> = partitions
        .iter()
        .copied()
        .filter(|partition| partition.family != Family::Hour && partition.day == oldest)
        .collect();
    let now = oldest.plus(400).start();
    let used = store.used_bytes().await?;
    let begun = Instant::now();
    store.retire(&given, now).await?;
    let retiring = begun.elapsed();
    let behind = store.rows_behind().await?;
    let mut steps = Times::default();
    loop {
        let step = Instant::now();
        let outcome = store.reclaim(now.plus(GRACE)).await?;
        steps.add(step.elapsed());
        if outcome == Reclaimed::Done {
            break;
        }
        tokio::time::sleep(STEP_PAUSE).await;
    }
    let all = begun.elapsed();
    let left = store.used_bytes().await?;
    println!("day {oldest}: {} partitions, about {behind} rows behind", given.len());
    println!(
        "given up in {:.1} ms, space back after {:.1} s; in use {:.0} MB before, {:.0} MB after",
        retiring.as_secs_f64() * 1e3,
        all.as_secs_f64(),
        used as f64 / 1e6,
        left as f64 / 1e6
    );
    print_head();
    steps.print("a step, the wait for the writer included", "");
    report.put("rows", json!(behind));
    report.put("retire_ms", json!(round(retiring.as_secs_f64() * 1e3)));
    report.put("seconds", json!(round(all.as_secs_f64())));
    report.put("used_bytes", json!([used, left]));
    report.put("steps", steps.report());
    Ok(())
}

/// Commits at a steady pace until it is told to stop; answers the times before and after the first flag, and how many
/// spans came after it.
async fn commit(
    store: Store,
    mut traffic: Traffic,
    (batch, pace): (usize, Duration),
    [retiring, stop]: [Arc<AtomicBool>; 2],
) -> Result<(Times, Times, usize)> {
    let (mut before, mut meanwhile, mut spans) = (Times::default(), Times::default(), 0);
    let mut ticks = tokio::time::interval(pace);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while !stop.load(Ordering::Relaxed) {
        let commit = traffic.commit(store.applied() + 1, batch)?;
        ticks.tick().await;
        let during = retiring.load(Ordering::Relaxed);
        let count = commit.spans.len();
        let begun = Instant::now();
        store.commit(commit).await?;
        let times = if during { &mut meanwhile } else { &mut before };
        times.add(begun.elapsed());
        spans += if during { count } else { 0 };
    }
    Ok((before, meanwhile, spans))
}
