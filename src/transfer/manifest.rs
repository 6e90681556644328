//! What a backup says about itself, written last: a directory without it is no backup.
//!
//! The file is JSON whose last member is the SHA-256 of every byte before that member, so that a change anywhere in
//! it is noticed.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::error::Error;
use super::files::{self, Print};

/// The name of the file in a backup.
pub(super) const NAME: &str = "manifest.json";
/// The format this program writes, and the only one it reads.
pub(super) const FORMAT: u64 = 1;
/// Largest manifest that is read; a journal at its bound has some hundred segments.
const BYTES_MAX: u64 = 16 * 1024 * 1024;
/// What stands before the digest.
pub(super) const SEAL: &str = ",\n  \"manifest_sha256\": \"";

/// A backup's account of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Manifest {
    /// The version of the program that wrote it.
    pub(super) product: String,
    /// The schema of the database.
    pub(super) schema: i64,
    /// The journal position that the database holds.
    pub(super) applied: u64,
    /// The last record that the backup holds, in the database or in the journal.
    pub(super) mark: u64,
    /// When the backup began, in nanoseconds since 1970.
    pub(super) created_ns: i64,
    /// The files by their path in the backup, with `/` between folders.
    pub(super) files: Vec<(String, Print)>,
}

impl Manifest {
    /// Writes it into the backup at `directory`, durably.
    pub(super) fn write(&self, directory: &Path) -> Result<(), Error> {
        files::write(&directory.join(NAME), self.to_text().as_bytes())
    }

    /// Reads that of the backup at `directory`.
    ///
    /// Errs where there is none, where a byte of it changed, and where a newer program wrote it.
    pub(super) fn read(directory: &Path) -> Result<Self, Error> {
        let path = directory.join(NAME);
        if !path.is_file() {
            return Err(Error::Unfinished { path: directory.to_owned() });
        }
        let damaged = |what| Error::Damaged { path: path.clone(), what };
        if BYTES_MAX < files::length(&path) {
            return Err(damaged("is too long"));
        }
        Self::parse(&path, fs::read(&path).map_err(Error::io("read", &path))?)
    }

    /// Reads the bytes of the file at `path`.
    pub(super) fn parse(path: &Path, bytes: Vec<u8>) -> Result<Self, Error> {
        let damaged = |what| Error::Damaged { path: path.to_owned(), what };
        let text = String::from_utf8(bytes).map_err(|_| damaged("is not text"))?;
        let (body, seal) = text.rsplit_once(SEAL).ok_or_else(|| damaged("has no digest"))?;
        if seal != format!("{}\"\n}}\n", digest(body)) {
            return Err(damaged("does not match its digest"));
        }
        let value: Value = serde_json::from_str(&text).map_err(|_| damaged("is not JSON"))?;
        let format = value["format"].as_u64().ok_or_else(|| damaged("has no format"))?;
        if format != FORMAT {
            return Err(Error::Newer { found: format, known: FORMAT });
        }
        Self::from_json(&value).ok_or_else(|| damaged("lacks a member"))
    }

    /// Bytes of all files.
    pub(super) fn bytes(&self) -> u64 {
        self.files.iter().fold(0, |sum, (_, print)| print.bytes.saturating_add(sum))
    }

    pub(super) fn to_text(&self) -> String {
        let files: Vec<Value> = self
            .files
            .iter()
            .map(|(name, print)| json!({"path": name, "bytes": print.bytes, "sha256": print.digest}))
            .collect();
        let value = json!({
            "format": FORMAT,
            "product": self.product,
            "schema": self.schema,
            "applied": self.applied,
            "mark": self.mark,
            "created_ns": self.created_ns,
            "files": files,
        });
        let text = format!("{value:#}");
        let body = text.trim_end_matches('}').trim_end();
        format!("{body}{SEAL}{}\"\n}}\n", digest(body))
    }

    fn from_json(value: &Value) -> Option<Self> {
        let files = value["files"].as_array()?.iter().map(|file| {
            let name = file["path"].as_str()?;
            // A name leads to a file below the backup, and nowhere else.
            let is_plain = name.split('/').all(|part| !part.is_empty() && part != "." && part != "..");
            let print = Print { bytes: file["bytes"].as_u64()?, digest: file["sha256"].as_str()?.to_owned() };
            is_plain.then(|| (name.to_owned(), print))
        });
        Some(Self {
            product: value["product"].as_str()?.to_owned(),
            schema: value["schema"].as_i64()?,
            applied: value["applied"].as_u64()?,
            mark: value["mark"].as_u64()?,
            created_ns: value["created_ns"].as_i64()?,
            files: files.collect::<Option<_>>()?,
        })
    }
}

pub(super) fn digest(text: &str) -> String {
    files::hex(&Sha256::digest(text.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_comes_back_and_notices_each_changed_byte() {
        let directory = tempfile::tempdir().unwrap();
        let print = Print { bytes: 3, digest: "ab".into() };
        let manifest = Manifest {
            product: "1.2.3".into(),
            schema: 4,
            applied: 5,
            mark: 6,
            created_ns: 7,
            files: vec![("journal/a".into(), print.clone()), ("otelcontext.db".into(), print)],
        };
        manifest.write(directory.path()).unwrap();
        assert_eq!(Manifest::read(directory.path()).unwrap(), manifest);
        let path = directory.path().join(NAME);
        let written = fs::read(&path).unwrap();
        for at in 0..written.len() {
            let mut changed = written.clone();
            changed[at] ^= 1;
            fs::write(&path, &changed).unwrap();
            assert!(Manifest::read(directory.path()).is_err(), "byte {at}");
        }
    }

    #[test]
    fn files_of_any_length_are_summed_up() {
        let print = Print { bytes: u64::MAX, digest: String::new() };
        let manifest = Manifest {
            product: String::new(),
            schema: 1,
            applied: 1,
            mark: 1,
            created_ns: 1,
            files: vec![("a".into(), print.clone()), ("b".into(), print)],
        };
        assert_eq!(manifest.bytes(), u64::MAX);
    }

    #[test]
    fn names_do_not_lead_out_of_the_backup() {
        for name in ["../x", "/x", "a//b", "a/./b"] {
            let file = json!({"path": name, "bytes": 1, "sha256": ""});
            let value = json!({"product": "", "schema": 1, "applied": 1, "mark": 1, "created_ns": 1, "files": [file]});
            assert_eq!(Manifest::from_json(&value), None, "{name}");
        }
    }
}
