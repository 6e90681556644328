//! `otelcontext doctor`.

use std::net::TcpListener;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use serde_json::json;

use crate::app::storage::store_options;
use crate::config::Config;
use crate::store::Store;

use super::{Ending, client};

struct Finding {
    name: &'static str,
    ok: bool,
    detail: String,
}

/// Checks ports, data directory, sync speed, database and clock; or asks a running server whether it is ready.
pub(super) fn run(ready: bool, as_json: bool) -> Result<Ending> {
    let config = match super::loaded(&super::environment()) {
        Ok(loaded) => loaded.config,
        Err(ending) => return Ok(ending),
    };
    let findings = if ready { vec![super::runtime()?.block_on(ask(&config))?] } else { examine(&config)? };
    let good = findings.iter().all(|finding| finding.ok);
    if as_json {
        let checks: Vec<_> = findings
            .iter()
            .map(|finding| json!({"name": finding.name, "ok": finding.ok, "detail": finding.detail}))
            .collect();
        println!("{:#}", json!({"ok": good, "checks": checks}));
    } else {
        for finding in &findings {
            println!("{} {}: {}", if finding.ok { "ok  " } else { "FAIL" }, finding.name, finding.detail);
        }
    }
    Ok(if good { Ending::Good } else { Ending::CheckFailed })
}

async fn ask(config: &Config) -> Result<Finding> {
    let url = format!("{}/ready", client::own_address(config, config.http_port));
    let client = client::credulous(Duration::from_secs(3))?;
    let (ok, detail) = match client.get(&url).send().await {
        Ok(answer) => (answer.status().is_success(), answer.text().await.unwrap_or_default()),
        Err(error) => (false, format!("{url}: {error}")),
    };
    Ok(Finding { name: "ready", ok, detail })
}

fn examine(config: &Config) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    let ports = [
        ("GRPC_PORT", config.grpc_port),
        ("OTLP_HTTP_PORT", config.otlp_http_port),
        ("HTTP_PORT", config.http_port),
    ];
    for (name, port) in ports {
        let bound = TcpListener::bind((config.bind_addr, port));
        let detail = match &bound {
            Ok(_) => format!("{}:{port} is free", config.bind_addr),
            Err(error) => format!("{}:{port}: {error}", config.bind_addr),
        };
        findings.push(Finding { name, ok: bound.is_ok(), detail });
    }
    findings.push(match sync_speed(&config.data_dir) {
        Ok(median) => Finding {
            name: "data directory",
            ok: median < Duration::from_millis(200),
            detail: format!(
                "{} syncs in {:.1} ms (median of 9)",
                config.data_dir.display(),
                median.as_secs_f64() * 1e3
            ),
        },
        Err(error) => Finding { name: "data directory", ok: false, detail: format!("{error:#}") },
    });
    let database = store_options(config)?.database;
    if database.path().is_none_or(Path::exists) {
        let opened = super::runtime()?.block_on(Store::migrations(&database));
        let (ok, detail) = match opened {
            Ok(migrations) => {
                let pending = migrations.iter().filter(|migration| !migration.applied).count();
                (true, format!("{database} can be read; {pending} migrations pending"))
            }
            Err(error) => (false, format!("{:#}", anyhow::Error::from(error))),
        };
        findings.push(Finding { name: "database", ok, detail });
    }
    let year = 1970
        + SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_secs() / 31_556_952);
    let plausible = (2025..2100).contains(&year);
    findings.push(Finding { name: "clock", ok: plausible, detail: format!("the year is {year}") });
    Ok(findings)
}

/// Median time to write and sync a small file.
fn sync_speed(folder: &Path) -> Result<Duration> {
    std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    let path = folder.join(".doctor");
    let file = std::fs::File::create(&path).with_context(|| path.display().to_string())?;
    let mut times = Vec::new();
    for _ in 0..9 {
        std::io::Write::write_all(&mut &file, &[0; 4096])?;
        let began = Instant::now();
        file.sync_data()?;
        times.push(began.elapsed());
    }
    std::fs::remove_file(&path)?;
    times.sort_unstable();
    Ok(times[times.len() / 2])
}
