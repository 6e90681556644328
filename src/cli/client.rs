//! HTTP to a running server, over TLS where it speaks that.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use reqwest::{Certificate, Client, ClientBuilder};

use crate::config::{self, Config};

/// A client that believes the system's roots and those of a PEM file, and gives up after `wait`.
pub(super) fn believing(wait: Duration, roots: Option<&Path>) -> Result<Client> {
    Ok(rooted(builder().timeout(wait), roots)?.build()?)
}

/// A client that believes the same, and gives up where no connection comes for `connect_wait` or nothing is heard for
/// `silence_max`; what goes on may last as long as it likes.
pub(super) fn patient(connect_wait: Duration, silence_max: Duration, roots: Option<&Path>) -> Result<Client> {
    Ok(rooted(builder().connect_timeout(connect_wait).read_timeout(silence_max), roots)?.build()?)
}

/// A client that believes anybody, to ask this machine for what is no secret; it gives up after `wait`.
pub(super) fn credulous(wait: Duration) -> Result<Client> {
    Ok(builder().timeout(wait).tls_danger_accept_invalid_certs(true).build()?)
}

fn builder() -> ClientBuilder {
    loadsim::send::encrypt();
    Client::builder()
}

fn rooted(builder: ClientBuilder, roots: Option<&Path>) -> Result<ClientBuilder> {
    let Some(path) = roots else { return Ok(builder) };
    let shown = || path.display().to_string();
    let text = std::fs::read(path).with_context(shown)?;
    Ok(builder.tls_certs_merge(Certificate::from_pem_bundle(&text).with_context(shown)?))
}

/// The key in `file`; API_KEY without one, where that is set.
pub(super) fn key(file: Option<&Path>, config: &Config) -> Result<Option<String>> {
    let Some(path) = file else { return Ok(config.api_key.clone()) };
    let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    Ok(Some(text.trim().to_owned()))
}

/// The address that the value of `option` means, which is of http where it names no scheme.
pub(super) fn address_of(option: &str, value: &str) -> Result<String> {
    if value.starts_with("http://") || value.starts_with("https://") {
        Ok(value.to_owned())
    } else if value.contains("://") {
        bail!("{option}: `{value}` is neither http nor https")
    } else {
        Ok(format!("http://{value}"))
    }
}

/// The address of a port of the server that this configuration starts, from this machine.
pub(super) fn own_address(config: &Config, port: u16) -> String {
    let host = match config.bind_addr {
        IpAddr::V4(any) if any.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(any) if any.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        other => other,
    };
    format!("{}://{}", scheme(config), SocketAddr::new(host, port))
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
