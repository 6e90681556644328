//! A restore: everything is verified, then copied under temporary names, then put in place by renames.
//!
//! Up to the first rename nothing of what was there is changed. From then on a mark in the data directory tells how
//! far it is; a restore that was killed is simply run again, and a server does not start until it was. The lock of
//! the journal is held throughout.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::backup::{DATABASE, JOURNAL, blocking};
use super::error::Error;
use super::files;
use super::manifest::Manifest;
use super::progress::{Progress, Unit};
use super::unfinished::{self, Phase};
use crate::clock::Clock;
use crate::journal::copy;
use crate::journal::{self, Lsn};
use crate::store::Store;

/// The folder for copies that are not in place yet.
const PARTIAL: &str = "restore.partial";
/// What belongs to the data beside journal and database: derived from it, or what it refused.
const BESIDE: [&str; 2] = ["search", "dlq"];
/// The one file of the journal that stays: the lock on it is held.
const LOCK: &str = "journal.lock";
/// Space that is wanted beyond what is counted.
const SPARE_BYTES: u64 = 16 * 1024 * 1024;

/// Where to restore to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Destination {
    /// The data directory, with the journal in it.
    pub data_dir: PathBuf,
    /// The database file.
    pub database: PathBuf,
}

/// A finished restore.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Done {
    /// The last record of the backup; the next start replays up to it.
    pub mark: u64,
    /// The journal position that the database holds.
    pub applied: u64,
    /// Bytes of all files.
    pub bytes: u64,
    /// The release that made the backup.
    pub product: String,
    /// When the backup began, in nanoseconds since 1970.
    pub created_ns: i64,
    /// The folders in which data that was there before is now.
    pub aside: Vec<PathBuf>,
}

/// Restores the backup at `backup` to `destination`, which has no data, or with `force` any data, which is moved to a
/// folder `before-restore-…` beside it.
///
/// # Errors
/// When the backup is damaged, unfinished or of a newer release, a server runs on the destination, it holds data and
/// `force` is off, space is short, or a file cannot be read or written.
pub async fn run(
    backup: &Path,
    destination: &Destination,
    force: bool,
    clock: &Clock,
    progress: &Progress,
) -> Result<Done, Error> {
    let manifest = verify(backup, progress).await?;
    let folder = format!("before-restore-{}", clock.now().seconds());
    let work = Work {
        backup: backup.to_owned(),
        destination: destination.clone(),
        manifest: manifest.clone(),
        progress: progress.clone(),
    };
    let aside = blocking(move || work.run(force, folder, &mut || Ok(()))).await?;
    let bytes = manifest.bytes();
    let Manifest { mark, applied, product, created_ns, .. } = manifest;
    Ok(Done { mark, applied, bytes, product, created_ns, aside })
}

/// Verifies the backup at `backup`: its manifest, the lengths and digests of its files, the pages and the schema of
/// its database, and that no record up to its mark is missing. Changes nothing.
pub(super) async fn verify(backup: &Path, progress: &Progress) -> Result<Manifest, Error> {
    let (folder, shown) = (backup.to_owned(), progress.clone());
    let manifest = blocking(move || {
        let manifest = Manifest::read(&folder)?;
        shown.begin("verifying the backup", Unit::Bytes, manifest.bytes());
        check_files(&folder, &manifest, &shown)?;
        Ok(manifest)
    })
    .await?;
    let database = backup.join(DATABASE);
    let damaged = |what| Error::Damaged { path: database.clone(), what };
    progress.begin("verifying the database", Unit::Bytes, 0);
    let found = Store::verify_snapshot(&database).await?;
    if (found.applied, found.schema) != (manifest.applied, manifest.schema) {
        return Err(damaged("does not hold what the manifest says"));
    }
    let (folder, applied, mark) = (backup.join(JOURNAL), manifest.applied, manifest.mark);
    let holding = blocking(move || Ok(copy::holding(&folder, Lsn(applied))?)).await?;
    let last = holding.last.0.max(applied);
    match holding.missing {
        Some(missing) => Err(Error::Hole { missing: missing.0, applied, mark }),
        None if last < mark => Err(Error::Hole { missing: last + 1, applied, mark }),
        None => Ok(manifest),
    }
}

fn check_files(backup: &Path, manifest: &Manifest, progress: &Progress) -> Result<(), Error> {
    for (name, print) in &manifest.files {
        let path = backup.join(name);
        let damaged = |what| Error::Damaged { path: path.clone(), what };
        if !path.is_file() {
            return Err(damaged("is missing"));
        }
        if files::length(&path) != print.bytes {
            return Err(damaged("has another length than the manifest says"));
        }
        if files::print(&path, progress)? != *print {
            return Err(damaged("does not match its digest"));
        }
    }
    if !manifest.files.iter().any(|(name, _)| name == DATABASE) {
        return Err(Error::Damaged { path: backup.join(DATABASE), what: "is not in the manifest" });
    }
    for segment in copy::segments(&backup.join(JOURNAL))? {
        if !manifest.files.iter().any(|(name, _)| *name == format!("{JOURNAL}/{}", segment.name)) {
            return Err(Error::Damaged { path: segment.path, what: "is not in the manifest" });
        }
    }
    Ok(())
}

/// One restore of a verified backup. `step` is called before every change of the destination and may stop the work
/// there, as a kill would.
pub(super) struct Work {
    pub(super) backup: PathBuf,
    pub(super) destination: Destination,
    pub(super) manifest: Manifest,
    pub(super) progress: Progress,
}

impl Work {
    /// Does it; answers the folders with what was there before.
    pub(super) fn run(
        &self,
        force: bool,
        folder: String,
        step: &mut dyn FnMut() -> Result<(), Error>,
    ) -> Result<Vec<PathBuf>, Error> {
        let Destination { data_dir, database } = &self.destination;
        let home = files::parent(database);
        for directory in [data_dir.as_path(), home] {
            fs::create_dir_all(directory).map_err(Error::io("create", directory))?;
        }
        let journal = data_dir.join(JOURNAL);
        let _claim =
            journal::claim(&journal).map_err(|source| Error::Running { path: data_dir.clone(), source })?;
        let begun = unfinished::read(data_dir)?;
        let in_the_way = self.in_the_way()?;
        if let (None, false, Some((path, _))) = (&begun, force, in_the_way.first()) {
            return Err(Error::Occupied { path: path.clone() });
        }
        step()?;
        let staged = self.stage(step)?;

        let phase = match begun {
            Some(begun) => begun,
            None if in_the_way.is_empty() => Phase::Placing(None),
            None => Phase::Aside(folder),
        };
        step()?;
        unfinished::write(data_dir, &phase)?;
        let folder = match phase {
            Phase::Placing(folder) => {
                // All that was there is in its folder by now, so this is from an earlier try.
                for (path, _) in self.in_the_way()? {
                    step()?;
                    remove(&path)?;
                }
                folder
            }
            Phase::Aside(folder) => {
                for (path, below) in in_the_way {
                    step()?;
                    move_to(&path, &folder_of(&path, &below, &folder))?;
                }
                step()?;
                unfinished::write(data_dir, &Phase::Placing(Some(folder.clone())))?;
                Some(folder)
            }
        };
        for (from, to) in staged {
            step()?;
            fs::rename(&from, &to).map_err(Error::io("rename to", &to))?;
        }
        for directory in [&journal, home, data_dir] {
            files::sync_directory(directory)?;
        }
        step()?;
        remove(&data_dir.join(PARTIAL))?;
        unfinished::remove(data_dir)?;
        let folders = folder.into_iter().flat_map(|folder| [data_dir.join(&folder), home.join(&folder)]);
        let mut aside: Vec<PathBuf> = folders.filter(|folder| folder.exists()).collect();
        aside.dedup();
        Ok(aside)
    }

    /// Copies every file under a temporary name and checks it once more; answers from where to where each is to be
    /// renamed.
    fn stage(&self, step: &mut dyn FnMut() -> Result<(), Error>) -> Result<Vec<(PathBuf, PathBuf)>, Error> {
        let Destination { data_dir, database } = &self.destination;
        let partial = data_dir.join(PARTIAL);
        let staged_database = with_suffix(database, ".restoring");
        remove(&partial)?;
        remove(&staged_database)?;
        let home = files::parent(database);
        files::check_space(home, self.manifest.bytes() + SPARE_BYTES)?;
        files::check_space(data_dir, self.manifest.bytes() + SPARE_BYTES)?;
        fs::create_dir(&partial).map_err(Error::io("create", &partial))?;
        self.progress.begin("copying the backup", Unit::Bytes, self.manifest.bytes());
        let mut staged = Vec::new();
        for (name, print) in &self.manifest.files {
            step()?;
            let from = self.backup.join(name);
            let (temporary, place) = match name.strip_prefix("journal/") {
                Some(segment) => (partial.join(segment), data_dir.join(JOURNAL).join(segment)),
                None if name == DATABASE => (staged_database.clone(), database.clone()),
                None => return Err(Error::Damaged { path: from, what: "has no place in a backup" }),
            };
            if files::copy(&from, &temporary, &self.progress)? != *print {
                return Err(Error::Damaged { path: from, what: "changed while it was read" });
            }
            staged.push((temporary, place));
        }
        files::sync_directory(&partial)?;
        files::sync_directory(home)?;
        Ok(staged)
    }

    /// What stands where the backup is to go, each with the folder below the aside folder where it belongs.
    fn in_the_way(&self) -> Result<Vec<(PathBuf, PathBuf)>, Error> {
        let Destination { data_dir, database } = &self.destination;
        let mut found = Vec::new();
        let journal = data_dir.join(JOURNAL);
        let mut entries = Vec::new();
        for entry in fs::read_dir(&journal).map_err(Error::io("list", &journal))? {
            entries.push(entry.map_err(Error::io("list", &journal))?.path());
        }
        entries.sort_unstable();
        for path in entries {
            if path.file_name().is_some_and(|name| name != LOCK) {
                found.push((path, PathBuf::from(JOURNAL)));
            }
        }
        let databases = ["", "-wal", "-shm"].map(|suffix| with_suffix(database, suffix));
        let beside = BESIDE.map(|name| data_dir.join(name));
        let others = databases.into_iter().chain(beside).filter(|path| path.exists());
        found.extend(others.map(|path| (path, PathBuf::new())));
        Ok(found)
    }
}

/// The folder that takes `path`: beside it, but for the journal, whose folder stays.
fn folder_of(path: &Path, below: &Path, folder: &str) -> PathBuf {
    let home = files::parent(path);
    if below.as_os_str().is_empty() {
        home.join(folder)
    } else {
        files::parent(home).join(folder).join(below)
    }
}

/// Moves `path` into `folder`, durably.
fn move_to(path: &Path, folder: &Path) -> Result<(), Error> {
    fs::create_dir_all(folder).map_err(Error::io("create", folder))?;
    let target = folder.join(path.file_name().unwrap_or_default());
    fs::rename(path, &target).map_err(Error::io("rename to", &target))?;
    files::sync_directory(folder)?;
    files::sync_directory(files::parent(folder))?;
    files::sync_directory(files::parent(path))
}

/// Removes a file or folder of an earlier try, where it is there.
fn remove(path: &Path) -> Result<(), Error> {
    let removed = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    match removed {
        Err(cause) if cause.kind() != io::ErrorKind::NotFound => Err(Error::io("remove", path)(cause)),
        _ => Ok(()),
    }
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}
