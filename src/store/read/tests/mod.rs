//! A store with two tenants that share trace ids, and the plain lists of what went into it.

mod filters;
mod logs;
mod longest;
mod metrics;
mod questions;
mod spans;
mod traces;

use std::collections::HashMap;
use std::fmt::Debug;
use std::sync::LazyLock;
use std::time::Duration;

use bytes::Bytes;
use tokio::runtime::Runtime;

use crate::model::id::{
    InstrumentationId, OperationId, ResourceId, ServiceId, SpanId, TemplateId, TenantNumber, TraceId,
};
use crate::model::log::{LogDetail, Severity};
use crate::model::node::NodeKind;
use crate::model::packed::write::Packer;
use crate::model::span::{SpanDetail, SpanKind, Status};
use crate::model::tenant::TenantId;
use crate::model::time::{UnixNanos, Window};
use crate::model::trace_key::TraceKey;
use crate::store::Store;
use crate::store::error::Error;
use crate::store::options::Options;
use crate::store::rows::{Commit, LogRow, SpanRow, TemplateRow};
use crate::store::tests::home::Home;

/// Services of each tenant; each has two operations, and a template for every severity.
const SERVICES: usize = 4;
/// When the first trace begins; traces begin over the following hour, in the middle of which a day ends.
const EPOCH: i64 = 1_800_055_800;

/// The world that tests only read, made once.
static WORLD: LazyLock<World> = LazyLock::new(World::filled);

/// A runtime, a store on each database, and what was committed to both.
pub(super) struct World {
    pub(super) runtime: Runtime,
    pub(super) stores: [Store; 2],
    pub(super) tenants: Vec<Tenant>,
    /// In the order of arrival: the index is the id less one.
    pub(super) spans: Vec<SpanRow>,
    pub(super) logs: Vec<LogRow>,
    _homes: [Home; 2],
}

pub(super) struct Tenant {
    pub(super) number: TenantNumber,
    pub(super) services: Vec<ServiceId>,
    pub(super) operations: Vec<OperationId>,
}

/// Numbers that look random and are the same in every run.
pub(super) struct Chance(pub(super) u64);

impl Chance {
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }

    fn one_in(&mut self, bound: u64) -> bool {
        self.below(bound) == 0
    }
}

impl World {
    pub(super) fn empty() -> Self {
        let runtime = Runtime::new().unwrap();
        let homes = Home::both();
        let stores = homes.each_ref().map(|home| {
            let promoted = ["rare".to_owned()].into();
            let options = Options { readers: 1, promoted, ..home.options() };
            runtime.block_on(Store::open(options)).unwrap()
        });
        // The same names get the same ids in both.
        let [tenants, _] = stores.each_ref().map(|store| ["a", "b"].map(|name| tenant(store, name)).into());
        Self { runtime, stores, tenants, spans: Vec::new(), logs: Vec::new(), _homes: homes }
    }

    /// The answer to `question`, which is the same on both databases.
    pub(super) fn ask<T: PartialEq + Debug>(&self, question: impl AsyncFn(&Store) -> Result<T, Error>) -> T {
        let [sqlite, postgres] =
            self.stores.each_ref().map(|store| self.runtime.block_on(question(store)).unwrap());
        assert_eq!(sqlite, postgres, "the databases do not answer alike");
        sqlite
    }

    fn filled() -> Self {
        let mut world = Self::empty();
        let mut chance = Chance(7);
        for lsn in 1..=6 {
            let mut commit = Commit { lsn, ..Commit::default() };
            for _ in 0..60 {
                let trace = trace_id(chance.below(250));
                for tenant in &world.tenants {
                    add_trace(tenant, trace, &mut chance, &mut commit);
                    add_logs(tenant, trace, &mut chance, &mut commit);
                }
            }
            if lsn == 1 {
                commit.templates = world.tenants.iter().flat_map(templates).collect();
            }
            world.commit(commit);
        }
        world
    }

    pub(super) fn commit(&mut self, mut commit: Commit) {
        // Rows are numbered by tenant within a commit, and trace by trace.
        let trace = |span: &SpanRow| (span.tenant, span.trace_key, span.trace_id);
        let mut first: HashMap<_, usize> = HashMap::new();
        for (index, span) in commit.spans.iter().enumerate() {
            first.entry(trace(span)).or_insert(index);
        }
        commit.spans.sort_by_key(|span| (span.tenant, first[&trace(span)]));
        commit.logs.sort_by_key(|log| log.tenant);
        for store in &self.stores {
            self.runtime.block_on(store.commit(commit.clone())).unwrap();
        }
        self.spans.extend(commit.spans);
        self.logs.extend(commit.logs);
    }
}

pub(super) fn seconds(seconds: i64) -> UnixNanos {
    UnixNanos::from_seconds(EPOCH + seconds)
}

pub(super) fn window(from: i64, to: i64) -> Window {
    Window::new(seconds(from), seconds(to))
}

pub(super) fn trace_id(number: u64) -> TraceId {
    TraceId::try_from((u128::from(number) + 1).to_be_bytes().as_slice()).unwrap()
}

pub(super) fn span_id(number: u64) -> SpanId {
    SpanId::try_from((number + 1).to_be_bytes().as_slice()).unwrap()
}

pub(super) fn tenant(store: &Store, name: &str) -> Tenant {
    let names = store.names();
    let number = names.tenant(&TenantId::try_from(name).unwrap());
    let mut services = Vec::new();
    let mut operations = Vec::new();
    for service in 0..SERVICES {
        let service = names.service(number, NodeKind::Service, &format!("service-{service}"), seconds(0));
        services.push(service);
        for operation in ["get", "put"] {
            operations.push(names.operation(number, service, SpanKind::SERVER, operation, seconds(0)));
        }
    }
    Tenant { number, services, operations }
}

/// Adds one to eight spans of `trace`. The first 25 traces are kept in parts: each span under its own key.
pub(super) fn add_trace(tenant: &Tenant, trace: TraceId, chance: &mut Chance, commit: &mut Commit) {
    let number = u128::from_be_bytes(*trace.as_bytes()) as i64;
    let first = seconds(number * 13);
    for _ in 0..=chance.below(8) {
        let place = chance.below(2 * SERVICES as u64) as usize;
        // Whole seconds, so that many begin at the same instant.
        let start = first.plus(Duration::from_secs(chance.below(if number <= 25 { 2_400 } else { 20 })));
        let key = if number <= 25 { start } else { first };
        commit.spans.push(SpanRow {
            tenant: tenant.number,
            trace_key: TraceKey::new(key, tenant.number, trace),
            trace_id: trace,
            span_id: span_id(chance.below(1 << 40)),
            parent_id: (!chance.one_in(4)).then(|| span_id(chance.below(1 << 40))),
            service: tenant.services[place / 2],
            operation: tenant.operations[place],
            resource: ResourceId(1),
            instrumentation: InstrumentationId(1),
            kind: SpanKind::SERVER,
            status: if chance.one_in(5) { Status::Error } else { Status::Ok },
            entry: chance.one_in(2),
            http_status: [0, 200, 500][chance.below(3) as usize],
            dependency: chance.one_in(6).then(|| tenant.services[0]),
            start,
            duration_ns: chance.below(12) * 100_000_000,
            detail: SpanDetail::from_checked(attributes(9, chance)),
        });
    }
}

pub(super) fn add_logs(tenant: &Tenant, trace: TraceId, chance: &mut Chance, commit: &mut Commit) {
    for _ in 0..chance.below(6) {
        let service = chance.below(SERVICES as u64) as usize;
        let severity = [0, 1, 5, 9, 13, 17, 21][chance.below(7) as usize];
        let mut packer = Packer::default();
        packer.message(5, |body| body.text(1, &format!("line {}", chance.below(1 << 30))));
        packer.raw(&attributes(6, chance));
        commit.logs.push(LogRow {
            tenant: tenant.number,
            time: seconds(chance.below(3_600) as i64),
            severity: Severity(severity),
            service: tenant.services[service],
            resource: ResourceId(1),
            instrumentation: InstrumentationId(1),
            template: template(tenant.services[service], severity),
            trace_id: chance.one_in(2).then_some(trace),
            span_id: chance.one_in(2).then(|| span_id(chance.below(20))),
            detail: LogDetail::from_checked(packer.finish()),
        });
    }
}

fn template(service: ServiceId, severity: u8) -> TemplateId {
    TemplateId(service.0 * 100 + u32::from(severity))
}

pub(super) fn templates(tenant: &Tenant) -> Vec<TemplateRow> {
    let of_service = |service: &ServiceId| {
        [0, 1, 5, 9, 13, 17, 21].map(|severity| TemplateRow {
            id: template(*service, severity),
            tenant: tenant.number,
            service: *service,
            text: "line <*>".to_owned(),
            sample: "line 7".to_owned(),
            first_seen: seconds(0),
        })
    };
    tenant.services.iter().flat_map(of_service).collect()
}

/// A route, a number, and now and then something rare; `number` is that of the attributes' field.
fn attributes(number: u32, chance: &mut Chance) -> Bytes {
    let mut packer = Packer::default();
    packer.attribute_text(number, "route", ["/pay", "/cart", "/home"][chance.below(3) as usize]);
    packer.attribute_int(number, "retries", chance.below(3) as i64);
    if chance.one_in(100) {
        packer.attribute_text(number, "rare", "yes");
    }
    packer.finish()
}
