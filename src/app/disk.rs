//! What is kept on disk, by part: what `/metrics` shows of it, and what counts towards the budget.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::config::Config;
use crate::upkeep::retention::Beside;
use crate::vitals::metrics::{Kind, Metrics};

use super::exports::label;

/// Retention cannot shrink dead letters: of the budget they spend one part in so many at most, and the rest is there for
/// telemetry.
const PART_OF_LETTERS: u64 = 4;

/// Where what is kept lies on disk.
#[derive(Debug, Clone)]
pub(super) struct Disk {
    /// The files of the database.
    database: [PathBuf; 3],
    data: PathBuf,
    /// Journal and search index: the name of the part, and its folder.
    parts: [(&'static str, PathBuf); 2],
    letters: PathBuf,
}

impl Disk {
    pub(super) fn of(config: &Config) -> Self {
        let database = ["", "-wal", "-shm"].map(|end| {
            let mut name = config.database.clone().into_os_string();
            name.push(end);
            name.into()
        });
        let data = config.data_dir.clone();
        let parts = ["journal", "search"].map(|name| (name, data.join(name)));
        Self { database, data, parts, letters: config.letters.folder.clone() }
    }
}

/// What counts towards the disk budget beside the database: journal and search index, and dead letters where they lie within
/// the data folder, up to a quarter of the budget.
pub(super) fn beside(config: &Config) -> Beside {
    let disk = Disk::of(config);
    let letters_max = config.storage.disk_budget_bytes.unwrap_or(0) / PART_OF_LETTERS;
    Arc::new(move || {
        let parts: f64 = disk.parts.iter().map(|(_, folder)| bytes_of(folder)).sum();
        let letters = if lies_within(&disk.letters, &disk.data) { bytes_of(&disk.letters) } else { 0.0 };
        parts as u64 + (letters as u64).min(letters_max)
    })
}

/// Shows the bytes of each part.
pub(super) fn register(metrics: &Metrics, disk: &Disk) {
    let disk = disk.clone();
    metrics.export("disk_component_bytes", "Bytes on disk by part.", Kind::Gauge, move || {
        let database: f64 = disk.database.iter().map(|path| bytes_of(path)).sum();
        let parts = disk.parts.iter().map(|(part, folder)| (*part, bytes_of(folder)));
        let all = [("database", database)].into_iter().chain(parts).chain([("dlq", bytes_of(&disk.letters))]);
        all.map(|(part, bytes)| (label("component", part), bytes)).collect()
    });
}

/// Whether `inner` is `outer` or below it, wherever links lead; not where either is not there.
fn lies_within(inner: &Path, outer: &Path) -> bool {
    matches!((inner.canonicalize(), outer.canonicalize()), (Ok(inner), Ok(outer)) if inner.starts_with(&outer))
}

/// Bytes of a file, or of the files in a folder.
fn bytes_of(path: &Path) -> f64 {
    let Ok(about) = path.metadata() else { return 0.0 };
    if about.is_file() {
        return about.len() as f64;
    }
    let Ok(entries) = path.read_dir() else { return 0.0 };
    entries.filter_map(|entry| Some(bytes_of(&entry.ok()?.path()))).sum()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use crate::config::Environment;

    use super::*;

    const MIB: u64 = 1 << 20;

    /// A data folder with 20 bytes of journal and 300 of dead letters, and beside it a folder with 4,000 of dead letters.
    fn folders(directory: &Path) -> (PathBuf, PathBuf) {
        let (data, letters) = (directory.join("data"), directory.join("letters"));
        for (folder, bytes) in [(data.join("journal"), 20), (data.join("dlq"), 300), (letters.clone(), 4_000)]
        {
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join("some"), vec![0_u8; bytes]).unwrap();
        }
        fs::write(data.join("otelcontext.db"), "1").unwrap();
        fs::write(data.join("otelcontext.db-wal"), "1").unwrap();
        (data, letters)
    }

    /// The configuration of a server with its data in `data`, a budget of 64 MiB, and maybe dead letters elsewhere.
    fn config(data: &Path, letters: Option<&Path>) -> Config {
        let mut pairs = vec![("DATA_DIR", data.to_str().unwrap()), ("DATA_DISK_BUDGET_MB", "64")];
        pairs.extend(letters.map(|folder| ("DLQ_PATH", folder.to_str().unwrap())));
        Config::load(&Environment::of_pairs(pairs)).unwrap_or_else(|mistakes| panic!("{mistakes:?}")).config
    }

    #[test]
    fn dead_letters_are_shown_wherever_they_lie_and_count_within_the_data_folder() {
        let directory = tempfile::tempdir().unwrap();
        let (data, letters) = folders(directory.path());
        let roundabout = data.join("../data/dlq");
        for (elsewhere, shown, counted) in
            [(None, 300, 300), (Some(&letters), 4_000, 0), (Some(&roundabout), 300, 300)]
        {
            let config = config(&data, elsewhere.map(PathBuf::as_path));
            assert_eq!(beside(&config)(), 20 + counted);
            let metrics = Metrics::default();
            register(&metrics, &Disk::of(&config));
            let text = metrics.prometheus();
            for (part, bytes) in [("database", 2), ("journal", 20), ("search", 0), ("dlq", shown)] {
                let line = format!("otelcontext_disk_component_bytes{{component=\"{part}\"}} {bytes}.0\n");
                assert!(text.contains(&line), "{line}:\n{text}");
            }
        }
    }

    #[test]
    fn dead_letters_spend_a_quarter_of_the_budget_at_most() {
        let directory = tempfile::tempdir().unwrap();
        let (data, letters) = folders(directory.path());
        // A file of nothing but holes.
        let grow =
            |folder: &Path, bytes| fs::File::create(folder.join("more")).unwrap().set_len(bytes).unwrap();
        grow(&data.join("dlq"), 500 * MIB);
        assert_eq!(beside(&config(&data, None))(), 20 + 16 * MIB);
        grow(&data.join("journal"), 40 * MIB);
        assert_eq!(beside(&config(&data, None))(), 20 + 56 * MIB);
        // A folder of the data folder that is a link to another place.
        fs::remove_dir_all(data.join("dlq")).unwrap();
        std::os::unix::fs::symlink(&letters, data.join("dlq")).unwrap();
        assert_eq!(beside(&config(&data, None))(), 20 + 40 * MIB);
    }
}
