//! A question from its arrival to what is told of its end: how it came, in whose trace, and how long it took.

use std::time::Instant;

use rmcp::RoleServer;
use rmcp::model::ProtocolVersion;
use rmcp::service::RequestContext;

use crate::fault::Fault;
use crate::triage::{Ended, Outcome};

/// The method of a call of a tool.
pub(crate) const CALL: &str = "tools/call";
/// The method that reads a resource.
pub(crate) const READ: &str = "resources/read";
/// The method that completes what a person types.
pub(crate) const COMPLETE: &str = "completion/complete";

/// Stands for the tool of a completion.
pub(crate) const COMPLETIONS: &str = "services";
/// Stands for a tool or a resource that does not exist: what a client writes there is told nowhere.
pub(crate) const UNKNOWN: &str = "unknown";

/// Longest trace context that is looked at; one of today's version has 55 bytes.
const TRACEPARENT_BYTES_MAX: usize = 256;
/// The header of HTTP that names a trace context (W3C Trace Context, section 3.2).
const TRACEPARENT: &str = "traceparent";
const PROTOCOL_VERSION: &str = "mcp-protocol-version";

/// A question that is being worked on.
pub(crate) struct Asked {
    pub(crate) tool: &'static str,
    method: &'static str,
    traceparent: Option<String>,
    protocol_version: Option<&'static str>,
    began: Instant,
}

impl Asked {
    /// A question that arrives now by this method, for this tool.
    pub(crate) fn new(
        method: &'static str,
        tool: &'static str,
        context: &RequestContext<RoleServer>,
    ) -> Self {
        Self {
            tool,
            method,
            traceparent: traceparent(context),
            protocol_version: protocol_version(context),
            began: Instant::now(),
        }
    }

    /// What is told of its end.
    pub(crate) fn ended<A>(self, result: &Result<A, Fault>, answer_bytes: usize) -> Ended {
        Ended {
            method: self.method,
            tool: self.tool,
            outcome: Outcome::of(result),
            duration: self.began.elapsed(),
            answer_bytes,
            traceparent: self.traceparent,
            protocol_version: self.protocol_version,
        }
    }
}

/// The trace that the message was put in (SEP-414), or else the request that carried it: a proxy may have made a span of
/// its own for that.
fn traceparent(context: &RequestContext<RoleServer>) -> Option<String> {
    let named = context.meta.get_traceparent().or_else(|| header(context, TRACEPARENT))?;
    (named.len() <= TRACEPARENT_BYTES_MAX).then(|| named.to_owned())
}

/// The revision that the client speaks, where it is one of those that there are.
fn protocol_version(context: &RequestContext<RoleServer>) -> Option<&'static str> {
    let in_message = context.meta.protocol_version();
    let named =
        in_message.as_ref().map(ProtocolVersion::as_str).or_else(|| header(context, PROTOCOL_VERSION))?;
    ProtocolVersion::KNOWN_VERSIONS.iter().map(ProtocolVersion::as_str).find(|known| *known == named)
}

fn header<'a>(context: &'a RequestContext<RoleServer>, name: &str) -> Option<&'a str> {
    context.extensions.get::<http::request::Parts>()?.headers.get(name)?.to_str().ok()
}
