//! Time arguments as windows.

use mcp_tools::{Answer, Fault, TimeRange};

use crate::model::time::{UnixNanos, Window};
use crate::query::Query;

/// A window with the instant until which telemetry counts: a question about the past has the same answer later on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked {
    pub(super) window: Window,
    as_of: UnixNanos,
}

impl Asked {
    /// Resolves relative times against the server's clock.
    pub(super) fn resolve(query: &Query, range: &TimeRange) -> Result<Self, Fault> {
        let now = query.clock().now();
        let (from, to) = range.resolve(now.0)?;
        if from >= now.0 {
            return Err(Fault::invalid(
                "the window lies in the future; give a `since` before now, such as `15m`",
            ));
        }
        // What has not happened yet would look like silence.
        let as_of = UnixNanos(to).min(now);
        Ok(Self { window: Window::new(UnixNanos(from), as_of), as_of })
    }

    /// An empty answer about this window.
    pub(super) fn answer(&self) -> Answer {
        self.answer_about(self.window)
    }

    /// An empty answer about another window than the one that was asked for.
    pub(super) fn answer_about(&self, window: Window) -> Answer {
        Answer {
            window: mcp_tools::Window::new(window.from.0, window.to.0, self.as_of.0),
            ..Answer::default()
        }
    }
}
