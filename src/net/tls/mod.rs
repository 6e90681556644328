//! Encryption of connections, with a certificate that may change while the server runs.
//!
//! A certificate that cannot be used never takes the place of one that can: what was read last stays, and the failure
//! is told until it is mended.
//!
//! Reading order: this file (the certificate in use), `pair` (certificate and key out of their files), `selfsigned` (those that
//! the server makes itself).

#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod pair;
mod selfsigned;

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use rustls::ServerConfig;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tracing::debug;

use pair::{Pair, Stamp};

/// Where the certificate comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// PEM files that others look after.
    Files {
        /// The certificate, followed by those that lead to its root.
        chain: PathBuf,
        /// Its key.
        key: PathBuf,
    },
    /// A certificate that the server makes and renews, in `server.crt` and `server.key` of a folder.
    SelfSigned {
        /// The folder.
        folder: PathBuf,
        /// The names and addresses that it is for.
        names: Vec<String>,
    },
}

/// What encryption is told at the start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Where the certificate comes from.
    pub source: Source,
    /// A PEM file with the roots of the certificates that clients must show; none where they need none.
    pub client_roots: Option<PathBuf>,
}

/// Why there is no encryption.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file cannot be read or written.
    #[error("{}", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// A file holds something else.
    #[error("{}: {what}", .path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// Certificate and key cannot be used together, or for this.
    #[error("the certificate cannot be used: {0}")]
    Unusable(String),
}

/// What became of a look at the certificate.
#[derive(Debug)]
pub enum Refreshed {
    /// It is as it was.
    Unchanged,
    /// Another one is in use from now on, to this time (seconds since 1970).
    Replaced {
        /// When it ends.
        expires: i64,
    },
    /// Another one is there and cannot be used.
    Failed(Error),
}

/// Encrypts connections; cheap to clone.
#[derive(Debug, Clone)]
pub struct Encryption {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    options: Options,
    current: RwLock<(Arc<ServerConfig>, i64)>,
    seen: Mutex<Option<Stamp>>,
    /// Handshakes that succeeded, failed and took too long.
    handshakes: [AtomicU64; 3],
    /// Certificates that were replaced, and looks at one that cannot be used.
    reloads: [AtomicU64; 2],
}

impl Encryption {
    /// Reads the certificate, or makes one; `now` in seconds since 1970.
    ///
    /// # Errors
    /// When there is none that can be used now.
    pub fn open(options: Options, now: i64) -> Result<Self, Error> {
        let pair = Pair::of(&options, now)?;
        let seen = pair.stamp();
        let (config, expires) = pair.load(now)?;
        let shared = Shared {
            options,
            current: RwLock::new((config, expires)),
            seen: Mutex::new(Some(seen)),
            handshakes: Default::default(),
            reloads: Default::default(),
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// When the certificate that [`Encryption::open`] would use now ends, in seconds since 1970; none where it would make one.
    /// Writes nothing.
    ///
    /// # Errors
    /// When one that is there cannot be used now, or the roots of clients cannot.
    pub fn look(options: &Options, now: i64) -> Result<Option<i64>, Error> {
        if let Some(pair) = Pair::there(options, now)? {
            return pair.load(now).map(|(_, expires)| Some(expires));
        }
        if let Some(roots) = &options.client_roots {
            pair::verifier(roots, Arc::new(rustls::crypto::ring::default_provider()))?;
        }
        Ok(None)
    }

    /// Looks whether another certificate is there, and renews one of the server's own before it ends.
    pub fn refresh(&self, now: i64) -> Refreshed {
        let shared = &*self.shared;
        let mut seen = shared.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let looked = Pair::of(&shared.options, now).and_then(|pair| {
            let stamp = pair.stamp();
            if *seen == Some(stamp.clone()) {
                return Ok(None);
            }
            pair.load(now).map(|loaded| Some((loaded, stamp)))
        });
        match looked {
            Ok(None) => Refreshed::Unchanged,
            Ok(Some(((config, expires), stamp))) => {
                *shared.current.write().unwrap_or_else(PoisonError::into_inner) = (config, expires);
                *seen = Some(stamp);
                shared.reloads[0].fetch_add(1, Ordering::Relaxed);
                Refreshed::Replaced { expires }
            }
            Err(error) => {
                *seen = None;
                shared.reloads[1].fetch_add(1, Ordering::Relaxed);
                Refreshed::Failed(error)
            }
        }
    }

    /// When the certificate in use ends, in seconds since 1970.
    pub fn expires(&self) -> i64 {
        self.shared.current.read().unwrap_or_else(PoisonError::into_inner).1
    }

    /// Handshakes that succeeded, failed and took too long.
    pub fn handshakes(&self) -> [u64; 3] {
        self.shared.handshakes.each_ref().map(|count| count.load(Ordering::Relaxed))
    }

    /// Certificates that were replaced, and looks at one that could not be used.
    pub fn reloads(&self) -> [u64; 2] {
        self.shared.reloads.each_ref().map(|count| count.load(Ordering::Relaxed))
    }

    /// Shakes hands with a client within `wait`; none where that fails.
    pub(super) async fn accept(&self, stream: TcpStream, wait: Duration) -> Option<TlsStream<TcpStream>> {
        let config = Arc::clone(&self.shared.current.read().unwrap_or_else(PoisonError::into_inner).0);
        let shaken = tokio::time::timeout(wait, TlsAcceptor::from(config).accept(stream)).await;
        let (outcome, stream) = match shaken {
            Ok(Ok(stream)) => (0, Some(stream)),
            Ok(Err(error)) => {
                debug!(%error, "a handshake failed");
                (1, None)
            }
            Err(_late) => (2, None),
        };
        self.shared.handshakes[outcome].fetch_add(1, Ordering::Relaxed);
        stream
    }
}

#[cfg(test)]
mod tests;
