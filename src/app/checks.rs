//! What a start would fail on, found without one: no port and no database is opened, and nothing is written or made.

use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use rustix::fs::{Access, access};

use crate::auth;
use crate::clock::Clock;
use crate::config::{Config, Driver};
use crate::journal::Left;
use crate::letters::{self, Letters};
use crate::net::tls::{Encryption, Source};
use crate::transfer;

use super::{encryption, storage};

/// What encrypts the ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encrypted {
    /// Nothing does.
    Never,
    /// A certificate that is made or renewed at the start.
    ByOneToBeMade,
    /// A certificate that ends then, in seconds since 1970.
    Until(i64),
}

/// Everything that a start with `config` would fail on, one a line, each beginning with the name of its variable.
pub fn problems(config: &Config, clock: &Clock) -> Vec<String> {
    let checks = [
        data_dir(config).context("DATA_DIR"),
        storage::database(config).and_then(|_| database_file(config)),
        letters(config).map(drop).context("DLQ_PATH"),
        keys(config, clock).map(drop).context("API_TENANT_KEYS_FILE"),
        encrypted(config, clock).map(drop).context("TLS"),
        ports_file(config).context("PORTS_FILE"),
    ];
    checks.into_iter().filter_map(Result::err).map(|error| format!("{error:#}")).collect()
}

/// That the data folder can be used, or made.
///
/// # Errors
/// When it cannot, or a restore into it was not finished.
pub fn data_dir(config: &Config) -> Result<()> {
    let folder = &config.data_dir;
    transfer::unfinished::check(folder)?;
    writable(folder)?;
    for (name, is_used) in [("journal", true), ("search", config.search_enabled)] {
        let part = folder.join(name);
        if is_used && part.exists() {
            writable(&part)?;
        }
    }
    Ok(())
}

/// That the file of the SQLite database can be used, or made. Its path is not told: where somebody chose it, it may be the
/// address of a database that this program does not know, with a password in it.
///
/// # Errors
/// When it cannot, with the name of the variable.
pub fn database_file(config: &Config) -> Result<()> {
    if config.storage.driver != Driver::Sqlite {
        return Ok(());
    }
    let path = &config.database;
    let folder = parent(path);
    let name = if folder == config.data_dir { "DATA_DIR" } else { "DB_DSN" };
    let why = if writable(folder).is_err() {
        "the folder of the database file cannot be written, or made"
    } else if path.is_dir() {
        "the database file is a folder"
    } else if ["", "-wal", "-shm"].iter().any(|end| !is_usable(&with_end(path, end))) {
        "the database file, or what lies beside it (-wal, -shm), cannot be read and written"
    } else {
        return Ok(());
    };
    bail!("{name}: {why}")
}

/// How many dead letters there are.
///
/// # Errors
/// When their folder is there and cannot be read.
pub fn letters(config: &Config) -> Result<u64> {
    let folder = config.letters.folder.clone();
    let options = letters::Options { folder, letters_max: 0, bytes_max: 0, drops_oldest: false };
    Ok(Letters::open(options)?.stats().letters)
}

/// How many keys of the key file open something; none where there is to be no such file.
///
/// # Errors
/// When the file cannot be used.
pub fn keys(config: &Config, clock: &Clock) -> Result<Option<usize>> {
    let Some(path) = &config.access.key_file else { return Ok(None) };
    let keys = auth::read_keys(path).with_context(|| path.display().to_string())?;
    let now = clock.now();
    Ok(Some(keys.iter().filter(|key| !key.is_expired(now)).count()))
}

/// What would encrypt the ports.
///
/// # Errors
/// When it cannot be used now, or not be made.
pub fn encrypted(config: &Config, clock: &Clock) -> Result<Encrypted> {
    let Some(options) = encryption::options(config) else { return Ok(Encrypted::Never) };
    if let Some(ends) = Encryption::look(&options, clock.now().seconds())? {
        return Ok(Encrypted::Until(ends));
    }
    if let Source::SelfSigned { folder, .. } = &options.source {
        writable(folder)?;
    }
    Ok(Encrypted::ByOneToBeMade)
}

/// That the bound addresses can be told.
///
/// # Errors
/// When the folder of that file is not there, or cannot be written.
pub fn ports_file(config: &Config) -> Result<()> {
    let Some(path) = &config.ports_file else { return Ok(()) };
    let folder = parent(path);
    ensure!(folder.is_dir(), "there is no folder {}", folder.display());
    writable(folder)
}

/// What is left on the volume of the data folder.
///
/// # Errors
/// When the system does not tell.
pub fn room(config: &Config) -> Result<Left> {
    let folder = there(&config.data_dir);
    Left::on(folder, config.free_bytes_min).with_context(|| folder.display().to_string())
}

/// That files can be made in `folder`, which may have to be made itself.
///
/// # Errors
/// When they cannot.
pub fn writable(folder: &Path) -> Result<()> {
    let there = there(folder);
    ensure!(there.is_dir(), "{} is not a folder", there.display());
    access(there, Access::WRITE_OK | Access::EXEC_OK).map_err(io::Error::from).with_context(|| {
        if there == folder {
            format!("{} cannot be written", folder.display())
        } else {
            format!("{} cannot be made in {}", folder.display(), there.display())
        }
    })
}

/// What there is already of the path to `folder`.
pub fn there(folder: &Path) -> &Path {
    folder.ancestors().map(or_here).find(|above| above.exists()).unwrap_or(Path::new("."))
}

/// Whether a file can be read and written, if it is there.
fn is_usable(path: &Path) -> bool {
    !path.exists() || access(path, Access::READ_OK | Access::WRITE_OK).is_ok()
}

fn with_end(path: &Path, end: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(end);
    name.into()
}

fn parent(path: &Path) -> &Path {
    path.parent().map_or(Path::new("."), or_here)
}

/// A relative path with no part left is the working directory.
fn or_here(path: &Path) -> &Path {
    if path.as_os_str().is_empty() { Path::new(".") } else { path }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use crate::config::Environment;

    use super::*;

    /// The configuration of a server with its data in `data` below `folder`, and `more` variables.
    fn config(folder: &Path, more: &[(&str, String)]) -> Config {
        let own = [("DATA_DIR", folder.join("data").display().to_string())];
        let pairs = own.iter().chain(more).map(|(name, value)| (*name, value.as_str()));
        Config::load(&Environment::of_pairs(pairs)).unwrap_or_else(|mistakes| panic!("{mistakes:?}")).config
    }

    fn found(folder: &Path, more: &[(&str, String)]) -> Vec<String> {
        problems(&config(folder, more), &Clock::system())
    }

    #[test]
    fn nothing_is_found_where_all_is_well_and_nothing_is_made() {
        let directory = tempfile::tempdir().unwrap();
        let folder = directory.path();
        let more = [("TLS_AUTO_SELFSIGNED", "true".to_owned())];
        assert_eq!(found(folder, &more), Vec::<String>::new());
        let config = config(folder, &more);
        assert_eq!(encrypted(&config, &Clock::system()).unwrap(), Encrypted::ByOneToBeMade);
        assert_eq!((there(&config.data_dir), letters(&config).unwrap()), (folder, 0));
        let left = room(&config).unwrap();
        assert!(left.least <= 1 << 30, "{left:?}");
        assert!(folder.read_dir().unwrap().next().is_none(), "nothing is made");
        assert_eq!(there(Path::new("surely/nowhere")), Path::new("."));
    }

    #[test]
    fn everything_is_found_at_once() {
        let directory = tempfile::tempdir().unwrap();
        let folder = directory.path();
        let path = |name: &str| folder.join(name).display().to_string();
        fs::write(folder.join("file"), "").unwrap();
        let told = found(
            folder,
            &[
                ("DATA_DIR", path("file/data")),
                ("DLQ_PATH", path("file")),
                ("API_TENANT_KEYS_FILE", path("keys.json")),
                ("TLS_CERT_FILE", path("server.crt")),
                ("TLS_KEY_FILE", path("server.key")),
                ("PORTS_FILE", path("nowhere/ports.json")),
            ],
        );
        let names = ["DATA_DIR", "DATA_DIR", "DLQ_PATH", "API_TENANT_KEYS_FILE", "TLS", "PORTS_FILE"];
        assert_eq!(told.len(), names.len(), "{told:?}");
        for (problem, name) in told.iter().zip(names) {
            assert!(problem.starts_with(&format!("{name}: ")), "{problem}");
        }
        assert!(told[0].ends_with("is not a folder") && told[3].contains("keys.json"), "{told:?}");
    }

    #[test]
    fn the_database_is_looked_for_and_its_path_not_told() {
        let directory = tempfile::tempdir().unwrap();
        let folder = directory.path();
        fs::write(folder.join("hunter2"), "").unwrap();
        let below = folder.join("hunter2/otel.db").display().to_string();
        let postgres = ("DB_DRIVER", "postgres".to_owned());
        let misspelled = "postgres://u:hunter2@db/x?hots=y".to_owned();
        for (more, wanted) in [
            (vec![("DB_DSN", below)], "DB_DSN: the folder of the database file"),
            (vec![("DB_DSN", folder.display().to_string())], "DB_DSN: the database file is a folder"),
            (vec![postgres, ("DB_DSN", misspelled)], "DB_DSN: the DSN is not right"),
        ] {
            let told = found(folder, &more);
            assert!(told.len() == 1 && told[0].starts_with(wanted), "{told:?}");
            assert!(!told[0].contains("hunter2"), "{told:?}");
        }
    }
}
