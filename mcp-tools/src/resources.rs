//! Resources: answers with an address, for clients that attach rather than call.

use rmcp::model::{JsonObject, Resource, ResourceTemplate};
use serde_json::{Value, json};

use crate::fault::{Fault, echoed, listed};

/// What every resource is.
pub(crate) const MIME_TYPE: &str = "application/json";

const SERVICE_MAP: &str = "otelcontext://service-map";
const HEALTH: &str = "otelcontext://service-health";
/// What left its normal course in the last hour; changes by itself.
pub(crate) const ANOMALIES: &str = "otelcontext://anomalies";
const SERVICE_PREFIX: &str = "otelcontext://service/";
const TRACE_PREFIX: &str = "otelcontext://trace/";
const EVIDENCE_PREFIX: &str = "otelcontext://evidence/";
const INVESTIGATION_PREFIX: &str = "otelcontext://investigation/";
/// The template of one service's health.
pub(crate) const SERVICE_TEMPLATE: &str = "otelcontext://service/{service}";
/// The template of one trace.
const TRACE_TEMPLATE: &str = "otelcontext://trace/{trace_id}";

/// The template of one piece of evidence.
const EVIDENCE_TEMPLATE: &str = "otelcontext://evidence/{id}";
/// The template of one investigation.
const INVESTIGATION_TEMPLATE: &str = "otelcontext://investigation/{id}";

/// The resources that always exist.
pub(crate) fn list() -> Vec<Resource> {
    vec![
        Resource::new(SERVICE_MAP, "service-map")
            .with_title("Service map")
            .with_description("Who called whom in the last hour.")
            .with_mime_type(MIME_TYPE),
        Resource::new(HEALTH, "service-health")
            .with_title("Service health")
            .with_description("Status of every service in the last hour, worst first.")
            .with_mime_type(MIME_TYPE),
        Resource::new(ANOMALIES, "anomalies")
            .with_title("Anomalies")
            .with_description(
                "What left its normal course in the last hour. Whoever listens to it hears when an anomaly begins or ends.",
            )
            .with_mime_type(MIME_TYPE),
    ]
}

/// The resources that exist for every service and every trace.
pub(crate) fn templates() -> Vec<ResourceTemplate> {
    vec![
        ResourceTemplate::new(SERVICE_TEMPLATE, "service")
            .with_title("One service")
            .with_description("Health of one service in the last hour.")
            .with_mime_type(MIME_TYPE),
        ResourceTemplate::new(TRACE_TEMPLATE, "trace")
            .with_title("One trace")
            .with_description("A trace as a tree of spans.")
            .with_mime_type(MIME_TYPE),
        ResourceTemplate::new(EVIDENCE_TEMPLATE, "evidence")
            .with_title("One piece of evidence")
            .with_description("What an evidence id stands for, observed again.")
            .with_mime_type(MIME_TYPE),
        ResourceTemplate::new(INVESTIGATION_TEMPLATE, "investigation")
            .with_title("One investigation")
            .with_description("What an agent found out, and what became of its evidence.")
            .with_mime_type(MIME_TYPE),
    ]
}

/// The call that reads a resource. Errs with [`Fault::NotFound`] for an address that leads nowhere.
pub(crate) fn call(uri: &str) -> Result<(&'static str, JsonObject), Fault> {
    let (tool, argument) = if uri == SERVICE_MAP {
        ("get_service_map", None)
    } else if uri == HEALTH {
        ("get_service_health", None)
    } else if uri == ANOMALIES {
        ("get_anomaly_timeline", None)
    } else if let Some(service) = uri.strip_prefix(SERVICE_PREFIX).and_then(percent_decoded) {
        ("get_service_health", Some(("service", service)))
    } else if let Some(trace_id) = uri.strip_prefix(TRACE_PREFIX).and_then(percent_decoded) {
        ("trace_graph", Some(("trace_id", trace_id)))
    } else if let Some(id) = uri.strip_prefix(EVIDENCE_PREFIX).and_then(percent_decoded) {
        ("get_evidence", Some(("ids", id)))
    } else if let Some(id) = uri.strip_prefix(INVESTIGATION_PREFIX).and_then(percent_decoded) {
        let arguments = json!({"action": "resume", "id": id});
        return Ok(("investigation", arguments.as_object().cloned().unwrap_or_default()));
    } else {
        let known = [
            SERVICE_MAP,
            HEALTH,
            ANOMALIES,
            SERVICE_TEMPLATE,
            TRACE_TEMPLATE,
            EVIDENCE_TEMPLATE,
            INVESTIGATION_TEMPLATE,
        ];
        let known = listed(&known);
        return Err(Fault::not_found(format!("unknown resource {}; valid: {known}", echoed(uri))));
    };
    let argument = argument.map(|(name, value): (&str, String)| (name.to_owned(), json!(value)));
    Ok((tool, argument.into_iter().collect::<serde_json::Map<String, Value>>()))
}

/// Decodes one segment of an address (RFC 3986, section 2.1); none when it is empty, has a further segment,
/// or is not UTF-8.
fn percent_decoded(segment: &str) -> Option<String> {
    if segment.is_empty() || segment.contains(['/', '?', '#']) {
        return None;
    }
    let mut decoded = Vec::with_capacity(segment.len());
    let mut bytes = segment.bytes();
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let mut digit =
                || char::from(bytes.next()?).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
            let (high, low) = (digit()?, digit()?);
            decoded.push(high * 16 + low);
        } else {
            decoded.push(byte);
        }
    }
    String::from_utf8(decoded).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::call;

    #[test]
    fn an_address_is_a_call() {
        for (uri, tool, arguments) in [
            ("otelcontext://service-map", "get_service_map", json!({})),
            ("otelcontext://service-health", "get_service_health", json!({})),
            ("otelcontext://anomalies", "get_anomaly_timeline", json!({})),
            (
                "otelcontext://service/check%20out%2Fv2",
                "get_service_health",
                json!({"service": "check out/v2"}),
            ),
            ("otelcontext://trace/00ff", "trace_graph", json!({"trace_id": "00ff"})),
            (
                "otelcontext://evidence/operation%3Aa%20GET%20%2Fb%401%2B2%23ff",
                "get_evidence",
                json!({"ids": "operation:a GET /b@1+2#ff"}),
            ),
            ("otelcontext://investigation/7", "investigation", json!({"action": "resume", "id": "7"})),
        ] {
            let (found, given) = call(uri).unwrap();
            assert_eq!((found, json!(given)), (tool, arguments), "{uri}");
        }
    }

    #[test]
    fn other_addresses_lead_nowhere() {
        for uri in [
            "",
            "otelcontext://",
            "otelcontext://service/",
            "otelcontext://service/a/b",
            "otelcontext://service/%",
            "otelcontext://service/%ff",
            "otelcontext://service/%+1",
            "file:///etc/passwd",
        ] {
            assert!(call(uri).unwrap_err().to_string().starts_with("unknown resource"), "{uri}");
        }
    }
}
