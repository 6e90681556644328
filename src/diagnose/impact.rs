//! Who suffers: from a failing service towards its callers.
//!
//! The share of an operation's requests that pass through the failing service is the sum over its calls of
//! calls per request times the callee's own share, at most 1. Shares are raised from nothing round by round
//! until they stand, so cycles are harmless. Calls per request are those of window and baseline together, and where chance
//! does not explain how these differ, the larger: a dead service gets no calls now, and its callers suffer all the same. Who
//! reads from a queue is not waited for.
//!
//! Of operations of which enough requests were read whole, those tell the share instead. That none of them passes through does
//! not mean that none ever does: roll-ups tell the share then, up to three in as many requests as were read (more would have
//! shown in 95 of 100 cases). Where they tell more than that, and calls under one name may be those of others, nothing does.
//!
//! What may be supposed: that a node fails, or one operation of it; that only the calls of one caller to it do; or that
//! these calls take longer instead. What a request then takes longer is the number of such calls below it times what each
//! takes longer: the sum over its calls of calls per request times the callee's own number, with no bound of 1.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::model::id::{OperationId, ServiceId};
use crate::model::node::NodeKind;

use super::evidence::Evidence;
use super::stats::rate_surprise;
use super::verdict::{Affected, Impact, Reading};
use super::view::{Edge, View, Way};

/// Rounds after which shares are good enough; each adds one call to the longest way.
const ROUNDS_MAX: usize = 64;
/// Operations with a smaller share are not affected.
const SHARE_MIN: f64 = 0.001;
/// Requests of an operation that must have been read whole to tell its share.
const REQUESTS_MIN: u64 = 20;
/// How many in all that were read are at most so, where none of them was: the rule of three.
const UNSEEN_MAX: f64 = 3.0;
/// Standard deviations by which calls per request must differ for the larger to count, and the requests that it rests on.
const DIFFERENT_MIN: (f64, u64) = (5.0, 10);

/// Calls below one request at most, should calls go in a circle.
const CALLS_MAX: f64 = 10_000.0;

/// What is supposed to go wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Supposed {
    /// Which node.
    pub failing: ServiceId,
    /// Only this operation of it.
    pub operation: Option<OperationId>,
    /// Only the calls of this one.
    pub caller: Option<ServiceId>,
    /// What each call takes longer, in nanoseconds; none where it fails.
    pub added_ns: Option<u64>,
}

impl Supposed {
    /// That a node fails as a whole.
    pub const fn down(failing: ServiceId) -> Self {
        Self { failing, operation: None, caller: None, added_ns: None }
    }

    /// Whether an operation itself is what goes wrong.
    fn is_source(&self, view: &View<'_>, at: usize) -> bool {
        self.caller.is_none() && self.is_meant(view, at)
    }

    /// Whether the calls of an edge go wrong on the way.
    fn is_cut(&self, view: &View<'_>, edge: &Edge<'_>) -> bool {
        edge.way != Way::Within
            && self.caller.is_some_and(|caller| view.operations[edge.from].service == caller)
            && self.is_meant(view, edge.to)
    }

    fn is_meant(&self, view: &View<'_>, at: usize) -> bool {
        let it = &view.operations[at];
        it.service == self.failing && self.operation.is_none_or(|operation| it.id == operation)
    }
}

/// Requests of an operation that were read whole.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Passing {
    /// How many.
    pub requests: u64,
    /// How many of them pass through the failing node.
    pub through: u64,
    /// How many calls to it they make altogether.
    pub calls: u64,
}

impl Passing {
    /// The share that passes through, and calls for each request.
    fn per_request(&self) -> (f64, f64) {
        let requests = self.requests.max(1) as f64;
        (self.through as f64 / requests, self.calls as f64 / requests)
    }
}

/// Operations affected by what is supposed: entry points first, then by falling share.
///
/// The failing service's own operations are listed only where users call them directly. Services that only a
/// service graph's metrics know are listed without an operation. `seen` are requests that were read whole, by operation.
pub fn impact(evidence: &Evidence, what: Supposed, seen: &BTreeMap<OperationId, Passing>) -> Impact {
    let view = View::new(evidence);
    let mut coverage = Vec::new();
    let failing = what.failing;
    if !view.nodes.contains_key(&failing) {
        coverage.push("The failing service was not seen in the window or its baseline.".to_owned());
    }
    let shares = below(&view, what, 1.0);
    let calls = what.added_ns.map(|_| below(&view, what, CALLS_MAX));
    let least = least_shares(&view, what);
    let distances = distances(&view, what);
    let mut affected = Vec::new();
    for (at, it) in view.operations.iter().enumerate() {
        let entry = view.is_entry(at);
        let seen = seen.get(&it.id).filter(|seen| seen.requests >= REQUESTS_MIN);
        let counted = (shares[at], calls.as_ref().map_or(0.0, |calls| calls[at]));
        let (share, called) = match seen {
            None => counted,
            Some(seen) if seen.through > 0 => seen.per_request(),
            Some(seen) => unseen(counted, seen.requests, least[at]),
        };
        if share < SHARE_MIN || it.service == failing && !entry || !speaks_for_service(&view, at) {
            continue;
        }
        affected.push(Affected {
            service: it.service,
            operation: Some(it.id),
            share: share.min(1.0),
            observed_errors: it.now.error_ratio(),
            observed_ns: it.now.mean_ns(),
            added_ns: called * what.added_ns.unwrap_or(0) as f64,
            distance: distances.get(&at).copied().unwrap_or(0),
            entry,
        });
    }
    let known: BTreeSet<ServiceId> = affected.iter().map(|it| it.service).chain([failing]).collect();
    if what.operation.is_none() {
        affected.extend(by_calls(&view, what).into_iter().filter(|it| !known.contains(&it.service)));
    }
    affected.sort_by(|a, b| {
        b.entry
            .cmp(&a.entry)
            .then(b.share.total_cmp(&a.share))
            .then(a.distance.cmp(&b.distance))
            .then_with(|| view.node_name(a.service).cmp(view.node_name(b.service)))
            .then(a.operation.cmp(&b.operation))
    });
    let reads = reads(&view, what);
    if affected.is_empty() && coverage.is_empty() {
        coverage.push(match what.caller {
            Some(caller) => {
                let (from, to) = (view.node_name(caller), view.node_name(failing));
                format!("No calls of {from} to {to} are known in the window or its baseline.")
            }
            None if !reads.is_empty() => {
                let queues: Vec<&str> = reads.iter().map(|it| view.node_name(it.queue)).collect();
                format!("It takes messages from {}: nobody waits for it.", queues.join(", "))
            }
            None => "No calls to it are known in the window or its baseline.".to_owned(),
        });
    }
    if what.added_ns.is_some() && !affected.is_empty() {
        coverage.push(
            "Calls that a request makes side by side are added up all the same, and nobody is taken to give up waiting."
                .to_owned(),
        );
    }
    Impact { affected, reads, coverage }
}

/// The queues that what is supposed to go wrong takes messages from, the most read first.
fn reads(view: &View<'_>, what: Supposed) -> Vec<Reading> {
    let mut found: BTreeMap<ServiceId, Reading> = BTreeMap::new();
    for edge in view.edges.iter().filter(|edge| what.is_meant(view, edge.to)) {
        let from = &view.operations[edge.from];
        if from.node_kind != NodeKind::Queue || from.service == what.failing {
            continue;
        }
        let own = found.entry(from.service).or_insert(Reading { queue: from.service, now: 0, before: 0 });
        // One answer may hold many messages, or none.
        if !view.is_asking(edge) {
            own.now += edge.now.count;
            own.before += edge.before.count;
        }
    }
    let mut reads: Vec<Reading> = found.into_values().collect();
    reads.sort_by_key(|it| (std::cmp::Reverse(it.now + it.before), it.queue));
    reads
}

/// The share and the calls that roll-ups tell of an operation of which so many requests were read and none passed through. Its
/// calls surely pass through with the share `least`.
fn unseen((share, called): (f64, f64), requests: u64, least: f64) -> (f64, f64) {
    let most = UNSEEN_MAX / requests.max(1) as f64;
    if share <= most {
        (share, called)
    } else if least >= SHARE_MIN {
        (most, called * most / share)
    } else {
        (0.0, 0.0)
    }
}

/// The share of each operation's requests that passes through for sure: where others make calls under the same name too, what
/// goes wrong below may be on their behalf.
fn least_shares(view: &View<'_>, what: Supposed) -> Vec<f64> {
    let own = |at: usize| if what.is_source(view, at) { 1.0 } else { 0.0 };
    let mut shares: Vec<f64> = (0..view.operations.len()).map(own).collect();
    let requests = |at: usize| view.operations[at].now.count + view.operations[at].before.count;
    for _ in 0..ROUNDS_MAX {
        let mut moved = 0.0_f64;
        for at in (0..shares.len()).filter(|at| !what.is_source(view, *at) && requests(*at) > 0) {
            let calls = view.operations[at].callees.iter().map(|edge| &view.edges[*edge]);
            let waited =
                calls.filter(|edge| edge.to != at && !matches!(edge.way, Way::Deferred | Way::Answered));
            let sure = |edge: &Edge<'_>| {
                let made = (edge.now.count + edge.before.count) as f64;
                let each = if what.is_cut(view, edge) { 1.0 } else { shares[edge.to] };
                let elsewhere =
                    (1.0 - each) * requests(edge.to).max(edge.now.count + edge.before.count) as f64;
                (made - elsewhere).max(0.0) / requests(at) as f64
            };
            let raised = waited.map(sure).fold(0.0, f64::max).min(1.0);
            moved = moved.max(raised - shares[at]);
            shares[at] = shares[at].max(raised);
        }
        if moved < 1e-6 {
            break;
        }
    }
    shares
}

/// Operations that others or users call, of services; a service's inner and outgoing spans repeat their share.
fn speaks_for_service(view: &View<'_>, at: usize) -> bool {
    let operation = &view.operations[at];
    let takes_work = operation.kind.is_inbound() || view.is_entry(at) || view.asked_queue(at).is_some();
    operation.node_kind == NodeKind::Service && takes_work
}

/// How many calls below each operation's request go wrong, at most `most`: with 1, the share of its requests.
fn below(view: &View<'_>, what: Supposed, most: f64) -> Vec<f64> {
    let count = view.operations.len();
    let own = |at: usize| if what.is_source(view, at) { 1.0 } else { 0.0 };
    let mut numbers: Vec<f64> = (0..count).map(own).collect();
    for _ in 0..ROUNDS_MAX {
        let mut moved = 0.0_f64;
        let mut next = numbers.clone();
        for (at, number) in next.iter_mut().enumerate() {
            if what.is_source(view, at) {
                continue;
            }
            let calls = view.operations[at].callees.iter().map(|edge| &view.edges[*edge]);
            let sum: f64 = calls
                .filter(|edge| edge.to != at && edge.way != Way::Deferred)
                .map(|edge| {
                    let each = if what.is_cut(view, edge) { 1.0 } else { numbers[edge.to] };
                    calls_per_request(view, edge).min(most) * each
                })
                .sum();
            // Nobody waits for a queue: a slow one starves no one.
            let starved = if what.added_ns.is_none() { starved(view, what, at, &numbers) } else { 0.0 };
            let raised = sum.min(most).max(starved);
            moved = moved.max((raised - *number).abs());
            *number = raised;
        }
        numbers = next;
        if moved < 1e-6 {
            break;
        }
    }
    numbers
}

/// Consumers starve with the queue they read from.
fn starved(view: &View<'_>, what: Supposed, at: usize, shares: &[f64]) -> f64 {
    let callers = view.operations[at].callers.iter().map(|edge| &view.edges[*edge]);
    callers
        .filter(|edge| view.operations[edge.from].node_kind == NodeKind::Queue)
        .map(|edge| shares[edge.from].max(missing(view, what, edge.from)))
        .fold(0.0, f64::max)
}

/// The share of what comes into a queue that its supposed caller no longer puts there.
fn missing(view: &View<'_>, what: Supposed, queue: usize) -> f64 {
    if what.caller.is_none() {
        return 0.0;
    }
    let into = view.operations[queue].callers.iter().map(|edge| &view.edges[*edge]);
    let (cut, all) = into.fold((0, 0), |(cut, all), edge| {
        let calls = edge.now.count + edge.before.count;
        (cut + if what.is_cut(view, edge) { calls } else { 0 }, all + calls)
    });
    if all == 0 { 0.0 } else { cut as f64 / all as f64 }
}

fn calls_per_request(view: &View<'_>, edge: &Edge<'_>) -> f64 {
    let caller = &view.operations[edge.from];
    let ratio = |calls: u64, requests: u64| if requests == 0 { 0.0 } else { calls as f64 / requests as f64 };
    if edge.way == Way::Answered {
        return 0.0;
    }
    // A queue takes no requests of its own: what leaves it is measured by what leaves it altogether.
    let (now, before) = if caller.now.count + caller.before.count == 0 {
        let out = caller.callees.iter().map(|edge| &view.edges[*edge]);
        out.fold((0, 0), |(now, before), edge| (now + edge.now.count, before + edge.before.count))
    } else {
        (caller.now.count, caller.before.count)
    };
    let (made, made_before) = (edge.now.count, edge.before.count);
    let (ratio_now, ratio_before) = (ratio(made, now), ratio(made_before, before));
    let surprise = rate_surprise(made as f64, now as f64, made_before as f64, before as f64);
    let larger_rests_on = if ratio_now > ratio_before { now } else { before };
    if surprise.abs() > DIFFERENT_MIN.0 && larger_rests_on >= DIFFERENT_MIN.1 {
        ratio_now.max(ratio_before)
    } else {
        ratio(made + made_before, now + before)
    }
}

/// Calls between services on the shortest way from each operation to the failing service.
fn distances(view: &View<'_>, what: Supposed) -> BTreeMap<usize, u32> {
    let sources: Vec<usize> = (0..view.operations.len()).filter(|at| what.is_meant(view, *at)).collect();
    let mut distances: BTreeMap<usize, u32> = sources.iter().map(|at| (*at, 0)).collect();
    let mut pending: VecDeque<usize> = sources.into();
    while let Some(at) = pending.pop_front() {
        let distance = distances[&at];
        let mut reach = |other: usize, distances: &mut BTreeMap<usize, u32>| {
            let step = u32::from(view.operations[other].service != view.operations[at].service);
            if distances.get(&other).is_none_or(|known| *known > distance + step) {
                distances.insert(other, distance + step);
                if step == 0 { pending.push_front(other) } else { pending.push_back(other) }
            }
        };
        for edge in view.operations[at].callers.iter().map(|edge| &view.edges[*edge]) {
            if distance > 0 || what.caller.is_none() || what.is_cut(view, edge) {
                reach(edge.from, &mut distances);
            }
        }
        if view.operations[at].node_kind == NodeKind::Queue {
            for edge in view.operations[at].callees.iter().map(|edge| &view.edges[*edge]) {
                reach(edge.to, &mut distances);
            }
        }
    }
    distances
}

/// Callers known only from a service graph's metrics, with shares by the same rule.
fn by_calls(view: &View<'_>, what: Supposed) -> Vec<Affected> {
    let failing = what.failing;
    let mut calls: Vec<_> = view.evidence.calls.iter().filter(|call| call.from != call.to).collect();
    calls.sort_by_key(|call| (call.from, call.to));
    let mut into: BTreeMap<ServiceId, f64> = BTreeMap::new();
    let mut out: BTreeMap<ServiceId, f64> = BTreeMap::new();
    for call in &calls {
        *into.entry(call.to).or_default() += call.now + call.before;
        *out.entry(call.from).or_default() += call.now + call.before;
    }
    let mut found: BTreeMap<ServiceId, (f64, u32)> = BTreeMap::from([(failing, (1.0, 0))]);
    for round in 1..=ROUNDS_MAX {
        let mut next = found.clone();
        let is_spared = |from: ServiceId, to: ServiceId| {
            to == failing && what.caller.is_some_and(|caller| caller != from)
        };
        let spread = calls.iter().filter(|call| {
            view.nodes.contains_key(&call.from) && call.from != failing && !is_spared(call.from, call.to)
        });
        for call in spread {
            let Some((share, distance)) = found.get(&call.to) else { continue };
            let requests = into.get(&call.from).or_else(|| out.get(&call.from)).copied().unwrap_or(0.0);
            let ratio = if requests > 0.0 { (call.now + call.before) / requests } else { 1.0 };
            let ratio = if what.added_ns.is_some() { ratio } else { ratio.min(1.0) };
            let entry = next.entry(call.from).or_insert((0.0, distance + 1));
            entry.0 = entry.0.max((ratio * share).min(CALLS_MAX));
        }
        let stands = next == found;
        found = next;
        if stands || round == ROUNDS_MAX {
            break;
        }
    }
    found.remove(&failing);
    let entry = |service: &ServiceId| !into.contains_key(service);
    let listed = found.iter().filter(|(_, (share, _))| *share >= SHARE_MIN);
    listed
        .map(|(service, (share, distance))| Affected {
            service: *service,
            operation: None,
            share: share.min(1.0),
            observed_errors: 0.0,
            observed_ns: 0.0,
            added_ns: share * what.added_ns.unwrap_or(0) as f64,
            distance: *distance,
            entry: entry(service),
        })
        .collect()
}
