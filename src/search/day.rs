//! The index of one day: opening it, replacing what cannot be used, reading and committing.
//!
//! Its folder holds tantivy's files, and `damaged` where a search found damage, for the next start.

use std::fs::{self, File};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::thread;

use tantivy::directory::MmapDirectory;
use tantivy::error::DataCorruption;
use tantivy::index::{IndexSortByField, Order};
use tantivy::indexer::IndexWriterOptions;
use tantivy::query::Query;
use tantivy::{Index, IndexReader, IndexSettings, IndexWriter, ReloadPolicy, TantivyError};
use tracing::warn;

use super::error::Error;
use super::home;
use super::line::Line;
use super::merges;
use super::newest::Newest;
use super::schema::{self, VERSION};
use crate::threads::Rank;

/// One day's index; can be read, and written through the one writer.
pub(super) struct Day {
    number: i32,
    folder: PathBuf,
    index: Index,
    reader: IndexReader,
    /// The highest row that is committed, or the one before the day's first.
    position: AtomicI64,
    /// The index's code panicked in a search, and its checksums were verified.
    has_panicked: AtomicBool,
}

impl Day {
    /// Opens the index of day `number`, or replaces it by an empty one and tells why.
    ///
    /// Verifies checksums, smallest files first, and takes what it read off `bytes_left`.
    pub(super) fn open(
        directory: &Path,
        number: i32,
        bytes_left: &mut u64,
    ) -> Result<(Self, Option<String>), Error> {
        let folder = home::folder(directory, number);
        let reason = if mark(&folder).exists() {
            "a search found damage".to_owned()
        } else {
            match Self::load(folder.clone(), number, bytes_left) {
                Ok(day) => return Ok((day, None)),
                Err(reason) => reason,
            }
        };
        let path = folder.display();
        warn!(%path, reason, "this day's search index is replaced by an empty one and filled again");
        home::remove(&folder)?;
        Ok((Self::create(directory, number)?, Some(reason)))
    }

    /// Begins an empty index.
    pub(super) fn create(directory: &Path, number: i32) -> Result<Self, Error> {
        let folder = home::folder(directory, number);
        fs::create_dir_all(&folder).map_err(Error::io("create", &folder))?;
        let (schema, _) = schema::schema();
        let files = MmapDirectory::open(&folder).map_err(TantivyError::from)?;
        let sort = IndexSortByField { field: schema::TEMPLATE.to_owned(), order: Order::Asc };
        let settings = IndexSettings {
            sort_by_field: Some(sort),
            docstore_compress_dedicated_thread: false,
            ..IndexSettings::default()
        };
        let index = Index::create(files, schema, settings)?;
        schema::register_words(&index);
        let position = before(number);
        // A folder without a position would be taken for a damaged one.
        let mut writer: IndexWriter<Line> = index.writer_with_num_threads(1, 15_000_000)?;
        commit(&mut writer, position)?;
        drop(writer);
        let reader = reader(&index)?;
        let has_panicked = AtomicBool::new(false);
        Ok(Self { number, folder, index, reader, position: AtomicI64::new(position), has_panicked })
    }

    /// Opens what is there, or tells why it cannot be used.
    fn load(folder: PathBuf, number: i32, bytes_left: &mut u64) -> Result<Self, String> {
        let say = |cause: TantivyError| cause.to_string();
        let files = MmapDirectory::open(&folder).map_err(|cause| cause.to_string())?;
        let index = Index::open(files).map_err(say)?;
        let (schema, _) = schema::schema();
        let payload = index.load_metas().map_err(say)?.payload.unwrap_or_default();
        let (version, position) = payload.split_once(' ').ok_or("it has no position")?;
        if version != VERSION.to_string() || index.schema() != schema {
            return Err(format!("it has version {version}, this program needs {VERSION}"));
        }
        let position = position.parse().map_err(|_| "its position cannot be read")?;
        if day_of(position) != number {
            return Err("its position is another day's".to_owned());
        }
        check(&folder, &index, bytes_left).map_err(say)?;
        schema::register_words(&index);
        let reader = reader(&index).map_err(say)?;
        let (position, has_panicked) = (AtomicI64::new(position), AtomicBool::new(false));
        Ok(Self { number, folder, index, reader, position, has_panicked })
    }

    pub(super) const fn number(&self) -> i32 {
        self.number
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The row up to which everything is committed.
    pub(super) fn position(&self) -> i64 {
        self.position.load(Ordering::Acquire)
    }

    /// Lines that can be found, and the segments they lie in.
    pub(super) fn size(&self) -> (u64, usize) {
        let searcher = self.reader.searcher();
        (searcher.num_docs(), searcher.segment_readers().len())
    }

    /// The one writer, with a thread that indexes and one that merges.
    pub(super) fn writer(&self, writer_bytes: usize) -> Result<IndexWriter<Line>, Error> {
        let options = IndexWriterOptions::builder()
            .num_worker_threads(1)
            .num_merge_threads(1)
            .memory_budget_per_thread(writer_bytes)
            .build();
        // The threads that merge and note segments have the rank of the one that makes the writer; the one that indexes is started
        // by each commit anew.
        let make = || {
            Rank::Last.take();
            self.index.writer_with_options(options)
        };
        let made = thread::scope(|scope| {
            let maker = thread::Builder::new().spawn_scoped(scope, make);
            let maker = maker.map_err(Error::io("start what merges", &self.folder))?;
            maker.join().unwrap_or_else(|panic| resume_unwind(panic)).map_err(Error::from)
        });
        let writer = made?;
        writer.set_merge_policy(Box::new(merges::Policy::new()));
        Ok(writer)
    }

    /// Commits everything handed to `writer`, which covers all rows up to `position`, and lets it be found.
    pub(super) fn commit(&self, writer: &mut IndexWriter<Line>, position: i64) -> Result<(), Error> {
        commit(writer, position)?;
        // Whoever sees the position must find everything up to it.
        let reloaded = self.reader.reload().map_err(Error::from);
        self.position.store(position, Ordering::Release);
        reloaded
    }

    /// Adds this day's matches to what was found.
    ///
    /// [`Error::Damaged`] when its files turn out to be: the next start then begins it anew.
    pub(super) fn search(&self, query: &dyn Query, newest: &mut Newest) -> Result<(), Error> {
        let searcher = self.reader.searcher();
        // A panic in the index's code must not end the thread.
        let looked = catch_unwind(AssertUnwindSafe(|| newest.look_through(&searcher, query)));
        let looked = looked.map_err(|_| self.after_panic()).and_then(|looked| looked.map_err(Error::from));
        looked.inspect_err(|error| {
            if matches!(error, Error::Damaged) {
                mark_damaged(&self.folder);
            }
        })
    }

    /// Tells damage from a defect. A query must not be able to have the index thrown away, so damage is what
    /// the checksums say; and not to have gigabytes read again and again, so they are asked once.
    fn after_panic(&self) -> Error {
        let is_first = !self.has_panicked.swap(true, Ordering::Relaxed);
        let mut bytes_left = u64::MAX;
        if is_first && check(&self.folder, &self.index, &mut bytes_left).is_err() {
            return Error::Damaged;
        }
        Error::Panicked
    }
}

/// The day of a row.
pub(super) const fn day_of(row: i64) -> i32 {
    let day = row >> super::DAY_BITS;
    if day < i32::MAX as i64 { day as i32 } else { i32::MAX }
}

/// The row before a day's first. Rows of a day count from 1, so no line has it.
const fn before(day: i32) -> i64 {
    (day as i64) << super::DAY_BITS
}

/// Asks the next start to replace the day.
pub(super) fn mark_damaged(folder: &Path) {
    let mark = mark(folder);
    if let Err(cause) = File::create(&mark) {
        warn!(path = %mark.display(), %cause, "cannot note that the search index is damaged");
    }
}

fn mark(folder: &Path) -> PathBuf {
    folder.join("damaged")
}

fn commit(writer: &mut IndexWriter<Line>, position: i64) -> tantivy::Result<()> {
    let mut prepared = writer.prepare_commit()?;
    prepared.set_payload(&format!("{VERSION} {position}"));
    prepared.commit().map(|_| ())
}

fn reader(index: &Index) -> tantivy::Result<IndexReader> {
    index.reader_builder().reload_policy(ReloadPolicy::Manual).try_into()
}

/// Verifies checksums, smallest files first, while `bytes_left` lasts.
fn check(folder: &Path, index: &Index, bytes_left: &mut u64) -> tantivy::Result<()> {
    let mut files = Vec::new();
    for path in index.load_metas()?.list_segment_files() {
        // All files that segments could have are listed; opening the reader tells which are missed.
        if let Ok(metadata) = fs::metadata(folder.join(&path)) {
            files.push((metadata.len(), path));
        }
    }
    files.sort();
    for (bytes, path) in files {
        let Some(left) = bytes_left.checked_sub(bytes) else { break };
        *bytes_left = left;
        if !index.directory().validate_checksum(&path)? {
            return Err(DataCorruption::new(path, "the checksum does not hold".into()).into());
        }
    }
    Ok(())
}
