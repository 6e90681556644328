-- Names, contents and metric series have the last day (days since 1970-01-01) of telemetry that named them: what nothing that is
-- kept can name any more is forgotten. It is this day or the next one. Those that are there already count as named today.
ALTER TABLE services ADD COLUMN last_day INTEGER NOT NULL DEFAULT 0;
UPDATE services SET last_day = unixepoch() / 86400;
ALTER TABLE operations ADD COLUMN last_day INTEGER NOT NULL DEFAULT 0;
UPDATE operations SET last_day = unixepoch() / 86400;
ALTER TABLE resources ADD COLUMN last_day INTEGER NOT NULL DEFAULT 0;
UPDATE resources SET last_day = unixepoch() / 86400;
ALTER TABLE instrumentations ADD COLUMN last_day INTEGER NOT NULL DEFAULT 0;
UPDATE instrumentations SET last_day = unixepoch() / 86400;
ALTER TABLE series ADD COLUMN last_day INTEGER NOT NULL DEFAULT 0;
UPDATE series SET last_day = unixepoch() / 86400;
