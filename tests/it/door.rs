//! An address that outlives the server behind it, as that of a load balancer does; and the network between, which may be
//! slow or lose everything.

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// Bytes that are passed on together.
const CHUNK_BYTES: usize = 16 << 10;

/// What a client said on one connection, byte for byte.
type Stream = Arc<Mutex<Vec<u8>>>;

/// What clients said at a door, a stream for each connection.
#[derive(Debug, Clone, Default)]
pub(crate) struct Said(Arc<Mutex<Vec<Stream>>>);

impl Said {
    /// A place for what the next connection says.
    fn connection(&self) -> Stream {
        let stream = Stream::default();
        self.0.lock().unwrap().push(Arc::clone(&stream));
        stream
    }

    /// The streams as they are now.
    pub(crate) fn streams(&self) -> Vec<Vec<u8>> {
        self.0.lock().unwrap().iter().map(|stream| stream.lock().unwrap().clone()).collect()
    }
}

/// How a door passes on what is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pace {
    /// At once.
    Quick,
    /// Each part of an answer so much later, and no more than so many bytes a second.
    Slow { later: Duration, bytes_per_second: u32 },
    /// Not at all, as if packets vanished: nothing is passed on, and no end of a connection is told.
    Silent,
}

impl Pace {
    /// How long so many bytes take.
    fn time(self, bytes: usize, is_answer: bool) -> Duration {
        match self {
            Self::Quick => Duration::ZERO,
            Self::Slow { later, bytes_per_second } => {
                let under_way = Duration::from_secs_f64(bytes as f64 / f64::from(bytes_per_second));
                if is_answer { under_way + later } else { under_way }
            }
            Self::Silent => Duration::MAX,
        }
    }
}

/// Passes connections on to whichever server is behind it now; ends with the runtime.
#[derive(Debug, Clone)]
pub(crate) struct Door {
    /// Where clients connect.
    pub(crate) address: String,
    behind: Arc<Mutex<String>>,
    /// Of the connections that are made now.
    pace: Arc<Mutex<watch::Sender<Pace>>>,
}

impl Door {
    /// Opens a door to the server at `behind`.
    pub(crate) async fn open(behind: &str) -> Self {
        Self::opened(behind, None).await
    }

    /// Opens a door that keeps what is said at it.
    pub(crate) async fn keeping(behind: &str) -> (Self, Said) {
        let said = Said::default();
        (Self::opened(behind, Some(said.clone())).await, said)
    }

    async fn opened(behind: &str, said: Option<Said>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let pace = Arc::new(Mutex::new(watch::Sender::new(Pace::Quick)));
        let door = Self { address, behind: Arc::new(Mutex::new(behind.to_owned())), pace };
        let passing = door.clone();
        tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                let behind = passing.behind.lock().unwrap().clone();
                let pace = passing.pace.lock().unwrap().subscribe();
                let kept = said.as_ref().map(Said::connection);
                tokio::spawn(async move {
                    // A server that is down turns its clients away.
                    if let Ok(server) = TcpStream::connect(behind).await {
                        let _ = client.set_nodelay(true).and(server.set_nodelay(true));
                        let (hears, speaks) = client.into_split();
                        let (answers, asks) = server.into_split();
                        let (asking, answering) = ((hears, asks), (answers, speaks));
                        let _ = tokio::try_join!(
                            pass(asking, pace.clone(), false, kept),
                            pass(answering, pace, true, None),
                        );
                    }
                });
            }
        });
        door
    }

    /// Leads to the server at `behind` from the next connection on.
    pub(crate) fn lead_to(&self, behind: &str) {
        behind.clone_into(&mut self.behind.lock().unwrap());
    }

    /// Leads nowhere: who comes is turned away, also when another program takes the address of the server that has ended.
    pub(crate) fn shut(&self) {
        self.lead_to("");
    }

    /// Passes on at this pace from now on, what is under way included.
    pub(crate) fn go(&self, pace: Pace) {
        self.pace.lock().unwrap().send_replace(pace);
    }

    /// Loses the connections that there are, for good and without a word; further ones are passed on at once.
    pub(crate) fn lose_all(&self) {
        let lost = std::mem::replace(&mut *self.pace.lock().unwrap(), watch::Sender::new(Pace::Quick));
        lost.send_replace(Pace::Silent);
    }
}

/// Passes on what comes `from` one side until it ends; errs as soon as one of the two is gone.
async fn pass(
    (mut from, mut to): (OwnedReadHalf, OwnedWriteHalf),
    mut pace: watch::Receiver<Pace>,
    is_answer: bool,
    kept: Option<Stream>,
) -> io::Result<()> {
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        let read = from.read(&mut chunk).await;
        let bytes = read.as_ref().copied().unwrap_or(0);
        if let Some(stream) = &kept {
            stream.lock().unwrap().extend_from_slice(&chunk[..bytes]);
        }
        loop {
            let time = pace.borrow_and_update().time(bytes, is_answer);
            if time.is_zero() {
                break;
            }
            tokio::select! {
                () = tokio::time::sleep(time) => break,
                changed = pace.changed() => if changed.is_err() {
                    // Lost for good.
                    std::future::pending::<()>().await;
                }
            }
        }
        if read? == 0 {
            return to.shutdown().await;
        }
        to.write_all(&chunk[..bytes]).await?;
    }
}
