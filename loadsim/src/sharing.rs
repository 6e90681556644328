//! Which connection takes which spans.

use crate::traffic::Span;

/// How spans are shared out among connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Sharing {
    /// Each service has one connection, as if it sent for itself.
    #[default]
    ByService,
    /// Each trace has one connection, which so carries spans of all services, as a Collector in front of them would.
    ByTrace,
}

impl Sharing {
    /// The connection of a span, of so many.
    pub(crate) fn lane(self, span: &Span, connections: usize) -> usize {
        match self {
            Self::ByService => span.service % connections,
            Self::ByTrace => {
                let [.., a, b, c, d] = span.trace_id;
                u32::from_be_bytes([a, b, c, d]) as usize / 2 % connections
            }
        }
    }

    /// Spans by connection, in the order that they came in.
    pub(crate) fn shared_out(self, spans: &[Span], connections: usize) -> Vec<Vec<Span>> {
        let mut parts = vec![Vec::new(); connections];
        for span in spans {
            parts[self.lane(span, connections)].push(span.clone());
        }
        parts
    }
}
