//! Ten buckets in a row as one, for questions about long windows: those cost what they have to read.
//!
//! A block is made when a question first wants it, out of the bytes of its sealed buckets, and serves for as long as none of
//! these is sealed anew. What is open of them comes beside it. A block says nothing that its buckets do not say.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use super::sealed::Sealed;

/// Buckets of a block.
pub(super) const BUCKETS: i64 = 10;

/// The blocks of a ring that were made, by the start of their first bucket.
#[derive(Debug, Default)]
pub(super) struct Joined(Mutex<BTreeMap<i64, Block>>);

#[derive(Debug)]
struct Block {
    /// What it was made of. What is sealed anew is another.
    parts: Vec<Weak<Sealed>>,
    whole: Arc<Sealed>,
}

/// A block that a question would have liked to read.
#[derive(Debug)]
pub(super) struct Wanted {
    /// The start of its first bucket.
    pub(super) start: i64,
    /// Its buckets.
    pub(super) parts: Vec<Arc<Sealed>>,
}

impl Joined {
    /// The block that begins at `start`, where it was made of exactly these parts.
    pub(super) fn of(&self, start: i64, parts: &[Arc<Sealed>]) -> Option<Arc<Sealed>> {
        let blocks = self.blocks();
        let block = blocks.get(&start)?;
        let is_same = |(made, part): (&Weak<Sealed>, &Arc<Sealed>)| made.as_ptr() == Arc::as_ptr(part);
        (block.parts.len() == parts.len() && block.parts.iter().zip(parts).all(is_same))
            .then(|| Arc::clone(&block.whole))
    }

    /// Keeps the block that was made of what was wanted, and forgets those that begin before `kept_from`.
    pub(super) fn put(&self, wanted: &Wanted, whole: Sealed, kept_from: i64) {
        let parts = wanted.parts.iter().map(Arc::downgrade).collect();
        let mut blocks = self.blocks();
        blocks.retain(|start, _| *start >= kept_from);
        blocks.insert(wanted.start, Block { parts, whole: Arc::new(whole) });
    }

    /// Forgets all of them.
    pub(super) fn clear(&self) {
        self.blocks().clear();
    }

    fn blocks(&self) -> MutexGuard<'_, BTreeMap<i64, Block>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
