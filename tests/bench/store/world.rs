//! Who sends the telemetry: services with their operations, who calls whom, and what the details look like.

use std::sync::Arc;

use anyhow::Result;
use otelcontext::graph::join::Dependency;
use otelcontext::model::id::{InstrumentationId, OperationId, ResourceId, ServiceId, TenantNumber};
use otelcontext::model::node::NodeKind;
use otelcontext::model::packed::Attributes;
use otelcontext::model::packed::write::Packer;
use otelcontext::model::resource::{Instrumentation, Resource};
use otelcontext::model::span::SpanKind;
use otelcontext::model::tenant::TenantId;
use otelcontext::model::time::UnixNanos;
use otelcontext::store::names::Names;

use crate::pattern::Pattern;
use crate::random::Random;

const SERVICES: usize = 200;
const INSTANCES: usize = 2;
const DATABASES: usize = 20;
/// Operations of each service, by their part: the first ones take requests, and so on.
const SERVERS: usize = 4;
const INTERNALS: usize = 3;
const QUERIES: usize = 1;
const CLIENTS: usize = 2;
pub(crate) const OPERATIONS: usize = SERVERS + INTERNALS + QUERIES + CLIENTS;
const NOUNS: [&str; 10] = [
    "orders",
    "payments",
    "customers",
    "inventory",
    "shipments",
    "invoices",
    "sessions",
    "catalog",
    "reviews",
    "coupons",
];

/// One operation as spans of it are made.
#[derive(Debug)]
pub(crate) struct Operation {
    pub(crate) id: OperationId,
    pub(crate) service: usize,
    pub(crate) kind: SpanKind,
    pub(crate) dependency: Option<(ServiceId, Dependency)>,
    /// Operations that it calls.
    pub(crate) calls: Vec<usize>,
    /// How long it usually takes.
    pub(crate) usual_ns: u64,
    pub(crate) detail: Pattern,
    pub(crate) failed_detail: Pattern,
}

/// One service.
#[derive(Debug)]
pub(crate) struct Service {
    pub(crate) id: ServiceId,
    pub(crate) resources: [ResourceId; INSTANCES],
}

/// Everyone.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) tenant: TenantNumber,
    pub(crate) instrumentation: InstrumentationId,
    pub(crate) services: Vec<Service>,
    pub(crate) operations: Vec<Operation>,
}

impl World {
    /// The same world whenever it is made: names that the store knows keep their numbers.
    pub(crate) fn new(names: &Names, at: UnixNanos) -> Result<Self> {
        let tenant = names.tenant(&TenantId::try_from("bench")?);
        let instrumentation = Instrumentation { name: "bench.http".into(), ..Instrumentation::default() };
        let instrumentation = names.instrumentation(tenant, &Arc::new(instrumentation), at);
        let mut random = Random::new(3);
        let databases: Vec<(ServiceId, OperationId)> = (0..DATABASES)
            .map(|number| {
                let name = format!("postgresql-{number:02}.db.internal");
                let id = names.service(tenant, NodeKind::Database, &name, at);
                (id, names.operation(tenant, id, SpanKind::CLIENT, "SELECT", at))
            })
            .collect();
        let mut world = Self { tenant, instrumentation, services: Vec::new(), operations: Vec::new() };
        for number in 0..SERVICES {
            world.add_service(names, at, number);
            for part in 0..OPERATIONS {
                let database = databases[random.below(DATABASES as u64) as usize];
                let operation = world.operation(names, at, (number, part), database, &mut random);
                world.operations.push(operation);
            }
        }
        Ok(world)
    }

    fn add_service(&mut self, names: &Names, at: UnixNanos, number: usize) {
        let name = service_name(number);
        let id = names.service(self.tenant, NodeKind::Service, &name, at);
        let resources = std::array::from_fn(|instance| {
            let mut packer = Packer::default();
            packer.attribute_text(1, "service.name", &name);
            packer.attribute_text(1, "service.version", "4.12.0");
            packer.attribute_text(1, "k8s.pod.name", &format!("{name}-7c9f{number:04x}-{instance}"));
            packer.attribute_text(1, "k8s.node.name", &format!("node-{:03}", (number + instance) % 40));
            let resource = Resource {
                service: name.as_str().into(),
                attributes: Attributes::from_checked(packer.finish()),
                dropped_attributes: 0,
                schema_url: "".into(),
            };
            names.resource(self.tenant, id, &Arc::new(resource), at)
        });
        self.services.push(Service { id, resources });
    }

    fn operation(
        &self,
        names: &Names,
        at: UnixNanos,
        (service, part): (usize, usize),
        database: (ServiceId, OperationId),
        random: &mut Random,
    ) -> Operation {
        let noun = NOUNS[(service + part) % NOUNS.len()];
        let own = |part: usize| service * OPERATIONS + part;
        let callee = |random: &mut Random| {
            random.below(SERVICES as u64) as usize * OPERATIONS + random.below(SERVERS as u64) as usize
        };
        let (kind, name, calls) = match part {
            0..SERVERS => {
                let calls = (SERVERS..OPERATIONS).filter(|_| random.below(2) == 0).map(own).collect();
                (SpanKind::SERVER, format!("GET /api/v{part}/{noun}/{{id}}"), calls)
            }
            _ if part < SERVERS + INTERNALS => {
                let calls = (SERVERS + INTERNALS..OPERATIONS).map(own).collect();
                (SpanKind::INTERNAL, format!("{noun}.step{part}"), calls)
            }
            _ if part < SERVERS + INTERNALS + QUERIES => {
                (SpanKind::CLIENT, format!("SELECT {noun}"), Vec::new())
            }
            _ => (SpanKind::CLIENT, format!("GET {part}"), vec![callee(random)]),
        };
        let is_query = kind == SpanKind::CLIENT && calls.is_empty();
        let id = names.operation(self.tenant, self.services[service].id, kind, &name, at);
        let dependency = Dependency { kind: NodeKind::Database, operation: database.1 };
        let detail = |failed| {
            let mut packer = Packer::default();
            match kind {
                SpanKind::SERVER => pack_server(&mut packer, service, noun, failed),
                SpanKind::CLIENT if is_query => pack_query(&mut packer, noun),
                SpanKind::CLIENT => pack_client(&mut packer, service, noun),
                _ => pack_internal(&mut packer, noun, part),
            }
            if failed {
                pack_failure(&mut packer, noun);
            }
            packer.attribute_text(9, "request.id", "~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~");
            packer.fixed32(16, 0x101);
            Pattern::new(&packer.finish())
        };
        let usual_ns = 200_000 << random.below(8);
        Operation {
            id,
            service,
            kind,
            dependency: is_query.then_some((database.0, dependency)),
            calls,
            usual_ns,
            detail: detail(false),
            failed_detail: detail(true),
        }
    }
}

fn service_name(number: usize) -> String {
    format!("{}-{}-{number:03}", NOUNS[number % NOUNS.len()], ["api", "worker", "gateway"][number % 3])
}

fn pack_server(packer: &mut Packer, service: usize, noun: &str, failed: bool) {
    packer.attribute_text(9, "http.request.method", "GET");
    packer.attribute_text(9, "url.path", &format!("/api/v1/{noun}/#######"));
    packer.attribute_text(9, "http.route", &format!("/api/v1/{noun}/{{id}}"));
    packer.attribute_int(9, "http.response.status_code", if failed { 500 } else { 200 });
    packer.attribute_text(9, "server.address", &format!("{}.shop.svc.cluster.local", service_name(service)));
    packer.attribute_text(9, "client.address", "10.42.####");
    packer.attribute_text(9, "user_agent.original", "okhttp/4.12.0");
    packer.attribute_text(9, "customer.id", "customer-#####");
    packer.attribute_text(9, "session.id", "~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~");
    packer.attribute_int(9, "http.response.body.size", Pattern::INTEGER);
}

fn pack_client(packer: &mut Packer, service: usize, noun: &str) {
    let peer = service_name((service * 7 + 3) % SERVICES);
    packer.attribute_text(9, "http.request.method", "GET");
    packer.attribute_text(
        9,
        "url.full",
        &format!("http://{peer}:8080/api/v1/{noun}/#######?trace=~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~"),
    );
    packer.attribute_int(9, "http.response.status_code", 200);
    packer.attribute_text(9, "server.address", &format!("{peer}.shop.svc.cluster.local"));
    packer.attribute_int(9, "server.port", 8080);
    packer.attribute_text(9, "network.protocol.version", "1.1");
    packer.attribute_text(9, "network.peer.address", "10.43.####");
    packer.attribute_text(9, "customer.id", "customer-#####");
    packer.attribute_text(9, "thread.name", "http-client-####");
    packer.attribute_int(9, "thread.id", Pattern::INTEGER);
}

fn pack_query(packer: &mut Packer, noun: &str) {
    packer.attribute_text(9, "db.system.name", "postgresql");
    packer.attribute_text(9, "db.namespace", "shop");
    packer.attribute_text(9, "db.collection.name", noun);
    packer.attribute_text(9, "db.operation.name", "SELECT");
    let statement = format!(
        "SELECT id, state, total FROM {noun} WHERE customer_id = ####### AND key = '~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~'"
    );
    packer.attribute_text(9, "db.query.text", &statement);
    packer.attribute_text(9, "customer.id", "customer-#####");
    packer.attribute_text(9, "network.peer.address", "10.44.####");
    packer.attribute_int(9, "db.response.returned_rows", Pattern::INTEGER);
    packer.attribute_text(9, "thread.name", "jdbc-pool-####");
    packer.attribute_text(9, "network.transport", "tcp");
}

fn pack_internal(packer: &mut Packer, noun: &str, part: usize) {
    packer.attribute_text(9, "code.function.name", &format!("com.shop.{noun}.Service.step{part}"));
    packer.attribute_text(9, "code.file.path", &format!("src/main/java/com/shop/{noun}/Service.java"));
    packer.attribute_int(9, "code.line.number", 100 + part as i64);
    packer.attribute_text(9, "customer.id", "customer-#####");
    packer.attribute_text(9, "order.id", "~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~");
    packer.attribute_text(9, "thread.name", "worker-####");
    packer.attribute_int(9, "thread.id", Pattern::INTEGER);
    packer.attribute_text(9, "feature.flag", "new-checkout");
    packer.attribute_text(9, "deployment.ring", "stable");
    packer.attribute_text(9, "cart.total", "####.#### EUR");
}

fn pack_failure(packer: &mut Packer, noun: &str) {
    packer.message(11, |event| {
        event.text(2, "exception");
        event.attribute_text(3, "exception.type", "java.net.SocketTimeoutException");
        event.attribute_text(3, "exception.message", &format!("{noun} ####### did not answer"));
        event.attribute_text(
            3,
            "exception.stacktrace",
            "at com.shop.Client.call(Client.java:118)\n\tat com.shop.Service.run(Service.java:42)",
        );
    });
    packer.message(15, |status| {
        status.text(2, "upstream did not answer");
        status.varint(3, 2);
    });
}
