//! What one export request holds once it was decoded.

use std::sync::Arc;

use super::log::LogRecord;
use super::metric::Metric;
use super::resource::{Instrumentation, Resource};
use super::span::Span;

/// The three signals.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Signal {
    /// Spans.
    Traces,
    /// Log records.
    Logs,
    /// Metric points.
    Metrics,
}

impl Signal {
    /// All signals.
    pub const ALL: [Self; 3] = [Self::Traces, Self::Logs, Self::Metrics];

    /// The word in paths and labels: `traces`, `logs`, `metrics`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Traces => "traces",
            Self::Logs => "logs",
            Self::Metrics => "metrics",
        }
    }
}

/// Items of one resource and scope.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group<T> {
    /// Who sent them.
    pub resource: Arc<Resource>,
    /// Which library made them.
    pub instrumentation: Arc<Instrumentation>,
    /// The items, in order of arrival.
    pub items: Vec<T>,
}

/// One decoded request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Batch {
    /// Spans.
    Traces(Vec<Group<Span>>),
    /// Log records.
    Logs(Vec<Group<LogRecord>>),
    /// Metrics with their points.
    Metrics(Vec<Group<Metric>>),
}

impl Batch {
    /// Which signal it holds.
    pub const fn signal(&self) -> Signal {
        match self {
            Self::Traces(_) => Signal::Traces,
            Self::Logs(_) => Signal::Logs,
            Self::Metrics(_) => Signal::Metrics,
        }
    }

    /// How many spans, records or points it holds.
    pub fn items(&self) -> usize {
        match self {
            Self::Traces(groups) => groups.iter().map(|group| group.items.len()).sum(),
            Self::Logs(groups) => groups.iter().map(|group| group.items.len()).sum(),
            Self::Metrics(groups) => {
                groups.iter().flat_map(|group| &group.items).map(|metric| metric.points.len()).sum()
            }
        }
    }
}
