//! Which block each row of a commit goes to, and the blocks themselves.
//!
//! Rows are shared out before anything is compressed, so that the rows can be inserted meanwhile. A block holds
//! rows of one day, tenant and signal; log records in order of arrival, spans trace by trace.

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::quality::RandomState;

use super::blocks::longest::{self, Longest};
use super::blocks::{Encoded, Encoder, RAW_BYTES_MAX, ROWS_MAX};
use super::connection::Connection;
use super::day::Day;
use super::error::Error;
use super::filters;
use super::partition::{self, Family, Kept, Partition};
use super::rows::Commit;
use super::table;
use crate::model::id::TenantNumber;
use crate::model::log::LogDetail;
use crate::model::span::SpanDetail;
use crate::model::time::UnixNanos;

/// Whose details a block holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Signal {
    Spans,
    Logs,
}

/// The blocks of a commit, before they are compressed.
#[derive(Debug, Default)]
pub(super) struct Plan {
    blocks: Vec<Planned>,
    /// The days of the spans, in order.
    pub(super) span_days: Vec<Day>,
    /// The days of the log records, in order.
    pub(super) log_days: Vec<Day>,
    /// Bytes of all details.
    pub(super) bytes: u64,
}

/// A block before it is compressed.
#[derive(Debug)]
pub(super) struct Planned {
    pub(super) day: Day,
    tenant: TenantNumber,
    pub(super) signal: Signal,
    /// Indices into the spans or logs of the commit.
    pub(super) rows: Vec<u32>,
    bytes: usize,
    /// The attributes that are promoted on its day.
    promoted: Arc<[String]>,
}

/// A block as it is stored.
#[derive(Debug)]
pub(super) struct Block {
    pub(super) day: Day,
    pub(super) tenant: TenantNumber,
    signal: Signal,
    rows: usize,
    /// The start of spans, the time of log records.
    pub(super) times: (UnixNanos, UnixNanos),
    pub(super) filter: Vec<u8>,
    /// What it says of its spans.
    pub(super) longest: Option<Longest>,
    /// Its front and its rest.
    data: (Vec<u8>, Vec<u8>),
}

impl Signal {
    /// Where its blocks are kept.
    pub(super) const fn blocks(self) -> Kept {
        match self {
            Self::Spans => partition::SPAN_BLOCKS,
            Self::Logs => partition::LOG_BLOCKS,
        }
    }

    /// Where the filters of their blocks are kept.
    pub(super) const fn filters(self) -> Kept {
        match self {
            Self::Spans => partition::SPAN_FILTERS,
            Self::Logs => partition::LOG_FILTERS,
        }
    }

    /// Where many of these are kept, laid across each other.
    pub(super) const fn slices(self) -> Kept {
        match self {
            Self::Spans => partition::SPAN_SLICES,
            Self::Logs => partition::LOG_SLICES,
        }
    }

    /// Where their rows are kept.
    pub(super) const fn rows(self) -> Kept {
        match self {
            Self::Spans => partition::SPANS,
            Self::Logs => partition::LOGS,
        }
    }

    pub(super) const fn family(self) -> Family {
        match self {
            Self::Spans => Family::Spans,
            Self::Logs => Family::Logs,
        }
    }

    /// The field that holds an attribute in their details.
    pub(super) const fn attributes(self) -> u32 {
        match self {
            Self::Spans => SpanDetail::ATTRIBUTES,
            Self::Logs => LogDetail::ATTRIBUTES,
        }
    }
}

impl Block {
    /// Bytes of its rows as they are stored.
    pub(super) const fn bytes(&self) -> u64 {
        (self.data.0.len() + self.data.1.len()) as u64
    }
}

impl Plan {
    /// Shares out the rows of `commit`, its spans in the order of `spans`.
    pub(super) fn of(commit: &Commit, spans: &[u32]) -> Self {
        let mut plan = Self {
            span_days: commit.spans.iter().map(|span| Day::of_key(span.trace_key)).collect(),
            log_days: commit.logs.iter().map(|log| Day::of(log.time)).collect(),
            ..Self::default()
        };
        let days = std::mem::take(&mut plan.span_days);
        let spans = spans.iter().map(|index| {
            let span = &commit.spans[*index as usize];
            (*index, days[*index as usize], span.tenant, span.detail.as_bytes().len())
        });
        plan.share_out(Signal::Spans, spans);
        plan.span_days = days;
        let days = std::mem::take(&mut plan.log_days);
        let logs = commit.logs.iter().zip(&days).zip(0..);
        let logs = logs.map(|((log, day), index)| (index, *day, log.tenant, log.detail.as_bytes().len()));
        plan.share_out(Signal::Logs, logs);
        plan.log_days = days;
        plan
    }

    /// Notes which attributes are promoted, which `promoted` tells of a partition.
    pub(super) fn promote(&mut self, promoted: impl Fn(Partition) -> Arc<[String]>) {
        for planned in &mut self.blocks {
            planned.promoted = promoted(planned.signal.family().partition(planned.day));
        }
    }

    /// The blocks, in the order in which [`Plan::encode`] answers them.
    pub(super) fn blocks(&self) -> &[Planned] {
        &self.blocks
    }

    /// Compresses all blocks; takes about a microsecond a row, so it belongs on a thread of its own.
    pub(super) fn encode(&self, commit: &Commit) -> Result<Vec<Block>, Error> {
        let mut encoder = Encoder::new()?;
        self.blocks.iter().map(|planned| planned.encode(commit, &mut encoder)).collect()
    }

    /// Shares out rows, each with its index in the commit, its day, its tenant and the bytes of its details.
    fn share_out(&mut self, signal: Signal, rows: impl Iterator<Item = (u32, Day, TenantNumber, usize)>) {
        let mut open: HashMap<(TenantNumber, Day), usize, RandomState> = HashMap::default();
        for (index, day, tenant, bytes) in rows {
            self.bytes += bytes as u64;
            let fits = |block: &usize| {
                let block = &self.blocks[*block];
                block.rows.len() < ROWS_MAX && block.bytes + bytes <= RAW_BYTES_MAX
            };
            let block = open.get(&(tenant, day)).copied().filter(fits).unwrap_or(self.blocks.len());
            if block == self.blocks.len() {
                open.insert((tenant, day), block);
                let (rows, promoted) = (Vec::new(), Arc::default());
                self.blocks.push(Planned { day, tenant, signal, rows, bytes: 0, promoted });
            }
            let planned = &mut self.blocks[block];
            planned.rows.push(index);
            planned.bytes += bytes;
        }
    }
}

impl Planned {
    fn encode(&self, commit: &Commit, encoder: &mut Encoder) -> Result<Block, Error> {
        let mut rows: Vec<(&[u8], u32)> = Vec::with_capacity(self.rows.len());
        let mut times = (UnixNanos(i64::MAX), UnixNanos(i64::MIN));
        let mut longest: HashMap<u32, u64, RandomState> = HashMap::default();
        for index in &self.rows {
            let index = *index as usize;
            let (row, service, time) = match self.signal {
                Signal::Spans => {
                    let span = &commit.spans[index];
                    let longest = longest.entry(span.service.0).or_default();
                    *longest = span.duration_ns.max(*longest);
                    (span.detail.as_bytes(), span.service, span.start)
                }
                Signal::Logs => {
                    let log = &commit.logs[index];
                    (log.detail.as_bytes(), log.service, log.time)
                }
            };
            rows.push((row, service.0));
            times = (times.0.min(time), times.1.max(time));
        }
        let Encoded { front, rest, filter } =
            encoder.encode(&rows, self.signal.attributes(), &self.promoted)?;
        let (day, tenant, signal) = (self.day, self.tenant, self.signal);
        let longest = (signal == Signal::Spans).then(|| told(longest));
        Ok(Block { day, tenant, signal, rows: rows.len(), times, filter, longest, data: (front, rest) })
    }
}

/// The longest spans of services as a block says them.
fn told(longest: HashMap<u32, u64, RandomState>) -> Longest {
    let longest = longest.into_iter().map(|(service, duration_ns)| (service, longest::level(duration_ns)));
    let mut longest: Longest = longest.collect();
    longest.sort_unstable();
    longest
}

/// Writes the blocks of a commit under `ids`, those of their first rows.
pub(super) async fn write(connection: &mut Connection, blocks: Vec<Block>, ids: &[i64]) -> Result<(), Error> {
    let mut numbered: Vec<(i64, Block)> = ids.iter().copied().zip(blocks).collect();
    numbered.sort_by_key(|(id, block)| (block.signal as u8, block.day, *id));
    for group in numbered.chunk_by(|(_, a), (_, b)| (a.signal, a.day) == (b.signal, b.day)) {
        let (signal, day) = (group[0].1.signal, group[0].1.day);
        let target = table::BLOCKS.on(signal.blocks(), day);
        connection
            .insert(&target, group, |values, (id, block)| {
                values.day(day);
                values.int(*id);
                values.int(block.tenant.0);
                values.unsigned(block.rows as u64);
                values.int(day.since(block.times.0));
                values.int(day.since(block.times.1));
                values.blob(&block.data.0);
                values.blob(&block.data.1);
            })
            .await?;
        filters::write(connection, (signal, day), group).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shared_out(rows: &[(u32, i32, usize)]) -> Vec<Vec<u32>> {
        let rows = rows.iter().zip(0..);
        let rows =
            rows.map(|((tenant, day, bytes), index)| (index, Day(*day), TenantNumber(*tenant), *bytes));
        let mut plan = Plan::default();
        plan.share_out(Signal::Spans, rows);
        plan.blocks.into_iter().map(|block| block.rows).collect()
    }

    #[test]
    fn blocks_are_cut_by_tenant_day_rows_and_bytes() {
        assert_eq!(shared_out(&[(1, 0, 5), (2, 0, 5), (1, 0, 5)]), [vec![0, 2], vec![1]]);
        assert_eq!(shared_out(&[(1, 0, 5), (1, 1, 5), (1, 0, 5)]), [vec![0, 2], vec![1]]);
        let large = [(1, 0, RAW_BYTES_MAX), (1, 0, 1), (1, 0, RAW_BYTES_MAX + 1), (1, 0, 0)];
        assert_eq!(shared_out(&large), [[0], [1], [2], [3]]);
        let many = shared_out(&vec![(1, 0, 1); ROWS_MAX + 1]);
        assert_eq!(many.iter().map(Vec::len).collect::<Vec<_>>(), [ROWS_MAX, 1]);
    }
}
