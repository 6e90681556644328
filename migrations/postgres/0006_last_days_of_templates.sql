-- Log templates have the last day (days since 1970-01-01) of records that were counted of them, as names have: it is this day or
-- the next one. Those that are there already count as seen tomorrow: their newest records may lie so far ahead.
ALTER TABLE templates ADD COLUMN last_day INTEGER NOT NULL DEFAULT 0;
UPDATE templates SET last_day = floor(extract(epoch FROM now()) / 86400)::integer + 1;
CREATE INDEX templates_by_last_day ON templates (service_id, last_day);
