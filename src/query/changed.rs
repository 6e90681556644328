//! What differs between both sides of the moment at which something changed.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::diagnose::difference::{Differences, differences};
use crate::diagnose::evidence::Evidence;
use crate::model::id::{OperationId, ServiceId};
use crate::model::tenant::Scope;
use crate::model::time::{UnixNanos, Window};

use super::error::Error;
use super::handle::Query;
use super::root_cause::Moment;
use super::window::{self, Comparison};

/// Least time on either side of a moment that is given.
const SIDE_MIN: Duration = Duration::from_secs(60);

/// What changed, and when.
#[derive(Debug, Clone)]
pub struct Changed {
    /// What differs.
    pub differences: Differences,
    /// The two sides, as far as they are known.
    pub comparison: Comparison,
    /// Whether anything is known of the side before.
    pub has_baseline: bool,
    /// How the moment between them was found.
    pub moment: Moment,
}

impl Query {
    /// What differs between both sides of `at`, or of the moment in the window at which the symptom began or most changed:
    /// of `service` and of what it calls, or of everything.
    ///
    /// # Errors
    /// When the name is unknown or the store does not answer.
    pub async fn what_changed(
        &self,
        scope: &Scope,
        asked: Window,
        (service, at): (Option<&str>, Option<UnixNanos>),
    ) -> Result<Changed, Error> {
        let service = service.map(|name| self.service(scope, name)).transpose()?.map(|info| info.id);
        let given = at.map(|at| around(asked, at));
        let Some(tenant) = self.tenant(scope) else {
            let comparison = given.unwrap_or_else(|| window::plain(asked));
            let (differences, moment) = (Differences::default(), Moment::Window);
            return Ok(Changed { differences, comparison, has_baseline: false, moment });
        };
        let (mut evidence, moment) = Box::pin(self.divided(tenant, asked, (service, given))).await?;
        let comparison = Comparison {
            now: evidence.window,
            before: evidence.baseline.unwrap_or(Window::new(evidence.window.from, evidence.window.from)),
        };
        let has_baseline = evidence.baseline.is_some();
        let work = tokio::task::spawn_blocking(move || {
            if let Some(service) = service {
                keep_below(&mut evidence, service);
            }
            differences(&evidence)
        });
        let differences = work.await.map_err(|_| Error::Abandoned)?;
        Ok(Changed { differences, comparison, has_baseline, moment })
    }
}

/// Both sides of a moment, as long as the window has time behind it, and at least as long before.
fn around(asked: Window, at: UnixNanos) -> Comparison {
    let at = at.min(asked.to.minus(SIDE_MIN));
    let now = Window::new(at, asked.to);
    let length = window::plain(now).before.length().max(at.since(asked.from.min(at)));
    Comparison { now, before: Window::new(at.minus(length), at) }
}

/// Leaves what concerns `service` and what it calls, over however many calls.
fn keep_below(evidence: &mut Evidence, service: ServiceId) {
    let owners: BTreeMap<OperationId, ServiceId> =
        evidence.operations.iter().map(|operation| (operation.id, operation.service)).collect();
    let owner = |id| owners.get(&id).copied();
    let by_spans = evidence.edges.iter().filter_map(|edge| owner(edge.from).zip(owner(edge.to)));
    let calls: BTreeSet<(ServiceId, ServiceId)> =
        by_spans.chain(evidence.calls.iter().map(|call| (call.from, call.to))).collect();
    let (mut below, mut waiting) = (BTreeSet::from([service]), vec![service]);
    while let Some(caller) = waiting.pop() {
        let callees = calls.iter().filter(|(from, _)| *from == caller).map(|(_, to)| *to);
        waiting.extend(callees.filter(|callee| below.insert(*callee)).collect::<Vec<_>>());
    }
    evidence.edges.retain(|edge| owner(edge.to).is_some_and(|owner| below.contains(&owner)));
    evidence.operations.retain(|operation| below.contains(&operation.service));
    evidence.instances.retain(|instance| below.contains(&instance.service));
    evidence.templates.retain(|template| below.contains(&template.service));
    evidence.series.retain(|series| below.contains(&series.service));
    evidence.changes.retain(|change| change.service.is_none_or(|service| below.contains(&service)));
}
