//! What the module concludes. Every statement carries references that can be opened again.

use crate::model::id::{OperationId, ResourceId, SeriesId, ServiceId, SpanId, TemplateId, TraceId};
use crate::model::rollup::{Cell, Subject};
use crate::model::time::{UnixNanos, Window};

use super::observed::Observed;

/// The answer to "why".
#[derive(Debug, Clone, PartialEq)]
pub struct Verdict {
    /// How far the answer goes.
    pub outcome: Outcome,
    /// What was explained; none where nothing that was measured fails, slows down or falls silent.
    pub symptom: Option<Symptom>,
    /// Causes, most probable first; with [`Outcome::InsufficientEvidence`] weak leads or nothing.
    pub causes: Vec<Cause>,
    /// Changes that may have brought it about, most probable first.
    pub changes: Vec<RankedChange>,
    /// Suspects that were examined and dismissed, most suspicious first.
    pub ruled_out: Vec<RuledOut>,
    /// What the answer does not rest on: full sentences.
    pub coverage: Vec<String>,
}

impl Verdict {
    /// Who suffers: the service that shows the symptom, or, where nothing that was measured tells one, the first cause that is
    /// more than a change. None where nothing is found.
    pub fn sufferer(&self) -> Option<ServiceId> {
        let is_found = self.outcome != Outcome::InsufficientEvidence;
        let troubled = self.causes.iter().find(|cause| is_found && cause.fault != Fault::Change);
        let symptom = self.symptom.as_ref().map(|symptom| symptom.service);
        symptom.or_else(|| troubled.map(|cause| cause.service))
    }

    /// Whether all that is told is that something does otherwise than before: nothing tells that this is bad.
    pub fn is_calm(&self) -> bool {
        self.symptom.is_none() && self.causes.iter().all(|cause| cause.fault == Fault::Change)
    }
}

/// How far a verdict goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Outcome {
    /// The first cause is well supported and clearly ahead.
    CauseFound,
    /// Some causes are plausible; none is clearly ahead.
    Candidates,
    /// Nothing deviates significantly, or too little was seen.
    InsufficientEvidence,
}

impl Outcome {
    /// The name used in answers.
    pub const fn name(self) -> &'static str {
        match self {
            Self::CauseFound => "cause_found",
            Self::Candidates => "candidates",
            Self::InsufficientEvidence => "insufficient_evidence",
        }
    }
}

/// What users or callers notice.
#[derive(Debug, Clone, PartialEq)]
pub struct Symptom {
    /// Where it shows.
    pub service: ServiceId,
    /// The operation where it shows most; none for a service without operations.
    pub operation: Option<OperationId>,
    /// What kind.
    pub kind: SymptomKind,
    /// The measure in the baseline: failed share (errors), mean nanoseconds (latency), calls per second (silence);
    /// in the series' own unit where only a measured series shows it.
    pub before: f64,
    /// The same measure in the window.
    pub now: f64,
    /// When it began, where a timeline tells.
    pub onset: Option<UnixNanos>,
}

/// Kinds of symptoms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SymptomKind {
    /// Requests fail.
    Errors,
    /// Requests take longer.
    Latency,
    /// Requests no longer happen.
    Silence,
}

impl SymptomKind {
    /// The lower-case name used in answers.
    pub const fn name(self) -> &'static str {
        ["errors", "latency", "silence"][self as usize]
    }
}

/// One suspected cause.
#[derive(Debug, Clone, PartialEq)]
pub struct Cause {
    /// The culpable node: a service, database, queue or external host.
    pub service: ServiceId,
    /// The culpable operation, where it is one.
    pub operation: Option<OperationId>,
    /// How far down the fault could be located.
    pub level: Level,
    /// What is wrong there.
    pub fault: Fault,
    /// One sentence for people: what fails, how, and by how much.
    pub sentence: String,
    /// 0 to 1; see `rank` for the formula. Comparable between the causes of one verdict and between verdicts.
    pub confidence: f64,
    /// When it began, where a timeline tells.
    pub onset: Option<UnixNanos>,
    /// The nodes from the cause to the symptom, both included; just the cause where no path is known.
    pub path: Vec<ServiceId>,
    /// What the statement rests on, strongest first.
    pub proof: Vec<Proof>,
}

/// How far down a fault could be located.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Level {
    /// A service as a whole.
    Service,
    /// One operation of a service.
    Operation,
    /// One instance of a service.
    Instance,
    /// One version of a service.
    Version,
    /// A database, queue or external host.
    Dependency,
    /// The way between two nodes.
    Edge,
    /// Processor, memory or another measured resource of a service.
    Resource,
    /// A host on which instances of several services run, or a kind of host.
    Host,
    /// A zone, region or cluster in which they run.
    Zone,
}

impl Level {
    /// The lower-case name used in answers.
    pub const fn name(self) -> &'static str {
        ["service", "operation", "instance", "version", "dependency", "edge", "resource", "host", "zone"]
            [self as usize]
    }
}

/// Kinds of faults.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Fault {
    /// It fails.
    Errors,
    /// It takes longer.
    Latency,
    /// No call to it succeeds.
    Unreachable,
    /// It is no longer called, or no longer calls.
    Silence,
    /// Only instances of one version are affected.
    BadVersion,
    /// Only one instance is affected.
    BadInstance,
    /// More traffic arrives than it copes with.
    Surge,
    /// A measured resource is used up.
    Saturation,
    /// It does otherwise than before, and nothing measured tells that this is bad.
    Change,
}

impl Fault {
    /// The lower-case name used in answers.
    pub const fn name(self) -> &'static str {
        [
            "errors",
            "latency",
            "unreachable",
            "silence",
            "bad_version",
            "bad_instance",
            "surge",
            "saturation",
            "change",
        ][self as usize]
    }
}

/// A change that may have brought about what is wrong.
#[derive(Debug, Clone, PartialEq)]
pub struct RankedChange {
    /// When it was made.
    pub at: UnixNanos,
    /// The service in which it came into effect, where that is known.
    pub service: Option<ServiceId>,
    /// The event's name, such as `deployment`.
    pub kind: String,
    /// What changed.
    pub text: String,
    /// The revision that was committed or deployed; empty where none is known.
    pub revision: String,
    /// 0 to 1; see `change` for the formula.
    pub score: f64,
    /// Why it is suspected, in a few words.
    pub reason: String,
}

/// A suspect that was dismissed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuledOut {
    /// The node.
    pub service: ServiceId,
    /// Why, in one sentence.
    pub reason: String,
}

/// A reference that can be opened again, with a few words about what it shows.
#[derive(Debug, Clone, PartialEq)]
pub struct Proof {
    /// What to open.
    pub reference: Reference,
    /// What it shows.
    pub text: String,
    /// In which window it was observed, where it can be observed again; and what was, where that window was over, so that the
    /// same is observed as long as nothing comes late.
    pub seen: Option<(Window, Option<Observed>)>,
}

impl Proof {
    /// A proof of which nothing was observed yet.
    pub const fn new(reference: Reference, text: String) -> Self {
        Self { reference, text, seen: None }
    }
}

/// What a proof points to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Reference {
    /// The roll-ups of an operation.
    Operation {
        /// Which.
        id: OperationId,
        /// Its baseline.
        before: Summary,
        /// Its window.
        now: Summary,
    },
    /// The roll-ups of calls between two operations.
    Edge {
        /// The caller.
        from: OperationId,
        /// The callee.
        to: OperationId,
    },
    /// The roll-ups of an instance.
    Instance {
        /// The service.
        service: ServiceId,
        /// The instance.
        resource: ResourceId,
    },
    /// A log template.
    Template(TemplateId),
    /// A measured series.
    Series(SeriesId),
    /// A change of the given instant.
    Change(UnixNanos),
    /// A trace.
    Trace(TraceId),
    /// A span.
    Span(TraceId, SpanId),
}

/// A cell in the few numbers that answers show.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Summary {
    /// Spans or calls.
    pub count: u64,
    /// Failed ones.
    pub errors: u64,
    /// Mean duration in nanoseconds.
    pub mean_ns: f64,
    /// Duration that 95 of 100 stay below, in nanoseconds; 0 where nothing was counted.
    pub p95_ns: u64,
}

impl From<&Cell> for Summary {
    fn from(cell: &Cell) -> Self {
        Self {
            count: cell.count,
            errors: cell.errors,
            mean_ns: cell.mean_ns(),
            p95_ns: cell.sketch.quantile(0.95).unwrap_or(0),
        }
    }
}

/// Who suffers from a failing or slow service.
#[derive(Debug, Clone, PartialEq)]
pub struct Impact {
    /// Affected operations, entry points first, then by falling share.
    pub affected: Vec<Affected>,
    /// The queues that it takes messages from, the most read first: nobody waits for that.
    pub reads: Vec<Reading>,
    /// What the answer does not rest on: full sentences.
    pub coverage: Vec<String>,
}

/// What a node takes from a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reading {
    /// The queue.
    pub queue: ServiceId,
    /// Messages in the window; 0 where it asks for them, and how many an answer holds is not known.
    pub now: u64,
    /// The same in the baseline.
    pub before: u64,
}

/// One affected operation.
#[derive(Debug, Clone, PartialEq)]
pub struct Affected {
    /// Its service.
    pub service: ServiceId,
    /// The operation; none for a service that only a service graph's metrics know.
    pub operation: Option<OperationId>,
    /// Share of its requests that pass through the failing service, 0 to 1.
    pub share: f64,
    /// Failed share of its requests in the window, 0 to 1.
    pub observed_errors: f64,
    /// Mean duration of its requests in the window, in nanoseconds; 0 where none were counted.
    pub observed_ns: f64,
    /// What its mean request would take longer, in nanoseconds; 0 where it is supposed to fail.
    pub added_ns: f64,
    /// Calls between services on the shortest way to the failing service; 0 within it.
    pub distance: u32,
    /// True when nothing known calls it: its callers are users.
    pub entry: bool,
}

/// How a service fares against its own past.
#[derive(Debug, Clone, PartialEq)]
pub struct Health {
    /// The service.
    pub service: ServiceId,
    /// The verdict in a word.
    pub status: Status,
    /// 1 is as good as its own baseline or better, 0 is down.
    pub score: f64,
    /// Why, most important first; empty when healthy.
    pub reasons: Vec<String>,
}

/// Health in a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Status {
    /// As good as its baseline.
    Healthy,
    /// Noticeably worse.
    Degraded,
    /// A large part of its requests fail, or it is many times slower, or it fell silent.
    Critical,
    /// Too little traffic to tell.
    Unknown,
}

impl Status {
    /// The lower-case name used in answers.
    pub const fn name(self) -> &'static str {
        ["healthy", "degraded", "critical", "unknown"][self as usize]
    }
}

/// One episode in which a subject left its baseline.
#[derive(Debug, Clone, PartialEq)]
pub struct Anomaly {
    /// What deviates.
    pub subject: Subject,
    /// How.
    pub kind: AnomalyKind,
    /// Start of the first deviating bucket.
    pub onset: UnixNanos,
    /// Start of the first normal bucket afterwards; none while it lasts.
    pub end: Option<UnixNanos>,
    /// The measure at its worst: failed share, mean nanoseconds, or calls per second.
    pub peak: f64,
    /// The same measure in the baseline.
    pub before: f64,
    /// 0 to 1: how far the peak is from the baseline.
    pub severity: f64,
}

impl Anomaly {
    /// A number that stands for its identity: subject, kind and onset (FNV-1a of them).
    pub fn id(&self) -> u64 {
        let subject = match self.subject {
            Subject::Operation(operation) => [0, operation.0, 0],
            Subject::Instance(service, resource) => [1, service.0, resource.0],
            Subject::Edge(from, to) => [2, from.0, to.0],
            Subject::Logs(service, template, _) => [3, service.0, template.0],
        };
        let numbers =
            subject.into_iter().map(u64::from).chain([self.kind as u64, self.onset.0.cast_unsigned()]);
        let bytes = numbers.flat_map(u64::to_le_bytes);
        bytes
            .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
    }
}

/// Kinds of anomalies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum AnomalyKind {
    /// The failed share rose.
    Errors,
    /// Durations rose.
    Latency,
    /// Traffic rose or fell by a multiple.
    Traffic,
    /// Traffic ceased.
    Silence,
}

impl AnomalyKind {
    /// The lower-case name used in answers.
    pub const fn name(self) -> &'static str {
        ["errors", "latency", "traffic", "silence"][self as usize]
    }
}
