//! Variables of the predecessor that nothing acts on.

/// Variables of the predecessor that this version does not act on yet, with what to know. Setting one that guards
/// data or access stops the start; the others warn.
pub(super) const NOT_YET: &[(&str, bool, &str)] = &[
    ("DLQ_REPLAY_INTERVAL", false, "dead letters are sent again by `otelcontext dlq replay`"),
    ("DLQ_MAX_RETRIES", false, "dead letters are sent again by `otelcontext dlq replay`"),
    ("DLQ_MAX_REPLAY_PER_TICK", false, "dead letters are sent again by `otelcontext dlq replay`"),
    ("INGEST_PIPELINE_WORKERS", false, "storing is done by one writer that needs no tuning"),
    ("GRAPHRAG_WORKER_COUNT", false, "the graph needs no workers"),
    ("GRAPHRAG_EVENT_QUEUE_SIZE", false, "the graph has no queue of its own and drops nothing"),
    (
        "AUTH_EXTERNAL_TENANT_HEADER",
        true,
        "the tenant is taken from x-tenant-id alone: have the proxy set that header and drop the caller's own",
    ),
    (
        "OTLP_TRUST_RESOURCE_TENANT",
        true,
        "the tenant is never taken from a resource attribute: have each sender set x-tenant-id, or give it a key of its tenant",
    ),
    ("RETENTION_BATCH_SIZE", false, "days are given up as a whole, nothing is deleted in batches"),
    ("RETENTION_BATCH_SLEEP_MS", false, "days are given up as a whole, nothing is deleted in batches"),
    ("RETENTION_FULL_VACUUM", false, "days are given up as a whole, and their room is used again"),
    ("EXEMPLAR_RETENTION_DAYS", false, "every span is kept, for TRACE_RETENTION_DAYS"),
    (
        "INGEST_ASYNC_ENABLED",
        false,
        "data is always stored in the background; INGEST_ACK says when it is acknowledged",
    ),
    ("VECTOR_INDEX_MAX_ENTRIES", false, "logs are searched by words, in an index without such a bound"),
    ("GRAPHRAG_TRACE_TTL", false, "traces are kept in the database, for TRACE_RETENTION_DAYS"),
    ("GRAPHRAG_TENANT_IDLE_TTL", false, "what is remembered of a tenant ends with its last two hours"),
    ("PPROF_ADDR", false, "there is no profiler to reach; use the system's"),
    ("GOMEMLIMIT", false, "memory is bounded by the INGEST_ variables and by the system"),
    ("GRPC_REFLECTION", false, "there is no reflection"),
    ("WS_MAX_CLIENTS", false, "there are no WebSockets; listen to a resource over MCP"),
    ("WS_ALLOWED_ORIGINS", false, "there are no WebSockets; listen to a resource over MCP"),
    ("METRIC_ATTRIBUTE_KEYS", false, "every attribute of a metric is kept"),
    ("TSDB_RING_BUFFER_DURATION", false, "points are kept in the database, for METRIC_RETENTION_DAYS"),
    ("COMPRESSION_LEVEL", false, "how data is packed needs no choice"),
    ("DATA_DISK_PATH", false, "the disk of DATA_DIR is watched"),
    (
        "OTELCONTEXT_ALLOW_INSECURE_GRPC",
        false,
        "nothing has to be waived: without a certificate keys travel openly",
    ),
];

/// Beginnings of names of the predecessor's variables that have no effect, with what to know.
pub(super) const NOT_YET_BEGINNINGS: &[(&str, &str)] = &[
    ("AGGREGATE_", "there is no aggregate mode: everything is kept as it came"),
    ("EXEMPLAR_", "every span is kept, no exemplars are chosen"),
    ("READY_", "what `/ready` looks at has no bounds to choose"),
    ("VECTOR_INDEX_", "logs are searched by words"),
    ("AI_", "no model is asked: agents ask this server"),
    ("AZURE_OPENAI_", "no model is asked: agents ask this server"),
];
