//! How tool calls ended, counted and told to an observer; and how many listen.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use mcp_tools::{Ended, OVERLOADED_CODE, Outcome, TIMED_OUT_CODE, TOOL_NAMES};

use super::listeners::Listeners;

const OUTCOMES: [(Outcome, &str); 6] = [
    (Outcome::Answered, "ok"),
    (Outcome::Refused, "error"),
    (Outcome::Overloaded, "overloaded"),
    (Outcome::TimedOut, "timed_out"),
    (Outcome::Cancelled, "cancelled"),
    (Outcome::Failed, "failed"),
];
/// What is counted beside the tools: completions, and calls of tools and resources that do not exist.
const BESIDE: [&str; 2] = ["services", "unknown"];
const COUNTED: usize = TOOL_NAMES.len() + BESIDE.len();

/// JSON-RPC's codes of parameters that are not valid, and of a defect.
const INVALID_CODE: i32 = -32_602;
const INTERNAL_CODE: i32 = -32_603;

/// What is told of each call that ended. Must not wait.
type Observer = dyn Fn(&Call) + Send + Sync;

/// Counters since start, by tool; every tool and status is listed from the start.
#[derive(Default)]
pub struct Tally {
    calls: [[AtomicU64; OUTCOMES.len()]; COUNTED],
    micros: [AtomicU64; COUNTED],
    bytes: [AtomicU64; COUNTED],
    tokens: [AtomicU64; COUNTED],
    observer: Option<Box<Observer>>,
    pub(super) listeners: Arc<Listeners>,
}

/// A call that has ended, as an observer is told of it. It holds nothing that the caller wrote but the trace context.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// The method of the protocol by which it came, such as `tools/call`.
    pub method: &'static str,
    /// The name under which it is counted: its tool, `services` or `unknown`.
    pub counted_as: &'static str,
    /// The tool that answered or refused; none for completions, and where there is no such tool.
    pub tool: Option<&'static str>,
    /// How it ended, in the word of its counter.
    pub status: &'static str,
    /// The kind of error in the words of the conventions for MCP: the code of JSON-RPC, or `tool_error` where the tool
    /// itself told what is wrong with the call. None where it was answered.
    pub error: Option<String>,
    /// True where the server could not answer: overloaded, out of time, or defective. What a caller did wrong or withdrew
    /// is no failure of the server.
    pub is_failure: bool,
    /// From its arrival to its answer.
    pub duration: Duration,
    /// Tokens of the answer, estimated from its bytes; 0 where there is none.
    pub answer_tokens: u64,
    /// The trace context as the caller wrote it.
    pub traceparent: Option<String>,
    /// The revision of the protocol.
    pub protocol_version: Option<&'static str>,
}

fn names() -> impl Iterator<Item = &'static str> {
    TOOL_NAMES.into_iter().chain(BESIDE)
}

impl fmt::Debug for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tally").finish_non_exhaustive()
    }
}

impl Tally {
    /// A tally that tells `observer` of each call that ends. It must not wait.
    pub fn observed_by(observer: impl Fn(&Call) + Send + Sync + 'static) -> Self {
        Self { observer: Some(Box::new(observer)), ..Self::default() }
    }

    /// The names under which calls are counted.
    pub fn names() -> impl Iterator<Item = &'static str> {
        names()
    }

    pub(super) fn count(&self, call: Ended) {
        let Some(tool) = names().position(|name| name == call.tool) else { return };
        let Some(outcome) = OUTCOMES.iter().position(|(outcome, _)| *outcome == call.outcome) else { return };
        let tokens = mcp_tools::tokens(call.answer_bytes) as u64;
        self.calls[tool][outcome].fetch_add(1, Ordering::Relaxed);
        let micros = u64::try_from(call.duration.as_micros()).unwrap_or(u64::MAX);
        self.micros[tool].fetch_add(micros, Ordering::Relaxed);
        self.bytes[tool].fetch_add(call.answer_bytes as u64, Ordering::Relaxed);
        self.tokens[tool].fetch_add(tokens, Ordering::Relaxed);
        if let Some(observer) = &self.observer {
            observer(&told(call, OUTCOMES[outcome].1, tokens));
        }
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

    /// Tokens of answers, estimated from the bytes of each, by tool.
    pub fn tokens(&self) -> impl Iterator<Item = (&'static str, u64)> {
        names().zip(&self.tokens).map(|(tool, tokens)| (tool, tokens.load(Ordering::Relaxed)))
    }
}

fn told(call: Ended, status: &'static str, answer_tokens: u64) -> Call {
    let tool = Some(call.tool).filter(|tool| !BESIDE.contains(tool));
    Call {
        method: call.method,
        counted_as: call.tool,
        tool,
        status,
        error: error(&call, tool),
        is_failure: matches!(call.outcome, Outcome::Overloaded | Outcome::TimedOut | Outcome::Failed),
        duration: call.duration,
        answer_tokens,
        traceparent: call.traceparent,
        protocol_version: call.protocol_version,
    }
}

fn error(call: &Ended, tool: Option<&str>) -> Option<String> {
    let code = match call.outcome {
        Outcome::Answered => return None,
        // A mistaken call of a tool is answered with a result that says so, for the model to read.
        Outcome::Refused if call.method == "tools/call" && tool.is_some() => {
            return Some("tool_error".into());
        }
        // Nobody is left to be told a code.
        Outcome::Cancelled => return Some("cancelled".into()),
        Outcome::Refused => INVALID_CODE,
        Outcome::Overloaded => OVERLOADED_CODE,
        Outcome::TimedOut => TIMED_OUT_CODE,
        Outcome::Failed => INTERNAL_CODE,
    };
    Some(code.to_string())
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    fn ended(method: &'static str, tool: &'static str, outcome: Outcome) -> Ended {
        let answer_bytes = if outcome == Outcome::Answered { 36 } else { 0 };
        let duration = Duration::from_millis(5);
        Ended { method, tool, outcome, duration, answer_bytes, traceparent: None, protocol_version: None }
    }

    #[test]
    fn an_observer_is_told_what_is_counted() {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let tally = Tally::observed_by({
            let seen = Arc::clone(&seen);
            move |call| seen.lock().unwrap().push(call.clone())
        });
        tally.count(ended("tools/call", "triage", Outcome::Answered));
        tally.count(ended("tools/call", "triage", Outcome::Refused));
        tally.count(ended("tools/call", "unknown", Outcome::Refused));
        tally.count(ended("resources/read", "trace_graph", Outcome::TimedOut));
        tally.count(ended("completion/complete", "services", Outcome::Cancelled));
        let told: Vec<_> = seen
            .lock()
            .unwrap()
            .iter()
            .map(|call| (call.tool, call.status, call.error.clone(), call.is_failure))
            .collect();
        let error = |text: &str| Some(text.to_owned());
        assert_eq!(
            told,
            [
                (Some("triage"), "ok", None, false),
                (Some("triage"), "error", error("tool_error"), false),
                (None, "error", error("-32602"), false),
                (Some("trace_graph"), "timed_out", error("-32001"), true),
                (None, "cancelled", error("cancelled"), false),
            ]
        );
        assert_eq!(tally.tokens().find(|(tool, _)| *tool == "triage"), Some(("triage", 10)));
        assert_eq!(tally.tokens().count(), COUNTED);
    }
}
