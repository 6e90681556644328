//! Picks the newest matches and counts all, in one pass and in memory bounded by the page.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use tantivy::collector::{Collector, SegmentCollector};
use tantivy::columnar::Column;
use tantivy::{COLLECT_BLOCK_BUFFER_LEN, DocId, Score, SegmentOrdinal, SegmentReader};

use super::schema::{ROW, TIME};

/// A match: its time in nanoseconds and its row, which is the order of results.
pub(super) type Match = (i64, i64);

/// Collects the `count` newest matches before `before`.
pub(super) struct Newest {
    pub(super) count: usize,
    pub(super) before: Option<Match>,
}

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Newest first.
    pub(super) newest: Vec<Match>,
    /// Matches, those after the cursor included.
    pub(super) total: usize,
}

impl Collector for Newest {
    type Fruit = Found;
    type Child = NewestOfSegment;

    fn for_segment(&self, _: SegmentOrdinal, segment: &SegmentReader) -> tantivy::Result<NewestOfSegment> {
        let columns = segment.fast_fields();
        Ok(NewestOfSegment {
            time: columns.i64(TIME)?,
            row: columns.i64(ROW)?,
            heap: BinaryHeap::new(),
            count: self.count,
            before: self.before,
            total: 0,
        })
    }

    fn requires_scoring(&self) -> bool {
        false
    }

    fn merge_fruits(&self, segments: Vec<Found>) -> tantivy::Result<Found> {
        let mut all = Found::default();
        for segment in segments {
            all.total += segment.total;
            all.newest.extend(segment.newest);
        }
        all.newest.sort_unstable_by_key(|found| Reverse(*found));
        all.newest.truncate(self.count);
        Ok(all)
    }
}

/// The newest of one segment, the oldest of them on top of the heap.
pub(super) struct NewestOfSegment {
    time: Column<i64>,
    row: Column<i64>,
    heap: BinaryHeap<Reverse<Match>>,
    count: usize,
    before: Option<Match>,
    total: usize,
}

impl NewestOfSegment {
    fn consider(&mut self, document: DocId, time: i64) {
        let is_full = self.heap.len() == self.count;
        // The row is looked up only for what may enter the page.
        if is_full && self.heap.peek().is_none_or(|Reverse(oldest)| time < oldest.0) {
            return;
        }
        let found = (time, self.row.first(document).unwrap_or_default());
        if self.before.is_some_and(|before| before <= found) {
            return;
        }
        if is_full {
            if self.heap.peek().is_none_or(|Reverse(oldest)| found <= *oldest) {
                return;
            }
            self.heap.pop();
        }
        self.heap.push(Reverse(found));
    }
}

impl SegmentCollector for NewestOfSegment {
    type Fruit = Found;

    fn collect(&mut self, document: DocId, _: Score) {
        self.collect_block(&[document]);
    }

    fn collect_block(&mut self, documents: &[DocId]) {
        self.total += documents.len();
        for chunk in documents.chunks(COLLECT_BLOCK_BUFFER_LEN) {
            let mut times = [None; COLLECT_BLOCK_BUFFER_LEN];
            let times = &mut times[..chunk.len()];
            self.time.first_vals(chunk, times);
            for (document, time) in chunk.iter().zip(times) {
                self.consider(*document, time.unwrap_or_default());
            }
        }
    }

    fn harvest(self) -> Found {
        Found { newest: self.heap.into_iter().map(|Reverse(found)| found).collect(), total: self.total }
    }
}
