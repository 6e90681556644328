//! Notes are numbered, bounded, listed and forgotten, on either database, and once they are acknowledged they stay.

use super::home::{Home, on_both};
use super::{TENANT, at, table, tamper};
use crate::model::id::TenantNumber;
use crate::model::time::UnixNanos;
use crate::store::Store;
use crate::store::investigations::{Belongs, INVESTIGATIONS_MAX, NOTES_MAX, NewNote, NoteRow, Written};
use crate::store::sql::Dialect;

const STRANGER: TenantNumber = TenantNumber(TENANT.0 + 1);
/// What no statement may stumble over: a NUL, what stands for one on Postgres, quotes, the end of a line.
const STRANGE: &str = "a\0b \u{F0000}0 '; DROP TABLE investigation_notes; -- \"\\\n\u{202e}x 👩\u{200d}💻";

fn new(title: &str) -> Belongs {
    Belongs::New(title.to_owned())
}

/// Writes a note at a second; its evidence is what it says, as JSON.
pub(super) async fn put(
    store: &Store,
    tenant: TenantNumber,
    belongs: Belongs,
    (second, text): (i64, &str),
) -> Written {
    let note = NewNote { written: at(second), text: text.to_owned(), evidence: format!("[{text:?}]") };
    store.put_note(tenant, belongs, note).await.unwrap()
}

const fn note(id: u32, number: u32) -> Written {
    Written::Note { id, number }
}

/// Ids and titles of the investigations, when they were begun and written to, and their notes; and how many there are.
async fn listed(store: &Store, (skip, limit): (usize, usize)) -> (Vec<(u32, String, [i64; 2], u32)>, u64) {
    let (rows, all) = store.investigations(TENANT, (skip, limit)).await.unwrap();
    let second = |time: UnixNanos| time.seconds() - at(0).seconds();
    let told =
        rows.into_iter().map(|row| (row.id, row.title, [row.begun, row.written].map(second), row.notes));
    (told.collect(), all)
}

/// Inserts rows behind the store's back: each `(id, number)` that `numbers` yields, written at a second.
async fn insert(home: &Home, second: i64, ids: (i64, i64), numbers: (u32, u32)) {
    let series = |name: &str, from: i64, to: i64| match home.dialect() {
        Dialect::Sqlite => format!(
            "(WITH RECURSIVE s(n) AS (SELECT {from} UNION ALL SELECT n + 1 FROM s WHERE n < {to}) SELECT n FROM s) AS {name}"
        ),
        Dialect::Postgres => format!("generate_series({from}, {to}) AS {name}(n)"),
    };
    let (ids, numbers) = (series("i", ids.0, ids.1), series("k", numbers.0.into(), numbers.1.into()));
    let sql = format!(
        "INSERT INTO investigation_notes (tenant_id, id, number, written, text, evidence) \
         SELECT {}, i.n, k.n, {}, 'x', '[]' FROM {ids} CROSS JOIN {numbers}",
        TENANT.0,
        at(second).0
    );
    tamper(&home.options(), &sql).await;
}

#[test]
fn notes_are_numbered_by_tenant_and_survive_a_crash() {
    on_both(async |home: Home| {
        let store = home.open().await;
        let before = put(&store, TENANT, Belongs::To(1), (1, "no such")).await;
        assert_eq!(before, Written::Unknown);
        assert_eq!(put(&store, TENANT, new(STRANGE), (1, STRANGE)).await, note(1, 1));
        assert_eq!(put(&store, TENANT, new("second"), (2, "slow")).await, note(2, 1));
        assert_eq!(put(&store, STRANGER, new("own"), (3, "own")).await, note(1, 1));
        assert_eq!(put(&store, TENANT, Belongs::To(1), (4, "fast")).await, note(1, 2));
        for id in [0, 3, u32::MAX] {
            assert_eq!(put(&store, TENANT, Belongs::To(id), (5, "no such")).await, Written::Unknown);
            assert_eq!(store.notes(TENANT, id).await.unwrap(), []);
        }
        assert_eq!(put(&store, STRANGER, Belongs::To(2), (5, "no such")).await, Written::Unknown);

        let store = home.crash(store).await;
        let row = |number, second, text: &str, evidence: &str| NoteRow {
            number,
            written: at(second),
            text: text.to_owned(),
            evidence: evidence.to_owned(),
        };
        let expected = [
            row(0, 1, STRANGE, "[]"),
            row(1, 1, STRANGE, &format!("[{STRANGE:?}]")),
            row(2, 4, "fast", "[\"fast\"]"),
        ];
        assert_eq!(store.notes(TENANT, 1).await.unwrap(), expected);
        assert_eq!(listed(&store, (0, 9)).await.0[0].1, STRANGE);
        assert_eq!(store.notes(STRANGER, 1).await.unwrap()[0].text, "own");
        assert_eq!(put(&store, TENANT, Belongs::To(1), (6, "after")).await, note(1, 3));
        assert_eq!(put(&store, TENANT, new("third"), (6, "after")).await, note(3, 1));
    });
}

#[test]
fn investigations_are_listed_by_their_last_note_in_pages() {
    on_both(async |home: Home| {
        let store = home.open().await;
        assert_eq!(listed(&store, (0, 9)).await, (Vec::new(), 0));
        for (second, title) in [(1, "a"), (2, "b"), (2, "c")] {
            put(&store, TENANT, new(title), (second, "note")).await;
        }
        put(&store, STRANGER, new("own"), (9, "note")).await;
        put(&store, TENANT, Belongs::To(1), (7, "more")).await;
        let rows =
            [(1, "a".to_owned(), [1, 7], 2), (3, "c".to_owned(), [2, 2], 1), (2, "b".to_owned(), [2, 2], 1)];
        assert_eq!(listed(&store, (0, 9)).await, (rows.to_vec(), 3));
        assert_eq!(listed(&store, (0, 2)).await, (rows[..2].to_vec(), 3));
        assert_eq!(listed(&store, (2, 2)).await, (rows[2..].to_vec(), 3));
        for skip in [3, usize::MAX] {
            assert_eq!(listed(&store, (skip, usize::MAX)).await, (Vec::new(), 3));
        }
    });
}

#[test]
fn what_is_full_takes_no_more() {
    on_both(async |home: Home| {
        let store = home.open().await;
        put(&store, TENANT, new("a"), (1, "note")).await;
        insert(&home, 1, (1, 1), (2, NOTES_MAX - 1)).await;
        assert_eq!(put(&store, TENANT, Belongs::To(1), (2, "last")).await, note(1, NOTES_MAX));
        assert_eq!(put(&store, TENANT, Belongs::To(1), (3, "beyond")).await, Written::Full);
        assert_eq!(store.notes(TENANT, 1).await.unwrap().len(), NOTES_MAX as usize + 1);

        insert(&home, 1, (2, INVESTIGATIONS_MAX - 1), (0, 1)).await;
        let last = u32::try_from(INVESTIGATIONS_MAX).unwrap();
        assert_eq!(put(&store, TENANT, new("last"), (4, "note")).await, note(last, 1));
        assert_eq!(put(&store, TENANT, new("beyond"), (5, "note")).await, Written::Full);
        assert_eq!(put(&store, TENANT, Belongs::To(2), (5, "more")).await, note(2, 2));
        assert_eq!(put(&store, STRANGER, new("own"), (5, "note")).await, note(1, 1));
        assert_eq!(listed(&store, (0, 1)).await.1, u64::from(last));
    });
}

#[test]
fn a_whole_investigation_is_forgotten_after_its_last_note() {
    on_both(async |home: Home| {
        let store = home.open().await;
        for (tenant, title) in [(TENANT, "old"), (TENANT, "old and new"), (TENANT, "new"), (STRANGER, "old")]
        {
            let second = if title == "new" { 60 } else { 1 };
            put(&store, tenant, new(title), (second, "note")).await;
        }
        put(&store, TENANT, Belongs::To(1), (49, "more")).await;
        put(&store, TENANT, Belongs::To(2), (50, "more")).await;
        store.forget_notes(at(50)).await.unwrap();
        let store = home.crash(store).await;
        let left = table(&store, "SELECT concat_ws(' ', tenant_id, id, number) FROM investigation_notes");
        assert_eq!(left.await, ["1 2 0", "1 2 1", "1 2 2", "1 3 0", "1 3 1"]);
        assert_eq!(put(&store, TENANT, Belongs::To(1), (70, "late")).await, Written::Unknown);
        assert_eq!(put(&store, TENANT, new("next"), (70, "note")).await, note(4, 1));
    });
}

#[test]
fn a_caller_who_leaves_does_not_tear_the_writer() {
    on_both(async |home: Home| {
        let store = home.open().await;
        put(&store, TENANT, new("a"), (1, "note")).await;
        // Dropped at each of the moments at which it waits for something.
        for polls in 1..12 {
            let mut leaving = Box::pin(put(&store, TENANT, Belongs::To(1), (2, "left")));
            for _ in 0..polls {
                let waker = std::task::Waker::noop();
                if leaving.as_mut().poll(&mut std::task::Context::from_waker(waker)).is_ready() {
                    break;
                }
                tokio::task::yield_now().await;
            }
            drop(leaving);
            let Written::Note { id: 1, number } = put(&store, TENANT, Belongs::To(1), (3, "stayed")).await
            else {
                panic!("it is there");
            };
            let notes = store.notes(TENANT, 1).await.unwrap();
            assert_eq!((notes.len(), &*notes[number as usize].text), (number as usize + 1, "stayed"));
        }
    });
}
