//! A backup: the journal's segments first, then the database, then the manifest.
//!
//! In this order every record that was acknowledged before the backup began is in it: a segment that vanishes while
//! segments are copied was applied before, and the snapshot, which is taken later, has all that was applied. The
//! snapshot holds position P, the segments reach M, and the backup restores to its mark, the later of the two.

use std::fs::{self, File};
use std::io::{self, BufWriter};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::error::Error;
use super::files::{self, Print, Printer};
use super::manifest::Manifest;
use super::progress::{Progress, Unit};
use crate::clock::Clock;
use crate::journal::Lsn;
use crate::journal::copy;
use crate::store::Store;

/// The folder of the journal's segments, in a data directory and in a backup.
pub(super) const JOURNAL: &str = "journal";
/// The database in a backup, whatever it is called where it was copied from.
pub(super) const DATABASE: &str = "otelcontext.db";
/// Space that is wanted beyond what is counted, as the source may grow meanwhile.
const SPARE_BYTES: u64 = 64 * 1024 * 1024;
/// How often the growth of files is looked at.
const LOOK: Duration = Duration::from_millis(200);

/// What to back up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// The data directory, with the journal in it.
    pub data_dir: PathBuf,
    /// The database file.
    pub database: PathBuf,
}

/// A finished backup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Done {
    /// The journal position that the database in it holds.
    pub applied: u64,
    /// The last record in it.
    pub mark: u64,
    /// Bytes of all files, the manifest excepted.
    pub bytes: u64,
    /// Segments of the journal in it.
    pub segments: usize,
    /// The most bytes by which the source's write-ahead log grew while the snapshot was taken.
    pub log_growth: u64,
}

/// Backs up `source` into `target`, which is created or empty. Only reads the source; a server may be running on it.
///
/// What was made when it fails stays there without a manifest, which no restore accepts.
///
/// # Errors
/// When there is no database, `target` holds something, space is short, a file cannot be read or written, or the
/// journal lacks records that the snapshot does not have.
pub async fn run(source: &Source, target: &Path, clock: &Clock, progress: &Progress) -> Result<Done, Error> {
    let created_ns = clock.now().0;
    let size = Store::size(&source.database);
    if !source.database.is_file() {
        return Err(Error::NoDatabase { path: source.database.clone() });
    }
    let journal = source.data_dir.join(JOURNAL);
    let segments = copy::segments(&journal)?;
    let journal_bytes: u64 = segments.iter().map(|segment| segment.bytes).sum();
    prepare(target)?;
    files::check_space(target, size.database + size.log + journal_bytes + SPARE_BYTES)?;

    progress.begin("copying the journal", Unit::Bytes, journal_bytes);
    let (folder, shown) = (target.join(JOURNAL), progress.clone());
    let mut copied = blocking(move || copy_segments(&segments, &folder, &shown)).await?;
    let segments = copied.len();

    let database = target.join(DATABASE);
    progress.begin("copying the database", Unit::Bytes, size.database);
    let (snapshot, log_growth) = snapshot(source, &database, size.log, progress).await?;
    progress.begin("verifying the copy", Unit::Bytes, files::length(&database));
    let (path, shown) = (database.clone(), progress.clone());
    let print = blocking(move || {
        File::open(&path).and_then(|file| file.sync_all()).map_err(Error::io("sync", &path))?;
        files::print(&path, &shown)
    })
    .await?;
    copied.push((DATABASE.to_owned(), print));

    let folder = target.join(JOURNAL);
    let applied = snapshot.applied;
    let holding = blocking(move || Ok(copy::holding(&folder, Lsn(applied))?)).await?;
    let mark = holding.last.0.max(applied);
    if let Some(missing) = holding.missing {
        return Err(Error::Hole { missing: missing.0, applied, mark });
    }
    let product = env!("CARGO_PKG_VERSION").to_owned();
    let manifest = Manifest { product, schema: snapshot.schema, applied, mark, created_ns, files: copied };
    files::sync_directory(target)?;
    manifest.write(target)?;
    Ok(Done { applied, mark, bytes: manifest.bytes(), segments, log_growth })
}

/// Creates the directory of the backup, or takes one that is empty.
fn prepare(target: &Path) -> Result<(), Error> {
    fs::create_dir_all(target).map_err(Error::io("create", target))?;
    let mut entries = fs::read_dir(target).map_err(Error::io("list", target))?;
    if entries.next().is_some() {
        return Err(Error::NotEmpty { path: target.to_owned() });
    }
    let journal = target.join(JOURNAL);
    fs::create_dir(&journal).map_err(Error::io("create", &journal))?;
    files::sync_directory(files::parent(target))
}

/// Copies the segments, oldest first; answers those that were still there.
fn copy_segments(
    segments: &[copy::Segment],
    folder: &Path,
    progress: &Progress,
) -> Result<Vec<(String, Print)>, Error> {
    let mut copied = Vec::new();
    for segment in segments {
        let path = folder.join(&segment.name);
        let file = File::create_new(&path).map_err(Error::io("create", &path))?;
        let mut printer = Printer::new(BufWriter::new(file));
        let found = copy::copy(segment, &mut printer)?;
        progress.add(segment.bytes);
        if found.is_none() {
            fs::remove_file(&path).map_err(Error::io("remove", &path))?;
            continue;
        }
        let (writer, print) = printer.finish();
        let file = writer.into_inner().map_err(io::IntoInnerError::into_error);
        file.and_then(|file| file.sync_all()).map_err(Error::io("sync", &path))?;
        copied.push((format!("{JOURNAL}/{}", segment.name), print));
    }
    files::sync_directory(folder)?;
    Ok(copied)
}

/// Takes the snapshot; answers it with the growth of the source's write-ahead log meanwhile.
async fn snapshot(
    source: &Source,
    target: &Path,
    log_before: u64,
    progress: &Progress,
) -> Result<(crate::store::snapshot::Snapshot, u64), Error> {
    let mut highest = log_before;
    let taking = Store::snapshot(&source.database, target);
    tokio::pin!(taking);
    loop {
        tokio::select! {
            taken = &mut taking => {
                highest = highest.max(Store::size(&source.database).log);
                return Ok((taken?, highest - log_before));
            }
            () = tokio::time::sleep(LOOK) => {
                progress.set(files::length(target));
                highest = highest.max(Store::size(&source.database).log);
                flush(target).await?;
            }
        }
    }
}

/// Brings what was written of the copy so far to the device. All of it at once, at the end, would make the syncs of the
/// server's journal on the same file system wait for it.
async fn flush(target: &Path) -> Result<(), Error> {
    let path = target.to_owned();
    blocking(move || match File::open(&path) {
        Ok(file) => file.sync_data().map_err(Error::io("sync", &path)),
        // Nothing was written yet.
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(source) => Err(Error::io("open", &path)(source)),
    })
    .await
}

/// Runs file work off the reactor.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    let lost = |cause: tokio::task::JoinError| Error::Store(crate::store::error::Error::Lost(cause));
    tokio::task::spawn_blocking(work).await.map_err(lost)?
}
