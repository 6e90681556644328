//! Which database the configuration names, and how it is opened.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::config::{Config, Driver};
use crate::store::options::{Database, File, ONLY_JOURNAL, Options};
use crate::store::postgres::entra::{Environment, Tokens};
use crate::store::postgres::login::Login;
use crate::upkeep::retention;

/// How the store of `config` is opened.
///
/// # Errors
/// When the DSN is wrong, or the data folder cannot be written.
pub fn store_options(config: &Config) -> Result<Options> {
    let storage = &config.storage;
    let database = database(config)?;
    let journal = match database {
        Database::Sqlite(_) => ONLY_JOURNAL.to_owned(),
        Database::Postgres(_) => journal_name(&config.data_dir)?,
    };
    Ok(Options {
        journal,
        readers: config.readers,
        idle_readers: storage.idle_connections,
        connection_idle_max: storage.connection_idle,
        connection_lifetime_max: storage.connection_lifetime,
        automigrate: config.automigrate,
        migrate_timeout: storage.migrate_timeout,
        series_per_tenant_max: storage.series_per_tenant_max,
        series_max: storage.series_max,
        promoted: config.intake.attributes_promoted.clone().into(),
        ..Options::of(database)
    })
}

/// The database that `config` names. Opens and writes nothing.
///
/// # Errors
/// When the DSN is wrong.
pub fn database(config: &Config) -> Result<Database> {
    let storage = &config.storage;
    if storage.driver == Driver::Sqlite {
        let path = config.database.clone();
        return Ok(Database::Sqlite(File {
            path,
            cache_kib: config.cache_kib,
            mmap_bytes: config.mmap_bytes,
        }));
    }
    let login = Login::parse(storage.dsn.as_deref().unwrap_or_default()).context("DB_DSN")?;
    if !storage.azure_auth {
        return Ok(Database::Postgres(Arc::new(login)));
    }
    let tokens = Tokens::new(Environment::read(|name| std::env::var(name).ok())).context("DB_AZURE_AUTH")?;
    Ok(Database::Postgres(Arc::new(login.with_tokens(tokens).context("DB_AZURE_AUTH")?)))
}

/// How long what is kept.
pub(super) fn retention_options(config: &Config) -> retention::Options {
    let (storage, kept) = (&config.storage, &config.storage.retention);
    let days = |days: u32| Duration::from_secs(u64::from(days) * 86_400);
    // Sums are kept at least as long as what they count: late telemetry must find them whole.
    let minute_days = kept.trace_days.max(kept.log_days).max(kept.rollup_minute_days);
    let hour_days = kept.rollup_hour_days.max(minute_days);
    retention::Options {
        spans: days(kept.trace_days),
        logs: days(kept.log_days),
        points: days(kept.metric_days),
        fine: Duration::from_secs(u64::from(kept.rollup_fine_hours) * 3_600),
        minute: days(minute_days),
        hour: days(hour_days),
        budget_bytes: storage.disk_budget_bytes.unwrap_or(0),
        ahead_days: storage.partition_lookahead_days as u16,
    }
}

/// The name of the journal in this data folder, made up when it is first asked for: a database that several servers
/// use keeps a position for each.
///
/// # Errors
/// When the data folder cannot be written.
pub fn journal_name(data_dir: &Path) -> Result<String> {
    let path = data_dir.join("journal-name");
    let reading = || path.display().to_string();
    match std::fs::read_to_string(&path) {
        Ok(name) => return Ok(name.trim().to_owned()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(error).with_context(reading),
    }
    // Seeded by the system for each state; nobody need be unable to guess it.
    let number = || RandomState::new().build_hasher().finish();
    let name = format!("{:016x}{:016x}", number(), number());
    std::fs::create_dir_all(data_dir).with_context(reading)?;
    // Beside it and renamed: a crash must not leave half a name, which another server might have too.
    let beside = data_dir.join("journal-name.part");
    let mut file = std::fs::File::create(&beside).with_context(reading)?;
    file.write_all(name.as_bytes()).and_then(|()| file.sync_all()).with_context(reading)?;
    std::fs::rename(&beside, &path).with_context(reading)?;
    Ok(name)
}
