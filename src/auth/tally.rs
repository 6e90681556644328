//! Counts what was turned away.

use std::sync::atomic::{AtomicU64, Ordering};

use super::{Error, Reload};

/// One value of one metric: its name, its labels, its count since the start.
pub type Sample = (&'static str, Vec<(&'static str, &'static str)>, u64);

type Counter<'a> = (&'static str, Vec<(&'static str, &'static str)>, &'a AtomicU64);

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
const KEY_REASONS: [&str; 5] = ["missing_header", "bad_scheme", "bad_key", "expired", "scope"];
const TENANT_REASONS: [&str; 3] = ["invalid_name", "conflicting_headers", "bound_key"];

/// Counters by surface and reason.
#[derive(Debug, Default)]
pub(super) struct Tally {
    keys: [[AtomicU64; KEY_REASONS.len()]; SURFACES.len()],
    tenants: [[AtomicU64; TENANT_REASONS.len()]; SURFACES.len()],
    questions: AtomicU64,
    /// Reloads of the key file: done, failed.
    reloads: [AtomicU64; 2],
}

impl Tally {
    /// Counts one refusal.
    pub(super) fn count(&self, surface: Surface, error: &Error) {
        let at = surface as usize;
        let counter = match error {
            Error::KeyMissing => &self.keys[at][0],
            Error::KeyMalformed => &self.keys[at][1],
            Error::KeyWrong => &self.keys[at][2],
            Error::KeyExpired => &self.keys[at][3],
            Error::NoRight(_) => &self.keys[at][4],
            Error::TenantInvalid(_) => &self.tenants[at][0],
            Error::TenantsConflict => &self.tenants[at][1],
            Error::TenantBound => &self.tenants[at][2],
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a question that came too soon after others.
    pub(super) fn too_often(&self) {
        self.questions.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts what became of a look at the key file.
    pub(super) fn reloaded(&self, outcome: &Reload) {
        let at = match outcome {
            Reload::Unchanged => return,
            Reload::Read(_) => 0,
            Reload::Failed(_) => 1,
        };
        self.reloads[at].fetch_add(1, Ordering::Relaxed);
    }

    /// All counters.
    pub(super) fn samples(&self) -> impl Iterator<Item = Sample> {
        let reloads = ["ok", "failed"].into_iter().zip(&self.reloads);
        let reloads = reloads.map(|(result, count)| {
            ("otelcontext_auth_key_file_reloads_total", vec![("result", result)], count)
        });
        let questions = ("otelcontext_api_rate_limited_total", Vec::new(), &self.questions);
        let all = self.refused().chain(reloads).chain([questions]);
        all.map(|(metric, labels, count)| (metric, labels, count.load(Ordering::Relaxed)))
    }

    fn refused(&self) -> impl Iterator<Item = Counter<'_>> {
        SURFACES.into_iter().flat_map(move |(surface, label, metric)| {
            let keys = KEY_REASONS.into_iter().zip(&self.keys[surface as usize]);
            let keys = keys.map(move |(reason, count)| (metric, vec![("reason", reason)], count));
            let tenants = TENANT_REASONS.into_iter().zip(&self.tenants[surface as usize]);
            let tenants = tenants.map(move |(reason, count)| {
                let labels = vec![("surface", label), ("reason", reason)];
                ("otelcontext_auth_tenant_conflicts_total", labels, count)
            });
            keys.chain(tenants)
        })
    }
}
