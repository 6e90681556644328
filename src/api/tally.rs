//! How questions ended.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use axum::http::StatusCode;

use super::routes::ROUTES;

const OUTCOMES: [&str; 6] = ["ok", "error", "overloaded", "timed_out", "cancelled", "failed"];
/// Where [`OUTCOMES`] names a question whose caller went away.
const CANCELLED: usize = 4;

/// Counters since start, by route; every route and status is listed from the start.
#[derive(Debug)]
pub struct Tally {
    routes: Vec<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    ended: [AtomicU64; OUTCOMES.len()],
    micros: AtomicU64,
}

impl Default for Tally {
    fn default() -> Self {
        Self { routes: ROUTES.iter().map(|_| Counts::default()).collect() }
    }
}

impl Tally {
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
    outcome: usize,
    began: Instant,
}

impl Asked {
    /// A question to the route at this place in [`ROUTES`].
    pub(super) fn new(tally: &Arc<Tally>, route: usize) -> Self {
        Self { tally: Arc::clone(tally), route, outcome: CANCELLED, began: Instant::now() }
    }

    /// Counts the question as one that ended with this status.
    pub(super) fn ended(mut self, status: StatusCode) {
        self.outcome = match status {
            StatusCode::SERVICE_UNAVAILABLE => 2,
            StatusCode::GATEWAY_TIMEOUT => 3,
            status if status.is_server_error() => 5,
            status if status.is_client_error() => 1,
            _ => 0,
        };
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        let Some(counts) = self.tally.routes.get(self.route) else { return };
        counts.ended[self.outcome].fetch_add(1, Ordering::Relaxed);
        let micros = u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX);
        counts.micros.fetch_add(micros, Ordering::Relaxed);
    }
}
