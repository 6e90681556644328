//! The transaction of a commit: everything that it carries, into the tables of the days it belongs to.
//!
//! Details are compressed and folds computed on other threads while the rows are inserted.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use tokio::task::spawn_blocking;

use super::commit::Writer;
use super::connection::Connection;
use super::day::Day;
use super::error::Error;
use super::names::{Names, Pending};
use super::packing::{self, Plan, Spot};
use super::partition::{self, Family, Kept, Partition, Partitions};
use super::rollups::{self, Place};
use super::rows::{Commit, Committed, LogRow, SpanRow, TemplateRow};
use super::{catalog, dictionaries, series, table, traces};
use crate::model::rollup::Cell;
use crate::model::trace_key::TraceKey;

/// What to take over once the transaction has ended well.
#[derive(Debug)]
pub(super) struct Written {
    pub(super) pending: Pending,
    /// Partitions that did not exist before.
    pub(super) made: Vec<Partition>,
    /// The first free ids of the tables that were written.
    pub(super) next: HashMap<(Kept, Day), i64>,
    pub(super) cells: Vec<(Place, Cell)>,
    pub(super) series: series::Staged,
    pub(super) committed: Committed,
}

/// Writes everything of `commit` through the writer's connection, whose transaction has begun. Changes nothing that
/// the writer remembers but its statements.
pub(super) async fn write(
    writer: &mut Writer,
    commit: &Arc<Commit>,
    names: &Names,
    journal: &str,
) -> Result<Written, Error> {
    let plan = Arc::new(Plan::of(commit));
    let encoding = {
        let (commit, plan) = (Arc::clone(commit), Arc::clone(&plan));
        spawn_blocking(move || plan.encode(&commit))
    };
    let folding = {
        let commit = Arc::clone(commit);
        spawn_blocking(move || (traces::fold(&commit.spans), rollups::fold(&commit.observations)))
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
    let mut block_ids = Vec::new();
    for (signal, day) in plan.places() {
        block_ids.push(days.take(signal.blocks(), day, 1).await?);
    }
    for day in spans {
        days.insert_spans(commit, &plan, (day, &block_ids)).await?;
    }
    let mut log_ids = vec![0; commit.logs.len()];
    for day in logs {
        days.insert_logs(commit, &plan, (day, &block_ids), &mut log_ids).await?;
    }
    insert_templates(days.connection, &commit.templates).await?;
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
    let (summaries, delta) = folding.await.map_err(Error::Lost)?;
    traces::write(connection, &summaries).await?;
    days.make(rollups::partitions_of(&delta).collect()).await?;
    let partitions = days.known();
    let cells = days.rollups.write(days.connection, &partitions, delta).await?;
    let blocks = encoding.await.map_err(Error::Lost)??;
    let block_bytes = blocks.iter().map(|block| block.data.len() as u64).sum();
    packing::write(days.connection, blocks, &block_ids).await?;
    catalog::set_applied(days.connection, journal, commit.lsn).await?;
    let committed =
        Committed { log_ids, detail_bytes: plan.bytes, block_bytes, overflowed_points: series.overflowed };
    Ok(Written { pending, made: days.made, next: days.next, cells, series, committed })
}

/// The writer, with what this commit adds to what it remembers.
struct Days<'w> {
    connection: &'w mut Connection,
    shapes: &'w [(String, String)],
    partitions: &'w Partitions,
    before: &'w HashMap<(Kept, Day), i64>,
    rollups: &'w rollups::Rollups,
    series: &'w series::SeriesTable,
    made: Vec<Partition>,
    next: HashMap<(Kept, Day), i64>,
}

impl<'w> Days<'w> {
    fn of(writer: &'w mut Writer) -> Self {
        Self {
            connection: &mut writer.connection,
            shapes: &writer.shapes,
            partitions: &writer.partitions,
            before: &writer.next,
            rollups: &writer.rollups,
            series: &writer.series,
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
            catalog::make(self.connection, self.shapes, &known, partition).await?;
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

    async fn insert_spans(
        &mut self,
        commit: &Commit,
        plan: &Plan,
        (day, blocks): (Day, &[i64]),
    ) -> Result<(), Error> {
        let spans: Vec<(&SpanRow, Spot)> = commit
            .spans
            .iter()
            .zip(plan.spans.iter().zip(&plan.span_days))
            .filter(|(_, (_, of))| **of == day)
            .map(|(span, (spot, _))| (span, *spot))
            .collect();
        let first = self.take(partition::SPANS, day, spans.len()).await?;
        let numbered: Vec<(i64, (&SpanRow, Spot))> = (first..).zip(spans).collect();
        let target = table::SPANS.on(partition::SPANS, day);
        self.connection
            .insert(&target, &numbered, |values, (id, (span, spot))| {
                values.int(*id);
                values.int(span.tenant.0);
                values.int(span.trace_key.0);
                values.blob(span.trace_id.as_bytes());
                values.blob(span.span_id.as_bytes());
                values.optional_blob(span.parent_id.as_ref().map(|id| &id.as_bytes()[..]));
                values.int(span.service.0);
                values.int(span.operation.0);
                values.int(span.resource.0);
                values.int(span.instrumentation.0);
                values.int(span.kind.0);
                values.int(span.status.number());
                values.int(span.entry);
                values.int(span.http_status);
                values.optional_int(span.dependency.map(|id| id.0.into()));
                values.int(span.start.0);
                values.unsigned(span.duration_ns);
                spot.columns(blocks).into_iter().for_each(|column| values.int(column));
            })
            .await
    }

    async fn insert_logs(
        &mut self,
        commit: &Commit,
        plan: &Plan,
        (day, blocks): (Day, &[i64]),
        log_ids: &mut [i64],
    ) -> Result<(), Error> {
        let logs: Vec<(usize, (&LogRow, Spot))> = commit
            .logs
            .iter()
            .zip(plan.logs.iter().zip(&plan.log_days))
            .enumerate()
            .filter(|(_, (_, (_, of)))| **of == day)
            .map(|(index, (log, (spot, _)))| (index, (log, *spot)))
            .collect();
        let first = self.take(partition::LOGS, day, logs.len()).await?;
        for (id, (index, _)) in (first..).zip(&logs) {
            log_ids[*index] = day.row(id);
        }
        let numbered: Vec<(i64, (&LogRow, Spot))> =
            (first..).zip(logs.into_iter().map(|(_, log)| log)).collect();
        let target = table::LOGS.on(partition::LOGS, day);
        self.connection
            .insert(&target, &numbered, |values, (id, (log, spot))| {
                values.int(*id);
                values.int(log.tenant.0);
                values.int(log.time.0);
                values.int(log.severity.0);
                values.int(log.service.0);
                values.int(log.resource.0);
                values.int(log.instrumentation.0);
                values.int(log.template.0);
                values.optional_blob(log.trace_id.as_ref().map(|id| &id.as_bytes()[..]));
                values.optional_blob(log.span_id.as_ref().map(|id| &id.as_bytes()[..]));
                values.optional_int(log.trace_id.map(|trace| TraceKey::new(log.time, log.tenant, trace).0));
                spot.columns(blocks).into_iter().for_each(|column| values.int(column));
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

/// A template that changed twice within a commit is written once: as it is now, first seen when it was first.
async fn insert_templates(connection: &mut Connection, templates: &[TemplateRow]) -> Result<(), Error> {
    let mut last: HashMap<_, TemplateRow> = HashMap::new();
    for template in templates {
        let first_seen = last
            .get(&template.id)
            .map_or(template.first_seen, |before| before.first_seen.min(template.first_seen));
        last.insert(template.id, TemplateRow { first_seen, ..template.clone() });
    }
    let mut last: Vec<TemplateRow> = last.into_values().collect();
    last.sort_unstable_by_key(|template| template.id);
    connection
        .insert(&table::TEMPLATES.whole(), &last, |values, template| {
            values.int(template.id.0);
            values.int(template.tenant.0);
            values.int(template.service.0);
            values.text(&template.text);
            values.text(&template.sample);
            values.int(template.first_seen.0);
        })
        .await
}
