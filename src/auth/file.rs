//! The key file: read at the start, and again whenever it changes.
//!
//! A file that cannot be read or understood changes nothing: the keys that were read last stay, and the failure is told
//! until it is mended.

use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::SystemTime;

use super::keys::{Keys, Unreadable};

/// Longest key file, in bytes.
const FILE_BYTES_MAX: u64 = 64 << 20;

/// Why a key file was not taken.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The system refuses it.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// Others than its owner may read or change it.
    #[error("its mode is {mode:04o}: others could read or change it; run `chmod 600`")]
    Open {
        /// The permission bits.
        mode: u32,
    },
    /// It is too long.
    #[error("it has more than {FILE_BYTES_MAX} bytes")]
    TooLong,
    /// It holds something else.
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
}

/// What tells one state of a file from another.
type Stamp = (u64, Option<SystemTime>, u64);

/// The keys of a file as they were read last.
#[derive(Debug)]
pub(super) struct KeyFile {
    path: PathBuf,
    keys: RwLock<Arc<Keys>>,
    seen: Mutex<Option<Stamp>>,
}

/// What became of a look at the file.
#[derive(Debug)]
pub enum Reload {
    /// It is as it was.
    Unchanged,
    /// It was read: so many keys.
    Read(usize),
    /// It was not taken.
    Failed(Error),
}

/// Reads a key file.
///
/// # Errors
/// When others may read it, or it is no list of keys.
pub fn read(path: &Path) -> Result<Keys, Error> {
    stamped(path).map(|(keys, _)| keys)
}

fn stamped(path: &Path) -> Result<(Keys, Stamp), Error> {
    let file = File::open(path)?;
    let metadata = file.metadata()?;
    check_private(&metadata)?;
    let mut text = String::new();
    file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text)?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(Error::TooLong);
    }
    Ok((Keys::read(&text)?, stamp(&metadata)))
}

#[cfg(unix)]
fn check_private(metadata: &Metadata) -> Result<(), Error> {
    use std::os::unix::fs::MetadataExt;
    let mode = metadata.mode() & 0o7777;
    // Mounts of secrets belong to root, and are read by way of the group.
    let closed = if metadata.uid() == 0 { 0o037 } else { 0o077 };
    if mode & closed == 0 { Ok(()) } else { Err(Error::Open { mode }) }
}

#[cfg(not(unix))]
fn check_private(_metadata: &Metadata) -> Result<(), Error> {
    Ok(())
}

#[cfg(unix)]
fn stamp(metadata: &Metadata) -> Stamp {
    use std::os::unix::fs::MetadataExt;
    (metadata.ino(), metadata.modified().ok(), metadata.len())
}

#[cfg(not(unix))]
fn stamp(metadata: &Metadata) -> Stamp {
    (0, metadata.modified().ok(), metadata.len())
}

impl KeyFile {
    /// Reads `path` for the first time.
    pub(super) fn open(path: PathBuf) -> Result<Self, Error> {
        let (keys, seen) = stamped(&path)?;
        Ok(Self { path, keys: RwLock::new(Arc::new(keys)), seen: Mutex::new(Some(seen)) })
    }

    /// The same keys, apart from this file's later changes.
    pub(super) fn copied(&self) -> Self {
        let keys = RwLock::new(self.keys());
        Self { path: self.path.clone(), keys, seen: Mutex::new(None) }
    }

    /// The keys.
    pub(super) fn keys(&self) -> Arc<Keys> {
        Arc::clone(&self.keys.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Reads the file again where it changed, or was not taken the last time.
    pub(super) fn reload(&self) -> Reload {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let now = std::fs::metadata(&self.path).map(|metadata| stamp(&metadata)).ok();
        if now.is_some() && *seen == now {
            return Reload::Unchanged;
        }
        match stamped(&self.path) {
            Ok((keys, stamp)) => {
                let count = keys.iter().count();
                *self.keys.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(keys);
                *seen = Some(stamp);
                Reload::Read(count)
            }
            Err(error) => {
                *seen = None;
                Reload::Failed(error)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const NONE: &str = r#"{"keys":[]}"#;

    fn write(path: &Path, text: &str, mode: u32) {
        use std::os::unix::fs::PermissionsExt;
        // A new file each time, as editors and secret mounts do.
        let beside = path.with_extension("new");
        fs::write(&beside, text).unwrap();
        fs::set_permissions(&beside, fs::Permissions::from_mode(mode)).unwrap();
        fs::rename(beside, path).unwrap();
    }

    #[test]
    fn a_file_that_others_may_read_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("keys.json");
        for (mode, taken) in [(0o600, true), (0o400, true), (0o640, false), (0o604, false), (0o620, false)] {
            write(&path, NONE, mode);
            use std::os::unix::fs::MetadataExt;
            let by_group = mode == 0o640 && fs::metadata(&path).unwrap().uid() == 0;
            assert_eq!(read(&path).is_ok(), taken || by_group, "{mode:o}");
        }
        write(&path, NONE, 0o644);
        assert_eq!(
            read(&path).unwrap_err().to_string(),
            "its mode is 0644: others could read or change it; run `chmod 600`"
        );
    }

    #[test]
    fn i8_what_cannot_be_read_leaves_the_keys_as_they_are() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("keys.json");
        let key = |id: &str| {
            format!(r#"{{"id":"{id}","sha256":"{}","tenant":"t","scopes":["read"]}}"#, "0".repeat(64))
        };
        let one = format!(r#"{{"keys":[{}]}}"#, key("one"));
        write(&path, &one, 0o600);
        let file = KeyFile::open(path.clone()).unwrap();
        let ids = || file.keys().iter().map(|key| key.id.to_string()).collect::<Vec<_>>();
        assert!(matches!(file.reload(), Reload::Unchanged));
        for broken in [&one[..one.len() / 2], "", "{}"] {
            write(&path, broken, 0o600);
            assert!(matches!(file.reload(), Reload::Failed(_)), "{broken}");
            assert!(matches!(file.reload(), Reload::Failed(_)), "it is told until it is mended");
            assert_eq!(ids(), ["one"]);
        }
        fs::remove_file(&path).unwrap();
        assert!(matches!(file.reload(), Reload::Failed(Error::Io(_))));
        assert_eq!(ids(), ["one"]);
        write(&path, &format!(r#"{{"keys":[{}]}}"#, key("two")), 0o600);
        assert!(matches!(file.reload(), Reload::Read(1)));
        assert_eq!(ids(), ["two"]);
        write(&path, NONE, 0o600);
        assert!(matches!(file.reload(), Reload::Read(0)));
        assert!(ids().is_empty());
    }
}
