//! Who calls whom in some window, at the grain of nodes and of operations.

use std::collections::{BTreeMap, HashMap};

use petgraph::Direction;
use petgraph::graph::{DiGraph, NodeIndex};
use petgraph::visit::EdgeRef;

use crate::model::id::{OperationId, ServiceId};
use crate::model::rollup::{Cell, Subject};

/// An immutable picture of the calls in one window. All lists come in a fixed order: the same calls give the
/// same answers.
///
/// A call to an external host that an instrumented service turned out to answer is told by that service's own
/// edge. So an edge most of whose calls were answered (`2 * answered >= count`) is hidden, and of any other edge
/// the answered calls are taken off: `count` and, in proportion, `sum_ns` and `other_ns`; `errors` is at most
/// what remains of `count`, while the longest duration and the sketch stay those of all calls.
#[derive(Debug, Default)]
pub struct Topology {
    services: Layer<ServiceId>,
    operations: Layer<OperationId>,
    members: BTreeMap<ServiceId, Vec<OperationId>>,
    undeclared: usize,
}

/// A graph and where its nodes are.
#[derive(Debug)]
struct Layer<Id> {
    graph: DiGraph<Id, Cell>,
    places: HashMap<Id, NodeIndex>,
}

impl Topology {
    /// Builds the picture from the edges among `cells`, which may come in any order and in several parts, for
    /// example one for each bucket; other subjects are passed over. Edges whose operations have no owner are
    /// left out and counted in [`Topology::undeclared`].
    pub fn new(
        cells: impl IntoIterator<Item = (Subject, Cell)>,
        owners: &HashMap<OperationId, ServiceId>,
    ) -> Self {
        let mut calls: BTreeMap<(OperationId, OperationId), Cell> = BTreeMap::new();
        for (subject, cell) in cells {
            if let Subject::Edge(from, to) = subject {
                calls.entry((from, to)).or_default().merge(&cell);
            }
        }
        let mut topology = Self::default();
        let mut between: BTreeMap<(ServiceId, ServiceId), Cell> = BTreeMap::new();
        let mut members: BTreeMap<OperationId, ServiceId> = BTreeMap::new();
        for ((from, to), cell) in &calls {
            let (Some(caller), Some(callee)) = (owners.get(from), owners.get(to)) else {
                topology.undeclared += 1;
                continue;
            };
            if caller != callee {
                between.entry((*caller, *callee)).or_default().merge(cell);
            }
            if let Some(cell) = unanswered(cell) {
                members.extend([(*from, *caller), (*to, *callee)]);
                topology.operations.connect(*from, *to, cell);
            }
        }
        for ((caller, callee), cell) in &between {
            if let Some(cell) = unanswered(cell) {
                topology.services.connect(*caller, *callee, cell);
            }
        }
        for (operation, service) in members {
            topology.members.entry(service).or_default().push(operation);
        }
        topology
    }

    /// The nodes that call or are called, those that only call themselves included, in order.
    pub fn services(&self) -> Vec<ServiceId> {
        let mut services: Vec<_> = self.members.keys().chain(self.services.places.keys()).copied().collect();
        services.sort_unstable();
        services.dedup();
        services
    }

    /// The operations of a node that call or are called, in order.
    pub fn operations(&self, service: ServiceId) -> &[OperationId] {
        self.members.get(&service).map_or(&[], Vec::as_slice)
    }

    /// Calls between different nodes, merged over their operations, in order of caller and callee.
    pub fn service_edges(&self) -> Vec<(ServiceId, ServiceId, Cell)> {
        self.services.edges()
    }

    /// Calls between operations, also within a node, in order of caller and callee.
    pub fn operation_edges(&self) -> Vec<(OperationId, OperationId, Cell)> {
        self.operations.edges()
    }

    /// The calls from one node to another, if there are any.
    pub fn service_edge(&self, caller: ServiceId, callee: ServiceId) -> Option<&Cell> {
        self.services.edge(caller, callee)
    }

    /// Nodes that reach `service` within `depth` calls, with the least number of calls (from 1), nearest first.
    /// The node itself is not among them, even on a cycle.
    pub fn callers(&self, service: ServiceId, depth: usize) -> Vec<(ServiceId, usize)> {
        self.services.reach(service, depth, Direction::Incoming)
    }

    /// Nodes that `service` reaches within `depth` calls, with the least number of calls (from 1), nearest first.
    /// The node itself is not among them, even on a cycle.
    pub fn callees(&self, service: ServiceId, depth: usize) -> Vec<(ServiceId, usize)> {
        self.services.reach(service, depth, Direction::Outgoing)
    }

    /// The operations that call `operation` and their calls, in order.
    pub fn operation_callers(&self, operation: OperationId) -> Vec<(OperationId, &Cell)> {
        self.operations.neighbours(operation, Direction::Incoming)
    }

    /// The operations that `operation` calls and the calls, in order.
    pub fn operation_callees(&self, operation: OperationId) -> Vec<(OperationId, &Cell)> {
        self.operations.neighbours(operation, Direction::Outgoing)
    }

    /// Edges between operations that were left out because nobody declared where an operation belongs.
    pub fn undeclared(&self) -> usize {
        self.undeclared
    }
}

impl<Id> Default for Layer<Id> {
    fn default() -> Self {
        Self { graph: DiGraph::new(), places: HashMap::new() }
    }
}

impl<Id: Copy + Ord + std::hash::Hash> Layer<Id> {
    /// Adds an edge that is not there yet.
    fn connect(&mut self, from: Id, to: Id, cell: Cell) {
        let [from, to] =
            [from, to].map(|id| *self.places.entry(id).or_insert_with(|| self.graph.add_node(id)));
        self.graph.add_edge(from, to, cell);
    }

    fn edge(&self, from: Id, to: Id) -> Option<&Cell> {
        let edge = self.graph.find_edge(*self.places.get(&from)?, *self.places.get(&to)?)?;
        self.graph.edge_weight(edge)
    }

    fn edges(&self) -> Vec<(Id, Id, Cell)> {
        let ends = |edge: petgraph::graph::EdgeReference<'_, Cell>| {
            (self.graph[edge.source()], self.graph[edge.target()], edge.weight().clone())
        };
        let mut edges: Vec<_> = self.graph.edge_references().map(ends).collect();
        edges.sort_unstable_by_key(|(from, to, _)| (*from, *to));
        edges
    }

    fn neighbours(&self, id: Id, direction: Direction) -> Vec<(Id, &Cell)> {
        let Some(place) = self.places.get(&id) else { return Vec::new() };
        let far_end = |edge: petgraph::graph::EdgeReference<'_, Cell>| match direction {
            Direction::Incoming => edge.source(),
            Direction::Outgoing => edge.target(),
        };
        let edges = self.graph.edges_directed(*place, direction);
        let mut found: Vec<_> = edges.map(|edge| (self.graph[far_end(edge)], edge.weight())).collect();
        found.sort_unstable_by_key(|(id, _)| *id);
        found
    }

    /// A walk in breadth; each node is visited once, so cycles end.
    fn reach(&self, id: Id, depth: usize, direction: Direction) -> Vec<(Id, usize)> {
        let Some(start) = self.places.get(&id) else { return Vec::new() };
        let mut seen = vec![false; self.graph.node_count()];
        seen[start.index()] = true;
        let mut frontier = vec![*start];
        let mut found = Vec::new();
        for distance in 1..=depth {
            let mut next = Vec::new();
            for place in frontier.iter().flat_map(|place| self.graph.neighbors_directed(*place, direction)) {
                if !std::mem::replace(&mut seen[place.index()], true) {
                    next.push(place);
                }
            }
            if next.is_empty() {
                break;
            }
            found.extend(next.iter().map(|place| (self.graph[*place], distance)));
            frontier = next;
        }
        found.sort_unstable_by_key(|(id, distance)| (*distance, *id));
        found
    }
}

/// What remains of an edge without the calls that an instrumented service answered; none when it is hidden.
fn unanswered(cell: &Cell) -> Option<Cell> {
    if cell.answered.saturating_mul(2) >= cell.count {
        return None;
    }
    let count = cell.count - cell.answered;
    let share = |sum: u64| {
        let part = u128::from(sum) * u128::from(count) / u128::from(cell.count);
        // A part of a number that fits does fit.
        part as u64
    };
    Some(Cell {
        count,
        errors: cell.errors.min(count),
        sum_ns: share(cell.sum_ns),
        other_ns: share(cell.other_ns),
        ..cell.clone()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edge(from: u32, to: u32, count: u64, answered: u64) -> (Subject, Cell) {
        let cell = Cell { count, answered, sum_ns: 100 * count, ..Cell::default() };
        (Subject::Edge(OperationId(from), OperationId(to)), cell)
    }

    /// Operation 10 belongs to node 1, 11 also, 20 to node 2, and so on.
    fn topology(cells: Vec<(Subject, Cell)>) -> Topology {
        let owners = (0..100).map(|id| (OperationId(id), ServiceId(id / 10))).collect();
        Topology::new(cells, &owners)
    }

    fn ids(list: Vec<(ServiceId, usize)>) -> Vec<(u32, usize)> {
        list.into_iter().map(|(service, distance)| (service.0, distance)).collect()
    }

    #[test]
    fn operations_merge_into_nodes() {
        let cells = vec![
            edge(11, 20, 1, 0),
            edge(10, 20, 2, 0),
            edge(10, 20, 3, 0),
            edge(10, 11, 5, 0),
            edge(20, 500, 1, 0),
        ];
        let picture = topology(cells);
        let edges: Vec<_> =
            picture.service_edges().iter().map(|(a, b, cell)| (a.0, b.0, cell.count)).collect();
        assert_eq!(edges, [(1, 2, 6)]);
        let callers: Vec<_> =
            picture.operation_callers(OperationId(20)).iter().map(|(id, cell)| (id.0, cell.count)).collect();
        assert_eq!(callers, [(10, 5), (11, 1)]);
        let callees: Vec<_> = picture.operation_callees(OperationId(10)).iter().map(|(id, _)| id.0).collect();
        assert_eq!(callees, [11, 20]);
        assert_eq!(picture.undeclared(), 1);
        assert_eq!(picture.operations(ServiceId(1)), [OperationId(10), OperationId(11)]);
        assert_eq!(picture.services(), [ServiceId(1), ServiceId(2)]);
    }

    #[test]
    fn walks_are_bounded_and_survive_cycles() {
        let picture =
            topology(vec![edge(10, 20, 1, 0), edge(20, 30, 1, 0), edge(30, 10, 1, 0), edge(10, 40, 1, 0)]);
        assert_eq!(ids(picture.callees(ServiceId(1), 1)), [(2, 1), (4, 1)]);
        assert_eq!(ids(picture.callees(ServiceId(1), usize::MAX)), [(2, 1), (4, 1), (3, 2)]);
        assert_eq!(ids(picture.callers(ServiceId(4), 2)), [(1, 1), (3, 2)]);
        assert_eq!(ids(picture.callers(ServiceId(9), 2)), []);
        assert_eq!(ids(picture.callees(ServiceId(1), 0)), []);
    }

    #[test]
    fn answered_calls_are_told_by_their_own_edge() {
        let picture =
            topology(vec![edge(10, 80, 4, 2), edge(10, 90, 4, 1), edge(10, 20, 3, 0), edge(20, 70, 0, 1)]);
        let edges: Vec<_> =
            picture.service_edges().iter().map(|(a, b, cell)| (a.0, b.0, cell.count, cell.sum_ns)).collect();
        assert_eq!(edges, [(1, 2, 3, 300), (1, 9, 3, 300)]);
        assert_eq!(picture.services().len(), 3, "a hidden host is no node");
        assert!(picture.service_edge(ServiceId(1), ServiceId(8)).is_none());
    }
}
