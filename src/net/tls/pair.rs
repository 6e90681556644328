//! A certificate and its key, out of their files.

use std::fs::Metadata;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{RootCertStore, ServerConfig, crypto};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::{Error, Options, Source, selfsigned};

/// The protocols that connections may speak, the preferred first.
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// What tells one state of the files from another.
pub(super) type Stamp = Vec<Option<(u64, Option<SystemTime>, u64)>>;

/// Where a certificate, its key and the roots of clients are.
pub(super) struct Pair {
    chain: PathBuf,
    key: PathBuf,
    client_roots: Option<PathBuf>,
}

impl Pair {
    /// The files that `options` lead to; they are made where the server makes them itself.
    pub(super) fn of(options: &Options, now: i64) -> Result<Self, Error> {
        let client_roots = options.client_roots.clone();
        match &options.source {
            Source::Files { chain, key } => Ok(Self { chain: chain.clone(), key: key.clone(), client_roots }),
            Source::SelfSigned { folder, names } => {
                let (chain, key) = selfsigned::keep(folder, names, now)?;
                Ok(Self { chain, key, client_roots })
            }
        }
    }

    /// The files that [`Pair::of`] would leave as they are; none where it would make some. Writes nothing.
    pub(super) fn there(options: &Options, now: i64) -> Result<Option<Self>, Error> {
        match &options.source {
            Source::Files { .. } => Self::of(options, now).map(Some),
            Source::SelfSigned { folder, names } => {
                let client_roots = options.client_roots.clone();
                let kept = selfsigned::kept(folder, names, now)?;
                Ok(kept.map(|(chain, key)| Self { chain, key, client_roots }))
            }
        }
    }

    /// The state of the files.
    pub(super) fn stamp(&self) -> Stamp {
        let files = [Some(&self.chain), Some(&self.key), self.client_roots.as_ref()];
        files
            .into_iter()
            .flatten()
            .map(|path| std::fs::metadata(path).map(|metadata| stamp(&metadata)).ok())
            .collect()
    }

    /// What connections need, and when the certificate ends.
    pub(super) fn load(&self, now: i64) -> Result<(Arc<ServerConfig>, i64), Error> {
        let chain = certificates(&self.chain)?;
        let expires = check_time(&self.chain, &chain[0], now)?;
        let key = PrivateKeyDer::from_pem_file(&self.key).map_err(|error| unreadable(&self.key, error))?;
        let provider = Arc::new(crypto::ring::default_provider());
        let unusable = |error: &dyn std::fmt::Display| Error::Unusable(error.to_string());
        let config = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| unusable(&error))?;
        let config = match &self.client_roots {
            None => config.with_no_client_auth(),
            Some(path) => config.with_client_cert_verifier(verifier(path, provider)?),
        };
        let mut config = config.with_single_cert(chain, key).map_err(|error| unusable(&error))?;
        config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).to_vec();
        Ok((Arc::new(config), expires))
    }
}

/// What checks the certificates of clients against the roots in the PEM file at `path`.
pub(super) fn verifier(
    path: &Path,
    provider: Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, Error> {
    let mut roots = RootCertStore::empty();
    for root in certificates(path)? {
        roots.add(root).map_err(|error| content(path, error))?;
    }
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
    verifier.build().map_err(|error| content(path, error))
}

#[cfg(unix)]
fn stamp(metadata: &Metadata) -> (u64, Option<SystemTime>, u64) {
    use std::os::unix::fs::MetadataExt;
    (metadata.ino(), metadata.modified().ok(), metadata.len())
}

#[cfg(not(unix))]
fn stamp(metadata: &Metadata) -> (u64, Option<SystemTime>, u64) {
    (0, metadata.modified().ok(), metadata.len())
}

/// The certificates of a PEM file, one at least.
pub(super) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let text = std::fs::read(path).map_err(|source| Error::File { path: path.to_owned(), source })?;
    certificates_of(path, &text)
}

/// The certificates in the text of the PEM file at `path`.
pub(super) fn certificates_of(path: &Path, text: &[u8]) -> Result<Vec<CertificateDer<'static>>, Error> {
    match CertificateDer::pem_slice_iter(text).collect::<Result<Vec<_>, _>>() {
        Ok(found) if found.is_empty() => Err(content(path, "holds no certificate in PEM")),
        Ok(found) => Ok(found),
        Err(error) => Err(unreadable(path, error)),
    }
}

fn unreadable(path: &Path, error: rustls::pki_types::pem::Error) -> Error {
    match error {
        rustls::pki_types::pem::Error::Io(source) => Error::File { path: path.to_owned(), source },
        rustls::pki_types::pem::Error::NoItemsFound => content(path, "holds no certificate or key in PEM"),
        other => content(path, other),
    }
}

fn content(path: &Path, what: impl std::fmt::Display) -> Error {
    Error::Content { path: path.to_owned(), what: what.to_string() }
}

/// When a certificate ends.
///
/// # Errors
/// When it is not valid `now`.
pub(super) fn check_time(path: &Path, certificate: &CertificateDer<'_>, now: i64) -> Result<i64, Error> {
    let (_, parsed) = X509Certificate::from_der(certificate).map_err(|error| content(path, error))?;
    let validity = parsed.validity();
    if validity.not_after.timestamp() <= now {
        return Err(content(path, format_args!("the certificate ended at {}", validity.not_after)));
    }
    if now < validity.not_before.timestamp() {
        return Err(content(path, format_args!("the certificate begins at {}", validity.not_before)));
    }
    Ok(validity.not_after.timestamp())
}
