//! `otelcontext keys`.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use crate::auth::{self, Key, Keys, Right, Rights};
use crate::clock::Clock;
use crate::model::tenant::TenantId;
use crate::model::time::UnixNanos;

use super::Ending;

/// What keys begin with, so that who finds one knows what it is.
const PREFIX: &str = "otc_";
const KEY_BYTES: usize = 32;
/// Shortest key that is taken over, in bytes: one that nobody can guess.
const TAKEN_BYTES_MIN: usize = 20;
/// How long another change of the file is waited for.
const LOCK_WAIT: Duration = Duration::from_secs(5);

/// What to do with the keys that are bound to tenants.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Arguments {
    /// Make a key, print it once, and write its digest to the key file. Running servers take it within seconds.
    New(New),
    /// Show the keys of the file: ids, tenants, scopes and expiry.
    List {
        #[command(flatten)]
        file: Place,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Remove a key. Running servers refuse it within seconds.
    Revoke {
        /// Its id, as `list` shows it.
        id: String,
        #[command(flatten)]
        file: Place,
    },
}

/// A new key.
#[derive(Debug, clap::Args)]
pub(super) struct New {
    /// The only tenant that it opens.
    #[arg(long)]
    tenant: String,
    /// What it may do there: ingest, read, admin, separated by commas.
    #[arg(long = "scope", required = true, value_delimiter = ',', value_parser = scope)]
    scopes: Vec<Right>,
    /// Its name in lists and logs; made from tenant and scopes without it.
    #[arg(long)]
    id: Option<String>,
    /// When it ends: a time such as 2027-01-31T00:00:00Z, or a stretch such as 90d; never without it.
    #[arg(long)]
    expires: Option<String>,
    /// Take over an existing key, from the standard input, instead of making one.
    #[arg(long)]
    stdin: bool,
    #[command(flatten)]
    file: Place,
}

/// Where the keys are.
#[derive(Debug, clap::Args)]
pub(super) struct Place {
    /// The key file; API_TENANT_KEYS_FILE without it.
    #[arg(long)]
    file: Option<PathBuf>,
}

fn scope(text: &str) -> Result<Right, String> {
    Right::named(text.trim()).ok_or_else(|| "a scope is one of ingest, read, admin".to_owned())
}

/// Works on the key file, also while servers use it.
pub(super) fn run(arguments: &Arguments) -> Result<Ending> {
    match arguments {
        Arguments::New(new) => {
            let path = new.file.path()?;
            let key = new.make(&path)?;
            println!("{key}");
            eprintln!("this key is shown once; {} holds its digest", path.display());
        }
        Arguments::List { file, json } => {
            let path = file.path()?;
            let keys = auth::read_keys(&path).with_context(|| path.display().to_string())?;
            list(&keys, *json);
        }
        Arguments::Revoke { id, file } => {
            let path = file.path()?;
            change(&path, |keys| match keys.remove(id) {
                true => Ok(()),
                false => bail!("{} has no key `{}`", path.display(), id.escape_debug()),
            })?;
            println!("{id} revoked");
        }
    }
    Ok(Ending::Good)
}

impl Place {
    fn path(&self) -> Result<PathBuf> {
        if let Some(path) = &self.file {
            return Ok(path.clone());
        }
        let environment = super::environment();
        let named = environment.get("API_TENANT_KEYS_FILE").map(|(path, _)| path);
        let path = named.filter(|path| !path.is_empty()).map(PathBuf::from);
        path.context("name the key file with --file, or set API_TENANT_KEYS_FILE")
    }
}

impl New {
    fn make(&self, path: &Path) -> Result<String> {
        let now = Clock::system().now();
        let tenant = TenantId::try_from(self.tenant.as_str()).context("--tenant")?;
        let rights: Rights = self.scopes.iter().copied().collect();
        let expires = self.expires.as_deref().map(|text| end(text, now)).transpose()?;
        let secret = if self.stdin { taken()? } else { made()? };
        change(path, |keys| {
            let id = match &self.id {
                Some(id) => id.clone(),
                None => free_id(keys, &tenant, rights),
            };
            Ok(keys.add(Key::new(&id, &secret, tenant.clone(), rights, expires)?)?)
        })?;
        Ok(secret)
    }
}

/// A key of 256 random bits.
fn made() -> Result<String> {
    let mut bytes = [0; KEY_BYTES];
    getrandom::fill(&mut bytes).context("the system gives no random bytes")?;
    Ok(format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes)))
}

fn taken() -> Result<String> {
    let mut text = String::new();
    std::io::stdin().take(4_096).read_to_string(&mut text).context("the standard input")?;
    let key = text.trim();
    if key.len() < TAKEN_BYTES_MIN || !key.bytes().all(|byte| byte.is_ascii_graphic()) {
        bail!("a key has at least {TAKEN_BYTES_MIN} visible ASCII characters and no spaces");
    }
    Ok(key.to_owned())
}

/// An id that is not taken yet, such as `shop-ingest-2`.
fn free_id(keys: &Keys, tenant: &TenantId, rights: Rights) -> String {
    let stem: String = tenant.as_str().chars().take(80).collect();
    let scopes = rights.names().collect::<Vec<_>>().join("-");
    let ids = (1_u32..).map(|number| match number {
        1 => format!("{stem}-{scopes}"),
        _ => format!("{stem}-{scopes}-{number}"),
    });
    let is_free = |id: &String| keys.iter().all(|key| *key.id != **id);
    ids.into_iter().find(is_free).unwrap_or_default()
}

/// The time that `text` names, or that lies so long after `now`.
fn end(text: &str, now: UnixNanos) -> Result<UnixNanos> {
    const FORMS: &str =
        "--expires: write a time to come such as 2027-01-31T00:00:00Z, or a stretch such as 90d or 12h";
    let stretch = || {
        let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
        let hours = number.parse::<i64>().ok()?.checked_mul(match unit {
            "h" => 1,
            "d" => 24,
            _ => return None,
        })?;
        let stretch = SignedDuration::try_from_hours(hours)?;
        now.0.checked_add(i64::try_from(stretch.as_nanos()).ok()?)
    };
    let at = match text.parse::<Timestamp>() {
        Ok(at) => i64::try_from(at.as_nanosecond()).ok(),
        Err(_) => stretch(),
    };
    at.filter(|at| *at > now.0).map(UnixNanos).context(FORMS)
}

/// Changes the keys of the file at `path`, which is made where it is missing: whole or not at all, and only by one at a time.
fn change(path: &Path, change: impl FnOnce(&mut Keys) -> Result<()>) -> Result<()> {
    let shown = path.display();
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let _lock = lock(folder).with_context(|| folder.display().to_string())?;
    let mut keys = match path.try_exists()? {
        true => auth::read_keys(path).with_context(|| shown.to_string())?,
        false => Keys::default(),
    };
    change(&mut keys)?;
    let mut beside = path.as_os_str().to_owned();
    beside.push(".part");
    let beside = PathBuf::from(beside);
    write(&beside, &keys.text()).with_context(|| beside.display().to_string())?;
    keep_owner(path, folder, &beside)
        .with_context(|| format!("{}: giving it the owner that it had", shown))?;
    std::fs::rename(&beside, path).with_context(|| shown.to_string())?;
    File::open(folder)?.sync_all().with_context(|| folder.display().to_string())
}

/// Gives `beside` to whom `path` belongs, or else `folder`: a server that could read the keys must be able to read them again.
#[cfg(unix)]
fn keep_owner(path: &Path, folder: &Path, beside: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::{MetadataExt, chown};
    let of = std::fs::metadata(path).or_else(|_| std::fs::metadata(folder))?;
    let own = std::fs::metadata(beside)?;
    if (of.uid(), of.gid()) == (own.uid(), own.gid()) {
        return Ok(());
    }
    chown(beside, Some(of.uid()), Some(of.gid()))
}

#[cfg(not(unix))]
fn keep_owner(_path: &Path, _folder: &Path, _beside: &Path) -> std::io::Result<()> {
    Ok(())
}

fn write(path: &Path, text: &str) -> std::io::Result<()> {
    // One that was left behind may have another mode.
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

/// The folder, locked against others that change keys in it.
fn lock(folder: &Path) -> Result<File> {
    let file = File::open(folder)?;
    let until = std::time::Instant::now() + LOCK_WAIT;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) if std::time::Instant::now() < until => {
                std::thread::sleep(Duration::from_millis(20));
            }
            Err(TryLockError::WouldBlock) => bail!("another `otelcontext keys` is at work here"),
            Err(TryLockError::Error(error)) => return Err(error.into()),
        }
    }
}

fn list(keys: &Keys, as_json: bool) {
    let now = Clock::system().now();
    let at = |at: UnixNanos| Timestamp::from_nanosecond(at.0.into()).map(|at| at.to_string());
    let mut shown = Vec::new();
    for key in keys.iter() {
        let expires = key.expires.and_then(|expires| at(expires).ok());
        let scopes: Vec<&str> = key.rights.names().collect();
        if as_json {
            shown.push(json!({
                "id": *key.id,
                "tenant": key.tenant.as_str(),
                "scopes": scopes,
                "expires": expires,
                "expired": key.is_expired(now),
            }));
            continue;
        }
        let ends = match (&expires, key.is_expired(now)) {
            (Some(at), true) => format!("expired {at}"),
            (Some(at), false) => format!("until {at}"),
            (None, _) => "for good".to_owned(),
        };
        println!("{}  tenant {}  {}  {ends}", key.id, key.tenant, scopes.join(","));
    }
    match as_json {
        true => println!("{:#}", json!({ "keys": shown })),
        false => println!("{} keys", keys.iter().count()),
    }
}
