//! Failures that callers tolerate while an entry shows a few of its own.

use crate::diagnose::evidence::Evidence;
use crate::diagnose::verdict::{Level, Verdict};
use crate::diagnose::{Options, root_cause};
use crate::model::id::{OperationId, ServiceId};
use crate::model::rollup::Cell;

use super::shop::{CATALOG, EVENTS, Fault, GATEWAY, ORDERS};
use super::simulation::simulate;

/// The operation by which orders puts events into the queue.
const PUBLISHES: OperationId = OperationId(57);

/// A shop in which this share of the catalog's requests fails, and one of `every` events cannot be put into the queue; orders
/// are taken all the same.
fn shop(share: f64, every: u64) -> Evidence {
    let fault = if share > 0.0 { Fault::Errors { operation: 25, share } } else { Fault::Quiet };
    let mut evidence = simulate(5, 1_000, fault);
    let fail = |cell: &mut Cell| cell.errors = cell.errors.max(cell.count / every);
    for operation in evidence.operations.iter_mut().filter(|it| it.id == PUBLISHES) {
        fail(&mut operation.now);
    }
    for edge in evidence.edges.iter_mut().filter(|it| [it.from, it.to].contains(&PUBLISHES)) {
        fail(&mut edge.now);
    }
    evidence
}

fn explained(evidence: &Evidence) -> Verdict {
    root_cause(evidence, None, &Options::default())
}

fn symptom(verdict: &Verdict) -> Option<ServiceId> {
    verdict.symptom.as_ref().map(|symptom| symptom.service)
}

#[test]
fn a_tolerated_outage_is_worse_than_a_few_failures_at_an_entry() {
    let verdict = explained(&shop(0.03, 1));
    assert_eq!(symptom(&verdict), Some(ServiceId(ORDERS)), "{verdict:?}");
    let cause = &verdict.causes[0];
    assert_eq!((cause.service, cause.level), (ServiceId(EVENTS), Level::Dependency), "{verdict:?}");
    // What users notice is explained beside it.
    assert!(verdict.causes.iter().any(|cause| cause.service == ServiceId(CATALOG)), "{verdict:?}");
}

#[test]
fn what_users_notice_comes_first_where_it_is_bad_or_what_is_tolerated_is_little() {
    for (share, every) in [(0.5, 1), (0.03, 30)] {
        let verdict = explained(&shop(share, every));
        assert_eq!(symptom(&verdict), Some(ServiceId(GATEWAY)), "{share} {every}: {verdict:?}");
        assert_eq!(verdict.causes[0].service, ServiceId(CATALOG), "{share} {every}: {verdict:?}");
    }
    // It is told all the same.
    let verdict = explained(&shop(0.5, 1));
    let dismissed: Vec<ServiceId> = verdict.ruled_out.iter().map(|out| out.service).collect();
    assert!(dismissed.contains(&ServiceId(ORDERS)), "{verdict:?}");
}

#[test]
fn a_tolerated_outage_alone_is_the_symptom() {
    let verdict = explained(&shop(0.0, 1));
    assert_eq!(symptom(&verdict), Some(ServiceId(ORDERS)), "{verdict:?}");
    assert_eq!(verdict.causes[0].service, ServiceId(EVENTS), "{verdict:?}");
}
