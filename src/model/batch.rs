//! What one export request holds once it was decoded.

use std::sync::Arc;

use super::log::{LogRecord, Severity};
use super::metric::{Metric, Point};
use super::resource::{Instrumentation, Resource};
use super::span::{Span, Status};

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

    /// The service, where all of it is of one.
    pub fn only_service(&self) -> Option<&Arc<str>> {
        fn of<T>(groups: &[Group<T>]) -> Option<&Arc<str>> {
            let first = &groups.first()?.resource.service;
            groups.iter().all(|group| group.resource.service == *first).then_some(first)
        }
        match self {
            Self::Traces(groups) => of(groups),
            Self::Logs(groups) => of(groups),
            Self::Metrics(groups) => of(groups),
        }
    }

    /// Whether it has a span that failed as its sender says, or a log record of an error or worse. It is asked of every
    /// request before anything else is read of it, so attributes are not.
    pub fn tells_of_failure(&self) -> bool {
        match self {
            Self::Traces(groups) => {
                groups.iter().flat_map(|group| &group.items).any(|span| span.status == Status::Error)
            }
            Self::Logs(groups) => {
                groups.iter().flat_map(|group| &group.items).any(|record| record.severity >= Severity::ERROR)
            }
            Self::Metrics(_) => false,
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

    /// Bytes of memory that it takes beside the text and attributes, which lie in the body that it came from. An item of
    /// two bytes on the wire takes as much as any other.
    pub fn own_bytes(&self) -> usize {
        fn of<T>(groups: &[Group<T>]) -> usize {
            let items: usize = groups.iter().map(|group| group.items.capacity()).sum();
            let each = size_of::<Group<T>>() + size_of::<Resource>() + size_of::<Instrumentation>();
            groups.len() * each + items * size_of::<T>()
        }
        match self {
            Self::Traces(groups) => of(groups),
            Self::Logs(groups) => of(groups),
            Self::Metrics(groups) => {
                let metrics = groups.iter().flat_map(|group| &group.items);
                let points: usize = metrics.map(|metric| metric.points.capacity()).sum();
                of(groups) + points * size_of::<Point>()
            }
        }
    }
}
