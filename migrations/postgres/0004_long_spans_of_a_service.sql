-- Spans of a service that took 200 ms and more: a busy service has millions that did not. Days that are there already do without:
-- partitions that are made from now on get it.
CREATE INDEX spans_long ON ONLY spans (service_id, start_ns, id) WHERE duration_ns >= 200000000;
