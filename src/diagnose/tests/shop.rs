//! The small shop that is simulated: its services and dependencies, their operations and calls, the faults that can be
//! planted, and the random numbers that drive it.

use crate::model::node::NodeKind;
use crate::model::span::SpanKind;

pub(super) const GATEWAY: u32 = 1;
pub(super) const CART: u32 = 2;
pub(super) const CHECKOUT: u32 = 3;
pub(super) const PAYMENTS: u32 = 4;
pub(super) const ORDERS: u32 = 5;
pub(super) const CATALOG: u32 = 6;
pub(super) const SHIPPING: u32 = 7;
pub(super) const BANK: u32 = 8;
pub(super) const DATABASE: u32 = 9;
pub(super) const CACHE: u32 = 10;
pub(super) const EVENTS: u32 = 11;

pub(super) const NODES: [(u32, &str, NodeKind); 11] = [
    (GATEWAY, "gateway", NodeKind::Service),
    (CART, "cart", NodeKind::Service),
    (CHECKOUT, "checkout", NodeKind::Service),
    (PAYMENTS, "payments", NodeKind::Service),
    (ORDERS, "orders", NodeKind::Service),
    (CATALOG, "catalog", NodeKind::Service),
    (SHIPPING, "shipping", NodeKind::Service),
    (BANK, "bank.example", NodeKind::External),
    (DATABASE, "orders-db", NodeKind::Database),
    (CACHE, "cache", NodeKind::Database),
    (EVENTS, "events", NodeKind::Queue),
];

/// An operation: number, service, name, kind, own milliseconds, called operations.
pub(super) type Row = (u32, u32, &'static str, SpanKind, f64, &'static [u32]);

const SERVER: SpanKind = SpanKind::SERVER;
pub(super) const CLIENT: SpanKind = SpanKind::CLIENT;

pub(super) const OPERATIONS: [Row; 34] = [
    (10, GATEWAY, "GET /cart", SERVER, 2.0, &[50]),
    (11, GATEWAY, "POST /checkout", SERVER, 3.0, &[51]),
    (12, GATEWAY, "GET /orders", SERVER, 2.0, &[52]),
    (13, GATEWAY, "GET /products", SERVER, 2.0, &[53]),
    (20, CART, "cart/Get", SERVER, 4.0, &[54]),
    (21, CHECKOUT, "checkout/Place", SERVER, 5.0, &[40, 41]),
    (22, PAYMENTS, "payments/Charge", SERVER, 6.0, &[55]),
    (23, ORDERS, "orders/Create", SERVER, 4.0, &[56, 57]),
    (24, ORDERS, "orders/List", SERVER, 3.0, &[58]),
    (25, CATALOG, "catalog/List", SERVER, 3.0, &[59, 64]),
    (26, SHIPPING, "events process", SpanKind::CONSUMER, 5.0, &[60]),
    (40, CHECKOUT, "prepare", SpanKind::INTERNAL, 2.0, &[61]),
    (41, CHECKOUT, "commit", SpanKind::INTERNAL, 2.0, &[62, 63]),
    (50, GATEWAY, "cart.Get", CLIENT, 0.5, &[20]),
    (51, GATEWAY, "checkout.Place", CLIENT, 0.5, &[21]),
    (52, GATEWAY, "orders.List", CLIENT, 0.5, &[24]),
    (53, GATEWAY, "catalog.List", CLIENT, 0.5, &[25]),
    (54, CART, "GET", CLIENT, 1.0, &[70]),
    (55, PAYMENTS, "POST bank", CLIENT, 30.0, &[71]),
    (56, ORDERS, "INSERT orders", CLIENT, 6.0, &[72]),
    (57, ORDERS, "events publish", SpanKind::PRODUCER, 1.0, &[75]),
    (58, ORDERS, "SELECT orders", CLIENT, 5.0, &[73]),
    (59, CATALOG, "SELECT products", CLIENT, 4.0, &[74]),
    (60, SHIPPING, "INSERT shipments", CLIENT, 5.0, &[72]),
    (61, CHECKOUT, "cart.Get", CLIENT, 0.5, &[20]),
    (62, CHECKOUT, "payments.Charge", CLIENT, 0.5, &[22]),
    (63, CHECKOUT, "orders.Create", CLIENT, 0.5, &[23]),
    (64, CATALOG, "GET", CLIENT, 1.0, &[70]),
    (70, CACHE, "GET", CLIENT, 0.0, &[]),
    (71, BANK, "POST", CLIENT, 0.0, &[]),
    (72, DATABASE, "INSERT", CLIENT, 0.0, &[]),
    (73, DATABASE, "SELECT orders", CLIENT, 0.0, &[]),
    (74, DATABASE, "SELECT products", CLIENT, 0.0, &[]),
    (75, EVENTS, "publish", SpanKind::PRODUCER, 0.0, &[26]),
];

/// Operations that users call, with their share of the traffic.
pub(super) const ENTRIES: [(u32, f64); 4] = [(10, 0.35), (11, 0.25), (12, 0.2), (13, 0.2)];
/// What is planted in the window.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Fault {
    Quiet,
    /// An operation fails by itself.
    Errors {
        operation: u32,
        share: f64,
    },
    /// An operation takes longer itself, in milliseconds.
    Latency {
        operation: u32,
        more_ms: f64,
    },
    /// All calls to a dependency take longer.
    SlowDependency {
        node: u32,
        more_ms: f64,
    },
    /// Calls to a dependency fail with this message.
    FailingDependency {
        node: u32,
        share: f64,
        message: &'static str,
    },
    /// One instance of a service is replaced by a new version that fails.
    BadVersion {
        service: u32,
        share: f64,
    },
    /// One instance of a service fails.
    BadInstance {
        service: u32,
        share: f64,
    },
    /// One instance of a service is slow.
    SlowInstance {
        service: u32,
        more_ms: f64,
    },
    /// From the instance of this number on those of all services fail, or take so many milliseconds longer.
    BadHosts {
        from: u32,
        share: f64,
        more_ms: f64,
    },
    /// An outgoing operation sends what the called service turns down without failing itself.
    AsksWrongly {
        operation: u32,
        share: f64,
    },
    /// Calls by one outgoing operation spend time on the way.
    SlowWay {
        operation: u32,
        more_ms: f64,
    },
    /// An operation no longer calls another.
    Stops {
        operation: u32,
        callee: u32,
    },
    /// A service does not answer at all; callers fail at once.
    Down {
        service: u32,
    },
    /// An operation calls another so many times.
    Repeats {
        operation: u32,
        callee: u32,
        times: u32,
    },
    /// An operation slows down so much that callers with a limit give up.
    TimesOut {
        operation: u32,
        limit_ms: f64,
    },
    /// Users send many times more and one service slows down under it.
    Surge {
        entry: u32,
        times: f64,
        operation: u32,
        more_ms: f64,
    },
}

/// A linear congruential generator: the same requests for the same seed.
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        let mut random = Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x1234_5678_9abc_def1);
        (0..8).for_each(|_| {
            random.next();
        });
        random
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let word = self.0 ^ self.0 >> 29;
        word.wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 11
    }

    pub(super) fn share(&mut self) -> f64 {
        self.next() as f64 / (1_u64 << 53) as f64
    }

    pub(super) fn below(&mut self, bound: usize) -> usize {
        (self.share() * bound as f64) as usize
    }

    pub(super) fn shuffle<T>(&mut self, values: &mut [T]) {
        for last in (1..values.len()).rev() {
            values.swap(last, self.below(last + 1));
        }
    }
}
