//! How services fare against their own past.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::diagnose::evidence::Evidence;
use crate::diagnose::health;
use crate::diagnose::verdict::{AnomalyKind, Health};
use crate::model::id::{OperationId, ServiceId, TenantNumber};
use crate::model::node::NodeKind;
use crate::model::rollup::{Cell, Subject};
use crate::model::span::SpanKind;
use crate::model::tenant::Scope;
use crate::model::time::Window;
use crate::store::names::info::ServiceInfo;

use super::error::Error;
use super::handle::Query;
use super::namesakes::{Namesakes, Senders};
use super::window::{self, Comparison};

/// The health of some services.
#[derive(Debug, Clone)]
pub struct HealthReport {
    /// The services: worst first, then by name.
    pub services: Vec<ServiceHealth>,
    /// Operations of the one service that was asked for, most time spent first.
    pub operations: Vec<OperationHealth>,
    /// The part of the window that is known.
    pub window: Window,
    /// What it was compared with; none where nothing older is known.
    pub baseline: Option<Window>,
    /// Names that several of the services share, by name.
    pub namesakes: Vec<Namesakes>,
}

/// One service.
#[derive(Debug, Clone)]
pub struct ServiceHealth {
    /// Which.
    pub info: Arc<ServiceInfo>,
    /// The verdict.
    pub health: Health,
    /// Its requests in the window.
    pub now: Cell,
    /// Its requests in the baseline.
    pub before: Cell,
}

/// One operation.
#[derive(Debug, Clone)]
pub struct OperationHealth {
    /// Its id.
    pub id: OperationId,
    /// Its name.
    pub name: String,
    /// Its part in calls.
    pub kind: SpanKind,
    /// The window.
    pub now: Cell,
    /// The baseline.
    pub before: Cell,
}

impl Query {
    /// The health of one service, or of all that were seen in the window or its baseline.
    ///
    /// # Errors
    /// When the name is unknown or the store does not answer.
    pub async fn service_health(
        &self,
        scope: &Scope,
        asked: Window,
        service: Option<&str>,
    ) -> Result<HealthReport, Error> {
        let wanted = service.map(|name| self.service(scope, name)).transpose()?;
        let Some(tenant) = self.tenant(scope) else {
            let (services, operations, namesakes) = (Vec::new(), Vec::new(), Vec::new());
            return Ok(HealthReport { services, operations, window: asked, baseline: None, namesakes });
        };
        let plain = window::plain(asked);
        let mut evidence = self.evidence(tenant, plain).await?;
        let usual = self.before_peaks(tenant, &evidence).await?;
        let mut services = self.healths(&evidence, &usual, |_| true);
        let mut senders = heard(&evidence);
        // Who has trouble since before the window is compared with the time before that.
        if let Some((before, troubled)) = self.before_trouble(tenant, asked).await? {
            let older = self.evidence(tenant, Comparison { before, ..plain }).await?;
            services.retain(|it| !troubled.contains(&it.info.id));
            services.extend(self.healths(&older, &usual, |id| troubled.contains(&id)));
            senders.extend(heard(&older).into_iter().filter(|(id, _)| troubled.contains(id)));
            if wanted.as_ref().is_some_and(|wanted| troubled.contains(&wanted.id)) {
                evidence = older;
            }
        }
        services.retain(|it| match &wanted {
            Some(wanted) => wanted.id == it.info.id,
            None => it.info.kind == NodeKind::Service,
        });
        services.sort_by(|a, b| {
            a.health.score.total_cmp(&b.health.score).then_with(|| a.info.name.cmp(&b.info.name))
        });
        let shown: BTreeSet<ServiceId> = services.iter().map(|it| it.info.id).collect();
        senders.retain(|(service, _)| shown.contains(service));
        let namesakes = self.namesakes(move || senders).await?;
        let mut operations: Vec<OperationHealth> = evidence
            .operations
            .into_iter()
            .filter(|operation| wanted.as_ref().is_some_and(|wanted| wanted.id == operation.service))
            .map(|operation| OperationHealth {
                id: operation.id,
                name: operation.name,
                kind: operation.kind,
                now: operation.now,
                before: operation.before,
            })
            .collect();
        operations.sort_by(|a, b| {
            b.now.sum_ns.cmp(&a.now.sum_ns).then_with(|| a.name.cmp(&b.name)).then(a.id.cmp(&b.id))
        });
        let (window, baseline) = (evidence.window, evidence.baseline);
        Ok(HealthReport { services, operations, window, baseline, namesakes })
    }
}

impl Query {
    /// How often operations were called before a peak of traffic that is over and that the baseline knows, in calls per
    /// second: they are called as often again.
    async fn before_peaks(
        &self,
        tenant: TenantNumber,
        evidence: &Evidence,
    ) -> Result<BTreeMap<OperationId, f64>, Error> {
        let mut usual: BTreeMap<OperationId, f64> = BTreeMap::new();
        let Some(baseline) = evidence.baseline else { return Ok(usual) };
        let reach = Window::new(baseline.from, evidence.window.to);
        for anomaly in self.known_episodes(tenant, reach).await?.into_iter().map(|known| known.anomaly) {
            let is_peak = anomaly.kind == AnomalyKind::Traffic && anomaly.peak > anomaly.before;
            let is_past = anomaly.end.is_some() && anomaly.onset < evidence.window.from;
            if let Subject::Operation(operation) = anomaly.subject
                && is_peak
                && is_past
            {
                let known = usual.entry(operation).or_insert(anomaly.before);
                *known = known.min(anomaly.before);
            }
        }
        Ok(usual)
    }

    /// The health of the services that are wanted, by what `evidence` tells of them.
    fn healths(
        &self,
        evidence: &Evidence,
        usual_per_s: &BTreeMap<OperationId, f64>,
        is_wanted: impl Fn(ServiceId) -> bool,
    ) -> Vec<ServiceHealth> {
        let healths = health::health(evidence, usual_per_s);
        let healths = healths.into_iter().filter(|health| is_wanted(health.service));
        let healths = healths.filter_map(|health| {
            let info = self.names().service_info(health.service)?;
            let (now, before) = requests(evidence, &info);
            Some(ServiceHealth { info, health, now, before })
        });
        healths.collect()
    }
}

/// Who sent requests of the window or its baseline.
fn heard(evidence: &Evidence) -> Senders {
    let heard = evidence.instances.iter().filter(|it| it.now.count > 0 || it.before.count > 0);
    heard.map(|it| (it.service, it.resource)).collect()
}

fn requests(evidence: &Evidence, info: &ServiceInfo) -> (Cell, Cell) {
    let (mut now, mut before) = (Cell::default(), Cell::default());
    if info.kind == NodeKind::Service {
        for instance in evidence.instances.iter().filter(|instance| instance.service == info.id) {
            now.merge(&instance.now);
            before.merge(&instance.before);
        }
    } else {
        for operation in evidence.operations.iter().filter(|operation| operation.service == info.id) {
            now.merge(&operation.now);
            before.merge(&operation.before);
        }
    }
    (now, before)
}
