//! Listening sockets and the connections they accept.
//!
//! It promises that a client which is silent, slow or gone holds a connection for a bounded time, that no
//! accept error ends the loop, and that a stop ends within its deadline whatever the clients do. It never
//! looks at paths, headers or bodies: what comes through goes to the service as it is, with the peer's
//! [`SocketAddr`] among the extensions of each request.
//!
//! Reading order: this file (binding, accepting, stopping), `connection` (one connection), `watch` (when a
//! connection has had its time), `stream` (the bytes, observed), `tls` (encryption). The handles are [`bind`] and [`serve`].

mod connection;
mod stream;
pub mod tls;
mod watch;

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http::Response;
use http_body_util::combinators::UnsyncBoxBody;
use tokio::net::TcpListener;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tower::Service;
use tracing::{debug, error, warn};

use crate::fault::{self, Kind};

use tls::Encryption;

/// Any error, as bodies carry it.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The body of a request as the service gets it.
pub type Body = UnsyncBoxBody<Bytes, io::Error>;

/// The first wait after an accept error; it doubles up to [`ACCEPT_PAUSE_MAX`].
const ACCEPT_PAUSE: Duration = Duration::from_millis(5);

/// The longest wait after accept errors that keep coming, such as too many open files.
const ACCEPT_PAUSE_MAX: Duration = Duration::from_secs(1);

/// Limits on the connections of one listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Connections open at once; at the limit one more client waits, others in the kernel's queue, and for each that waits
    /// a connection that is idle makes room.
    pub connections_max: usize,
    /// From connecting to the end of the handshake, where connections are encrypted.
    pub handshake_timeout: Duration,
    /// From the first byte of a request's head to its last, and from connecting to the first request.
    pub header_timeout: Duration,
    /// How long a connection without a request in progress is kept; where others wait for its place, the header timeout.
    pub idle_timeout: Duration,
    /// How long a client may refuse to take the next byte of an answer.
    pub write_timeout: Duration,
    /// Bytes of one request's head, over HTTP/2 of its header list; at least 8 KiB.
    pub header_bytes_max: u32,
    /// HTTP/2 requests in progress at once on one connection.
    pub streams_max: u32,
    /// How often an HTTP/2 client is pinged.
    pub ping_interval: Duration,
    /// How long an HTTP/2 client may take to answer a ping.
    pub ping_timeout: Duration,
    /// How long requests in progress may take to end once the server stops; the rest is cut off.
    pub stop_timeout: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            connections_max: 10_000,
            handshake_timeout: Duration::from_secs(5),
            header_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(300),
            write_timeout: Duration::from_secs(30),
            header_bytes_max: 64 << 10,
            streams_max: 1_000,
            ping_interval: Duration::from_secs(30),
            ping_timeout: Duration::from_secs(20),
            stop_timeout: Duration::from_secs(10),
        }
    }
}

/// Why an address cannot be listened on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The operating system refused, for example because the port is taken.
    #[error("cannot listen on {address}")]
    Bind {
        /// The address that was asked for.
        address: SocketAddr,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
}

impl Error {
    /// What the caller can do about it.
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Bind { .. } => Kind::Unavailable,
        }
    }
}

/// A bound socket: clients can connect, nothing is answered yet.
#[derive(Debug)]
pub struct Listener {
    socket: TcpListener,
    address: SocketAddr,
}

impl Listener {
    /// Another handle of the same socket: whichever is served first takes the connections that come.
    ///
    /// # Errors
    /// When the system has no file handle left.
    pub fn share(&self) -> std::io::Result<Self> {
        let socket = std::net::TcpListener::from(self.socket.as_fd().try_clone_to_owned()?);
        Ok(Self { socket: TcpListener::from_std(socket)?, address: self.address })
    }

    /// The address that was bound; with the port the system chose where port 0 was asked for.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }
}

/// Binds `address`.
///
/// # Errors
/// [`Error::Bind`] with the address when the system refuses it.
pub async fn bind(address: SocketAddr) -> Result<Listener, Error> {
    let refused = |source| Error::Bind { address, source };
    let socket = TcpListener::bind(address).await.map_err(refused)?;
    let address = socket.local_addr().map_err(refused)?;
    Ok(Listener { socket, address })
}

/// Answers the connections of `listener` with `service`, over HTTP/1.1 and HTTP/2 with prior knowledge alike,
/// until `stop` is cancelled; over TLS alone where there is an encryption.
///
/// Then no connection is accepted any more, idle ones are closed, and requests in progress get
/// [`Options::stop_timeout`] to end. The task ends when the last connection did, at that deadline at the latest.
pub fn serve<S, B>(
    listener: Listener,
    service: S,
    (options, encryption): (Options, Option<Encryption>),
    stop: CancellationToken,
) -> JoinHandle<()>
where
    S: Service<Request<Body>, Response = Response<B>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send + 'static,
    B: http_body::Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<BoxError>,
{
    tokio::spawn(async move {
        let stop_timeout = options.stop_timeout;
        let mut connections = accept_all(listener, service, (options, encryption), stop).await;
        let all_ended = async {
            while let Some(ended) = connections.join_next().await {
                note_panic(ended);
            }
        };
        if tokio::time::timeout(stop_timeout, all_ended).await.is_err() {
            warn!(connections = connections.len(), "connections cut off at the stop deadline");
            connections.shutdown().await;
        }
    })
}

/// Accepts until `stop`; returns the connections that are still open. The socket is closed by then.
async fn accept_all<S, B>(
    listener: Listener,
    service: S,
    (options, encryption): (Options, Option<Encryption>),
    stop: CancellationToken,
) -> JoinSet<()>
where
    S: Service<Request<Body>, Response = Response<B>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send + 'static,
    B: http_body::Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<BoxError>,
{
    let mut connections = JoinSet::new();
    let slots = Arc::new(Semaphore::new(options.connections_max.min(Semaphore::MAX_PERMITS)));
    let handshake_timeout = options.handshake_timeout;
    let settings = Arc::new(connection::Settings::new(options, stop.clone()));
    loop {
        let next = async {
            let accepted = persistently(|| listener.socket.accept()).await;
            if slots.available_permits() == 0 {
                settings.crowd.wait();
            }
            let slot = Arc::clone(&slots).acquire_owned().await;
            settings.crowd.served();
            (slot, accepted)
        };
        let (slot, (stream, peer)) = tokio::select! {
            biased;
            () = stop.cancelled() => return connections,
            accepted = next => accepted,
        };
        fault::point("net.accepted");
        without_delay(&stream);
        let (service, settings) = (service.clone(), Arc::clone(&settings));
        let (encryption, stop) = (encryption.clone(), stop.clone());
        connections.spawn(async move {
            match encryption {
                None => connection::run(stream, peer, service, settings).await,
                Some(encryption) => {
                    let shaken = encryption.accept(stream, handshake_timeout);
                    if let Some(Some(stream)) = stop.run_until_cancelled(shaken).await {
                        connection::run(stream, peer, service, settings).await;
                    }
                }
            }
            drop(slot);
        });
        while let Some(ended) = connections.try_join_next() {
            note_panic(ended);
        }
    }
}

/// Accepts one connection, however often the system fails to hand one over.
///
/// A client that left the queue costs nothing; any other error, such as too many open files, is waited out,
/// because it ends when connections do.
async fn persistently<F, T>(mut accept: impl FnMut() -> F) -> T
where
    F: Future<Output = io::Result<T>>,
{
    let mut pause = ACCEPT_PAUSE;
    loop {
        match accept().await {
            Ok(accepted) => return accepted,
            Err(error) if is_of_the_client(error.kind()) => {
                debug!(%error, "a client left before it was accepted")
            }
            Err(error) => {
                warn!(%error, pause_ms = pause.as_millis() as u64, "cannot accept connections for now");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(ACCEPT_PAUSE_MAX);
            }
        }
    }
}

const fn is_of_the_client(kind: io::ErrorKind) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(kind, ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}

/// Small answers must not wait for the acknowledgement of earlier ones.
fn without_delay(stream: &TcpStream) {
    if let Err(error) = stream.set_nodelay(true) {
        debug!(%error, "cannot turn off delayed sending");
    }
}

fn note_panic(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        error!(%error, "a connection ended in a panic");
    }
}

#[cfg(test)]
mod tests;
