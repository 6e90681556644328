//! Words in a row of which the last is unfinished: `order-7f*`.
//!
//! Where few words of a segment begin so, each is looked for in its place behind the others. Doing that for
//! thousands (`order-*` with digits) takes seconds, so beyond [`ENDINGS_MAX`] the last word has to be in the
//! line, but not in its place: more lines are found than asked for, never fewer.

use tantivy::query::{
    BooleanQuery, EnableScoring, Explanation, PhrasePrefixQuery, PhraseQuery, Query, Scorer, TermQuery,
    Weight,
};
use tantivy::schema::{Field, IndexRecordOption};
use tantivy::{DocId, Score, SegmentReader, Term};

use super::range::begun;
use super::watch::Watch;

/// Endings up to which the place of an unfinished word counts.
const ENDINGS_MAX: u32 = 64;

/// Any word that begins as `last` does, behind the words `before` it; watched by `watch`.
pub(super) fn beginning(before: Vec<Term>, last: Term, watch: &Watch) -> Box<dyn Query> {
    let (field, start) = (last.field(), last.serialized_value_bytes().to_vec());
    // Alone it has no place to be in, and any number of endings is found. A term of text is text.
    let alone = begun(field, String::from_utf8_lossy(&start).into_owned(), watch);
    let others: Box<dyn Query> = match before.as_slice() {
        [] => return alone,
        [only] => Box::new(TermQuery::new(only.clone(), IndexRecordOption::Basic)),
        _ => watch.over(Box::new(PhraseQuery::new(before.clone()))),
    };
    let mut exact = PhrasePrefixQuery::new(before.into_iter().chain([last]).collect());
    exact.set_max_expansions(ENDINGS_MAX);
    let loose = BooleanQuery::intersection(vec![others, alone]);
    watch.over(Box::new(Beginning { exact, loose, field, start }))
}

#[derive(Debug, Clone)]
struct Beginning {
    exact: PhrasePrefixQuery,
    loose: BooleanQuery,
    field: Field,
    /// How the last word begins.
    start: Vec<u8>,
}

impl Query for Beginning {
    fn weight(&self, scoring: EnableScoring<'_>) -> tantivy::Result<Box<dyn Weight>> {
        Ok(Box::new(BeginningWeight {
            exact: self.exact.weight(scoring)?,
            loose: self.loose.weight(scoring)?,
            field: self.field,
            start: self.start.clone(),
        }))
    }
}

struct BeginningWeight {
    exact: Box<dyn Weight>,
    loose: Box<dyn Weight>,
    field: Field,
    start: Vec<u8>,
}

impl BeginningWeight {
    /// The one of the two that suits this segment.
    fn choose(&self, reader: &SegmentReader) -> tantivy::Result<&dyn Weight> {
        let index = reader.inverted_index(self.field)?;
        let mut terms = index.terms().range().ge(&self.start).into_stream()?;
        let mut endings = 0;
        while endings <= ENDINGS_MAX && terms.advance() && terms.key().starts_with(&self.start) {
            endings += 1;
        }
        Ok(if endings <= ENDINGS_MAX { self.exact.as_ref() } else { self.loose.as_ref() })
    }
}

impl Weight for BeginningWeight {
    fn scorer(&self, reader: &SegmentReader, boost: Score) -> tantivy::Result<Box<dyn Scorer>> {
        self.choose(reader)?.scorer(reader, boost)
    }

    fn explain(&self, reader: &SegmentReader, document: DocId) -> tantivy::Result<Explanation> {
        self.choose(reader)?.explain(reader, document)
    }
}
