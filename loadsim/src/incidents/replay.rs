//! Sends a recorded incident to a server.

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use reqwest::{Client, StatusCode};
use serde::Serialize;

use super::case::{Case, WindowNs};
use crate::send::Signal;

/// How often a request is sent again while the server is overloaded or away.
const TRIES: u32 = 8;
/// The first wait before it is sent again; doubled each time.
const WAIT: Duration = Duration::from_millis(100);

/// Where the case ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndAt {
    /// Now.
    Now,
    /// At this second of a minute, the last time that it was that.
    Second(u8),
    /// When it was recorded.
    Recorded,
    /// So many seconds since 1970.
    Seconds(i64),
}

impl std::str::FromStr for EndAt {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "now" => Ok(Self::Now),
            "keep" => Ok(Self::Recorded),
            _ => text.parse().map(Self::Seconds).map_err(|_| "now, keep, or seconds since 1970".to_owned()),
        }
    }
}

/// Where to send.
#[derive(Debug, Clone)]
pub struct Target {
    /// The base URL of OTLP/HTTP.
    pub endpoint: String,
    /// Bearer key; empty sends none.
    pub api_key: String,
    /// `x-tenant-id`; empty sends none.
    pub tenant: String,
}

/// What was sent.
#[derive(Debug, Serialize)]
pub struct Replayed {
    /// The case.
    pub case: String,
    /// Requests.
    pub requests: usize,
    /// How much later than recorded.
    pub offset_ns: i64,
    /// The time before the fault, as sent.
    pub baseline_window_ns: (i64, i64),
    /// The time of the fault, as sent.
    pub fault_window_ns: (i64, i64),
}

/// Sends the case in `folder`, as fast as it is taken.
///
/// # Errors
/// When it cannot be read, or the server refuses it.
pub async fn replay(folder: &Path, end_at: EndAt, target: &Target) -> Result<Replayed> {
    let case = Case::open(folder)?;
    send(&case, end_at, target).await
}

/// As [`replay`], for a case that was opened.
pub(super) async fn send(case: &Case, end_at: EndAt, target: &Target) -> Result<Replayed> {
    let end_ns = case.fault_window_ns.1;
    let now_s = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs())?;
    let offset_ns = match end_at {
        EndAt::Recorded => 0,
        EndAt::Now => now_s * 1_000_000_000 - end_ns,
        EndAt::Second(second) => {
            (now_s - (now_s - i64::from(second)).rem_euclid(60)) * 1_000_000_000 - end_ns
        }
        EndAt::Seconds(seconds) => seconds * 1_000_000_000 - end_ns,
    };
    crate::send::encrypt();
    let client = Client::builder().timeout(Duration::from_secs(60)).build()?;
    let requests = case.requests(offset_ns)?;
    for request in &requests {
        post(&client, target, request.signal, serde_json::to_vec(&request.body)?).await?;
    }
    let later = |window: WindowNs| (window.0 + offset_ns, window.1 + offset_ns);
    Ok(Replayed {
        case: case.id.clone(),
        requests: requests.len(),
        offset_ns,
        baseline_window_ns: later(case.baseline_window_ns),
        fault_window_ns: later(case.fault_window_ns),
    })
}

async fn post(client: &Client, target: &Target, signal: Signal, body: Vec<u8>) -> Result<()> {
    let url = format!("{}/v1/{}", target.endpoint.trim_end_matches('/'), signal.name());
    let mut wait = WAIT;
    for _ in 0..TRIES {
        let mut request = client.post(&url).header("content-type", "application/json").body(body.clone());
        if !target.api_key.is_empty() {
            request = request.bearer_auth(&target.api_key);
        }
        if !target.tenant.is_empty() {
            request = request.header("x-tenant-id", &target.tenant);
        }
        match request.send().await {
            Ok(answer) if answer.status().is_success() => return Ok(()),
            Ok(answer) => {
                let again = [
                    StatusCode::TOO_MANY_REQUESTS,
                    StatusCode::BAD_GATEWAY,
                    StatusCode::SERVICE_UNAVAILABLE,
                    StatusCode::GATEWAY_TIMEOUT,
                ];
                let status = answer.status();
                if !again.contains(&status) {
                    bail!("{url} answered {status}: {}", answer.text().await.unwrap_or_default());
                }
            }
            Err(error) if error.is_connect() || error.is_timeout() => {}
            Err(error) => return Err(error).context(url),
        }
        tokio::time::sleep(wait).await;
        wait *= 2;
    }
    bail!("{url} took nothing in {TRIES} tries")
}
