//! How tool calls ended, and how many listen.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use mcp_tools::{Ended, Outcome, TOOL_NAMES};

use super::listeners::Listeners;

const OUTCOMES: [(Outcome, &str); 6] = [
    (Outcome::Answered, "ok"),
    (Outcome::Refused, "error"),
    (Outcome::Overloaded, "overloaded"),
    (Outcome::TimedOut, "timed_out"),
    (Outcome::Cancelled, "cancelled"),
    (Outcome::Failed, "failed"),
];
/// Completions are counted beside the tools.
const COMPLETIONS: &str = "services";
const COUNTED: usize = TOOL_NAMES.len() + 1;

/// Counters since start, by tool; every tool and status is listed from the start.
#[derive(Debug, Default)]
pub struct Tally {
    calls: [[AtomicU64; OUTCOMES.len()]; COUNTED],
    micros: [AtomicU64; COUNTED],
    bytes: [AtomicU64; COUNTED],
    pub(super) listeners: Arc<Listeners>,
}

fn names() -> impl Iterator<Item = &'static str> {
    TOOL_NAMES.into_iter().chain([COMPLETIONS])
}

impl Tally {
    pub(super) fn count(&self, call: Ended) {
        let Some(tool) = names().position(|name| name == call.tool) else { return };
        let Some(outcome) = OUTCOMES.iter().position(|(outcome, _)| *outcome == call.outcome) else { return };
        self.calls[tool][outcome].fetch_add(1, Ordering::Relaxed);
        let micros = u64::try_from(call.duration.as_micros()).unwrap_or(u64::MAX);
        self.micros[tool].fetch_add(micros, Ordering::Relaxed);
        self.bytes[tool].fetch_add(call.answer_bytes as u64, Ordering::Relaxed);
    }

    /// Callers that listen for anomalies now.
    pub fn listeners(&self) -> usize {
        self.listeners.count()
    }

    /// Calls by tool and status.
    pub fn calls(&self) -> impl Iterator<Item = (&'static str, &'static str, u64)> {
        names().zip(&self.calls).flat_map(|(tool, counts)| {
            let of = move |((_, status), count): (&(Outcome, &'static str), &AtomicU64)| {
                (tool, *status, count.load(Ordering::Relaxed))
            };
            OUTCOMES.iter().zip(counts).map(of)
        })
    }

    /// Seconds spent on calls, and bytes of their answers, by tool.
    pub fn costs(&self) -> impl Iterator<Item = (&'static str, f64, u64)> {
        names().enumerate().map(|(index, tool)| {
            let micros = self.micros[index].load(Ordering::Relaxed);
            (tool, micros as f64 / 1e6, self.bytes[index].load(Ordering::Relaxed))
        })
    }
}
