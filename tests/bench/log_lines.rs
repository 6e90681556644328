//! Log lines of about 140 bytes, made from templates with variables.

use std::fmt::Write;

/// `#` is a number, `%` eight hexadecimal digits, `$` one of 2,000 users, `@` one of 500 hosts.
pub(crate) const TEMPLATES: [&str; 24] = [
    "handled GET /api/v1/orders/# for user $ in # ms with status 200 from upstream @ after # retries, response size # bytes, cache miss",
    "connection to database @ lost after # ms while reading from socket, will reconnect with backoff of # ms, pool has # idle connections",
    "order % accepted for customer $ with # items, total amount # EUR, shipping method express, warehouse @ reserved, payment pending",
    "payment % for order # was declined by the issuing bank with code # after # ms, customer $ will be asked for another card or method",
    "cache miss for key session:% in region eu-west, loading from primary store took # ms, entry will expire in # seconds, size # bytes",
    "consumer group checkout-events on partition # committed offset # with lag # in # ms, broker @ acknowledged, rebalance not required",
    "feature flag new-checkout evaluated to treatment for user $ with bucket # of 1000, rule % matched, evaluation took # microseconds",
    "slow query took # ms: SELECT order_id, state FROM orders WHERE customer_id = # AND state = 'open' ORDER BY created LIMIT # OFFSET #",
    "garbage collection pause of # ms in old generation, heap before # MB, heap after # MB, promoted # MB, cause allocation failure, # threads",
    "http request POST /api/v1/payments/% failed with status 503 after # ms: upstream connect error or disconnect before headers, host @",
    "user $ logged in from 10.#.#.# with two factor authentication, session % created, previous login # hours ago, risk score #",
    "inventory reservation % for product # expired after # seconds without confirmation, # units returned to warehouse @, order cancelled",
    "retrying call to service shipping-rates attempt # of 5 after # ms because of deadline exceeded, trace %, circuit breaker is half open",
    "message % published to topic order-events with key # and # bytes payload in # ms, broker @ replicated to # followers, compression zstd",
    "tls handshake with peer 10.#.#.# finished in # ms using cipher aes-256-gcm, session resumed, certificate expires in # days, sni @",
    "job nightly-export finished in # seconds: # rows written to bucket @ in # files, # rows skipped because of validation, checksum %",
    "rate limit exceeded for api key % on route /api/v1/search: # requests in # seconds, limit is #, client $ will be throttled for # ms",
    "configuration reloaded from version # to version # in # ms: # keys changed, # keys added, checksum %, source configmap on node @",
    "kubernetes probe readiness for pod checkout-% on node @ took # ms and returned 200, # consecutive successes, threshold is #, no restarts",
    "email receipt for order % queued to $ with template receipt-v3, provider accepted after # ms, queue length #, attempt # of 3, size # bytes",
    "search request for term # returned # of # hits in # ms from shard # on @, user $ page #, ranking model baseline-2, experiment % active",
    "websocket connection % from user $ closed with code # after # seconds, # messages sent, # messages received, reason going away",
    "lock on resource order-# acquired by worker % after waiting # ms, # waiters left in queue, lease of # seconds, fencing token # granted",
    "disk usage on volume data-# of node @ is # percent, # GB of # GB used, growth # MB an hour, estimated full in # hours, no alert sent",
];

/// A line of the template of this number; `below` answers a number below another.
pub(crate) fn line(template: usize, below: &mut impl FnMut(u64) -> u64) -> String {
    let mut line = String::with_capacity(160);
    for character in TEMPLATES[template].chars() {
        let written = match character {
            // Small numbers are more frequent than great ones.
            '#' => {
                let bound = [10, 100, 1_000, 10_000, 100_000][below(5) as usize];
                write!(line, "{}", below(bound))
            }
            '%' => write!(line, "{:08x}", below(1 << 32)),
            '$' => write!(line, "user-{}", below(2_000)),
            '@' => write!(line, "node-{}.internal", below(500)),
            other => write!(line, "{other}"),
        };
        written.expect("text grows");
    }
    line
}
