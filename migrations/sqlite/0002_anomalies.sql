-- Episodes in which something left its normal course: kept when the roll-ups that told them are gone, and each known by
-- its subject, what it is and when it began, however often it is looked at.
--
-- kind, a and b: the subject, as in rollups (0 an operation, 1 a service and its resource). what: 0 errors, 1 latency,
-- 2 traffic, 3 silence. Times are seconds since 1970-01-01. ended: none while it lasts. seen: until when it was last found.
-- before, peak: the measure in the baseline and at its worst: failed share, mean nanoseconds, or calls a second.
CREATE TABLE anomalies (
    tenant_id INTEGER NOT NULL,
    onset     INTEGER NOT NULL,
    kind      INTEGER NOT NULL,
    a         INTEGER NOT NULL,
    b         INTEGER NOT NULL,
    what      INTEGER NOT NULL,
    ended     INTEGER,
    seen      INTEGER NOT NULL,
    before    REAL NOT NULL,
    peak      REAL NOT NULL,
    severity  REAL NOT NULL,
    PRIMARY KEY (tenant_id, onset, kind, a, b, what)
) STRICT, WITHOUT ROWID;
CREATE INDEX anomalies_by_seen ON anomalies (seen);
