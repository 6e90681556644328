//! What is remembered of one trace: its spans, compactly, and the links that wait for one of them.

use std::collections::HashMap;
use std::hash::BuildHasher;

use foldhash::quality::RandomState;
use hashbrown::HashTable;

use crate::model::id::{OperationId, SpanId};
use crate::model::rollup::{Seen, Subject};
use crate::model::span::SpanKind;
use crate::model::time::UnixNanos;
use crate::model::trace_key::TraceKey;

use super::{Known, rules};

/// Up to this many spans a walk over all of them is cheaper than an index.
const WALK_SPANS_MAX: usize = 32;
/// A trace that is full gets room for one more span to so many.
const ROOM_SHARE: usize = 4;
/// And for these.
const ROOM_LEAST: usize = 2;
/// Ends a chain of spans that wait for the same parent.
const CHAIN_END: u32 = u32::MAX;

/// A span and whether an instrumented service is known to have answered its external call.
#[derive(Debug)]
pub(super) struct Remembered {
    /// The facts.
    pub(super) span: Known,
    /// Set when the answer was counted.
    pub(super) answered: bool,
}

/// The facts of a span that points to one which did not arrive yet.
#[derive(Debug, Clone, Copy)]
pub(super) struct PendingLink {
    /// Its operation.
    pub(super) operation: OperationId,
    /// Its part in a call.
    pub(super) kind: SpanKind,
    /// Whether it failed.
    pub(super) error: bool,
    /// The queue's operation, where its dependency is one.
    pub(super) queue: Option<OperationId>,
    /// The links of its span, itself included.
    pub(super) shared_by: u64,
    /// When it began.
    pub(super) start: UnixNanos,
    /// How long it took.
    pub(super) duration_ns: u64,
}

impl PendingLink {
    /// The facts of `span` that each of its `shared_by` links needs.
    pub(super) fn of(span: &Known, shared_by: usize) -> Self {
        Self {
            operation: span.operation,
            kind: span.kind,
            error: span.error,
            queue: rules::queue_of(span),
            shared_by: shared_by.max(1) as u64,
            start: span.start,
            duration_ns: span.duration_ns,
        }
    }
}

/// One trace. Without a key it is a stub: links point to it, none of its spans was seen.
#[derive(Debug, Default)]
pub(super) struct Trace {
    key: Option<TraceKey>,
    spans: Vec<Remembered>,
    index: Option<Box<Index>>,
    pending: Option<Box<Pending>>,
}

#[derive(Debug, Default)]
struct Pending {
    links: HashMap<SpanId, Vec<PendingLink>, RandomState>,
    count: usize,
}

impl Trace {
    /// The trace's key, once one of its spans is known.
    pub(super) fn key(&self) -> Option<TraceKey> {
        self.key
    }

    /// The trace's key, which is `first` if it has none yet.
    pub(super) fn key_or_set(&mut self, first: impl FnOnce() -> TraceKey) -> TraceKey {
        *self.key.get_or_insert_with(first)
    }

    /// What it counts against the bound of the memory: itself, its spans and its pending links.
    pub(super) fn weight(&self) -> usize {
        1 + self.spans.len() + self.pending.as_ref().map_or(0, |pending| pending.count)
    }

    /// The span with this id.
    pub(super) fn find(&self, id: SpanId) -> Option<Known> {
        self.position(id).map(|position| self.spans[position].span)
    }

    /// Remembers a span that [`Trace::find`] does not know, and tells of each pair it completes.
    pub(super) fn add(&mut self, span: Known, emit: &mut impl FnMut(Subject, UnixNanos, Seen)) {
        let parent = span.parent_id.and_then(|parent| self.position(parent));
        if let Some(parent) = parent {
            rules::pair(&mut self.spans[parent], &span, emit);
        }
        let mut added = Remembered { span, answered: false };
        match &mut self.index {
            None => {
                for child in self.spans.iter().filter(|other| other.span.parent_id == Some(span.span_id)) {
                    rules::pair(&mut added, &child.span, emit);
                }
            }
            Some(index) => {
                let mut next = index.first_waiting.remove(&span.span_id).unwrap_or(CHAIN_END);
                while let Some(child) = self.spans.get(next as usize) {
                    rules::pair(&mut added, &child.span, emit);
                    next = index.next_waiting[next as usize];
                }
                index.add(&self.spans, &span, parent.is_some());
            }
        }
        if self.spans.len() == self.spans.capacity() {
            // Traces stay for seconds and are most of what the server remembers: twice the room would often stay empty.
            self.spans.reserve_exact(self.spans.len() / ROOM_SHARE + ROOM_LEAST);
        }
        self.spans.push(added);
        if self.index.is_none() && self.spans.len() > WALK_SPANS_MAX {
            self.index = Some(Box::new(Index::over(&self.spans)));
        }
    }

    /// Makes room for one more span: forgets all of them, not the key, when there are `spans_max`.
    pub(super) fn forget_beyond(&mut self, spans_max: usize) {
        if self.spans.len() >= spans_max {
            self.spans = Vec::new();
            self.index = None;
        }
    }

    /// Keeps a link until the span it points to arrives; dropped where `links_max` wait already.
    pub(super) fn wait_for(&mut self, linked: SpanId, link: PendingLink, links_max: usize) {
        let pending = self.pending.get_or_insert_default();
        if pending.count < links_max {
            pending.count += 1;
            pending.links.entry(linked).or_default().push(link);
        }
    }

    /// Takes the links that wait for this span.
    pub(super) fn take_pending(&mut self, id: SpanId) -> Vec<PendingLink> {
        let Some(pending) = &mut self.pending else { return Vec::new() };
        let links = pending.links.remove(&id).unwrap_or_default();
        pending.count -= links.len();
        if pending.count == 0 {
            self.pending = None;
        }
        links
    }

    fn position(&self, id: SpanId) -> Option<usize> {
        match &self.index {
            None => self.spans.iter().position(|remembered| remembered.span.span_id == id),
            Some(index) => index.position(&self.spans, id),
        }
    }
}

/// Finds spans of a large trace, and those that wait for a parent, without walking all of them.
#[derive(Debug)]
struct Index {
    /// Places in the list of spans, by the ids that stand there.
    positions: HashTable<u32>,
    hasher: RandomState,
    /// For each parent that did not arrive, the last of its children that did.
    first_waiting: HashMap<SpanId, u32, RandomState>,
    /// For each span, the next one that waits for the same parent.
    next_waiting: Vec<u32>,
}

impl Index {
    fn over(spans: &[Remembered]) -> Self {
        let mut index = Self {
            positions: HashTable::with_capacity(2 * spans.len()),
            hasher: RandomState::default(),
            first_waiting: HashMap::default(),
            next_waiting: Vec::with_capacity(2 * spans.len()),
        };
        let here = |id| spans.iter().any(|other| other.span.span_id == id);
        for remembered in spans {
            index.add(spans, &remembered.span, remembered.span.parent_id.is_some_and(here));
        }
        index
    }

    fn position(&self, spans: &[Remembered], id: SpanId) -> Option<usize> {
        let is_it = |position: &u32| spans[*position as usize].span.span_id == id;
        self.positions.find(self.hasher.hash_one(id), is_it).map(|position| *position as usize)
    }

    /// Adds the span whose position is the number of spans added so far; all of them are in `spans`.
    fn add(&mut self, spans: &[Remembered], span: &Known, parent_is_here: bool) {
        let position = self.next_waiting.len() as u32;
        let hasher = &self.hasher;
        let hash = |position: &u32| hasher.hash_one(spans[*position as usize].span.span_id);
        self.positions.insert_unique(hasher.hash_one(span.span_id), position, hash);
        let waits_with = match span.parent_id {
            Some(parent) if !parent_is_here => self.first_waiting.insert(parent, position),
            _ => None,
        };
        self.next_waiting.push(waits_with.unwrap_or(CHAIN_END));
    }
}
