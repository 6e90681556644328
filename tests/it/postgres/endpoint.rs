//! A token endpoint as Entra's, on loopback, over real TLS.

use std::path::Path;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// What the next requests are answered.
#[derive(Debug, Clone)]
pub(super) enum Answer {
    /// This token, which lives for so many seconds.
    Token(String, u32),
    /// 401 with this description.
    Refusal(&'static str),
}

/// A request: the path and the form that was posted.
pub(super) type Request = (String, String);

/// The endpoint; it stops with the runtime.
#[derive(Debug, Clone)]
pub(super) struct Endpoint {
    port: u16,
    state: Arc<Mutex<(Answer, Vec<Request>)>>,
}

impl Endpoint {
    /// Starts to answer with the certificate for `localhost` in `folder`.
    pub(super) async fn start(folder: &Path, answer: Answer) -> Self {
        let certificate = CertificateDer::from_pem_file(folder.join("server.crt")).unwrap();
        let key = PrivateKeyDer::from_pem_file(folder.join("server.key")).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let endpoint = Self { port, state: Arc::new(Mutex::new((answer, Vec::new()))) };
        let serving = endpoint.clone();
        tokio::spawn(async move {
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                let (acceptor, serving) = (acceptor.clone(), serving.clone());
                tokio::spawn(async move {
                    // A client that does not believe the certificate goes away.
                    if let Ok(mut socket) = acceptor.accept(socket).await {
                        while serving.exchange(&mut socket).await.is_some() {}
                    }
                });
            }
        });
        endpoint
    }

    /// The value of `AZURE_AUTHORITY_HOST`.
    pub(super) fn authority(&self) -> String {
        format!("https://localhost:{}", self.port)
    }

    pub(super) fn answer(&self, answer: Answer) {
        self.state.lock().unwrap().0 = answer;
    }

    pub(super) fn requests(&self) -> Vec<Request> {
        self.state.lock().unwrap().1.clone()
    }

    /// Answers one request; none when the client is done.
    async fn exchange(&self, socket: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> Option<()> {
        let mut text = String::new();
        let (head, form) = loop {
            let mut bytes = [0; 4096];
            let read = socket.read(&mut bytes).await.ok().filter(|read| *read != 0)?;
            text.push_str(std::str::from_utf8(&bytes[..read]).unwrap());
            if let Some((head, form)) = text.split_once("\r\n\r\n") {
                let lower = head.to_ascii_lowercase();
                // A form is posted to Entra; what stands for a managed identity is only asked.
                let length =
                    lower.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap_or("0");
                if form.len() == length.parse::<usize>().unwrap() {
                    break (head.to_owned(), form.to_owned());
                }
            }
        };
        let path = head.split(' ').nth(1).unwrap().to_owned();
        let answer = {
            let mut state = self.state.lock().unwrap();
            state.1.push((path, form));
            state.0.clone()
        };
        let (status, body) = match answer {
            Answer::Token(token, seconds) => (
                "200 OK",
                serde_json::json!({
                    "token_type": "Bearer",
                    "access_token": token,
                    "expires_in": seconds,
                    // For a managed identity.
                    "expires_on": (unix_seconds() + u64::from(seconds)).to_string(),
                    "resource": "https://ossrdbms-aad.database.windows.net",
                }),
            ),
            Answer::Refusal(why) => (
                "401 Unauthorized",
                serde_json::json!({"error": "invalid_client", "error_codes": [7_000_215], "error_description": why}),
            ),
        };
        let body = body.to_string();
        let head = format!(
            "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        socket.write_all((head + &body).as_bytes()).await.ok()?;
        socket.flush().await.ok()
    }
}

/// Seconds since 1970.
pub(super) fn unix_seconds() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs()
}
