//! What series are grouped and filtered by: attributes of their points and what is known about their sender.

use std::collections::{BTreeMap, BTreeSet};

use crate::store::names::Names;
use crate::store::names::info::ResourceInfo;
use crate::store::read::metrics::StoredSeries;

/// Something that a series has a value of. A value that is absent is the empty text, as an attribute that is empty is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Key {
    /// The service that sends it.
    Service,
    /// The instance of the service.
    Instance,
    /// The version of the service.
    Version,
    /// An attribute of the resource that sends it.
    Resource(String),
    /// An attribute of its points.
    Attribute(String),
}

impl Key {
    /// Reads `service`, `instance` and `version` (also as `service.name`, `service.instance.id`, `service.version`),
    /// `resource.` before the name of a resource attribute, and the name of an attribute of points, where need be
    /// after `attribute.`.
    pub fn read(text: &str) -> Self {
        match text {
            "service" | "service.name" => Self::Service,
            "instance" | "service.instance.id" => Self::Instance,
            "version" | "service.version" => Self::Version,
            _ => match (text.strip_prefix("resource."), text.strip_prefix("attribute.")) {
                (Some(name), _) => Self::Resource(name.to_owned()),
                (_, Some(name)) => Self::Attribute(name.to_owned()),
                (None, None) => Self::Attribute(text.to_owned()),
            },
        }
    }
}

/// A condition on the value of a key. An absent value is the empty text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter {
    /// Which value.
    pub key: Key,
    /// What it is compared with.
    pub value: String,
    /// True where it must be equal, false where it must differ.
    pub equal: bool,
}

/// The values of `keys` of a series, in their order.
pub(super) fn values(names: &Names, series: &StoredSeries, keys: &[Key]) -> Vec<String> {
    let sender = Sender::of(names, series);
    keys.iter().map(|key| sender.value(series, key)).collect()
}

/// The attributes among `keys` that none of the series has, where there are any series.
pub(super) fn absent(names: &Names, series: &[StoredSeries], keys: &[Key]) -> Vec<Key> {
    let mut absent: Vec<Key> = keys.to_vec();
    absent.retain(|key| !series.is_empty() && matches!(key, Key::Resource(_) | Key::Attribute(_)));
    for series in series {
        if absent.is_empty() {
            break;
        }
        let sender = Sender::of(names, series);
        absent.retain(|key| sender.value(series, key).is_empty());
    }
    absent
}

/// What the series can be grouped by, as [`Key::read`] reads it.
pub(super) fn known(names: &Names, series: &[StoredSeries]) -> BTreeSet<String> {
    let mut known: BTreeSet<String> = ["service", "instance", "version"].map(str::to_owned).into();
    let mut senders = BTreeSet::new();
    for series in series {
        known.extend(series.attributes.iter().map(|(key, _)| key.to_owned()));
        senders.insert(series.resource);
    }
    for sender in senders.into_iter().filter_map(|id| names.resource_info(id)) {
        known.extend(sender.resource.attributes.iter().map(|(key, _)| format!("resource.{key}")));
    }
    known
}

/// True when `series` meets every filter.
pub(super) fn meets(names: &Names, series: &StoredSeries, filters: &[Filter]) -> bool {
    let sender = Sender::of(names, series);
    filters.iter().all(|filter| (sender.value(series, &filter.key) == filter.value) == filter.equal)
}

/// Most names that a refusal suggests.
const SUGGESTIONS_MAX: usize = 20;

/// The names most like `wanted`: those that share most of its words first.
pub(super) fn suggestions<'a>(wanted: &str, names: impl Iterator<Item = &'a str>) -> Vec<String> {
    let words = |text: &str| {
        text.split(|c: char| !c.is_alphanumeric()).map(str::to_lowercase).collect::<Vec<String>>()
    };
    let wanted = words(wanted);
    let mut ranked = BTreeMap::new();
    for name in names {
        let shared = words(name).iter().filter(|word| wanted.contains(word)).count();
        ranked.insert((std::cmp::Reverse(shared), name), ());
    }
    ranked.into_keys().take(SUGGESTIONS_MAX).map(|(_, name)| name.to_owned()).collect()
}

struct Sender {
    service: String,
    resource: Option<std::sync::Arc<ResourceInfo>>,
}

impl Sender {
    fn of(names: &Names, series: &StoredSeries) -> Self {
        let service = names.service_info(series.service);
        let service = service.map(|info| info.name.to_string()).unwrap_or_default();
        Self { service, resource: names.resource_info(series.resource) }
    }

    fn value(&self, series: &StoredSeries, key: &Key) -> String {
        let resource = self.resource.as_ref();
        let value = match key {
            Key::Service => return self.service.clone(),
            Key::Instance => return resource.map(|info| info.instance.to_string()).unwrap_or_default(),
            Key::Version => return resource.map(|info| info.version.to_string()).unwrap_or_default(),
            Key::Resource(name) => resource.and_then(|info| info.resource.attributes.get(name)),
            Key::Attribute(name) => series.attributes.get(name),
        };
        value.map(|value| value.render().into_owned()).unwrap_or_default()
    }
}
