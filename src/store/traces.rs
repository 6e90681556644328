//! Trace summaries: folds over spans that come out the same in any order and any split.

use std::collections::HashMap;

use foldhash::quality::RandomState;

use super::connection::Connection;
use super::day::Day;
use super::error::Error;
use super::partition::Kept;
use super::rows::SpanRow;
use super::values::Values;
use super::{partition, table};
use crate::model::id::{OperationId, TenantNumber, TraceId};
use crate::model::span::Status;
use crate::model::time::UnixNanos;
use crate::model::trace_key::TraceKey;

/// Keys that one statement looks for.
const PROBES: usize = 1_024;

/// What is kept about a trace. "First" and "root" are the least of all by (start, operation), so a tie does not
/// depend on what came first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Summary {
    key: TraceKey,
    tenant: TenantNumber,
    trace_id: TraceId,
    root: Option<(UnixNanos, OperationId)>,
    first: (UnixNanos, OperationId),
    end: UnixNanos,
    spans: u32,
    errors: u32,
}

/// The summaries of some spans alone.
#[derive(Debug, Default)]
pub(super) struct Folded {
    /// In the order of key, tenant and trace.
    summaries: Vec<Summary>,
    /// By span, in their order: which of them is its trace's.
    pub(super) of_span: Vec<u32>,
}

impl Folded {
    /// All spans, each trace's together: traces in the order of their first spans, spans in the order of arrival.
    pub(super) fn together(&self) -> Vec<u32> {
        let mut counts = vec![0_u32; self.summaries.len()];
        self.of_span.iter().for_each(|trace| counts[*trace as usize] += 1);
        let (mut next, mut begun) = (vec![u32::MAX; counts.len()], 0);
        let mut together = vec![0; self.of_span.len()];
        for (span, trace) in (0..).zip(&self.of_span) {
            let trace = *trace as usize;
            if next[trace] == u32::MAX {
                next[trace] = begun;
                begun += counts[trace];
            }
            together[next[trace] as usize] = span;
            next[trace] += 1;
        }
        together
    }
}

/// Which rows the traces of a commit have in the tables of their days.
#[derive(Debug, Default)]
pub(super) struct Rows(Vec<i64>);

impl Rows {
    /// The row of a trace, given by its number in [`Folded::of_span`].
    pub(super) fn get(&self, trace: u32) -> i64 {
        self.0[trace as usize]
    }
}

/// The summaries of `spans`.
pub(super) fn fold(spans: &[SpanRow]) -> Folded {
    let mut places: HashMap<(TraceKey, TenantNumber, TraceId), u32, RandomState> = HashMap::default();
    let mut summaries: Vec<Summary> = Vec::new();
    let mut of_span = Vec::with_capacity(spans.len());
    for span in spans {
        let next = summaries.len() as u32;
        let index = *places.entry((span.trace_key, span.tenant, span.trace_id)).or_insert(next);
        match summaries.get_mut(index as usize) {
            Some(summary) => summary.add(span),
            None => summaries.push(Summary::of(span)),
        }
        of_span.push(index);
    }
    let mut order: Vec<u32> = (0..summaries.len() as u32).collect();
    order.sort_unstable_by_key(|index| summaries[*index as usize].place());
    let mut sorted = vec![0; order.len()];
    for (at, index) in order.iter().enumerate() {
        sorted[*index as usize] = at as u32;
    }
    of_span.iter_mut().for_each(|index| *index = sorted[*index as usize]);
    summaries.sort_unstable_by_key(Summary::place);
    Folded { summaries, of_span }
}

impl Folded {
    /// The days of the traces, each once.
    pub(super) fn days(&self) -> impl Iterator<Item = Day> {
        self.by_day().map(|group| group[0].day())
    }

    /// The order of the keys is that of the days.
    fn by_day(&self) -> impl Iterator<Item = &[Summary]> {
        self.summaries.chunk_by(|a, b| a.day() == b.day())
    }

    /// Adds the summaries to what the tables hold. `next` has the first free row of each day, and is moved behind those
    /// that are taken.
    pub(super) async fn write(
        &self,
        connection: &mut Connection,
        next: &mut HashMap<(Kept, Day), i64>,
    ) -> Result<Rows, Error> {
        let mut rows = Rows(Vec::with_capacity(self.summaries.len()));
        for group in self.by_day() {
            let day = group[0].day();
            let next = next.entry((partition::TRACES, day)).or_insert(1);
            let known = known(connection, day, group).await?;
            let (mut new, mut old) = (Vec::new(), Vec::new());
            for (summary, known) in group.iter().zip(known) {
                let row = known.unwrap_or(*next);
                if known.is_none() {
                    *next += 1;
                    new.push((row, summary));
                } else {
                    old.push((row, summary));
                }
                rows.0.push(row);
            }
            for (table, group) in [(&table::NEW_TRACES, new), (&table::TRACES, old)] {
                let target = table.on(partition::TRACES, day);
                connection
                    .insert(&target, &group, |values, (row, summary)| summary.bind(values, day, *row))
                    .await?;
            }
        }
        Ok(rows)
    }
}

/// The row of each of `summaries`, which are sorted, in the table of their day; none where the trace has none.
async fn known(
    connection: &mut Connection,
    day: Day,
    summaries: &[Summary],
) -> Result<Vec<Option<i64>>, Error> {
    let mut rows = vec![None; summaries.len()];
    let mut at = 0;
    for part in summaries.chunks(PROBES) {
        let mut sql = connection.sql(format!(
            "SELECT id, trace_key, tenant_id, trace_id FROM {} WHERE trace_key",
            partition::TRACES.on(day)
        ));
        sql.push(connection.dialect().is_one_of(part.iter().map(|summary| summary.key.0)));
        let found = connection.rows(sql, |row| {
            let unreadable = |_| Error::Unreadable { what: "trace id" };
            let trace = TraceId::try_from(row.get::<&[u8]>(3)?).map_err(unreadable)?;
            Ok((row.get(0)?, (TraceKey(row.get(1)?), TenantNumber(row.get(2)?), trace)))
        });
        for (row, place) in found.await? {
            if let Ok(index) = part.binary_search_by_key(&place, Summary::place) {
                rows[at + index] = Some(row);
            }
        }
        at += part.len();
    }
    Ok(rows)
}

impl Summary {
    const fn place(&self) -> (TraceKey, TenantNumber, TraceId) {
        (self.key, self.tenant, self.trace_id)
    }

    const fn day(&self) -> Day {
        Day::of_key(self.key)
    }

    fn of(span: &SpanRow) -> Self {
        let first = (span.start, span.operation);
        Self {
            key: span.trace_key,
            tenant: span.tenant,
            trace_id: span.trace_id,
            root: span.parent_id.is_none().then_some(first),
            first,
            end: span.end(),
            spans: 1,
            errors: u32::from(span.status == Status::Error),
        }
    }

    fn add(&mut self, span: &SpanRow) {
        let other = Self::of(span);
        self.root = match (self.root, other.root) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        self.first = self.first.min(other.first);
        self.end = self.end.max(other.end);
        self.spans += 1;
        self.errors += other.errors;
    }

    fn bind(&self, values: &mut Values, day: Day, row: i64) {
        values.day(day);
        values.int(row);
        values.int(self.key.0);
        values.blob(self.trace_id.as_bytes());
        values.int(self.tenant.0);
        values.optional_int(self.root.map(|(_, operation)| operation.0.into()));
        values.optional_int(self.root.map(|(start, _)| day.since(start)));
        values.int(self.first.1.0);
        values.int(day.since(self.first.0));
        values.int(day.since(self.end));
        values.int(self.spans);
        values.int(self.errors);
    }
}
