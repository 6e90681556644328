//! Ranges over the values of an attribute.
//!
//! Values are not indexed a second time for this: each segment's dictionary has every `key=value` in order, so
//! the values of one key are walked over, and the lines of those inside the range are united. That costs no
//! byte on disk and a walk over the key's distinct values: microseconds for status codes, some hundred
//! milliseconds for a million different durations. Words that begin alike are walked over in the same way.

use std::cmp::Ordering;
use std::ops::Bound;

use tantivy::postings::TermInfo;
use tantivy::query::{BitSetDocSet, ConstScorer, EnableScoring, Explanation, Query, Scorer, Weight};
use tantivy::schema::{Field, IndexRecordOption};
use tantivy::{BitSet, DocId, InvertedIndexReader, Score, SegmentReader, TantivyError};
use tantivy_query_grammar::UserInputBound;

use super::line::{VALUE_BYTES_MAX, attribute_token};
use super::watch::Watch;
use super::words::{cut, push_lower};

/// An attribute's name and the values that are wanted.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Range {
    pub(super) key: String,
    pub(super) values: Values,
}

/// Values between two bounds.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Values {
    /// By size; what is no number is outside.
    Numbers(Bound<Number>, Bound<Number>),
    /// By the order of bytes in lower case.
    Texts(Bound<String>, Bound<String>),
}

impl Values {
    /// Numbers where every bound is one, else text.
    pub(super) fn between(lower: UserInputBound, upper: UserInputBound) -> Self {
        if let (Some(lower_number), Some(upper_number)) = (number_bound(&lower), number_bound(&upper))
            && (lower_number, upper_number) != (Bound::Unbounded, Bound::Unbounded)
        {
            return Self::Numbers(lower_number, upper_number);
        }
        Self::Texts(text_bound(lower), text_bound(upper))
    }

    /// True when nothing from `value` on can lie inside, in the order of bytes.
    fn end_before(&self, value: &str) -> bool {
        match self {
            Self::Texts(_, Bound::Included(upper) | Bound::Excluded(upper)) => upper.as_str() < value,
            _ => false,
        }
    }

    /// True when a value, as it is indexed, lies inside.
    pub(super) fn holds(&self, value: &str) -> bool {
        match self {
            Self::Numbers(lower, upper) => Number::parse(value).is_some_and(|number| {
                let after = match lower {
                    Bound::Included(lower) => lower.compare(number) != Ordering::Greater,
                    Bound::Excluded(lower) => lower.compare(number) == Ordering::Less,
                    Bound::Unbounded => true,
                };
                let before = match upper {
                    Bound::Included(upper) => number.compare(*upper) != Ordering::Greater,
                    Bound::Excluded(upper) => number.compare(*upper) == Ordering::Less,
                    Bound::Unbounded => true,
                };
                after && before
            }),
            Self::Texts(lower, upper) => {
                let after = match lower {
                    Bound::Included(lower) => lower.as_str() <= value,
                    Bound::Excluded(lower) => lower.as_str() < value,
                    Bound::Unbounded => true,
                };
                let before = match upper {
                    Bound::Included(upper) => value <= upper.as_str(),
                    Bound::Excluded(upper) => value < upper.as_str(),
                    Bound::Unbounded => true,
                };
                after && before
            }
        }
    }
}

/// A bound's number; none where it has text that is no number.
fn number_bound(bound: &UserInputBound) -> Option<Bound<Number>> {
    match bound {
        UserInputBound::Inclusive(text) => Number::parse(text).map(Bound::Included),
        UserInputBound::Exclusive(text) => Number::parse(text).map(Bound::Excluded),
        UserInputBound::Unbounded => Some(Bound::Unbounded),
    }
}

/// A bound's text as values are indexed.
fn text_bound(bound: UserInputBound) -> Bound<String> {
    let indexed = |text: &str| {
        let mut lower = String::new();
        push_lower(cut(text, VALUE_BYTES_MAX), &mut lower);
        lower
    };
    match bound {
        UserInputBound::Inclusive(text) => Bound::Included(indexed(&text)),
        UserInputBound::Exclusive(text) => Bound::Excluded(indexed(&text)),
        UserInputBound::Unbounded => Bound::Unbounded,
    }
}

/// A number as attributes render it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Number {
    /// Compared exactly.
    Whole(i64),
    /// With a fraction, or beyond 64 bits.
    Real(f64),
}

impl Number {
    /// Reads decimal digits with a sign, a fraction and an exponent; none for words such as `nan`.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let begins_well = text.starts_with(|first: char| first.is_ascii_digit() || "+-.".contains(first));
        let has_digit = text.bytes().any(|byte| byte.is_ascii_digit());
        if !begins_well || !has_digit {
            return None;
        }
        if let Ok(whole) = text.parse() {
            return Some(Self::Whole(whole));
        }
        text.parse().ok().filter(|real: &f64| real.is_finite()).map(Self::Real)
    }

    /// The order of two numbers.
    fn compare(self, other: Self) -> Ordering {
        match (self, other) {
            (Self::Whole(one), Self::Whole(other)) => one.cmp(&other),
            _ => self.real().total_cmp(&other.real()),
        }
    }

    const fn real(self) -> f64 {
        match self {
            Self::Whole(whole) => whole as f64,
            // Minus nought is nought.
            Self::Real(real) => real + 0.0,
        }
    }
}

/// Lines with an attribute in `range`; the walk ends when `watch` is over.
pub(super) fn in_range(attributes: Field, range: &Range, watch: &Watch) -> Box<dyn Query> {
    let (prefix, values) = (attribute_token(&range.key, ""), range.values.clone());
    Box::new(InRange { field: attributes, prefix, values, watch: watch.clone() })
}

/// Lines with a term that begins with `prefix`, however many there are; the walk ends when `watch` is over.
pub(super) fn begun(field: Field, prefix: String, watch: &Watch) -> Box<dyn Query> {
    let values = Values::Texts(Bound::Unbounded, Bound::Unbounded);
    Box::new(InRange { field, prefix, values, watch: watch.clone() })
}

#[derive(Debug, Clone)]
struct InRange {
    field: Field,
    /// `key=`, which the terms of the key begin with.
    prefix: String,
    values: Values,
    watch: Watch,
}

impl Query for InRange {
    fn weight(&self, _: EnableScoring<'_>) -> tantivy::Result<Box<dyn Weight>> {
        Ok(Box::new(self.clone()))
    }
}

impl InRange {
    /// Shows `take` every term inside the range.
    fn walk(
        &self,
        index: &InvertedIndexReader,
        mut take: impl FnMut(&TermInfo) -> tantivy::Result<()>,
    ) -> tantivy::Result<()> {
        let mut start = self.prefix.clone();
        if let Values::Texts(Bound::Included(lower) | Bound::Excluded(lower), _) = &self.values {
            start.push_str(lower);
        }
        let mut terms = index.terms().range().ge(start.as_bytes()).into_stream()?;
        while !self.watch.is_over() && terms.advance() {
            let Some(value) = terms.key().strip_prefix(self.prefix.as_bytes()) else { break };
            // Terms were text when they were indexed.
            let Ok(value) = std::str::from_utf8(value) else { continue };
            if self.values.holds(value) {
                take(terms.value())?;
            } else if self.values.end_before(value) {
                break;
            }
        }
        Ok(())
    }
}

impl Weight for InRange {
    fn scorer(&self, reader: &SegmentReader, boost: Score) -> tantivy::Result<Box<dyn Scorer>> {
        let index = reader.inverted_index(self.field)?;
        let mut found = BitSet::with_max_value(reader.max_doc());
        self.walk(&index, |term| {
            let mut postings = index.read_block_postings_from_terminfo(term, IndexRecordOption::Basic)?;
            while !postings.docs().is_empty() && !self.watch.is_over() {
                for document in postings.docs() {
                    found.insert(*document);
                }
                postings.advance();
            }
            Ok(())
        })?;
        Ok(Box::new(ConstScorer::new(BitSetDocSet::from(found), boost)))
    }

    fn explain(&self, reader: &SegmentReader, document: DocId) -> tantivy::Result<Explanation> {
        let mut scorer = self.scorer(reader, 1.0)?;
        if scorer.doc() <= document && scorer.seek(document) == document {
            return Ok(Explanation::new("a value in the range", 1.0));
        }
        Err(TantivyError::InvalidArgument("the document does not match".to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(lower: &str, upper: &str) -> Values {
        let bound = |text: &str| match text {
            "*" => UserInputBound::Unbounded,
            text => UserInputBound::Inclusive(text.to_owned()),
        };
        Values::between(bound(lower), bound(upper))
    }

    #[test]
    fn numbers_are_compared_by_size_and_text_by_its_bytes() {
        let cases = [
            ("500", "599", "503", true),
            ("500", "599", "600", false),
            ("500", "599", "5000", false),
            ("9", "10", "9.5", true),
            ("-2", "2", "-1e0", true),
            ("0", "*", "-0.0", true),
            ("500", "*", "five", false),
            ("500", "*", "nan", false),
            ("9007199254740993", "*", "9007199254740992", false),
            ("a", "c", "B", false),
            ("a", "c", "b", true),
            ("A", "C", "b", true),
            ("a", "c", "cc", false),
            ("1", "b", "5", true),
            ("*", "*", "whatever", true),
        ];
        for (lower, upper, value, wanted) in cases {
            assert_eq!(values(lower, upper).holds(value), wanted, "{value} in [{lower} TO {upper}]");
        }
    }
}
