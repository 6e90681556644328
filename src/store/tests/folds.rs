//! Summaries and roll-ups come out the same in any order, any split and across restarts.

use std::collections::HashMap;
use std::sync::Arc;

use proptest::prelude::{Strategy, prop_assert_eq, proptest};
use proptest::test_runner::Config;

use super::home::{Home, on_both, run};
use super::{TENANT, at, call, count, log, span, span_id, stored_cells, traces};
use crate::model::id::{OperationId, ResourceId, ServiceId, TemplateId, TenantNumber};
use crate::model::log::Severity;
use crate::model::rollup::{Cell, Observation, Subject};
use crate::model::span::{SpanKind, Status};
use crate::store::commit::Slot;
use crate::store::day::Day;
use crate::store::partition::Family;
use crate::store::rows::{Commit, SpanRow};

/// Spans of two traces with ties in start and operation, roots among them.
fn spans() -> impl Strategy<Value = Vec<SpanRow>> {
    let one = (1_u8..=2, 1_u8..=60, 0_i64..4, 1_u32..4, proptest::bool::ANY, proptest::bool::ANY).prop_map(
        |(trace_number, number, start, operation, root, failed)| SpanRow {
            parent_id: (!root).then(|| span_id(200)),
            start: at(start),
            operation: OperationId(operation),
            duration_ns: u64::from(number),
            status: if failed { Status::Error } else { Status::Ok },
            ..span(trace_number, number)
        },
    );
    proptest::collection::vec(one, 1..30)
}

/// Cuts `items` into commits at `cuts`, restarting the store before one in eight.
fn pieces<'a, T>(items: &'a [T], cuts: &[usize]) -> Vec<(bool, &'a [T])> {
    let mut rest = items;
    let mut pieces = Vec::new();
    for cut in cuts {
        let (piece, left) = rest.split_at(cut % (rest.len() + 1));
        pieces.push((cut % 8 == 1, piece));
        rest = left;
    }
    pieces.push((false, rest));
    pieces
}

proptest! {
    #![proptest_config(Config { cases: 12, ..Config::default() })]

    #[test]
    fn trace_summaries_do_not_depend_on_order(
        (sorted, shuffled) in spans().prop_flat_map(|spans| {
            (proptest::strategy::Just(spans.clone()), proptest::strategy::Just(spans).prop_shuffle())
        }),
        cuts in proptest::collection::vec(0_usize..30, 0..5),
        postgres in proptest::bool::ANY,
    ) {
        let home = either(postgres);
        let (whole, split) = run(async {
            let mut store = home.open().await;
            for (lsn, (restart, piece)) in (1..).zip(pieces(&shuffled, &cuts)) {
                if restart {
                    store = home.reopen(store).await;
                }
                store.commit(Commit { lsn, spans: piece.to_vec(), ..Commit::default() }).await.unwrap();
            }
            let other = Home::sqlite();
            let alone = other.open().await;
            alone.commit(Commit { lsn: 1, spans: sorted.clone(), ..Commit::default() }).await.unwrap();
            (traces(&alone).await, traces(&store).await)
        });
        prop_assert_eq!(whole, split);
    }

    #[test]
    fn rollups_do_not_depend_on_the_split(
        observations in observations(),
        cuts in proptest::collection::vec(0_usize..60, 0..6),
        postgres in proptest::bool::ANY,
    ) {
        let home = either(postgres);
        let stored = run(async {
            let mut store = home.open().await;
            for (lsn, (restart, piece)) in (1..).zip(pieces(&observations, &cuts)) {
                if restart {
                    store = home.crash(store).await;
                }
                let cells = piece.iter().copied().collect();
                store.commit(Commit { lsn, cells, ..Commit::default() }).await.unwrap();
            }
            stored_cells(&store).await
        });
        prop_assert_eq!(stored, expected_cells(&observations));
    }
}

proptest! {
    #![proptest_config(Config { cases: 64, ..Config::default() })]

    #[test]
    fn rollups_outlive_memory(
        observations in observations(),
        cuts in proptest::collection::vec(0_usize..8, 0..60),
        open_max in proptest::sample::select(vec![0, 5, 1_000]),
        postgres in proptest::bool::weighted(0.1),
    ) {
        let home = either(postgres);
        let stored = run(through_memory(&home, &pieces(&observations, &cuts), open_max));
        prop_assert_eq!(stored, expected_cells(&observations));
    }
}

#[test]
fn a_cell_that_falls_behind_after_a_restart_is_not_remembered_as_it_was() {
    let observations: Vec<_> = [200, 90, 230, 90, 90].map(|seconds| call(seconds, 1, 5)).into();
    let mut pieces: Vec<_> = observations.chunks(1).map(|piece| (false, piece)).collect();
    pieces[1].0 = true;
    for home in Home::both() {
        let stored = run(through_memory(&home, &pieces, 1_000));
        assert_eq!(stored, expected_cells(&observations));
    }
}

#[test]
fn rows_after_an_open_minute_are_found_again_after_a_crash() {
    on_both(async |home: Home| {
        let store = home.open().await;
        let logs = |seconds| {
            let (tenant, seen) = call(seconds, 1, 5);
            (tenant, Observation { subject: Subject::Logs(ServiceId(1), TemplateId(1), Severity(9)), ..seen })
        };
        // The last call, log records that go on, and the tables of tomorrow.
        let tomorrow = Day::of(at(0)).plus(1);
        let ahead: Vec<_> = [Family::Fine, Family::Minute].map(|family| family.partition(tomorrow)).into();
        store.prepare(&ahead).await.unwrap();
        let observations = vec![call(0, 1, 5), logs(0), logs(300)];
        store
            .commit(Commit { lsn: 1, cells: observations.iter().copied().collect(), ..Commit::default() })
            .await
            .unwrap();
        let store = home.crash(store).await;
        let more = vec![logs(301), call(302, 1, 5)];
        store
            .commit(Commit { lsn: 2, cells: more.iter().copied().collect(), ..Commit::default() })
            .await
            .unwrap();
        let all: Vec<_> = observations.into_iter().chain(more).collect();
        assert_eq!(stored_cells(&store).await, expected_cells(&all));
        let store = home.reopen(store).await;
        assert_eq!(stored_cells(&store).await, expected_cells(&all));
    });
}

fn either(postgres: bool) -> Home {
    if postgres { Home::postgres() } else { Home::sqlite() }
}

/// The cells that are stored after each piece was a commit, where memory holds `open_max` cells and is lost before
/// those that say so.
async fn through_memory(
    home: &Home,
    pieces: &[(bool, &[(TenantNumber, Observation)])],
    open_max: usize,
) -> Vec<String> {
    let mut store = home.open().await;
    for (lsn, (restart, piece)) in (1..).zip(pieces) {
        if *restart {
            store = if lsn % 2 == 0 { home.crash(store).await } else { home.reopen(store).await };
        }
        if let Slot::Ready(writer) = &mut *store.inner.writer.lock().await {
            writer.rollups.write().await.set_open_max(open_max);
        }
        store
            .commit(Commit { lsn, cells: piece.iter().copied().collect(), ..Commit::default() })
            .await
            .unwrap();
    }
    stored_cells(&store).await
}

/// Calls, edges and log records of few subjects. Time goes on, and each comes with others that are up to ten
/// minutes late: cells are let go, found again, and touched again while memory moves on.
fn observations() -> impl Strategy<Value = Vec<(TenantNumber, Observation)>> {
    let one = (0_i64..10, 1_u64..1_000_000);
    proptest::collection::vec(one, 1..80).prop_map(|seen| {
        let both = |(index, (late, duration)): (i64, (i64, u64))| {
            let (tenant, now) = call(index * 30, 1, duration);
            let (_, late) = call((index - 2 * late) * 30, 1, duration);
            let logs = Subject::Logs(ServiceId(1), TemplateId(1), Severity(9));
            let edge = Subject::Edge(OperationId(1), OperationId(2));
            [
                (tenant, now),
                (tenant, late),
                (tenant, Observation { subject: logs, ..late }),
                (tenant, Observation { subject: edge, ..now }),
            ]
        };
        (0..).zip(seen).flat_map(both).collect()
    })
}

/// The rows that `observations` add up to, computed without the store's own folds.
fn expected_cells(observations: &[(TenantNumber, Observation)]) -> Vec<String> {
    let mut cells: HashMap<(i64, i64, [u32; 4]), Cell> = HashMap::new();
    for (_, Observation { subject, at, seen }) in observations {
        let (widths, columns) = match *subject {
            Subject::Operation(OperationId(a)) => (&[10, 60][..], [0, a, 0, 0]),
            Subject::Edge(OperationId(a), OperationId(b)) => (&[10, 60][..], [2, a, b, 0]),
            Subject::Logs(ServiceId(a), TemplateId(b), Severity(c)) => (&[60][..], [3, a, b, c.into()]),
            Subject::Instance(ServiceId(a), ResourceId(b)) => (&[10, 60][..], [1, a, b, 0]),
        };
        for width in widths {
            cells.entry((*width, at.bucket_seconds(*width), columns)).or_default().add(seen);
        }
    }
    let mut rows: Vec<String> = cells
        .into_iter()
        .map(|((width, bucket, [kind, a, b, c]), cell)| {
            let mut sketch = Vec::new();
            cell.sketch.encode(&mut sketch);
            let sketch: String = sketch.iter().map(|byte| format!("{byte:02X}")).collect();
            format!(
                "{width} {bucket} {kind} {a} {b} {c} {} {} {} {} {} {} {sketch}",
                cell.count, cell.errors, cell.sum_ns, cell.max_ns, cell.other_ns, cell.answered
            )
        })
        .collect();
    rows.sort();
    rows
}

#[test]
fn what_is_worked_out_of_one_commit_is_used_for_no_other() {
    on_both(async |home: Home| {
        let store = home.open().await;
        let commit = |lsn, numbers: std::ops::Range<u8>| {
            let logs = numbers.clone().map(log).collect();
            let spans = numbers.map(|number| span(number, number)).collect();
            Arc::new(Commit { lsn, spans, logs, ..Commit::default() })
        };
        let (first, second) = (commit(1, 1..9), commit(2, 20..23));
        store.await_turn(&first);
        store.await_turn(&second);
        store.commit(Arc::clone(&first)).await.unwrap();
        store.commit(Arc::clone(&second)).await.unwrap();
        for span in first.spans.iter().chain(&second.spans) {
            let found = store.trace(TENANT, span.trace_id, 10).await.unwrap().unwrap();
            // Its kind is that of its operation, which has no name here.
            let span = SpanRow { kind: SpanKind(0), ..span.clone() };
            assert_eq!((found.spans, found.end), (vec![span.clone()], span.end()));
        }
        assert_eq!(count(&store, "SELECT count(*) FROM logs").await, 11);
    });
}
