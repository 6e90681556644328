//! Which services exist, what they offer and whom they call.

use crate::dice::Dice;

/// A system of services.
#[derive(Debug, Clone)]
pub struct Topology {
    /// The services; calls refer to them by position.
    pub services: Vec<Service>,
    /// Where requests from outside arrive: service and operation, as often as they stand here.
    pub entries: Vec<(usize, usize)>,
}

/// One service.
#[derive(Debug, Clone)]
pub struct Service {
    /// `service.name`.
    pub name: String,
    /// `service.version` of all instances, before any fault.
    pub version: String,
    /// How many instances share its requests.
    pub instances: usize,
    /// What it offers.
    pub operations: Vec<Operation>,
}

/// One operation of a service.
#[derive(Debug, Clone)]
pub struct Operation {
    /// Span name, such as `POST /charge`.
    pub name: String,
    /// Typical time spent in the operation itself, in nanoseconds.
    pub self_ns: f64,
    /// Calls it makes, one after the other.
    pub calls: Vec<Call>,
}

/// One call that an operation makes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Call {
    /// To another service's operation, over HTTP.
    Service {
        /// Position of the callee.
        service: usize,
        /// Position of its operation.
        operation: usize,
    },
    /// To a database.
    Database {
        /// `db.system.name`.
        system: String,
        /// `db.namespace`.
        namespace: String,
        /// `db.operation.name` and the table, such as `SELECT orders`.
        statement: String,
    },
    /// A message to a queue that another service's operation consumes.
    Queue {
        /// `messaging.destination.name`.
        destination: String,
        /// Position of the consumer.
        service: usize,
        /// Position of the consuming operation.
        operation: usize,
    },
    /// To a host outside.
    External {
        /// `server.address`.
        host: String,
    },
}

fn database(system: &str, namespace: &str, statement: &str) -> Call {
    Call::Database { system: system.into(), namespace: namespace.into(), statement: statement.into() }
}

const fn service(service: usize, operation: usize) -> Call {
    Call::Service { service, operation }
}

fn operation(name: &str, self_ms: f64, calls: Vec<Call>) -> Operation {
    Operation { name: name.into(), self_ns: self_ms * 1e6, calls }
}

fn shop_service(name: &str, instances: usize, operations: Vec<Operation>) -> Service {
    Service { name: name.into(), version: "1.4.0".into(), instances, operations }
}

/// What customers touch: services 0 to 4 of the shop.
fn shop_front() -> Vec<Service> {
    let products = || database("postgresql", "catalog", "SELECT products");
    let product = || database("postgresql", "catalog", "SELECT product");
    let gateway = vec![
        operation("GET /", 1.0, vec![service(1, 0), service(2, 0)]),
        operation("GET /product/{id}", 1.0, vec![service(2, 1), service(3, 0)]),
        operation("POST /cart", 1.0, vec![service(4, 0)]),
        operation("POST /checkout", 2.0, vec![service(5, 0)]),
    ];
    let catalog = vec![
        operation("GET /products", 3.0, vec![products()]),
        operation("GET /products/{id}", 2.0, vec![product()]),
    ];
    let cart = vec![
        operation("POST /items", 2.0, vec![database("redis", "cart", "HSET cart"), service(2, 1)]),
        operation("GET /items", 1.0, vec![database("redis", "cart", "HGETALL cart")]),
    ];
    vec![
        shop_service("gateway", 2, gateway),
        shop_service("ads", 1, vec![operation("GET /ads", 2.0, vec![database("redis", "ads", "GET ad")])]),
        shop_service("catalog", 2, catalog),
        shop_service("recommendations", 1, vec![operation("GET /similar", 4.0, vec![service(2, 0)])]),
        shop_service("cart", 3, cart),
    ]
}

/// What orders go through: services 5 to 9 of the shop.
fn shop_back() -> Vec<Service> {
    let bank = Call::External { host: "api.bank.example".into() };
    let orders = Call::Queue { destination: "orders".into(), service: 8, operation: 0 };
    let charges = database("postgresql", "payments", "INSERT charges");
    let stock = database("postgresql", "catalog", "UPDATE stock");
    let checkout = vec![service(4, 1), service(7, 0), service(6, 0), orders];
    vec![
        shop_service("checkout", 3, vec![operation("POST /orders", 3.0, checkout)]),
        shop_service("payment", 3, vec![operation("POST /charge", 4.0, vec![charges, bank])]),
        shop_service("inventory", 2, vec![operation("POST /reserve", 2.0, vec![stock])]),
        shop_service("shipping", 1, vec![operation("process orders", 5.0, vec![service(9, 0)])]),
        shop_service("mailer", 1, vec![operation("POST /send", 6.0, vec![])]),
    ]
}

impl Topology {
    /// A small shop: ten services, three databases, a queue and a bank.
    pub fn shop() -> Self {
        let services = [shop_front(), shop_back()].concat();
        Self { services, entries: vec![(0, 0), (0, 0), (0, 0), (0, 1), (0, 1), (0, 2), (0, 3), (0, 3)] }
    }

    /// A system of `count` services in layers: a few gateways, services that call downwards, and databases, queues and
    /// hosts below. The same seed gives the same system.
    pub fn seeded(seed: u64, count: usize) -> Self {
        const WORDS: [&str; 16] = [
            "account", "billing", "catalog", "device", "email", "feed", "geo", "history", "identity",
            "journal", "kyc", "ledger", "media", "notice", "order", "price",
        ];
        let mut dice = Dice::new(seed).branch(1);
        let count = count.max(2);
        let gateways = (count / 30).max(1);
        let mut services: Vec<Service> = Vec::with_capacity(count);
        // Built from the bottom, so that calls always go to services that exist and never in circles.
        for position in 0..count {
            let is_gateway = position >= count - gateways;
            let name = if is_gateway {
                format!("gateway-{:03}", position + gateways - count)
            } else {
                format!("{}-{position:03}", WORDS[position % WORDS.len()])
            };
            let operations = (0..3 + dice.below(6))
                .map(|index| Operation {
                    name: format!("{} /{name}/{index}", ["GET", "POST", "PUT"][index % 3]),
                    self_ns: 0.5e6 + dice.share() * 4.5e6,
                    calls: calls(&mut dice, &services, position, is_gateway),
                })
                .collect();
            services.push(Service {
                name,
                version: "2.0.0".into(),
                instances: 1 + dice.below(3),
                operations,
            });
        }
        let entries = (count - gateways..count)
            .flat_map(|gateway| {
                (0..services[gateway].operations.len()).map(move |operation| (gateway, operation))
            })
            .collect();
        Self { services, entries }
    }

    /// The position of the service called `name`.
    pub fn position(&self, name: &str) -> Option<usize> {
        self.services.iter().position(|service| service.name == name)
    }
}

fn calls(dice: &mut Dice, below: &[Service], position: usize, is_gateway: bool) -> Vec<Call> {
    let mut calls = Vec::new();
    let wanted = if is_gateway { 2 + dice.below(3) } else { dice.below(3) };
    for _ in 0..wanted.min(below.len()) {
        // Mostly neighbours, so that depth stays moderate and every service has callers.
        let reach = below.len().min(if is_gateway { below.len() } else { 12 });
        let callee = below.len() - 1 - dice.below(reach);
        let operation = dice.below(below[callee].operations.len());
        calls.push(if dice.chance(0.06) {
            Call::Queue { destination: format!("topic-{callee:03}"), service: callee, operation }
        } else {
            Call::Service { service: callee, operation }
        });
    }
    if dice.chance(0.5) {
        let system = *dice.pick(&["postgresql", "mysql", "redis", "mongodb"]);
        let statement: &str = ["SELECT rows", "INSERT row", "UPDATE row"][dice.below(3)];
        calls.push(database(system, &format!("db{:02}", position / 8), statement));
    }
    if dice.chance(0.03) {
        calls.push(Call::External { host: format!("api.partner{}.example", position % 5) });
    }
    calls
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeded_systems_repeat_and_have_no_circles() {
        let system = Topology::seeded(7, 100);
        assert_eq!(format!("{system:?}"), format!("{:?}", Topology::seeded(7, 100)));
        assert_ne!(format!("{system:?}"), format!("{:?}", Topology::seeded(8, 100)));
        for (position, service) in system.services.iter().enumerate() {
            for call in service.operations.iter().flat_map(|operation| &operation.calls) {
                if let Call::Service { service, operation } | Call::Queue { service, operation, .. } = call {
                    assert!(*service < position && *operation < system.services[*service].operations.len());
                }
            }
        }
    }
}
