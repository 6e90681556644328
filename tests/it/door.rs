//! An address that outlives the server behind it, as that of a load balancer does.

use std::sync::{Arc, Mutex};

use tokio::net::{TcpListener, TcpStream};
use tokio_util::io::InspectReader;

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

/// Passes connections on to whichever server is behind it now; ends with the runtime.
#[derive(Debug, Clone)]
pub(crate) struct Door {
    /// Where clients connect.
    pub(crate) address: String,
    behind: Arc<Mutex<String>>,
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
        let door = Self { address, behind: Arc::new(Mutex::new(behind.to_owned())) };
        let passing = door.clone();
        tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                let behind = passing.behind.lock().unwrap().clone();
                let kept = said.as_ref().map(Said::connection);
                tokio::spawn(async move {
                    // A server that is down turns its clients away.
                    if let Ok(mut server) = TcpStream::connect(behind).await {
                        let _ = client.set_nodelay(true).and(server.set_nodelay(true));
                        let (hears, speaks) = client.into_split();
                        let hears = InspectReader::new(hears, |bytes| {
                            if let Some(stream) = &kept {
                                stream.lock().unwrap().extend_from_slice(bytes);
                            }
                        });
                        let mut client = tokio::io::join(hears, speaks);
                        let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
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
}
