-- The layout on SQLite: dictionaries, then what is kept by day. Times are nanoseconds since the Unix epoch unless a
-- column says seconds.
--
-- A table called …_shape is empty: it says how the tables of each day are made, spans_20261128 of spans_shape with the
-- same columns and indexes. The view without a suffix (spans) shows all days together.

-- Whose telemetry is kept.
CREATE TABLE tenants (
    id   INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    UNIQUE (name)
) STRICT;

-- Nodes of the graph. kind: 0 service, 1 database, 2 queue, 3 external host.
CREATE TABLE services (
    id         INTEGER PRIMARY KEY,
    tenant_id  INTEGER NOT NULL,
    kind       INTEGER NOT NULL,
    name       TEXT NOT NULL,
    first_seen INTEGER NOT NULL,
    UNIQUE (tenant_id, kind, name)
) STRICT;

-- Span names of a node. kind: the OTLP span kind.
CREATE TABLE operations (
    id         INTEGER PRIMARY KEY,
    tenant_id  INTEGER NOT NULL,
    service_id INTEGER NOT NULL,
    kind       INTEGER NOT NULL,
    name       TEXT NOT NULL,
    first_seen INTEGER NOT NULL,
    UNIQUE (service_id, kind, name)
) STRICT;

-- Resources by content. hash: XXH3-128 of the packed content; attributes: packed KeyValue fields.
CREATE TABLE resources (
    id                 INTEGER PRIMARY KEY,
    tenant_id          INTEGER NOT NULL,
    hash               BLOB NOT NULL,
    service_id         INTEGER NOT NULL,
    version            TEXT NOT NULL,
    instance           TEXT NOT NULL,
    attributes         BLOB NOT NULL,
    dropped_attributes INTEGER NOT NULL,
    schema_url         TEXT NOT NULL,
    first_seen         INTEGER NOT NULL,
    UNIQUE (tenant_id, hash)
) STRICT;

-- Instrumentation scopes by content.
CREATE TABLE instrumentations (
    id                 INTEGER PRIMARY KEY,
    tenant_id          INTEGER NOT NULL,
    hash               BLOB NOT NULL,
    name               TEXT NOT NULL,
    version            TEXT NOT NULL,
    attributes         BLOB NOT NULL,
    dropped_attributes INTEGER NOT NULL,
    schema_url         TEXT NOT NULL,
    UNIQUE (tenant_id, hash)
) STRICT;

-- Drain templates. text: tokens joined by one space, variables as <*>. sample: one line it was mined from.
CREATE TABLE templates (
    id         INTEGER PRIMARY KEY,
    tenant_id  INTEGER NOT NULL,
    service_id INTEGER NOT NULL,
    text       TEXT NOT NULL,
    sample     TEXT NOT NULL,
    first_seen INTEGER NOT NULL
) STRICT;
CREATE INDEX templates_by_service ON templates (service_id);

-- kind: the field number in OTLP's Metric (5 gauge, 7 sum, 9 histogram, 10 exponential histogram, 11 summary);
-- temporality: 0 none, 1 delta, 2 cumulative.
CREATE TABLE series (
    id                 INTEGER PRIMARY KEY,
    tenant_id          INTEGER NOT NULL,
    hash               BLOB NOT NULL,
    name               TEXT NOT NULL,
    unit               TEXT NOT NULL,
    description        TEXT NOT NULL,
    metadata           BLOB NOT NULL,
    kind               INTEGER NOT NULL,
    temporality        INTEGER NOT NULL,
    monotonic          INTEGER NOT NULL,
    service_id         INTEGER NOT NULL,
    resource_id        INTEGER NOT NULL,
    instrumentation_id INTEGER NOT NULL,
    attributes         BLOB NOT NULL,
    first_seen         INTEGER NOT NULL,
    UNIQUE (tenant_id, hash)
) STRICT;
CREATE INDEX series_by_name ON series (tenant_id, name);
CREATE INDEX series_by_service ON series (service_id);

-- Which partitions there are. family: 0 spans, 1 logs, 2 points, 3 roll-ups of 10 s, 4 of a minute, 5 of an hour,
-- 6 of an hour of metric series;
-- day: the first day of the partition, counted from 1970-01-01; retired: when it was given up (seconds), its space is on
-- the way back; seq: of points, the first number that is free.
CREATE TABLE partitions (
    family  INTEGER NOT NULL,
    day     INTEGER NOT NULL,
    retired INTEGER,
    seq     INTEGER NOT NULL,
    PRIMARY KEY (family, day)
) STRICT, WITHOUT ROWID;

-- Which attributes are promoted on a day: their values have twice the bits in the filters of blocks.
CREATE TABLE promoted (
    family INTEGER NOT NULL,
    day    INTEGER NOT NULL,
    key    TEXT NOT NULL,
    PRIMARY KEY (family, day, key)
) STRICT, WITHOUT ROWID;

-- Hours (their first second) whose roll-ups of a minute changed and are not added up to roll-ups of an hour yet.
CREATE TABLE unrolled (
    hour INTEGER PRIMARY KEY
) STRICT;

-- Minutes (their first second) of which the table of roll-ups has no rows yet, but for those of log records: they are
-- the sums of their roll-ups of ten seconds.
CREATE TABLE open_minutes (
    tenant_id INTEGER NOT NULL,
    minute    INTEGER NOT NULL,
    PRIMARY KEY (tenant_id, minute)
) STRICT, WITHOUT ROWID;

-- Hours (their first second) whose metric points changed and are not reckoned to roll-ups of metric series yet.
CREATE TABLE unreckoned (
    hour INTEGER PRIMARY KEY
) STRICT;

-- For each journal that feeds this database: everything up to and including this position is in the tables.
CREATE TABLE applied (
    journal TEXT NOT NULL,
    lsn     INTEGER NOT NULL,
    PRIMARY KEY (journal)
) STRICT, WITHOUT ROWID;

-- Times in the tables of spans, traces and log records count from the beginning of the table's day; the views that
-- show all days have the day (days since 1970-01-01) beside them.

-- One row a span. Those whose details lie in one block have ids one after the other. trace_row: the row of its
-- trace in the traces of the same day. run: of the first of the spans of a trace that came together: how many they are,
-- their ids follow one another. status: 0 unset, 1 ok, 2 error. http_status: 0 where there is
-- none. Its kind is that of its operation.
CREATE TABLE spans_shape (
    id                 INTEGER PRIMARY KEY,
    tenant_id          INTEGER NOT NULL,
    trace_row          INTEGER NOT NULL,
    run                INTEGER,
    span_id            BLOB NOT NULL,
    parent_id          BLOB,
    service_id         INTEGER NOT NULL,
    operation_id       INTEGER NOT NULL,
    resource_id        INTEGER NOT NULL,
    instrumentation_id INTEGER NOT NULL,
    status             INTEGER NOT NULL,
    entry              INTEGER NOT NULL,
    http_status        INTEGER NOT NULL,
    dependency_id      INTEGER,
    start_ns           INTEGER NOT NULL,
    duration_ns        INTEGER NOT NULL
) STRICT;
CREATE INDEX spans_shape_by_trace ON spans_shape (trace_row) WHERE run IS NOT NULL;
CREATE INDEX spans_shape_by_service ON spans_shape (service_id, start_ns);
CREATE INDEX spans_shape_failed ON spans_shape (tenant_id, start_ns) WHERE status = 2;
CREATE INDEX spans_shape_slow ON spans_shape (tenant_id, start_ns) WHERE duration_ns >= 500000000;

-- Folds over the spans of a trace, right in any order of arrival. A trace that outlives the window in which its
-- parts are remembered has several rows; readers fold them. trace_key: local in time, see docs/adr; the day of its
-- upper bits chooses the table.
CREATE TABLE traces_shape (
    id                 INTEGER PRIMARY KEY,
    trace_key          INTEGER NOT NULL,
    trace_id           BLOB NOT NULL,
    tenant_id          INTEGER NOT NULL,
    root_operation_id  INTEGER,
    root_start_ns      INTEGER,
    first_operation_id INTEGER NOT NULL,
    start_ns           INTEGER NOT NULL,
    end_ns             INTEGER NOT NULL,
    spans              INTEGER NOT NULL,
    errors             INTEGER NOT NULL
) STRICT;
CREATE INDEX traces_shape_by_key ON traces_shape (trace_key);
CREATE INDEX traces_shape_by_time ON traces_shape (tenant_id, start_ns);

-- The details of neighbouring spans of one tenant, in columns: the shortest of these in front. id: of the first of the
-- spans, the others follow. min_ns, max_ns: of their starts.
CREATE TABLE span_blocks_shape (
    id        INTEGER PRIMARY KEY,
    tenant_id INTEGER NOT NULL,
    rows      INTEGER NOT NULL,
    min_ns    INTEGER NOT NULL,
    max_ns    INTEGER NOT NULL,
    front     BLOB NOT NULL,
    rest      BLOB NOT NULL
) STRICT;

-- Which attributes blocks may hold. Of one block, whose id it has: filter (empty: unknown). Of 64 blocks of one tenant,
-- the first of which has its id: ids, eight bytes each, and in span_slices their filters, of filter_bytes bytes each.
-- min_ns, max_ns: of the starts of all their spans.
CREATE TABLE span_filters_shape (
    id           INTEGER PRIMARY KEY,
    tenant_id    INTEGER NOT NULL,
    blocks       INTEGER NOT NULL,
    min_ns       INTEGER NOT NULL,
    max_ns       INTEGER NOT NULL,
    filter_bytes INTEGER NOT NULL,
    ids          BLOB NOT NULL,
    filter       BLOB NOT NULL
) STRICT;
CREATE INDEX span_filters_shape_by_time ON span_filters_shape (tenant_id, max_ns, min_ns);
CREATE INDEX span_filters_shape_by_size ON span_filters_shape (tenant_id, blocks);
CREATE VIEW span_filters AS SELECT 0 AS day, * FROM span_filters_shape;

-- The filters of 64 blocks, laid across each other: for each bit of a filter eight bytes, one bit for each block, the
-- lowest of the first. id: of the filters, times 128, and which slice of the bits it is. bits: 1,986 times eight bytes.
CREATE TABLE span_slices_shape (
    id   INTEGER PRIMARY KEY,
    bits BLOB NOT NULL
) STRICT;
CREATE VIEW span_slices AS SELECT 0 AS day, * FROM span_slices_shape;

CREATE VIEW spans AS SELECT 0 AS day, s.*, t.trace_key, t.trace_id FROM spans_shape AS s CROSS JOIN traces_shape AS t ON t.id = s.trace_row;
CREATE VIEW traces AS SELECT 0 AS day, * FROM traces_shape;
CREATE VIEW span_blocks AS SELECT 0 AS day, * FROM span_blocks_shape;

-- One row a log record; as spans. trace_key: made of the record's own time and its trace id, where it has one.
CREATE TABLE logs_shape (
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
    trace_key          INTEGER
) STRICT;
CREATE INDEX logs_shape_by_time ON logs_shape (tenant_id, time_ns);
CREATE INDEX logs_shape_by_service ON logs_shape (service_id, time_ns);
CREATE INDEX logs_shape_severe ON logs_shape (tenant_id, time_ns) WHERE severity >= 13;
CREATE INDEX logs_shape_by_trace ON logs_shape (trace_key) WHERE trace_key IS NOT NULL;
CREATE VIEW logs AS SELECT 0 AS day, * FROM logs_shape;

-- The details of neighbouring log records; as span_blocks.
CREATE TABLE log_blocks_shape (
    id        INTEGER PRIMARY KEY,
    tenant_id INTEGER NOT NULL,
    rows      INTEGER NOT NULL,
    min_ns    INTEGER NOT NULL,
    max_ns    INTEGER NOT NULL,
    front     BLOB NOT NULL,
    rest      BLOB NOT NULL
) STRICT;

-- As span_filters and span_slices.
CREATE TABLE log_filters_shape (
    id           INTEGER PRIMARY KEY,
    tenant_id    INTEGER NOT NULL,
    blocks       INTEGER NOT NULL,
    min_ns       INTEGER NOT NULL,
    max_ns       INTEGER NOT NULL,
    filter_bytes INTEGER NOT NULL,
    ids          BLOB NOT NULL,
    filter       BLOB NOT NULL
) STRICT;
CREATE INDEX log_filters_shape_by_time ON log_filters_shape (tenant_id, max_ns, min_ns);
CREATE INDEX log_filters_shape_by_size ON log_filters_shape (tenant_id, blocks);
CREATE VIEW log_filters AS SELECT 0 AS day, * FROM log_filters_shape;

CREATE TABLE log_slices_shape (
    id   INTEGER PRIMARY KEY,
    bits BLOB NOT NULL
) STRICT;
CREATE VIEW log_slices AS SELECT 0 AS day, * FROM log_slices_shape;
CREATE VIEW log_blocks AS SELECT 0 AS day, * FROM log_blocks_shape;

-- A number has int_value or real_value; a distribution has count and, where known, its sum in real_value; a gap
-- has none of them. A NaN is kept as its bits in int_value with flag 2. detail: packed rest, may be empty.
-- seq: tells points of one series and instant apart, in order of arrival.
CREATE TABLE points_shape (
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
CREATE VIEW points AS SELECT * FROM points_shape;

-- Roll-ups of ten seconds. kind: as in roll-ups. cells: those whose a, divided by four, is part; packed.
CREATE TABLE rollups_10s_shape (
    tenant_id INTEGER NOT NULL,
    bucket    INTEGER NOT NULL,
    kind      INTEGER NOT NULL,
    part      INTEGER NOT NULL,
    cells     BLOB NOT NULL,
    PRIMARY KEY (tenant_id, bucket, kind, part)
) STRICT, WITHOUT ROWID;
CREATE VIEW rollups_10s AS SELECT * FROM rollups_10s_shape;

-- Roll-ups of a minute and of an hour. width: seconds a bucket lasts. kind: 0 operation (a), 1 instance (service a, resource b),
-- 2 edge (operation a calls operation b), 3 logs (service a, template b, severity c).
CREATE TABLE rollups_shape (
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
    sketch    BLOB NOT NULL,
    PRIMARY KEY (tenant_id, width, bucket, kind, a, b, c)
) STRICT, WITHOUT ROWID;
CREATE VIEW rollups AS SELECT * FROM rollups_shape;

-- What the points of a series say about one hour (its first second). points: how many it was reckoned from.
CREATE TABLE series_hours_shape (
    series_id INTEGER NOT NULL,
    hour      INTEGER NOT NULL,
    points    INTEGER NOT NULL,
    rollup    BLOB NOT NULL,
    PRIMARY KEY (series_id, hour)
) STRICT, WITHOUT ROWID;
CREATE VIEW series_hours AS SELECT * FROM series_hours_shape;

-- For people.
CREATE VIEW v_services AS
SELECT s.id, t.name AS tenant, s.name,
       CASE s.kind WHEN 0 THEN 'service' WHEN 1 THEN 'database' WHEN 2 THEN 'queue' ELSE 'external' END AS kind,
       strftime('%Y-%m-%dT%H:%M:%fZ', s.first_seen / 1e9, 'unixepoch') AS first_seen
FROM services s JOIN tenants t ON t.id = s.tenant_id;

CREATE VIEW v_operations AS
SELECT o.id, t.name AS tenant, s.name AS service, o.name AS operation,
       CASE o.kind WHEN 1 THEN 'internal' WHEN 2 THEN 'server' WHEN 3 THEN 'client' WHEN 4 THEN 'producer' WHEN 5 THEN 'consumer' ELSE 'unknown' END AS kind,
       strftime('%Y-%m-%dT%H:%M:%fZ', o.first_seen / 1e9, 'unixepoch') AS first_seen
FROM operations o JOIN services s ON s.id = o.service_id JOIN tenants t ON t.id = o.tenant_id;

CREATE VIEW v_spans AS
SELECT t.name AS tenant, lower(hex(p.trace_id)) AS trace_id, lower(hex(p.span_id)) AS span_id,
       lower(hex(p.parent_id)) AS parent_id, s.name AS service, o.name AS operation,
       CASE o.kind WHEN 1 THEN 'internal' WHEN 2 THEN 'server' WHEN 3 THEN 'client' WHEN 4 THEN 'producer' WHEN 5 THEN 'consumer' ELSE 'unknown' END AS kind,
       CASE p.status WHEN 1 THEN 'ok' WHEN 2 THEN 'error' ELSE 'unset' END AS status,
       NULLIF(p.http_status, 0) AS http_status, d.name AS dependency, r.version, r.instance,
       strftime('%Y-%m-%dT%H:%M:%fZ', p.day * 86400 + p.start_ns / 1e9, 'unixepoch') AS start,
       p.duration_ns / 1e6 AS duration_ms
FROM spans p JOIN tenants t ON t.id = p.tenant_id JOIN services s ON s.id = p.service_id
     JOIN operations o ON o.id = p.operation_id LEFT JOIN resources r ON r.id = p.resource_id
     LEFT JOIN services d ON d.id = p.dependency_id;

CREATE VIEW v_traces AS
SELECT t.name AS tenant, lower(hex(p.trace_id)) AS trace_id, s.name AS service, o.name AS operation,
       strftime('%Y-%m-%dT%H:%M:%fZ', p.day * 86400 + p.start_ns / 1e9, 'unixepoch') AS start,
       (p.end_ns - p.start_ns) / 1e6 AS duration_ms, p.spans, p.errors
FROM traces p JOIN tenants t ON t.id = p.tenant_id
     JOIN operations o ON o.id = coalesce(p.root_operation_id, p.first_operation_id) JOIN services s ON s.id = o.service_id;

CREATE VIEW v_logs AS
SELECT t.name AS tenant, strftime('%Y-%m-%dT%H:%M:%fZ', l.day * 86400 + l.time_ns / 1e9, 'unixepoch') AS time, l.severity,
       s.name AS service, m.text AS template, lower(hex(l.trace_id)) AS trace_id, lower(hex(l.span_id)) AS span_id
FROM logs l JOIN tenants t ON t.id = l.tenant_id JOIN services s ON s.id = l.service_id
     LEFT JOIN templates m ON m.id = l.template_id;

CREATE VIEW v_points AS
SELECT t.name AS tenant, e.name AS metric, e.unit, s.name AS service, e.id AS series_id,
       strftime('%Y-%m-%dT%H:%M:%fZ', p.time_ns / 1e9, 'unixepoch') AS time,
       coalesce(p.real_value, CASE WHEN p.flags & 2 = 0 THEN p.int_value END) AS value, p.count
FROM points p JOIN series e ON e.id = p.series_id JOIN tenants t ON t.id = e.tenant_id
     LEFT JOIN services s ON s.id = e.service_id;

CREATE VIEW v_rollups AS
SELECT t.name AS tenant, r.width AS width_seconds, strftime('%Y-%m-%dT%H:%M:%SZ', r.bucket, 'unixepoch') AS bucket,
       CASE r.kind WHEN 0 THEN 'operation' WHEN 1 THEN 'instance' WHEN 2 THEN 'edge' ELSE 'logs' END AS kind,
       r.a, r.b, r.c, r.count, r.errors, r.sum_ns / 1e6 AS sum_ms, r.max_ns / 1e6 AS max_ms
FROM rollups r JOIN tenants t ON t.id = r.tenant_id;
