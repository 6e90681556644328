//! How questions ended, counted and told to an observer.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use axum::extract::Request;
use axum::http::{Method, StatusCode};

use super::routes::ROUTES;

const OUTCOMES: [&str; 6] = ["ok", "error", "overloaded", "timed_out", "cancelled", "failed"];
/// Where [`OUTCOMES`] names a question whose caller went away.
const CANCELLED: usize = 4;

/// Longest trace context that is looked at; one of today's version has 55 bytes.
const TRACEPARENT_BYTES_MAX: usize = 256;

/// Counters since start, by route; every route and status is listed from the start.
pub struct Tally {
    routes: Vec<Counts>,
    observer: Option<Box<dyn Fn(Question) + Send + Sync>>,
}

/// A question that has ended, as an observer is told of it. It holds nothing that the caller wrote but its method and
/// trace context.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// The route, as the document names it.
    pub route: &'static str,
    /// The method; one that HTTP does not know is kept as it came.
    pub method: Method,
    /// The status of the answer; none where the caller went away before.
    pub status: Option<StatusCode>,
    /// From its arrival behind the gate to its answer.
    pub duration: Duration,
    /// The trace context (W3C `traceparent`) as the caller wrote it, of at most 256 bytes.
    pub traceparent: Option<String>,
}

#[derive(Debug, Default)]
struct Counts {
    ended: [AtomicU64; OUTCOMES.len()],
    micros: AtomicU64,
}

impl Default for Tally {
    fn default() -> Self {
        Self { routes: ROUTES.iter().map(|_| Counts::default()).collect(), observer: None }
    }
}

impl fmt::Debug for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tally").field("routes", &self.routes).finish_non_exhaustive()
    }
}

impl Tally {
    /// A tally that tells `observer` of each question that ends. It must not wait.
    pub fn observed_by(observer: impl Fn(Question) + Send + Sync + 'static) -> Self {
        Self { observer: Some(Box::new(observer)), ..Self::default() }
    }

    /// Questions by route and status.
    pub fn questions(&self) -> impl Iterator<Item = (&'static str, &'static str, u64)> {
        ROUTES.iter().zip(&self.routes).flat_map(|(route, counts)| {
            let of = |(status, count): (&&'static str, &AtomicU64)| {
                (route.path, *status, count.load(Ordering::Relaxed))
            };
            OUTCOMES.iter().zip(&counts.ended).map(of)
        })
    }

    /// Seconds spent on questions, by route.
    pub fn seconds(&self) -> impl Iterator<Item = (&'static str, f64)> {
        let of = |counts: &Counts| counts.micros.load(Ordering::Relaxed) as f64 / 1e6;
        ROUTES.iter().zip(&self.routes).map(move |(route, counts)| (route.path, of(counts)))
    }
}

/// A question that is being worked on; counted when it is dropped.
pub(super) struct Asked {
    tally: Arc<Tally>,
    route: usize,
    method: Method,
    traceparent: Option<String>,
    status: Option<StatusCode>,
    began: Instant,
}

impl Asked {
    /// A question to the route at this place in [`ROUTES`].
    pub(super) fn new(tally: &Arc<Tally>, route: usize, request: &Request) -> Self {
        let named = request.headers().get("traceparent").filter(|it| it.len() <= TRACEPARENT_BYTES_MAX);
        Self {
            tally: Arc::clone(tally),
            route,
            method: request.method().clone(),
            traceparent: named.and_then(|it| it.to_str().ok()).map(str::to_owned),
            status: None,
            began: Instant::now(),
        }
    }

    /// Counts the question as one that ended with this status.
    pub(super) fn ended(mut self, status: StatusCode) {
        self.status = Some(status);
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        let (Some(counts), Some(route)) = (self.tally.routes.get(self.route), ROUTES.get(self.route)) else {
            return;
        };
        let duration = self.began.elapsed();
        counts.ended[outcome(self.status)].fetch_add(1, Ordering::Relaxed);
        counts.micros.fetch_add(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
        if let Some(observer) = &self.tally.observer {
            observer(Question {
                route: route.path,
                method: self.method.clone(),
                status: self.status,
                duration,
                traceparent: self.traceparent.take(),
            });
        }
    }
}

/// Where [`OUTCOMES`] names what a status says.
fn outcome(status: Option<StatusCode>) -> usize {
    match status {
        None => CANCELLED,
        Some(StatusCode::SERVICE_UNAVAILABLE) => 2,
        Some(StatusCode::GATEWAY_TIMEOUT) => 3,
        Some(status) if status.is_server_error() => 5,
        Some(status) if status.is_client_error() => 1,
        Some(_) => 0,
    }
}
