//! Wall time as a value that is passed in, so that tests and replays choose it.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::model::time::UnixNanos;

/// Tells the wall time; cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Clock {
    set: Option<Arc<AtomicI64>>,
}

impl Clock {
    /// The machine's clock.
    pub const fn system() -> Self {
        Self { set: None }
    }

    /// A clock that stands at `now` until [`Clock::set`] moves it.
    pub fn standing(now: UnixNanos) -> Self {
        Self { set: Some(Arc::new(AtomicI64::new(now.0))) }
    }

    /// Moves a standing clock, and every clone of it; no effect on the machine's clock.
    pub fn set(&self, now: UnixNanos) {
        if let Some(set) = &self.set {
            set.store(now.0, Ordering::Relaxed);
        }
    }

    /// The time now.
    pub fn now(&self) -> UnixNanos {
        match &self.set {
            Some(set) => UnixNanos(set.load(Ordering::Relaxed)),
            None => {
                let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                UnixNanos(i64::try_from(elapsed.as_nanos()).unwrap_or(i64::MAX))
            }
        }
    }
}
