//! The few kinds of failure, told apart by what the caller can do now.
//!
//! Every module's error answers `kind()`; every surface has one function from kind to its own status.

use std::error::Error;
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
