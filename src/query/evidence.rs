//! Everything known about a window, in the form `diagnose` reads.

use std::collections::{BTreeSet, HashMap, HashSet};

use crate::diagnose::evidence::{
    EdgeEvidence, Evidence, Exception, ExemplarSpan, ExemplarTrace, InstanceEvidence, Node,
    OperationEvidence, Slice, TemplateEvidence,
};
use crate::model::id::{ServiceId, TenantNumber};
use crate::model::log::Severity;
use crate::model::rollup::{COARSE_SECONDS, Cell, FINE_SECONDS, Subject};
use crate::model::span::Status;
use crate::model::time::Window;
use crate::store::read::rollups::RollupKind;
use crate::store::read::summaries::{TraceAsk, TraceOrder};
use crate::store::rows::SpanRow;

use super::error::Error;
use super::handle::Query;
use super::window::{self, Comparison};

/// Failing traces, and as many slow ones, that are looked into.
const EXEMPLARS_MAX: usize = 30;
/// Spans of one exemplar that are read.
const EXEMPLAR_SPANS_MAX: usize = 1_000;
/// Templates that are handed on, most frequent first.
const TEMPLATES_MAX: usize = 2_000;

/// Sums by subject.
pub type Sums = HashMap<Subject, Cell>;

impl Query {
    /// What happened in `window`, summed over it.
    pub(super) async fn sums(&self, tenant: TenantNumber, window: Window) -> Result<Sums, Error> {
        if let Some(width) = self.graph.covers(tenant, window) {
            let graph = self.graph.clone();
            let work = tokio::task::spawn_blocking(move || graph.merged(tenant, window, width));
            return work.await.map_err(|_| Error::Abandoned);
        }
        let width = if is_fine(window) { FINE_SECONDS } else { COARSE_SECONDS };
        let kinds = [RollupKind::Operation, RollupKind::Instance, RollupKind::Edge];
        Ok(self.store.merged_rollups(tenant, width, window::whole_buckets(window, width), &kinds).await?)
    }

    /// What happened in `window`, bucket by bucket, of subjects that a user or caller can notice.
    pub(super) async fn slices(&self, tenant: TenantNumber, window: Window) -> Result<Vec<Slice>, Error> {
        let width = window::width_for(window);
        let wanted = |subject: &Subject| matches!(subject, Subject::Instance(..) | Subject::Operation(_));
        let cells = if self.graph.covers(tenant, window).is_some_and(|covered| covered <= width) {
            let graph = self.graph.clone();
            let work = tokio::task::spawn_blocking(move || graph.series(tenant, window, width, wanted));
            work.await.map_err(|_| Error::Abandoned)?
        } else {
            let kinds = [RollupKind::Operation, RollupKind::Instance];
            self.store.rollups(tenant, width, window::whole_buckets(window, width), &kinds).await?
        };
        Ok(cells
            .into_iter()
            .map(|(bucket_s, subject, cell)| slice(subject, bucket_s, width, &cell))
            .collect())
    }

    /// Everything about a window and its baseline; exemplars are read only where `exemplars` says so.
    pub(super) async fn evidence(
        &self,
        tenant: TenantNumber,
        comparison: Comparison,
        exemplars: bool,
    ) -> Result<Evidence, Error> {
        let now = self.sums(tenant, comparison.now).await?;
        let before = self.sums(tenant, comparison.before).await?;
        let mut evidence = Evidence::empty(comparison.now);
        evidence.baseline = (!before.is_empty()).then_some(comparison.before);
        self.describe(now, before, &mut evidence);
        if exemplars {
            self.templates(tenant, comparison, &mut evidence).await?;
            evidence.traces = self.exemplars(tenant, comparison.now).await?;
            let span = Window::new(comparison.before.from, comparison.now.to);
            evidence.timeline = self.slices(tenant, span).await?;
        }
        Ok(evidence)
    }

    fn describe(&self, mut now: Sums, mut before: Sums, evidence: &mut Evidence) {
        let subjects: BTreeSet<Subject> = now.keys().chain(before.keys()).copied().collect();
        let mut nodes: HashSet<ServiceId> = HashSet::new();
        for subject in subjects {
            let (now, before) =
                (now.remove(&subject).unwrap_or_default(), before.remove(&subject).unwrap_or_default());
            match subject {
                Subject::Operation(id) => {
                    let Some(info) = self.names().operation_info(id) else { continue };
                    nodes.insert(info.service);
                    let (service, name, kind) = (info.service, info.name.to_string(), info.kind);
                    evidence.operations.push(OperationEvidence { id, service, name, kind, now, before });
                }
                Subject::Edge(from, to) => evidence.edges.push(EdgeEvidence { from, to, now, before }),
                Subject::Instance(service, resource) => {
                    let Some(info) = self.names().resource_info(resource) else { continue };
                    nodes.insert(service);
                    evidence.instances.push(InstanceEvidence {
                        service,
                        resource,
                        version: info.version.to_string(),
                        instance: info.instance.to_string(),
                        first_seen: info.first_seen,
                        now,
                        before,
                    });
                }
                Subject::Logs(..) => {}
            }
        }
        evidence.nodes = nodes
            .into_iter()
            .filter_map(|id| self.names().service_info(id))
            .map(|info| Node { id: info.id, name: info.name.to_string(), kind: info.kind })
            .collect();
        evidence.nodes.sort_by_key(|node| node.id);
    }

    async fn templates(
        &self,
        tenant: TenantNumber,
        windows: Comparison,
        evidence: &mut Evidence,
    ) -> Result<(), Error> {
        let kinds = [RollupKind::Logs];
        let whole = |window| window::whole_buckets(window, COARSE_SECONDS);
        let now = self.store.merged_rollups(tenant, COARSE_SECONDS, whole(windows.now), &kinds).await?;
        let before = self.store.merged_rollups(tenant, COARSE_SECONDS, whole(windows.before), &kinds).await?;
        let texts: HashMap<_, _> = self
            .store
            .templates(Some(tenant))
            .await?
            .into_iter()
            .map(|template| (template.id, template))
            .collect();
        let subjects: BTreeSet<Subject> = now.keys().chain(before.keys()).copied().collect();
        let count = |sums: &Sums, subject| sums.get(subject).map_or(0, |cell| cell.count);
        let mut templates: Vec<TemplateEvidence> = subjects
            .iter()
            .filter_map(|subject| {
                let Subject::Logs(service, id, severity) = *subject else { return None };
                let template = texts.get(&id)?;
                Some(TemplateEvidence {
                    id,
                    service,
                    severity,
                    text: template.text.clone(),
                    first_seen: template.first_seen,
                    now: count(&now, subject),
                    before: count(&before, subject),
                })
            })
            .collect();
        // Warnings and errors are never crowded out by chatter.
        templates.sort_by_key(|template| {
            (
                template.severity < Severity::WARN,
                std::cmp::Reverse(template.now + template.before),
                template.id,
            )
        });
        templates.truncate(TEMPLATES_MAX);
        evidence.templates = templates;
        Ok(())
    }

    async fn exemplars(&self, tenant: TenantNumber, window: Window) -> Result<Vec<ExemplarTrace>, Error> {
        let of = |failed, order| TraceAsk {
            window,
            services: Vec::new(),
            operations: Vec::new(),
            failed,
            duration_min_ns: None,
            order,
            after: None,
            limit: EXEMPLARS_MAX,
        };
        let failing = of(Some(true), TraceOrder::Newest);
        let slow = of(None, TraceOrder::Slowest);
        let mut found = Vec::new();
        for ask in [failing, slow] {
            let page = self.store.trace_summaries(tenant, &ask).await?;
            for summary in page.items {
                if !found.contains(&(summary.key, summary.trace_id)) {
                    found.push((summary.key, summary.trace_id));
                }
            }
        }
        let traces = self.store.traces_by_key(tenant, &found, EXEMPLAR_SPANS_MAX).await?;
        Ok(traces
            .into_iter()
            .map(|trace| ExemplarTrace {
                trace_id: trace.trace_id,
                spans: trace.spans.iter().map(exemplar_span).collect(),
            })
            .collect())
    }
}

fn is_fine(window: Window) -> bool {
    window::width_for(window) == FINE_SECONDS
}

const fn slice(subject: Subject, bucket_s: i64, width_s: i64, cell: &Cell) -> Slice {
    Slice {
        subject,
        bucket_s,
        width_s,
        count: cell.count,
        errors: cell.errors,
        sum_ns: cell.sum_ns,
        other_ns: cell.other_ns,
    }
}

/// The last exception recorded on a span.
pub(super) fn exception(row: &SpanRow) -> Option<Exception> {
    let event = row.detail.events().filter(|event| event.name() == "exception").last()?;
    let text = |key| event.text(key).unwrap_or_default().to_owned();
    Some(Exception { kind: text("exception.type"), message: text("exception.message") })
}

fn exemplar_span(row: &SpanRow) -> ExemplarSpan {
    ExemplarSpan {
        span_id: row.span_id,
        parent_id: row.parent_id,
        service: row.service,
        operation: row.operation,
        resource: row.resource,
        kind: row.kind,
        error: row.status == Status::Error,
        start: row.start,
        duration_ns: row.duration_ns,
        status_message: row.detail.status_message().to_owned(),
        exception: exception(row),
    }
}
