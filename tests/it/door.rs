//! An address that outlives the server behind it, as that of a load balancer does.

use std::sync::{Arc, Mutex};

use tokio::net::{TcpListener, TcpStream};

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
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let door = Self { address, behind: Arc::new(Mutex::new(behind.to_owned())) };
        let passing = door.clone();
        tokio::spawn(async move {
            loop {
                let (mut client, _) = listener.accept().await.unwrap();
                let behind = passing.behind.lock().unwrap().clone();
                tokio::spawn(async move {
                    // A server that is down turns its clients away.
                    if let Ok(mut server) = TcpStream::connect(behind).await {
                        let _ = client.set_nodelay(true).and(server.set_nodelay(true));
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
}
