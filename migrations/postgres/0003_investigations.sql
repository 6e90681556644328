-- What agents found out and wrote down: notes by investigation, in the order in which they were written.
--
-- id: the investigation, counted within its tenant from 1. number: the note within it; 0 is the title. written: nanoseconds
-- since 1970-01-01. evidence: what the note rests on, as it was observed when the note was written; a JSON array.
CREATE TABLE investigation_notes (
    tenant_id INTEGER NOT NULL,
    id        INTEGER NOT NULL,
    number    INTEGER NOT NULL,
    written   BIGINT NOT NULL,
    text      TEXT NOT NULL,
    evidence  TEXT NOT NULL,
    PRIMARY KEY (tenant_id, id, number)
);
-- Lists, numbers and retention read this instead of the texts.
CREATE INDEX investigation_notes_written ON investigation_notes (tenant_id, id, number, written);
