//! The table of every variable.

/// One variable as operators know it.
#[derive(Debug, Clone, Copy)]
pub struct Variable {
    /// Its name.
    pub name: &'static str,
    /// The value taken when it is not set; empty means "none".
    pub default: &'static str,
    /// What it is and what it changes, with unit and bounds.
    pub effect: &'static str,
    /// True when the value must never be shown; such a variable also has a `_FILE` form.
    pub secret: bool,
}

const fn variable(name: &'static str, default: &'static str, effect: &'static str) -> Variable {
    Variable { name, default, effect, secret: false }
}

const fn secret(name: &'static str, default: &'static str, effect: &'static str) -> Variable {
    Variable { name, default, effect, secret: true }
}

/// Variables by topic, in the order of `.env.example`.
pub const SECTIONS: &[(&str, &[Variable])] = &[
    (
        "Server",
        &[
            variable(
                "APP_ENV",
                "development",
                "`development` or `production`. Production refuses to start where no key is asked for (API_KEY, API_TENANT_KEYS_FILE or AUTH_TRUST_EXTERNAL) unless OTELCONTEXT_ALLOW_INSECURE=true, and on SQLite unless OTELCONTEXT_ALLOW_SQLITE_PROD=true. It warns where BIND_ADDR is beyond loopback and nothing encrypts the ports.",
            ),
            variable(
                "LOG_LEVEL",
                "INFO",
                "Least severe level of the server's own log: ERROR, WARN, INFO, DEBUG or TRACE.",
            ),
            variable(
                "BIND_ADDR",
                "127.0.0.1",
                "Address that all ports listen on. An address other than loopback is refused without API_KEY, API_TENANT_KEYS_FILE or AUTH_TRUST_EXTERNAL unless OTELCONTEXT_ALLOW_INSECURE=true.",
            ),
            variable("GRPC_PORT", "4317", "Port of OTLP/gRPC, 0 to 65535; 0 picks a free one."),
            variable("OTLP_HTTP_PORT", "4318", "Port of OTLP/HTTP, 0 to 65535; 0 picks a free one."),
            variable(
                "HTTP_PORT",
                "8080",
                "Port of MCP, probes and metrics, and of OTLP/HTTP too; 0 to 65535; 0 picks a free one.",
            ),
            variable(
                "PORTS_FILE",
                "",
                "File that receives the bound addresses as JSON once the server listens. Empty writes none.",
            ),
            variable(
                "SHUTDOWN_TIMEOUT_MS",
                "10000",
                "Milliseconds that a stop may take, 100 to 600000: requests in flight finish, accepted data is stored; what is left stays in the journal for the next start.",
            ),
            variable(
                "OTELCONTEXT_ALLOW_INSECURE",
                "false",
                "`true` lets the server listen beyond loopback, and start with APP_ENV=production, without any key.",
            ),
        ],
    ),
    (
        "Data",
        &[
            variable(
                "DATA_DIR",
                "./data",
                "Folder of the database, the journal and the search index. Created when missing.",
            ),
            variable("DB_DRIVER", "sqlite", "Database: `sqlite`, or `postgres` at the address in DB_DSN."),
            secret(
                "DB_DSN",
                "",
                "For SQLite the file, overriding otelcontext.db in DATA_DIR: a path, optionally starting with `sqlite:` or `sqlite://`. For Postgres, where it must be set, the address: postgres://user:password@host:5432/database?sslmode=require.",
            ),
            variable(
                "DB_AUTOMIGRATE",
                "true",
                "`false` refuses to start on a database whose schema is older, instead of migrating it.",
            ),
            variable(
                "DB_MAX_OPEN_CONNS",
                "4",
                "Connections that answer questions, 1 to 64; more are taken for 64. Writing always has one of its own.",
            ),
            variable(
                "DB_MAX_IDLE_CONNS",
                "2",
                "Connections to Postgres that stay open when idle, 0 to 64 and at most DB_MAX_OPEN_CONNS; more are taken for as many.",
            ),
            variable(
                "DB_CONN_MAX_LIFETIME",
                "1h",
                "How long a connection to Postgres is used before it is replaced, such as 1h or 90m; 0 sets no bound.",
            ),
            variable(
                "DB_CONN_MAX_IDLE_TIME",
                "10m",
                "How long a connection to Postgres may be idle before it is closed, such as 10m; 0 sets no bound.",
            ),
            variable(
                "DB_AZURE_AUTH",
                "false",
                "`true` enters Postgres with tokens of Microsoft Entra ID instead of a password; DB_DSN must then have sslmode=require, verify-ca or verify-full.",
            ),
            variable(
                "DB_MIGRATE_TIMEOUT_SECS",
                "60",
                "Seconds that bringing the schema of Postgres up to date may take, up to 3600; 0 sets no bound.",
            ),
            variable(
                "DB_POSTGRES_PARTITIONING",
                "daily",
                "`daily`: data is kept in a partition for each day and deleted by dropping it. There is no other way: `none` warns and has no effect.",
            ),
            variable(
                "DB_PARTITION_LOOKAHEAD_DAYS",
                "3",
                "Days ahead for which partitions are made, 0 to 365.",
            ),
            variable(
                "SQLITE_CACHE_SIZE_KB",
                "65536",
                "Page cache of each SQLite connection in KiB, 1024 to 1048576; a quarter for the one that looks for earlier \
                 traces.",
            ),
            variable(
                "SQLITE_MMAP_SIZE_BYTES",
                "0",
                "Bytes of the database that SQLite maps into memory, 0 to 17179869184; 0 maps none, which is faster on a \
                 disk that reads ahead much.",
            ),
            variable(
                "OTELCONTEXT_ALLOW_SQLITE_PROD",
                "false",
                "`true` accepts SQLite when APP_ENV=production.",
            ),
        ],
    ),
    (
        "Retention",
        &[
            variable(
                "HOT_RETENTION_DAYS",
                "7",
                "Days for which spans, log records and metric points are kept, 1 to 36500; then they are deleted a day at a time. Items that are older when they arrive are rejected one by one, and their sender is told.",
            ),
            variable("TRACE_RETENTION_DAYS", "", "The same for spans alone; empty takes HOT_RETENTION_DAYS."),
            variable(
                "LOG_RETENTION_DAYS",
                "",
                "The same for log records alone; empty takes HOT_RETENTION_DAYS.",
            ),
            variable(
                "METRIC_RETENTION_DAYS",
                "",
                "The same for metric points alone; empty takes HOT_RETENTION_DAYS.",
            ),
            variable(
                "ROLLUP_FINE_RETENTION_HOURS",
                "48",
                "Hours for which rates, errors and latencies are kept in steps of ten seconds, 1 to 8760.",
            ),
            variable(
                "ROLLUP_MINUTE_RETENTION_DAYS",
                "30",
                "Days for which they are kept in steps of a minute, 1 to 36500.",
            ),
            variable(
                "ROLLUP_HOUR_RETENTION_DAYS",
                "400",
                "Days for which they are kept in steps of an hour, 1 to 36500.",
            ),
            variable(
                "DATA_DISK_BUDGET_MB",
                "0",
                "Megabytes that all data on this machine may take, from 64: database, journal and search index, and dead letters within DATA_DIR up to a quarter of it; beyond them the oldest days are deleted before their time. 0 sets no bound, unlike the predecessor's 8192: only age deletes.",
            ),
        ],
    ),
    (
        "Intake",
        &[
            variable(
                "INGEST_ACK",
                "durable",
                "`durable` acknowledges after the data is synced to disk; `buffered` acknowledges once it is handed to the operating system, which a power cut can lose.",
            ),
            variable(
                "INGEST_PIPELINE_QUEUE_SIZE",
                "50000",
                "Requests that may wait to be stored, 1 to 1000000; one more is refused as overload (HTTP 429, gRPC UNAVAILABLE with a wait) and may be sent again.",
            ),
            variable(
                "INGEST_PIPELINE_PER_TENANT_CAP",
                "",
                "Requests of one tenant that may wait to be stored while other tenants send too, 0 to 1000000, and as large a part of INGEST_PIPELINE_MAX_BYTES; a service of a tenant has half of that beside others. More are refused for now. Empty is 30 % of the queue; 0 sets no bound.",
            ),
            variable(
                "INGEST_PIPELINE_MAX_BYTES",
                "268435456",
                "Bytes of requests that may wait to be stored, from 1048576; more are refused as overload. On a slow machine fewer wait: as many items as are stored within four seconds, 50000 at least.",
            ),
            variable(
                "INGEST_INFLIGHT_MAX_BYTES",
                "268435456",
                "Bytes of requests held while they are read, decoded and acknowledged, as they lie in memory, from 1048576; more are refused as overload, and more than half for one tenant while others send.",
            ),
            variable(
                "DLQ_PATH",
                "",
                "Folder of dead letters: what was acknowledged and the database refuses for good. Empty: DATA_DIR/dlq.",
            ),
            variable(
                "DLQ_MAX_FILES",
                "1000",
                "Dead letters that are kept at most, 0 to 1000000; 0 sets no bound.",
            ),
            variable(
                "DLQ_MAX_DISK_MB",
                "500",
                "Megabytes of dead letters that are kept at most, 0 to 1048576; 0 sets no bound.",
            ),
            variable(
                "DLQ_WHEN_FULL",
                "wait",
                "`wait` stores nothing more until there is room for a dead letter, so that nothing is lost; `drop_oldest` gives up the oldest, counted in otelcontext_dlq_evicted_total.",
            ),
            variable(
                "JOURNAL_MAX_MB",
                "4096",
                "Megabytes that the journal may take on disk, 128 to 1048576; at the bound new data is refused as overload until the store catches up.",
            ),
            variable(
                "DATA_DISK_FREE_MIN_MB",
                "1024",
                "Megabytes that intake leaves free on the volume of the data directory, 0 to 1048576, but no more than a tenth of that volume: below it new data is refused as overload, until a quarter more is free. The rest is for the database, which has to store what was acknowledged.",
            ),
            variable(
                "GRPC_MAX_RECV_MB",
                "64",
                "Largest request in megabytes, before and after decompression, on gRPC and HTTP alike, 1 to 256. A larger one is refused and must be split.",
            ),
            variable(
                "GRPC_MAX_CONCURRENT_STREAMS",
                "1000",
                "Calls at once on one HTTP/2 connection, 1 to 100000.",
            ),
        ],
    ),
    (
        "Rules",
        &[
            variable(
                "ATTRIBUTE_DROP",
                "",
                "Keys of attributes that are not stored, separated by commas; `http.request.header.*` means all that begin so. Holds for spans, events, links, log records, points, exemplars, resources and scopes. Bodies stay as they come.",
            ),
            variable(
                "ATTRIBUTE_ALLOW",
                "",
                "Keys of the only attributes that are stored, in the same notation; empty stores all. Names of services, versions, instances, environments and clusters, exception.type and exception.message are stored in any case. What a span called and how it ended is read before anything is left out.",
            ),
            variable(
                "ATTRIBUTE_VALUE_MAX_BYTES",
                "65536",
                "Bytes kept of one attribute value, 1 to 65536; longer text is cut between characters and its sender is told. 0 means 65536.",
            ),
            variable(
                "ATTRIBUTES_MAX",
                "1024",
                "Attributes kept of one span, event, link, log record, resource or scope, 1 to 1024; more are left out and counted in its dropped count. A metric point with more is rejected, because fewer would name another series.",
            ),
            variable(
                "PROMOTED_ATTRIBUTES",
                "",
                "Keys of attributes of spans and log records, separated by commas and at most 16, that are looked for often, such as `customer.id`. Their values have twice the bits in the filters of blocks, so that hardly a block without them is opened. From the next day on that is begun.",
            ),
            variable(
                "INGEST_ALLOWED_SERVICES",
                "",
                "Names of the only services whose telemetry is taken, separated by commas; empty takes all. What is rejected is told to its sender.",
            ),
            variable(
                "INGEST_EXCLUDED_SERVICES",
                "",
                "Names of services whose telemetry is rejected, separated by commas.",
            ),
            variable(
                "INGEST_MIN_SEVERITY",
                "",
                "Least severe log records that are taken: TRACE, DEBUG, INFO, WARN, ERROR or FATAL; empty takes all. Less severe ones are rejected, and their sender is told. Records of unknown severity are taken.",
            ),
            variable(
                "STORE_MIN_SEVERITY",
                "",
                "Least severe log records that are stored; less severe ones that are taken count in templates and health and cannot be read. Empty stores all. Records of unknown severity are stored.",
            ),
            variable(
                "SAMPLING_RATE",
                "1.0",
                "Share of traces whose spans are stored, 0 to 1, chosen by the random part of the trace id; all are counted in maps, rates, latencies and templates. Further traces are stored whole for what is in them: see the next two, and one a minute for each operation.",
            ),
            variable(
                "SAMPLING_ALWAYS_ON_ERRORS",
                "true",
                "With SAMPLING_RATE below 1: `true` stores traces in which a span failed.",
            ),
            variable(
                "SAMPLING_LATENCY_THRESHOLD_MS",
                "500",
                "With SAMPLING_RATE below 1: traces with a span that took so many milliseconds are stored, 0 to 86400000; 0 stores none for that.",
            ),
            variable(
                "LOG_SEVERITY_FROM_BODY",
                "true",
                "`false` leaves the severity of log records unknown where their sender gives neither number nor text, instead of reading it from where loggers put it in the line.",
            ),
            variable(
                "LOG_PARSE_JSON",
                "true",
                "`false` leaves log bodies that are JSON objects alone, instead of adding their values as attributes (up to 64, nested keys joined by dots) and reading the line from message, msg, log or event.",
            ),
            variable(
                "METRIC_MAX_CARDINALITY_PER_TENANT",
                "500000",
                "Metric series of one tenant that are told apart; the points of further ones share one series for each metric. 0 sets no bound of its own.",
            ),
            variable(
                "METRIC_MAX_CARDINALITY",
                "2000000",
                "The same over all tenants together; 0 sets no bound. The predecessor's 10000 would cut off a single large tenant.",
            ),
        ],
    ),
    (
        "Tenants and keys",
        &[
            secret(
                "API_KEY",
                "",
                "The operator's key, sent as `Authorization: Bearer …`. Empty lets everybody in, which is only allowed on loopback.",
            ),
            variable(
                "API_TENANT_KEYS_FILE",
                "",
                "JSON file with keys that are bound to one tenant each, as `otelcontext keys new` writes it; only its owner may read it. It is read again when it changes. With it a key is required of every caller.",
            ),
            variable(
                "API_RATE_LIMIT_RPS",
                "100",
                "Questions a second over REST and MCP of one key, or of one address where no key is required, 0 to 1000000; twice as many at once. More are answered with 429. Telemetry does not count. 0 sets no bound.",
            ),
            variable(
                "AUTH_TRUST_EXTERNAL",
                "false",
                "`true` lets callers in for whom a proxy of AUTH_TRUSTED_PROXIES vouches by AUTH_EXTERNAL_HEADER: to send and to ask, for the tenant that the proxy names.",
            ),
            variable(
                "AUTH_TRUSTED_PROXIES",
                "",
                "Addresses or networks of those proxies, separated by commas, such as 10.0.0.0/8.",
            ),
            variable(
                "AUTH_EXTERNAL_HEADER",
                "x-forwarded-user",
                "Header in which they name the caller. They must remove it, and the tenant headers, from what callers send.",
            ),
            variable("DEFAULT_TENANT", "default", "Tenant of requests that name none in `x-tenant-id`."),
        ],
    ),
    (
        "Encryption",
        &[
            variable(
                "TLS_CERT_FILE",
                "",
                "PEM file with the certificate of all three ports, followed by those that lead to its root. They then speak TLS 1.2 and 1.3 alone. Certificate and key are read again when they change.",
            ),
            variable("TLS_KEY_FILE", "", "PEM file with the key of that certificate."),
            variable(
                "TLS_AUTO_SELFSIGNED",
                "false",
                "`true` makes a certificate instead (P-256, 397 days) that signs itself, keeps it over restarts and renews it 30 days before its end, with the same key.",
            ),
            variable(
                "TLS_CACHE_DIR",
                "",
                "Folder of that certificate and its key, `server.crt` and `server.key`; empty for `DATA_DIR/tls`.",
            ),
            variable(
                "TLS_SELFSIGNED_HOSTS",
                "",
                "Names and addresses that it is for beside this machine's loopback and BIND_ADDR, separated by commas.",
            ),
            variable(
                "TLS_CLIENT_CA_FILE",
                "",
                "PEM file with the roots of the certificates that every client must show, probes too; empty asks none.",
            ),
        ],
    ),
    (
        "Agents",
        &[
            variable("MCP_ENABLED", "true", "`false` serves no MCP."),
            variable("MCP_PATH", "/mcp", "Path of MCP on HTTP_PORT."),
            variable(
                "MCP_MAX_CONCURRENT",
                "32",
                "Tool calls at once, 0 to 10000; one more is answered with -32000. 0 sets no bound.",
            ),
            variable(
                "MCP_CALL_TIMEOUT_MS",
                "30000",
                "Milliseconds a tool call may take, 0 to 600000; then it is answered with -32001. 0 sets no bound.",
            ),
            variable(
                "MCP_CACHE_TTL_MS",
                "5000",
                "Milliseconds that an answer is kept for the same tenant, tool and arguments, 0 to 3600000; for at most a second once newer telemetry is stored. 0 keeps none.",
            ),
            variable(
                "MCP_ALLOWED_HOSTS",
                "",
                "Names, beside `localhost` and every address, under which MCP may be asked, and the API where no key is required, separated by commas: otel.internal, or otel.internal:8080 for that port alone; `*` for any. Requests under others are answered with 403.",
            ),
            variable(
                "MCP_ALLOWED_ORIGINS",
                "",
                "Origins of browser pages beyond loopback that may ask MCP, and the API where no key is required, separated by commas, such as https://ops.example.com, or https://ops.example.com:* for any port. Others are answered with 403.",
            ),
        ],
    ),
    (
        "Spans of our own",
        &[
            variable(
                "OTEL_EXPORTER_OTLP_ENDPOINT",
                "",
                "OTLP/gRPC receiver that gets a span of each question over MCP and `/api/v1`, such as http://localhost:4317, which may be this server; `https://` is believed by the roots of the system. Empty makes no spans.",
            ),
            secret(
                "OTEL_EXPORTER_OTLP_HEADERS",
                "",
                "Headers of those exports as name=value, separated by commas, with %XX for what cannot stand there: x-tenant-id=ops,authorization=Bearer%20key.",
            ),
            variable("OTEL_SERVICE_NAME", "otelcontext", "Name of the service that those spans belong to."),
        ],
    ),
    (
        "Search and graph",
        &[
            variable(
                "LOG_FTS_ENABLED",
                "true",
                "`false` keeps no search index: logs are still stored and filtered, but not searched by words.",
            ),
            variable(
                "GRAPHRAG_MAX_SPANS_PER_TENANT",
                "2000000",
                "Spans remembered, over all tenants, to join children to parents without asking the database, 10000 to 50000000. Older ones are looked up. A negative number, which sets no bound in the predecessor, warns and takes the default.",
            ),
        ],
    ),
];

/// Every variable.
pub fn all() -> impl Iterator<Item = &'static Variable> {
    SECTIONS.iter().flat_map(|(_, variables)| variables.iter())
}
