//! Picks the newest matches and counts all, in one pass and in memory bounded by the page.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use tantivy::columnar::Column;
use tantivy::query::{EnableScoring, Query};
use tantivy::{COLLECT_BLOCK_BUFFER_LEN, DocId, DocSet, Searcher, SegmentReader};

use super::schema::{ROW, TIME};
use super::watch::Watch;
use crate::model::time::Window;

/// A match: its time in nanoseconds and its row, which is the order of results.
pub(super) type Match = (i64, i64);

/// The `count` newest matches of a window before `before`, over one segment after another.
#[derive(Debug)]
pub(super) struct Newest {
    window: Window,
    count: usize,
    before: Option<Match>,
    /// The oldest on top.
    heap: BinaryHeap<Reverse<Match>>,
    total: usize,
    watch: Watch,
}

/// The columns of one segment.
struct Columns {
    time: Column<i64>,
    row: Column<i64>,
    /// Every line lies inside the window.
    is_inside: bool,
}

impl Newest {
    /// Looks only as long as somebody waits for the answer, as `watch` tells.
    pub(super) const fn new(window: Window, count: usize, before: Option<Match>, watch: Watch) -> Self {
        Self { window, count, before, heap: BinaryHeap::new(), total: 0, watch }
    }

    /// True when nobody waits for the answer any more.
    pub(super) fn is_given_up(&self) -> bool {
        self.watch.is_over()
    }

    /// True when the page cannot take more from what is older than all it has.
    pub(super) fn is_full(&self) -> bool {
        self.heap.len() == self.count
    }

    /// Matches in the window that were seen, those after the cursor included.
    pub(super) const fn total(&self) -> usize {
        self.total
    }

    /// What was found, newest first.
    pub(super) fn into_matches(self) -> Vec<Match> {
        let mut found: Vec<Match> = self.heap.into_iter().map(|Reverse(found)| found).collect();
        found.sort_unstable_by_key(|found| Reverse(*found));
        found
    }

    /// Looks through the segments that can hold lines of the window, newest first.
    pub(super) fn look_through(&mut self, searcher: &Searcher, query: &dyn Query) -> tantivy::Result<()> {
        let mut segments = Vec::new();
        for reader in searcher.segment_readers() {
            let columns = Columns::open(reader, self.window)?;
            let (oldest, newest) = (columns.time.min_value(), columns.time.max_value());
            if self.window.from.0 <= newest && oldest < self.window.to.0 {
                segments.push((newest, reader, columns));
            }
        }
        segments.sort_unstable_by_key(|(newest, ..)| Reverse(*newest));
        if segments.is_empty() {
            return Ok(());
        }
        let weight = query.weight(EnableScoring::disabled_from_searcher(searcher))?;
        for (newest, reader, columns) in segments {
            if self.is_given_up() {
                break;
            }
            if columns.is_inside && self.is_full() && self.oldest().is_none_or(|oldest| newest < oldest.0) {
                self.total += weight.count(reader)? as usize;
                continue;
            }
            let mut scorer = weight.scorer(reader, 1.0)?;
            let mut documents = [0; COLLECT_BLOCK_BUFFER_LEN];
            while !self.is_given_up() {
                let count = scorer.fill_buffer(&mut documents);
                self.collect(&columns, &documents[..count]);
                if count < COLLECT_BLOCK_BUFFER_LEN {
                    break;
                }
            }
        }
        Ok(())
    }

    fn oldest(&self) -> Option<Match> {
        self.heap.peek().map(|Reverse(oldest)| *oldest)
    }

    /// Takes documents of one block, [`COLLECT_BLOCK_BUFFER_LEN`] at most.
    fn collect(&mut self, columns: &Columns, documents: &[DocId]) {
        let mut times = [None; COLLECT_BLOCK_BUFFER_LEN];
        let times = &mut times[..documents.len()];
        columns.time.first_vals(documents, times);
        for (document, time) in documents.iter().zip(times) {
            let time = time.unwrap_or_default();
            if columns.is_inside || (self.window.from.0 <= time && time < self.window.to.0) {
                self.total += 1;
                self.consider(columns, *document, time);
            }
        }
    }

    fn consider(&mut self, columns: &Columns, document: DocId, time: i64) {
        let is_full = self.is_full();
        // The row is looked up only for what may enter the page.
        if is_full && self.oldest().is_none_or(|oldest| time < oldest.0) {
            return;
        }
        let found = (time, columns.row.first(document).unwrap_or_default());
        if self.before.is_some_and(|before| before <= found) {
            return;
        }
        if is_full {
            if self.oldest().is_none_or(|oldest| found <= oldest) {
                return;
            }
            self.heap.pop();
        }
        self.heap.push(Reverse(found));
    }
}

impl Columns {
    fn open(reader: &SegmentReader, window: Window) -> tantivy::Result<Self> {
        let columns = reader.fast_fields();
        let (time, row) = (columns.i64(TIME)?, columns.i64(ROW)?);
        let is_inside = window.from.0 <= time.min_value() && time.max_value() < window.to.0;
        Ok(Self { time, row, is_inside })
    }
}
