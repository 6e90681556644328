//! The few kinds of failure, told apart by what the caller can do now.
//!
//! Every module's error answers `kind()`; every surface has one function from kind to its own status.

use std::any::Any;
use std::error::Error;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
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

/// Work that ended in a panic: a defect of this version.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a panic, which is a defect of this version: {message}")]
pub struct Panicked {
    message: String,
}

impl Panicked {
    /// After what a panic left behind.
    pub fn of(payload: &(dyn Any + Send)) -> Self {
        let text = payload.downcast_ref::<&str>().copied();
        let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
        Self { message: text.unwrap_or("without a word").to_owned() }
    }

    /// What it said.
    pub fn message(&self) -> &str {
        &self.message
    }
}

/// Works on; a panic becomes an error, and what was half done is dropped. For work whose state is not used afterwards, or
/// stays consistent between statements. It is kept on the heap: futures within futures would fill the stack of a thread.
///
/// # Errors
/// When `work` panics.
pub async fn caught<T>(work: impl Future<Output = T>) -> Result<T, Panicked> {
    let mut work = Box::pin(work);
    poll_fn(move |context| match catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(context))) {
        Ok(Poll::Pending) => Poll::Pending,
        Ok(Poll::Ready(done)) => Poll::Ready(Ok(done)),
        Err(payload) => Poll::Ready(Err(Panicked::of(&*payload))),
    })
    .await
}

/// What happens at an armed point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// The process ends, as `kill -9` ends it.
    Abort,
    /// The thread panics.
    Panic,
    /// The thread sleeps for [`WAIT`].
    Wait,
}

/// How long a pass takes where passes are slow.
const WAIT: Duration = Duration::from_millis(200);

/// The armed point, how many passes are left until then (none: it is always then), and what happens.
static ARMED: OnceLock<(String, Option<AtomicU64>, End)> = OnceLock::new();

/// Arms one [`point`]: `name:n` ends the process when it is passed for the n-th time, `panic:name:n` panics there,
/// `wait:name:n` takes a fifth of a second, and `*` for n is each time. Only the first call counts, and none in a release.
pub fn crash_at(text: &str) {
    let (text, end) = match text.split_once(':') {
        Some(("panic", rest)) => (rest, End::Panic),
        Some(("wait", rest)) => (rest, End::Wait),
        _ => (text, End::Abort),
    };
    let (name, passes) = text.rsplit_once(':').unwrap_or((text, "1"));
    let passes = (passes != "*").then(|| AtomicU64::new(passes.parse().unwrap_or(1)));
    if cfg!(debug_assertions) {
        let _armed_before = ARMED.set((name.to_owned(), passes, end));
    }
}

/// A place between two steps that a crash must not tear apart, where a panic must not be the end of more than the work
/// at hand, or where work may be slow. Tests let it happen here; in a release it is nothing.
pub fn point(name: &'static str) {
    if cfg!(debug_assertions)
        && let Some((armed, passes, end)) = ARMED.get()
        && armed == name
        && passes.as_ref().is_none_or(|passes| passes.fetch_sub(1, Ordering::Relaxed) == 1)
    {
        match end {
            End::Abort => std::process::abort(),
            End::Panic => panic!("as planned at {name}"),
            End::Wait => std::thread::sleep(WAIT),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_becomes_an_error_with_its_message_also_after_a_wait() {
        let late = async |message: Option<&str>| {
            tokio::task::yield_now().await;
            message.map_or(7, |message| panic!("{message}"))
        };
        assert_eq!(caught(late(None)).await, Ok(7));
        let panicked = caught(late(Some("a defect"))).await.unwrap_err();
        assert_eq!(panicked.to_string(), "a panic, which is a defect of this version: a defect");
    }
}
