//! Which questions there are, and what happens around each.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, HttpBody};
use axum::extract::{FromRequestParts, Query as QueryString, RawPathParams, Request};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tokio::sync::Semaphore;
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::Schema;

use crate::admit::{Turn, Turns};
use crate::auth::{Policy, Principal, Right};
use crate::fault::{self, chain};
use crate::model::tenant::{Scope, TenantId};
use crate::query::Query;
use crate::vitals::health::Health;

use super::answer::Answer;
use super::call::Call;
use super::document::Schemas;
use super::parameter::{Parameter, Shape};
use super::problem::Problem;
use super::tally::{Asked, Tally};
use super::{
    anomalies, document, impact, log_templates, logs, metric_names, metric_query, root_cause, service_health,
    service_map, services, spans, sql, status, trace, traces,
};

/// Longest query string that is looked at, in bytes.
const QUERY_BYTES_MAX: usize = 16_384;
/// Statements in SQL that run at once.
const SQL_AT_ONCE_MAX: usize = 2;
/// What else is asked for where the questions are.
const ELSEWHERE: [&str; 3] = ["/api/v1", "/api/v1/", "/api/v1/{*rest}"];
const ALLOW: &str = "GET, HEAD, OPTIONS";
const ALLOW_WITH_POST: &str = "GET, HEAD, POST, OPTIONS";

/// Every route under `/api/v1`. A new question is a file with its `ROUTE`, and a line here.
pub(super) const ROUTES: &[&Route] = &[
    &services::ROUTE,
    &services::OPERATIONS,
    &traces::ROUTE,
    &trace::ROUTE,
    &spans::ROUTE,
    &logs::ROUTE,
    &log_templates::ROUTE,
    &metric_names::ROUTE,
    &metric_query::ROUTE,
    &service_map::ROUTE,
    &service_health::ROUTE,
    &anomalies::ROUTE,
    &root_cause::ROUTE,
    &impact::ROUTE,
    &sql::ROUTE,
    &status::ROUTE,
    &document::ROUTE,
];

/// What is told at the start.
#[derive(Debug, Clone)]
pub struct Options {
    /// The program's version.
    pub version: &'static str,
    /// How many days of telemetry are kept; none where all of it is.
    pub retention_days: Option<u32>,
    /// The tenant whose data may be asked about in SQL, where the database has no other; none where SQL is off.
    pub sql_tenant: Option<TenantId>,
    /// Questions that are worked on at once: each may hold an answer of 16 MiB.
    pub at_once_max: usize,
    /// How long a question waits for its turn before it is refused with 503.
    pub turn_wait: Duration,
    /// How long a question may take before it is answered with 504.
    pub time_max: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            version: env!("CARGO_PKG_VERSION"),
            retention_days: None,
            sql_tenant: None,
            at_once_max: 16,
            turn_wait: Duration::from_secs(2),
            time_max: Duration::from_secs(30),
        }
    }
}

/// What answers.
pub(super) struct Parts {
    pub(super) query: Query,
    pub(super) health: Health,
    pub(super) options: Options,
    pub(super) started: Instant,
    /// Statements in SQL that run at once: each may sort for as long as a question may take.
    pub(super) sql_turns: Semaphore,
    turns: Turns,
}

/// An answer that is being worked on. Dropping it ends the work.
pub(super) type Working = Pin<Box<dyn Future<Output = Result<Answer, Problem>> + Send>>;

/// A question over HTTP.
pub(super) struct Route {
    /// Its path, with variable parts in braces.
    pub(super) path: &'static str,
    /// What it asks of its callers.
    pub(super) right: Right,
    /// Its name in the document.
    pub(super) name: &'static str,
    /// What it answers, in a few words.
    pub(super) summary: &'static str,
    /// What else is to be known.
    pub(super) description: &'static str,
    /// The variable parts of the path, in its order.
    pub(super) in_path: &'static [&'static Parameter],
    /// The parameter that a POST gives as its body; none where the route takes no POST.
    pub(super) in_body: Option<&'static Parameter>,
    /// What the query string may say.
    pub(super) parameters: &'static [&'static Parameter],
    /// The schema of its answer.
    pub(super) schema: fn(&mut Schemas) -> RefOr<Schema>,
    /// Works on a call.
    pub(super) answer: fn(Call) -> Working,
}

/// The routes under `/api/v1`. The gate that inserts the caller's `Scope` must stand in front of them.
pub fn router(options: Options, query: Query, health: Health, tally: &Arc<Tally>) -> Router {
    let turns = Turns::new(options.at_once_max);
    let parts = Arc::new(Parts {
        query,
        health,
        options,
        started: Instant::now(),
        sql_turns: Semaphore::new(SQL_AT_ONCE_MAX),
        turns,
    });
    let mut router = Router::new();
    for (index, route) in ROUTES.iter().enumerate() {
        let (parts, tally) = (Arc::clone(&parts), Arc::clone(tally));
        let answer = move |request: Request| {
            let asked = Asked::new(&tally, index, &request);
            let working = respond(route, Arc::clone(&parts), request);
            async move {
                let response = working.await;
                asked.ended(response.status());
                response
            }
        };
        router = router.route(route.path, any(answer));
    }
    let nowhere = |request: Request| async move { no_route(request.uri().path()).into_response() };
    for path in ELSEWHERE {
        router = router.route(path, any(nowhere));
    }
    router
}

/// What each route asks of its callers.
pub fn policies() -> impl Iterator<Item = (&'static str, Policy)> {
    let routes = ROUTES.iter().map(|route| (route.path, Policy::Needs(route.right)));
    routes.chain(ELSEWHERE.map(|path| (path, Policy::Needs(Right::Read))))
}

fn no_route(path: &str) -> Problem {
    let known: Vec<&str> = ROUTES.iter().map(|route| route.path).collect();
    Problem::no_route(path, &known)
}

async fn respond(route: &'static Route, parts: Arc<Parts>, request: Request) -> Response {
    let allow = if route.in_body.is_some() { ALLOW_WITH_POST } else { ALLOW };
    let asks = match *request.method() {
        // The server leaves the body of an answer to HEAD out, and keeps its length.
        Method::GET | Method::HEAD => true,
        Method::POST => route.in_body.is_some(),
        _ => false,
    };
    if asks {
        let worked = fault::caught(work(route, parts, request)).await;
        return match worked.unwrap_or_else(|panicked| Err(Problem::internal(&chain(&panicked)))) {
            // As long as the caller has not taken it, the answer lies in memory: its turn lasts as long.
            Ok((answer, turn)) => answer.into_response().map(|body| Body::new(Taken { body, _turn: turn })),
            Err(problem) => problem.into_response(),
        };
    }
    let mut response = match *request.method() {
        Method::OPTIONS => StatusCode::NO_CONTENT.into_response(),
        _ => Problem::method(allow).into_response(),
    };
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allow));
    response
}

/// The body of an answer, whose turn ends when it is taken or given up.
struct Taken {
    body: Body,
    _turn: Turn,
}

impl HttpBody for Taken {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

async fn work(route: &'static Route, parts: Arc<Parts>, request: Request) -> Result<(Answer, Turn), Problem> {
    fault::point("api.asked");
    let (mut head, body) = request.into_parts();
    let scope = head.extensions.get::<Scope>().cloned();
    let scope = scope.ok_or_else(|| Problem::internal("a question came past the gate without a scope"))?;
    let is_admin =
        head.extensions.get::<Principal>().is_some_and(|principal| principal.rights.include(Right::Admin));
    if head.uri.query().is_some_and(|query| query.len() > QUERY_BYTES_MAX) {
        return Err(Problem::unreadable(format!("it is longer than {QUERY_BYTES_MAX} bytes")));
    }
    let given = QueryString::<Vec<(String, String)>>::try_from_uri(&head.uri);
    let QueryString(mut given) = given.map_err(|error| Problem::unreadable(error.body_text()))?;
    if let Some(parameter) = route.in_body.filter(|_| head.method == Method::POST) {
        let wait = parts.options.time_max;
        let text = tokio::time::timeout(wait, in_body(parameter, &head.headers, body)).await;
        given.push((parameter.name.to_owned(), text.map_err(|_| Problem::timed_out())??));
    }
    let wants_csv = head.headers.get(header::ACCEPT).is_some_and(|kinds| accepts_csv(kinds.as_bytes()));
    let path = RawPathParams::from_request_parts(&mut head, &()).await;
    let path = path.map_err(|error| Problem::unreadable(error.body_text()))?;
    let path = path.iter().map(|(_, value)| value.to_owned()).collect();
    let tenant = scope.tenant().clone();
    let mut call = Call::new((route, Arc::clone(&parts)), (scope, is_admin), path, given)?;
    call.wants_csv = wants_csv;
    let turn = parts.turns.wait(&tenant, parts.options.turn_wait).await;
    let turn = turn.map_err(|refused| Problem::no_turn(&refused))?;
    Ok((within(parts.options.time_max, (route.answer)(call)).await?, turn))
}

/// The text of a body that stands for `parameter`.
async fn in_body(parameter: &Parameter, headers: &HeaderMap, body: Body) -> Result<String, Problem> {
    let kind =
        headers.get(header::CONTENT_TYPE).map_or("text/plain", |kind| kind.to_str().unwrap_or_default());
    let kind = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if !["text/plain", "application/sql"].contains(&kind.as_str()) {
        return Err(Problem::body_kind(&kind));
    }
    let Shape::Text { bytes_max } = parameter.shape else {
        return Err(Problem::internal("a body is no text"));
    };
    let bytes = axum::body::to_bytes(body, bytes_max).await;
    let bytes = bytes.map_err(|_| Problem::body_bytes(bytes_max))?;
    String::from_utf8(bytes.into()).map_err(|_| Problem::invalid(parameter.name, "the body is not UTF-8"))
}

/// True where a caller names CSV among the kinds of answer that will do, and does not name JSON before it.
fn accepts_csv(accept: &[u8]) -> bool {
    let accept = String::from_utf8_lossy(accept).to_ascii_lowercase();
    let kinds = accept.split(',').filter_map(|kind| kind.split(';').next()).map(str::trim);
    kinds.into_iter().find(|kind| ["text/csv", "application/json"].contains(kind)) == Some("text/csv")
}

/// The answer, unless it takes longer than `time_max`: then the work on it ends.
pub(super) async fn within(time_max: Duration, working: Working) -> Result<Answer, Problem> {
    tokio::time::timeout(time_max, working).await.unwrap_or_else(|_| Err(Problem::timed_out()))
}
