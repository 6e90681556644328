//! `otelcontext doctor`.

use std::fs::File;
use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use jiff::Timestamp;
use serde_json::json;

use crate::app::checks::{self, Encrypted};
use crate::app::storage;
use crate::clock::Clock;
use crate::config::{Config, Driver, Loaded};
use crate::fault::chain;
use crate::store::Store;
use crate::store::examine::Examined;

use super::{Ending, client};

/// The time of a sync from which on intake hardly keeps up. Such a server works, and a disk may be busy for a moment: it is
/// warned of.
const SYNC_MAX: Duration = Duration::from_millis(200);
/// How many days before its end a certificate is warned of.
const DAYS_LEFT: i64 = 14;

/// How grave a finding is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Level {
    Good,
    /// Nothing that keeps a server from working, yet.
    Warning,
    Failed,
}

struct Finding {
    name: &'static str,
    level: Level,
    detail: String,
}

impl Finding {
    fn good(name: &'static str, detail: impl Into<String>) -> Self {
        Self { name, level: Level::Good, detail: detail.into() }
    }

    fn warning(name: &'static str, detail: impl Into<String>) -> Self {
        Self { name, level: Level::Warning, detail: detail.into() }
    }

    fn failed(name: &'static str, detail: impl Into<String>) -> Self {
        Self { name, level: Level::Failed, detail: detail.into() }
    }
}

/// Checks ports, data directory and its volume, sync speed, database, dead letters, certificates, keys and clock; or asks a
/// running server whether it is ready. What it looks at stays as it is, and nothing that it makes stays.
pub(super) fn run(ready: bool, as_json: bool) -> Result<Ending> {
    let findings: Vec<Finding> = match Config::load(&super::environment()) {
        Err(mistakes) => mistakes.into_iter().map(|mistake| Finding::failed("settings", mistake)).collect(),
        Ok(loaded) if ready => vec![super::runtime()?.block_on(ask(&loaded.config))?],
        Ok(loaded) => examine(&loaded)?,
    };
    let good = findings.iter().all(|finding| finding.level != Level::Failed);
    if as_json {
        let checks: Vec<_> = findings
            .iter()
            .map(|finding| {
                let (ok, warning) = (finding.level != Level::Failed, finding.level == Level::Warning);
                json!({"name": finding.name, "ok": ok, "warning": warning, "detail": finding.detail})
            })
            .collect();
        println!("{:#}", json!({"ok": good, "checks": checks}));
    } else {
        for finding in &findings {
            let level = match finding.level {
                Level::Good => "ok  ",
                Level::Warning => "warn",
                Level::Failed => "FAIL",
            };
            println!("{level} {}: {}", finding.name, finding.detail);
        }
    }
    Ok(if good { Ending::Good } else { Ending::CheckFailed })
}

async fn ask(config: &Config) -> Result<Finding> {
    const NAME: &str = "ready";
    let url = format!("{}/ready", client::own_address(config, config.http_port));
    let client = client::credulous(Duration::from_secs(3))?;
    Ok(match client.get(&url).send().await {
        Ok(answer) if answer.status().is_success() => {
            Finding::good(NAME, answer.text().await.unwrap_or_default())
        }
        Ok(answer) => Finding::failed(NAME, answer.text().await.unwrap_or_default()),
        Err(error) => Finding::failed(NAME, format!("{url}: {error}")),
    })
}

fn examine(loaded: &Loaded) -> Result<Vec<Finding>> {
    let (config, clock) = (&loaded.config, Clock::system());
    let warnings = loaded.warnings.iter().map(|warning| Finding::warning("settings", warning));
    let mut findings: Vec<Finding> = warnings.collect();
    findings.extend(ports(config));
    findings.extend([data_dir(config), room(config), database(config)?, letters(config)]);
    findings.push(certificate(config, &clock));
    findings.extend(keys(config, &clock));
    let year = 1970
        + SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_secs() / 31_556_952);
    let detail = format!("the year is {year}");
    findings.push(match year {
        2025..2100 => Finding::good("clock", detail),
        _ => Finding::failed("clock", detail),
    });
    Ok(findings)
}

fn ports(config: &Config) -> Vec<Finding> {
    let ports = [
        ("GRPC_PORT", config.grpc_port),
        ("OTLP_HTTP_PORT", config.otlp_http_port),
        ("HTTP_PORT", config.http_port),
    ];
    // Each is held until the last was tried: two may be the same.
    let mut held = Vec::new();
    let mut findings = Vec::new();
    for (name, port) in ports {
        let address = SocketAddr::new(config.bind_addr, port);
        findings.push(match TcpListener::bind(address) {
            Ok(listener) => {
                held.push(listener);
                Finding::good(name, format!("{address} is free"))
            }
            Err(error) => Finding::failed(name, format!("{address}: {error}")),
        });
    }
    if let Err(error) = checks::ports_file(config) {
        findings.push(Finding::failed("PORTS_FILE", format!("{error:#}")));
    }
    findings
}

fn data_dir(config: &Config) -> Finding {
    const NAME: &str = "data directory";
    let folder = &config.data_dir;
    let there = checks::there(folder);
    let median = match checks::data_dir(config).and_then(|()| sync_speed(there)) {
        Ok(median) => median,
        Err(error) => return Finding::failed(NAME, format!("{error:#}")),
    };
    let made =
        if there == folder { String::new() } else { format!("{} is made at the start; ", folder.display()) };
    let milliseconds = median.as_secs_f64() * 1e3;
    let detail = format!("{made}{} syncs in {milliseconds:.1} ms (median of 9)", there.display());
    if median < SYNC_MAX {
        return Finding::good(NAME, detail);
    }
    let most = SYNC_MAX.as_millis();
    Finding::warning(NAME, format!("{detail}: with {most} ms and more intake hardly keeps up"))
}

/// Median time to write and sync a small file.
fn sync_speed(folder: &Path) -> Result<Duration> {
    nameless(folder).and_then(|file| measured(&file)).with_context(|| folder.display().to_string())
}

/// A new file that nobody else finds and that is gone with this process, however it ends.
fn nameless(folder: &Path) -> std::io::Result<File> {
    // In containers each run may have the same number.
    let nanos = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_nanos());
    let path = folder.join(format!(".doctor-{}-{nanos}", std::process::id()));
    let file = File::create_new(&path)?;
    std::fs::remove_file(&path)?;
    Ok(file)
}

fn measured(mut file: &File) -> std::io::Result<Duration> {
    let mut times = [Duration::ZERO; 9];
    for time in &mut times {
        file.write_all(&[0; 4096])?;
        let began = Instant::now();
        file.sync_data()?;
        *time = began.elapsed();
    }
    times.sort_unstable();
    Ok(times[times.len() / 2])
}

fn room(config: &Config) -> Finding {
    const NAME: &str = "disk space";
    let left = match checks::room(config) {
        Ok(left) => left,
        Err(error) => return Finding::failed(NAME, format!("{error:#}")),
    };
    let (free, least) = (left.free >> 20, left.least >> 20);
    let volume = format!("{free} MB are free on the volume of {}", config.data_dir.display());
    if left.free < left.least {
        let why = "DATA_DISK_FREE_MIN_MB, or a tenth of the volume";
        return Finding::failed(NAME, format!("{volume}: below {least} MB nothing new is taken ({why})"));
    }
    Finding::good(NAME, format!("{volume}, and {least} MB are left free"))
}

fn database(config: &Config) -> Result<Finding> {
    const NAME: &str = "database";
    let database = match storage::database(config) {
        Ok(database) => database,
        Err(error) => return Ok(Finding::failed(NAME, format!("{error:#}"))),
    };
    if let Err(error) = checks::database_file(config) {
        return Ok(Finding::failed(NAME, format!("{error:#}")));
    }
    let examined = super::runtime()?.block_on(Store::examine(&database));
    let Examined { is_there, pending, obstacles } = match examined {
        Ok(examined) => examined,
        Err(error) => return Ok(Finding::failed(NAME, chain(&error))),
    };
    let mut why: Vec<String> = obstacles.iter().map(ToString::to_string).collect();
    if pending > 0 && !config.automigrate {
        why.push("DB_AUTOMIGRATE=false: run `otelcontext migrate` before the start".to_owned());
    }
    let migrations = format!("{pending} migrations pending");
    let state = match config.storage.driver {
        _ if !is_there => format!("{database} is made at the start"),
        Driver::Sqlite => format!("{database} can be read and written; {migrations}"),
        Driver::Postgres => format!("{database} can be read; {migrations}; no extension is needed"),
    };
    Ok(match why.as_slice() {
        [] => Finding::good(NAME, state),
        _ => Finding::failed(NAME, format!("{state}; {}", why.join("; "))),
    })
}

fn letters(config: &Config) -> Finding {
    const NAME: &str = "dead letters";
    let folder = &config.letters.folder;
    match checks::writable(folder).and_then(|()| checks::letters(config)) {
        Ok(0) => Finding::good(NAME, format!("there are none; {} can be written, or made", folder.display())),
        Ok(count) => Finding::warning(NAME, format!("{count} wait: see `otelcontext dlq list`")),
        Err(error) => Finding::failed(NAME, format!("{error:#}")),
    }
}

fn certificate(config: &Config, clock: &Clock) -> Finding {
    const NAME: &str = "certificate";
    let ends = match checks::encrypted(config, clock) {
        Ok(Encrypted::Never) => return Finding::good(NAME, "there is none: the ports speak plain text"),
        Ok(Encrypted::ByOneToBeMade) => return Finding::good(NAME, "one is made, or renewed, at the start"),
        Ok(Encrypted::Until(ends)) => ends,
        Err(error) => return Finding::failed(NAME, format!("{error:#}")),
    };
    let days = (ends - clock.now().seconds()) / 86_400;
    let end = Timestamp::from_second(ends).map_or_else(|_| ends.to_string(), |end| end.to_string());
    let detail = format!("it ends in {days} days, at {end}");
    if days < DAYS_LEFT { Finding::warning(NAME, detail) } else { Finding::good(NAME, detail) }
}

fn keys(config: &Config, clock: &Clock) -> Option<Finding> {
    const NAME: &str = "API_TENANT_KEYS_FILE";
    Some(match checks::keys(config, clock) {
        Ok(None) => return None,
        Ok(Some(0)) => Finding::warning(NAME, "no key of it opens anything"),
        Ok(Some(count)) => Finding::good(NAME, format!("{count} keys open something")),
        Err(error) => Finding::failed(NAME, format!("{error:#}")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_sync_takes_is_measured_without_a_trace() {
        let folder = tempfile::tempdir().unwrap();
        let mut file = nameless(folder.path()).unwrap();
        file.write_all(b"written").unwrap();
        assert!(folder.path().read_dir().unwrap().next().is_none(), "it has a name while it is written");
        // One that was left by an earlier run of the same number is in nobody's way.
        let left = folder.path().join(format!(".doctor-{}", std::process::id()));
        std::fs::write(&left, "").unwrap();
        assert!(sync_speed(folder.path()).unwrap() > Duration::ZERO);
        let told = format!("{:#}", sync_speed(&left).unwrap_err());
        assert!(told.starts_with(&left.display().to_string()), "{told}");
    }
}
