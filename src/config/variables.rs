//! The table of every variable.

use std::fmt::Write;

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
                "`development` or `production`. Production refuses to start without API_KEY, and on SQLite unless OTELCONTEXT_ALLOW_SQLITE_PROD=true.",
            ),
            variable(
                "LOG_LEVEL",
                "INFO",
                "Least severe level of the server's own log: ERROR, WARN, INFO, DEBUG or TRACE.",
            ),
            variable(
                "BIND_ADDR",
                "127.0.0.1",
                "Address that all ports listen on. An address other than loopback is refused without API_KEY unless OTELCONTEXT_ALLOW_INSECURE=true.",
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
                "`true` lets the server listen beyond loopback without any key.",
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
            variable("DB_DRIVER", "sqlite", "Database: `sqlite`."),
            variable(
                "DB_DSN",
                "",
                "SQLite file, overriding otelcontext.db in DATA_DIR; a path, optionally starting with `sqlite:` or `sqlite://`.",
            ),
            variable(
                "DB_AUTOMIGRATE",
                "true",
                "`false` refuses to start on a database whose schema is older, instead of migrating it.",
            ),
            variable(
                "DB_MAX_OPEN_CONNS",
                "4",
                "Connections that answer questions, 1 to 64; writing always has one of its own.",
            ),
            variable(
                "SQLITE_CACHE_SIZE_KB",
                "65536",
                "Page cache of each SQLite connection in KiB, 1024 to 1048576.",
            ),
            variable(
                "SQLITE_MMAP_SIZE_BYTES",
                "268435456",
                "Bytes of the database that SQLite maps into memory, 0 to 17179869184; 0 maps none.",
            ),
            variable(
                "OTELCONTEXT_ALLOW_SQLITE_PROD",
                "false",
                "`true` accepts SQLite when APP_ENV=production.",
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
                "INGEST_PIPELINE_MAX_BYTES",
                "268435456",
                "Bytes of requests that may wait to be stored, from 1048576; more are refused as overload.",
            ),
            variable(
                "INGEST_INFLIGHT_MAX_BYTES",
                "268435456",
                "Bytes of request bodies held while they are read and decoded, from 1048576; more are refused as overload.",
            ),
            variable(
                "JOURNAL_MAX_MB",
                "4096",
                "Megabytes that the journal may take on disk, 128 to 1048576; at the bound new data is refused as overload until the store catches up.",
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
        "Tenants and keys",
        &[
            secret(
                "API_KEY",
                "",
                "The operator's key, sent as `Authorization: Bearer …`. Empty lets everybody in, which is only allowed on loopback.",
            ),
            variable("DEFAULT_TENANT", "default", "Tenant of requests that name none in `x-tenant-id`."),
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
                "Host names beyond loopback under which MCP may be asked, separated by commas.",
            ),
            variable(
                "MCP_ALLOWED_ORIGINS",
                "",
                "Browser origins beyond loopback that may ask MCP, separated by commas, such as https://ops.example.com.",
            ),
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
                "Spans remembered, over all tenants, to join children to parents without asking the database, 10000 to 50000000. Older ones are looked up.",
            ),
        ],
    ),
];

/// Variables of the predecessor that this version does not act on yet, with what to know. Setting one that guards
/// data or access stops the start; the others warn.
pub const NOT_YET: &[(&str, bool, &str)] = &[
    ("TLS_CERT_FILE", true, "TLS is not served by this version: put a TLS proxy in front"),
    ("TLS_KEY_FILE", true, "TLS is not served by this version: put a TLS proxy in front"),
    ("TLS_AUTO_SELFSIGNED", true, "TLS is not served by this version: put a TLS proxy in front"),
    ("API_TENANT_KEYS_FILE", true, "keys bound to tenants are not read by this version: use API_KEY"),
    ("AUTH_TRUST_EXTERNAL", true, "identities from a proxy are not read by this version: use API_KEY"),
    ("DB_AZURE_AUTH", true, "Postgres is not part of this version"),
    ("DB_POSTGRES_PARTITIONING", false, "Postgres is not part of this version"),
    ("HOT_RETENTION_DAYS", false, "this version deletes nothing: watch the disk"),
    ("SAMPLING_RATE", false, "nothing is sampled"),
    ("STORE_MIN_SEVERITY", false, "every severity is stored"),
    ("INGEST_MIN_SEVERITY", false, "every severity is accepted"),
    ("DLQ_PATH", false, "what was accepted waits in the journal until it is stored"),
    ("API_RATE_LIMIT_RPS", false, "requests are not limited by rate, only by memory and concurrency"),
    ("METRIC_MAX_CARDINALITY", false, "metric series are capped at 500000 a tenant"),
    ("INGEST_PIPELINE_WORKERS", false, "storing is done by one writer that needs no tuning"),
    ("GRAPHRAG_WORKER_COUNT", false, "the graph needs no workers"),
    ("GRAPHRAG_EVENT_QUEUE_SIZE", false, "the graph has no queue of its own and drops nothing"),
];

/// Every variable.
pub fn all() -> impl Iterator<Item = &'static Variable> {
    SECTIONS.iter().flat_map(|(_, variables)| variables.iter())
}

/// The text of `.env.example`.
pub fn env_example() -> String {
    let mut out = String::from(
        "# Every variable of otelcontext with its default. Copy to .env and change what you need; a variable of the\n\
         # environment wins over .env. Secrets can also be read from a file named by the variable with _FILE added.\n",
    );
    for (topic, variables) in SECTIONS {
        let _ = write!(out, "\n# --- {topic} ---\n");
        for variable in *variables {
            out.push('\n');
            for line in wrapped(variable.effect, 110) {
                let _ = writeln!(out, "# {line}");
            }
            let _ = writeln!(out, "# {}={}", variable.name, variable.default);
        }
    }
    out
}

fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let fits = lines.last().is_some_and(|line| line.is_empty() || line.len() + 1 + word.len() <= width);
        if !fits {
            lines.push(String::new());
        }
        if let Some(line) = lines.last_mut() {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    lines
}
