//! Where instances run: what their resources say of hosts, zones and the like, read from memory.

use std::collections::{BTreeMap, BTreeSet};

use crate::diagnose;
use crate::diagnose::evidence::{Evidence, PlaceEvidence, PlaceKind, Placed, SeriesEvidence};
use crate::model::id::{ResourceId, SeriesId, ServiceId, TenantNumber};
use crate::model::packed::Attributes;
use crate::model::packed::value::Value;

use super::handle::Query;
use super::measured::Readings;

/// Identifies a host and is told where it has no name.
const HOST_ID: &str = "host.id";

impl Query {
    /// Where the instances run, and on which hosts resources were measured.
    pub(super) fn places(&self, evidence: &Evidence, readings: &Readings) -> Vec<PlaceEvidence> {
        let instances = evidence.instances.iter().map(|it| (Placed::Instance(it.resource), it.resource));
        let working: BTreeSet<ServiceId> = evidence.instances.iter().map(|it| it.service).collect();
        // What a service that takes requests measures is its own, unless it is of the machine.
        let is_of_host = |it: &SeriesEvidence| {
            diagnose::is_resource(&it.metric) && (!working.contains(&it.service) || is_of_machine(&it.metric))
        };
        let measures = evidence.series.iter().filter(|it| is_of_host(it));
        let measures: BTreeSet<SeriesId> = measures.map(|it| it.id).collect();
        let series = readings.sources().filter(|(id, _)| measures.contains(id));
        let series = series.map(|(id, resource)| (Placed::Series(id), resource));
        let mut known: BTreeMap<ResourceId, Vec<(PlaceKind, String)>> = BTreeMap::new();
        let mut places = Vec::new();
        for (of, resource) in instances.chain(series) {
            let own = known.entry(resource).or_insert_with(|| {
                let info = self.names().resource_info(resource);
                info.map(|info| places_of(&info.resource.attributes)).unwrap_or_default()
            });
            // A measure is of the host, and not of the zone that the host is in.
            let is_meant = |kind: PlaceKind| matches!(of, Placed::Instance(_)) || kind == PlaceKind::Host;
            let own = own.iter().filter(|(kind, _)| is_meant(*kind));
            places.extend(own.map(|(kind, name)| PlaceEvidence { of, kind: *kind, name: name.clone() }));
        }
        places
    }

    /// Whether an instance of any service runs at a place of this name.
    pub(super) fn knows_place(&self, tenant: TenantNumber, name: &str) -> bool {
        let services = self.names().services_of(tenant);
        let mut resources = services.iter().flat_map(|service| self.names().resources_of(service.id));
        resources.any(|info| places_of(&info.resource.attributes).iter().any(|(_, own)| own == name))
    }
}

/// Whether a metric is of a machine by the beginning of its name (semantic conventions; the Prometheus node exporter).
fn is_of_machine(metric: &str) -> bool {
    ["system.", "k8s.node.", "hw.", "system_", "k8s_node_", "node_"].iter().any(|it| metric.starts_with(it))
}

/// The kind of place that an attribute names (semantic conventions).
fn kind_of(key: &str) -> Option<PlaceKind> {
    Some(match key {
        "host.name" | "k8s.node.name" | HOST_ID => PlaceKind::Host,
        "cloud.availability_zone" => PlaceKind::Zone,
        "cloud.region" => PlaceKind::Region,
        "k8s.cluster.name" => PlaceKind::Cluster,
        "host.type" | "host.arch" => PlaceKind::Machine,
        "os.type" | "os.version" => PlaceKind::System,
        "container.runtime" | "container.runtime.name" | "container.runtime.version" => PlaceKind::Runtime,
        _ => return None,
    })
}

/// The places that a resource's attributes name, the more specific first, each once.
fn places_of(attributes: &Attributes) -> Vec<(PlaceKind, String)> {
    let named = |is_wanted: fn(&str) -> bool| {
        attributes.iter().filter(move |(key, _)| is_wanted(key)).filter_map(|(key, value)| match value {
            Value::Text(text) if !text.is_empty() => Some((kind_of(key)?, text.to_owned())),
            _ => None,
        })
    };
    let mut places: Vec<(PlaceKind, String)> = named(|key| key != HOST_ID).collect();
    if places.iter().all(|(kind, _)| *kind != PlaceKind::Host) {
        places.extend(named(|key| key == HOST_ID));
    }
    places.sort();
    places.dedup();
    places
}

#[cfg(test)]
mod tests {
    use crate::model::packed::write::Packer;

    use super::*;

    #[test]
    fn measures_of_machines_are_told_by_their_names() {
        assert!(is_of_machine("system.cpu.utilization") && is_of_machine("node_memory_used_bytes"));
        assert!(!is_of_machine("process.memory.usage") && !is_of_machine("nodejs.eventloop.utilization"));
    }

    #[test]
    fn resources_name_the_places_where_they_are() {
        let check = |attributes: &[(&str, &str)], found: &[(PlaceKind, &str)]| {
            let mut packer = Packer::default();
            attributes.iter().for_each(|(key, value)| packer.attribute_text(1, key, value));
            let places = places_of(&Attributes::from_checked(packer.finish()));
            let places: Vec<(PlaceKind, &str)> =
                places.iter().map(|(kind, it)| (*kind, it.as_str())).collect();
            assert_eq!(places, found, "{attributes:?}");
        };
        let (zone, host) = (PlaceKind::Zone, PlaceKind::Host);
        check(
            &[
                ("cloud.availability_zone", "eu-1b"),
                ("k8s.node.name", "node-3"),
                ("host.id", "a1b2"),
                ("host.name", "node-3"),
            ],
            &[(host, "node-3"), (zone, "eu-1b")],
        );
        check(&[("host.id", "a1b2"), ("service.name", "fare")], &[(host, "a1b2")]);
        // In a container the host's name is mostly the pod's.
        check(
            &[("host.name", "fare-7d9"), ("k8s.node.name", "node-3")],
            &[(host, "fare-7d9"), (host, "node-3")],
        );
        check(&[("host.name", ""), ("os.type", "linux")], &[(PlaceKind::System, "linux")]);
        check(&[], &[]);
    }
}
