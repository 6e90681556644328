//! Full-text search over log lines: words of the body and of attribute values, attributes by name, newest
//! first, in one tantivy index a day.
//!
//! Promises: a search sees one tenant's lines and no other's; results are ordered by time, then row, both
//! descending, and paged by a cursor that stays right while lines are added; after a restart each day holds
//! exactly what was committed, and [`Index::position_of`] says from which row to add again; a day that is
//! damaged or of another version is replaced by an empty one, beside which the others stay as they are, and
//! never stops a start.
//!
//! Never: it keeps no text (it answers rows, the store has the lines), is not ground truth (deleting its
//! directory loses nothing that adding again does not bring back), and does not learn services' names: it asks
//! for their numbers. Every call blocks and belongs on a thread that may.
//!
//! A row's upper bits are its day ([`DAY_BITS`]): days since 1970 in UTC. A line's time lies inside its day, so
//! that a search leaves out days that its window or its cursor excludes, and stops at the day that fills the
//! page. Day 0 alone may hold lines of any time, and is always looked through.
//!
//! Limits: of one line the words of 64 KiB and 256 attributes are indexed; words are cut at 255 bytes,
//! attribute names and values at 128; a search answers at most [`LIMIT_MAX`] rows; at most two days have a
//! writer; the memory for lines that wait is bounded, so [`Index::add`] waits for the indexing threads.
//!
//! Files in reading order: `canonical` and `expression` (the query text), `schema` (fields, and queries over
//! them), `beginning`, `range` and `excluded` (three kinds of query), `watch` (who waits), `words` (where words end),
//! `line` (a document on its way in), `newest` (picking results), `home` (the directory), `day` (one day's index), `merges`
//! (which of its segments become one), `writers` (which days are written), `error`. The one handle is [`Index`].

mod beginning;
mod canonical;
mod day;
mod error;
mod excluded;
mod expression;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod home;
mod line;
mod merges;
mod newest;
mod range;
mod schema;
#[cfg(test)]
mod tests;
mod watch;
mod words;
mod writers;

use std::collections::BTreeMap;
use std::fs::File;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, Weak};
use std::time::Duration;

use tantivy::indexer::UserOperation;

pub use self::canonical::QUERY_BYTES_MAX;
use self::day::{Day, day_of};
pub use self::error::Error;
pub use self::line::{ATTRIBUTES_MAX, KEY_BYTES_MAX, TEXT_BYTES_MAX, VALUE_BYTES_MAX};
use self::line::{Budget, Line};
use self::newest::Newest;
use self::schema::{Fields, Whom};
use self::watch::Watch;
pub use self::words::WORD_BYTES_MAX;
use self::writers::Writers;
use crate::model::id::{ServiceId, TemplateId, TenantNumber};
use crate::model::log::Severity;
use crate::model::time::{NANOS_PER_SECOND, UnixNanos, Window};

/// Bits of a row below its day.
pub const DAY_BITS: u32 = 36;
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
/// Bytes whose checksums are verified when the index is opened, the newest day's first.
const CHECKED_BYTES_MAX: u64 = 1024 * 1024 * 1024;
const NANOS_PER_DAY: i64 = 86_400 * NANOS_PER_SECOND;

/// Where the index lives and how much it may hold in memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Its own directory; created when missing.
    pub directory: PathBuf,
    /// Bytes the indexing thread of a day gathers before it writes a segment: 15 MB to 2 GB. 50 MB are about
    /// 300,000 lines. Two days may be written at a time.
    pub writer_bytes: usize,
}

/// A log line to be indexed.
#[derive(Debug, Clone)]
pub struct Document<'a, A> {
    /// The store's id of the line, its day in the upper bits; ascending within a day, from 1.
    pub row: i64,
    /// Whose it is.
    pub tenant: TenantNumber,
    /// When it happened.
    pub time: UnixNanos,
    /// Which service wrote it.
    pub service: ServiceId,
    /// How severe it is.
    pub severity: Severity,
    /// Which template it follows.
    pub template: TemplateId,
    /// Its body as a line.
    pub body: &'a str,
    /// Its attributes: names and rendered values.
    pub attributes: A,
}

/// A question.
#[derive(Debug, Clone)]
pub struct Ask {
    /// The query text in Lucene's syntax, at most [`QUERY_BYTES_MAX`] bytes: words are all needed,
    /// `"phrases"`, `begin*`, `-not`, `OR`, parentheses, `attribute:value`, `attribute:[1 TO 5]`,
    /// `severity:>=warn`, `service:name`. Empty asks for every line.
    pub text: String,
    /// When the lines happened.
    pub window: Window,
    /// Which services wrote them; empty for any.
    pub services: Vec<ServiceId>,
    /// Which templates they follow; empty for any.
    pub templates: Vec<TemplateId>,
    /// The least severity; zero for any.
    pub severity_min: Severity,
    /// Only lines before this time and row: the last of the page before.
    pub before: Option<(UnixNanos, i64)>,
    /// Most rows wanted; at most [`LIMIT_MAX`] are given.
    pub limit: usize,
    /// Gone once nobody waits for the answer any more: then looking ends within some dozen milliseconds, and what was found is
    /// no answer. None to look to the end.
    pub waiting: Option<Weak<()>>,
}

/// An answer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hits {
    /// Rows by time, then row, newest first.
    pub rows: Vec<i64>,
    /// Lines that match, whatever the cursor and the limit; none where days of the window were left out
    /// because the page was full or lies before them.
    pub total: Option<usize>,
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
    /// Days that have an index.
    pub days: usize,
}

/// Whom the index asks about names.
pub trait Names {
    /// The tenant's services whose names are `wanted`.
    fn services(&self, wanted: &dyn Fn(&str) -> bool) -> Vec<ServiceId>;

    /// The templates that a template stands for in a query text; asked about those that [`templates_named`] tells.
    fn templates(&self, template: TemplateId) -> Vec<TemplateId> {
        vec![template]
    }
}

/// The templates that a query text names; none where it cannot be understood.
pub fn templates_named(text: &str) -> Vec<TemplateId> {
    let mut named = Vec::new();
    let may_name = text.to_ascii_lowercase().contains(schema::TEMPLATE);
    if let Ok(expression) = expression::parse(text)
        && may_name
    {
        expression.name_templates(&mut named);
    }
    named
}

/// Knows no names: `service:` in a query text is then refused.
#[derive(Debug, Clone, Copy)]
pub struct Nameless;

impl Names for Nameless {
    fn services(&self, _: &dyn Fn(&str) -> bool) -> Vec<ServiceId> {
        Vec::new()
    }
}

/// The handle; clones share one index.
#[derive(Clone)]
pub struct Index {
    inner: Arc<Inner>,
}

struct Inner {
    directory: PathBuf,
    fields: Fields,
    days: RwLock<BTreeMap<i32, Arc<Day>>>,
    /// Held for as long as lines are handed over or committed.
    writers: Mutex<Writers>,
    budget: Arc<Budget>,
    rebuilt: Vec<(i32, String)>,
    /// Held as long as the index is open.
    _lock: File,
}

impl Index {
    /// Opens all days; a day that is damaged or of another version is replaced by an empty one, and
    /// [`Index::rebuilt`] tells.
    ///
    /// Checks the checksums of up to 1 GiB of files, the newest day's and small ones first. [`Error::Locked`]
    /// when another instance has the directory; [`Error::Io`] and [`Error::Index`] when not even an empty
    /// index can be made.
    pub fn open(options: Options) -> Result<Self, Error> {
        if !(15_000_000..=2_000_000_000).contains(&options.writer_bytes) {
            return Err(Error::Options { reason: "the writer needs between 15 MB and 2 GB" });
        }
        let directory = options.directory;
        let lock = home::lock(&directory)?;
        let (mut days, mut rebuilt) = (BTreeMap::new(), Vec::new());
        let mut bytes_left = CHECKED_BYTES_MAX;
        for number in home::days(&directory)? {
            let (day, reason) = Day::open(&directory, number, &mut bytes_left)?;
            days.insert(number, Arc::new(day));
            rebuilt.extend(reason.map(|reason| (number, reason)));
        }
        Ok(Self {
            inner: Arc::new(Inner {
                directory,
                fields: schema::schema().1,
                days: RwLock::new(days),
                writers: Mutex::new(Writers::new(options.writer_bytes)),
                budget: Arc::new(Budget::new(WAITING_BYTES_MAX)),
                rebuilt,
                _lock: lock,
            }),
        })
    }

    /// The days that opening began anew although there was something, each with the reason.
    pub fn rebuilt(&self) -> &[(i32, String)] {
        &self.inner.rebuilt
    }

    /// Each day with the row up to which everything is indexed and committed, oldest first.
    pub fn positions(&self) -> Vec<(i32, i64)> {
        self.days().iter().map(|day| (day.number(), day.position())).collect()
    }

    /// The row up to which everything of `day` is indexed and committed; where nothing is, the one before the
    /// day's first.
    pub fn position_of(&self, day: i32) -> i64 {
        let days = self.inner.days.read().unwrap_or_else(PoisonError::into_inner);
        days.get(&day).map_or(i64::from(day) << DAY_BITS, |day| day.position())
    }

    /// The newest day's position; 0 where there is no day.
    pub fn position(&self) -> i64 {
        self.days().last().map_or(0, |day| day.position())
    }

    /// Takes lines for indexing; they are found after the next [`Index::commit`].
    ///
    /// Rows that the day already took are passed over, so adding again finds nothing twice. Waits while
    /// 16 MiB of lines wait for the indexing thread, and, when lines of a third day come, while the day that
    /// waited longest is committed. After an error go on from [`Index::position_of`].
    pub fn add<'a, D, A, K, V>(&self, documents: D) -> Result<(), Error>
    where
        D: IntoIterator<Item = Document<'a, A>>,
        A: IntoIterator<Item = (K, V)>,
        K: AsRef<str>,
        V: AsRef<str>,
    {
        let mut writers = self.writers();
        let mut batch = Batch::default();
        for document in documents {
            let (row, number) = (document.row, day_of(document.row));
            if batch.day.as_ref().is_none_or(|day| day.number() != number) {
                batch.hand_over(&mut writers)?;
                let day = self.day(number)?;
                batch.added = writers.added(&day);
                batch.day = Some(day);
            }
            if row <= batch.added {
                continue;
            }
            let Some(line) = Line::new(document, &self.inner.fields, &self.inner.budget, PATIENCE) else {
                writers.give_up_all();
                return Err(Error::Stalled);
            };
            batch.added = row;
            batch.bytes += line.bytes();
            batch.lines.push(UserOperation::Add(line));
            if batch.lines.len() == BATCH_LINES || BATCH_BYTES < batch.bytes {
                batch.hand_over(&mut writers)?;
            }
        }
        batch.hand_over(&mut writers)
    }

    /// Makes everything added findable and durable, and each day's position its highest row that was added.
    ///
    /// After an error go on from [`Index::position_of`]; the other days are committed nevertheless.
    pub fn commit(&self) -> Result<(), Error> {
        self.writers().commit()
    }

    /// Closes the writers of days that took nothing for ten minutes; their memory is free then.
    pub fn close_idle(&self) {
        self.writers().close_idle();
    }

    /// Forgets a day and removes its files; one that is not there is forgotten already.
    pub fn drop_day(&self, day: i32) -> Result<(), Error> {
        let mut writers = self.writers();
        writers.give_up(day);
        let removed = self.inner.days.write().unwrap_or_else(PoisonError::into_inner).remove(&day);
        // Searches that still read it keep its files until they are done.
        removed.map_or(Ok(()), |day| home::remove(day.folder()))
    }

    /// The newest lines of `tenant` that match.
    ///
    /// [`Error::Query`] with position and remedy for a text that cannot be understood; [`Error::Damaged`]
    /// when the files of a day turn out to be; the next start then begins it with an empty index.
    pub fn search(&self, tenant: TenantNumber, ask: &Ask, names: &dyn Names) -> Result<Hits, Error> {
        let watch = Watch::new(ask.waiting.clone());
        let query = self.inner.fields.query(tenant, ask, Whom { names, watch: &watch })?;
        let Window { from, to } = ask.window;
        if to <= from {
            return Ok(Hits { total: Some(0), ..Hits::default() });
        }
        let limit = ask.limit.min(LIMIT_MAX);
        let before = ask.before.map(|(time, row)| (time.0, row));
        // One more than asked for tells whether there is another page.
        let mut newest = Newest::new(ask.window, limit + 1, before, watch);
        let (first, last) = (from.0.div_euclid(NANOS_PER_DAY), (to.0 - 1).div_euclid(NANOS_PER_DAY));
        let newest_day = before.map_or(i64::MAX, |(time, _)| time.div_euclid(NANOS_PER_DAY));
        let mut is_whole = true;
        // Day 0 may hold any time, so it comes last and always.
        for day in self.days().iter().rev() {
            let number = i64::from(day.number());
            if number != 0 && !(first..=last).contains(&number) {
                continue;
            }
            if number != 0 && (newest_day < number || newest.is_full()) {
                is_whole = false;
                continue;
            }
            day.search(&*query, &mut newest)?;
            if newest.is_given_up() {
                break;
            }
        }
        let total = is_whole.then_some(newest.total());
        let matches = newest.into_matches();
        let more = limit < matches.len();
        Ok(Hits { rows: matches.into_iter().take(limit).map(|(_, row)| row).collect(), total, more })
    }

    /// The index now.
    pub fn stats(&self) -> Stats {
        let days = self.days();
        let sizes = days.iter().map(|day| day.size());
        let (documents, segments) =
            sizes.fold((0, 0), |sum, (documents, segments)| (sum.0 + documents, sum.1 + segments));
        Stats { documents, segments, days: days.len() }
    }

    /// All days, oldest first.
    fn days(&self) -> Vec<Arc<Day>> {
        self.inner.days.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// The day of this number, begun where there is none; the writers are locked.
    fn day(&self, number: i32) -> Result<Arc<Day>, Error> {
        let days = self.inner.days.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(day) = days.get(&number) {
            return Ok(Arc::clone(day));
        }
        drop(days);
        if !(0..=home::DAY_MAX).contains(&number) {
            return Err(Error::Day { day: number });
        }
        let day = Arc::new(Day::create(&self.inner.directory, number)?);
        let mut days = self.inner.days.write().unwrap_or_else(PoisonError::into_inner);
        days.insert(number, Arc::clone(&day));
        Ok(day)
    }

    fn writers(&self) -> MutexGuard<'_, Writers> {
        self.inner.writers.lock().unwrap_or_else(|poisoned: PoisonError<_>| {
            // A panic in the middle of writing: what the writers hold is not known, so they start afresh.
            let mut writers = poisoned.into_inner();
            writers.give_up_all();
            writers
        })
    }
}

/// Lines of one day on their way to its writer.
#[derive(Default)]
struct Batch {
    day: Option<Arc<Day>>,
    lines: Vec<UserOperation<Line>>,
    bytes: usize,
    /// The highest row that the day has or will have with these lines.
    added: i64,
}

impl Batch {
    fn hand_over(&mut self, writers: &mut Writers) -> Result<(), Error> {
        self.bytes = 0;
        match &self.day {
            Some(day) if !self.lines.is_empty() => {
                let lines = std::mem::replace(&mut self.lines, Vec::with_capacity(BATCH_LINES));
                writers.hand_over(day, lines, self.added)
            }
            _ => Ok(()),
        }
    }
}

impl std::fmt::Debug for Index {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Index").field("stats", &self.stats()).finish_non_exhaustive()
    }
}
