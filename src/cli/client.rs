//! HTTP to a running server, over TLS where it speaks that.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use reqwest::{Certificate, Client, ClientBuilder, Url};

use crate::config::{self, Config};

/// A client of the server at `address` that believes the system's roots and those of a PEM file, and gives up after `wait`.
pub(super) fn believing(address: &str, wait: Duration, roots: Option<&Path>) -> Result<Client> {
    Ok(rooted(builder(address).timeout(wait), roots)?.build()?)
}

/// A client that believes the same, and gives up where no connection comes for the first of `waits` or nothing is heard for
/// the second; what goes on may last as long as it likes.
pub(super) fn patient(address: &str, waits: (Duration, Duration), roots: Option<&Path>) -> Result<Client> {
    let builder = builder(address).connect_timeout(waits.0).read_timeout(waits.1);
    Ok(rooted(builder, roots)?.build()?)
}

/// A client that believes anybody, to ask this machine for what is no secret; it gives up after `wait`.
pub(super) fn credulous(wait: Duration) -> Result<Client> {
    Ok(builder("http://localhost").timeout(wait).tls_danger_accept_invalid_certs(true).build()?)
}

/// A server on this machine is never asked by way of a proxy, which would be told the key and the telemetry.
fn builder(address: &str) -> ClientBuilder {
    loadsim::send::encrypt();
    let builder = Client::builder();
    if is_near(address) { builder.no_proxy() } else { builder }
}

/// Whether an address is one of this machine itself.
fn is_near(address: &str) -> bool {
    let Ok(url) = Url::parse(address) else { return false };
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost" || host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
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
const fn scheme(config: &Config) -> &'static str {
    if config.encryption.is_some() { "https" } else { "http" }
}

/// The file with the certificate of a server with this configuration.
pub(super) fn certificate_of(config: &Config) -> Option<PathBuf> {
    Some(match &config.encryption.as_ref()?.certificate {
        config::Certificate::Files(chain, _) => chain.clone(),
        config::Certificate::SelfSigned(folder, _) => folder.join("server.crt"),
    })
}

#[cfg(test)]
mod tests {
    use crate::config::Environment;

    use super::*;

    #[test]
    fn the_own_server_is_asked_where_it_listens() {
        for (bound, wanted) in [
            ("127.0.0.1", "http://127.0.0.1:4318"),
            ("0.0.0.0", "http://127.0.0.1:4318"),
            ("10.0.0.7", "http://10.0.0.7:4318"),
            ("::", "http://[::1]:4318"),
            ("fd00::7", "http://[fd00::7]:4318"),
        ] {
            let environment = Environment::of_pairs([("BIND_ADDR", bound), ("API_KEY", "k")]);
            let config = Config::load(&environment).unwrap_or_else(|mistakes| panic!("{mistakes:?}")).config;
            assert_eq!(own_address(&config, config.otlp_http_port), wanted);
        }
    }

    #[test]
    fn this_machine_is_known_by_its_names() {
        for near in
            ["http://localhost:8080/mcp", "https://127.0.0.1", "http://127.9.9.9:1", "http://[::1]:8080"]
        {
            assert!(is_near(near), "{near}");
        }
        for far in ["http://otel:8080", "https://localhost.example.com", "http://10.0.0.1", "nothing"] {
            assert!(!is_near(far), "{far}");
        }
    }
}
