//! The directory of the index: its lock, and one folder for each day.
//!
//! `search.lock` keeps a second instance out; `20261128/` is the index of that day.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};

use jiff::civil::{Date, date};
use jiff::{Span, Unit};
use tracing::warn;

use super::error::Error;

/// The day from which days are counted.
const EPOCH: Date = date(1970, 1, 1);
/// 31 December 9999, the last day that can be written.
pub(super) const DAY_MAX: i32 = 2_932_896;

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

/// The days that have a folder, newest first. What earlier versions left is removed: it is built anew.
pub(super) fn days(directory: &Path) -> Result<Vec<i32>, Error> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).map_err(Error::io("list", directory))? {
        let path = entry.map_err(Error::io("list", directory))?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if let Some(day) = day(name) {
            found.push(day);
        } else if name == "index" || name == "damaged" {
            warn!(path = %path.display(), "the search index of an earlier version is removed and built anew");
            remove(&path)?;
        }
    }
    found.sort_unstable_by(|one, other| other.cmp(one));
    Ok(found)
}

/// Where a day's index is, with the day as year, month and day.
pub(super) fn folder(directory: &Path, day: i32) -> PathBuf {
    let date = EPOCH.saturating_add(Span::new().days(day.clamp(0, DAY_MAX)));
    directory.join(format!("{:04}{:02}{:02}", date.year(), date.month(), date.day()))
}

/// Removes a file, or a folder with all in it; one that is not there is removed already.
pub(super) fn remove(path: &Path) -> Result<(), Error> {
    let removed = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    match removed {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Error::io("remove", path)(error)),
        _ => Ok(()),
    }
}

/// The day that a folder's name says; none for other names.
fn day(name: &str) -> Option<i32> {
    if name.len() != 8 || !name.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let date = Date::new(name[..4].parse().ok()?, name[4..6].parse().ok()?, name[6..].parse().ok()?).ok()?;
    let days = EPOCH.until((Unit::Day, date)).ok()?.get_days();
    (0..=DAY_MAX).contains(&days).then_some(days)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_named_after_their_day() {
        for (number, name) in
            [(0, "19700101"), (1, "19700102"), (59, "19700301"), (20_785, "20261128"), (DAY_MAX, "99991231")]
        {
            assert_eq!(folder(Path::new(""), number), Path::new(name), "{number}");
            assert_eq!(day(name), Some(number), "{name}");
        }
        for name in ["", "index", "2026112", "20261328", "19691231", "2026-1-1", "search.lock"] {
            assert_eq!(day(name), None, "{name}");
        }
    }

    #[test]
    fn what_an_earlier_version_left_is_removed() {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir_all(directory.path().join("index")).unwrap();
        fs::create_dir_all(directory.path().join("20261128")).unwrap();
        fs::create_dir_all(directory.path().join("19700101")).unwrap();
        fs::write(directory.path().join("damaged"), "").unwrap();
        assert_eq!(days(directory.path()).unwrap(), [20_785, 0]);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 2);
    }
}
