"""A shop that takes orders, instrumented with the stock SDK.

Run it under `opentelemetry-instrument`: where the telemetry goes, by which protocol and under which name are `OTEL_*`
variables, and nothing here knows them. Everything is exported when the program ends.

    shop.py orders COUNT   takes so many orders, each with a database call, a log record and two measurements
    shop.py steady COUNT   the same, at most a hundred a second
    shop.py ask URL        takes one order by asking the service at URL, and ends when its standard input does

The last line on standard output is JSON: what was recorded.
"""

import json
import logging
import sys
import time
import urllib.request

from opentelemetry import metrics, trace
from opentelemetry.trace import SpanKind

tracer = trace.get_tracer("shop")
meter = metrics.get_meter("shop")
taken = meter.create_counter("shop.orders", unit="{order}", description="Orders taken.")
worth = meter.create_histogram("shop.order.value", unit="EUR", description="What the orders were worth.")
log = logging.getLogger("shop")


def store(number):
    """Writes an order to the database, as an instrumented driver would tell it."""
    attributes = {
        "db.system.name": "postgresql",
        "db.namespace": "orders",
        "db.operation.name": "INSERT",
        "db.query.text": "INSERT INTO orders (number) VALUES (?)",
        "server.address": "db.shop.internal",
        "server.port": 5432,
    }
    with tracer.start_as_current_span("INSERT orders", kind=SpanKind.CLIENT, attributes=attributes):
        log.info("order %d stored", number)
        taken.add(1)
        worth.record(10.0 * number)


def take(work):
    """Serves one request, which does `work`; answers its trace."""
    attributes = {"http.request.method": "POST", "http.route": "/orders", "http.response.status_code": 200}
    with tracer.start_as_current_span("POST /orders", kind=SpanKind.SERVER, attributes=attributes) as span:
        work()
        return format(span.get_span_context().trace_id, "032x")


def ask(url):
    """Asks another service; the instrumented library adds the span and passes the context on."""
    with urllib.request.urlopen(url) as answer:
        answer.read()


def main():
    logging.getLogger().setLevel(logging.INFO)
    command, argument = sys.argv[1:]
    if command in ("orders", "steady"):
        count = int(argument)
        traces = []
        for number in range(1, count + 1):
            traces.append(take(lambda number=number: store(number)))
            time.sleep(0.01 if command == "steady" else 0)
        recorded = {"traces": traces, "spans": 2 * count, "logs": count, "points": 2}
    else:
        recorded = {"traces": [take(lambda: ask(argument))]}
    print(json.dumps(recorded), flush=True)
    if command == "ask":
        sys.stdin.read()


main()
