//! Services that share a name.
//!
//! `service.name` is unique within one `service.namespace` alone, and a tenant may hold several environments and clusters: what
//! is counted of one name is then the sum of several services. It is told by the resources that a question knows anyway, so
//! that no span is read for it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::diagnose::evidence::Slice;
use crate::model::id::{ResourceId, ServiceId};
use crate::model::packed::value::Value;
use crate::model::resource::Resource;
use crate::model::rollup::Subject;
use crate::store::names::info::ResourceInfo;

use super::error::Error;
use super::handle::Query;

/// Values kept of one attribute of a service.
const VALUES_MAX: usize = 10;
/// Longest value kept, in characters: names of clusters may be whole addresses.
const VALUE_CHARS_MAX: usize = 160;
/// Services told in one line, and values of each of their attributes.
const TOLD: (usize, usize) = (3, 3);

/// What it does to answers that services share a name, and how it is mended.
pub const ADVICE: &str = "their numbers are added up, and one may be blamed for another; give each a tenant (`x-tenant-id`) or a \
     `service.name` of its own; until then `aggregate` by `resource.` and this attribute tells them apart, and \
     `compare_attributes` whether failures follow one of them";

/// Which resources were heard of, with the services that they sent for.
pub(super) type Senders = BTreeSet<(ServiceId, ResourceId)>;

/// What tells services of one name apart (semantic conventions: `service`, `deployment`, `k8s`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Apart {
    /// The namespace, within which names are unique.
    Namespace,
    /// The environment that it was deployed to.
    Environment,
    /// The Kubernetes cluster that it runs in.
    Cluster,
}

impl Apart {
    const ALL: [Self; 3] = [Self::Namespace, Self::Environment, Self::Cluster];

    /// The attributes that say it: the one in use first, then what it was called before.
    const fn keys(self) -> &'static [&'static str] {
        match self {
            Self::Namespace => &["service.namespace"],
            Self::Environment => &["deployment.environment.name", "deployment.environment"],
            Self::Cluster => &["k8s.cluster.name"],
        }
    }

    /// What is wrong where it differs, in a few words.
    pub const fn issue(self) -> &'static str {
        [
            "services of several namespaces under one name",
            "services of several environments under one name",
            "services of several clusters under one name",
        ][self as usize]
    }
}

/// Services that share a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Namesakes {
    /// The service that they are counted as.
    pub service: ServiceId,
    /// What tells them apart.
    pub apart: Apart,
    /// The attribute of their resources that says it.
    pub attribute: &'static str,
    /// Its values in order: two at least, ten at most, each cut to 160 characters.
    pub values: Vec<String>,
    /// Whether there are more values than those.
    pub more: bool,
}

impl Namesakes {
    /// The attribute with the first `most` of its values.
    pub fn told(&self, most: usize) -> String {
        let shown: Vec<&str> = self.values.iter().take(most).map(String::as_str).collect();
        let more = if self.more || shown.len() < self.values.len() { " and more" } else { "" };
        format!("{}: {}{more}", self.attribute, shown.join(", "))
    }
}

impl Query {
    /// Which names several services share as far as their resources tell, by name. `senders` is called where work does not
    /// delay others.
    pub(super) async fn namesakes(
        &self,
        senders: impl FnOnce() -> Senders + Send + 'static,
    ) -> Result<Vec<Namesakes>, Error> {
        let store = self.store.clone();
        let work = tokio::task::spawn_blocking(move || {
            found(&senders(), |resource| store.names().resource_info(resource))
        });
        let mut found = work.await.map_err(|_| Error::Abandoned)?;
        // Those of one service stay in their order.
        found.sort_by_cached_key(|it| (self.service_name(it.service), it.service));
        Ok(found)
    }

    /// One sentence about services of which several are counted as one; none where there are none.
    pub fn counted_together(&self, namesakes: &[Namesakes]) -> Option<String> {
        sentence(namesakes, |service| self.service_name(service))
    }
}

/// The resources whose requests were counted in buckets of time, and those that were `measured`, of some services.
pub(super) fn senders_of(
    services: &BTreeSet<ServiceId>,
    slices: &[Slice],
    measured: Vec<(ServiceId, ResourceId)>,
) -> Senders {
    let counted = slices.iter().filter(|slice| slice.count > 0).filter_map(|slice| {
        let Subject::Instance(service, resource) = slice.subject else { return None };
        Some((service, resource))
    });
    counted.chain(measured).filter(|(service, _)| services.contains(service)).collect()
}

/// The values of one attribute.
struct Told {
    /// Which of its names the attribute goes by.
    rank: usize,
    values: BTreeSet<String>,
    more: bool,
}

impl Told {
    fn add(&mut self, rank: usize, value: &str) {
        self.rank = self.rank.min(rank);
        let short: String = value.chars().take(VALUE_CHARS_MAX).collect();
        if self.values.len() < VALUES_MAX {
            self.values.insert(short);
        } else {
            self.more |= !self.values.contains(&short);
        }
    }
}

/// Services whose resources have two or more values of an attribute. Those that do not say it are left out of account: more
/// often than not they are the same service, whose sender is set up otherwise.
fn found(senders: &Senders, info: impl Fn(ResourceId) -> Option<Arc<ResourceInfo>>) -> Vec<Namesakes> {
    let mut told: BTreeMap<(ServiceId, Apart), Told> = BTreeMap::new();
    for (service, resource) in senders {
        let Some(info) = info(*resource) else { continue };
        for (apart, rank, value) in values(&info.resource) {
            let none = || Told { rank, values: BTreeSet::new(), more: false };
            told.entry((*service, apart)).or_insert_with(none).add(rank, value);
        }
    }
    let several = told.into_iter().filter(|(_, told)| told.values.len() > 1);
    let namesakes = several.map(|((service, apart), told)| Namesakes {
        service,
        apart,
        attribute: apart.keys()[told.rank],
        values: told.values.into_iter().collect(),
        more: told.more,
    });
    namesakes.collect()
}

/// What a resource says of where it belongs, and by which name of the attribute. Of two names the one in use counts, of a key
/// that comes twice the last.
fn values(resource: &Resource) -> impl Iterator<Item = (Apart, usize, &str)> {
    let mut found: [Option<(usize, &str)>; Apart::ALL.len()] = [None; Apart::ALL.len()];
    for (key, value) in resource.attributes.iter() {
        let Value::Text(text) = value else { continue };
        let rank = |apart: Apart| apart.keys().iter().position(|known| *known == key);
        let named = Apart::ALL.into_iter().find_map(|apart| Some((apart, rank(apart)?)));
        let Some((apart, rank)) = named.filter(|_| !text.is_empty()) else { continue };
        let known = &mut found[apart as usize];
        if known.is_none_or(|(best, _)| rank <= best) {
            *known = Some((rank, text));
        }
    }
    Apart::ALL.into_iter().zip(found).filter_map(|(apart, value)| {
        let (rank, text) = value?;
        Some((apart, rank, text))
    })
}

/// Which services are counted together, in one line.
fn sentence(namesakes: &[Namesakes], name: impl Fn(ServiceId) -> String) -> Option<String> {
    let services: Vec<&[Namesakes]> = namesakes.chunk_by(|a, b| a.service == b.service).collect();
    let told = services.iter().take(TOLD.0).map(|same| {
        let apart: Vec<String> = same.iter().map(|it| it.told(TOLD.1)).collect();
        format!("{} ({})", name(same[0].service), apart.join("; "))
    });
    let told: Vec<String> = told.collect();
    let left = services.len() - told.len();
    let rest = if left > 0 { format!(" and {left} more") } else { String::new() };
    (!told.is_empty())
        .then(|| format!("Services that share a name are counted together: {}{rest}.", told.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::id::{OperationId, TenantNumber};
    use crate::model::packed::Attributes;
    use crate::model::packed::write::Packer;
    use crate::model::text::Text;
    use crate::model::time::UnixNanos;

    const NAMESPACE: &str = "service.namespace";
    const ENVIRONMENT: &str = "deployment.environment.name";
    const OLDER: &str = "deployment.environment";
    const CLUSTER: &str = "k8s.cluster.name";

    /// The attributes of a resource.
    type Pairs<'a> = &'a [(&'a str, &'a str)];

    fn info(id: u32, pairs: Pairs<'_>) -> Arc<ResourceInfo> {
        let mut packer = Packer::default();
        pairs.iter().for_each(|(key, value)| packer.attribute_text(1, key, value));
        let resource = Resource {
            service: "shop".into(),
            attributes: Attributes::from_checked(packer.finish()),
            dropped_attributes: 0,
            schema_url: Text::default(),
        };
        Arc::new(ResourceInfo {
            id: ResourceId(id),
            tenant: TenantNumber(1),
            service: ServiceId(1),
            version: "".into(),
            instance: "".into(),
            resource: Arc::new(resource),
            first_seen: UnixNanos(0),
        })
    }

    /// What resources with these attributes tell, all of one service.
    fn told(resources: &[Pairs<'_>]) -> Vec<Namesakes> {
        let infos: BTreeMap<ResourceId, Arc<ResourceInfo>> =
            (1..).zip(resources).map(|(id, pairs)| (ResourceId(id), info(id, pairs))).collect();
        let senders: Senders = infos.keys().map(|id| (ServiceId(1), *id)).collect();
        found(&senders, |id| infos.get(&id).cloned())
    }

    fn line(resources: &[Pairs<'_>]) -> Option<String> {
        sentence(&told(resources), |_| "shop".to_owned())
    }

    #[test]
    fn what_has_two_values_is_told() {
        let cases: [(&[Pairs<'_>], Option<&str>); 8] = [
            (&[&[(ENVIRONMENT, "production")], &[(ENVIRONMENT, "production")]], None),
            (&[&[(ENVIRONMENT, "production")], &[]], None),
            (&[&[(ENVIRONMENT, "production")], &[(ENVIRONMENT, "")]], None),
            // The same under its older name.
            (&[&[(ENVIRONMENT, "production")], &[(OLDER, "production")]], None),
            (
                &[&[(ENVIRONMENT, "production"), (OLDER, "prod")], &[(OLDER, "staging")]],
                Some("deployment.environment.name: production, staging"),
            ),
            (&[&[(OLDER, "b")], &[(OLDER, "a")]], Some("deployment.environment: a, b")),
            (
                &[&[(CLUSTER, "eu"), (NAMESPACE, "pay")], &[(CLUSTER, "us"), (NAMESPACE, "web")]],
                Some("service.namespace: pay, web; k8s.cluster.name: eu, us"),
            ),
            (
                &[&[(CLUSTER, "a")], &[(CLUSTER, "b")], &[(CLUSTER, "c")], &[(CLUSTER, "d")]],
                Some("k8s.cluster.name: a, b, c and more"),
            ),
        ];
        for (resources, expected) in cases {
            let expected = expected
                .map(|told| format!("Services that share a name are counted together: shop ({told})."));
            assert_eq!(line(resources), expected, "{resources:?}");
        }
    }

    #[test]
    fn services_are_told_apart_and_bounded() {
        let environments = [info(1, &[(ENVIRONMENT, "a")]), info(2, &[(ENVIRONMENT, "b")])];
        let info = |id: ResourceId| environments.get(id.0 as usize - 1).cloned();
        let of = |services: std::ops::RangeInclusive<u32>| -> Senders {
            services.flat_map(|service| [1, 2].map(|id| (ServiceId(service), ResourceId(id)))).collect()
        };
        let apart: Senders = [(ServiceId(1), ResourceId(1)), (ServiceId(2), ResourceId(2))].into();
        assert_eq!(found(&apart, info), []);
        assert_eq!(sentence(&[], |_| String::new()), None);
        let line = sentence(&found(&of(1..=5), info), |id| format!("s{}", id.0)).unwrap();
        assert!(line.contains("s3 (deployment.environment.name: a, b) and 2 more."), "{line}");
        assert!(!line.contains("s4"), "{line}");
    }

    #[test]
    fn values_are_bounded() {
        let long = "x".repeat(1_000);
        let names: Vec<String> = (0..30).map(|number| format!("{number:02}{long}")).collect();
        let pairs: Vec<[(&str, &str); 1]> = names.iter().map(|name| [(NAMESPACE, name.as_str())]).collect();
        let resources: Vec<Pairs<'_>> = pairs.iter().map(<[_; 1]>::as_slice).collect();
        let shared = told(&resources);
        let [only] = &shared[..] else { panic!("one attribute: {shared:?}") };
        assert_eq!((only.values.len(), only.more), (VALUES_MAX, true));
        assert!(only.values.iter().all(|value| value.chars().count() == VALUE_CHARS_MAX));
    }

    #[test]
    fn who_was_not_heard_sends_nothing() {
        let slice = |subject, count| Slice {
            subject,
            bucket_s: 0,
            width_s: 10,
            count,
            errors: 0,
            sum_ns: 0,
            other_ns: 0,
        };
        let instance = |service, resource| Subject::Instance(ServiceId(service), ResourceId(resource));
        let slices = [
            slice(instance(1, 1), 3),
            slice(instance(1, 2), 0),
            slice(instance(2, 3), 3),
            slice(Subject::Operation(OperationId(1)), 3),
        ];
        let measured = vec![(ServiceId(1), ResourceId(4)), (ServiceId(3), ResourceId(5))];
        let own = BTreeSet::from([ServiceId(1)]);
        let expected: Senders = [1, 4].map(|id| (ServiceId(1), ResourceId(id))).into();
        assert_eq!(senders_of(&own, &slices, measured), expected);
    }
}
