//! What a search does once its caller has left.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use tantivy::query::{EnableScoring, Explanation, Query, Scorer, Weight};
use tantivy::{
    COLLECT_BLOCK_BUFFER_LEN, DocId, DocSet, Score, SeekDangerResult, SegmentReader, TERMINATED, TantivyError,
};

use super::super::newest::Newest;
use super::super::watch::Watch;
use super::*;

/// Lines of the one segment.
const LINES: u32 = 10_000;
/// The caller leaves while this one is looked at.
const LEAVES_AT: usize = 200;

/// A query that matches every line, or the first one alone, and whose caller leaves in the midst.
#[derive(Debug, Clone)]
struct Leaving {
    caller: Arc<Mutex<Option<Arc<()>>>>,
    looked: Arc<AtomicUsize>,
    matches: u32,
}

impl Query for Leaving {
    fn weight(&self, _: EnableScoring<'_>) -> tantivy::Result<Box<dyn Weight>> {
        Ok(Box::new(self.clone()))
    }
}

impl Weight for Leaving {
    fn scorer(&self, _: &SegmentReader, _: Score) -> tantivy::Result<Box<dyn Scorer>> {
        Ok(Box::new(Looking { leaving: self.clone(), document: 0 }))
    }

    fn explain(&self, _: &SegmentReader, _: DocId) -> tantivy::Result<Explanation> {
        Err(TantivyError::InvalidArgument("nobody asks".to_owned()))
    }
}

struct Looking {
    leaving: Leaving,
    document: DocId,
}

impl DocSet for Looking {
    fn advance(&mut self) -> DocId {
        let mut candidate = self.document + 1;
        while candidate < LINES {
            match self.seek_danger(candidate) {
                SeekDangerResult::Found => return candidate,
                SeekDangerResult::SeekLowerBound(bound) => candidate = bound,
            }
        }
        self.document = TERMINATED;
        TERMINATED
    }

    fn seek_danger(&mut self, target: DocId) -> SeekDangerResult {
        if self.leaving.looked.fetch_add(1, Ordering::Relaxed) == LEAVES_AT {
            drop(self.leaving.caller.lock().unwrap().take());
        }
        if target < self.leaving.matches {
            self.document = target;
            return SeekDangerResult::Found;
        }
        SeekDangerResult::SeekLowerBound(if target + 1 < LINES { target + 1 } else { TERMINATED })
    }

    fn doc(&self) -> DocId {
        self.document
    }

    fn size_hint(&self) -> u32 {
        LINES
    }
}

impl Scorer for Looking {
    fn score(&mut self) -> Score {
        1.0
    }
}

#[test]
fn a_search_ends_in_the_midst_of_a_segment_once_its_caller_left() {
    let directory = TempDir::new().unwrap();
    let index = open(directory.path());
    index.add((1..=i64::from(LINES)).map(|row| line(row, "x", &[]))).unwrap();
    index.commit().unwrap();
    // Many matches are looked at by blocks; between few it is looked at each step whether somebody waits.
    for (matches, is_watched) in [(LINES, false), (LINES, true), (1, true)] {
        let caller = Arc::new(());
        let watch = Watch::new(Some(Arc::downgrade(&caller)));
        let looked = Arc::new(AtomicUsize::new(0));
        let caller = Arc::new(Mutex::new(Some(caller)));
        let leaving: Box<dyn Query> = Box::new(Leaving { caller, looked: Arc::clone(&looked), matches });
        let query = if is_watched { watch.over(leaving) } else { leaving };
        let mut newest = Newest::new(Window::new(UnixNanos(0), UnixNanos(i64::MAX)), 10, None, watch);
        for day in index.days() {
            day.search(&*query, &mut newest).unwrap();
        }
        assert!(newest.is_given_up());
        let looked = looked.load(Ordering::Relaxed);
        let most = LEAVES_AT + 2 * COLLECT_BLOCK_BUFFER_LEN;
        assert!((LEAVES_AT..most).contains(&looked), "{looked} with {matches} matches");
    }
}

/// Beginnings and ranges are walked over before the first line is looked at.
#[test]
fn who_left_before_a_walk_has_none() {
    let directory = TempDir::new().unwrap();
    let index = open(directory.path());
    index.add((1..=100).map(|row| line(row, "word word", &[("n", "5")]))).unwrap();
    index.commit().unwrap();
    for text in ["wo*", "n:[1 TO 9]", "\"word word\"", "x OR (word AND wo*)"] {
        let gone = Arc::downgrade(&Arc::new(()));
        let watch = Watch::new(Some(gone.clone()));
        let ask = Ask { waiting: Some(gone), ..ask(text) };
        let query = index.inner.fields.query(TENANT, &ask, Whom { names: &Shop, watch: &watch }).unwrap();
        // Whoever counts them waits.
        let mut newest = Newest::new(ask.window, 10, None, Watch::default());
        for day in index.days() {
            day.search(&*query, &mut newest).unwrap();
        }
        assert_eq!(newest.total(), 0, "{text}");
    }
}
