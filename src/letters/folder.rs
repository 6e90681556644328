//! All letters: files in one folder, named by when their requests were received.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Error, Letter, Options, file};
use crate::model::time::UnixNanos;

const ENDING: &str = ".letter";
/// A letter that is being written; one that a crash left is overwritten or ignored.
const UNFINISHED: &str = ".unfinished";

/// The letters of a server; cheap to clone.
#[derive(Debug, Clone)]
pub struct Letters {
    options: Arc<Options>,
    state: Arc<Mutex<State>>,
    /// Held while one is kept.
    putting: Arc<Mutex<()>>,
}

/// What there is and what became of letters since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    /// Letters that are there.
    pub letters: u64,
    /// Their bytes on disk.
    pub bytes: u64,
    /// Letters that were written.
    pub written: u64,
    /// Letters that made room for others.
    pub evicted: u64,
    /// Their bytes.
    pub evicted_bytes: u64,
}

#[derive(Debug, Default)]
struct State {
    /// Bytes by name, oldest first.
    files: BTreeMap<String, u64>,
    stats: Stats,
}

impl Letters {
    /// The letters of a folder, which may not be there yet.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn open(options: Options) -> Result<Self, Error> {
        let letters = Self { options: Arc::new(options), state: Arc::default(), putting: Arc::default() };
        letters.look()?;
        Ok(letters)
    }

    /// Keeps a letter durably. Answers its name.
    ///
    /// # Errors
    /// When there is no room, or it cannot be written; it can be tried again then.
    pub fn put(&self, letter: &Letter) -> Result<String, Error> {
        let name = name(letter);
        let path = self.path(&name);
        let bytes = file::write(letter).map_err(failed("compress", &path))?;
        // Nobody else takes the room that is made.
        let _putting = self.putting.lock().unwrap_or_else(PoisonError::into_inner);
        // Somebody may have removed some meanwhile.
        self.look()?;
        let size = bytes.len() as u64;
        self.make_room(&name, size)?;
        let folder = &self.options.folder;
        if !folder.exists() {
            std::fs::create_dir_all(folder).map_err(failed("create", folder))?;
            let above = folder.parent().filter(|above| !above.as_os_str().is_empty());
            let above = above.unwrap_or_else(|| Path::new("."));
            File::open(above).and_then(|above| above.sync_all()).map_err(failed("sync", above))?;
        }
        let unfinished = folder.join(format!("{name}{UNFINISHED}"));
        write_durably(&unfinished, &bytes).map_err(failed("write", &unfinished))?;
        std::fs::rename(&unfinished, &path).map_err(failed("name", &path))?;
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed("sync", folder))?;
        let mut state = self.lock();
        state.files.insert(name.clone(), size);
        state.stats.written += 1;
        Ok(name)
    }

    /// The names of all letters with their bytes on disk, oldest first.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn list(&self) -> Result<Vec<(String, u64)>, Error> {
        self.look()?;
        Ok(self.lock().files.clone().into_iter().collect())
    }

    /// Reads a letter.
    ///
    /// # Errors
    /// When there is none of this name, it cannot be read, or was damaged.
    pub fn read(&self, name: &str) -> Result<Letter, Error> {
        if !self.lock().files.contains_key(name) {
            return Err(Error::Unknown { name: name.to_owned() });
        }
        let path = self.path(name);
        file::read(&path, &std::fs::read(&path).map_err(failed("read", &path))?)
    }

    /// Removes the letters about a request that is stored anew out of the journal: what is still refused is written again.
    ///
    /// # Errors
    /// When they cannot be removed.
    pub fn take_back(&self, received: UnixNanos, lsn: u64) -> Result<(), Error> {
        let begin = format!("{}-", request_name(received, lsn));
        let of_request: Vec<String> =
            self.lock().files.keys().filter(|name| name.starts_with(&begin)).cloned().collect();
        of_request.iter().try_for_each(|name| self.remove(name))
    }

    /// Removes a letter for good.
    ///
    /// # Errors
    /// When there is none of this name, or it cannot be removed.
    pub fn remove(&self, name: &str) -> Result<(), Error> {
        if !self.lock().files.contains_key(name) {
            return Err(Error::Unknown { name: name.to_owned() });
        }
        let path = self.path(name);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(failed("remove", &path)(error)),
            _ => self.lock().files.remove(name),
        };
        Ok(())
    }

    /// What there is.
    pub fn stats(&self) -> Stats {
        // Where it cannot be read, what was seen last.
        let _ = self.look();
        self.seen()
    }

    /// What there was at the last look.
    pub fn seen(&self) -> Stats {
        let state = self.lock();
        Stats { letters: state.files.len() as u64, bytes: state.files.values().sum(), ..state.stats }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.options.folder.join(format!("{name}{ENDING}"))
    }

    /// Sees what is in the folder.
    fn look(&self) -> Result<(), Error> {
        let folder = &self.options.folder;
        let mut files = BTreeMap::new();
        match std::fs::read_dir(folder) {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(failed("read", folder)(error)),
            Ok(entries) => {
                for entry in entries {
                    let entry = entry.map_err(failed("read", folder))?;
                    let name = entry.file_name().to_string_lossy().into_owned();
                    let Some(name) = name.strip_suffix(ENDING) else { continue };
                    // One that is removed at this moment has no size.
                    if let Ok(found) = entry.metadata() {
                        files.insert(name.to_owned(), found.len());
                    }
                }
            }
        }
        self.lock().files = files;
        Ok(())
    }

    fn make_room(&self, name: &str, bytes: u64) -> Result<(), Error> {
        let Options { letters_max, bytes_max, drops_oldest, .. } = *self.options;
        loop {
            let (letters, used, oldest) = {
                let state = self.lock();
                // The same letter again takes its own place.
                let others = state.files.iter().filter(|(other, _)| *other != name);
                let (letters, used) =
                    others.clone().fold((0, 0), |(count, sum), (_, bytes)| (count + 1, sum + bytes));
                let oldest = others.map(|(name, bytes)| (name.clone(), *bytes)).next();
                (letters, used, oldest)
            };
            let fits =
                (letters_max == 0 || letters < letters_max) && (bytes_max == 0 || used + bytes <= bytes_max);
            match oldest {
                _ if fits => return Ok(()),
                Some((oldest, bytes)) if drops_oldest => {
                    self.remove(&oldest)?;
                    let mut state = self.lock();
                    state.stats.evicted += 1;
                    state.stats.evicted_bytes += bytes;
                }
                // One letter is always kept, or a request larger than the bound could never be.
                None => return Ok(()),
                Some(_) => return Err(Error::Full { letters, bytes: used }),
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The same for the same letter, and in the order of receipt.
fn name(letter: &Letter) -> String {
    format!("{}-{}", request_name(letter.received, letter.lsn), letter.first)
}

fn request_name(received: UnixNanos, lsn: u64) -> String {
    format!("{:020}-{lsn}", received.0.max(0))
}

fn write_durably(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn failed(what: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::File { what, path, source }
}
