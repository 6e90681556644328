-- The core layout: dictionaries, spans with their attribute blocks, trace summaries, logs, metrics, roll-ups,
-- templates, and the position up to which the journal was applied. Times are nanoseconds since the Unix epoch
-- unless the column says seconds.

CREATE TABLE tenants (
    id   INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE
) STRICT;

-- Nodes of the graph. kind: 0 service, 1 database, 2 queue, 3 external host.
CREATE TABLE services (
    id         INTEGER PRIMARY KEY,
    tenant_id  INTEGER NOT NULL,
    kind       INTEGER NOT NULL,
    name       TEXT    NOT NULL,
    first_seen INTEGER NOT NULL,
    UNIQUE (tenant_id, kind, name)
) STRICT;

-- Span names of a node. kind: the OTLP span kind.
CREATE TABLE operations (
    id         INTEGER PRIMARY KEY,
    tenant_id  INTEGER NOT NULL,
    service_id INTEGER NOT NULL,
    kind       INTEGER NOT NULL,
    name       TEXT    NOT NULL,
    first_seen INTEGER NOT NULL,
    UNIQUE (service_id, kind, name)
) STRICT;

-- Resources by content. hash: XXH3-128 of the packed content; attributes: packed KeyValue fields.
CREATE TABLE resources (
    id                 INTEGER PRIMARY KEY,
    tenant_id          INTEGER NOT NULL,
    hash               BLOB    NOT NULL,
    service_id         INTEGER NOT NULL,
    version            TEXT    NOT NULL,
    instance           TEXT    NOT NULL,
    attributes         BLOB    NOT NULL,
    dropped_attributes INTEGER NOT NULL,
    schema_url         TEXT    NOT NULL,
    first_seen         INTEGER NOT NULL,
    UNIQUE (tenant_id, hash)
) STRICT;

CREATE TABLE instrumentations (
    id                 INTEGER PRIMARY KEY,
    tenant_id          INTEGER NOT NULL,
    hash               BLOB    NOT NULL,
    name               TEXT    NOT NULL,
    version            TEXT    NOT NULL,
    attributes         BLOB    NOT NULL,
    dropped_attributes INTEGER NOT NULL,
    schema_url         TEXT    NOT NULL,
    UNIQUE (tenant_id, hash)
) STRICT;

-- Packed details of neighbouring rows of one tenant and signal, compressed together. signal: 0 spans, 1 logs,
-- 2 metric points. filter: which attributes the rows may hold (empty: unknown).
CREATE TABLE blocks (
    id        INTEGER PRIMARY KEY,
    tenant_id INTEGER NOT NULL,
    signal    INTEGER NOT NULL,
    rows      INTEGER NOT NULL,
    min_time  INTEGER NOT NULL,
    max_time  INTEGER NOT NULL,
    filter    BLOB    NOT NULL,
    data      BLOB    NOT NULL
) STRICT;

-- One row a span, in order of arrival. trace_key: local in time, see docs/adr; status: 0 unset, 1 ok, 2 error.
-- http_status: 0 where there is none. block_row: position in the block.
CREATE TABLE spans (
    id                 INTEGER PRIMARY KEY,
    tenant_id          INTEGER NOT NULL,
    trace_key          INTEGER NOT NULL,
    trace_id           BLOB    NOT NULL,
    span_id            BLOB    NOT NULL,
    parent_id          BLOB,
    service_id         INTEGER NOT NULL,
    operation_id       INTEGER NOT NULL,
    resource_id        INTEGER NOT NULL,
    instrumentation_id INTEGER NOT NULL,
    kind               INTEGER NOT NULL,
    status             INTEGER NOT NULL,
    entry              INTEGER NOT NULL,
    http_status        INTEGER NOT NULL,
    dependency_id      INTEGER,
    start_ns           INTEGER NOT NULL,
    duration_ns        INTEGER NOT NULL,
    block_id           INTEGER NOT NULL,
    block_row          INTEGER NOT NULL
) STRICT;
CREATE INDEX spans_by_trace ON spans (trace_key);
CREATE INDEX spans_by_service ON spans (service_id, start_ns);
CREATE INDEX spans_failed ON spans (tenant_id, start_ns) WHERE status = 2;
CREATE INDEX spans_slow ON spans (tenant_id, start_ns) WHERE duration_ns >= 500000000;

-- Folds over the spans of a trace, right in any order of arrival. A trace that outlives the window in which its
-- parts are remembered has several rows; readers fold them.
CREATE TABLE traces (
    trace_key         INTEGER NOT NULL,
    trace_id          BLOB    NOT NULL,
    tenant_id         INTEGER NOT NULL,
    root_operation_id INTEGER,
    root_start_ns     INTEGER,
    first_operation_id INTEGER NOT NULL,
    start_ns          INTEGER NOT NULL,
    end_ns            INTEGER NOT NULL,
    spans             INTEGER NOT NULL,
    errors            INTEGER NOT NULL,
    PRIMARY KEY (trace_key, tenant_id, trace_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX traces_by_time ON traces (tenant_id, start_ns);

CREATE TABLE logs (
    id                 INTEGER PRIMARY KEY,
    tenant_id          INTEGER NOT NULL,
    time_ns            INTEGER NOT NULL,
    severity           INTEGER NOT NULL,
    service_id         INTEGER NOT NULL,
    resource_id        INTEGER NOT NULL,
    instrumentation_id INTEGER NOT NULL,
    template_id        INTEGER NOT NULL,
    trace_id           BLOB,
    span_id            BLOB,
    block_id           INTEGER NOT NULL,
    block_row          INTEGER NOT NULL
) STRICT;
CREATE INDEX logs_by_time ON logs (tenant_id, time_ns);
CREATE INDEX logs_by_service ON logs (service_id, time_ns);
CREATE INDEX logs_severe ON logs (tenant_id, time_ns) WHERE severity >= 13;
CREATE INDEX logs_by_trace ON logs (trace_id) WHERE trace_id IS NOT NULL;

-- kind: the field number in OTLP's Metric (5 gauge, 7 sum, 9 histogram, 10 exponential histogram, 11 summary);
-- temporality: 0 none, 1 delta, 2 cumulative.
CREATE TABLE series (
    id                 INTEGER PRIMARY KEY,
    tenant_id          INTEGER NOT NULL,
    hash               BLOB    NOT NULL,
    name               TEXT    NOT NULL,
    unit               TEXT    NOT NULL,
    description        TEXT    NOT NULL,
    metadata           BLOB    NOT NULL,
    kind               INTEGER NOT NULL,
    temporality        INTEGER NOT NULL,
    monotonic          INTEGER NOT NULL,
    service_id         INTEGER NOT NULL,
    resource_id        INTEGER NOT NULL,
    instrumentation_id INTEGER NOT NULL,
    attributes         BLOB    NOT NULL,
    first_seen         INTEGER NOT NULL,
    UNIQUE (tenant_id, hash)
) STRICT;
CREATE INDEX series_by_name ON series (tenant_id, name);
CREATE INDEX series_by_service ON series (service_id);

-- A number has int_value or real_value; a distribution has count and, where known, its sum in real_value; a gap
-- has none of them. A NaN is kept as its bits in int_value with flag 2. detail: packed rest, may be empty.
CREATE TABLE points (
    series_id  INTEGER NOT NULL,
    time_ns    INTEGER NOT NULL,
    seq        INTEGER NOT NULL,
    start_ns   INTEGER NOT NULL,
    flags      INTEGER NOT NULL,
    int_value  INTEGER,
    real_value REAL,
    count      INTEGER,
    detail     BLOB,
    PRIMARY KEY (series_id, time_ns, seq)
) STRICT, WITHOUT ROWID;

-- Roll-ups. width: seconds a bucket lasts. kind: 0 operation (a), 1 instance (service a, resource b),
-- 2 edge (operation a calls operation b), 3 logs (service a, template b, severity c).
CREATE TABLE rollups (
    tenant_id INTEGER NOT NULL,
    width     INTEGER NOT NULL,
    bucket    INTEGER NOT NULL,
    kind      INTEGER NOT NULL,
    a         INTEGER NOT NULL,
    b         INTEGER NOT NULL,
    c         INTEGER NOT NULL,
    count     INTEGER NOT NULL,
    errors    INTEGER NOT NULL,
    sum_ns    INTEGER NOT NULL,
    max_ns    INTEGER NOT NULL,
    other_ns  INTEGER NOT NULL,
    answered  INTEGER NOT NULL,
    sketch    BLOB    NOT NULL,
    PRIMARY KEY (tenant_id, width, bucket, kind, a, b, c)
) STRICT, WITHOUT ROWID;

-- Drain templates. text: tokens joined by one space, variables as <*>. sample: one line it was mined from.
CREATE TABLE templates (
    id         INTEGER PRIMARY KEY,
    tenant_id  INTEGER NOT NULL,
    service_id INTEGER NOT NULL,
    text       TEXT    NOT NULL,
    sample     TEXT    NOT NULL,
    first_seen INTEGER NOT NULL
) STRICT;
CREATE INDEX templates_by_service ON templates (service_id);

-- One row: everything in the journal up to and including this position is in the tables above.
CREATE TABLE applied (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    lsn INTEGER NOT NULL
) STRICT;
INSERT INTO applied (one, lsn) VALUES (1, 0);

-- For people.
CREATE VIEW v_services AS
SELECT s.id, t.name AS tenant, s.name, CASE s.kind WHEN 0 THEN 'service' WHEN 1 THEN 'database' WHEN 2 THEN 'queue' ELSE 'external' END AS kind,
       datetime(s.first_seen / 1000000000, 'unixepoch') AS first_seen
FROM services s JOIN tenants t ON t.id = s.tenant_id;

CREATE VIEW v_spans AS
SELECT p.id, t.name AS tenant, lower(hex(p.trace_id)) AS trace_id, lower(hex(p.span_id)) AS span_id,
       lower(hex(p.parent_id)) AS parent_id, s.name AS service, o.name AS operation,
       CASE p.kind WHEN 1 THEN 'internal' WHEN 2 THEN 'server' WHEN 3 THEN 'client' WHEN 4 THEN 'producer' WHEN 5 THEN 'consumer' ELSE 'unknown' END AS kind,
       CASE p.status WHEN 1 THEN 'ok' WHEN 2 THEN 'error' ELSE 'unset' END AS status,
       NULLIF(p.http_status, 0) AS http_status, strftime('%Y-%m-%dT%H:%M:%fZ', p.start_ns / 1e9, 'unixepoch') AS start,
       p.duration_ns / 1e6 AS duration_ms
FROM spans p JOIN tenants t ON t.id = p.tenant_id JOIN services s ON s.id = p.service_id JOIN operations o ON o.id = p.operation_id;

CREATE VIEW v_logs AS
SELECT l.id, t.name AS tenant, strftime('%Y-%m-%dT%H:%M:%fZ', l.time_ns / 1e9, 'unixepoch') AS time, l.severity, s.name AS service,
       m.text AS template, lower(hex(l.trace_id)) AS trace_id, lower(hex(l.span_id)) AS span_id
FROM logs l JOIN tenants t ON t.id = l.tenant_id JOIN services s ON s.id = l.service_id LEFT JOIN templates m ON m.id = l.template_id;
