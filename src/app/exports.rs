//! Which numbers of which part are shown on `/metrics`, and under which name.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::admit::Budget;
use crate::api;
use crate::auth::Authenticator;
use crate::config::Config;
use crate::graph::Graph;
use crate::journal::Journal;
use crate::letters::{Letters, Stats};
use crate::mcp;
use crate::model::batch::Signal;
use crate::pipeline;
use crate::receive::Receive;
use crate::search::Index;
use crate::store::Store;
use crate::vitals::metrics::{Kind, Labels, Metrics};
use crate::vitals::process;

use super::State;
use super::disk::{self, Disk};
use super::routes::Behind;

/// The parts whose numbers are shown.
pub(super) struct Exported {
    pipeline: pipeline::Handle,
    journal: Journal,
    store: Store,
    graph: Graph,
    index: Option<Arc<Index>>,
    receive: Receive,
    authenticator: Authenticator,
    budget: Budget,
    disk: Disk,
}

impl Exported {
    /// Of a server that is put together.
    pub(super) fn of(
        config: &Config,
        (state, behind): (&State, &Behind),
        receive: &Receive,
        authenticator: &Authenticator,
    ) -> Self {
        Self {
            pipeline: behind.pipeline.clone(),
            journal: state.journal.clone(),
            store: state.store.clone(),
            graph: state.graph.clone(),
            index: state.index.clone(),
            receive: receive.clone(),
            authenticator: authenticator.clone(),
            budget: behind.budget.clone(),
            disk: Disk::of(config),
        }
    }
}

pub(super) fn label(name: &str, value: &str) -> Labels {
    vec![(name.to_owned(), value.to_owned())]
}

/// Shows everything.
pub(super) fn register(metrics: &Metrics, parts: &Exported) {
    process_metrics(metrics);
    ingest_metrics(metrics, &parts.pipeline);
    buried_metrics(metrics, &parts.pipeline);
    queue_metrics(metrics, &parts.pipeline);
    rules_metrics(metrics, &parts.pipeline, &parts.receive);
    journal_metrics(metrics, &parts.journal);
    state_metrics(metrics, parts);
    disk::register(metrics, &parts.disk);
    let receive = parts.receive.clone();
    counters(metrics, move || receive.samples().collect());
    let (authenticator, keys) = (parts.authenticator.clone(), parts.authenticator.clone());
    counters(metrics, move || authenticator.samples().collect());
    metrics.export_one("auth_keys", "Keys of the key file that open something.", Kind::Gauge, move || {
        keys.keys() as f64
    });
}

/// A counter as the gates keep it: full name, labels, value.
type Sample = (&'static str, Vec<(&'static str, &'static str)>, u64);

/// Shows counters that a part keeps under their full names.
fn counters(metrics: &Metrics, read: impl Fn() -> Vec<Sample> + Clone + Send + Sync + 'static) {
    let names: BTreeSet<&'static str> = read().into_iter().map(|(name, ..)| name).collect();
    for name in names {
        let short = name.trim_start_matches("otelcontext_").trim_end_matches("_total");
        let read = read.clone();
        metrics.export(short, describe(short), Kind::Counter, move || {
            let samples = read().into_iter().filter(|(other, ..)| *other == name);
            samples.map(|(_, labels, value)| (owned(&labels), value as f64)).collect()
        });
    }
}

fn describe(name: &str) -> &'static str {
    match name {
        "otlp_bytes" => "Bytes of request bodies received.",
        "otlp_requests" => "Export requests received.",
        "otlp_payload_rejected" => "Export requests refused, by reason.",
        "otlp_items_accepted" => "Items of requests that were accepted.",
        "otlp_items_rejected" => "Items rejected or refused, by reason.",
        "http_otlp_throttled" => "Export requests over HTTP answered with a wait.",
        "grpc_requests" => "Export calls by method and status.",
        "api_rate_limited" => "Questions refused because their key had asked too many.",
        "auth_key_file_reloads" => "How often the key file was read again after it changed, or could not be.",
        "auth_tenant_conflicts" => "Requests turned away for their tenant header.",
        _ => "Requests turned away for their credential.",
    }
}

fn owned(labels: &[(&str, &str)]) -> Labels {
    labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn process_metrics(metrics: &Metrics) {
    metrics.export_one(
        "process_cpu_seconds",
        "Processor time used, user and system.",
        Kind::Counter,
        process::cpu_seconds,
    );
    metrics.export_one(
        "process_resident_memory_bytes",
        "Memory in use.",
        Kind::Gauge,
        process::resident_bytes,
    );
    metrics.export_one("process_open_fds", "Open file descriptors.", Kind::Gauge, process::open_files);
    metrics.export_one("process_max_fds", "File descriptors that may be open.", Kind::Gauge, || {
        process::open_files_max().map_or(f64::INFINITY, |most| most as f64)
    });
    metrics.export("build_info", "The version that runs.", Kind::Gauge, || {
        vec![(label("version", env!("CARGO_PKG_VERSION")), 1.0)]
    });
}

fn ingest_metrics(metrics: &Metrics, pipeline: &pipeline::Handle) {
    let by_signal = |read: fn(&pipeline::Tally, Signal) -> u64, pipeline: pipeline::Handle| {
        move || {
            let of = |signal: Signal| (label("signal", signal.name()), read(pipeline.tally(), signal) as f64);
            Signal::ALL.map(of).to_vec()
        }
    };
    metrics.export(
        "ingest_accepted",
        "Spans, log records and metric points acknowledged.",
        Kind::Counter,
        by_signal(pipeline::Tally::accepted_items, pipeline.clone()),
    );
    metrics.export(
        "ingest_stored",
        "Spans, log records and metric points written to the store, replayed ones included.",
        Kind::Counter,
        by_signal(pipeline::Tally::stored_items, pipeline.clone()),
    );
    let handle = pipeline.clone();
    metrics.export(
        "ingest_pipeline_dropped",
        "Items refused before they were acknowledged.",
        Kind::Counter,
        move || {
            let refused = handle.tally().refused_items();
            refused
                .map(|(signal, reason, count)| {
                    let labels =
                        vec![("signal".into(), signal.name().into()), ("reason".into(), reason.into())];
                    (labels, count as f64)
                })
                .collect()
        },
    );
    let handle = pipeline.clone();
    metrics.export_one(
        "ingest_duplicate_spans",
        "Spans that came again and were not stored twice.",
        Kind::Counter,
        move || handle.tally().duplicate_spans() as f64,
    );
    let handle = pipeline.clone();
    metrics.export_one(
        "ingest_replayed_requests",
        "Requests replayed from the journal at start.",
        Kind::Counter,
        move || handle.tally().replayed_requests() as f64,
    );
    let handle = pipeline.clone();
    metrics.export("store_commits", "Transactions by result.", Kind::Counter, move || {
        let (good, failed) = handle.tally().commits();
        vec![(label("result", "ok"), good as f64), (label("result", "error"), failed as f64)]
    });
}

/// What waits to be stored, and how much may.
fn queue_metrics(metrics: &Metrics, pipeline: &pipeline::Handle) {
    let export = |name, help, read: fn(&pipeline::Handle) -> f64| {
        let handle = pipeline.clone();
        metrics.export_one(name, help, Kind::Gauge, move || read(&handle));
    };
    export("ingest_pipeline_queue_depth", "Requests that wait to be stored.", |pipeline| {
        pipeline.waiting().0 as f64
    });
    export("ingest_pipeline_queue_bytes", "Bytes that wait to be stored.", |pipeline| {
        pipeline.waiting().1 as f64
    });
    export("ingest_pipeline_queue_items", "Items that wait to be stored.", |pipeline| {
        pipeline.waiting_items().0 as f64
    });
    export(
        "ingest_pipeline_queue_max_items",
        "Items that may wait, as many as are stored within four seconds; 0 until that is known.",
        |pipeline| pipeline.waiting_items().1.map_or(0.0, |most| most as f64),
    );
}

/// What the operator's rules left out.
fn rules_metrics(metrics: &Metrics, pipeline: &pipeline::Handle, receive: &Receive) {
    let (handle, door) = (pipeline.clone(), receive.clone());
    metrics.export("attributes_dropped", "Attributes left out, by reason.", Kind::Counter, move || {
        let ((denied, not_allowed), (too_many, _)) =
            (handle.tally().attributes_left_out(), door.attributes());
        let counts = [("denied", denied), ("not_allowed", not_allowed), ("too_many", too_many)];
        counts.map(|(reason, count)| (label("reason", reason), count as f64)).to_vec()
    });
    let (handle, door) = (pipeline.clone(), receive.clone());
    metrics.export_one("attributes_truncated", "Attribute values cut.", Kind::Counter, move || {
        (handle.tally().attributes_shortened() + door.attributes().1) as f64
    });
    let export = |name, help, kind, read: fn(&pipeline::Tally) -> f64| {
        let handle = pipeline.clone();
        metrics.export_one(name, help, kind, move || read(handle.tally()));
    };
    export(
        "ingest_counted_only_records",
        "Log records below STORE_MIN_SEVERITY, counted and not stored.",
        Kind::Counter,
        |tally| tally.counted_only_records() as f64,
    );
    export(
        "ingest_sampled_spans",
        "Spans counted and not stored, because of SAMPLING_RATE.",
        Kind::Counter,
        |tally| tally.sampled_spans().0 as f64,
    );
    export(
        "ingest_held_spans",
        "Spans counted that may still be stored, should their trace be worth it.",
        Kind::Gauge,
        |tally| tally.sampled_spans().1 as f64,
    );
    export(
        "ingest_unfollowed_links",
        "Links of spans that are stored and add nothing to the graph, because there were too many.",
        Kind::Counter,
        |tally| tally.links_not_followed() as f64,
    );
    export(
        "tsdb_cardinality_overflow",
        "Points that went to an overflow series because there are too many series.",
        Kind::Counter,
        |tally| tally.overflowed_points() as f64,
    );
}

fn journal_metrics(metrics: &Metrics, journal: &Journal) {
    let export = |name, help, kind, read: fn(&crate::journal::Stats) -> f64| {
        let journal = journal.clone();
        metrics.export_one(name, help, kind, move || read(&journal.stats()));
    };
    export("journal_bytes", "Bytes of journal segments on disk.", Kind::Gauge, |stats| stats.bytes as f64);
    export("journal_segments", "Journal segments on disk.", Kind::Gauge, |stats| stats.segments as f64);
    export("journal_syncs", "Times the journal was synced to disk.", Kind::Counter, |stats| {
        stats.syncs as f64
    });
    export("journal_sync_seconds", "Time spent syncing the journal.", Kind::Counter, |stats| {
        stats.sync_total.as_secs_f64()
    });
    export("journal_poisoned", "1 when the journal failed and refuses new data.", Kind::Gauge, |stats| {
        f64::from(u8::from(stats.poisoned.is_some()))
    });
    export(
        "journal_damaged_bytes",
        "Bytes of the journal that were damaged when this server started.",
        Kind::Gauge,
        |stats| stats.damaged_bytes as f64,
    );
    export(
        "journal_missing_requests",
        "Acknowledged requests that neither journal nor database had when this server started.",
        Kind::Gauge,
        |stats| stats.missing as f64,
    );
    export("journal_lag_requests", "Requests journaled and not yet on disk.", Kind::Gauge, |stats| {
        stats.appended.0.saturating_sub(stats.durable.0) as f64
    });
}

fn state_metrics(metrics: &Metrics, parts: &Exported) {
    let (journal, store) = (parts.journal.clone(), parts.store.clone());
    metrics.export_one(
        "store_lag_requests",
        "Requests on disk in the journal and not yet stored.",
        Kind::Gauge,
        move || journal.stats().durable.0.saturating_sub(store.applied()) as f64,
    );
    let graph = parts.graph.clone();
    metrics.export("graph_store_entities", "Entities the graph remembers.", Kind::Gauge, move || {
        let (mut nodes, mut edges) = (0.0, 0.0);
        for tenant in graph.tenants() {
            let counts = graph.counts(tenant);
            nodes += counts.nodes as f64;
            edges += counts.edges as f64;
        }
        vec![(label("entity", "node"), nodes), (label("entity", "edge"), edges)]
    });
    let graph = parts.graph.clone();
    metrics.export_one(
        "graph_late_observations",
        "Observations too old for the graph's memory; the store has them.",
        Kind::Counter,
        move || graph.tenants().into_iter().map(|tenant| graph.counts(tenant).late as f64).sum(),
    );
    let (store, pipeline) = (parts.store.clone(), parts.pipeline.clone());
    metrics.export_one(
        "cardinality_overflow",
        "Names, and log records by their template, that went to an overflow entry because there are too many.",
        Kind::Counter,
        move || (store.names().overflows() + pipeline.tally().overflowed_log_lines()) as f64,
    );
    let budget = parts.budget.clone();
    metrics.export_one(
        "ingest_inflight_bytes",
        "Bytes of request bodies being read or decoded.",
        Kind::Gauge,
        move || budget.held_bytes() as f64,
    );
    if let Some(index) = parts.index.clone() {
        metrics.export_one(
            "search_position",
            "Log records up to this id are searchable.",
            Kind::Gauge,
            move || index.position() as f64,
        );
    }
}

/// Shows how tool calls ended, and how many listen.
pub(super) fn tool_metrics(metrics: &Metrics, calls: &Arc<mcp::Tally>) {
    let tally = Arc::clone(calls);
    metrics.export("mcp_tool_invocations", "Tool calls by tool and status.", Kind::Counter, move || {
        let labels = |tool: &str, status: &str| owned(&[("tool", tool), ("status", status)]);
        tally.calls().map(|(tool, status, count)| (labels(tool, status), count as f64)).collect()
    });
    let tally = Arc::clone(calls);
    metrics.export_one("mcp_listeners", "Callers that listen for anomalies.", Kind::Gauge, move || {
        tally.listeners() as f64
    });
    let tally = Arc::clone(calls);
    metrics.export("mcp_tool_seconds", "Time spent on tool calls.", Kind::Counter, move || {
        tally.costs().map(|(tool, seconds, _)| (label("tool", tool), seconds)).collect()
    });
    let tally = Arc::clone(calls);
    metrics.export("mcp_answer_bytes", "Bytes of tool answers.", Kind::Counter, move || {
        tally.costs().map(|(tool, _, bytes)| (label("tool", tool), bytes as f64)).collect()
    });
    let tally = Arc::clone(calls);
    metrics.export("mcp_answer_tokens", "Estimated tokens of tool answers.", Kind::Counter, move || {
        tally.tokens().map(|(tool, tokens)| (label("tool", tool), tokens as f64)).collect()
    });
}

/// Shows how questions over HTTP ended.
pub(super) fn question_metrics(metrics: &Metrics, asked: &Arc<api::Tally>) {
    let tally = Arc::clone(asked);
    metrics.export("api_requests", "Questions over HTTP by route and status.", Kind::Counter, move || {
        let labels = |route: &str, status: &str| owned(&[("route", route), ("status", status)]);
        tally.questions().map(|(route, status, count)| (labels(route, status), count as f64)).collect()
    });
    let tally = Arc::clone(asked);
    metrics.export("api_request_seconds", "Time spent on questions over HTTP.", Kind::Counter, move || {
        tally.seconds().map(|(route, seconds)| (label("route", route), seconds)).collect()
    });
}

/// Shows what could not be stored.
fn buried_metrics(metrics: &Metrics, pipeline: &pipeline::Handle) {
    let handle = pipeline.clone();
    metrics.export("ingest_pipeline_dlq", "Items put into dead letters.", Kind::Counter, move || {
        let labels = |signal: Signal| owned(&[("signal", signal.name()), ("result", "enqueued")]);
        Signal::ALL.map(|signal| (labels(signal), handle.tally().buried_items(signal) as f64)).to_vec()
    });
}

/// Shows the letters themselves.
pub(super) fn letter_metrics(metrics: &Metrics, letters: &Letters) {
    type Read = fn(Stats) -> u64;
    // Of what was seen when the first one was read.
    let looked = letters.clone();
    metrics.export_one("dlq_size", "Dead letters that are kept.", Kind::Gauge, move || {
        looked.stats().letters as f64
    });
    let shown: [(&str, &str, Kind, Read); 4] = [
        ("dlq_disk_bytes", "Bytes of dead letters.", Kind::Gauge, |stats| stats.bytes),
        ("dlq_enqueued", "Dead letters that were written.", Kind::Counter, |stats| stats.written),
        ("dlq_evicted", "Dead letters given up for room.", Kind::Counter, |stats| stats.evicted),
        ("dlq_evicted_bytes", "Bytes of dead letters given up for room.", Kind::Counter, |stats| {
            stats.evicted_bytes
        }),
    ];
    for (name, help, kind, read) in shown {
        let letters = letters.clone();
        metrics.export_one(name, help, kind, move || read(letters.seen()) as f64);
    }
}
