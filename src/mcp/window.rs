//! Time arguments as windows.

use mcp_tools::{Answer, Fault, Next, TimeRange, rfc3339};
use serde_json::{Value, json};

use crate::model::time::{UnixNanos, Window};
use crate::query::Query;

/// A window with the instant until which telemetry counts: a question about the past has the same answer later on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked {
    pub(super) window: Window,
    as_of: UnixNanos,
    /// Whether it is the window that a call means which names none.
    is_usual: bool,
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
        let is_usual = *range == TimeRange::LAST_HOUR;
        Ok(Self { window: Window::new(UnixNanos(from), as_of), as_of, is_usual })
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

    /// A call about the same window, ready to send.
    pub(super) fn next(
        &self,
        tool: &str,
        arguments: impl IntoIterator<Item = (&'static str, Value)>,
    ) -> Next {
        let times = times(self.window).into_iter().filter(|_| !self.is_usual);
        Next::new(tool, arguments.into_iter().chain(times))
    }

    /// A call about a part of the window, such as the time since an onset, ready to send: so it agrees with what is said of
    /// that part.
    pub(super) fn next_about(
        &self,
        part: Window,
        tool: &str,
        arguments: impl IntoIterator<Item = (&'static str, Value)>,
    ) -> Next {
        if part == self.window {
            return self.next(tool, arguments);
        }
        Next::new(tool, arguments.into_iter().chain(times(part)))
    }
}

/// A window as arguments.
fn times(window: Window) -> [(&'static str, Value); 2] {
    [("since", json!(rfc3339(window.from.0))), ("until", json!(rfc3339(window.to.0)))]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_keep_the_window_or_the_part_that_they_are_about() {
        let at = UnixNanos::from_seconds;
        let window = Window::new(at(0), at(3_600));
        let usual = Asked { window, as_of: at(3_600), is_usual: true };
        let ask = || [("service", json!("fare"))];
        assert_eq!(usual.next_about(window, "impact_analysis", ask()), usual.next("impact_analysis", ask()));
        assert_eq!(usual.next("impact_analysis", ask()), Next::new("impact_analysis", ask()));
        let part = Window::new(at(2_700), at(3_540));
        let times = [("since", json!("1970-01-01T00:45:00Z")), ("until", json!("1970-01-01T00:59:00Z"))];
        let wanted = Next::new("impact_analysis", ask().into_iter().chain(times));
        assert_eq!(usual.next_about(part, "impact_analysis", ask()), wanted);
    }
}
