//! Whether somebody still waits for an answer, and queries that find nothing any more once nobody does.
//!
//! tantivy looks through a segment, of up to two million lines, to its end. Words and numbers that are compared line by line
//! take some dozen milliseconds for that. What may take longer is watched: the places of words in a row, choices between
//! more than words, and the walks over the words and values that begin so or lie in a range. A watched query is asked about
//! one candidate after another, which scorers answer without going on to their next line (`seek_danger`), and between any
//! two it is looked whether somebody waits.
//!
//! One thing goes on: where words in a row end in an unfinished one, the first such line of a segment is looked for in one
//! go, for some hundred milliseconds at worst.

use std::sync::Weak;

use tantivy::query::{EmptyScorer, EnableScoring, Explanation, Query, Scorer, Weight};
use tantivy::{DocId, DocSet, Score, SeekDangerResult, SegmentReader, TERMINATED, Term};

/// Whether somebody waits for an answer; cheap to clone.
#[derive(Debug, Clone, Default)]
pub(super) struct Watch(Option<Weak<()>>);

impl Watch {
    /// Somebody waits for as long as `waiting` is there; where there is none, to the end.
    pub(super) const fn new(waiting: Option<Weak<()>>) -> Self {
        Self(waiting)
    }

    /// True when nobody waits for the answer any more.
    pub(super) fn is_over(&self) -> bool {
        self.0.as_ref().is_some_and(|waiting| waiting.strong_count() == 0)
    }

    /// The same query, which finds nothing any more once this is over.
    pub(super) fn over(&self, query: Box<dyn Query>) -> Box<dyn Query> {
        Box::new(Watched { query, watch: self.clone() })
    }
}

#[derive(Debug)]
struct Watched {
    query: Box<dyn Query>,
    watch: Watch,
}

impl Clone for Watched {
    fn clone(&self) -> Self {
        Self { query: self.query.box_clone(), watch: self.watch.clone() }
    }
}

impl Query for Watched {
    fn weight(&self, scoring: EnableScoring<'_>) -> tantivy::Result<Box<dyn Weight>> {
        Ok(Box::new(WatchedWeight { weight: self.query.weight(scoring)?, watch: self.watch.clone() }))
    }

    fn query_terms<'a>(&'a self, visitor: &mut dyn FnMut(&'a Term, bool)) {
        self.query.query_terms(visitor);
    }
}

struct WatchedWeight {
    weight: Box<dyn Weight>,
    watch: Watch,
}

impl WatchedWeight {
    /// A scorer that was asked about `target`.
    fn begin(
        &self,
        reader: &SegmentReader,
        target: DocId,
        boost: Score,
    ) -> tantivy::Result<(SeekDangerResult, WatchedScorer)> {
        let watch = self.watch.clone();
        if watch.is_over() {
            let scorer = WatchedScorer { scorer: Box::new(EmptyScorer), document: TERMINATED, watch };
            return Ok((SeekDangerResult::SeekLowerBound(TERMINATED), scorer));
        }
        let (found, scorer) = self.weight.scorer_danger(reader, target, boost)?;
        let document = match found {
            SeekDangerResult::SeekLowerBound(bound) if bound >= TERMINATED => TERMINATED,
            _ => target,
        };
        Ok((found, WatchedScorer { scorer, document, watch }))
    }
}

impl Weight for WatchedWeight {
    fn scorer(&self, reader: &SegmentReader, boost: Score) -> tantivy::Result<Box<dyn Scorer>> {
        let (found, mut scorer) = self.begin(reader, 0, boost)?;
        if let SeekDangerResult::SeekLowerBound(bound) = found {
            scorer.go_to(bound);
        }
        Ok(Box::new(scorer))
    }

    fn scorer_danger(
        &self,
        reader: &SegmentReader,
        target: DocId,
        boost: Score,
    ) -> tantivy::Result<(SeekDangerResult, Box<dyn Scorer>)> {
        let (found, scorer) = self.begin(reader, target, boost)?;
        Ok((found, Box::new(scorer)))
    }

    fn explain(&self, reader: &SegmentReader, document: DocId) -> tantivy::Result<Explanation> {
        self.weight.explain(reader, document)
    }
}

/// Goes on by asking about candidates alone.
struct WatchedScorer {
    scorer: Box<dyn Scorer>,
    /// Where it stands; of the scorer itself that is not known after a candidate that was none.
    document: DocId,
    watch: Watch,
}

impl WatchedScorer {
    /// Goes to the first line from `candidate` on.
    fn go_to(&mut self, mut candidate: DocId) -> DocId {
        self.document = loop {
            if candidate >= TERMINATED || self.watch.is_over() {
                break TERMINATED;
            }
            match self.scorer.seek_danger(candidate) {
                SeekDangerResult::Found => break candidate,
                SeekDangerResult::SeekLowerBound(bound) => candidate = bound,
            }
        };
        self.document
    }
}

impl DocSet for WatchedScorer {
    fn advance(&mut self) -> DocId {
        match self.document {
            TERMINATED => TERMINATED,
            document => self.go_to(document + 1),
        }
    }

    fn seek(&mut self, target: DocId) -> DocId {
        if target <= self.document { self.document } else { self.go_to(target) }
    }

    fn seek_danger(&mut self, target: DocId) -> SeekDangerResult {
        if target >= TERMINATED || self.document == TERMINATED || self.watch.is_over() {
            self.document = TERMINATED;
            return SeekDangerResult::SeekLowerBound(TERMINATED);
        }
        let found = self.scorer.seek_danger(target);
        if found == SeekDangerResult::Found {
            self.document = target;
        }
        found
    }

    fn doc(&self) -> DocId {
        self.document
    }

    fn size_hint(&self) -> u32 {
        self.scorer.size_hint()
    }

    fn cost(&self) -> u64 {
        self.scorer.cost()
    }
}

impl Scorer for WatchedScorer {
    fn score(&mut self) -> Score {
        self.scorer.score()
    }
}
