//! HTTP to a running server, over TLS where it speaks that.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use reqwest::{Certificate, Client, ClientBuilder};

use crate::config::{self, Config};

/// A client that gives up after `wait`.
fn builder(wait: Duration) -> ClientBuilder {
    loadsim::send::encrypt();
    Client::builder().timeout(wait)
}

/// A client that believes the system's roots, and those of a PEM file.
pub(super) fn believing(wait: Duration, roots: Option<&Path>) -> Result<Client> {
    let mut builder = builder(wait);
    if let Some(path) = roots {
        let shown = || path.display().to_string();
        let text = std::fs::read(path).with_context(shown)?;
        builder = builder.tls_certs_merge(Certificate::from_pem_bundle(&text).with_context(shown)?);
    }
    Ok(builder.build()?)
}

/// A client that believes anybody, to ask this machine for what is no secret.
pub(super) fn credulous(wait: Duration) -> Result<Client> {
    Ok(builder(wait).tls_danger_accept_invalid_certs(true).build()?)
}

/// How the ports of `config` are spoken to.
pub(super) const fn scheme(config: &Config) -> &'static str {
    if config.encryption.is_some() { "https" } else { "http" }
}

/// The file with the certificate of a server with this configuration.
pub(super) fn certificate_of(config: &Config) -> Option<PathBuf> {
    Some(match &config.encryption.as_ref()?.certificate {
        config::Certificate::Files(chain, _) => chain.clone(),
        config::Certificate::SelfSigned(folder, _) => folder.join("server.crt"),
    })
}
