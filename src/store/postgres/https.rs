//! The HTTPS client that tokens are fetched with.
//!
//! azure_core's own needs either a C build of a second TLS library or one that every HTTP client of the process would
//! have to be told about; this one uses what the database connections use already.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use azure_core::error::ErrorKind;
use azure_core::http::headers::Headers;
use azure_core::http::{AsyncRawResponse, Body, HttpClient, Request, StatusCode};
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

/// How long a connection may take to come about.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a request may take as a whole.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(15);
/// Longest answer in bytes; a token has a few thousand.
const ANSWER_BYTES_MAX: usize = 1 << 20;

/// The certificates that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The system has none.
    #[error("the system has no root certificates: install the package ca-certificates")]
    System(#[source] io::Error),
    /// The file that was named does not hold any.
    #[error("cannot read certificates from {}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: rustls::pki_types::pem::Error,
    },
    /// A certificate is none that TLS can use.
    #[error("cannot use a root certificate")]
    Certificate(#[source] rustls::Error),
}

/// A client for the few small requests that fetch a token.
#[derive(Debug)]
pub(super) struct Https {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
}

impl Https {
    /// A client that believes the certificates in `roots`, a PEM file, or those of the system where none is named. It
    /// also speaks plain HTTP, as the metadata service of a virtual machine does.
    pub(super) fn new(roots: Option<&Path>) -> Result<Self, Error> {
        let builder = match roots {
            Some(path) => HttpsConnectorBuilder::new().with_tls_config(believing(path)?),
            None => HttpsConnectorBuilder::new()
                .with_provider_and_native_roots(rustls::crypto::ring::default_provider())
                .map_err(Error::System)?,
        };
        let mut connector = HttpConnector::new();
        connector.enforce_http(false);
        connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
        let connector = builder.https_or_http().enable_http1().wrap_connector(connector);
        Ok(Self { client: Client::builder(TokioExecutor::new()).build(connector) })
    }

    async fn exchange(&self, request: &Request) -> azure_core::Result<AsyncRawResponse> {
        let Body::Bytes(body) = request.body() else {
            return Err(failure(ErrorKind::Other, "a streamed body"));
        };
        let mut outgoing =
            http::Request::builder().method(request.method().as_str()).uri(request.url().as_str());
        for (name, value) in request.headers().iter() {
            outgoing = outgoing.header(name.as_str(), value.as_str());
        }
        let outgoing =
            outgoing.body(Full::new(body.clone())).map_err(|error| failure(ErrorKind::Other, error))?;
        let answer = self.client.request(outgoing).await.map_err(|error| {
            let kind = if error.is_connect() { ErrorKind::Connection } else { ErrorKind::Io };
            failure(kind, error)
        })?;
        let (parts, body) = answer.into_parts();
        let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await;
        let body = body.map_err(|error| failure(ErrorKind::Io, error))?.to_bytes();
        let mut headers = Headers::new();
        for (name, value) in &parts.headers {
            if let Ok(value) = value.to_str() {
                headers.insert(name.as_str().to_owned(), value.to_owned());
            }
        }
        Ok(AsyncRawResponse::from_bytes(StatusCode::from(parts.status.as_u16()), headers, body))
    }
}

#[async_trait::async_trait]
impl HttpClient for Https {
    async fn execute_request(&self, request: &Request) -> azure_core::Result<AsyncRawResponse> {
        let answer = tokio::time::timeout(REQUEST_TIMEOUT, self.exchange(request)).await;
        answer.unwrap_or_else(|_| Err(failure(ErrorKind::Io, "no answer in time")))
    }
}

/// Our text is the place alone: azure_core's errors repeat what they wrap.
fn failure(kind: ErrorKind, cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> azure_core::Error {
    azure_core::Error::with_error(kind, cause, "the request for a token failed")
}

fn believing(path: &Path) -> Result<ClientConfig, Error> {
    let unreadable = |source| Error::File { path: path.to_owned(), source };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(path).map_err(unreadable)? {
        roots.add(certificate.map_err(unreadable)?).map_err(Error::Certificate)?;
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().map_err(Error::Certificate)?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}
