//! What is known about a window of time: the input of every function of this module.
//!
//! The lists may come in any order and may be empty; no answer depends on their order. Ids that nothing
//! describes are tolerated: what refers to them is left out.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::model::id::{OperationId, ResourceId, SeriesId, ServiceId, SpanId, TemplateId, TraceId};
use crate::model::log::Severity;
use crate::model::node::NodeKind;
use crate::model::rollup::{Cell, Subject};
use crate::model::span::SpanKind;
use crate::model::time::{UnixNanos, Window};

/// Everything gathered about one window and the time it is compared with.
#[derive(Debug, Clone)]
pub struct Evidence {
    /// The window to explain.
    pub window: Window,
    /// The window it is compared with, usually just before it; none where nothing older is retained.
    pub baseline: Option<Window>,
    /// Services, databases, queues and external hosts.
    pub nodes: Vec<Node>,
    /// Operations of the nodes. Those of databases, queues and external hosts are known from their callers and
    /// may have empty cells: the edges to them are read instead.
    pub operations: Vec<OperationEvidence>,
    /// Calls between operations.
    pub edges: Vec<EdgeEvidence>,
    /// Instances of the services.
    pub instances: Vec<InstanceEvidence>,
    /// Log templates.
    pub templates: Vec<TemplateEvidence>,
    /// Measured series that describe a service, such as its processor share.
    pub series: Vec<SeriesEvidence>,
    /// Series that would tell something and were too many to be read.
    pub unread_series: usize,
    /// Metrics that were not read, as their names say nothing about faults or load.
    pub unread_metrics: usize,
    /// What operations did one after the other.
    pub steps: Vec<StepEvidence>,
    /// Calls between services that only a service graph's metrics know.
    pub calls: Vec<CallEvidence>,
    /// Deployments, flags and other changes in the window or the baseline.
    pub changes: Vec<ChangeEvidence>,
    /// Failing and slow traces of the window; about 50 of each are enough.
    pub traces: Vec<ExemplarTrace>,
    /// Where instances run, and where resources were measured.
    pub places: Vec<PlaceEvidence>,
    /// Buckets of time of some subjects, for onsets; may be empty.
    pub timeline: Arc<[Slice]>,
}

impl Evidence {
    /// Evidence of a window about which nothing is known.
    pub fn empty(window: Window) -> Self {
        Self {
            window,
            baseline: None,
            nodes: Vec::new(),
            operations: Vec::new(),
            edges: Vec::new(),
            instances: Vec::new(),
            templates: Vec::new(),
            series: Vec::new(),
            unread_series: 0,
            unread_metrics: 0,
            steps: Vec::new(),
            calls: Vec::new(),
            changes: Vec::new(),
            traces: Vec::new(),
            places: Vec::new(),
            timeline: Arc::default(),
        }
    }
}

impl Evidence {
    /// Whether spans or metrics measure anything: logs alone do not tell who fails, slows down or falls silent.
    pub fn is_measured(&self) -> bool {
        let is_counted = !self.operations.is_empty() || !self.calls.is_empty();
        is_counted || !self.series.is_empty() || self.unread_series > 0
    }

    /// Who logged in the window, and whether warnings or worse were among it.
    pub fn logged(&self) -> BTreeMap<ServiceId, bool> {
        let mut logged: BTreeMap<ServiceId, bool> = BTreeMap::new();
        for template in self.templates.iter().filter(|template| template.now > 0) {
            *logged.entry(template.service).or_default() |= template.severity >= Severity::WARN;
        }
        logged
    }

    /// Takes the baseline away where nothing was seen in it: then there is nothing to compare with.
    pub fn forget_empty_baseline(&mut self) {
        let counted = self.operations.iter().map(|it| &it.before);
        let counted = counted
            .chain(self.edges.iter().map(|it| &it.before))
            .chain(self.instances.iter().map(|it| &it.before));
        let seen = counted.into_iter().any(|before| before.count > 0)
            || self.series.iter().any(|it| it.before.count > 0)
            || self.templates.iter().any(|it| it.before > 0);
        self.baseline = self.baseline.filter(|_| seen);
    }
}

/// A node of the graph.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Its id.
    pub id: ServiceId,
    /// Its name.
    pub name: String,
    /// What it is.
    pub kind: NodeKind,
}

/// An operation and its sums in both windows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OperationEvidence {
    /// Its id.
    pub id: OperationId,
    /// The node it belongs to.
    pub service: ServiceId,
    /// Its name.
    pub name: String,
    /// Its part in calls.
    pub kind: SpanKind,
    /// The window.
    pub now: Cell,
    /// The baseline.
    pub before: Cell,
}

/// Calls from one operation to another, also within one service and to dependencies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EdgeEvidence {
    /// The calling operation.
    pub from: OperationId,
    /// The called operation.
    pub to: OperationId,
    /// The window. `sum_ns` is the callee's time and `other_ns` the caller's.
    pub now: Cell,
    /// The baseline.
    pub before: Cell,
}

/// The entry spans of one instance of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstanceEvidence {
    /// The service.
    pub service: ServiceId,
    /// The resource that sent the spans.
    pub resource: ResourceId,
    /// `service.version`; empty where unknown.
    pub version: String,
    /// The instance's name; empty where unknown.
    pub instance: String,
    /// When the resource was first seen.
    pub first_seen: UnixNanos,
    /// The window.
    pub now: Cell,
    /// The baseline.
    pub before: Cell,
}

/// Log records of one template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TemplateEvidence {
    /// Its id.
    pub id: TemplateId,
    /// The service that logs it.
    pub service: ServiceId,
    /// How severe.
    pub severity: Severity,
    /// The template's text.
    pub text: String,
    /// When it was first seen.
    pub first_seen: UnixNanos,
    /// Records in the window.
    pub now: u64,
    /// Records in the baseline.
    pub before: u64,
}

/// Points of one measured series in both windows.
#[derive(Debug, Clone, PartialEq)]
pub struct SeriesEvidence {
    /// Its id.
    pub id: SeriesId,
    /// The service it describes.
    pub service: ServiceId,
    /// How it is shown: the metric's name, with the attributes that tell its series apart.
    pub name: String,
    /// The metric's name alone.
    pub metric: String,
    /// The attributes that tell its series apart, by key.
    pub attributes: Vec<(String, String)>,
    /// The metric's unit; may be empty.
    pub unit: String,
    /// The window. Counters come as rates.
    pub now: Spread,
    /// The baseline.
    pub before: Spread,
    /// Points of the window above nineteen twentieths of the baseline.
    pub above: u64,
    /// Points of the window below one twentieth of the baseline.
    pub below: u64,
    /// Whether the baseline is that of earlier instances, which the one that sends it replaced.
    pub replaced: bool,
}

/// A few robust numbers about the points of a series.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Spread {
    /// Points; with 0 the other fields mean nothing.
    pub count: u64,
    /// Smallest value.
    pub min: f64,
    /// Value at one twentieth.
    pub low: f64,
    /// Value at one quarter.
    pub lower: f64,
    /// Middle value.
    pub median: f64,
    /// Value at three quarters.
    pub upper: f64,
    /// Value at nineteen twentieths.
    pub high: f64,
    /// Largest value.
    pub max: f64,
    /// Mean of all.
    pub mean: f64,
}

impl Spread {
    /// The spread of some values, in any order; quantiles lie between the two nearest.
    pub fn of(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        let Some(last) = values.len().checked_sub(1) else { return Self::default() };
        let at = |share: f64| {
            let place = share * last as f64;
            let (low, high) = (values[place.floor() as usize], values[place.ceil() as usize]);
            low + (high - low) * place.fract()
        };
        Self {
            count: values.len() as u64,
            min: values[0],
            low: at(0.05),
            lower: at(0.25),
            median: at(0.5),
            upper: at(0.75),
            high: at(0.95),
            max: values[last],
            mean: values.iter().sum::<f64>() / values.len() as f64,
        }
    }
}

/// Something that happens within a span.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Step {
    /// The span begins.
    Begin,
    /// A log record of this template.
    Log(TemplateId),
    /// A child of this operation; where that is a call, of the operation that answered it.
    Call(OperationId),
    /// The span ends.
    End,
}

/// How often one step directly followed another within the spans of an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StepEvidence {
    /// The service.
    pub service: ServiceId,
    /// The operation.
    pub operation: OperationId,
    /// The step before.
    pub after: Step,
    /// The step that followed.
    pub then: Step,
    /// In the window: how often `then` followed, of how often `after` was taken.
    pub now: (u64, u64),
    /// The same in the baseline.
    pub before: (u64, u64),
}

/// Calls from one node to another as a service graph's metrics count them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CallEvidence {
    /// The caller.
    pub from: ServiceId,
    /// The callee.
    pub to: ServiceId,
    /// Calls in the window; 0 where only the call itself is known.
    pub now: f64,
    /// Calls in the baseline.
    pub before: f64,
}

/// Something that someone changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangeEvidence {
    /// When.
    pub at: UnixNanos,
    /// The service it concerns, where that is known.
    pub service: Option<ServiceId>,
    /// What kind: the event's name, such as `deployment` or `feature_flag.change`.
    pub kind: String,
    /// What changed, in a few words: the version, the flag, the revision.
    pub text: String,
    /// The revision that was committed or deployed; empty where none is known.
    pub revision: String,
    /// The files that changed; empty where they are not known.
    pub files: String,
}

/// What instances of several services may share, the more specific first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PlaceKind {
    /// A machine, or a node of a cluster.
    Host,
    /// An availability zone.
    Zone,
    /// A region of a cloud.
    Region,
    /// A cluster.
    Cluster,
    /// A type of machine, or its architecture.
    Machine,
    /// An operating system, or its version.
    System,
    /// What runs containers.
    Runtime,
}

impl PlaceKind {
    /// The words used in answers.
    pub const fn name(self) -> &'static str {
        [
            "host",
            "availability zone",
            "region",
            "cluster",
            "machine type",
            "operating system",
            "container runtime",
        ][self as usize]
    }
}

/// What is at a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Placed {
    /// An instance, by its resource.
    Instance(ResourceId),
    /// A measured series of that place itself, such as the processor's use on a host.
    Series(SeriesId),
}

/// That something is at a place. One thing may be at several, also of one kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlaceEvidence {
    /// What is there.
    pub of: Placed,
    /// What kind of place.
    pub kind: PlaceKind,
    /// The place's name.
    pub name: String,
}

/// A trace of the window that failed or was slow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExemplarTrace {
    /// Its id.
    pub trace_id: TraceId,
    /// Its spans, or the part of them that was kept.
    pub spans: Vec<ExemplarSpan>,
}

/// A span of an exemplar.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExemplarSpan {
    /// Its id.
    pub span_id: SpanId,
    /// Its parent; none for a root.
    pub parent_id: Option<SpanId>,
    /// The service that sent it.
    pub service: ServiceId,
    /// Its operation.
    pub operation: OperationId,
    /// The instance that sent it.
    pub resource: ResourceId,
    /// Its part in calls.
    pub kind: SpanKind,
    /// The database, queue or host that it says it calls.
    pub peer: Option<ServiceId>,
    /// Whether it failed.
    pub error: bool,
    /// When it began.
    pub start: UnixNanos,
    /// How long it took.
    pub duration_ns: u64,
    /// The message that came with its status; may be empty.
    pub status_message: String,
    /// The last exception recorded on it.
    pub exception: Option<Exception>,
}

/// A recorded exception.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exception {
    /// `exception.type`; may be empty.
    pub kind: String,
    /// `exception.message`; may be empty.
    pub message: String,
}

/// One bucket of one subject.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slice {
    /// What it counts.
    pub subject: Subject,
    /// Start of the bucket in seconds since the Unix epoch.
    pub bucket_s: i64,
    /// Width of the bucket in seconds.
    pub width_s: i64,
    /// Spans, calls or records.
    pub count: u64,
    /// Failed ones.
    pub errors: u64,
    /// Sum of durations.
    pub sum_ns: u64,
    /// Time spent waiting for children (operations), or that callers waited (edges).
    pub other_ns: u64,
}
