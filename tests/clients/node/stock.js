// A warehouse that keeps stock, instrumented with the stock SDK: where the telemetry goes, by which protocol and under
// which name are `OTEL_*` variables, and nothing here knows them. Everything is exported when the program ends.
//
//   node stock.js orders COUNT   takes so many orders, each with a database call, a log record and two measurements
//   node stock.js steady COUNT   the same, at most a hundred a second
//   node stock.js serve          answers requests on a free port, printed first, until its standard input ends
//
// Each line on standard output is JSON.

'use strict';

const { NodeSDK } = require('@opentelemetry/sdk-node');
const { HttpInstrumentation } = require('@opentelemetry/instrumentation-http');
const { trace, metrics, logs, SpanKind, SeverityNumber } = require('@opentelemetry/api');

const sdk = new NodeSDK({ instrumentations: [new HttpInstrumentation()] });
sdk.start();

// Libraries are instrumented when they are loaded, so after the SDK.
const http = require('http');

const tracer = trace.getTracer('stock');
const meter = metrics.getMeter('stock');
const taken = meter.createCounter('stock.orders', { unit: '{order}', description: 'Orders taken.' });
const worth = meter.createHistogram('stock.order.value', { unit: 'EUR', description: 'What the orders were worth.' });
const log = logs.getLogger('stock');

function print(value) {
  process.stdout.write(`${JSON.stringify(value)}\n`);
}

/** Writes an order to the database, as an instrumented driver would tell it. */
function store(number) {
  const attributes = {
    'db.system.name': 'postgresql',
    'db.namespace': 'stock',
    'db.operation.name': 'UPDATE',
    'db.query.text': 'UPDATE stock SET count = count - 1 WHERE number = ?',
    'server.address': 'db.stock.internal',
    'server.port': 5432,
  };
  tracer.startActiveSpan('UPDATE stock', { kind: SpanKind.CLIENT, attributes }, (span) => {
    log.emit({ severityNumber: SeverityNumber.INFO, severityText: 'INFO', body: `order ${number} stored` });
    taken.add(1);
    worth.record(10 * number);
    span.end();
  });
}

/** Serves one request without a socket; answers its trace. */
function take(number) {
  const attributes = { 'http.request.method': 'POST', 'http.route': '/stock', 'http.response.status_code': 200 };
  return tracer.startActiveSpan('POST /stock', { kind: SpanKind.SERVER, attributes }, (span) => {
    store(number);
    span.end();
    return span.spanContext().traceId;
  });
}

/** Serves requests until standard input ends. */
function serve() {
  const server = http.createServer((request, response) => {
    store(1);
    response.end('{}');
  });
  server.listen(0, '127.0.0.1', () => print({ port: server.address().port }));
  return new Promise((resolve) => {
    process.stdin.resume().on('end', () => server.close(resolve).closeAllConnections());
  });
}

async function main() {
  const [command, argument] = process.argv.slice(2);
  if (command === 'orders' || command === 'steady') {
    const count = Number(argument);
    const traces = [];
    for (let number = 1; number <= count; number++) {
      traces.push(take(number));
      if (command === 'steady') await new Promise((resolve) => setTimeout(resolve, 10));
    }
    print({ traces, spans: 2 * count, logs: count, points: 2 });
  } else {
    await serve();
  }
  await sdk.shutdown();
}

main();
