//! One index a day: what is left out, dropped, damaged and resumed.

use super::*;

const DAY: i64 = 86_400;
const FIRST: i32 = 20_785;

/// Line `n` of `day`, at second `n` of it.
fn of_day(day: i32, n: i64, body: &str) -> Document<'_, Attributes> {
    let time = UnixNanos::from_seconds(i64::from(day) * DAY + n);
    Document { time, ..line(row(day, n), body, &[]) }
}

fn row(day: i32, n: i64) -> i64 {
    i64::from(day) << DAY_BITS | n
}

fn ever(text: &str) -> Ask {
    Ask { window: Window::new(UnixNanos(0), UnixNanos(i64::MAX)), ..ask(text) }
}

/// Three days of ten lines each, and two lines of day 0 whose times lie between them.
fn three_days() -> (TempDir, Index) {
    let directory = TempDir::new().unwrap();
    let index = open(directory.path());
    for day in [FIRST, FIRST + 1, FIRST + 2] {
        index.add((1..=10).map(|n| of_day(day, n, "word"))).unwrap();
        index.commit().unwrap();
    }
    let stray = |n: i64, time: i64| Document {
        time: UnixNanos::from_seconds(i64::from(FIRST) * DAY + time),
        ..line(n, "word", &[])
    };
    index.add([stray(1, DAY / 2), stray(2, 3 * DAY)]).unwrap();
    index.commit().unwrap();
    (directory, index)
}

/// All rows of [`three_days`], newest first.
fn all_rows() -> Vec<i64> {
    let day = |day: i32| (1..=10).rev().map(move |n| row(day, n));
    [2].into_iter().chain(day(FIRST + 2)).chain(day(FIRST + 1)).chain([1]).chain(day(FIRST)).collect()
}

#[test]
fn days_are_searched_as_one_newest_first() {
    let (_directory, index) = three_days();
    let hits = search(&index, &ever("word")).unwrap();
    assert_eq!((hits.rows, hits.total, hits.more), (all_rows(), Some(32), false));
    assert_eq!((index.stats().documents, index.stats().days), (32, 4));
    assert_eq!(index.position(), row(FIRST + 2, 10));
    // A full page ends the walk, and what was not counted is not guessed.
    let hits = search(&index, &Ask { limit: 5, ..ever("word") }).unwrap();
    assert_eq!((hits.rows, hits.total, hits.more), (all_rows()[..5].to_vec(), None, true));
    // A window inside of one day counts that day and what has no day.
    let noon = UnixNanos::from_seconds(i64::from(FIRST + 1) * DAY);
    let window = Window::new(noon, noon.plus(Duration::from_secs(5)));
    let hits = search(&index, &Ask { window, limit: 2, ..ask("") }).unwrap();
    assert_eq!((hits.rows, hits.total), (vec![row(FIRST + 1, 4), row(FIRST + 1, 3)], Some(4)));
    let edge = Window::new(UnixNanos(noon.0 - 1), noon);
    assert_eq!(rows(&index, &Ask { window: edge, ..ask("") }), [0; 0]);
}

#[test]
fn pages_go_on_over_the_days() {
    let (_directory, index) = three_days();
    let time = |found: i64| match found {
        1 => UnixNanos::from_seconds(i64::from(FIRST) * DAY + DAY / 2),
        2 => UnixNanos::from_seconds(i64::from(FIRST + 3) * DAY),
        _ => UnixNanos::from_seconds((found >> DAY_BITS) * DAY + (found & 0xff)),
    };
    for limit in [1, 3, 7, 10, 32] {
        let (mut pages, mut before) = (Vec::new(), None);
        loop {
            let hits = search(&index, &Ask { before, limit, ..ever("word") }).unwrap();
            pages.extend(hits.rows);
            before = pages.last().map(|last| (time(*last), *last));
            if !hits.more {
                break;
            }
        }
        assert_eq!(pages, all_rows(), "limit {limit}");
    }
}

#[test]
fn a_dropped_day_is_gone_and_can_be_filled_again() {
    let (directory, index) = three_days();
    let folder = home::folder(directory.path(), FIRST + 1);
    assert!(folder.exists());
    // What was added and not committed goes with it.
    index.add([of_day(FIRST + 1, 11, "word"), of_day(FIRST + 2, 11, "word")]).unwrap();
    index.drop_day(FIRST + 1).unwrap();
    index.drop_day(FIRST + 1).unwrap();
    assert!(!folder.exists());
    index.commit().unwrap();
    assert_eq!(total(&index, &ever("word")), 23);
    assert_eq!(index.position_of(FIRST + 1), row(FIRST + 1, 0));
    index.add([of_day(FIRST + 1, 5, "word again")]).unwrap();
    index.commit().unwrap();
    assert_eq!(found(&index, "again"), [0; 0], "outside of the window");
    assert_eq!(rows(&index, &ever("again")), [row(FIRST + 1, 5)]);
    drop(index);
    assert_eq!(total(&open(directory.path()), &ever("word")), 24);
}

#[test]
fn a_damaged_day_is_begun_anew_beside_the_others() {
    let (directory, index) = three_days();
    let positions = index.positions();
    drop(index);
    fs::write(home::folder(directory.path(), FIRST + 1).join("meta.json"), "{").unwrap();
    let index = open(directory.path());
    assert!(matches!(index.rebuilt(), [(day, _)] if *day == FIRST + 1));
    let expected: Vec<(i32, i64)> = positions
        .into_iter()
        .map(|(day, position)| if day == FIRST + 1 { (day, row(day, 0)) } else { (day, position) })
        .collect();
    assert_eq!(index.positions(), expected);
    assert_eq!(total(&index, &ever("word")), 22);
    // Adding everything again adds what is missing.
    for day in [FIRST, FIRST + 1, FIRST + 2] {
        index.add((1..=10).map(|n| of_day(day, n, "word"))).unwrap();
    }
    index.commit().unwrap();
    assert_eq!(rows(&index, &ever("word")), all_rows());
}

#[test]
fn a_restart_resumes_each_day_where_it_was_committed() {
    let (directory, index) = three_days();
    index.add([of_day(FIRST, 11, "lost"), of_day(FIRST + 2, 12, "kept")]).unwrap();
    // A third day takes the place of the one that waited longest, which is committed for it.
    index.add([of_day(FIRST + 5, 1, "lost")]).unwrap();
    let positions = index.positions();
    drop(index);
    let index = open(directory.path());
    assert_eq!(index.rebuilt(), []);
    let position = |day: i32| positions.iter().find(|(found, _)| *found == day).unwrap().1;
    for day in [0, FIRST, FIRST + 1, FIRST + 2, FIRST + 5] {
        assert_eq!(index.position_of(day), position(day), "{day}");
    }
    assert_eq!(index.position_of(FIRST + 1), row(FIRST + 1, 10));
    assert_eq!(index.position_of(FIRST + 9), row(FIRST + 9, 0));
}

#[test]
fn two_days_at_most_have_a_writer_and_nothing_is_lost() {
    let directory = TempDir::new().unwrap();
    let index = open(directory.path());
    for n in 1..=30 {
        index.add((0..5).map(|day| of_day(FIRST + day, n, "word"))).unwrap();
        let live = (0..5).filter(|day| index.writers().is_live(FIRST + day)).collect::<Vec<_>>();
        assert_eq!(live, [3, 4]);
    }
    index.commit().unwrap();
    assert_eq!(total(&index, &Ask { limit: 200, ..ever("word") }), 150);
    index.close_idle();
    assert!(index.writers().is_live(FIRST + 4), "it took something a moment ago");
}

#[test]
fn lines_that_wait_for_their_commit_are_not_added_twice() {
    let directory = TempDir::new().unwrap();
    let index = open(directory.path());
    for _ in 0..2 {
        index.add((1..=200).map(|n| of_day(FIRST, n, "word"))).unwrap();
    }
    index.commit().unwrap();
    assert_eq!(total(&index, &Ask { limit: 300, ..ever("word") }), 200);
}

#[test]
fn a_row_that_has_no_day_is_refused() {
    let directory = TempDir::new().unwrap();
    let index = open(directory.path());
    for wrong in [-1, i64::MAX, i64::from(home::DAY_MAX + 1) << DAY_BITS] {
        let refused = index.add([line(wrong, "word", &[])]).unwrap_err();
        assert!(matches!(refused, Error::Day { .. }) && refused.kind() == Kind::Invalid, "{refused}");
    }
    let last = i64::from(home::DAY_MAX) << DAY_BITS | 1;
    index.add([line(last, "word", &[])]).unwrap();
    index.commit().unwrap();
    assert_eq!(index.positions(), [(home::DAY_MAX, last)]);
}
