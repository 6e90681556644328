//! `/api/v1/root-cause`.

use serde::Serialize;
use utoipa::ToSchema;

use crate::auth::Right;
use crate::diagnose::verdict::{Cause, Proof, RankedChange, Reference, RuledOut, Symptom, SymptomKind};
use crate::query::Query;

use super::answer::{Answer, Page, WindowView, counted, laid_out};
use super::call::Call;
use super::parameter::{CURSOR, FROM, LIMIT, SERVICE, SINCE, TO};
use super::problem::Problem;
use super::routes::Route;
use super::time::rfc3339;

pub(super) const ROUTE: Route = Route {
    path: "/api/v1/root-cause",
    right: Right::Read,
    name: "getRootCause",
    summary: "What is wrong, and why",
    description: "The causes of the window's worst symptom, or of one service's, most probable first. Where trouble began \
                  inside the window, `window` begins at its onset and `baseline` is the time before that; so a window \
                  may be asked for generously.",
    in_path: &[],
    in_body: None,
    parameters: &[
        &FROM,
        &TO,
        &SINCE,
        &SERVICE.described("The service with the symptom. Default: the worst symptom anywhere."),
        &LIMIT,
        &CURSOR,
    ],
    schema: |schemas| schemas.page_with::<CauseView, VerdictView>(),
    answer: |call| Box::pin(answer(call)),
};

/// One suspected cause.
#[derive(Serialize, ToSchema)]
#[schema(as = Cause)]
struct CauseView {
    /// The culpable service, database, queue or host.
    service: String,
    /// The culpable operation, where it is one.
    operation: Option<String>,
    /// What fails, how, and by how much, in one sentence.
    cause: String,
    /// How sure that is; comparable between causes and between answers.
    #[schema(minimum = 0, maximum = 1)]
    confidence: f64,
    /// How far down the fault could be located: `service`, `operation`, `instance`, `version`, `dependency`, `edge`, `resource`,
    /// or `host` or `zone` where instances of several services share it.
    level: &'static str,
    /// `errors`, `latency`, `unreachable`, `silence`, `bad_version`, `bad_instance`, `surge`, `saturation`, or `change` where
    /// nothing measured tells that what is other than before is bad.
    fault: &'static str,
    /// When it began, where a timeline tells.
    #[schema(format = DateTime)]
    onset: Option<String>,
    /// The services from the cause to the symptom.
    path: Vec<String>,
    /// What the statement rests on, strongest first.
    evidence: Vec<EvidenceView>,
}

/// Something to open that shows why.
#[derive(Serialize, ToSchema)]
#[schema(as = Evidence)]
struct EvidenceView {
    /// What it is: `operation`, `edge`, `instance`, `template`, `series`, `change`, `trace` or `span`.
    kind: &'static str,
    /// Its name or id: `CALLER -> CALLEE` for edges, `TRACE/SPAN` for spans, a moment for changes.
    id: String,
    /// What it shows.
    text: String,
}

/// The verdict beside its causes.
#[derive(Serialize, ToSchema)]
#[schema(as = Verdict)]
struct VerdictView {
    /// `cause_found`, `candidates` or `insufficient_evidence`.
    verdict: &'static str,
    /// What was explained; null where nothing that was measured fails, slows down or falls silent.
    symptom: Option<SymptomView>,
    /// What the window was compared with.
    baseline: WindowView,
    /// Changes that were sent as events and may have brought it about, most probable first.
    changes: Vec<ChangeView>,
    /// Suspects that were examined and dismissed, most suspicious first.
    ruled_out: Vec<RuledOutView>,
    /// What the answer does not rest on, in full sentences.
    coverage: Vec<String>,
    /// Services, databases, queues and hosts that were looked at.
    nodes_examined: usize,
    /// Traces that were looked into.
    traces_examined: usize,
}

/// What users or callers notice.
#[derive(Serialize, ToSchema)]
#[schema(as = Symptom)]
struct SymptomView {
    /// Where it shows.
    service: String,
    /// The operation where it shows most.
    operation: Option<String>,
    /// `errors`, `latency` or `silence`.
    kind: &'static str,
    /// What `before` and `now` are measured in: `share` of requests, 0 to 1; `ms`; or `requests_per_s`. Where only a
    /// measured series shows the symptom, they are in its own unit.
    unit: &'static str,
    /// The measure in the baseline.
    before: f64,
    /// The measure in the window.
    now: f64,
    /// When it began, where a timeline tells.
    #[schema(format = DateTime)]
    onset: Option<String>,
}

/// A change that may have brought about what is wrong.
#[derive(Serialize, ToSchema)]
#[schema(as = SuspectedChange)]
struct ChangeView {
    /// When it was made.
    #[schema(format = DateTime)]
    at: String,
    /// The service in which it came into effect, where that is known.
    service: Option<String>,
    /// The event's name, such as `deployment`.
    kind: String,
    /// What changed.
    change: String,
    /// The revision that was committed or deployed, where it is known.
    revision: Option<String>,
    /// How well it fits the place, the time and the words of the trouble, 0 to 1.
    score: f64,
    /// Why it is suspected, in a few words.
    because: String,
}

/// A suspect that was dismissed.
#[derive(Serialize, ToSchema)]
#[schema(as = RuledOut)]
struct RuledOutView {
    /// The suspect.
    service: String,
    /// Why, in one sentence.
    reason: String,
}

async fn answer(call: Call) -> Result<Answer, Problem> {
    let resumed = call.resumed()?;
    let after = counted(resumed.after.as_ref())?;
    let found = call.query().root_cause(&call.scope, resumed.window, call.text(&SERVICE)).await?;
    laid_out(move || {
        let (query, verdict) = (call.query(), &found.verdict);
        let mut page = Page::new(&call.seal, resumed.window);
        page.shown = found.comparison.now;
        page.fill_counted(&verdict.causes, (after, resumed.limit), |cause| CauseView::new(query, cause))?;
        let ruled_out = |suspect: &RuledOut| RuledOutView {
            service: query.service_name(suspect.service),
            reason: suspect.reason.clone(),
        };
        page.finish_with(&VerdictView {
            verdict: verdict.outcome.name(),
            symptom: verdict.symptom.as_ref().map(|symptom| SymptomView::new(query, symptom)),
            baseline: found.comparison.before.into(),
            changes: verdict.changes.iter().map(|change| ChangeView::new(query, change)).collect(),
            ruled_out: verdict.ruled_out.iter().map(ruled_out).collect(),
            coverage: verdict
                .coverage
                .iter()
                .cloned()
                .chain(query.counted_together(&found.namesakes))
                .collect(),
            nodes_examined: found.nodes,
            traces_examined: found.traces,
        })
    })
    .await
}

impl ChangeView {
    fn new(query: &Query, change: &RankedChange) -> Self {
        Self {
            at: rfc3339(change.at),
            service: change.service.map(|id| query.service_name(id)),
            kind: change.kind.clone(),
            change: change.text.clone(),
            revision: Some(change.revision.clone()).filter(|revision| !revision.is_empty()),
            score: change.score,
            because: change.reason.clone(),
        }
    }
}

impl CauseView {
    fn new(query: &Query, cause: &Cause) -> Self {
        Self {
            service: query.service_name(cause.service),
            operation: cause.operation.map(|id| query.operation_name(id)),
            cause: cause.sentence.clone(),
            confidence: cause.confidence,
            level: cause.level.name(),
            fault: cause.fault.name(),
            onset: cause.onset.map(rfc3339),
            path: cause.path.iter().map(|id| query.service_name(*id)).collect(),
            evidence: cause.proof.iter().map(|proof| EvidenceView::new(query, proof)).collect(),
        }
    }
}

impl EvidenceView {
    fn new(query: &Query, proof: &Proof) -> Self {
        let (kind, id) = match proof.reference {
            Reference::Operation { id, .. } => ("operation", query.operation_path(id)),
            Reference::Edge { from, to } => {
                ("edge", format!("{} -> {}", query.operation_path(from), query.operation_path(to)))
            }
            Reference::Instance { service, resource } => {
                ("instance", format!("{}/{}", query.service_name(service), query.instance_name(resource)))
            }
            Reference::Template(id) => ("template", id.0.to_string()),
            Reference::Series(id) => ("series", id.0.to_string()),
            Reference::Change(at) => ("change", rfc3339(at)),
            Reference::Trace(id) => ("trace", id.to_string()),
            Reference::Span(trace, span) => ("span", format!("{trace}/{span}")),
        };
        Self { kind, id, text: proof.text.clone() }
    }
}

impl SymptomView {
    fn new(query: &Query, symptom: &Symptom) -> Self {
        let (unit, scale) = match symptom.kind {
            SymptomKind::Errors => ("share", 1.0),
            // A service without operations was measured by a series, in its own unit.
            SymptomKind::Latency if symptom.operation.is_some() => ("ms", 1e-6),
            SymptomKind::Latency => ("own", 1.0),
            SymptomKind::Silence => ("requests_per_s", 1.0),
        };
        Self {
            service: query.service_name(symptom.service),
            operation: symptom.operation.map(|id| query.operation_name(id)),
            kind: symptom.kind.name(),
            unit,
            before: symptom.before * scale,
            now: symptom.now * scale,
            onset: symptom.onset.map(rfc3339),
        }
    }
}
