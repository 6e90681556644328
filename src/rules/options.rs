//! What can be asked for.

use crate::model::log::Severity;

/// What is not taken, left out or read. The default takes everything and reads log bodies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Keys of attributes that are left out wherever they hang; one that ends in `*` means all that begin so.
    pub attributes_denied: Vec<String>,
    /// Keys of the only attributes that are kept, in the same notation; empty keeps all. What names an instance of a
    /// service or an exception is kept in any case, because answers rest on it.
    pub attributes_allowed: Vec<String>,
    /// Attributes that a record may have after those of its body were added.
    pub attributes_max: usize,
    /// Bytes kept of a text that is added from a body; cut between characters.
    pub attribute_bytes_max: usize,
    /// Names of the only services whose telemetry is taken; empty takes all.
    pub services_allowed: Vec<String>,
    /// Names of services whose telemetry is rejected.
    pub services_excluded: Vec<String>,
    /// Less severe log records are rejected; 0 takes all. Records of unknown severity are always taken.
    pub ingest_severity_min: Severity,
    /// Less severe log records count in templates and roll-ups and get no row; 0 stores all. Records of unknown
    /// severity are always stored.
    pub store_severity_min: Severity,
    /// Whether the severity of a record without one is read from its body.
    pub severity_from_body: bool,
    /// Whether the scalars of a body that is a JSON object are added as attributes.
    pub parse_json: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            attributes_denied: Vec::new(),
            attributes_allowed: Vec::new(),
            attributes_max: 1_024,
            attribute_bytes_max: 64 * 1024,
            services_allowed: Vec::new(),
            services_excluded: Vec::new(),
            ingest_severity_min: Severity(0),
            store_severity_min: Severity(0),
            severity_from_body: true,
            parse_json: true,
        }
    }
}
