//! Files that are on the device when it is said that they are, with their digests.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::error::Error;
use super::progress::Progress;

/// Bytes that are read at a time.
const READ_BYTES: usize = 1024 * 1024;

/// The length and SHA-256 of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Print {
    /// Bytes.
    pub(super) bytes: u64,
    /// SHA-256 in lower-case hexadecimal.
    pub(super) digest: String,
}

/// Counts and digests what is written through it.
pub(super) struct Printer<W> {
    inner: W,
    hasher: Sha256,
    bytes: u64,
}

impl<W> Printer<W> {
    /// Writes on to `inner`.
    pub(super) fn new(inner: W) -> Self {
        Self { inner, hasher: Sha256::new(), bytes: 0 }
    }

    /// What was written through it, and what it wrote to.
    pub(super) fn finish(self) -> (W, Print) {
        (self.inner, Print { bytes: self.bytes, digest: hex(&self.hasher.finalize()) })
    }
}

impl<W: Write> Write for Printer<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// Bytes in lower-case hexadecimal.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The print of a file, read once from its beginning to its end; progress counts its bytes.
pub(super) fn print(path: &Path, progress: &Progress) -> Result<Print, Error> {
    copy_to(path, io::sink(), progress).map(|(_, print)| print)
}

/// Copies `from` to `to`, which is replaced, and returns when the copy is on the device (its name is not: see
/// [`sync_directory`]).
pub(super) fn copy(from: &Path, to: &Path, progress: &Progress) -> Result<Print, Error> {
    let file = File::create(to).map_err(Error::io("create", to))?;
    let (file, print) = copy_to(from, file, progress)?;
    file.sync_all().map_err(Error::io("sync", to))?;
    Ok(print)
}

fn copy_to<W: Write>(from: &Path, to: W, progress: &Progress) -> Result<(W, Print), Error> {
    let mut file = File::open(from).map_err(Error::io("open", from))?;
    let mut printer = Printer::new(to);
    let mut buffer = vec![0; READ_BYTES];
    loop {
        let read = file.read(&mut buffer).map_err(Error::io("read", from))?;
        if read == 0 {
            return Ok(printer.finish());
        }
        printer.write_all(&buffer[..read]).map_err(Error::io("copy", from))?;
        progress.add(read as u64);
    }
}

/// Writes a small file whole or not at all: under another name, synced, renamed, and the directory synced.
pub(super) fn write(path: &Path, content: &[u8]) -> Result<(), Error> {
    let mut partial = path.as_os_str().to_owned();
    partial.push(".partial");
    let partial = PathBuf::from(partial);
    let mut file = File::create(&partial).map_err(Error::io("create", &partial))?;
    file.write_all(content).and_then(|()| file.sync_all()).map_err(Error::io("write", &partial))?;
    fs::rename(&partial, path).map_err(Error::io("rename to", path))?;
    sync_directory(parent(path))
}

/// Makes the names in `directory` durable.
pub(super) fn sync_directory(directory: &Path) -> Result<(), Error> {
    if cfg!(unix) {
        File::open(directory).and_then(|file| file.sync_all()).map_err(Error::io("sync", directory))?;
    }
    Ok(())
}

/// The directory that holds `path`.
pub(super) fn parent(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// The length of a file; 0 where there is none.
pub(super) fn length(path: &Path) -> u64 {
    path.metadata().map_or(0, |metadata| metadata.len())
}

/// Errs unless `wanted` bytes are free below `directory`, which exists.
pub(super) fn check_space(directory: &Path, wanted: u64) -> Result<(), Error> {
    let found = rustix::fs::statvfs(directory)
        .map_err(|cause| Error::io("tell the free space of", directory)(cause.into()))?;
    let free = found.f_bavail.saturating_mul(found.f_frsize);
    if free < wanted { Err(Error::Space { path: directory.to_owned(), free, wanted }) } else { Ok(()) }
}
