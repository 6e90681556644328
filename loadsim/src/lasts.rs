//! What each connection had acknowledged last: what of a load can be asked for last of all.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use prost::Message;

use crate::ledger::hex;
use crate::run::unix_nanos;
use crate::send::{Outcome, Request, Signal};

/// The last requests. Keeps one of each connection in memory for spans, and one for log records.
#[derive(Debug, Default)]
pub(crate) struct Lasts {
    requests: Mutex<BTreeMap<(Signal, usize), Last>>,
}

#[derive(Debug, Clone)]
struct Last {
    body: Bytes,
    at: Instant,
    at_ns: u64,
}

/// A span, by which its trace is looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LastSpan {
    /// The trace, in hexadecimal.
    pub(crate) trace_id: String,
    /// The span, in hexadecimal.
    pub(crate) span_id: String,
}

/// A log record, by which it is looked for; ordered by time.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct LastRecord {
    /// Its time.
    pub(crate) time_ns: u64,
    /// What it says.
    pub(crate) body: String,
}

impl Lasts {
    /// Notes a request of a connection, if it was acknowledged whole.
    pub(crate) fn note(&self, lane: usize, request: &Request, outcome: &Outcome) {
        if request.signal == Signal::Metrics || *outcome != (Outcome::Acknowledged { rejected: 0 }) {
            return;
        }
        let last = Last { body: request.body.clone(), at: Instant::now(), at_ns: unix_nanos() };
        self.requests.lock().unwrap_or_else(PoisonError::into_inner).insert((request.signal, lane), last);
    }

    /// When the last request of a signal was acknowledged.
    pub(crate) fn acknowledged(&self, signal: Signal) -> Option<Instant> {
        self.of(signal).iter().map(|last| last.at).max()
    }

    /// The last span of each connection; those acknowledged last come first.
    pub(crate) fn spans(&self) -> Vec<LastSpan> {
        let mut lasts = self.of(Signal::Traces);
        lasts.sort_by_key(|last| std::cmp::Reverse(last.at));
        lasts.iter().filter_map(|last| last_span(&last.body)).collect()
    }

    /// The newest record of the request acknowledged last, of those whose time had come by then, because what lies in the future
    /// is not found yet; where there is none, one of another connection, or the one whose time comes first.
    pub(crate) fn record(&self) -> Option<LastRecord> {
        let mut lasts = self.of(Signal::Logs);
        lasts.sort_by_key(|last| std::cmp::Reverse(last.at));
        let come = lasts.iter().find_map(|last| {
            records(&last.body).into_iter().filter(|record| record.time_ns <= last.at_ns).max()
        });
        come.or_else(|| lasts.iter().flat_map(|last| records(&last.body)).min())
    }

    fn of(&self, signal: Signal) -> Vec<Last> {
        let requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        requests.range((signal, 0)..=(signal, usize::MAX)).map(|(_, last)| last.clone()).collect()
    }
}

fn last_span(body: &[u8]) -> Option<LastSpan> {
    let message = ExportTraceServiceRequest::decode(body).ok()?;
    let span = message.resource_spans.last()?.scope_spans.last()?.spans.last()?;
    Some(LastSpan { trace_id: hex(&span.trace_id), span_id: hex(&span.span_id) })
}

/// The records of a request that have a text.
fn records(body: &[u8]) -> Vec<LastRecord> {
    let message = ExportLogsServiceRequest::decode(body).unwrap_or_default();
    let scopes = message.resource_logs.iter().flat_map(|resource| &resource.scope_logs);
    let records = scopes.flat_map(|scope| &scope.log_records);
    let found = records.filter_map(|record| {
        Some(LastRecord { time_ns: record.time_unix_nano, body: text(record)?.to_owned() })
    });
    found.collect()
}

fn text(record: &LogRecord) -> Option<&str> {
    match record.body.as_ref()?.value.as_ref()? {
        Value::StringValue(text) => Some(text),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::common::v1::AnyValue;
    use opentelemetry_proto::tonic::logs::v1::{ResourceLogs, ScopeLogs};
    use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};

    use super::*;

    const TAKEN: Outcome = Outcome::Acknowledged { rejected: 0 };

    fn spans(ids: &[u8]) -> Request {
        let span = |id: &u8| Span { trace_id: vec![*id; 16], span_id: vec![*id; 8], ..Span::default() };
        let scope = ScopeSpans { spans: ids.iter().map(span).collect(), ..ScopeSpans::default() };
        let resource = ResourceSpans { scope_spans: vec![scope], ..ResourceSpans::default() };
        Request::traces(&ExportTraceServiceRequest { resource_spans: vec![resource] })
    }

    fn records_of(records: &[(u64, &str)]) -> Request {
        let record = |(time_unix_nano, body): &(u64, &str)| LogRecord {
            time_unix_nano: *time_unix_nano,
            body: Some(AnyValue { value: Some(Value::StringValue((*body).into())) }),
            ..LogRecord::default()
        };
        let scope = ScopeLogs { log_records: records.iter().map(record).collect(), ..ScopeLogs::default() };
        let resource = ResourceLogs { scope_logs: vec![scope], ..ResourceLogs::default() };
        Request::logs(&ExportLogsServiceRequest { resource_logs: vec![resource] })
    }

    #[test]
    fn each_connection_keeps_the_last_span_that_was_taken() {
        let lasts = Lasts::default();
        lasts.note(0, &spans(&[1, 2]), &TAKEN);
        lasts.note(1, &spans(&[3]), &TAKEN);
        lasts.note(0, &spans(&[4, 5]), &TAKEN);
        lasts.note(1, &spans(&[6]), &Outcome::GaveUp("late".into()));
        lasts.note(1, &spans(&[7, 8]), &Outcome::Acknowledged { rejected: 1 });
        let traces: Vec<String> = lasts.spans().into_iter().map(|span| span.trace_id).collect();
        assert_eq!(traces, ["05".repeat(16), "03".repeat(16)]);
        assert!(lasts.acknowledged(Signal::Traces).is_some());
        assert!(lasts.acknowledged(Signal::Logs).is_none() && lasts.record().is_none());
    }

    #[test]
    fn of_the_last_records_the_newest_is_sought_whose_time_has_come() {
        let (lasts, later_ns) = (Lasts::default(), unix_nanos() + 3_600_000_000_000);
        let found = || lasts.record().map(|record| record.body);
        lasts.note(0, &records_of(&[(later_ns + 2, "after it"), (later_ns, "to come")]), &TAKEN);
        assert_eq!(found().as_deref(), Some("to come"));
        lasts.note(1, &records_of(&[(9, "first")]), &TAKEN);
        lasts.note(2, &records_of(&[(7, "newest"), (5, "older"), (later_ns, "to come")]), &TAKEN);
        assert_eq!(found().as_deref(), Some("newest"));
        lasts.note(2, &records_of(&[(later_ns, "to come")]), &TAKEN);
        assert_eq!(found().as_deref(), Some("first"));
    }
}
