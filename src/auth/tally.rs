//! Counts what was turned away.

use std::sync::atomic::{AtomicU64, Ordering};

use super::Error;

/// One value of one metric: its name, its labels, its count since the start.
pub type Sample = (&'static str, Vec<(&'static str, &'static str)>, u64);

/// Where a request came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Surface {
    /// Any HTTP route.
    Http,
    /// A gRPC call.
    Grpc,
}

const SURFACES: [(Surface, &str, &str); 2] = [
    (Surface::Http, "http", "otelcontext_api_auth_failures_total"),
    (Surface::Grpc, "grpc", "otelcontext_grpc_auth_failures_total"),
];
const KEY_REASONS: [&str; 3] = ["missing_header", "bad_scheme", "bad_key"];
const TENANT_REASONS: [&str; 2] = ["invalid_name", "conflicting_headers"];

/// Counters by surface and reason.
#[derive(Debug, Default)]
pub(super) struct Tally {
    keys: [[AtomicU64; KEY_REASONS.len()]; SURFACES.len()],
    tenants: [[AtomicU64; TENANT_REASONS.len()]; SURFACES.len()],
}

impl Tally {
    /// Counts one refusal.
    pub(super) fn count(&self, surface: Surface, error: &Error) {
        let at = surface as usize;
        let counter = match error {
            Error::KeyMissing => &self.keys[at][0],
            Error::KeyMalformed => &self.keys[at][1],
            Error::KeyWrong => &self.keys[at][2],
            Error::TenantInvalid(_) => &self.tenants[at][0],
            Error::TenantsConflict => &self.tenants[at][1],
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// All counters.
    pub(super) fn samples(&self) -> impl Iterator<Item = Sample> {
        SURFACES.into_iter().flat_map(move |(surface, label, metric)| {
            let keys = KEY_REASONS.into_iter().zip(&self.keys[surface as usize]);
            let keys = keys.map(move |(reason, count)| (metric, vec![("reason", reason)], count));
            let tenants = TENANT_REASONS.into_iter().zip(&self.tenants[surface as usize]);
            let tenants = tenants.map(move |(reason, count)| {
                let labels = vec![("surface", label), ("reason", reason)];
                ("otelcontext_auth_tenant_conflicts_total", labels, count)
            });
            let all = keys.chain(tenants);
            all.map(|(metric, labels, count)| (metric, labels, count.load(Ordering::Relaxed)))
        })
    }
}
