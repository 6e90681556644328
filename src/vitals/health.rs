//! Named checks behind `/ready`.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Holds the checks; cheap to clone. A server is ready when every check is good and it was declared started.
#[derive(Debug, Clone, Default)]
pub struct Health {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug, Default)]
struct Inner {
    started: bool,
    stopping: bool,
    checks: BTreeMap<&'static str, Check>,
}

/// The state of one part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// True when the part does its work.
    pub ok: bool,
    /// What is the matter, or what the part is doing.
    pub detail: String,
}

/// What `/ready` tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// `ready`, `starting` or `degraded`.
    pub status: &'static str,
    /// The checks by name.
    pub checks: BTreeMap<&'static str, Check>,
}

impl Report {
    /// True when traffic may come.
    pub fn is_ready(&self) -> bool {
        self.status == "ready"
    }
}

impl Health {
    /// Records the state of `part`.
    pub fn set(&self, part: &'static str, ok: bool, detail: impl Into<String>) {
        self.lock().checks.insert(part, Check { ok, detail: detail.into() });
    }

    /// Declares that the server finished starting.
    pub fn started(&self) {
        self.lock().started = true;
    }

    /// Declares that the server is about to stop: it is not ready from now on.
    pub fn stopping(&self) {
        self.lock().stopping = true;
    }

    /// The state of everything.
    pub fn report(&self) -> Report {
        let inner = self.lock();
        let good = inner.checks.values().all(|check| check.ok);
        let status = match (inner.started, good && !inner.stopping) {
            (false, _) => "starting",
            (true, true) => "ready",
            (true, false) => "degraded",
        };
        Report { status, checks: inner.checks.clone() }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_means_started_and_every_check_good() {
        let health = Health::default();
        assert_eq!(health.report().status, "starting");
        health.set("store", true, "");
        health.started();
        assert!(health.report().is_ready());
        health.set("journal", false, "disk full");
        assert_eq!(health.report().status, "degraded");
        health.set("journal", true, "");
        health.stopping();
        assert_eq!(health.report().status, "degraded");
    }
}
