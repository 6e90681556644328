-- Spans of a service that took 200 ms and more: a busy service has millions that did not.
CREATE INDEX spans_long ON spans (service_id, start_ns, id) WHERE duration_ns >= 200000000;
