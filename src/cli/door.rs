//! A running server, to send telemetry to.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;

use crate::config::Config;
use crate::decode::Encoding;
use crate::transfer::deliver::{self, Answer, Door, Request};

use super::client;

/// Longest wait for one answer.
const ANSWER_WAIT: Duration = Duration::from_secs(60);

/// Which server.
#[derive(Debug, clap::Args)]
pub(super) struct Server {
    /// The server's OTLP/HTTP address, such as https://otel.example.com:4318; this machine and OTLP_HTTP_PORT without it.
    #[arg(long)]
    endpoint: Option<String>,
    /// A PEM file with certificates to believe beside the system's roots, where the server speaks TLS.
    #[arg(long)]
    ca_file: Option<PathBuf>,
    /// A file with the key; API_KEY without it.
    #[arg(long)]
    api_key_file: Option<PathBuf>,
}

/// The OTLP/HTTP door of a server.
pub(super) struct Http {
    client: reqwest::Client,
    endpoint: String,
    api_key: Option<String>,
}

impl Server {
    /// Its door, which is not knocked at yet.
    pub(super) fn door(&self, config: &Config) -> Result<Http> {
        let api_key = client::key(self.api_key_file.as_deref(), config)?;
        let endpoint = match &self.endpoint {
            Some(address) => client::address_of("--endpoint", address)?,
            None => client::own_address(config, config.otlp_http_port),
        };
        let own = || client::certificate_of(config).filter(|_| self.endpoint.is_none());
        let roots = self.ca_file.clone().or_else(own);
        let client = client::believing(&endpoint, ANSWER_WAIT, roots.as_deref())?;
        Ok(Http { client, endpoint: endpoint.trim_end_matches('/').to_owned(), api_key })
    }
}

impl Door for Http {
    async fn post(&self, request: &Request) -> Answer {
        let media_type = match request.encoding {
            Encoding::Protobuf => "application/x-protobuf",
            Encoding::Json => "application/json",
        };
        let mut sending = self
            .client
            .post(format!("{}/v1/{}", self.endpoint, request.signal.name()))
            .header("content-type", media_type)
            .body(request.body.clone());
        if let Some(tenant) = &request.tenant {
            sending = sending.header("x-tenant-id", tenant.as_str());
        }
        if let Some(key) = &self.api_key {
            sending = sending.header("authorization", format!("Bearer {key}"));
        }
        let outcome = match sending.send().await {
            Ok(answer) => read(answer, request).await,
            Err(error) => Err(error),
        };
        outcome.unwrap_or_else(|error| Answer::Again {
            after: None,
            reason: format!(
                "no server answers at {}: start one with `otelcontext serve`, or name one with --endpoint ({})",
                self.endpoint,
                crate::fault::chain(&error)
            ),
            is_unreachable: true,
        })
    }
}

async fn read(answer: reqwest::Response, request: &Request) -> Result<Answer, reqwest::Error> {
    let status = answer.status();
    let header = answer.headers().get("retry-after").and_then(|after| after.to_str().ok()?.parse().ok());
    let after = header.map(Duration::from_secs);
    let body = answer.bytes().await?;
    let told = deliver::status_message(request.encoding, &body);
    let reason = if told.is_empty() { status.to_string() } else { format!("{status}: {told}") };
    Ok(match status.as_u16() {
        200..=299 => {
            let (rejected, message) = deliver::partial_success(request.signal, request.encoding, &body);
            Answer::Accepted { rejected, message }
        }
        413 => Answer::TooLarge(reason),
        401 | 403 | 404 | 405 => Answer::Turned(reason),
        429 | 502 | 503 | 504 => Answer::Again { after, reason, is_unreachable: false },
        _ => Answer::Refused(reason),
    })
}
