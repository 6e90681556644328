//! What is kept of what the database refuses for good.

use std::path::{Path, PathBuf};

use super::load::Reader;

/// Where dead letters are kept, and how many.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "each field is documented once, at its variable")]
pub struct DeadLetters {
    pub folder: PathBuf,
    pub files_max: u64,
    pub bytes_max: u64,
    pub drops_oldest: bool,
}

impl Reader<'_> {
    /// Reads where dead letters are kept.
    pub(super) fn letters(&mut self, data_dir: &Path) -> DeadLetters {
        DeadLetters {
            folder: match self.text("DLQ_PATH").as_str() {
                "" => data_dir.join("dlq"),
                path => PathBuf::from(path),
            },
            files_max: self.number("DLQ_MAX_FILES", 0, 1_000_000),
            bytes_max: self.number("DLQ_MAX_DISK_MB", 0, 1 << 20) << 20,
            drops_oldest: self.one_of("DLQ_WHEN_FULL", &["wait", "drop_oldest"]) == "drop_oldest",
        }
    }
}
