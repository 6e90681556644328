//! The file operations of the journal, behind a trait so that tests can make each of them fail, and lose power.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::space::Room;

/// A file system, as far as the journal uses one.
pub(super) trait Disk: Send + std::marker::Sync {
    /// The paths of the files in `directory`, in any order.
    fn list(&self, directory: &Path) -> io::Result<Vec<PathBuf>>;
    /// Opens a file for reading.
    fn open(&self, path: &Path) -> io::Result<Box<dyn Content>>;
    /// Creates a file that must not exist yet.
    fn create(&self, path: &Path) -> io::Result<Box<dyn SegmentFile>>;
    /// Cuts a file at `length`, durably, so that what followed never reappears.
    fn truncate(&self, path: &Path, length: u64) -> io::Result<()>;
    /// Makes the content and the length of a file durable.
    fn sync(&self, path: &Path) -> io::Result<()>;
    /// Makes the creation and removal of files in `directory` durable.
    fn sync_directory(&self, directory: &Path) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// How much room is left for files in `directory`.
    fn room(&self, directory: &Path) -> io::Result<Room>;
    /// Copies a file; the copy appears under its name only once it is whole.
    fn copy(&self, from: &Path, to: &Path) -> io::Result<()>;
}

/// One segment that is being written.
pub(super) trait SegmentFile: Send {
    /// Claims room, so that no append up to `bytes` of the file fails for want of it; its length stays as it is. Where the
    /// file system cannot do so nothing is claimed.
    fn reserve(&mut self, bytes: u64) -> io::Result<()>;
    /// Appends all of `bytes`; after a failure any part of them may be in the file.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;
    /// Returns once everything appended is on the device. After a failure the kernel may have forgotten which
    /// pages were dirty, so a second call would succeed without having written them: there must be none.
    fn sync(&mut self) -> io::Result<()>;
}

/// One file that is being read.
pub(super) trait Content: Send {
    /// Bytes of the file when it was opened.
    fn length(&self) -> u64;
    /// Fills `buffer` anew with up to `bytes` bytes from `offset` on; fewer where the file ends.
    fn read(&mut self, offset: u64, bytes: u64, buffer: &mut Vec<u8>) -> io::Result<()>;
}

/// The file system of the machine.
pub(super) struct FileSystem;

impl Disk for FileSystem {
    fn list(&self, directory: &Path) -> io::Result<Vec<PathBuf>> {
        fs::read_dir(directory)?.map(|entry| Ok(entry?.path())).collect()
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn Content>> {
        let file = File::open(path)?;
        let length = file.metadata()?.len();
        Ok(Box::new(Opened { file, length }))
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn SegmentFile>> {
        let file = OpenOptions::new().write(true).create_new(true).open(path)?;
        Ok(Box::new(file))
    }

    fn truncate(&self, path: &Path, length: u64) -> io::Result<()> {
        let file = OpenOptions::new().write(true).open(path)?;
        file.set_len(length)?;
        file.sync_all()
    }

    fn sync(&self, path: &Path) -> io::Result<()> {
        OpenOptions::new().write(true).open(path)?.sync_all()
    }

    fn sync_directory(&self, directory: &Path) -> io::Result<()> {
        // Only Unix can open a directory; elsewhere the file system journals names on its own.
        if cfg!(unix) { File::open(directory)?.sync_all() } else { Ok(()) }
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn room(&self, directory: &Path) -> io::Result<Room> {
        let found = rustix::fs::statvfs(directory)?;
        let bytes = |blocks: u64| blocks.saturating_mul(found.f_frsize);
        Ok(Room { free: bytes(found.f_bavail), whole: bytes(found.f_blocks) })
    }

    fn copy(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut partial = to.as_os_str().to_owned();
        partial.push(".partial");
        let copied = fs::copy(from, &partial).and_then(|_| fs::rename(&partial, to));
        if copied.is_err() {
            // Should it stay all the same, nobody reads it.
            let _ = fs::remove_file(&partial);
        }
        copied
    }
}

impl SegmentFile for File {
    #[cfg(target_os = "linux")]
    fn reserve(&mut self, bytes: u64) -> io::Result<()> {
        use rustix::fs::{FallocateFlags, fallocate};
        use rustix::io::Errno;
        match fallocate(&*self, FallocateFlags::KEEP_SIZE, 0, bytes) {
            Err(cause @ (Errno::NOSPC | Errno::DQUOT)) => Err(cause.into()),
            _ => Ok(()),
        }
    }

    #[cfg(not(target_os = "linux"))]
    fn reserve(&mut self, _: u64) -> io::Result<()> {
        Ok(())
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.write_all(bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.sync_data()
    }
}

/// A file of the file system, open for reading.
struct Opened {
    file: File,
    length: u64,
}

impl Content for Opened {
    fn length(&self) -> u64 {
        self.length
    }

    fn read(&mut self, offset: u64, bytes: u64, buffer: &mut Vec<u8>) -> io::Result<()> {
        buffer.clear();
        self.file.seek(SeekFrom::Start(offset))?;
        (&mut self.file).take(bytes).read_to_end(buffer)?;
        Ok(())
    }
}
