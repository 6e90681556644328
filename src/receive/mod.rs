//! The OTLP doors: gRPC, and HTTP with protobuf or JSON.
//!
//! They promise (OTLP 1.11) that success is answered only after the pipeline has made the items durable, that
//! a refusal says truthfully whether sending again is of use, in the caller's own encoding, and that a request
//! holds memory only for bytes that have arrived and only within its limits. A credential is checked before the
//! first byte of a body is read. Nothing here panics on what the network sends, and nothing here is stored.
//!
//! Reading order: this file, `intake` (what both doors do with a request), `http` and `grpc` (the doors),
//! `body` (bytes as they arrive), `inflate` (decompression), `error` (every refusal), `status` (refusals as the
//! protocols spell them), `respond` (HTTP answers), `health` (grpc.health.v1), `tally` (what came and went).
//! The public handle is [`Receive`].

mod body;
mod error;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod grpc;
mod health;
mod http;
mod inflate;
mod intake;
mod respond;
mod status;
mod tally;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use tracing::debug;
use tracing::error;

use crate::admit::Budget;
use crate::admit::REQUEST_BYTES_MAX_DEFAULT;
use crate::auth::{Authenticator, Names, Policy};
use crate::clock::Clock;
use crate::decode::Limits;
use crate::fault::Kind;
use crate::model::tenant::Scope;
use crate::pipeline;
use crate::pipeline::Submission;
use crate::rules::Rules;

pub use error::Error;
use intake::Intake;
pub use tally::Sample;

/// What the doors are told at the start.
#[derive(Debug, Clone)]
pub struct Options {
    /// Bytes of one request, as it travels and decompressed alike; one more is refused for good.
    pub request_bytes_max: usize,
    /// How long a body may take to arrive in full.
    pub body_timeout: Duration,
    /// The stretch of time in which at least 1 KiB of a body must arrive.
    pub body_pace: Duration,
    /// What one request may hold once decoded.
    pub limits: Limits,
    /// Which items are taken.
    pub rules: Rules,
    /// Requests above 64 KiB that are decoded at once, of which one tenant has half beside others; further ones wait
    /// their turn.
    pub decoders_max: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            request_bytes_max: REQUEST_BYTES_MAX_DEFAULT,
            body_timeout: Duration::from_secs(60),
            body_pace: Duration::from_secs(10),
            limits: Limits::default(),
            rules: Rules::default(),
            decoders_max: std::thread::available_parallelism().map_or(2, usize::from).max(2),
        }
    }
}

/// The eventual outcome of a submission: durable, or refused.
pub type Accepting<'a> = Pin<Box<dyn Future<Output = Result<(), Kind>> + Send + 'a>>;

/// Where decoded requests go.
pub trait Accept: Send + Sync + 'static {
    /// Makes `submission` durable; on error nothing of it is kept, and the kind says whether to come again.
    ///
    /// May be dropped while it waits, when the client leaves; then either outcome is right.
    fn accept<'a>(&'a self, scope: &'a Scope, submission: Submission) -> Accepting<'a>;
}

impl Accept for pipeline::Handle {
    fn accept<'a>(&'a self, scope: &'a Scope, submission: Submission) -> Accepting<'a> {
        Box::pin(async move {
            self.accept(scope, submission).await.map_err(|error| {
                let (kind, tenant) = (error.kind(), scope.tenant());
                let error = &error as &dyn std::error::Error;
                if kind.is_retryable() {
                    // Counted; a line for each would add to the very load that is refused.
                    debug!(%tenant, error, "a submission was refused for now");
                } else {
                    error!(%tenant, error, "a submission was refused for good");
                }
                kind
            })
        })
    }
}

/// The OTLP doors; cheap to clone.
#[derive(Clone)]
pub struct Receive {
    intake: Arc<Intake>,
}

impl Receive {
    /// Doors that let in whom `authenticator` knows, within `budget`, and pass on to `pipeline`.
    pub fn new(
        options: Options,
        authenticator: Authenticator,
        budget: Budget,
        pipeline: impl Accept,
        clock: Clock,
    ) -> Self {
        Self { intake: Arc::new(Intake::new(options, authenticator, budget, Box::new(pipeline), clock)) }
    }

    /// `POST /v1/{traces,logs,metrics}`; every other path under `/v1` answers 404 as OTLP does. For any HTTP port.
    pub fn router_http(&self) -> Router {
        http::router(Arc::clone(&self.intake))
    }

    /// [`Receive::router_http`] for a port that serves nothing else: unknown paths answer 404 as OTLP does.
    pub fn router_http_only(&self) -> Router {
        self.router_http().fallback(http::not_found)
    }

    /// The three `Export` methods and `grpc.health.v1.Health/Check`; all other methods are unimplemented.
    /// For a port that serves nothing else.
    pub fn router_grpc(&self) -> Router {
        grpc::router(&self.intake)
    }

    /// What the routes of [`Receive::router_http`] ask of their callers.
    pub fn policies_http() -> impl Iterator<Item = (String, Policy)> {
        http::policies()
    }

    /// What the methods of [`Receive::router_grpc`] ask of their callers.
    pub fn policies_grpc() -> impl Iterator<Item = (String, Policy)> {
        grpc::policies()
    }

    /// Opens or closes the doors. Closed ones answer that the same request will do later; they start open.
    pub fn set_serving(&self, is_serving: bool) {
        self.intake.set_serving(is_serving);
    }

    /// Attributes that were left out of their items for being too many, and attribute values that were cut.
    pub fn attributes(&self) -> (u64, u64) {
        self.intake.tally().attributes_changed()
    }

    /// What came and went so far, for the metrics page; every counter is listed from the start.
    pub fn samples(&self) -> impl Iterator<Item = Sample> {
        self.intake.tally().samples()
    }
}

/// What a server answers to anything that it is asked before it works: that the same will do later.
pub async fn come_again(request: Request) -> Response {
    match grpc::is_grpc(&request) {
        Ok(()) => grpc::failure(&Error::Waiting),
        Err(_) => http::refusal(request.headers(), &Error::Waiting),
    }
}

/// Lets telemetry through that no page of a stranger sends, under whatever name: its senders know the server by many names
/// and are no pages.
///
/// For `axum::middleware::from_fn_with_state(names, receive::of_no_stranger)`.
pub async fn of_no_stranger(State(names): State<Names>, request: Request, next: Next) -> Response {
    match names.objection_to_page(request.headers()) {
        None => next.run(request).await,
        Some(message) => http::refusal(request.headers(), &Error::Stranger(message)),
    }
}

#[cfg(test)]
mod tests;
