//! What differs between both sides of the moment at which something changed.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::diagnose::difference::{Differences, differences};
use crate::diagnose::evidence::{EdgeEvidence, Evidence, OperationEvidence};
use crate::model::id::{OperationId, ServiceId};
use crate::model::node::NodeKind;
use crate::model::tenant::Scope;
use crate::model::time::{UnixNanos, Window};

use super::error::Error;
use super::handle::Query;
use super::root_cause::{Moment, PLAIN_AFTER};
use super::window::{self, Comparison, Trouble};

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

/// The likeliest of what may be compared, and how it was found. Where telemetry only began, in the window or just before it,
/// that is no moment at which anything changed: unless another stands out, what is known is halved.
pub(super) fn chosen(
    asked: Window,
    (began, trouble): (Option<UnixNanos>, Trouble),
    likely: Vec<Comparison>,
) -> (Comparison, Moment) {
    let is_plain = |it: &Comparison| trouble.is_plain && *it == trouble.comparison;
    let is_beginning =
        |it: &Comparison| began.is_some_and(|began| it.now.from < began.plus(PLAIN_AFTER)) && !is_plain(it);
    let first = likely.first().copied().unwrap_or(trouble.comparison);
    let known = Window::new(began.unwrap_or(asked.from).max(asked.from).min(asked.to), asked.to);
    let found = likely.into_iter().find(|it| !is_beginning(it));
    if found.is_none() && is_beginning(&first) && known.length() >= 2 * SIDE_MIN {
        let middle = window::minute(known.from.plus(known.length() / 2)).max(known.from);
        return (around(asked, middle), Moment::Middle);
    }
    let first = found.unwrap_or(first);
    let moment = match first {
        _ if first == window::plain(asked) => Moment::Window,
        _ if first == trouble.comparison => Moment::Symptom,
        _ => Moment::Instant,
    };
    (first, moment)
}

/// Leaves what concerns `service` and what it calls, over however many calls, with what its own callers see of it. All
/// changes stay: who announces them, such as a server of flags, is seldom whom they concern.
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
    let seen_by = clients_of(evidence, service);
    let is_seen = |edge: &EdgeEvidence| seen_by.contains(&edge.from);
    let ways: BTreeSet<OperationId> =
        evidence.edges.iter().filter(|edge| is_seen(edge)).map(|edge| edge.to).collect();
    evidence.edges.retain(|edge| is_seen(edge) || owner(edge.to).is_some_and(|owner| below.contains(&owner)));
    evidence.operations.retain(|operation| {
        let is_on_the_way = seen_by.contains(&operation.id) || ways.contains(&operation.id);
        is_on_the_way || below.contains(&operation.service)
    });
    evidence.instances.retain(|instance| below.contains(&instance.service));
    evidence.templates.retain(|template| below.contains(&template.service));
    evidence.series.retain(|series| below.contains(&series.service));
}

/// The operations of others that call `service`, and no other service.
fn clients_of(evidence: &Evidence, service: ServiceId) -> BTreeSet<OperationId> {
    let nodes = evidence.nodes.iter().filter(|node| node.kind == NodeKind::Service);
    let services: BTreeSet<ServiceId> = nodes.map(|node| node.id).collect();
    let operations: BTreeMap<OperationId, &OperationEvidence> =
        evidence.operations.iter().map(|operation| (operation.id, operation)).collect();
    let mut called: BTreeMap<OperationId, BTreeSet<ServiceId>> = BTreeMap::new();
    for edge in &evidence.edges {
        let callee = operations.get(&edge.to).map(|to| to.service);
        if let Some(callee) = callee.filter(|callee| services.contains(callee)) {
            called.entry(edge.from).or_default().insert(callee);
        }
    }
    let calls_it = |(from, callees): &(OperationId, BTreeSet<ServiceId>)| {
        let is_client = operations.get(from).is_some_and(|it| it.kind.is_outbound() && it.service != service);
        is_client && callees.len() == 1 && callees.contains(&service)
    };
    called.into_iter().filter(calls_it).map(|(from, _)| from).collect()
}

#[cfg(test)]
mod tests {
    use crate::diagnose::evidence::{ChangeEvidence, Node};
    use crate::model::rollup::Cell;
    use crate::model::span::SpanKind;

    use super::*;

    #[test]
    fn where_telemetry_begins_nothing_changed() {
        let at = UnixNanos::from_seconds;
        let asked = Window::new(at(0), at(3_600));
        let cut = |from| around(asked, at(from));
        let trouble = Trouble { comparison: window::plain(asked), is_plain: false };
        let of = |began: Option<i64>, likely: &[i64]| {
            let likely = likely.iter().map(|from| cut(*from)).collect();
            let (comparison, moment) = chosen(asked, (began.map(at), trouble), likely);
            (comparison.now.from, moment)
        };
        assert_eq!(of(Some(1_200), &[1_260]), (at(2_400), Moment::Middle));
        assert_eq!(of(Some(1_200), &[1_260, 2_000]), (at(2_000), Moment::Instant));
        assert_eq!(of(Some(1_200), &[]), (at(2_400), Moment::Middle), "the window begins before");
        assert_eq!(of(Some(-9_000), &[60]), (at(60), Moment::Instant), "known for long");
        assert_eq!(of(Some(-9_000), &[]), (at(0), Moment::Window));
        assert_eq!(of(None, &[]), (at(0), Moment::Window));
    }

    #[test]
    fn changes_and_what_callers_see_are_kept() {
        let at = UnixNanos::from_seconds;
        let mut evidence = Evidence::empty(Window::new(at(0), at(60)));
        let (shop, fare, host, seat) = (ServiceId(1), ServiceId(2), ServiceId(3), ServiceId(4));
        for (id, name) in [(shop, "shop"), (fare, "fare"), (host, "fare:8080"), (seat, "seat")] {
            let kind = if id == host { NodeKind::External } else { NodeKind::Service };
            evidence.nodes.push(Node { id, name: name.to_owned(), kind });
        }
        let kinds = [SpanKind::SERVER, SpanKind::CLIENT];
        for (id, service, kind) in
            [(1, shop, 0), (2, shop, 1), (3, fare, 0), (4, host, 1), (5, shop, 1), (6, seat, 0)]
        {
            evidence.operations.push(OperationEvidence {
                id: OperationId(id),
                service,
                name: String::new(),
                kind: kinds[kind],
                now: Cell::default(),
                before: Cell::default(),
            });
        }
        for (from, to) in [(1, 2), (2, 3), (2, 4), (1, 5), (5, 6)] {
            let (from, to) = (OperationId(from), OperationId(to));
            evidence.edges.push(EdgeEvidence { from, to, now: Cell::default(), before: Cell::default() });
        }
        evidence.changes.push(ChangeEvidence {
            at: at(1),
            service: Some(ServiceId(9)),
            kind: "feature_flag.change".to_owned(),
            text: "fast".to_owned(),
            revision: String::new(),
            files: String::new(),
        });
        keep_below(&mut evidence, fare);
        let operations: Vec<u32> = evidence.operations.iter().map(|operation| operation.id.0).collect();
        let edges: Vec<(u32, u32)> = evidence.edges.iter().map(|edge| (edge.from.0, edge.to.0)).collect();
        assert_eq!((operations, edges), (vec![2, 3, 4], vec![(2, 3), (2, 4)]));
        assert_eq!(evidence.changes.len(), 1);
    }
}
