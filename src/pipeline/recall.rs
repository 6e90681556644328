//! What the joiner has forgotten, or never knew, read from the store.

use std::time::Duration;

use tracing::warn;

use crate::fault::chain;
use crate::graph::join::Known;
use crate::model::id::{TenantNumber, TraceId};
use crate::model::node::NodeKind;
use crate::model::span::{SpanKind, Status};
use crate::model::time::UnixNanos;
use crate::store::names::Names;
use crate::store::recall::{Recalled, RecalledSpan};

use super::apply::Applier;
use super::enrich::{self, Enriched};
use super::keep::Keep;

/// Traces that the store is asked about at once.
const RECALLED_TOGETHER: usize = 1_000;

impl<S: Keep> Applier<S> {
    /// Gives the joiner the traces that were begun before it remembers.
    pub(super) async fn recall(&mut self, enriched: &Enriched) {
        for (tenant, positions) in enrich::by_tenant(&enriched.arrivals) {
            let unknown: Vec<(TraceId, UnixNanos)> = if positions.len() == enriched.arrivals.len() {
                self.joiner.unknown(tenant, &enriched.arrivals)
            } else {
                let own: Vec<_> = positions.iter().map(|index| enriched.arrivals[*index].clone()).collect();
                self.joiner.unknown(tenant, &own)
            };
            let mut parts: Vec<&[(TraceId, UnixNanos)]> = unknown.chunks(RECALLED_TOGETHER).collect();
            while let Some(part) = parts.pop() {
                if self.is_led() {
                    return;
                }
                let recalled = self.recalled(tenant, part).await;
                if part.len() > 1 && recalled.iter().any(|trace| trace.truncated) {
                    // Too many spans for one answer: a few traces at a time have room.
                    let (left, right) = part.split_at(part.len() / 2);
                    parts.extend([left, right]);
                    continue;
                }
                for trace in recalled {
                    let known = trace
                        .spans
                        .iter()
                        .map(|span| known(self.committer.store.names(), tenant, span))
                        .collect();
                    self.joiner.seed(tenant, trace.trace_id, trace.key, known);
                }
            }
        }
    }

    async fn recalled(&mut self, tenant: TenantNumber, unknown: &[(TraceId, UnixNanos)]) -> Vec<Recalled> {
        if unknown.is_empty() {
            return Vec::new();
        }
        let mut pause = Duration::from_millis(50);
        loop {
            match self.committer.store.recall(tenant, unknown).await {
                Ok(recalled) => return recalled,
                Err(failure) => {
                    let chain = chain(&failure);
                    warn!(error = chain, "the store cannot be read; it is asked again");
                    self.committer.health.set("store", false, chain);
                    if self.is_led() {
                        return Vec::new();
                    }
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(self.committer.options.retry_interval_max);
                }
            }
        }
    }
}

/// What the joiner needs to know of a stored span. The operation on the peer is the span's own name, as
/// [`super::traits`] gives it, except for queues, whose one operation is their name.
fn known(names: &Names, tenant: TenantNumber, span: &RecalledSpan) -> Known {
    let dependency = span.dependency.and_then(|node| {
        let info = names.service_info(node)?;
        let called = names.operation_info(span.operation)?;
        let (kind, name) = match info.kind {
            NodeKind::Queue => {
                (SpanKind::PRODUCER, info.name.split_once('/').map_or(&*info.name, |(_, name)| name))
            }
            _ => (SpanKind::CLIENT, &*called.name),
        };
        let operation = names.operation(tenant, node, kind, name, span.start);
        Some(crate::graph::join::Dependency { kind: info.kind, operation })
    });
    Known {
        span_id: span.span_id,
        parent_id: span.parent_id,
        service: span.service,
        operation: span.operation,
        kind: span.kind,
        error: span.status == Status::Error,
        start: span.start,
        duration_ns: span.duration_ns,
        dependency,
    }
}
