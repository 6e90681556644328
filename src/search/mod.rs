//! Full-text search over log lines: words of the body and of attribute values, attributes by name, newest
//! first.
//!
//! Promises: a search sees one tenant's lines and no other's; results are ordered by time, then row, both
//! descending, and paged by a cursor that stays right while lines are added; after a restart the index holds
//! exactly what was committed, and [`Index::position`] says from which row to add again; an index that is
//! damaged or of another version is replaced by an empty one and never stops a start.
//!
//! Never: it keeps no text (it answers rows, the store has the lines), is not ground truth (deleting its
//! directory loses nothing that adding again does not bring back), and does not learn services' names. Every
//! call blocks and belongs on a thread that may.
//!
//! Limits: of one line the words of 64 KiB and 256 attributes are indexed; words are cut at 255 bytes,
//! attribute names and values at 128; a search answers at most [`LIMIT_MAX`] rows; the memory for lines that
//! wait is bounded, so [`Index::add`] waits for the one indexing thread.
//!
//! Files in reading order: `expression` (the query text), `schema` (fields, and queries over them),
//! `beginning` and `excluded` (two kinds of query), `words` (where words end), `line` (a document on its way
//! in), `newest` (picking results), `home` (the directory and opening), `error`. The one handle is [`Index`].

mod beginning;
mod error;
mod excluded;
mod expression;
mod home;
mod line;
mod newest;
mod schema;
#[cfg(test)]
mod tests;
mod words;

use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tantivy::indexer::UserOperation;
use tantivy::{IndexReader, IndexWriter};

pub use self::error::Error;
pub use self::expression::QUERY_BYTES_MAX;
pub use self::line::{ATTRIBUTES_MAX, KEY_BYTES_MAX, TEXT_BYTES_MAX, VALUE_BYTES_MAX};
use self::line::{Budget, Line};
use self::newest::Newest;
use self::schema::Fields;
pub use self::words::WORD_BYTES_MAX;
use crate::model::id::{ServiceId, TenantNumber};
use crate::model::log::Severity;
use crate::model::time::{UnixNanos, Window};

/// Most rows of one answer.
pub const LIMIT_MAX: usize = 1000;
/// Lines that are handed to the indexing thread together: each hand-over costs a lock.
const BATCH_LINES: usize = 64;
/// A batch is handed over before it holds more than this.
const BATCH_BYTES: usize = 1024 * 1024;
/// Bytes of lines that may wait for the indexing thread.
const WAITING_BYTES_MAX: usize = 16 * 1024 * 1024;
/// How long [`Index::add`] waits for the indexing thread to take anything at all.
const PATIENCE: Duration = Duration::from_secs(30);

/// Where the index lives and how much it may hold in memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Its own directory; created when missing.
    pub directory: PathBuf,
    /// Bytes the indexing thread gathers before it writes a segment: 15 MB to 2 GB. 50 MB are about 300,000
    /// lines.
    pub writer_bytes: usize,
}

/// A log line to be indexed.
#[derive(Debug, Clone)]
pub struct Document<'a, A> {
    /// The store's id of the line; ascending.
    pub row: i64,
    /// Whose it is.
    pub tenant: TenantNumber,
    /// When it happened.
    pub time: UnixNanos,
    /// Which service wrote it.
    pub service: ServiceId,
    /// How severe it is.
    pub severity: Severity,
    /// Its body as a line.
    pub body: &'a str,
    /// Its attributes: names and rendered values.
    pub attributes: A,
}

/// A question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ask {
    /// The query text, at most [`QUERY_BYTES_MAX`] bytes: words are all needed, `"phrases"`, `begin*`,
    /// `-not`, `OR`, parentheses, `attribute:value`, `severity:error`. Empty asks for every line.
    pub text: String,
    /// When the lines happened.
    pub window: Window,
    /// Which services wrote them; empty for any.
    pub services: Vec<ServiceId>,
    /// The least severity; zero for any.
    pub severity_min: Severity,
    /// Only lines before this time and row: the last of the page before.
    pub before: Option<(UnixNanos, i64)>,
    /// Most rows wanted; at most [`LIMIT_MAX`] are given.
    pub limit: usize,
}

/// An answer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hits {
    /// Rows by time, then row, newest first.
    pub rows: Vec<i64>,
    /// Lines that match, whatever the cursor and the limit.
    pub total: usize,
    /// There are older ones: ask again with the time and row of the last.
    pub more: bool,
}

/// The index at one instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stats {
    /// Lines that can be found.
    pub documents: u64,
    /// Segments they lie in.
    pub segments: usize,
    /// Up to which row everything is indexed.
    pub position: i64,
}

/// The handle; clones share one index.
#[derive(Clone)]
pub struct Index {
    inner: Arc<Inner>,
}

struct Inner {
    directory: PathBuf,
    writer_bytes: usize,
    index: tantivy::Index,
    reader: IndexReader,
    fields: Fields,
    writing: Mutex<Writing>,
    budget: Arc<Budget>,
    position: AtomicI64,
    rebuilt: Option<String>,
    /// The index's code panicked in a search, and its checksums were verified.
    has_panicked: AtomicBool,
    /// Held as long as the index is open.
    _lock: File,
}

/// Guarded by one lock, which is held for as long as the one writer works.
struct Writing {
    /// None after a failure, until it is needed again.
    writer: Option<IndexWriter<Line>>,
    /// There are lines that no commit covers yet.
    has_uncommitted: bool,
}

impl Index {
    /// Opens the index, or an empty one where there is none, where it has another version and where it is
    /// damaged; [`Index::rebuilt`] tells.
    ///
    /// Checks the checksums of up to 1 GiB of files, small ones first. [`Error::Locked`] when another
    /// instance has the directory; [`Error::Io`] and [`Error::Index`] when not even an empty index can be
    /// made.
    pub fn open(options: Options) -> Result<Self, Error> {
        if !(15_000_000..=2_000_000_000).contains(&options.writer_bytes) {
            return Err(Error::Options { reason: "the writer needs between 15 MB and 2 GB" });
        }
        let lock = home::lock(&options.directory)?;
        let opened = home::open(&options.directory, options.writer_bytes)?;
        Ok(Self {
            inner: Arc::new(Inner {
                directory: options.directory,
                writer_bytes: options.writer_bytes,
                index: opened.index,
                reader: opened.reader,
                fields: opened.fields,
                writing: Mutex::new(Writing { writer: Some(opened.writer), has_uncommitted: false }),
                budget: Arc::new(Budget::new(WAITING_BYTES_MAX)),
                position: AtomicI64::new(opened.position),
                rebuilt: opened.rebuilt,
                has_panicked: AtomicBool::new(false),
                _lock: lock,
            }),
        })
    }

    /// The row up to which everything is indexed and committed; 0 for an empty index.
    pub fn position(&self) -> i64 {
        self.inner.position.load(Ordering::Acquire)
    }

    /// Why opening began with an empty index although there was something; none if it did not.
    pub fn rebuilt(&self) -> Option<&str> {
        self.inner.rebuilt.as_deref()
    }

    /// Takes lines for indexing; they are found after the next [`Index::commit`].
    ///
    /// Rows up to [`Index::position`] are passed over, so adding again after a restart finds nothing twice.
    /// Waits while 16 MiB of lines wait for the indexing thread. After an error everything since the last
    /// commit has to be added again.
    pub fn add<'a, D, A, K, V>(&self, documents: D) -> Result<(), Error>
    where
        D: IntoIterator<Item = Document<'a, A>>,
        A: IntoIterator<Item = (K, V)>,
        K: AsRef<str>,
        V: AsRef<str>,
    {
        let mut writing = self.writing();
        let mut batch = Vec::with_capacity(BATCH_LINES);
        let mut bytes = 0;
        for document in documents {
            if document.row <= self.position() {
                continue;
            }
            let Some(line) = Line::new(document, &self.inner.fields, &self.inner.budget, PATIENCE) else {
                writing.writer = None;
                return Err(Error::Stalled);
            };
            bytes += line.bytes();
            batch.push(UserOperation::Add(line));
            if batch.len() == BATCH_LINES || BATCH_BYTES < bytes {
                self.hand_over(&mut writing, &mut batch)?;
                bytes = 0;
            }
        }
        self.hand_over(&mut writing, &mut batch)
    }

    /// Makes everything added findable and durable, and says that all rows up to `position` were added.
    ///
    /// The position never goes back. After an error everything since the last commit has to be added again.
    pub fn commit(&self, position: i64) -> Result<(), Error> {
        let mut writing = self.writing();
        let position = position.max(self.position());
        self.commit_at(&mut writing, position)
    }

    /// Removes lines before `time`. Found no more at once, or with the next commit if lines were added since
    /// the last; their space returns as segments are merged.
    pub fn remove_before(&self, time: UnixNanos) -> Result<(), Error> {
        let mut writing = self.writing();
        let removed = self.inner.writer(&mut writing)?.delete_query(self.inner.fields.before(time));
        self.settle(&mut writing, removed)?;
        if writing.has_uncommitted {
            // A commit now would make lines findable that no position covers.
            return Ok(());
        }
        let position = self.position();
        self.commit_at(&mut writing, position)
    }

    /// The newest lines of `tenant` that match.
    ///
    /// [`Error::Query`] with position and remedy for a text that cannot be understood; [`Error::Damaged`]
    /// when the files turn out to be; the next start then begins with an empty index.
    pub fn search(&self, tenant: TenantNumber, ask: &Ask) -> Result<Hits, Error> {
        let query = self.inner.fields.query(tenant, ask)?;
        if ask.window.to <= ask.window.from {
            return Ok(Hits::default());
        }
        let limit = ask.limit.min(LIMIT_MAX);
        let before = ask.before.map(|(time, row)| (time.0, row));
        let newest = Newest { count: limit + 1, before };
        let searcher = self.inner.reader.searcher();
        // A panic in the index's code must not end the thread.
        let found = catch_unwind(AssertUnwindSafe(|| searcher.search(&query, &newest)));
        let found = found.map_err(|_| self.after_panic()).and_then(|found| found.map_err(Error::from));
        let found = found.inspect_err(|error| {
            if matches!(error, Error::Damaged) {
                home::mark_damaged(&self.inner.directory);
            }
        })?;
        let more = limit < found.newest.len();
        let rows = found.newest.iter().take(limit).map(|(_, row)| *row).collect();
        Ok(Hits { rows, total: found.total, more })
    }

    /// The index now.
    pub fn stats(&self) -> Stats {
        let searcher = self.inner.reader.searcher();
        Stats {
            documents: searcher.num_docs(),
            segments: searcher.segment_readers().len(),
            position: self.position(),
        }
    }

    /// Tells damage from a defect. A query must not be able to have the index thrown away, so damage is what
    /// the checksums say; and not to have gigabytes read again and again, so they are asked once.
    fn after_panic(&self) -> Error {
        let is_first = !self.inner.has_panicked.swap(true, Ordering::Relaxed);
        if is_first && home::check(&self.inner.directory, &self.inner.index).is_err() {
            return Error::Damaged;
        }
        Error::Panicked
    }

    fn writing(&self) -> MutexGuard<'_, Writing> {
        self.inner.writing.lock().unwrap_or_else(|poisoned: PoisonError<_>| {
            // A panic in the middle of writing: what the writer holds is not known, so it starts afresh.
            let mut writing = poisoned.into_inner();
            writing.writer = None;
            writing
        })
    }

    fn hand_over(&self, writing: &mut Writing, batch: &mut Vec<UserOperation<Line>>) -> Result<(), Error> {
        if batch.is_empty() {
            return Ok(());
        }
        let taken = std::mem::replace(batch, Vec::with_capacity(BATCH_LINES));
        let handed = self.inner.writer(writing)?.run(taken);
        writing.has_uncommitted = true;
        self.settle(writing, handed)
    }

    fn commit_at(&self, writing: &mut Writing, position: i64) -> Result<(), Error> {
        let committed = home::commit(self.inner.writer(writing)?, position);
        self.settle(writing, committed)?;
        writing.has_uncommitted = false;
        // First findable, then said to be: whoever reads the position finds everything up to it.
        let reloaded = self.inner.reader.reload();
        self.inner.position.store(position, Ordering::Release);
        reloaded.map_err(Error::from)
    }

    /// Gives up the writer after a failure, and with it everything since the last commit: part of it would
    /// otherwise be committed with a position that says all of it was.
    fn settle<T>(&self, writing: &mut Writing, outcome: tantivy::Result<T>) -> Result<(), Error> {
        match outcome {
            Ok(_) => Ok(()),
            Err(source) => {
                writing.writer = None;
                writing.has_uncommitted = false;
                Err(source.into())
            }
        }
    }
}

impl Inner {
    fn writer<'a>(&self, writing: &'a mut Writing) -> Result<&'a mut IndexWriter<Line>, Error> {
        let writer = match writing.writer.take() {
            Some(writer) => writer,
            None => {
                writing.has_uncommitted = false;
                home::writer(&self.index, self.writer_bytes)?
            }
        };
        Ok(writing.writer.insert(writer))
    }
}

impl std::fmt::Debug for Index {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Index").field("stats", &self.stats()).finish_non_exhaustive()
    }
}
