//! The mark of a restore that is under way: whoever finds it must not work on the data.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::error::Error;
use super::files;

/// The file in the data directory.
const NAME: &str = "restore.unfinished";

/// How far a restore is that has begun to change the data directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Phase {
    /// What was there is being moved to the folder of this name.
    Aside(String),
    /// What was there is in the folder of this name; what stands in its place comes from a backup. None where nothing
    /// was there.
    Placing(Option<String>),
}

/// Errs with [`Error::HalfRestored`] where a restore into `data_dir` was begun and not finished; a server must not
/// start there, for it would take a part of the data for the whole.
pub fn check(data_dir: &Path) -> Result<(), Error> {
    if path(data_dir).exists() { Err(Error::HalfRestored { path: data_dir.to_owned() }) } else { Ok(()) }
}

/// The phase that an unfinished restore into `data_dir` was in; none where there is no such restore.
pub(super) fn read(data_dir: &Path) -> Result<Option<Phase>, Error> {
    let path = path(data_dir);
    if !path.exists() {
        return Ok(None);
    }
    let text = fs::read(&path).map_err(Error::io("read", &path))?;
    let phase = Phase::parse(&text).ok_or(Error::Damaged { path, what: "is not the mark of a restore" })?;
    Ok(Some(phase))
}

impl Phase {
    /// Reads the text of the mark; none where it is no mark.
    pub(super) fn parse(text: &[u8]) -> Option<Self> {
        let value: Value = serde_json::from_slice(text).ok()?;
        let folder = value["folder"].as_str().map(str::to_owned);
        match (value["phase"].as_str(), folder) {
            (Some("aside"), Some(folder)) => Some(Self::Aside(folder)),
            (Some("placing"), folder) => Some(Self::Placing(folder)),
            _ => None,
        }
    }

    /// The text of the mark.
    pub(super) fn to_text(&self) -> String {
        match self {
            Self::Aside(folder) => json!({"phase": "aside", "folder": folder}),
            Self::Placing(folder) => json!({"phase": "placing", "folder": folder}),
        }
        .to_string()
    }
}

/// Writes the phase, durably.
pub(super) fn write(data_dir: &Path, phase: &Phase) -> Result<(), Error> {
    files::write(&path(data_dir), phase.to_text().as_bytes())
}

/// Takes the mark away, durably: the data is whole.
pub(super) fn remove(data_dir: &Path) -> Result<(), Error> {
    let path = path(data_dir);
    fs::remove_file(&path).map_err(Error::io("remove", &path))?;
    files::sync_directory(data_dir)
}

fn path(data_dir: &Path) -> PathBuf {
    data_dir.join(NAME)
}
