//! Rows from records: names become ids, peers become nodes, log lines get their templates.

use std::collections::HashMap;
use std::sync::Arc;

use crate::graph::join::{Arrival, Dependency};
use crate::model::batch::{Batch, Group, Signal};
use crate::model::id::{InstrumentationId, ResourceId, ServiceId, TemplateId, TenantNumber};
use crate::model::log::{LogRecord, Severity};
use crate::model::metric::Metric;
use crate::model::node::NodeKind;
use crate::model::rollup::{Observation, Seen, Subject};
use crate::model::span::{Span, Status};
use crate::model::tenant::TenantId;
use crate::model::time::UnixNanos;
use crate::model::trace_key::TraceKey;
use crate::rules::{LeftOut, Rules};
use crate::store::aging::Aged;
use crate::store::day::Day;
use crate::store::names::{NAME_BYTES_MAX, Names, cut};
use crate::store::rows::{GoneTemplate, LogRow, PointRow, SeriesDefinition, SpanRow, TemplateRow};
use crate::templates::{Change, Miner, Template};

use super::known::Known;
use super::links::Links;
use super::traits::Traits;

/// Rows of some requests, not yet joined.
#[derive(Debug, Default)]
pub(super) struct Enriched {
    pub(super) spans: Vec<SpanRow>,
    /// In step with `spans`.
    pub(super) arrivals: Vec<Arrival>,
    pub(super) logs: Vec<LogRow>,
    pub(super) points: Vec<PointRow>,
    pub(super) templates: Vec<TemplateRow>,
    /// Templates that were forgotten before.
    pub(super) gone: Vec<GoneTemplate>,
    /// About log records; what spans tell is found by joining them.
    pub(super) observations: Vec<(TenantNumber, Observation)>,
    /// Log records that count in templates and observations and get no row.
    pub(super) counted_only: u64,
    /// Log records that follow the template `<*>` because there are too many templates.
    pub(super) overflowed: u64,
    /// Attributes that the rules left out.
    pub(super) left_out: LeftOut,
    /// Which links of spans are followed.
    pub(super) links: Links,
}

/// How many rows there are of each signal, and of the rest.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lengths {
    rows: [usize; 3],
    observations: usize,
    counted_only: u64,
    overflowed: u64,
}

impl Lengths {
    /// Rows of a signal.
    pub(super) const fn of(&self, signal: Signal) -> usize {
        self.rows[signal as usize]
    }
}

impl Enriched {
    pub(super) fn lengths(&self) -> Lengths {
        Lengths {
            rows: [self.spans.len(), self.logs.len(), self.points.len()],
            observations: self.observations.len(),
            counted_only: self.counted_only,
            overflowed: self.overflowed,
        }
    }

    /// Takes back what was added since, but for templates: the miner remembers them.
    pub(super) fn cut_to(&mut self, lengths: Lengths) {
        let [spans, logs, points] = lengths.rows;
        self.spans.truncate(spans);
        self.arrivals.truncate(spans);
        self.logs.truncate(logs);
        self.points.truncate(points);
        self.observations.truncate(lengths.observations);
        self.counted_only = lengths.counted_only;
        self.overflowed = lengths.overflowed;
    }
}

/// Turns records into rows. Holds the template miner, which only the applier uses.
#[derive(Debug)]
pub(super) struct Enricher {
    rules: Rules,
    miner: Miner,
    template_highest: u32,
    /// How many services had been forgotten when the miner was last told.
    services_forgotten: u64,
    /// The name of the node behind a call, put together anew for each span.
    peer_name: String,
}

impl Enricher {
    /// Continues from the templates that the store has.
    pub(super) fn new(rules: Rules, known: Known) -> Self {
        let Known { placed, others, stored, highest } = known;
        let mut miner = Miner::new(crate::templates::Options::default());
        others.into_iter().for_each(|row| miner.restore_gone(&template(row)));
        placed.into_iter().for_each(|row| miner.restore(&template(row)));
        for (tenant, service, count) in stored {
            miner.set_stored(tenant, service, count);
        }
        Self { rules, miner, template_highest: highest, services_forgotten: 0, peer_name: String::new() }
    }

    /// Forgets the templates that are to be forgotten, and answers which.
    pub(super) fn forget(&mut self, aged: Aged) -> Vec<GoneTemplate> {
        let Aged { gone, room } = aged;
        for (tenant, service, count) in room {
            self.miner.set_stored(tenant, service, count);
        }
        for of_service in gone.chunk_by(|(.., one, _), (.., other, _)| one == other) {
            let (tenant, service, _) = of_service[0];
            let ids = of_service.iter().map(|(.., template)| template.id).collect();
            self.miner.forget_templates(tenant, service, &ids);
        }
        gone.into_iter().map(|(.., template)| template).collect()
    }

    /// Adds the rows of `batch` to `enriched`.
    pub(super) fn enrich(&mut self, names: &Names, tenant: &TenantId, batch: Batch, enriched: &mut Enriched) {
        let tenant = names.tenant(tenant);
        let forgotten = names.services_forgotten();
        if forgotten != self.services_forgotten {
            self.services_forgotten = forgotten;
            self.miner.forget(|_, service| names.service_info(service).is_none());
        }
        match batch {
            Batch::Traces(groups) => {
                groups.into_iter().for_each(|group| self.spans(names, tenant, group, enriched))
            }
            Batch::Logs(groups) => {
                groups.into_iter().for_each(|group| self.logs(names, tenant, group, enriched))
            }
            Batch::Metrics(groups) => {
                groups.into_iter().for_each(|group| self.points(names, tenant, group, enriched))
            }
        }
    }

    fn logs(
        &mut self,
        names: &Names,
        tenant: TenantNumber,
        group: Group<LogRecord>,
        enriched: &mut Enriched,
    ) {
        let Some(times) = Times::of(group.items.iter().map(|record| record.time)) else { return };
        let sender = self.sender(names, tenant, &group, (times, &mut enriched.left_out));
        let Sender { service, resource, instrumentation } = sender;
        for record in group.items {
            let detail = self.rules.unfold(record.detail, &mut enriched.left_out);
            let body = detail.line();
            let line = if body.is_empty() { detail.event_name() } else { &body };
            let mut next = || {
                self.template_highest = self.template_highest.saturating_add(1);
                TemplateId(self.template_highest)
            };
            let mined = self.miner.mine(tenant, service, line, record.time, &mut next);
            enriched.overflowed += u64::from(mined.overflowed);
            for change in mined.changes {
                let (Change::New(template) | Change::MoreGeneral(template)) = change;
                enriched.templates.push(TemplateRow {
                    id: template.id,
                    tenant,
                    service,
                    text: template.text,
                    sample: template.sample,
                    first_seen: template.first_seen,
                });
            }
            let error = record.severity >= Severity::ERROR;
            let subject = Subject::Logs(service, mined.template, record.severity);
            let seen = Seen::Call { duration_ns: 0, caller_ns: 0, error };
            enriched.observations.push((tenant, Observation { subject, at: record.time, seen }));
            if !self.rules.stores(record.severity) {
                enriched.counted_only += 1;
                continue;
            }
            enriched.logs.push(LogRow {
                tenant,
                time: record.time,
                severity: record.severity,
                service,
                resource,
                instrumentation,
                template: mined.template,
                trace_id: record.trace_id,
                span_id: record.span_id,
                detail: self.rules.log(detail, &mut enriched.left_out),
            });
        }
    }

    fn spans(&mut self, names: &Names, tenant: TenantNumber, group: Group<Span>, enriched: &mut Enriched) {
        let Some(times) = Times::of(group.items.iter().map(|span| span.start)) else { return };
        let sender = self.sender(names, tenant, &group, (times, &mut enriched.left_out));
        let Sender { service, resource, instrumentation } = sender;
        enriched.spans.reserve(group.items.len());
        enriched.arrivals.reserve(group.items.len());
        enriched.links.spans(tenant, group.items.len());
        for span in group.items {
            let operation = names.operation(tenant, service, span.kind, span.name.as_str(), span.start);
            let traits = Traits::of(&span);
            let status = traits.status(&span);
            let peer = traits.peer(&span, &mut self.peer_name).map(|peer| {
                let node = names.service(tenant, peer.kind, peer.name, span.start);
                let operation =
                    names.operation(tenant, node, peer.operation_kind, peer.operation, span.start);
                (node, Dependency { kind: peer.kind, operation })
            });
            let entry = span.is_entry(traits.flags());
            let (part, worked_ns) = traits.part(&span);
            let http_status = traits.http_status();
            let links = match traits.has_links() {
                true => {
                    let links = span.detail.links().map(|link| (link.trace_id, link.span_id));
                    enriched.links.followed(tenant, links)
                }
                false => Vec::new(),
            };
            enriched.arrivals.push(Arrival {
                tenant,
                trace_id: span.trace_id,
                span_id: span.span_id,
                parent_id: span.parent_id,
                service,
                resource,
                operation,
                kind: part,
                error: status == Status::Error,
                entry,
                start: span.start,
                duration_ns: worked_ns,
                dependency: peer.as_ref().map(|(_, dependency)| *dependency),
                links,
            });
            enriched.spans.push(SpanRow {
                tenant,
                trace_key: TraceKey::new(span.start, tenant, span.trace_id),
                trace_id: span.trace_id,
                span_id: span.span_id,
                parent_id: span.parent_id,
                service,
                operation,
                resource,
                instrumentation,
                kind: span.kind,
                status,
                entry,
                http_status,
                dependency: peer.map(|(node, _)| node),
                start: span.start,
                duration_ns: span.duration_ns,
                // Only now: the peer and the status were read from attributes that may be left out.
                detail: self.rules.span(span.detail, &mut enriched.left_out),
            });
        }
    }

    fn points(&self, names: &Names, tenant: TenantNumber, group: Group<Metric>, enriched: &mut Enriched) {
        let points = group.items.iter().flat_map(|metric| &metric.points);
        let Some(times) = Times::of(points.map(|point| point.time)) else { return };
        let sender = self.sender(names, tenant, &group, (times, &mut enriched.left_out));
        let Sender { service, resource, instrumentation } = sender;
        for metric in group.items {
            let Metric { name, unit, description, metadata, kind, temporality, monotonic, points } = metric;
            let metadata = self.rules.metadata(metadata, &mut enriched.left_out);
            let series = Arc::new(SeriesDefinition {
                name: if name.as_str().len() > NAME_BYTES_MAX { cut(name.as_str()).into() } else { name },
                unit,
                description,
                metadata,
                kind,
                temporality,
                monotonic,
            });
            enriched.points.extend(points.into_iter().map(|point| PointRow {
                tenant,
                service,
                resource,
                instrumentation,
                series: Arc::clone(&series),
                point: self.rules.point(point, kind, &mut enriched.left_out),
            }));
        }
    }

    /// Who sent a group, under the names that the store knows, without attributes that are left out.
    fn sender<T>(
        &self,
        names: &Names,
        tenant: TenantNumber,
        group: &Group<T>,
        (times, left_out): (Times, &mut LeftOut),
    ) -> Sender {
        let resource = self.rules.resource(&group.resource, left_out);
        let instrumentation = self.rules.instrumentation(&group.instrumentation, left_out);
        let sender = |at| {
            let service = names.service(tenant, NodeKind::Service, &group.resource.service, at);
            Sender {
                service,
                resource: names.resource(tenant, service, &resource, at),
                instrumentation: names.instrumentation(tenant, &instrumentation, at),
            }
        };
        let found = sender(times.first);
        // What is old is named as long as its newest item: that of a group that comes late may be days after the first.
        if Day::of(times.last) > Day::of(times.first) { sender(times.last) } else { found }
    }
}

fn template(row: TemplateRow) -> Template {
    let TemplateRow { id, tenant, service, text, sample, first_seen } = row;
    Template { id, tenant, service, text, sample, first_seen }
}

/// The time of the first item of a group, and of the newest.
#[derive(Clone, Copy)]
struct Times {
    first: UnixNanos,
    last: UnixNanos,
}

impl Times {
    fn of(mut times: impl Iterator<Item = UnixNanos>) -> Option<Self> {
        let first = times.next()?;
        Some(Self { first, last: times.fold(first, UnixNanos::max) })
    }
}

/// Who sent a group.
struct Sender {
    service: ServiceId,
    resource: ResourceId,
    instrumentation: InstrumentationId,
}

/// Groups the positions of arrivals by tenant, in order.
pub(super) fn by_tenant(arrivals: &[Arrival]) -> HashMap<TenantNumber, Vec<usize>> {
    let mut positions: HashMap<TenantNumber, Vec<usize>> = HashMap::new();
    let mut at = 0;
    for run in arrivals.chunk_by(|one, other| one.tenant == other.tenant) {
        positions.entry(run[0].tenant).or_default().extend(at..at + run.len());
        at += run.len();
    }
    positions
}
