//! Who sent telemetry: resources and instrumentation scopes.

use std::sync::Arc;

use super::packed::Attributes;
use super::text::Text;

/// The service name of a resource that has none (semantic conventions, `service.name`).
pub const UNKNOWN_SERVICE: &str = "unknown_service";

/// One sender: the OTLP resource with all its attributes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resource {
    /// `service.name`, or [`UNKNOWN_SERVICE`].
    pub service: Arc<str>,
    /// Everything that describes the sender, `service.name` included.
    pub attributes: Attributes,
    /// Attributes that the sender says it dropped.
    pub dropped_attributes: u32,
    /// Schema of the resource; may be empty.
    pub schema_url: Text,
}

impl Resource {
    /// The same in memory of its own, for what is kept: it holds nothing of the request that it came in.
    #[must_use]
    pub fn detached(&self) -> Self {
        Self {
            service: Arc::clone(&self.service),
            attributes: self.attributes.detached(),
            dropped_attributes: self.dropped_attributes,
            schema_url: self.schema_url.detached(),
        }
    }

    /// `service.version`, where the sender says it.
    pub fn version(&self) -> Option<&str> {
        self.attributes.text("service.version")
    }

    /// What tells one instance of a service from another: instance id, pod, container or host, in that order.
    pub fn instance(&self) -> Option<&str> {
        const KEYS: [&str; 5] =
            ["service.instance.id", "k8s.pod.name", "container.id", "host.name", "host.id"];
        KEYS.iter().find_map(|key| self.attributes.text(key))
    }
}

/// The instrumentation scope: the library that produced the telemetry.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Instrumentation {
    /// Library name; may be empty.
    pub name: Text,
    /// Library version; may be empty.
    pub version: Text,
    /// Attributes of the scope.
    pub attributes: Attributes,
    /// Attributes that the sender says it dropped.
    pub dropped_attributes: u32,
    /// Schema of the telemetry inside the scope; may be empty.
    pub schema_url: Text,
}

impl Instrumentation {
    /// The same in memory of its own, for what is kept: it holds nothing of the request that it came in.
    #[must_use]
    pub fn detached(&self) -> Self {
        Self {
            name: self.name.detached(),
            version: self.version.detached(),
            attributes: self.attributes.detached(),
            dropped_attributes: self.dropped_attributes,
            schema_url: self.schema_url.detached(),
        }
    }
}
