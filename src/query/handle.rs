//! What every question has at hand.

use std::sync::Arc;
use std::time::Duration;

use crate::clock::Clock;
use crate::graph::Graph;
use crate::model::id::{OperationId, ResourceId, ServiceId, TenantNumber};
use crate::model::node::NodeKind;
use crate::model::tenant::Scope;
use crate::search::Index;
use crate::store::Store;
use crate::store::names::Names;
use crate::store::names::info::ServiceInfo;

use super::cache::Cache;
use super::changes::Changes;
use super::error::Error;

/// What can be chosen about questions.
#[derive(Debug, Clone)]
pub struct Options {
    /// How long an answer is remembered; zero remembers none.
    pub cache_ttl: Duration,
    /// Not every trace that is counted is stored.
    pub samples: bool,
}

/// Answers questions; cheap to clone.
#[derive(Debug, Clone)]
pub struct Query {
    pub(super) store: Store,
    pub(super) graph: Graph,
    pub(super) index: Option<Arc<Index>>,
    pub(super) clock: Clock,
    pub(super) cache: Cache,
    pub(super) changes: Changes,
    samples: bool,
}

impl Query {
    /// Why a trace may not be stored that was counted; empty where all are.
    pub const fn sampled(&self) -> &'static str {
        if self.samples { " (not all are: SAMPLING_RATE is below 1)" } else { "" }
    }

    /// Answers from these parts.
    pub fn new(
        options: &Options,
        store: Store,
        graph: Graph,
        index: Option<Arc<Index>>,
        clock: Clock,
    ) -> Self {
        let (cache, changes) = (Cache::new(options.cache_ttl), Changes::default());
        Self { store, graph, index, clock, cache, changes, samples: options.samples }
    }

    /// The clock that "now" in a question means.
    pub const fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Names of the tenant's instrumented services, sorted.
    pub fn service_names(&self, scope: &Scope) -> Vec<String> {
        let Some(tenant) = self.tenant(scope) else { return Vec::new() };
        let services = self.names().services_of(tenant);
        let mut names: Vec<String> = services
            .iter()
            .filter(|service| service.kind == NodeKind::Service)
            .map(|service| service.name.to_string())
            .collect();
        names.sort_unstable();
        names
    }

    /// The node called `name`: a service where there is one, else a database, queue or host.
    ///
    /// # Errors
    /// [`Error::UnknownService`] with all names that exist.
    pub fn service(&self, scope: &Scope, name: &str) -> Result<Arc<ServiceInfo>, Error> {
        let tenant = self.tenant(scope);
        let found = tenant.and_then(|tenant| {
            let mut found = self.names().find_services(tenant, name);
            found.sort_by_key(|service| service.kind);
            found.into_iter().next()
        });
        found.ok_or_else(|| {
            let all = tenant.map(|tenant| self.names().services_of(tenant)).unwrap_or_default();
            let known = all.iter().map(|service| service.name.to_string()).collect();
            Error::UnknownService { name: name.to_owned(), known }
        })
    }

    /// The tenant's number; none while nothing of it was ever stored.
    pub(super) fn tenant(&self, scope: &Scope) -> Option<TenantNumber> {
        self.names().find_tenant(scope.tenant())
    }

    pub(super) fn names(&self) -> &Names {
        self.store.names()
    }

    /// Whether a node is a service that sends spans itself.
    pub(super) fn is_instrumented(&self, id: ServiceId) -> bool {
        self.names().service_info(id).is_some_and(|info| info.kind == NodeKind::Service)
    }

    /// The name of a node; `?` for an id that nothing describes.
    pub fn service_name(&self, id: ServiceId) -> String {
        self.names().service_info(id).map_or_else(|| "?".to_owned(), |info| info.name.to_string())
    }

    /// The name of an operation; `?` for an id that nothing describes.
    pub fn operation_name(&self, id: OperationId) -> String {
        self.names().operation_info(id).map_or_else(|| "?".to_owned(), |info| info.name.to_string())
    }
}

impl Query {
    /// An operation with its node, such as `payment POST /charge`.
    pub fn operation_path(&self, id: OperationId) -> String {
        match self.names().operation_info(id) {
            Some(info) => format!("{} {}", self.service_name(info.service), info.name),
            None => "?".to_owned(),
        }
    }

    /// The name of an instance: its own, else its version, else `?`.
    pub fn instance_name(&self, id: ResourceId) -> String {
        let info = self.names().resource_info(id);
        let named = info.and_then(|info| {
            let candidates = [info.instance.to_string(), info.version.to_string()];
            candidates.into_iter().find(|name| !name.is_empty())
        });
        named.unwrap_or_else(|| "?".to_owned())
    }
}
