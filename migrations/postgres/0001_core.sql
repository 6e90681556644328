-- The layout on Postgres: the same tables and columns as on SQLite. Times are nanoseconds since the Unix epoch unless a
-- column says seconds. Tables that are kept by day are partitioned; their partitions (spans_20261128) are made and dropped
-- by the server. A NUL in a text, which Postgres does not take, is written as U+F0000 followed by 0.

-- Whose telemetry is kept.
CREATE TABLE tenants (
    id   INTEGER NOT NULL,
    name TEXT NOT NULL,
    PRIMARY KEY (id),
    UNIQUE (name)
);

-- Nodes of the graph. kind: 0 service, 1 database, 2 queue, 3 external host.
CREATE TABLE services (
    id         INTEGER NOT NULL,
    tenant_id  INTEGER NOT NULL,
    kind       SMALLINT NOT NULL,
    name       TEXT NOT NULL,
    first_seen BIGINT NOT NULL,
    PRIMARY KEY (id),
    UNIQUE (tenant_id, kind, name)
);

-- Span names of a node. kind: the OTLP span kind.
CREATE TABLE operations (
    id         INTEGER NOT NULL,
    tenant_id  INTEGER NOT NULL,
    service_id INTEGER NOT NULL,
    kind       SMALLINT NOT NULL,
    name       TEXT NOT NULL,
    first_seen BIGINT NOT NULL,
    PRIMARY KEY (id),
    UNIQUE (service_id, kind, name)
);

-- Resources by content. hash: XXH3-128 of the packed content; attributes: packed KeyValue fields.
CREATE TABLE resources (
    id                 INTEGER NOT NULL,
    tenant_id          INTEGER NOT NULL,
    hash               BYTEA NOT NULL,
    service_id         INTEGER NOT NULL,
    version            TEXT NOT NULL,
    instance           TEXT NOT NULL,
    attributes         BYTEA NOT NULL,
    dropped_attributes BIGINT NOT NULL,
    schema_url         TEXT NOT NULL,
    first_seen         BIGINT NOT NULL,
    PRIMARY KEY (id),
    UNIQUE (tenant_id, hash)
);

-- Instrumentation scopes by content.
CREATE TABLE instrumentations (
    id                 INTEGER NOT NULL,
    tenant_id          INTEGER NOT NULL,
    hash               BYTEA NOT NULL,
    name               TEXT NOT NULL,
    version            TEXT NOT NULL,
    attributes         BYTEA NOT NULL,
    dropped_attributes BIGINT NOT NULL,
    schema_url         TEXT NOT NULL,
    PRIMARY KEY (id),
    UNIQUE (tenant_id, hash)
);

-- Drain templates. text: tokens joined by one space, variables as <*>. sample: one line it was mined from.
CREATE TABLE templates (
    id         INTEGER NOT NULL,
    tenant_id  INTEGER NOT NULL,
    service_id INTEGER NOT NULL,
    text       TEXT NOT NULL,
    sample     TEXT NOT NULL,
    first_seen BIGINT NOT NULL,
    PRIMARY KEY (id)
);
CREATE INDEX templates_by_service ON templates (service_id);

-- kind: the field number in OTLP's Metric (5 gauge, 7 sum, 9 histogram, 10 exponential histogram, 11 summary);
-- temporality: 0 none, 1 delta, 2 cumulative.
CREATE TABLE series (
    id                 INTEGER NOT NULL,
    tenant_id          INTEGER NOT NULL,
    hash               BYTEA NOT NULL,
    name               TEXT NOT NULL,
    unit               TEXT NOT NULL,
    description        TEXT NOT NULL,
    metadata           BYTEA NOT NULL,
    kind               SMALLINT NOT NULL,
    temporality        SMALLINT NOT NULL,
    monotonic          SMALLINT NOT NULL,
    service_id         INTEGER NOT NULL,
    resource_id        INTEGER NOT NULL,
    instrumentation_id INTEGER NOT NULL,
    attributes         BYTEA NOT NULL,
    first_seen         BIGINT NOT NULL,
    PRIMARY KEY (id),
    UNIQUE (tenant_id, hash)
);
CREATE INDEX series_by_name ON series (tenant_id, name);
CREATE INDEX series_by_service ON series (service_id);

-- Which partitions there are. family: 0 spans, 1 logs, 2 points, 3 roll-ups of 10 s, 4 of a minute, 5 of an hour,
-- 6 of an hour of metric series;
-- day: the first day of the partition, counted from 1970-01-01; retired: when it was given up (seconds), its space is on
-- the way back; seq: of points, the first number that is free.
CREATE TABLE partitions (
    family  SMALLINT NOT NULL,
    day     INTEGER NOT NULL,
    retired BIGINT,
    seq     BIGINT NOT NULL,
    PRIMARY KEY (family, day)
);

-- Which attributes are promoted on a day: their values have twice the bits in the filters of blocks.
CREATE TABLE promoted (
    family INTEGER NOT NULL,
    day    INTEGER NOT NULL,
    key    TEXT NOT NULL,
    PRIMARY KEY (family, day, key)
);

-- Hours (their first second) whose roll-ups of a minute changed and are not added up to roll-ups of an hour yet.
CREATE TABLE unrolled (
    hour BIGINT PRIMARY KEY
);

-- Minutes (their first second) of which the table of roll-ups has no rows yet, but for those of log records: they are
-- the sums of their roll-ups of ten seconds.
CREATE TABLE open_minutes (
    tenant_id INTEGER NOT NULL,
    minute    BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, minute)
);

-- Hours (their first second) whose metric points changed and are not reckoned to roll-ups of metric series yet.
CREATE TABLE unreckoned (
    hour BIGINT PRIMARY KEY
);

-- For each journal that feeds this database: everything up to and including this position is in the tables.
CREATE TABLE applied (
    journal TEXT NOT NULL,
    lsn     BIGINT NOT NULL,
    PRIMARY KEY (journal)
);

-- Times in the tables of spans, traces and log records count from the beginning of their day, which counts from
-- 1970-01-01.

-- One row a span. Those whose details lie in one block have ids one after the other. trace_row: the row of its
-- trace in the traces of the same day. run: of the first of the spans of a trace that came together: how many they are,
-- their ids follow one another. status: 0 unset, 1 ok, 2 error. http_status: 0 where there is
-- none. Its kind is that of its operation.
CREATE TABLE spans (
    day                INTEGER NOT NULL,
    id                 BIGINT NOT NULL,
    tenant_id          INTEGER NOT NULL,
    trace_row          BIGINT NOT NULL,
    run                INTEGER,
    span_id            BYTEA NOT NULL,
    parent_id          BYTEA,
    service_id         INTEGER NOT NULL,
    operation_id       INTEGER NOT NULL,
    resource_id        INTEGER NOT NULL,
    instrumentation_id INTEGER NOT NULL,
    status             SMALLINT NOT NULL,
    entry              SMALLINT NOT NULL,
    http_status        INTEGER NOT NULL,
    dependency_id      INTEGER,
    start_ns           BIGINT NOT NULL,
    duration_ns        BIGINT NOT NULL
) PARTITION BY RANGE (day);
CREATE INDEX spans_by_id ON spans (id);
CREATE INDEX spans_by_trace ON spans (trace_row) WHERE run IS NOT NULL;
CREATE INDEX spans_by_service ON spans (service_id, start_ns, id);
CREATE INDEX spans_failed ON spans (tenant_id, start_ns, id) WHERE status = 2;
CREATE INDEX spans_slow ON spans (tenant_id, start_ns, id) WHERE duration_ns >= 500000000;
CREATE INDEX spans_brin ON spans USING brin (start_ns);

-- Folds over the spans of a trace, right in any order of arrival. A trace that outlives the window in which its
-- parts are remembered has several rows; readers fold them. trace_key: local in time, see docs/adr; its upper bits
-- choose the day. The partition of each day has a unique index over id.
CREATE TABLE traces (
    day                INTEGER NOT NULL,
    id                 BIGINT NOT NULL,
    trace_key          BIGINT NOT NULL,
    trace_id           BYTEA NOT NULL,
    tenant_id          INTEGER NOT NULL,
    root_operation_id  INTEGER,
    root_start_ns      BIGINT,
    first_operation_id INTEGER NOT NULL,
    start_ns           BIGINT NOT NULL,
    end_ns             BIGINT NOT NULL,
    spans              INTEGER NOT NULL,
    errors             INTEGER NOT NULL
) PARTITION BY RANGE (day);
CREATE INDEX traces_by_key ON traces (trace_key);
CREATE INDEX traces_by_time ON traces (tenant_id, start_ns, trace_key, trace_id);

-- The details of neighbouring spans of one tenant, in columns: the shortest of these in front. id: of the first of the
-- spans, the others follow. min_ns, max_ns: of their starts.
CREATE TABLE span_blocks (
    day       INTEGER NOT NULL,
    id        BIGINT NOT NULL,
    tenant_id INTEGER NOT NULL,
    rows      INTEGER NOT NULL,
    min_ns    BIGINT NOT NULL,
    max_ns    BIGINT NOT NULL,
    front     BYTEA NOT NULL,
    rest      BYTEA NOT NULL
) PARTITION BY RANGE (day);
CREATE INDEX span_blocks_by_id ON span_blocks (id);

-- Which attributes blocks may hold. Of one block, whose id it has: filter (empty: unknown). Of 64 blocks of one tenant,
-- the first of which has its id: ids, eight bytes each, and in span_slices their filters, of filter_bytes bytes each.
-- min_ns, max_ns: of the starts of all their spans.
CREATE TABLE span_filters (
    day          INTEGER NOT NULL,
    id           BIGINT NOT NULL,
    tenant_id    INTEGER NOT NULL,
    blocks       INTEGER NOT NULL,
    min_ns       BIGINT NOT NULL,
    max_ns       BIGINT NOT NULL,
    filter_bytes INTEGER NOT NULL,
    ids          BYTEA NOT NULL,
    filter       BYTEA NOT NULL
) PARTITION BY RANGE (day);
CREATE INDEX span_filters_by_id ON span_filters (id);
CREATE INDEX span_filters_by_time ON span_filters (tenant_id, max_ns, min_ns);
CREATE INDEX span_filters_by_size ON span_filters (tenant_id, blocks, id);

-- The filters of 64 blocks, laid across each other: for each bit of a filter eight bytes, one bit for each block, the
-- lowest of the first. id: of the filters, times 128, and which slice of the bits it is. bits: 1,986 times eight bytes.
CREATE TABLE span_slices (
    day  INTEGER NOT NULL,
    id   BIGINT NOT NULL,
    bits BYTEA NOT NULL
) PARTITION BY RANGE (day);
CREATE INDEX span_slices_by_id ON span_slices (id);
-- Read eight bytes at a time, and random as they are not to be compressed.
ALTER TABLE span_slices ALTER COLUMN bits SET STORAGE EXTERNAL;

-- One row a log record; as spans. trace_key: made of the record's own time and its trace id, where it has one.
CREATE TABLE logs (
    day                INTEGER NOT NULL,
    id                 BIGINT NOT NULL,
    tenant_id          INTEGER NOT NULL,
    time_ns            BIGINT NOT NULL,
    severity           SMALLINT NOT NULL,
    service_id         INTEGER NOT NULL,
    resource_id        INTEGER NOT NULL,
    instrumentation_id INTEGER NOT NULL,
    template_id        INTEGER NOT NULL,
    trace_id           BYTEA,
    span_id            BYTEA,
    trace_key          BIGINT
) PARTITION BY RANGE (day);
CREATE INDEX logs_by_id ON logs (id);
CREATE INDEX logs_by_time ON logs (tenant_id, time_ns, id);
CREATE INDEX logs_by_service ON logs (service_id, time_ns, id);
CREATE INDEX logs_severe ON logs (tenant_id, time_ns, id) WHERE severity >= 13;
CREATE INDEX logs_by_trace ON logs (trace_key) WHERE trace_key IS NOT NULL;
CREATE INDEX logs_brin ON logs USING brin (time_ns);

-- The details of neighbouring log records; as span_blocks.
CREATE TABLE log_blocks (
    day       INTEGER NOT NULL,
    id        BIGINT NOT NULL,
    tenant_id INTEGER NOT NULL,
    rows      INTEGER NOT NULL,
    min_ns    BIGINT NOT NULL,
    max_ns    BIGINT NOT NULL,
    front     BYTEA NOT NULL,
    rest      BYTEA NOT NULL
) PARTITION BY RANGE (day);
CREATE INDEX log_blocks_by_id ON log_blocks (id);

-- As span_filters and span_slices.
CREATE TABLE log_filters (
    day          INTEGER NOT NULL,
    id           BIGINT NOT NULL,
    tenant_id    INTEGER NOT NULL,
    blocks       INTEGER NOT NULL,
    min_ns       BIGINT NOT NULL,
    max_ns       BIGINT NOT NULL,
    filter_bytes INTEGER NOT NULL,
    ids          BYTEA NOT NULL,
    filter       BYTEA NOT NULL
) PARTITION BY RANGE (day);
CREATE INDEX log_filters_by_id ON log_filters (id);
CREATE INDEX log_filters_by_time ON log_filters (tenant_id, max_ns, min_ns);
CREATE INDEX log_filters_by_size ON log_filters (tenant_id, blocks, id);

CREATE TABLE log_slices (
    day  INTEGER NOT NULL,
    id   BIGINT NOT NULL,
    bits BYTEA NOT NULL
) PARTITION BY RANGE (day);
CREATE INDEX log_slices_by_id ON log_slices (id);
-- Read eight bytes at a time, and random as they are not to be compressed.
ALTER TABLE log_slices ALTER COLUMN bits SET STORAGE EXTERNAL;

-- A number has int_value or real_value; a distribution has count and, where known, its sum in real_value; a gap
-- has none of them. A NaN is kept as its bits in int_value with flag 2. detail: packed rest, may be empty.
-- seq: tells points of one series and instant apart, in order of arrival.
CREATE TABLE points (
    series_id  INTEGER NOT NULL,
    time_ns    BIGINT NOT NULL,
    seq        BIGINT NOT NULL,
    start_ns   BIGINT NOT NULL,
    flags      SMALLINT NOT NULL,
    int_value  BIGINT,
    real_value DOUBLE PRECISION,
    count      BIGINT,
    detail     BYTEA,
    PRIMARY KEY (series_id, time_ns, seq)
) PARTITION BY RANGE (time_ns);

-- Roll-ups of ten seconds. kind: as in roll-ups. cells: those whose a, divided by four, is part; packed.
CREATE TABLE rollups_10s (
    tenant_id INTEGER NOT NULL,
    bucket    BIGINT NOT NULL,
    kind      SMALLINT NOT NULL,
    part      INTEGER NOT NULL,
    cells     BYTEA NOT NULL,
    PRIMARY KEY (tenant_id, bucket, kind, part)
) PARTITION BY RANGE (bucket);

-- Roll-ups of a minute and of an hour. width: seconds a bucket lasts. kind: 0 operation (a), 1 instance (service a, resource b),
-- 2 edge (operation a calls operation b), 3 logs (service a, template b, severity c).
CREATE TABLE rollups (
    tenant_id INTEGER NOT NULL,
    width     INTEGER NOT NULL,
    bucket    BIGINT NOT NULL,
    kind      SMALLINT NOT NULL,
    a         INTEGER NOT NULL,
    b         INTEGER NOT NULL,
    c         INTEGER NOT NULL,
    count     BIGINT NOT NULL,
    errors    BIGINT NOT NULL,
    sum_ns    BIGINT NOT NULL,
    max_ns    BIGINT NOT NULL,
    other_ns  BIGINT NOT NULL,
    answered  BIGINT NOT NULL,
    sketch    BYTEA NOT NULL,
    PRIMARY KEY (tenant_id, width, bucket, kind, a, b, c)
) PARTITION BY LIST (width);
CREATE TABLE rollups_60s PARTITION OF rollups FOR VALUES IN (60) PARTITION BY RANGE (bucket);
CREATE TABLE rollups_3600s PARTITION OF rollups FOR VALUES IN (3600) PARTITION BY RANGE (bucket);

-- What the points of a series say about one hour (its first second). points: how many it was reckoned from.
CREATE TABLE series_hours (
    series_id INTEGER NOT NULL,
    hour      BIGINT NOT NULL,
    points    BIGINT NOT NULL,
    rollup    BYTEA NOT NULL,
    PRIMARY KEY (series_id, hour)
) PARTITION BY RANGE (hour);

-- For people.
CREATE VIEW v_services AS
SELECT s.id, t.name AS tenant, s.name,
       CASE s.kind WHEN 0 THEN 'service' WHEN 1 THEN 'database' WHEN 2 THEN 'queue' ELSE 'external' END AS kind,
       to_char(to_timestamp(s.first_seen / 1e9) AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') AS first_seen
FROM services s JOIN tenants t ON t.id = s.tenant_id;

CREATE VIEW v_operations AS
SELECT o.id, t.name AS tenant, s.name AS service, o.name AS operation,
       CASE o.kind WHEN 1 THEN 'internal' WHEN 2 THEN 'server' WHEN 3 THEN 'client' WHEN 4 THEN 'producer' WHEN 5 THEN 'consumer' ELSE 'unknown' END AS kind,
       to_char(to_timestamp(o.first_seen / 1e9) AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') AS first_seen
FROM operations o JOIN services s ON s.id = o.service_id JOIN tenants t ON t.id = o.tenant_id;

CREATE VIEW v_spans AS
SELECT t.name AS tenant, encode(x.trace_id, 'hex') AS trace_id, encode(p.span_id, 'hex') AS span_id,
       encode(p.parent_id, 'hex') AS parent_id, s.name AS service, o.name AS operation,
       CASE o.kind WHEN 1 THEN 'internal' WHEN 2 THEN 'server' WHEN 3 THEN 'client' WHEN 4 THEN 'producer' WHEN 5 THEN 'consumer' ELSE 'unknown' END AS kind,
       CASE p.status WHEN 1 THEN 'ok' WHEN 2 THEN 'error' ELSE 'unset' END AS status,
       NULLIF(p.http_status, 0) AS http_status, d.name AS dependency, r.version, r.instance,
       to_char(to_timestamp(p.day * 86400::bigint + p.start_ns / 1e9) AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') AS start,
       p.duration_ns / 1e6 AS duration_ms
FROM spans p JOIN traces x ON x.day = p.day AND x.id = p.trace_row JOIN tenants t ON t.id = p.tenant_id JOIN services s ON s.id = p.service_id
     JOIN operations o ON o.id = p.operation_id LEFT JOIN resources r ON r.id = p.resource_id
     LEFT JOIN services d ON d.id = p.dependency_id;

CREATE VIEW v_traces AS
SELECT t.name AS tenant, encode(p.trace_id, 'hex') AS trace_id, s.name AS service, o.name AS operation,
       to_char(to_timestamp(p.day * 86400::bigint + p.start_ns / 1e9) AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') AS start,
       (p.end_ns - p.start_ns) / 1e6 AS duration_ms, p.spans, p.errors
FROM traces p JOIN tenants t ON t.id = p.tenant_id
     JOIN operations o ON o.id = coalesce(p.root_operation_id, p.first_operation_id) JOIN services s ON s.id = o.service_id;

CREATE VIEW v_logs AS
SELECT t.name AS tenant, to_char(to_timestamp(l.day * 86400::bigint + l.time_ns / 1e9) AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') AS time, l.severity,
       s.name AS service, m.text AS template, encode(l.trace_id, 'hex') AS trace_id, encode(l.span_id, 'hex') AS span_id
FROM logs l JOIN tenants t ON t.id = l.tenant_id JOIN services s ON s.id = l.service_id
     LEFT JOIN templates m ON m.id = l.template_id;

CREATE VIEW v_points AS
SELECT t.name AS tenant, e.name AS metric, e.unit, s.name AS service, e.id AS series_id,
       to_char(to_timestamp(p.time_ns / 1e9) AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') AS time,
       coalesce(p.real_value, CASE WHEN p.flags & 2 = 0 THEN p.int_value END) AS value, p.count
FROM points p JOIN series e ON e.id = p.series_id JOIN tenants t ON t.id = e.tenant_id
     LEFT JOIN services s ON s.id = e.service_id;

CREATE VIEW v_rollups AS
SELECT t.name AS tenant, r.width AS width_seconds, to_char(to_timestamp(r.bucket) AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"') AS bucket,
       CASE r.kind WHEN 0 THEN 'operation' WHEN 1 THEN 'instance' WHEN 2 THEN 'edge' ELSE 'logs' END AS kind,
       r.a, r.b, r.c, r.count, r.errors, r.sum_ns / 1e6 AS sum_ms, r.max_ns / 1e6 AS max_ms
FROM rollups r JOIN tenants t ON t.id = r.tenant_id;
