//! The transaction of a commit: everything that it carries, into the tables of the days it belongs to.
//!
//! Rows are shared out before, while another commit is written; details are compressed and roll-ups computed on other threads
//! while the rows are inserted.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use tokio::sync::RwLock;
use tokio::task::spawn_blocking;

use super::catalog::{self, Making};
use super::commit::Writer;
use super::connection::Connection;
use super::day::Day;
use super::error::Error;
use super::names::{Names, Pending};
use super::packing::{self, Plan, Signal};
use super::partition::{self, Family, Kept, Partition, Partitions};
use super::rollups::{self, Prepared, Rollups};
use super::rows::{Commit, Committed};
use super::templates::{self, LastDays};
use super::{dictionaries, series, table, traces};
use crate::model::id::TemplateId;
use crate::model::trace_key::LogKey;

/// What to take over once the transaction has ended well.
#[derive(Debug)]
pub(super) struct Written {
    pub(super) pending: Pending,
    /// Partitions that did not exist before.
    pub(super) made: Vec<Partition>,
    /// The first free ids of the tables that were written.
    pub(super) next: HashMap<(Kept, Day), i64>,
    pub(super) rollups: rollups::Staged,
    pub(super) series: series::Staged,
    pub(super) templates: templates::Staged,
    pub(super) committed: Committed,
}

/// What a commit is cut into, whatever the tables hold: it can be known before the commit's turn.
#[derive(Debug)]
pub(super) struct Shape {
    traces: traces::Folded,
    plan: Plan,
    /// The templates that it counts, each with the day on which it counts as seen last.
    counted: Vec<(TemplateId, Day)>,
}

impl Shape {
    /// Takes some tenths of a microsecond a row, so it belongs on a thread of its own.
    pub(super) fn of(commit: &Commit) -> Self {
        let traces = traces::fold(&commit.spans);
        let plan = Plan::of(commit, &traces.together());
        Self { traces, plan, counted: templates::counted(&commit.cells) }
    }
}

/// Writes everything of `commit`, whose shape is known, through the writer's connection, whose transaction has begun. Changes
/// nothing that the writer remembers but its statements.
pub(super) async fn write(
    writer: &mut Writer,
    (commit, shape): (&Arc<Commit>, Shape),
    names: &Names,
    journal: &str,
) -> Result<Written, Error> {
    let rolling = tokio::spawn(roll_up(Arc::clone(commit), Arc::clone(&writer.rollups)));
    let Shape { traces, mut plan, counted } = shape;
    plan.promote(|partition| writer.promoted(partition));
    let plan = Arc::new(plan);
    let encoding = {
        let (commit, plan) = (Arc::clone(commit), Arc::clone(&plan));
        spawn_blocking(move || plan.encode(&commit))
    };
    let mut days = Days::of(writer);
    let pending = names.pending();
    dictionaries::write(days.connection, &pending).await?;
    let (spans, logs) = (distinct(&plan.span_days), distinct(&plan.log_days));
    let points =
        distinct(commit.points.iter().map(|row| Day::of(row.point.time)).collect::<Vec<_>>().as_slice());
    for (family, days_of) in [(Family::Spans, &spans), (Family::Logs, &logs), (Family::Points, &points)] {
        days.make(days_of.iter().map(|day| family.partition(*day)).collect()).await?;
    }
    for day in traces.days() {
        days.first_free(partition::TRACES, day).await?;
    }
    let trace_rows = traces.write(days.connection, &mut days.next).await?;
    let mut block_ids = vec![0; plan.blocks().len()];
    for day in spans {
        let row_of = |span: u32| trace_rows.get(traces.of_span[span as usize]);
        days.insert_spans(commit, (&plan, &mut block_ids), day, row_of).await?;
    }
    let mut log_ids = vec![0; commit.logs.len()];
    for day in logs {
        days.insert_logs(commit, (&plan, &mut block_ids), day, &mut log_ids).await?;
    }
    let last_days = (days.last_days, &counted[..]);
    let templates = templates::write(days.connection, commit, last_days).await?;
    for day in points {
        days.first_free(partition::POINTS, day).await?;
    }
    let (connection, next) = (&mut *days.connection, &mut days.next);
    let seq = |day| next.get(&(partition::POINTS, day)).copied().unwrap_or(1);
    let series = days.series.write(connection, &commit.points, seq).await?;
    for (day, seq) in &series.seqs {
        next.insert((partition::POINTS, *day), *seq);
        catalog::set_seq(connection, *day, *seq).await?;
    }
    let mut prepared = rolling.await.map_err(Error::Lost)??;
    days.make(std::mem::take(&mut prepared.partitions)).await?;
    let partitions = days.known();
    let rollups = prepared.write(days.connection, &partitions).await?;
    let blocks = encoding.await.map_err(Error::Lost)??;
    let block_bytes = blocks.iter().map(packing::Block::bytes).sum();
    packing::write(days.connection, blocks, &block_ids).await?;
    catalog::set_applied(days.connection, journal, commit.lsn).await?;
    let committed =
        Committed { log_ids, detail_bytes: plan.bytes, block_bytes, overflowed_points: series.overflowed };
    Ok(Written { pending, made: days.made, next: days.next, rollups, series, templates, committed })
}

/// What the cells of a commit make of the roll-ups.
async fn roll_up(commit: Arc<Commit>, rollups: Arc<RwLock<Rollups>>) -> Result<Prepared, Error> {
    let rollups = rollups.read_owned().await;
    spawn_blocking(move || rollups.prepare(rollups::delta(&commit.cells))).await.map_err(Error::Lost)
}

/// The writer, with what this commit adds to what it remembers.
struct Days<'w> {
    connection: &'w mut Connection,
    making: &'w Making,
    partitions: &'w Partitions,
    before: &'w HashMap<(Kept, Day), i64>,
    series: &'w series::SeriesTable,
    last_days: &'w LastDays,
    made: Vec<Partition>,
    next: HashMap<(Kept, Day), i64>,
}

impl<'w> Days<'w> {
    fn of(writer: &'w mut Writer) -> Self {
        Self {
            connection: &mut writer.connection,
            making: &writer.making,
            partitions: &writer.partitions,
            before: &writer.next,
            series: &writer.series,
            last_days: &writer.last_days,
            made: Vec::new(),
            next: HashMap::new(),
        }
    }

    fn known(&self) -> Partitions {
        let mut known = self.partitions.clone();
        known.0.extend(self.made.iter().copied());
        known
    }

    /// Makes those of `wanted` that do not exist.
    async fn make(&mut self, wanted: BTreeSet<Partition>) -> Result<(), Error> {
        let missing: Vec<Partition> = wanted
            .into_iter()
            .filter(|partition| !self.partitions.has(*partition) && !self.made.contains(partition))
            .collect();
        for partition in missing {
            self.made.push(partition);
            let known = self.known();
            catalog::make(self.connection, self.making, &known, partition).await?;
        }
        Ok(())
    }

    /// The first free id of a table.
    async fn first_free(&mut self, table: Kept, day: Day) -> Result<i64, Error> {
        if let Some(next) = self.next.get(&(table, day)) {
            return Ok(*next);
        }
        let next = match self.before.get(&(table, day)) {
            Some(next) => *next,
            None => catalog::first_free(self.connection, table, day).await?,
        };
        self.next.insert((table, day), next);
        Ok(next)
    }

    /// Takes `count` ids of a table and answers the first.
    async fn take(&mut self, table: Kept, day: Day, count: usize) -> Result<i64, Error> {
        let first = self.first_free(table, day).await?;
        self.next.insert((table, day), first + count as i64);
        Ok(first)
    }

    /// Numbers the rows of the blocks of one signal and day, one after the other, and answers them with their index in
    /// the commit. A block has the id of its first row.
    async fn number(
        &mut self,
        (plan, block_ids): (&Plan, &mut [i64]),
        (signal, day): (Signal, Day),
    ) -> Result<Vec<(i64, u32)>, Error> {
        let blocks =
            || plan.blocks().iter().zip(0..).filter(|(block, _)| block.signal == signal && block.day == day);
        let count = blocks().map(|(block, _)| block.rows.len()).sum();
        let mut next = self.take(signal.rows(), day, count).await?;
        let mut numbered = Vec::with_capacity(count);
        for (block, index) in blocks() {
            block_ids[index] = next;
            numbered.extend((next..).zip(block.rows.iter().copied()));
            next += block.rows.len() as i64;
        }
        Ok(numbered)
    }

    async fn insert_spans(
        &mut self,
        commit: &Commit,
        blocks: (&Plan, &mut [i64]),
        day: Day,
        trace_row: impl Fn(u32) -> i64 + Send + Sync,
    ) -> Result<(), Error> {
        let numbered = self.number(blocks, (Signal::Spans, day)).await?;
        let runs = numbered.chunk_by(|(_, a), (_, b)| trace_row(*a) == trace_row(*b));
        let numbered: Vec<(i64, u32, Option<i64>)> = runs
            .flat_map(|run| {
                let counts = std::iter::once(Some(run.len() as i64)).chain(std::iter::repeat(None));
                run.iter().zip(counts).map(|((id, index), count)| (*id, *index, count))
            })
            .collect();
        let target = table::SPANS.on(partition::SPANS, day);
        self.connection
            .insert(&target, &numbered, |values, (id, index, run)| {
                let span = &commit.spans[*index as usize];
                values.day(day);
                values.int(*id);
                values.int(span.tenant.0);
                values.int(trace_row(*index));
                values.optional_int(*run);
                values.blob(span.span_id.as_bytes());
                values.optional_blob(span.parent_id.as_ref().map(|id| &id.as_bytes()[..]));
                values.int(span.service.0);
                values.int(span.operation.0);
                values.int(span.resource.0);
                values.int(span.instrumentation.0);
                values.int(span.status.number());
                values.int(span.entry);
                values.int(span.http_status);
                values.optional_int(span.dependency.map(|id| id.0.into()));
                values.int(day.since(span.start));
                values.unsigned(span.duration_ns);
            })
            .await
    }

    async fn insert_logs(
        &mut self,
        commit: &Commit,
        blocks: (&Plan, &mut [i64]),
        day: Day,
        log_ids: &mut [i64],
    ) -> Result<(), Error> {
        let numbered = self.number(blocks, (Signal::Logs, day)).await?;
        for (id, index) in &numbered {
            log_ids[*index as usize] = day.row(*id);
        }
        let target = table::LOGS.on(partition::LOGS, day);
        self.connection
            .insert(&target, &numbered, |values, (id, index)| {
                let log = &commit.logs[*index as usize];
                values.day(day);
                values.int(*id);
                values.int(log.tenant.0);
                values.int(day.since(log.time));
                values.int(log.severity.0);
                values.int(log.service.0);
                values.int(log.resource.0);
                values.int(log.instrumentation.0);
                values.int(log.template.0);
                values.optional_blob(log.trace_id.as_ref().map(|id| &id.as_bytes()[..]));
                values.optional_blob(log.span_id.as_ref().map(|id| &id.as_bytes()[..]));
                values.optional_int(log.trace_id.map(|trace| LogKey::new(log.time, log.tenant, trace).0));
            })
            .await
    }
}

fn distinct(days: &[Day]) -> BTreeSet<Day> {
    // Nearly all rows of a commit are of one day.
    let mut distinct = BTreeSet::new();
    for run in days.chunk_by(|a, b| a == b) {
        distinct.extend(run.first().copied());
    }
    distinct
}
