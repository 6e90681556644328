//! What there is: services, operations and metrics, with what they did in a window.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use crate::model::id::{InstrumentationId, OperationId, ResourceId, ServiceId, TenantNumber};
use crate::model::metric::MetricKind;
use crate::model::node::NodeKind;
use crate::model::rollup::{Cell, Subject};
use crate::model::tenant::Scope;
use crate::model::time::Window;
use crate::store::names::info::{InstrumentationInfo, OperationInfo, ResourceInfo, ServiceInfo};
use crate::store::read::metrics::{MetricName, SERIES_MAX, SeriesAsk, StoredSeries};

use super::error::Error;
use super::handle::Query;
use super::sums::Sums;
use super::window;

/// What was counted about things with names.
#[derive(Debug, Clone)]
pub struct Named<T> {
    /// Each with its requests in the window, in the order of names.
    pub items: Vec<(Arc<T>, Cell)>,
    /// The part of the window that is known, in whole buckets.
    pub window: Window,
}

impl Query {
    /// The tenant's services, databases, queues and hosts, by name and kind, with the requests that each took in the
    /// window. Hosts are listed only where calls to them were seen in the window and no instrumented service answered.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn services(&self, scope: &Scope, window: Window) -> Result<Named<ServiceInfo>, Error> {
        let Some(tenant) = self.tenant(scope) else { return Ok(Named { items: Vec::new(), window }) };
        let map = self.service_map(scope, window, None).await?;
        let mut requests: HashMap<ServiceId, Cell> =
            map.nodes.into_iter().map(|node| (node.info.id, node.requests)).collect();
        let services = self.names().services_of(tenant).into_iter();
        let items = services
            .filter_map(|info| match requests.remove(&info.id) {
                Some(cell) => Some((info, cell)),
                None if info.kind == NodeKind::External => None,
                None => Some((info, Cell::default())),
            })
            .collect();
        Ok(Named { items, window: map.window })
    }

    /// The operations of the service called `name`, by name and kind, with their spans in the window.
    ///
    /// # Errors
    /// When the name is unknown or the store does not answer.
    pub async fn operations(
        &self,
        scope: &Scope,
        asked: Window,
        name: &str,
    ) -> Result<Named<OperationInfo>, Error> {
        let service = self.service(scope, name)?;
        let known = self.known(service.tenant).await?.and_then(|known| window::clipped(asked, known));
        let mut sums = match known {
            Some(window) => self.sums(service.tenant, window).await?,
            None => Sums::default(),
        };
        let operations = self.names().operations_of(service.id).into_iter();
        let items = operations
            .map(|info| {
                let cell = sums.remove(&Subject::Operation(info.id)).unwrap_or_default();
                (info, cell)
            })
            .collect();
        Ok(Named { items, window: known.unwrap_or(asked) })
    }

    /// The tenant's metrics that have a point in the window, by name, unit and kind.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn metric_names(&self, scope: &Scope, window: Window) -> Result<Vec<MetricName>, Error> {
        let Some(tenant) = self.tenant(scope) else { return Ok(Vec::new()) };
        let mut names = self.store.metric_names(tenant, Some(window)).await?;
        names.sort_by(|a, b| (&a.name, &a.unit, a.kind).cmp(&(&b.name, &b.unit, b.kind)));
        Ok(names)
    }

    /// The metrics of which the service called `name` has a point in the window, with how many of its series have one; by
    /// name, unit and kind. And whether the service has more series than the 10,000 that are looked at.
    ///
    /// # Errors
    /// When the name is unknown or the store does not answer.
    pub async fn metric_names_of(
        &self,
        scope: &Scope,
        window: Window,
        name: &str,
    ) -> Result<(Vec<MetricName>, bool), Error> {
        let tenant = self.service(scope, name)?.tenant;
        let all = self.series_named(tenant, (None, Some(name)), Some(window)).await?;
        let mut names: BTreeMap<(String, String, MetricKind), MetricName> = BTreeMap::new();
        for series in &all {
            let definition = &series.definition;
            let (name, unit, kind) =
                (definition.name.to_string(), definition.unit.to_string(), definition.kind);
            let description = definition.description.to_string();
            let known = names.entry((name.clone(), unit.clone(), kind)).or_insert_with(|| MetricName {
                name,
                unit,
                kind,
                description: String::new(),
                series: 0,
            });
            known.series += 1;
            if known.description < description {
                known.description = description;
            }
        }
        Ok((names.into_values().collect(), all.len() >= SERIES_MAX))
    }

    /// Which kinds of data the metric called `name` holds, of one service or of all; where they differ, those of the series
    /// that have a point in the window.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn metric_kinds(
        &self,
        scope: &Scope,
        window: Window,
        (name, service): (&str, Option<&str>),
    ) -> Result<BTreeSet<MetricKind>, Error> {
        let Some(tenant) = self.tenant(scope) else { return Ok(BTreeSet::new()) };
        let kinds = |series: &[StoredSeries]| series.iter().map(|series| series.definition.kind).collect();
        let all: BTreeSet<MetricKind> = kinds(&self.series_named(tenant, (Some(name), service), None).await?);
        if all.len() < 2 {
            return Ok(all);
        }
        Ok(kinds(&self.series_named(tenant, (Some(name), service), Some(window)).await?))
    }

    /// The series of a metric, or of all, and of a service, or of all; none for a service that does not exist. With a window
    /// those that have points in it.
    async fn series_named(
        &self,
        tenant: TenantNumber,
        (metric, service): (Option<&str>, Option<&str>),
        within: Option<Window>,
    ) -> Result<Vec<StoredSeries>, Error> {
        let services = service.map(|name| self.names().find_services(tenant, name));
        if services.as_ref().is_some_and(Vec::is_empty) {
            return Ok(Vec::new());
        }
        let ask = SeriesAsk {
            name: metric.map(str::to_owned),
            services: services.iter().flatten().map(|service| service.id).collect(),
            within,
            limit: SERIES_MAX,
            ..SeriesAsk::default()
        };
        Ok(self.store.series(tenant, &ask).await?)
    }
}

impl Query {
    /// What is known about a resource that an answer named.
    pub fn resource(&self, id: ResourceId) -> Option<Arc<ResourceInfo>> {
        self.names().resource_info(id)
    }

    /// The versions of a service, the one that was first seen last first; `most` of them.
    pub fn versions(&self, service: ServiceId, most: usize) -> Vec<String> {
        let mut versions: Vec<String> = Vec::new();
        for resource in self.names().resources_of(service).iter().rev() {
            let version = resource.version.to_string();
            if !version.is_empty() && !versions.contains(&version) {
                versions.push(version);
            }
        }
        versions.truncate(most);
        versions
    }

    /// What is known about the library that made what an answer showed.
    pub fn instrumentation(&self, id: InstrumentationId) -> Option<Arc<InstrumentationInfo>> {
        self.names().instrumentation_info(id)
    }

    /// The name of the node that an operation belongs to; `?` for an id that nothing describes.
    pub fn operation_service_name(&self, id: OperationId) -> String {
        let info = self.names().operation_info(id);
        info.map_or_else(|| "?".to_owned(), |info| self.service_name(info.service))
    }
}
