//! `otelcontext mcp stdio`: MCP on standard input and output, for clients that know no HTTP.
//!
//! It promises that every message of the client reaches a running server's `/mcp` as it came, one HTTP request each, and
//! that every message of the answers comes out as one line. A request that cannot be passed on is answered with an error
//! that says what to do; a notification is never answered. A slow call holds up no other, and a call that its client
//! cancels is cancelled at the server. It never opens the database, answers nothing itself, chooses no tenant that its
//! caller did not name, and writes nothing but messages to standard output.
//!
//! In reading order: this file finds the server; `stdio` is the bridge; `lines` reads standard input; `message` is what
//! is looked into of a message; `endpoint` is one call over HTTP; `events` takes a stream of answers apart; `refusal` is
//! what the bridge says itself.

mod endpoint;
mod events;
mod lines;
mod message;
mod refusal;
mod stdio;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use reqwest::Url;
use reqwest::header::HeaderValue;

use crate::config::Config;
use crate::model::tenant::TenantId;
use crate::vitals::log;

use self::endpoint::Endpoint;
use self::refusal::SILENCE_MAX;
use super::{Ending, client};

/// Longest wait for a connection to the server.
const CONNECT_WAIT: Duration = Duration::from_secs(10);

/// How to speak.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Arguments {
    /// Pass MCP between standard input and output and a running server, for agents that speak no HTTP.
    Stdio(Server),
}

/// Which server, and as whom.
#[derive(Debug, clap::Args)]
pub(super) struct Server {
    /// The server's MCP address, such as https://otel.example.com:8080/mcp; this machine, HTTP_PORT and MCP_PATH without it.
    #[arg(long)]
    url: Option<String>,
    /// Whose telemetry is asked about; without it the key's tenant, or the server's default.
    #[arg(long)]
    tenant: Option<String>,
    /// A PEM file with certificates to believe beside the system's roots, where the server speaks TLS.
    #[arg(long)]
    ca_file: Option<PathBuf>,
    /// A file with the key; API_KEY without it.
    #[arg(long)]
    api_key_file: Option<PathBuf>,
}

/// Speaks MCP until the client has nothing more to say, or hears no more.
pub(super) fn run(arguments: &Arguments) -> Result<Ending> {
    let Arguments::Stdio(server) = arguments;
    let config = match super::loaded(&super::environment()) {
        Ok(loaded) => loaded.config,
        Err(ending) => return Ok(ending),
    };
    log::start(log::Options { level: config.log_level });
    stdio::run(server.endpoint(&config)?)?;
    Ok(Ending::Good)
}

impl Server {
    /// Where messages go, which is not called yet.
    fn endpoint(&self, config: &Config) -> Result<Endpoint> {
        let own = || client::certificate_of(config).filter(|_| self.url.is_none());
        let roots = self.ca_file.clone().or_else(own);
        let authorization = match client::key(self.api_key_file.as_deref(), config)? {
            Some(key) => {
                let value = HeaderValue::from_str(&format!("Bearer {key}"));
                let mut value = value.context("the key has characters that no header carries")?;
                value.set_sensitive(true);
                Some(value)
            }
            None => None,
        };
        let url = self.address(config)?;
        Ok(Endpoint::new(endpoint::Options {
            client: client::patient(url.as_str(), (CONNECT_WAIT, SILENCE_MAX), roots.as_deref())?,
            url,
            authorization,
            tenant: self.tenant.as_deref().map(TenantId::try_from).transpose().context("--tenant")?,
        }))
    }

    /// The address of MCP; a URL that names a server alone means the path of this environment.
    fn address(&self, config: &Config) -> Result<Url> {
        let named = match &self.url {
            Some(url) => client::address_of("--url", url)?,
            None if config.http_port == 0 => {
                bail!("HTTP_PORT is 0, a port that only the server knows: name it with --url")
            }
            None => client::own_address(config, config.http_port),
        };
        let mut url = Url::parse(&named).with_context(|| format!("--url: `{named}` is no URL"))?;
        if !url.username().is_empty() || url.password().is_some() {
            bail!("--url: a URL is no place for secrets; put the key into API_KEY or a file");
        }
        if url.path() == "/" {
            url.set_path(&config.mcp_path);
        }
        Ok(url)
    }
}

#[cfg(test)]
mod tests {
    use super::Server;
    use crate::config::{Config, Environment};

    /// The address that `--url` means, or what is wrong with it.
    fn address(url: Option<&str>, variables: &[(&str, &str)]) -> String {
        let environment = Environment::of_pairs(variables.iter().copied());
        let loaded = Config::load(&environment).unwrap_or_else(|mistakes| panic!("{mistakes:?}"));
        let server = Server { url: url.map(str::to_owned), tenant: None, ca_file: None, api_key_file: None };
        server.address(&loaded.config).map_or_else(|error| error.to_string(), String::from)
    }

    #[test]
    fn a_server_is_found_by_its_environment_or_by_name() {
        let moved =
            [("HTTP_PORT", "81"), ("MCP_PATH", "/agents"), ("BIND_ADDR", "0.0.0.0"), ("API_KEY", "k")];
        let moved = &moved[..];
        let none: &[(&str, &str)] = &[];
        let cases = [
            (None, &[("HTTP_PORT", "8080")][..], "http://127.0.0.1:8080/mcp"),
            (None, moved, "http://127.0.0.1:81/agents"),
            (None, &[("HTTP_PORT", "0")][..], "HTTP_PORT is 0"),
            (Some("otel:9000"), none, "http://otel:9000/mcp"),
            (Some("https://otel.example.com"), moved, "https://otel.example.com/agents"),
            (Some("https://otel.example.com/a/mcp"), moved, "https://otel.example.com/a/mcp"),
            (Some("ftp://otel"), none, "--url: `ftp://otel` is neither http nor https"),
            (Some("http://"), none, "--url: `http://` is no URL"),
            (Some("http://me:secret@otel"), none, "no place for secrets"),
        ];
        for (url, variables, wanted) in cases {
            let found = address(url, variables);
            assert!(found.contains(wanted), "{url:?}: {found}");
        }
    }
}
