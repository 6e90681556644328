//! Each kind of fault over many seeds: the true cause must come first in 95 of 100.

use crate::diagnose::verdict::{self, Cause, Outcome, Verdict};
use crate::diagnose::{Options, root_cause};
use crate::model::id::ServiceId;

use super::shop::{
    BANK, CACHE, CART, CATALOG, CHECKOUT, DATABASE, EVENTS, Fault, GATEWAY, ORDERS, PAYMENTS, Random,
    SHIPPING,
};
use super::simulation::simulate;

const SEEDS: u64 = 30;
const REQUESTS_PER_MINUTE: u32 = 60;
/// A third of the requests must suffice where one of three instances fails.
const REQUESTS_OF_INSTANCES: u32 = 120;

/// Plants a fault chosen by the seed and checks that the first cause is on `service` and passes `fits`.
fn check(name: &str, plant: impl Fn(&mut Random) -> (Fault, u32), fits: impl Fn(&Cause) -> bool) {
    check_with(REQUESTS_PER_MINUTE, name, plant, fits);
}

/// The same with so many requests a minute.
fn check_with(
    requests: u32,
    name: &str,
    plant: impl Fn(&mut Random) -> (Fault, u32),
    fits: impl Fn(&Cause) -> bool,
) {
    let (mut right, mut found, mut misses) = (0, 0, Vec::new());
    for seed in 0..SEEDS {
        let (fault, service) = plant(&mut Random::new(seed ^ 0x5eed));
        let evidence = simulate(seed, requests, fault);
        let verdict = root_cause(&evidence, None, &Options::default());
        let hit =
            verdict.causes.first().is_some_and(|cause| cause.service == ServiceId(service) && fits(cause));
        right += u64::from(hit);
        found += u64::from(hit && verdict.outcome == Outcome::CauseFound);
        if !hit {
            misses.push(format!("seed {seed} {fault:?}: {}", shown(&verdict)));
        }
    }
    println!("{name}: {right}/{SEEDS} right, {found} called found");
    assert!(100 * right >= 95 * SEEDS, "{name}: {right} of {SEEDS}\n{}", misses.join("\n"));
    assert!(100 * found >= 65 * SEEDS, "{name}: only {found} of {SEEDS} called found");
}

fn shown(verdict: &Verdict) -> String {
    let causes = verdict.causes.iter().take(3);
    let causes: Vec<String> = causes
        .map(|it| format!("{:.2} {:?}/{:?} {}", it.confidence, it.level, it.fault, it.sentence))
        .collect();
    format!("{:?} {:?}\n  {}", verdict.outcome, verdict.symptom, causes.join("\n  "))
}

fn pick<T: Copy>(random: &mut Random, among: &[T]) -> T {
    among[random.below(among.len())]
}

#[test]
fn errors_of_an_operation() {
    let targets = [
        (25, CATALOG),
        (20, CART),
        (22, PAYMENTS),
        (40, CHECKOUT),
        (23, ORDERS),
        (24, ORDERS),
        (41, CHECKOUT),
    ];
    check(
        "errors",
        |random| {
            let (operation, service) = pick(random, &targets);
            (Fault::Errors { operation, share: 0.08 + 0.5 * random.share() }, service)
        },
        |cause| cause.fault == verdict::Fault::Errors && cause.sentence.contains("no such coupon"),
    );
}

#[test]
fn latency_of_an_operation() {
    let targets = [(20, CART), (21, CHECKOUT), (22, PAYMENTS), (23, ORDERS), (25, CATALOG), (40, CHECKOUT)];
    check(
        "latency",
        |random| {
            let (operation, service) = pick(random, &targets);
            (Fault::Latency { operation, more_ms: 25.0 + 100.0 * random.share() }, service)
        },
        |cause| cause.fault == verdict::Fault::Latency,
    );
}

#[test]
fn slow_dependencies() {
    check(
        "slow dependency",
        |random| {
            let node = pick(random, &[DATABASE, CACHE, BANK]);
            (Fault::SlowDependency { node, more_ms: 30.0 + 100.0 * random.share() }, node)
        },
        |cause| cause.level == verdict::Level::Dependency && cause.fault == verdict::Fault::Latency,
    );
}

#[test]
fn dead_dependencies() {
    check(
        "dead dependency",
        |random| {
            let node = pick(random, &[DATABASE, CACHE, BANK]);
            (Fault::FailingDependency { node, share: 1.0, message: "connection refused" }, node)
        },
        |cause| cause.fault == verdict::Fault::Unreachable,
    );
}

#[test]
fn failing_external_hosts() {
    check(
        "failing external host",
        |random| {
            let share = 0.1 + 0.5 * random.share();
            (Fault::FailingDependency { node: BANK, share, message: "HTTP 500 Internal Server Error" }, BANK)
        },
        |cause| cause.level == verdict::Level::Dependency,
    );
}

#[test]
fn wrong_questions_are_the_callers_fault() {
    check(
        "wrong request",
        |random| {
            let share = 0.2 + 0.3 * random.share();
            (Fault::FailingDependency { node: BANK, share, message: "HTTP 400 Bad Request" }, PAYMENTS)
        },
        |cause| cause.level == verdict::Level::Operation,
    );
}

#[test]
fn bad_versions() {
    check_with(
        REQUESTS_OF_INSTANCES,
        "bad version",
        |random| {
            let service = pick(random, &[CART, CHECKOUT, PAYMENTS, ORDERS, CATALOG]);
            (Fault::BadVersion { service, share: 0.3 + 0.6 * random.share() }, service)
        },
        |cause| cause.fault == verdict::Fault::BadVersion && cause.sentence.contains("1.1"),
    );
}

#[test]
fn bad_instances() {
    check_with(
        REQUESTS_OF_INSTANCES,
        "bad instance",
        |random| {
            let service = pick(random, &[CART, CHECKOUT, PAYMENTS, ORDERS, CATALOG]);
            (Fault::BadInstance { service, share: 0.3 + 0.6 * random.share() }, service)
        },
        |cause| cause.fault == verdict::Fault::BadInstance && cause.level == verdict::Level::Instance,
    );
}

#[test]
fn slow_instances() {
    check_with(
        REQUESTS_OF_INSTANCES,
        "slow instance",
        |random| {
            let service = pick(random, &[CART, CHECKOUT, ORDERS, CATALOG]);
            (Fault::SlowInstance { service, more_ms: 150.0 + 100.0 * random.share() }, service)
        },
        |cause| cause.fault == verdict::Fault::BadInstance,
    );
}

#[test]
fn slow_ways() {
    check(
        "slow way",
        |random| {
            let (operation, callee) =
                pick(random, &[(62, PAYMENTS), (63, ORDERS), (51, CHECKOUT), (50, CART)]);
            (Fault::SlowWay { operation, more_ms: 30.0 + 80.0 * random.share() }, callee)
        },
        |cause| cause.level == verdict::Level::Edge,
    );
}

#[test]
fn calls_that_no_longer_happen() {
    check(
        "missing calls",
        |random| {
            let (operation, callee, service) = pick(
                random,
                &[
                    (41, 63, CHECKOUT),
                    (23, 57, ORDERS),
                    (21, 40, CHECKOUT),
                    (25, 64, CATALOG),
                    (26, 60, SHIPPING),
                ],
            );
            (Fault::Stops { operation, callee }, service)
        },
        |cause| cause.fault == verdict::Fault::Silence,
    );
}

#[test]
fn services_that_are_down() {
    check(
        "service down",
        |random| {
            let service = pick(random, &[CART, CHECKOUT, PAYMENTS, ORDERS, CATALOG]);
            (Fault::Down { service }, service)
        },
        |cause| cause.fault == verdict::Fault::Unreachable,
    );
}

#[test]
fn repeated_calls() {
    check(
        "repeated calls",
        |random| {
            let (operation, callee, service) =
                pick(random, &[(24, 58, ORDERS), (25, 59, CATALOG), (40, 61, CHECKOUT)]);
            (Fault::Repeats { operation, callee, times: 5 + random.below(15) as u32 }, service)
        },
        |cause| {
            // Whoever is called is named, not the span that calls.
            let whom = ["orders-db (SELECT orders)", "orders-db (SELECT products)", "cart (cart/Get)"];
            let calls = |whom: &&str| cause.sentence.contains(&format!("calls {whom} "));
            cause.sentence.contains("times per request") && whom.iter().any(calls)
        },
    );
}

#[test]
fn callers_that_give_up() {
    check(
        "timeouts",
        |random| {
            let (operation, service) =
                pick(random, &[(22, PAYMENTS), (23, ORDERS), (20, CART), (25, CATALOG)]);
            (Fault::TimesOut { operation, limit_ms: 400.0 }, service)
        },
        |_| true,
    );
}

#[test]
fn callers_that_ask_wrongly() {
    check(
        "asks wrongly",
        |random| {
            let (operation, service) =
                pick(random, &[(62, CHECKOUT), (63, CHECKOUT), (61, CHECKOUT), (52, GATEWAY), (53, GATEWAY)]);
            (Fault::AsksWrongly { operation, share: 0.1 + 0.6 * random.share() }, service)
        },
        |cause| cause.fault == verdict::Fault::Errors,
    );
}

#[test]
fn surges() {
    check(
        "surge",
        |random| {
            let (entry, operation, service) =
                pick(random, &[(10, 20, CART), (12, 24, ORDERS), (13, 25, CATALOG)]);
            let times = 4.0 + 4.0 * random.share();
            (Fault::Surge { entry, times, operation, more_ms: 40.0 + 40.0 * random.share() }, service)
        },
        |cause| cause.fault == verdict::Fault::Surge,
    );
}

#[test]
fn slow_queues() {
    check(
        "slow queue",
        |random| (Fault::SlowDependency { node: EVENTS, more_ms: 30.0 + 100.0 * random.share() }, EVENTS),
        |cause| cause.level == verdict::Level::Dependency,
    );
}

#[test]
fn quiet_runs_accuse_nobody() {
    let (mut quiet, mut misses) = (0, Vec::new());
    for seed in 0..2 * SEEDS {
        let requests = [20, 60, 200][seed as usize % 3];
        let verdict = root_cause(&simulate(seed, requests, Fault::Quiet), None, &Options::default());
        if verdict.outcome == Outcome::InsufficientEvidence {
            quiet += 1;
        } else {
            misses.push(format!("seed {seed}: {}", shown(&verdict)));
        }
    }
    println!("quiet: {quiet}/{}", 2 * SEEDS);
    assert!(100 * quiet >= 95 * 2 * SEEDS, "{quiet}\n{}", misses.join("\n"));
}
