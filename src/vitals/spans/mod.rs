//! Spans of our own, sent over OTLP/gRPC to where the operator wants them.
//!
//! Promises: [`Spans::record`] neither waits nor fails, whatever becomes of the target. 2,048 spans may wait; the next are
//! dropped and counted, as are those that could not be sent. Once a second what waits goes out, 512 spans at a time; how
//! often a batch is tried is up to the library, within ten seconds. A stop sends what waits within two seconds more.
//!
//! Never: it opens no trace by itself, so that it cannot tell of its own exports; it reads no environment.

#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::HeaderMap;
use opentelemetry::propagation::TextMapPropagator;
use opentelemetry::trace::{SpanContext, SpanId, SpanKind, Status, TraceContextExt, TraceFlags, TraceState};
use opentelemetry::{Context, InstrumentationScope, KeyValue};
use opentelemetry_otlp::{Compression, ExporterBuildError, WithExportConfig, WithTonicConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{
    IdGenerator, RandomIdGenerator, SpanData, SpanEvents, SpanExporter, SpanLinks,
};
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::metadata::MetadataMap;
use tonic::transport::ClientTlsConfig;
use tracing::{info, warn};

use crate::model::time::UnixNanos;

/// Spans that may wait to be sent; the next is dropped.
const QUEUE_SPANS_MAX: usize = 2_048;
/// Spans of one export.
const BATCH_SPANS_MAX: usize = 512;
const _: () = assert!(BATCH_SPANS_MAX <= QUEUE_SPANS_MAX);
/// Between two looks at what waits.
const PAUSE: Duration = Duration::from_secs(1);
/// Time that one export may take, tries and waits between them included.
const EXPORT_TIME_MAX: Duration = Duration::from_secs(10);
/// After this an export is given up, should the library not have done so: a target that does not answer at all.
const EXPORT_PATIENCE: Duration = Duration::from_secs(15);
/// Time that a stop waits for what is still to be sent.
const STOP_TIME_MAX: Duration = Duration::from_secs(2);
/// Length of a trace context of version 00 (W3C Trace Context, section 3.2.2); later versions may be longer.
const TRACEPARENT_BYTES_MIN: usize = 55;

/// What can become of a span. All but the first are reasons to drop it.
const FATES: [&str; 4] = ["exported", "queue_full", "failed", "stopped"];
const EXPORTED: usize = 0;
const QUEUE_FULL: usize = 1;
const FAILED: usize = 2;
const STOPPED: usize = 3;

/// Where spans go, and in whose name.
#[derive(Debug, Clone)]
pub struct Options {
    /// The target, `http://` or `https://` with a host and, if need be, a port. The latter is believed where the roots of
    /// the system vouch for it.
    pub endpoint: String,
    /// Headers of each export, such as a key.
    pub headers: HeaderMap,
    /// `service.name` of the spans.
    pub service: String,
}

/// The exporter cannot be made from these options.
#[derive(Debug, thiserror::Error)]
#[error("spans cannot be exported to this endpoint")]
pub struct Error {
    source: ExporterBuildError,
}

/// One piece of work that a client asked for, of kind SERVER, as it is to be told.
#[derive(Debug, Clone, PartialEq)]
pub struct Span {
    /// Its name: one of few.
    pub name: Cow<'static, str>,
    /// When it ended.
    pub ended: UnixNanos,
    /// How long it took.
    pub duration: Duration,
    /// The trace that the client put it in, as a W3C `traceparent`. One that cannot be read counts as none. Where it says
    /// that the trace is not recorded, neither is this span.
    pub traceparent: Option<String>,
    /// What the server failed at; none where it did its part. Where the attributes name an error all the same (`error.type`),
    /// it was the caller's, and the status says that all is well.
    pub failure: Option<&'static str>,
    /// Attributes.
    pub attributes: Vec<(&'static str, Value)>,
}

/// The value of an attribute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// A text.
    Text(Cow<'static, str>),
    /// A whole number.
    Number(i64),
}

/// Takes spans; cheap to clone. The default takes none.
#[derive(Debug, Clone, Default)]
pub struct Spans {
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    /// None where nothing is exported.
    queue: Option<mpsc::Sender<SpanData>>,
    stop: CancellationToken,
    fates: [AtomicU64; FATES.len()],
}

/// Starts exporting, in a task that ends some time after [`Spans::stop`]. Does not connect yet: a target that is away is no
/// error. Must be called within the runtime.
///
/// # Errors
/// When the endpoint is none, or `https` is asked for and the system has no roots.
pub fn start(options: &Options) -> Result<(Spans, JoinHandle<()>), Error> {
    let exporter = exporter(options).map_err(|source| Error { source })?;
    Ok(started(exporter))
}

fn started<E: SpanExporter + 'static>(exporter: E) -> (Spans, JoinHandle<()>) {
    let (queue, waiting) = mpsc::channel(QUEUE_SPANS_MAX);
    let inner = Arc::new(Inner { queue: Some(queue), ..Inner::default() });
    let sending =
        Sending { exporter: Arc::new(exporter), waiting, inner: Arc::clone(&inner), is_failing: false };
    (Spans { inner }, tokio::spawn(sending.run()))
}

impl Spans {
    /// True where spans go somewhere.
    pub fn are_exported(&self) -> bool {
        self.inner.queue.is_some()
    }

    /// Takes a span to be sent later, or drops it. Never waits.
    pub fn record(&self, span: Span) {
        let Some(queue) = &self.inner.queue else { return };
        let parent = span.traceparent.as_deref().and_then(parent);
        if parent.as_ref().is_some_and(|parent| !parent.is_sampled()) {
            return;
        }
        match queue.try_send(data(span, parent.as_ref())) {
            Ok(()) => {}
            Err(mpsc::error::TrySendError::Full(_)) => self.inner.count(QUEUE_FULL, 1),
            Err(mpsc::error::TrySendError::Closed(_)) => self.inner.count(STOPPED, 1),
        }
    }

    /// Spans that the target took since the start.
    pub fn exported(&self) -> u64 {
        self.inner.fates[EXPORTED].load(Ordering::Relaxed)
    }

    /// Spans that were dropped since the start, by reason; every reason is listed from the start.
    pub fn dropped(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let fates = FATES.iter().zip(&self.inner.fates).skip(1);
        fates.map(|(reason, count)| (*reason, count.load(Ordering::Relaxed)))
    }

    /// Has the task send what waits and end.
    pub fn stop(&self) {
        self.inner.stop.cancel();
    }
}

impl Inner {
    fn count(&self, fate: usize, spans: u64) {
        self.fates[fate].fetch_add(spans, Ordering::Relaxed);
    }
}

/// What sends.
struct Sending<E> {
    exporter: Arc<E>,
    waiting: mpsc::Receiver<SpanData>,
    inner: Arc<Inner>,
    is_failing: bool,
}

impl<E: SpanExporter + 'static> Sending<E> {
    async fn run(mut self) {
        let stop = self.inner.stop.clone();
        let deadline = loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => break Instant::now() + STOP_TIME_MAX,
                () = tokio::time::sleep(PAUSE) => {}
            }
            let mut emptied = std::pin::pin!(self.empty());
            tokio::select! {
                () = &mut emptied => {}
                () = stop.cancelled() => {
                    let deadline = Instant::now() + STOP_TIME_MAX;
                    // What does not get through in time is counted as dropped.
                    let _ = tokio::time::timeout_at(deadline, emptied).await;
                    break deadline;
                }
            }
        };
        let _ = tokio::time::timeout_at(deadline, self.empty()).await;
        self.waiting.close();
        let mut left = 0;
        while self.waiting.try_recv().is_ok() {
            left += 1;
        }
        self.inner.count(STOPPED, left);
    }

    /// Sends until nothing waits.
    async fn empty(&mut self) {
        loop {
            let mut batch = Vec::new();
            while batch.len() < BATCH_SPANS_MAX
                && let Ok(span) = self.waiting.try_recv()
            {
                batch.push(span);
            }
            if batch.is_empty() {
                return;
            }
            self.send(batch).await;
        }
    }

    /// Sends one batch, once as far as this side is concerned.
    async fn send(&mut self, batch: Vec<SpanData>) {
        let mut under_way =
            UnderWay { inner: Arc::clone(&self.inner), spans: batch.len() as u64, fate: STOPPED };
        let exporter = Arc::clone(&self.exporter);
        // In a task of its own, so that a panic costs this batch and not the server.
        let mut attempt = JoinSet::new();
        attempt.spawn(async move { exporter.export(batch).await });
        let why = match tokio::time::timeout(EXPORT_PATIENCE, attempt.join_next()).await {
            Ok(Some(Ok(Ok(())))) => None,
            Ok(Some(Ok(Err(error)))) => Some(error.to_string()),
            Ok(Some(Err(error))) => Some(error.to_string()),
            Ok(None) | Err(_) => Some(format!("no answer within {EXPORT_PATIENCE:?}")),
        };
        under_way.fate = if why.is_none() { EXPORTED } else { FAILED };
        match why {
            Some(why) if !self.is_failing => {
                warn!(why, "spans of our own could not be exported; later ones are tried all the same");
            }
            None if self.is_failing => info!("spans of our own are exported again"),
            _ => {}
        }
        self.is_failing = under_way.fate == FAILED;
    }
}

/// Spans on their way to the target: counted when it is known what became of them, or when they are given up.
struct UnderWay {
    inner: Arc<Inner>,
    spans: u64,
    fate: usize,
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.inner.count(self.fate, self.spans);
    }
}

fn exporter(options: &Options) -> Result<opentelemetry_otlp::SpanExporter, ExporterBuildError> {
    let metadata = MetadataMap::from_headers(options.headers.clone());
    // Everything that the library would read from the environment is said here: all of that is read elsewhere, once.
    let builder = opentelemetry_otlp::SpanExporter::builder()
        .with_tonic()
        .with_endpoint(options.endpoint.clone())
        .with_timeout(EXPORT_TIME_MAX)
        .with_compression(Compression::Gzip)
        .with_interceptor(move |mut request: tonic::Request<()>| -> Result<_, tonic::Status> {
            *request.metadata_mut() = metadata.clone();
            Ok(request)
        });
    let mut exporter = if options.endpoint.starts_with("https:") {
        builder.with_tls_config(ClientTlsConfig::new().with_native_roots()).build()?
    } else {
        builder.build()?
    };
    let about = [
        KeyValue::new("service.name", options.service.clone()),
        KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
    ];
    exporter.set_resource(&Resource::builder_empty().with_attributes(about).build());
    Ok(exporter)
}

/// The span of the client that a trace context names.
fn parent(traceparent: &str) -> Option<SpanContext> {
    // The library takes ids that are too short, too.
    if traceparent.len() < TRACEPARENT_BYTES_MIN {
        return None;
    }
    let carrier = HashMap::from([("traceparent".to_owned(), traceparent.to_owned())]);
    let context = TraceContextPropagator::new().extract_with_context(&Context::new(), &carrier);
    Some(context.span().span_context().clone()).filter(SpanContext::is_valid)
}

fn data(span: Span, parent: Option<&SpanContext>) -> SpanData {
    let ids = RandomIdGenerator::default();
    let trace_id = parent.map_or_else(|| ids.new_trace_id(), SpanContext::trace_id);
    let attribute = |(key, value)| match value {
        Value::Text(text) => KeyValue::new(key, text),
        Value::Number(number) => KeyValue::new(key, number),
    };
    let is_callers = span.attributes.iter().any(|(key, _)| *key == "error.type");
    let well = if is_callers { Status::Ok } else { Status::Unset };
    SpanData {
        span_context: SpanContext::new(
            trace_id,
            ids.new_span_id(),
            TraceFlags::SAMPLED,
            false,
            TraceState::default(),
        ),
        parent_span_id: parent.map_or(SpanId::INVALID, SpanContext::span_id),
        parent_span_is_remote: parent.is_some(),
        span_kind: SpanKind::Server,
        name: span.name,
        start_time: moment(span.ended.minus(span.duration)),
        end_time: moment(span.ended),
        attributes: span.attributes.into_iter().map(attribute).collect(),
        dropped_attributes_count: 0,
        events: SpanEvents::default(),
        links: SpanLinks::default(),
        status: span.failure.map_or(well, Status::error),
        instrumentation_scope: InstrumentationScope::builder("otelcontext")
            .with_version(env!("CARGO_PKG_VERSION"))
            .build(),
    }
}

fn moment(at: UnixNanos) -> SystemTime {
    UNIX_EPOCH + Duration::from_nanos(u64::try_from(at.0).unwrap_or_default())
}
