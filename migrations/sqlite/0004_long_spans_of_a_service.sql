-- Spans of a service that took 200 ms and more: a busy service has millions that did not. Days that are there already do without.
CREATE INDEX spans_shape_long ON spans_shape (service_id, start_ns) WHERE duration_ns >= 200000000;
