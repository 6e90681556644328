//! The certificate of the ports, at the start and while it changes.

use std::time::Duration;

use anyhow::{Context, Result};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::clock::Clock;
use crate::config::{Certificate, Config};
use crate::fault::chain;
use crate::net::tls::{Encryption, Options, Refreshed, Source};
use crate::vitals::metrics::{Kind, Metrics};

use super::follow::Seen;

/// Between two looks at the certificate.
const LOOK: Duration = Duration::from_secs(2);

/// What encrypts the ports; none where nothing does.
pub(super) fn open(config: &Config, clock: &Clock) -> Result<Option<Encryption>> {
    let Some(options) = options(config) else { return Ok(None) };
    if let Source::Files { key, .. } = &options.source {
        warn_of_open_key(key);
    }
    Encryption::open(options, clock.now().seconds()).context("TLS").map(Some)
}

/// Where the certificate comes from; none where there is to be none.
pub(super) fn options(config: &Config) -> Option<Options> {
    let wanted = config.encryption.as_ref()?;
    let source = match &wanted.certificate {
        Certificate::Files(chain, key) => Source::Files { chain: chain.clone(), key: key.clone() },
        Certificate::SelfSigned(folder, names) => {
            Source::SelfSigned { folder: folder.clone(), names: names.clone() }
        }
    };
    Some(Options { source, client_roots: wanted.client_roots.clone() })
}

/// Keys come from mounts whose modes not everybody chooses, so it is no reason not to start.
fn warn_of_open_key(key: &std::path::Path) {
    #[cfg(unix)]
    if let Ok(metadata) = std::fs::metadata(key) {
        use std::os::unix::fs::MetadataExt;
        if metadata.mode() & 0o007 != 0 {
            warn!(key = %key.display(), "everybody on this machine may read TLS_KEY_FILE; run `chmod 600`");
        }
    }
}

/// Looks for another certificate while the server runs.
pub(super) fn follow(encryption: Encryption, clock: Clock, stop: CancellationToken) -> JoinHandle<()> {
    let look = move || {
        Some(match encryption.refresh(clock.now().seconds()) {
            Refreshed::Unchanged => Seen::Same,
            Refreshed::Replaced { expires } => {
                info!(expires, "another certificate is in use");
                Seen::Other
            }
            Refreshed::Failed(error) => Seen::Unusable(chain(&error)),
        })
    };
    super::follow::follow(LOOK, "the certificate cannot be replaced; the one before stays in use", look, stop)
}

/// Shows how encryption goes on; without any, that no certificate will ever end.
pub(super) fn register(metrics: &Metrics, encryption: &Option<Encryption>) {
    let results = |names: &'static [&'static str], counts: Vec<u64>| {
        let samples = names.iter().zip(counts);
        samples.map(|(name, count)| (super::exports::label("result", name), count as f64)).collect::<Vec<_>>()
    };
    let shaken = encryption.clone();
    metrics.export("tls_handshakes", "Handshakes of clients.", Kind::Counter, move || {
        let counts = shaken.as_ref().map(Encryption::handshakes).unwrap_or_default();
        results(&["ok", "failed", "timed_out"], counts.into())
    });
    let reloaded = encryption.clone();
    metrics.export(
        "tls_reloads",
        "Certificates that came in use while running, and looks at one that could not.",
        Kind::Counter,
        move || {
            let counts = reloaded.as_ref().map(Encryption::reloads).unwrap_or_default();
            results(&["ok", "failed"], counts.into())
        },
    );
    let expiring = encryption.clone();
    metrics.export_one(
        "tls_certificate_expiry_timestamp_seconds",
        "When the certificate ends; infinite without one.",
        Kind::Gauge,
        move || expiring.as_ref().map_or(f64::INFINITY, |encryption| encryption.expires() as f64),
    );
}
