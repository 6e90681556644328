//! Everything known about a window, in the form `diagnose` reads.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use crate::diagnose::evidence::{
    EdgeEvidence, Evidence, InstanceEvidence, Node, OperationEvidence, Slice, TemplateEvidence,
};
use crate::diagnose::split::Track;
use crate::model::id::{OperationId, ServiceId, TenantNumber};
use crate::model::log::Severity;
use crate::model::node::NodeKind;
use crate::model::rollup::{COARSE_SECONDS, Cell, Subject};
use crate::model::span::SpanKind;
use crate::model::time::Window;
use crate::store::read::rollups::RollupKind;

use super::error::Error;
use super::handle::Query;
use super::log_minutes::LogMinutes;
use super::patterns::{self, Patterns};
use super::sums::Sums;
use super::window::{self, Comparison};

/// Templates that are handed on, most frequent first.
const TEMPLATES_MAX: usize = 2_000;

impl Query {
    /// What happened in `window`, bucket by bucket, of subjects that a user or caller can notice.
    pub(super) async fn slices(&self, tenant: TenantNumber, window: Window) -> Result<Vec<Slice>, Error> {
        let Some(window) = self.known(tenant).await?.and_then(|known| window::clipped(window, known)) else {
            return Ok(Vec::new());
        };
        self.slices_within(tenant, window).await
    }

    /// The same, whatever is known before and after.
    pub(super) async fn slices_within(
        &self,
        tenant: TenantNumber,
        window: Window,
    ) -> Result<Vec<Slice>, Error> {
        let wanted = |subject: &Subject| matches!(subject, Subject::Instance(..) | Subject::Operation(_));
        let kinds = [RollupKind::Operation, RollupKind::Instance];
        let (width, cells) = self.timeline(tenant, window, &kinds, wanted).await?;
        Ok(cells
            .into_iter()
            .map(|(bucket_s, subject, cell)| slice(subject, bucket_s, width, &cell))
            .collect())
    }

    /// How long messages waited for each consumer, bucket by bucket, as tracks.
    pub(super) async fn wait_tracks(
        &self,
        tenant: TenantNumber,
        window: Window,
    ) -> Result<Vec<Track>, Error> {
        let Some(window) = self.known(tenant).await?.and_then(|known| window::clipped(window, known)) else {
            return Ok(Vec::new());
        };
        let store = self.store.clone();
        let wanted = move |subject: &Subject| match subject {
            Subject::Edge(_, to) => {
                store.names().operation_info(*to).is_some_and(|info| info.kind == SpanKind::CONSUMER)
            }
            _ => false,
        };
        let (_, cells) = self.timeline(tenant, window, &[RollupKind::Edge], wanted).await?;
        let mut tracks: BTreeMap<Subject, Vec<(i64, f64)>> = BTreeMap::new();
        for (bucket_s, subject, cell) in cells.into_iter().filter(|(.., cell)| cell.count > 0) {
            tracks.entry(subject).or_default().push((bucket_s, cell.gap_ns()));
        }
        // The store answers in no order.
        tracks.values_mut().for_each(|track| track.sort_by_key(|(bucket_s, _)| *bucket_s));
        Ok(tracks.into_values().map(Track::Level).collect())
    }

    /// The cells of the subjects that are wanted, and the width of their buckets in seconds.
    async fn timeline(
        &self,
        tenant: TenantNumber,
        window: Window,
        kinds: &[RollupKind],
        wanted: impl Fn(&Subject) -> bool + Clone + Send + 'static,
    ) -> Result<(i64, Vec<(i64, Subject, Cell)>), Error> {
        // In whole buckets of what is kept.
        let kept = self.kept_width(window.from);
        let width = (window::step_for(window) + kept - 1) / kept * kept;
        let cells = if self.graph.covers_by(tenant, window, width) {
            let graph = self.graph.clone();
            let work = tokio::task::spawn_blocking(move || graph.series(tenant, window, width, wanted));
            return Ok((width, work.await.map_err(|_| Error::Abandoned)?));
        } else if width < COARSE_SECONDS {
            self.store.rollups(tenant, width, window, kinds).await?
        } else {
            self.store.timeline(tenant, width, window, kinds).await?
        };
        Ok((width, cells.into_iter().filter(|(_, subject, _)| wanted(subject)).collect()))
    }

    /// Everything about a window and its baseline, both cut to the time that is known.
    pub(super) async fn evidence(
        &self,
        tenant: TenantNumber,
        comparison: Comparison,
    ) -> Result<Evidence, Error> {
        let none = || Evidence::empty(comparison.now);
        let Some(known) = self.known(tenant).await? else { return Ok(none()) };
        let cut = self.known_part(comparison, known);
        let mut evidence = self.counted(tenant, &[cut]).await?.pop().unwrap_or_else(none);
        evidence.forget_empty_baseline();
        Ok(evidence)
    }

    /// What spans tell about windows and their baselines.
    pub(super) async fn counted(
        &self,
        tenant: TenantNumber,
        cut: &[(Window, Option<Window>)],
    ) -> Result<Vec<Evidence>, Error> {
        self.counted_about(tenant, cut, None).await
    }

    /// The same of those subjects alone that are about some numbers, where there are any.
    pub(super) async fn counted_about(
        &self,
        tenant: TenantNumber,
        cut: &[(Window, Option<Window>)],
        numbers: Option<BTreeSet<u32>>,
    ) -> Result<Vec<Evidence>, Error> {
        let windows: Vec<Window> =
            cut.iter().flat_map(|(now, before)| [Some(*now), *before]).flatten().collect();
        let mut sums = self.sums_about(tenant, &windows, numbers).await?.into_iter();
        let mut all = Vec::new();
        for (now, baseline) in cut {
            let mut evidence = Evidence { baseline: *baseline, ..Evidence::empty(*now) };
            let now = sums.next().unwrap_or_default();
            let before = baseline.and_then(|_| sums.next()).unwrap_or_default();
            self.describe(now, before, &mut evidence);
            all.push(evidence);
        }
        Ok(all)
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
        let told: HashSet<OperationId> = evidence.operations.iter().map(|operation| operation.id).collect();
        let ends: BTreeSet<OperationId> =
            evidence.edges.iter().flat_map(|edge| [edge.from, edge.to]).collect();
        // Nothing is counted about a queue that messages are only taken from: it is known by its edges.
        for id in ends.into_iter().filter(|id| !told.contains(id)) {
            let Some(info) = self.names().operation_info(id) else { continue };
            let service = self.names().service_info(info.service).filter(|it| it.kind == NodeKind::Queue);
            let Some(service) = service.map(|service| service.id) else { continue };
            nodes.insert(service);
            let (name, kind) = (info.name.to_string(), info.kind);
            let (now, before) = (Cell::default(), Cell::default());
            evidence.operations.push(OperationEvidence { id, service, name, kind, now, before });
        }
        evidence.nodes = nodes
            .into_iter()
            .filter_map(|id| self.names().service_info(id))
            .map(|info| Node { id: info.id, name: info.name.to_string(), kind: info.kind })
            .collect();
        evidence.nodes.sort_by_key(|node| node.id);
    }

    /// The patterns of the log records of windows and of their baselines. They are counted a minute at a time: the minute in
    /// which a window begins is the window's. `read` is what is known of the records already. Answers the texts beside them,
    /// also those of templates that others stand for.
    pub(super) async fn templates(
        &self,
        tenant: TenantNumber,
        told: &[(Window, Option<Window>)],
        read: Option<&LogMinutes>,
    ) -> Result<(Vec<Vec<TemplateEvidence>>, Arc<Patterns>), Error> {
        let minutes = |(told, baseline): &(Window, Option<Window>)| {
            let now = window::whole_buckets(*told, COARSE_SECONDS);
            let before = baseline.filter(|baseline| baseline.from < now.from);
            let before = before.map(|it| Window::new(it.from, it.to.min(now.from)));
            (now, before.map(|before| window::whole_buckets(before, COARSE_SECONDS)))
        };
        let minutes: Vec<(Window, Option<Window>)> = told.iter().map(minutes).collect();
        let windows: Vec<Window> =
            minutes.iter().flat_map(|(now, before)| [Some(*now), *before]).flatten().collect();
        let (sums, patterns) = match read.and_then(|read| Some((read.sums(&windows)?, read.patterns()))) {
            Some(known) => known,
            None => {
                let sums = self.logs_of(tenant, &windows).await?;
                let ids = patterns::named(sums.iter().flat_map(|sums| sums.keys()));
                let patterns = Arc::new(self.patterns(tenant, &ids).await?);
                (sums.into_iter().map(|sums| patterns.added_up(sums)).collect(), patterns)
            }
        };
        let mut sums = sums.into_iter();
        let mut all = Vec::new();
        for (_, before) in minutes {
            let now = sums.next().unwrap_or_default();
            let before = before.and_then(|_| sums.next()).unwrap_or_default();
            all.push(described(&now, &before, &patterns));
        }
        Ok((all, patterns))
    }
}

/// The patterns of log records that were counted, and added up.
pub(super) fn described(now: &Sums, before: &Sums, patterns: &Patterns) -> Vec<TemplateEvidence> {
    let subjects: BTreeSet<Subject> = now.keys().chain(before.keys()).copied().collect();
    let count = |sums: &Sums, subject| sums.get(subject).map_or(0, |cell| cell.count);
    let mut templates: Vec<TemplateEvidence> = subjects
        .iter()
        .filter_map(|subject| {
            let Subject::Logs(service, id, severity) = *subject else { return None };
            let template = patterns.get(id)?;
            Some(TemplateEvidence {
                id,
                service,
                severity,
                text: template.text.clone(),
                first_seen: template.first_seen,
                now: count(now, subject),
                before: count(before, subject),
            })
        })
        .collect();
    // Warnings and errors are never crowded out by chatter.
    templates.sort_by_key(|template| {
        (template.severity < Severity::WARN, std::cmp::Reverse(template.now + template.before), template.id)
    });
    templates.truncate(TEMPLATES_MAX);
    templates
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
