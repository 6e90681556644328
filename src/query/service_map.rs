//! Who calls whom, and how well that goes.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use crate::graph::topology::Topology;
use crate::model::id::{OperationId, ServiceId};
use crate::model::node::NodeKind;
use crate::model::rollup::{Cell, Subject};
use crate::model::tenant::Scope;
use crate::model::time::Window;
use crate::store::names::info::ServiceInfo;

use super::error::Error;
use super::handle::Query;
use super::sums::Sums;
use super::window;

/// The graph of a window.
#[derive(Debug, Clone)]
pub struct ServiceMap {
    /// The nodes, by name.
    pub nodes: Vec<MapNode>,
    /// The edges between them, by the names of their ends.
    pub edges: Vec<MapEdge>,
    /// The part of the window that is known.
    pub window: Window,
}

/// One node with its requests.
#[derive(Debug, Clone)]
pub struct MapNode {
    /// What it is.
    pub info: Arc<ServiceInfo>,
    /// Requests it took: entry spans of services, calls to dependencies.
    pub requests: Cell,
}

/// Calls between two nodes.
#[derive(Debug, Clone)]
pub struct MapEdge {
    /// The caller.
    pub from: ServiceId,
    /// The callee.
    pub to: ServiceId,
    /// The calls. `sum_ns` is the callee's time, `other_ns` the caller's.
    pub calls: Cell,
}

impl Query {
    /// The map of `window`: all of it, or what lies within `depth` calls around one service, either way.
    ///
    /// # Errors
    /// When the name is unknown or the store does not answer.
    pub async fn service_map(
        &self,
        scope: &Scope,
        window: Window,
        around: Option<(&str, usize)>,
    ) -> Result<ServiceMap, Error> {
        let center =
            around.map(|(name, depth)| self.service(scope, name).map(|info| (info.id, depth))).transpose()?;
        let nothing = ServiceMap { nodes: Vec::new(), edges: Vec::new(), window };
        let Some(tenant) = self.tenant(scope) else { return Ok(nothing) };
        let Some(window) = self.known(tenant).await?.and_then(|known| window::clipped(window, known)) else {
            return Ok(nothing);
        };
        let window = self.kept(window);
        let sums = self.sums(tenant, window).await?;
        let topology = self.topology(&sums);
        let shown: Option<BTreeSet<ServiceId>> = center.map(|(id, depth)| {
            let near = topology.callers(id, depth).into_iter().chain(topology.callees(id, depth));
            near.map(|(id, _)| id).chain([id]).collect()
        });
        let is_shown = |id: &ServiceId| shown.as_ref().is_none_or(|shown| shown.contains(id));
        let mut edges: Vec<MapEdge> = topology
            .service_edges()
            .into_iter()
            .filter(|(from, to, _)| is_shown(from) && is_shown(to))
            .map(|(from, to, calls)| MapEdge { from, to, calls })
            .collect();
        let mut requests = self.requests_by_node(&sums);
        let linked: BTreeSet<ServiceId> = edges.iter().flat_map(|edge| [edge.from, edge.to]).collect();
        let mut nodes: Vec<MapNode> = requests
            .keys()
            .copied()
            .chain(linked.iter().copied())
            .collect::<BTreeSet<_>>()
            .into_iter()
            .filter(is_shown)
            .filter_map(|id| self.names().service_info(id))
            // A host whose calls were answered by an instrumented service has no edge left: it is that service.
            .filter(|info| info.kind != NodeKind::External || linked.contains(&info.id))
            .map(|info| MapNode { requests: requests.remove(&info.id).unwrap_or_default(), info })
            .collect();
        nodes.sort_by(|a, b| (a.info.kind, &a.info.name).cmp(&(b.info.kind, &b.info.name)));
        edges.sort_by_cached_key(|edge| (self.service_name(edge.from), self.service_name(edge.to), edge.to));
        Ok(ServiceMap { nodes, edges, window })
    }

    /// The graph of what was summed.
    pub(super) fn topology(&self, sums: &Sums) -> Topology {
        let edges = || sums.iter().filter(|(subject, _)| matches!(subject, Subject::Edge(..)));
        let mut owners: HashMap<OperationId, ServiceId> = HashMap::new();
        for (subject, _) in edges() {
            let Subject::Edge(from, to) = subject else { continue };
            for operation in [from, to] {
                if let Some(info) = self.names().operation_info(*operation) {
                    owners.insert(*operation, info.service);
                }
            }
        }
        Topology::new(edges().map(|(subject, cell)| (*subject, cell.clone())), &owners)
    }

    /// Requests by node: the instances' entry spans of services, the operations of everything else.
    pub(super) fn requests_by_node(&self, sums: &Sums) -> BTreeMap<ServiceId, Cell> {
        let mut requests: BTreeMap<ServiceId, Cell> = BTreeMap::new();
        for (subject, cell) in sums {
            let node = match subject {
                Subject::Instance(service, _) => Some(*service),
                Subject::Operation(operation) => {
                    self.names().operation_info(*operation).map(|info| info.service).filter(|id| {
                        self.names().service_info(*id).is_some_and(|info| info.kind != NodeKind::Service)
                    })
                }
                _ => None,
            };
            if let Some(node) = node {
                requests.entry(node).or_default().merge(cell);
            }
        }
        requests
    }
}
