//! Which block each row of a commit goes to, and the blocks themselves.
//!
//! Rows are shared out before anything is compressed, so that the rows can be inserted meanwhile. A block holds
//! rows of one tenant and signal, in order of arrival.

use std::collections::HashMap;
use std::sync::LazyLock;

use sqlx::sqlite::SqliteConnection;

use super::blocks::{self, FilterBuilder, RAW_BYTES_MAX, ROWS_MAX};
use super::error::Error;
use super::insert::Insert;
use super::rows::Commit;
use crate::model::id::TenantNumber;
use crate::model::time::UnixNanos;

/// `blocks.signal`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Signal {
    Spans = 0,
    Logs = 1,
}

/// Where a row's detail is: the block, counted from the first of the commit, and the position in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Spot {
    block: u32,
    row: u32,
}

impl Spot {
    /// The columns `block_id` and `block_row`, when the first block of the commit has id `first`.
    pub(super) fn columns(self, first: i64) -> [i64; 2] {
        [first + i64::from(self.block), i64::from(self.row)]
    }
}

/// The blocks of a commit, before they are compressed.
#[derive(Debug, Default)]
pub(super) struct Plan {
    blocks: Vec<Planned>,
    /// By span, in order.
    pub(super) spans: Vec<Spot>,
    /// By log record, in order.
    pub(super) logs: Vec<Spot>,
    /// Bytes of all details.
    pub(super) bytes: u64,
}

#[derive(Debug)]
struct Planned {
    tenant: TenantNumber,
    signal: Signal,
    /// Indices into the spans or logs of the commit.
    rows: Vec<u32>,
    bytes: usize,
}

/// A block as it is stored.
#[derive(Debug)]
pub(super) struct Block {
    tenant: TenantNumber,
    signal: Signal,
    rows: usize,
    /// The start of spans, the time of log records.
    times: (UnixNanos, UnixNanos),
    filter: Vec<u8>,
    pub(super) data: Vec<u8>,
}

impl Plan {
    /// Shares out the rows of `commit`.
    pub(super) fn of(commit: &Commit) -> Self {
        let mut plan = Self::default();
        let spans = commit.spans.iter().map(|span| (span.tenant, span.detail.as_bytes().len()));
        plan.spans = plan.share_out(Signal::Spans, spans);
        let logs = commit.logs.iter().map(|log| (log.tenant, log.detail.as_bytes().len()));
        plan.logs = plan.share_out(Signal::Logs, logs);
        plan
    }

    /// How many blocks there are.
    pub(super) const fn blocks(&self) -> usize {
        self.blocks.len()
    }

    /// Compresses all blocks; takes about a microsecond a row, so it belongs on a thread of its own.
    pub(super) fn encode(&self, commit: &Commit) -> Result<Vec<Block>, Error> {
        self.blocks.iter().map(|planned| planned.encode(commit)).collect()
    }

    fn share_out(&mut self, signal: Signal, rows: impl Iterator<Item = (TenantNumber, usize)>) -> Vec<Spot> {
        let mut open: HashMap<TenantNumber, usize> = HashMap::new();
        let mut spots = Vec::with_capacity(rows.size_hint().0);
        for ((tenant, bytes), index) in rows.zip(0..) {
            self.bytes += bytes as u64;
            let fits = |block: &usize| {
                let block = &self.blocks[*block];
                block.rows.len() < ROWS_MAX && block.bytes + bytes <= RAW_BYTES_MAX
            };
            let block = open.get(&tenant).copied().filter(fits).unwrap_or(self.blocks.len());
            if block == self.blocks.len() {
                open.insert(tenant, block);
                self.blocks.push(Planned { tenant, signal, rows: Vec::new(), bytes: 0 });
            }
            let planned = &mut self.blocks[block];
            spots.push(Spot { block: block as u32, row: planned.rows.len() as u32 });
            planned.rows.push(index);
            planned.bytes += bytes;
        }
        spots
    }
}

impl Planned {
    fn encode(&self, commit: &Commit) -> Result<Block, Error> {
        let mut filter = FilterBuilder::default();
        let mut rows: Vec<&[u8]> = Vec::with_capacity(self.rows.len());
        let mut times = (UnixNanos(i64::MAX), UnixNanos(i64::MIN));
        for index in &self.rows {
            let index = *index as usize;
            let time = match self.signal {
                Signal::Spans => {
                    let span = &commit.spans[index];
                    filter.add(span.detail.attributes());
                    rows.push(span.detail.as_bytes());
                    span.start
                }
                Signal::Logs => {
                    let log = &commit.logs[index];
                    filter.add(log.detail.attributes());
                    rows.push(log.detail.as_bytes());
                    log.time
                }
            };
            times = (times.0.min(time), times.1.max(time));
        }
        Ok(Block {
            tenant: self.tenant,
            signal: self.signal,
            rows: rows.len(),
            times,
            filter: filter.finish(),
            data: blocks::encode(&rows)?,
        })
    }
}

/// Writes the blocks of a commit; the first gets the id `first`, the others those after it.
pub(super) async fn write(
    connection: &mut SqliteConnection,
    blocks: Vec<Block>,
    first: i64,
) -> Result<(), Error> {
    let numbered: Vec<(i64, Block)> = (first..).zip(blocks).collect();
    BLOCKS
        .run(connection, &numbered, |values, (id, block)| {
            values.int(*id);
            values.int(block.tenant.0);
            values.int(block.signal as u8);
            values.unsigned(block.rows as u64);
            values.int(block.times.0.0);
            values.int(block.times.1.0);
            values.blob(&block.filter);
            values.blob(&block.data);
        })
        .await
}

static BLOCKS: LazyLock<Insert> = LazyLock::new(|| {
    Insert::new("blocks (id, tenant_id, signal, rows, min_time, max_time, filter, data)", 8, "")
});

#[cfg(test)]
mod tests {
    use super::*;

    fn shared_out(rows: &[(u32, usize)]) -> Vec<(u32, u32)> {
        let rows = rows.iter().map(|(tenant, bytes)| (TenantNumber(*tenant), *bytes));
        let spots = Plan::default().share_out(Signal::Spans, rows);
        spots.iter().map(|spot| (spot.block, spot.row)).collect()
    }

    #[test]
    fn blocks_are_cut_by_tenant_rows_and_bytes() {
        assert_eq!(shared_out(&[(1, 5), (2, 5), (1, 5)]), [(0, 0), (1, 0), (0, 1)]);
        assert_eq!(
            shared_out(&[(1, RAW_BYTES_MAX), (1, 1), (1, RAW_BYTES_MAX + 1), (1, 0)]),
            [(0, 0), (1, 0), (2, 0), (3, 0)]
        );
        let many = shared_out(&vec![(1, 1); ROWS_MAX + 1]);
        assert_eq!(many[ROWS_MAX - 1], (0, ROWS_MAX as u32 - 1));
        assert_eq!(many[ROWS_MAX], (1, 0));
    }
}
