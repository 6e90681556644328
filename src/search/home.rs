//! The directory of the index: locking, opening, replacing what cannot be used.
//!
//! `search.lock` keeps a second instance out, `index/` holds tantivy's files and nothing else, and `damaged`
//! is left by a search that found damage, for the next start.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};

use tantivy::directory::MmapDirectory;
use tantivy::error::DataCorruption;
use tantivy::indexer::{IndexWriterOptions, LogMergePolicy};
use tantivy::{Index, IndexReader, IndexWriter, ReloadPolicy, TantivyError};
use tracing::warn;

use super::error::Error;
use super::line::Line;
use super::schema::{self, Fields, VERSION};

/// Bytes whose checksums are verified when the index is opened.
const CHECKED_BYTES_MAX: u64 = 1024 * 1024 * 1024;
/// Removed lines of a segment, as a share of all, that make it worth writing anew.
const REMOVED_SHARE: f32 = 0.3;

/// An index that can be written and read.
pub(super) struct Opened {
    pub(super) index: Index,
    pub(super) reader: IndexReader,
    pub(super) writer: IndexWriter<Line>,
    pub(super) fields: Fields,
    pub(super) position: i64,
    /// Why it is empty although there was something.
    pub(super) rebuilt: Option<String>,
}

/// Creates the directory and locks it against a second instance.
pub(super) fn lock(directory: &Path) -> Result<File, Error> {
    fs::create_dir_all(directory).map_err(Error::io("create", directory))?;
    let path = directory.join("search.lock");
    let file = OpenOptions::new().write(true).create(true).truncate(false).open(&path);
    let file = file.map_err(Error::io("open", &path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(Error::Locked { directory: directory.to_owned() }),
        Err(TryLockError::Error(source)) => Err(Error::io("lock", &path)(source)),
    }
}

/// Opens what is in the locked `directory`, or replaces it by an empty index.
pub(super) fn open(directory: &Path, writer_bytes: usize) -> Result<Opened, Error> {
    let (home, mark) = (home(directory), mark(directory));
    let reason = if mark.exists() {
        "a search found damage".to_owned()
    } else if !home.exists() {
        return create(&home, writer_bytes);
    } else {
        match load(directory, writer_bytes) {
            Ok(opened) => return Ok(opened),
            Err(reason) => reason,
        }
    };
    warn!(path = %home.display(), reason, "the search index is replaced by an empty one and filled again");
    if home.is_dir() {
        fs::remove_dir_all(&home).map_err(Error::io("remove", &home))?;
    } else if home.exists() {
        fs::remove_file(&home).map_err(Error::io("remove", &home))?;
    }
    let opened = create(&home, writer_bytes)?;
    if mark.exists() {
        fs::remove_file(&mark).map_err(Error::io("remove", &mark))?;
    }
    Ok(Opened { rebuilt: Some(reason), ..opened })
}

/// Asks the next start to replace the index.
pub(super) fn mark_damaged(directory: &Path) {
    let mark = mark(directory);
    if let Err(cause) = File::create(&mark) {
        warn!(path = %mark.display(), %cause, "cannot note that the search index is damaged");
    }
}

/// Where tantivy's files are.
fn home(directory: &Path) -> PathBuf {
    directory.join("index")
}

fn mark(directory: &Path) -> PathBuf {
    directory.join("damaged")
}

/// Commits everything handed to the writer, with the position.
pub(super) fn commit(writer: &mut IndexWriter<Line>, position: i64) -> tantivy::Result<()> {
    let mut prepared = writer.prepare_commit()?;
    prepared.set_payload(&format!("{VERSION} {position}"));
    prepared.commit().map(|_| ())
}

/// The one writer: one thread that indexes and one that merges.
pub(super) fn writer(index: &Index, writer_bytes: usize) -> tantivy::Result<IndexWriter<Line>> {
    let options = IndexWriterOptions::builder()
        .num_worker_threads(1)
        .num_merge_threads(1)
        .memory_budget_per_thread(writer_bytes)
        .build();
    let writer = index.writer_with_options(options)?;
    let mut policy = LogMergePolicy::default();
    policy.set_del_docs_ratio_before_merge(REMOVED_SHARE);
    writer.set_merge_policy(Box::new(policy));
    Ok(writer)
}

fn create(home: &Path, writer_bytes: usize) -> Result<Opened, Error> {
    fs::create_dir_all(home).map_err(Error::io("create", home))?;
    let (schema, fields) = schema::schema();
    let directory = MmapDirectory::open(home).map_err(TantivyError::from)?;
    let index = Index::create(directory, schema, tantivy::IndexSettings::default())?;
    schema::register_words(&index);
    let mut writer = writer(&index, writer_bytes)?;
    commit(&mut writer, 0)?;
    let reader = reader(&index)?;
    Ok(Opened { index, reader, writer, fields, position: 0, rebuilt: None })
}

/// Opens an index, or tells why it cannot be used.
fn load(directory: &Path, writer_bytes: usize) -> Result<Opened, String> {
    let say = |cause: TantivyError| cause.to_string();
    let files = MmapDirectory::open(home(directory)).map_err(|cause| cause.to_string())?;
    let index = Index::open(files).map_err(say)?;
    let (schema, fields) = schema::schema();
    let payload = index.load_metas().map_err(say)?.payload.unwrap_or_default();
    let (version, position) = payload.split_once(' ').ok_or("it has no position")?;
    if version != VERSION.to_string() || index.schema() != schema {
        return Err(format!("it has version {version}, this program needs {VERSION}"));
    }
    let position = position.parse().map_err(|_| "its position cannot be read")?;
    check(directory, &index).map_err(say)?;
    schema::register_words(&index);
    let writer = writer(&index, writer_bytes).map_err(say)?;
    let reader = reader(&index).map_err(say)?;
    Ok(Opened { index, reader, writer, fields, position, rebuilt: None })
}

fn reader(index: &Index) -> tantivy::Result<IndexReader> {
    index.reader_builder().reload_policy(ReloadPolicy::Manual).try_into()
}

/// Verifies checksums, smallest files first, until [`CHECKED_BYTES_MAX`] were read.
pub(super) fn check(directory: &Path, index: &Index) -> tantivy::Result<()> {
    let home = home(directory);
    let mut files = Vec::new();
    for path in index.load_metas()?.list_segment_files() {
        // All files that segments could have are listed; opening the reader tells which are missed.
        if let Ok(metadata) = fs::metadata(home.join(&path)) {
            files.push((metadata.len(), path));
        }
    }
    files.sort();
    let mut checked = 0;
    for (bytes, path) in files {
        checked += bytes;
        if CHECKED_BYTES_MAX < checked {
            break;
        }
        if !index.directory().validate_checksum(&path)? {
            return Err(DataCorruption::new(path, "the checksum does not hold".into()).into());
        }
    }
    Ok(())
}
