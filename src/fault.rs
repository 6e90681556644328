//! The few kinds of failure, told apart by what the caller can do now.
//!
//! Every module's error answers `kind()`; every surface has one function from kind to its own status.

use std::error::Error;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// What the caller can do about a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The request is wrong and stays wrong: mend it.
    Invalid,
    /// The request is larger than a limit: split it.
    TooLarge,
    /// What was asked for does not exist.
    NotFound,
    /// No valid credential came with the request.
    Unauthenticated,
    /// The credential does not cover the request.
    Denied,
    /// The server is at a limit: the same request will do later.
    Overloaded,
    /// A part the server depends on is away for now: the same request will do later.
    Unavailable,
    /// The time allowed ran out.
    TimedOut,
    /// A defect of the server.
    Internal,
}

impl Kind {
    /// True when the same request may succeed later.
    pub const fn is_retryable(self) -> bool {
        matches!(self, Self::Overloaded | Self::Unavailable | Self::TimedOut)
    }

    /// How long a caller should wait before it asks again; none where asking again is no use.
    pub const fn retry_after(self) -> Option<Duration> {
        match self {
            Self::Overloaded => Some(Duration::from_secs(1)),
            Self::Unavailable | Self::TimedOut => Some(Duration::from_secs(5)),
            _ => None,
        }
    }
}

/// Where the process is to end, and how many passes are left until then.
static CRASH: OnceLock<(String, AtomicU64)> = OnceLock::new();

/// Arms one [`point`]: `name:n` ends the process when it is passed for the n-th time. Only the first call counts, and none
/// in a release.
pub fn crash_at(text: &str) {
    let (name, passes) = text.rsplit_once(':').unwrap_or((text, "1"));
    let passes = AtomicU64::new(passes.parse().unwrap_or(1));
    if cfg!(debug_assertions) {
        let _armed_before = CRASH.set((name.to_owned(), passes));
    }
}

/// A place between two steps that a crash must not tear apart. Tests let the process end here, as `kill -9` does; in a
/// release it is nothing.
pub fn point(name: &'static str) {
    if cfg!(debug_assertions)
        && let Some((armed, passes)) = CRASH.get()
        && armed == name
        && passes.fetch_sub(1, Ordering::Relaxed) == 1
    {
        std::process::abort();
    }
}

/// An error with its causes, outermost first, as one line for a log.
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        cause = inner.source();
    }
    text
}
