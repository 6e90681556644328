//! A small shop in memory: seeded requests through services, a database, a cache, a bank and a queue, with one fault
//! planted in the window, turned into evidence the way the product counts spans.

use std::collections::BTreeMap;

use crate::diagnose::evidence::{
    EdgeEvidence, Evidence, Exception, ExemplarSpan, ExemplarTrace, InstanceEvidence, Node,
    OperationEvidence, Slice, TemplateEvidence,
};
use crate::model::id::{OperationId, ResourceId, ServiceId, SpanId, TemplateId, TraceId};
use crate::model::log::Severity;
use crate::model::rollup::{Cell, Seen, Subject};
use crate::model::span::SpanKind;
use crate::model::time::{UnixNanos, Window};

use super::shop::{BANK, CLIENT, ENTRIES, Fault, NODES, OPERATIONS, Random, Row};

const BASELINE_S: i64 = 600;
const WINDOW_S: i64 = 300;
const START_S: i64 = 1_800_000_000;
const WIDTH_S: i64 = 30;
const INSTANCES: u32 = 3;
const USUAL_ERRORS: f64 = 0.001;
const SPANS_MAX: usize = 50;

/// What a run counts.
pub(super) struct Simulation {
    random: Random,
    fault: Fault,
    rows: BTreeMap<u32, Row>,
    cells: BTreeMap<(Subject, bool), Cell>,
    slices: BTreeMap<(Subject, i64), Slice>,
    logs: BTreeMap<(u32, bool), u64>,
    failing: Vec<ExemplarTrace>,
    slow: Vec<(u64, ExemplarTrace)>,
    spans: Vec<ExemplarSpan>,
    serial: u64,
    in_window: bool,
    at_s: i64,
    /// The call that ended last was turned down.
    turned_down: bool,
}

/// A call that has not ended.
struct Running {
    number: u32,
    service: u32,
    kind: SpanKind,
    /// The database, queue or host operation that it calls, if any.
    dependency: Option<u32>,
    instance: u32,
    fault: Fault,
    span_id: SpanId,
    start_ns: i64,
    own_ms: f64,
    waited_ns: u64,
    /// Why it fails; empty where a callee's failure is the reason.
    error: Option<String>,
}

impl Running {
    /// True for the second instance of `service`, which is the one that faults of instances hit.
    fn is_bad_instance(&self, service: u32) -> bool {
        self.kind.is_inbound() && self.service == service && self.instance == 1
    }

    /// Whether it takes work on a host from this number on.
    fn is_on_host(&self, from: u32) -> bool {
        self.kind.is_inbound() && self.instance >= from
    }

    fn span(&self, parent_id: Option<SpanId>) -> ExemplarSpan {
        ExemplarSpan {
            span_id: self.span_id,
            parent_id,
            service: ServiceId(self.service),
            operation: OperationId(self.number),
            resource: resource_of(self.service, self.instance, self.fault),
            kind: self.kind,
            peer: None,
            error: false,
            start: UnixNanos(self.start_ns),
            duration_ns: 0,
            status_message: String::new(),
            exception: None,
        }
    }
}

/// How a call ended.
struct Ended {
    duration_ns: u64,
    error: bool,
}

/// Evidence of `requests` per minute in a healthy baseline and a window with `fault`.
pub(super) fn simulate(seed: u64, requests: u32, fault: Fault) -> Evidence {
    let mut simulation = Simulation {
        random: Random::new(seed),
        fault,
        rows: OPERATIONS.iter().map(|row| (row.0, *row)).collect(),
        cells: BTreeMap::new(),
        slices: BTreeMap::new(),
        logs: BTreeMap::new(),
        failing: Vec::new(),
        slow: Vec::new(),
        spans: Vec::new(),
        serial: 0,
        in_window: false,
        at_s: 0,
        turned_down: false,
    };
    let step_s = 60.0 / f64::from(requests);
    for (entry, share) in ENTRIES {
        let mut at_s = 0.0;
        while at_s < (BASELINE_S + WINDOW_S) as f64 {
            simulation.in_window = at_s >= BASELINE_S as f64;
            let times = match fault {
                Fault::Surge { entry: surging, times, .. } if surging == entry && simulation.in_window => {
                    times
                }
                _ => 1.0,
            };
            at_s += -(1.0 - simulation.random.share()).ln() * step_s / share / times;
            if at_s < (BASELINE_S + WINDOW_S) as f64 {
                simulation.in_window = at_s >= BASELINE_S as f64;
                simulation.at_s = START_S + at_s as i64;
                simulation.request(entry);
            }
        }
    }
    simulation.evidence()
}

impl Simulation {
    fn request(&mut self, entry: u32) {
        self.spans.clear();
        let start_ns = self.at_s * 1_000_000_000;
        let ended = self.call(entry, None, start_ns);
        let trace = |simulation: &mut Self| {
            simulation.serial += 1;
            let id = [simulation.serial.to_be_bytes(), [7; 8]].concat();
            ExemplarTrace { trace_id: TraceId::try_from(&id[..]).unwrap(), spans: simulation.spans.clone() }
        };
        if !self.in_window {
            return;
        }
        if self.spans.iter().any(|span| span.error) {
            if self.failing.len() < SPANS_MAX {
                let trace = trace(self);
                self.failing.push(trace);
            }
        } else if self.slow.len() < SPANS_MAX
            || self.slow.last().is_some_and(|(least, _)| *least < ended.duration_ns)
        {
            let trace = trace(self);
            self.slow.push((ended.duration_ns, trace));
            self.slow.sort_by_key(|(duration, _)| std::cmp::Reverse(*duration));
            self.slow.truncate(SPANS_MAX);
        }
    }

    /// Runs one operation and everything it calls.
    fn call(&mut self, number: u32, parent: Option<(SpanId, u32)>, start_ns: i64) -> Ended {
        let (_, service, _, kind, own_ms, callees) = self.rows[&number];
        self.serial += 1;
        let mut running = Running {
            number,
            service,
            kind,
            dependency: callees.first().filter(|callee| self.rows[callee].1 >= BANK).copied(),
            instance: self.random.below(INSTANCES as usize) as u32,
            fault: if self.in_window { self.fault } else { Fault::Quiet },
            span_id: SpanId::try_from(&self.serial.to_be_bytes()[..]).unwrap(),
            start_ns,
            own_ms: own_ms * (0.5 - 0.5 * (1.0 - self.random.share()).ln()),
            waited_ns: 0,
            error: None,
        };
        let usual = if running.dependency.is_some() { USUAL_ERRORS } else { USUAL_ERRORS / 4.0 };
        running.error = (self.random.share() < usual).then(|| "unexpected".to_owned());
        running.own_ms += self.added_ms(&running);
        running.error = self.own_failure(&running).or(running.error);
        let position = self.spans.len();
        self.spans.push(running.span(parent.map(|(id, _)| id)));
        self.call_all(&mut running, callees);
        let duration_ns = (running.own_ms * 1e6) as u64 + running.waited_ns;
        let error = running.error.is_some();
        self.count(&running, parent, &Ended { duration_ns, error });
        if running.dependency == Some(75) && !error {
            self.call(26, Some((running.span_id, 75)), start_ns + duration_ns as i64);
        }
        let span = &mut self.spans[position];
        (span.error, span.duration_ns) = (error, duration_ns);
        let message = running.error.unwrap_or_default();
        span.exception = (!message.is_empty() && running.dependency.is_none())
            .then(|| Exception { kind: "Failure".to_owned(), message: message.clone() });
        span.status_message = message;
        Ended { duration_ns, error: error && kind != SpanKind::CONSUMER }
    }

    /// Calls one operation after the other until one fails.
    fn call_all(&mut self, running: &mut Running, callees: &[u32]) {
        let number = running.number;
        for callee in callees.iter().copied() {
            let remote = self.rows[&callee].1;
            let stops = running.fault == Fault::Stops { operation: number, callee };
            if remote >= BANK || running.error.is_some() || stops {
                continue;
            }
            let times = match running.fault {
                Fault::Repeats { operation, callee: repeated, times }
                    if (operation, repeated) == (number, callee) =>
                {
                    times
                }
                _ => 1,
            };
            for _ in 0..times {
                if running.kind.is_outbound() && running.fault == (Fault::Down { service: remote }) {
                    running.error = Some("dial tcp: connection refused".to_owned());
                    continue;
                }
                let begins = running.start_ns + (running.own_ms * 5e5) as i64 + running.waited_ns as i64;
                let ended = self.call(callee, Some((running.span_id, number)), begins);
                let turned_down = std::mem::take(&mut self.turned_down);
                let limit_ns =
                    limit_ns(running.fault).filter(|_| running.kind.is_outbound()).unwrap_or(u64::MAX);
                running.waited_ns += ended.duration_ns.min(limit_ns);
                if ended.duration_ns > limit_ns {
                    running.error = Some("deadline exceeded".to_owned());
                } else if turned_down {
                    running.error = Some("422 unprocessable content".to_owned());
                } else if ended.error {
                    running.error.get_or_insert_default();
                }
            }
        }
    }

    /// Milliseconds that the fault adds to an operation's own time.
    fn added_ms(&mut self, running: &Running) -> f64 {
        let wave = 0.5 + self.random.share();
        let depends_on = |node: u32| running.dependency.is_some_and(|it| self.rows[&it].1 == node);
        match running.fault {
            Fault::Latency { operation, more_ms }
            | Fault::SlowWay { operation, more_ms }
            | Fault::Surge { operation, more_ms, .. }
                if operation == running.number =>
            {
                more_ms * wave
            }
            Fault::SlowDependency { node, more_ms } if depends_on(node) => more_ms * wave,
            Fault::TimesOut { operation, limit_ms } if operation == running.number => limit_ms * wave * 1.2,
            Fault::SlowInstance { service, more_ms } if running.is_bad_instance(service) => more_ms * wave,
            Fault::BadHosts { from, more_ms, .. } if running.is_on_host(from) => more_ms * wave,
            _ => 0.0,
        }
    }

    /// What the fault makes an operation fail with.
    fn own_failure(&mut self, running: &Running) -> Option<String> {
        let chance = self.random.share();
        let depends_on = |node: u32| running.dependency.is_some_and(|it| self.rows[&it].1 == node);
        let text = match running.fault {
            Fault::Errors { operation, share } if operation == running.number && chance < share => {
                "no such coupon"
            }
            Fault::FailingDependency { node, share, message } if depends_on(node) && chance < share => {
                message
            }
            Fault::BadVersion { service, share } | Fault::BadInstance { service, share }
                if running.is_bad_instance(service) && chance < share =>
            {
                "index out of range"
            }
            Fault::BadHosts { from, share, .. } if running.is_on_host(from) && chance < share => {
                "no route to host"
            }
            _ => return None,
        };
        Some(text.to_owned())
    }

    fn count(&mut self, running: &Running, parent: Option<(SpanId, u32)>, ended: &Ended) {
        let Ended { duration_ns, error } = *ended;
        let (operation, service) = (OperationId(running.number), ServiceId(running.service));
        self.add(Subject::Operation(operation), &Seen::Call { duration_ns, caller_ns: 0, error });
        if running.kind.is_inbound() {
            let resource = resource_of(running.service, running.instance, running.fault);
            self.add(Subject::Instance(service, resource), &Seen::Call { duration_ns, caller_ns: 0, error });
            *self.logs.entry((running.service, self.in_window)).or_default() += u64::from(error);
        }
        if let Some(dependency) = running.dependency {
            let subject = Subject::Edge(operation, OperationId(dependency));
            self.add(subject, &Seen::Call { duration_ns, caller_ns: duration_ns, error });
        }
        let Some((_, from)) = parent else { return };
        let remote = self.rows[&from].3 == CLIENT;
        let limit_ns = limit_ns(running.fault).filter(|_| remote).unwrap_or(u64::MAX);
        let way_ns = match running.fault {
            Fault::SlowWay { operation, more_ms } if operation == from => (more_ms * 1e6) as u64,
            _ => 0,
        };
        let caller_ns = if remote { duration_ns.min(limit_ns) + 500_000 + way_ns } else { duration_ns };
        self.turned_down = match running.fault {
            Fault::AsksWrongly { operation, share } if operation == from => self.random.share() < share,
            _ => false,
        };
        // A call failed where either end says so.
        let error = error || self.turned_down || (remote && duration_ns > limit_ns);
        self.add(Subject::Edge(OperationId(from), operation), &Seen::Call { duration_ns, caller_ns, error });
        if from != 75 {
            let duration_ns = duration_ns.min(limit_ns);
            self.add(Subject::Operation(OperationId(from)), &Seen::Children { duration_ns });
        }
    }

    fn add(&mut self, subject: Subject, seen: &Seen) {
        self.cells.entry((subject, self.in_window)).or_default().add(seen);
        if let (Subject::Operation(_), Seen::Call { duration_ns, error, .. }) = (subject, seen) {
            let bucket_s = self.at_s / WIDTH_S * WIDTH_S;
            let empty =
                Slice { subject, bucket_s, width_s: WIDTH_S, count: 0, errors: 0, sum_ns: 0, other_ns: 0 };
            let slice = self.slices.entry((subject, bucket_s)).or_insert(empty);
            slice.count += 1;
            slice.errors += u64::from(*error);
            slice.sum_ns += duration_ns;
        }
    }

    fn evidence(mut self) -> Evidence {
        let at = |seconds: i64| UnixNanos::from_seconds(START_S + seconds);
        let mut evidence = Evidence::empty(Window::new(at(BASELINE_S), at(BASELINE_S + WINDOW_S)));
        evidence.baseline = Some(Window::new(at(0), at(BASELINE_S)));
        evidence.nodes = NODES
            .iter()
            .map(|(id, name, kind)| Node { id: ServiceId(*id), name: (*name).to_owned(), kind: *kind })
            .collect();
        let cell = |subject: Subject, now: bool| self.cells.get(&(subject, now)).cloned().unwrap_or_default();
        for (number, service, name, kind, ..) in OPERATIONS {
            let (id, subject) = (OperationId(number), Subject::Operation(OperationId(number)));
            let (now, before) = (cell(subject, true), cell(subject, false));
            evidence.operations.push(OperationEvidence {
                id,
                service: ServiceId(service),
                name: name.to_owned(),
                kind,
                now,
                before,
            });
        }
        let mut seen: Vec<Subject> = self.cells.keys().map(|(subject, _)| *subject).collect();
        seen.dedup();
        for subject in seen {
            let (now, before) = (cell(subject, true), cell(subject, false));
            match subject {
                Subject::Edge(from, to) => evidence.edges.push(EdgeEvidence { from, to, now, before }),
                Subject::Instance(service, resource) => {
                    let fresh = resource.0 % 10 == 9;
                    evidence.instances.push(InstanceEvidence {
                        service,
                        resource,
                        version: if fresh { "1.1" } else { "1.0" }.to_owned(),
                        instance: format!("pod-{}", resource.0),
                        first_seen: if fresh { at(BASELINE_S - 5) } else { at(-90_000) },
                        now,
                        before,
                    });
                }
                _ => {}
            }
        }
        let services: Vec<u32> = NODES.iter().map(|node| node.0).collect();
        for service in services {
            let count = |now: bool| self.logs.get(&(service, now)).copied().unwrap_or(0);
            evidence.templates.push(TemplateEvidence {
                id: TemplateId(service),
                service: ServiceId(service),
                severity: Severity::ERROR,
                text: "request failed: <*>".to_owned(),
                first_seen: at(-90_000),
                now: count(true),
                before: count(false),
            });
        }
        evidence.timeline = self.slices.values().copied().collect();
        evidence.traces = std::mem::take(&mut self.failing);
        evidence.traces.extend(std::mem::take(&mut self.slow).into_iter().map(|(_, trace)| trace));
        evidence
    }
}

/// How long callers wait, where the fault makes them give up.
fn limit_ns(fault: Fault) -> Option<u64> {
    match fault {
        Fault::TimesOut { limit_ms, .. } => Some((limit_ms * 1e6) as u64),
        _ => None,
    }
}

/// The resource of an instance; a new version's replaces the second instance.
fn resource_of(service: u32, instance: u32, fault: Fault) -> ResourceId {
    match fault {
        Fault::BadVersion { service: bad, .. } if bad == service && instance == 1 => {
            ResourceId(service * 10 + 9)
        }
        _ => ResourceId(service * 10 + instance),
    }
}
