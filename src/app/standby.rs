//! Before the server works: while it reads what it has, and while it waits for its database, or for the server that leads
//! on it.
//!
//! Meanwhile the ports answer: `/live` that the process lives, `/ready` why it is not ready, and everything else that
//! the caller should come again, which exporters and agents do.

use std::time::Duration;

use anyhow::{Context, Result};
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::{info, warn};

use super::net_options;
use crate::api;
use crate::config::Config;
use crate::fault::{Kind, chain};
use crate::net::tls::Encryption;
use crate::net::{self, Listener};
use crate::receive;
use crate::store::Store;
use crate::store::error::Error;
use crate::store::options::{Database, Options};
use crate::vitals::health::Health;
use crate::vitals::metrics::Metrics;

/// Between two attempts.
const PAUSE: Duration = Duration::from_secs(1);
/// How long clients wait for a start that is quick, instead of being told to come again.
const QUICK_START: Duration = Duration::from_secs(1);

/// The ports of a server that does not work yet. Dropping it ends the answers: connections that come from then on are for
/// whoever serves the ports next, and those that are open end by themselves.
pub(super) struct Meanwhile {
    _stop: DropGuard,
}

impl Meanwhile {
    /// Answers on `doors`, unless the start is quick.
    ///
    /// # Errors
    /// When the system has no file handle left.
    pub(super) fn start(
        (config, encryption): (&Config, &Option<Encryption>),
        doors: &[Listener; 3],
        (health, metrics): (&Health, &Metrics),
    ) -> Result<Self> {
        let doors: Vec<Listener> = doors.iter().map(Listener::share).collect::<std::io::Result<_>>()?;
        let (options, encryption) = (net_options(config), encryption.clone());
        let router = api::probes(health.clone(), metrics.clone()).fallback(receive::come_again);
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        tokio::spawn(async move {
            if stopped.run_until_cancelled(tokio::time::sleep(QUICK_START)).await.is_none() {
                return;
            }
            let serve = |door| {
                net::serve(door, router.clone(), (options.clone(), encryption.clone()), stopped.clone())
            };
            let servers: Vec<JoinHandle<()>> = doors.into_iter().map(serve).collect();
            for server in servers {
                // Each ends by itself within half the time that a stop may take.
                let _ = server.await;
            }
        });
        Ok(Self { _stop: stop.drop_guard() })
    }
}

/// Opens the store. On a server it waits for as long as the server is away or another one leads. `waiting` is called when
/// it begins to wait.
pub(super) async fn open(
    options: Options,
    health: &Health,
    waiting: impl Fn() -> Result<()>,
) -> Result<Store> {
    let mut has_waited = false;
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
        if !has_waited {
            info!(reason, "waiting for the database");
            waiting()?;
            has_waited = true;
        } else if !matches!(error, Error::Led) {
            warn!(reason, "the database cannot be opened; it is tried again");
        }
        health.set("store", false, reason);
        tokio::time::sleep(PAUSE).await;
    };
    if has_waited {
        info!("this server leads from now on");
    }
    health.set("store", true, "");
    Ok(store)
}
