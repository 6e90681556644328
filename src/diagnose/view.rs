//! Evidence put in order: sorted, indexed, with the kinds of calls told apart. What refers to unknown ids is left out.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use crate::model::id::{OperationId, ServiceId};
use crate::model::node::NodeKind;
use crate::model::rollup::Cell;
use crate::model::span::SpanKind;

use super::awaited::{Wait, outlasting};
use super::evidence::{Evidence, ExemplarTrace, Node, SeriesEvidence};
use super::meaning::{Meaning, meaning_of_series};
use super::peers;
use super::stats::expected_calls;

/// Calls, and the part of those of the baseline's rate, that there must be for something to go on.
const GOES_ON_MIN: (u64, f64) = (5, 0.1);

/// Ordered evidence. Operations and edges are named by their position.
pub(super) struct View<'a> {
    pub(super) evidence: &'a Evidence,
    pub(super) nodes: BTreeMap<ServiceId, &'a Node>,
    pub(super) operations: Vec<Operation<'a>>,
    pub(super) edges: Vec<Edge<'a>>,
    /// What was measured, and what each says.
    pub(super) series: Vec<(Meaning, &'a SeriesEvidence)>,
    /// By trace id.
    pub(super) traces: Vec<&'a ExemplarTrace>,
    pub(super) window_s: f64,
    /// 0 without a baseline.
    pub(super) baseline_s: f64,
    /// The services that turned out to stand behind hosts, by host.
    pub(super) behind: BTreeMap<ServiceId, ServiceId>,
    positions: BTreeMap<OperationId, usize>,
}

/// An operation and its edges.
pub(super) struct Operation<'a> {
    pub(super) id: OperationId,
    pub(super) service: ServiceId,
    pub(super) name: &'a str,
    pub(super) kind: SpanKind,
    pub(super) node_kind: NodeKind,
    pub(super) now: Cow<'a, Cell>,
    pub(super) before: Cow<'a, Cell>,
    pub(super) callers: Vec<usize>,
    pub(super) callees: Vec<usize>,
}

/// Calls from one operation to another.
pub(super) struct Edge<'a> {
    pub(super) from: usize,
    pub(super) to: usize,
    pub(super) now: &'a Cell,
    pub(super) before: &'a Cell,
    pub(super) way: Way,
    /// Whether the caller waits for it.
    pub(super) wait: Wait,
}

/// What kind of call an edge is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Way {
    /// From one span of a service to another of the same service.
    Within,
    /// To another instrumented service, which answers while the caller waits.
    Remote,
    /// To a database, queue or external host.
    Dependency,
    /// To a host that turned out to be an instrumented service: a remote edge counts the same calls.
    Answered,
    /// Handed over through a queue: nobody waits.
    Deferred,
}

impl<'a> View<'a> {
    /// Puts `evidence` in order.
    pub(super) fn new(evidence: &'a Evidence) -> Self {
        let mut sorted: Vec<&Node> = evidence.nodes.iter().collect();
        sorted.sort_by(|a, b| (a.id, &a.name).cmp(&(b.id, &b.name)));
        let mut nodes = BTreeMap::new();
        sorted.into_iter().for_each(|node| {
            nodes.entry(node.id).or_insert(node);
        });
        let mut operations: BTreeMap<OperationId, Operation<'a>> = BTreeMap::new();
        let mut given: Vec<_> = evidence.operations.iter().collect();
        given.sort_by(|a, b| (a.id, &a.name).cmp(&(b.id, &b.name)));
        for operation in given {
            let Some(node) = nodes.get(&operation.service) else { continue };
            operations.entry(operation.id).or_insert_with(|| Operation {
                id: operation.id,
                service: operation.service,
                name: &operation.name,
                kind: operation.kind,
                node_kind: node.kind,
                now: Cow::Borrowed(&operation.now),
                before: Cow::Borrowed(&operation.before),
                callers: Vec::new(),
                callees: Vec::new(),
            });
        }
        let positions = operations.keys().enumerate().map(|(position, id)| (*id, position)).collect();
        let mut traces: Vec<_> = evidence.traces.iter().collect();
        traces.sort_by_key(|trace| trace.trace_id);
        let mut view = Self {
            evidence,
            nodes,
            operations: operations.into_values().collect(),
            edges: Vec::new(),
            series: evidence
                .series
                .iter()
                .map(|series| (meaning_of_series(&series.metric, &series.attributes), series))
                .collect(),
            traces,
            window_s: evidence.window.length().as_secs_f64(),
            baseline_s: evidence.baseline.map_or(0.0, |baseline| baseline.length().as_secs_f64()),
            behind: BTreeMap::new(),
            positions,
        };
        view.connect();
        view.measure_dependencies();
        let waits = outlasting(&view);
        for edge in &mut view.edges {
            edge.wait = waits.get(&(edge.from, edge.to)).copied().unwrap_or(Wait::ToTheEnd);
        }
        view.behind = peers::behind(&view);
        view
    }

    /// The series that say this.
    pub(super) fn series_of(&self, meaning: Meaning) -> impl Iterator<Item = &'a SeriesEvidence> {
        self.series.iter().filter(move |(own, _)| *own == meaning).map(|(_, series)| *series)
    }

    /// The position of an operation.
    pub(super) fn position(&self, id: OperationId) -> Option<usize> {
        self.positions.get(&id).copied()
    }

    /// The name of a node.
    pub(super) fn node_name(&self, id: ServiceId) -> &'a str {
        self.nodes.get(&id).map_or("unknown", |node| node.name.as_str())
    }

    /// The edge from one position to another.
    pub(super) fn edge(&self, from: usize, to: usize) -> Option<&Edge<'a>> {
        self.operations[from].callees.iter().map(|edge| &self.edges[*edge]).find(|edge| edge.to == to)
    }

    /// True when there is something to compare with.
    pub(super) fn has_baseline(&self) -> bool {
        self.baseline_s > 0.0
            && (self.operations.iter().any(|operation| operation.before.count > 0)
                || self.evidence.series.iter().any(|series| series.before.count > 0)
                || self.evidence.templates.iter().any(|template| template.before > 0))
    }

    /// True when nothing known calls the operation: it begins with users, timers or queues.
    pub(super) fn is_entry(&self, position: usize) -> bool {
        let operation = &self.operations[position];
        operation.node_kind == NodeKind::Service
            && operation.callers.iter().all(|edge| self.edges[*edge].from == position)
    }

    /// Whether an edge leads to an operation that asks a queue for messages, and waits until there are any. How often it
    /// asks says nothing: one answer may hold many messages, or none.
    pub(super) fn is_asking(&self, edge: &Edge<'_>) -> bool {
        self.operations[edge.from].node_kind == NodeKind::Queue && self.operations[edge.to].kind.is_outbound()
    }

    /// The queue that an operation asks for messages: the one where most of that fails.
    pub(super) fn asked_queue(&self, position: usize) -> Option<usize> {
        let callers = self.operations[position].callers.iter().map(|edge| &self.edges[*edge]);
        let asking = callers.filter(|edge| self.is_asking(edge));
        asking.max_by_key(|edge| (edge.now.errors, std::cmp::Reverse(edge.from))).map(|edge| edge.from)
    }

    /// Whether messages go on being put into a queue that an operation asks, and its service takes none of them in another
    /// way: that it hardly asks any more leaves them there.
    pub(super) fn leaves_messages(&self, position: usize) -> bool {
        let service = self.operations[position].service;
        let is_fed = |queue: usize| self.goes_on(&self.operations[queue].now, &self.operations[queue].before);
        let takes = |edge: &Edge<'_>| {
            let is_other = edge.to != position && self.operations[edge.to].service == service;
            is_other && self.goes_on(edge.now, edge.before)
        };
        let callers = self.operations[position].callers.iter().map(|edge| &self.edges[*edge]);
        let mut asked = callers.filter(|edge| self.is_asking(edge) && edge.before.count > 0);
        asked.any(|edge| {
            let mut taken = self.operations[edge.from].callees.iter().map(|edge| &self.edges[*edge]);
            is_fed(edge.from) && !taken.any(takes)
        })
    }

    fn goes_on(&self, now: &Cell, before: &Cell) -> bool {
        let expected = expected_calls(before, self.window_s, self.baseline_s);
        now.count >= GOES_ON_MIN.0 && now.count as f64 >= GOES_ON_MIN.1 * expected
    }

    /// Hosts that are services as their callers name them: services answer all calls to them.
    pub(super) fn answered_nodes(&self) -> BTreeSet<ServiceId> {
        let into = self.edges.iter().filter(|edge| self.operations[edge.to].node_kind != NodeKind::Service);
        let (answered, others): (Vec<&Edge<'_>>, Vec<&Edge<'_>>) =
            into.partition(|edge| edge.way == Way::Answered);
        let node = |edge: &&Edge<'_>| self.operations[edge.to].service;
        let others: BTreeSet<ServiceId> = others.iter().map(node).collect();
        answered.iter().map(node).filter(|node| !others.contains(node)).collect()
    }

    /// The nodes that each node calls, by operations and by service graph metrics; itself left out.
    pub(super) fn callees_by_service(&self) -> BTreeMap<ServiceId, BTreeSet<ServiceId>> {
        let mut callees: BTreeMap<ServiceId, BTreeSet<ServiceId>> = BTreeMap::new();
        let mut add = |from: ServiceId, to: ServiceId| {
            if from != to {
                callees.entry(from).or_default().insert(to);
            }
        };
        for edge in self.edges.iter().filter(|edge| edge.way != Way::Answered) {
            add(self.operations[edge.from].service, self.operations[edge.to].service);
        }
        for call in &self.evidence.calls {
            if self.nodes.contains_key(&call.from) && self.nodes.contains_key(&call.to) {
                add(call.from, call.to);
            }
        }
        callees
    }

    fn connect(&mut self) {
        let mut known = BTreeMap::new();
        for edge in &self.evidence.edges {
            if let (Some(from), Some(to)) = (self.position(edge.from), self.position(edge.to)) {
                known.entry((from, to)).or_insert(edge);
            }
        }
        for ((from, to), edge) in known {
            let position = self.edges.len();
            let way = self.way_between(from, to, &edge.now, &edge.before);
            let wait = Wait::ToTheEnd;
            self.edges.push(Edge { from, to, now: &edge.now, before: &edge.before, way, wait });
            self.operations[from].callees.push(position);
            self.operations[to].callers.push(position);
        }
    }

    fn way_between(&self, from: usize, to: usize, now: &Cell, before: &Cell) -> Way {
        let (from, to) = (&self.operations[from], &self.operations[to]);
        let answered = now.answered + before.answered;
        if from.node_kind != NodeKind::Service {
            Way::Deferred
        } else if to.node_kind != NodeKind::Service {
            if 2 * answered > now.count + before.count || before.count < 2 * before.answered {
                Way::Answered
            } else {
                Way::Dependency
            }
        } else if from.service == to.service {
            Way::Within
        } else if from.kind == SpanKind::PRODUCER || to.kind == SpanKind::CONSUMER {
            Way::Deferred
        } else {
            Way::Remote
        }
    }

    /// Operations of dependencies send no spans: their callers' edges measure them.
    fn measure_dependencies(&mut self) {
        for position in 0..self.operations.len() {
            let operation = &self.operations[position];
            let silent = operation.now.count == 0 && operation.before.count == 0;
            if operation.node_kind == NodeKind::Service || !silent {
                continue;
            }
            let (mut now, mut before) = (Cell::default(), Cell::default());
            for edge in &operation.callers {
                now.merge(self.edges[*edge].now);
                before.merge(self.edges[*edge].before);
            }
            (now.other_ns, before.other_ns) = (0, 0);
            self.operations[position].now = Cow::Owned(now);
            self.operations[position].before = Cow::Owned(before);
        }
    }
}
