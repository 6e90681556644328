//! Waiting for the database: until it is there, and until no other server leads on it.
//!
//! Meanwhile the ports answer: `/live` that the process lives, `/ready` why it is not ready, and everything else that
//! the caller should come again, which exporters and agents do.

use std::time::Duration;

use anyhow::{Context, Result};
use axum::http::{StatusCode, header};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::net_options;
use crate::api;
use crate::config::Config;
use crate::fault::{Kind, chain};
use crate::net::tls::Encryption;
use crate::net::{self, Listener};
use crate::store::Store;
use crate::store::error::Error;
use crate::store::options::{Database, Options};
use crate::vitals::health::Health;
use crate::vitals::metrics::Metrics;

/// Between two attempts.
const PAUSE: Duration = Duration::from_secs(1);

/// Opens the store. On a server it waits for as long as the server is away or another one leads, and answers on `doors`
/// meanwhile. `waiting` is called when it begins to wait.
pub(super) async fn open(
    (config, encryption): (&Config, &Option<Encryption>),
    options: Options,
    (doors, health, metrics): (&[Listener; 3], &Health, &Metrics),
    waiting: impl Fn() -> Result<()>,
) -> Result<Store> {
    let stop = CancellationToken::new();
    let mut answering: Vec<JoinHandle<()>> = Vec::new();
    let store = loop {
        let error = match Store::open(options.clone()).await {
            Ok(store) => break store,
            Err(error) => error,
        };
        let waits = matches!(options.database, Database::Postgres(_)) && error.kind() == Kind::Unavailable;
        if !waits {
            return Err(error).context("opening the database");
        }
        let reason = chain(&error);
        if answering.is_empty() {
            info!(reason, "waiting for the database");
            for door in doors {
                let router = api::probes(health.clone(), metrics.clone()).fallback(come_again);
                let served = (net_options(config), encryption.clone());
                let door = door.share().context("answering while waiting for the database")?;
                answering.push(net::serve(door, router, served, stop.clone()));
            }
            waiting()?;
        } else if !matches!(error, Error::Led) {
            warn!(reason, "the database cannot be opened; it is tried again");
        }
        health.set("store", false, reason);
        tokio::time::sleep(PAUSE).await;
    };
    if !answering.is_empty() {
        stop.cancel();
        for server in answering {
            // Each ends by itself within half the time that a stop may take.
            let _ = server.await;
        }
        info!("this server leads from now on");
    }
    health.set("store", true, "");
    Ok(store)
}

async fn come_again() -> (StatusCode, [(header::HeaderName, &'static str); 1], &'static str) {
    let text = "this server waits for its database, or for the server that leads on it; come again\n";
    (StatusCode::SERVICE_UNAVAILABLE, [(header::RETRY_AFTER, "2")], text)
}
