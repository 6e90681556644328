//! What is indexed of a line, and the queries over it.

use std::ops::Bound;

use tantivy::query::{
    AllQuery, BooleanQuery, Occur, PhraseQuery, Query, RangeQuery, TermQuery, TermSetQuery,
};
use tantivy::schema::{FAST, Field, INDEXED, IndexRecordOption, Schema, TextFieldIndexing, TextOptions};
use tantivy::{Index, Term};

use super::beginning::beginning;
use super::excluded::Excluded;
use super::expression::Expression;
use super::line::attribute_token;
use super::words::Words;
use super::{Ask, expression};
use crate::model::id::TenantNumber;
use crate::model::time::UnixNanos;

/// Version of the fields and of the words; another version means that the index is rebuilt.
pub(super) const VERSION: u32 = 1;
/// The column of times.
pub(super) const TIME: &str = "time";
/// The column of rows.
pub(super) const ROW: &str = "row";
const WORDS: &str = "words";

/// The fields of the index.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fields {
    pub(super) tenant: Field,
    pub(super) time: Field,
    pub(super) row: Field,
    pub(super) service: Field,
    pub(super) severity: Field,
    /// The words of the body and of attribute values, with positions.
    pub(super) text: Field,
    /// One `key=value` for each attribute.
    pub(super) attributes: Field,
}

/// The schema and its fields.
pub(super) fn schema() -> (Schema, Fields) {
    let text = |tokenizer: &str, record: IndexRecordOption| {
        let indexing = TextFieldIndexing::default().set_tokenizer(tokenizer);
        // Nothing is ranked by relevance, so the lengths of lines are not kept.
        TextOptions::default().set_indexing_options(indexing.set_index_option(record).set_fieldnorms(false))
    };
    let mut builder = Schema::builder();
    let fields = Fields {
        tenant: builder.add_u64_field("tenant", INDEXED),
        time: builder.add_i64_field(TIME, FAST),
        row: builder.add_i64_field(ROW, FAST),
        service: builder.add_u64_field("service", INDEXED),
        severity: builder.add_u64_field("severity", FAST),
        text: builder.add_text_field("text", text(WORDS, IndexRecordOption::WithFreqsAndPositions)),
        attributes: builder.add_text_field("attributes", text("raw", IndexRecordOption::Basic)),
    };
    (builder.build(), fields)
}

/// Tells the index how lines fall into words; before it is written or read.
pub(super) fn register_words(index: &Index) {
    index.tokenizers().register(WORDS, Words::default());
}

impl Fields {
    /// The lines of `tenant` that `ask` wants, without regard to its cursor.
    pub(super) fn query(&self, tenant: TenantNumber, ask: &Ask) -> Result<Box<dyn Query>, super::Error> {
        let expression = expression::parse(&ask.text)?;
        let mut parts = vec![self.number(self.tenant, u64::from(tenant.0))];
        if expression != Expression::All {
            parts.push(self.expression(&expression));
        }
        if !ask.services.is_empty() {
            let ids = ask.services.iter().map(|id| Term::from_field_u64(self.service, u64::from(id.0)));
            parts.push(Box::new(TermSetQuery::new(ids)));
        }
        if 0 < ask.severity_min.0 {
            parts.push(self.severities(ask.severity_min.0, u8::MAX));
        }
        parts.push(Box::new(RangeQuery::new(
            Bound::Included(Term::from_field_i64(self.time, ask.window.from.0)),
            Bound::Excluded(Term::from_field_i64(self.time, ask.window.to.0)),
        )));
        Ok(Box::new(BooleanQuery::intersection(parts)))
    }

    /// All lines before `time`.
    pub(super) fn before(&self, time: UnixNanos) -> Box<dyn Query> {
        Box::new(RangeQuery::new(
            Bound::Included(Term::from_field_i64(self.time, i64::MIN)),
            Bound::Excluded(Term::from_field_i64(self.time, time.0)),
        ))
    }

    fn expression(&self, expression: &Expression) -> Box<dyn Query> {
        match expression {
            Expression::All => Box::new(AllQuery),
            Expression::Words { words, is_prefix } => self.words(words, *is_prefix),
            Expression::Attribute { key, value, is_prefix } => {
                let term = Term::from_field_text(self.attributes, &attribute_token(key, value));
                if *is_prefix { beginning(Vec::new(), term) } else { exact(term) }
            }
            Expression::Severity { least, most } => self.severities(*least, *most),
            Expression::Not(part) => Box::new(BooleanQuery::new(vec![
                (Occur::Must, Box::new(AllQuery)),
                (Occur::MustNot, self.excluded(part)),
            ])),
            Expression::Or(parts) => {
                Box::new(BooleanQuery::union(parts.iter().map(|part| self.expression(part)).collect()))
            }
            Expression::And(parts) => {
                let mut clauses: Vec<(Occur, Box<dyn Query>)> = parts
                    .iter()
                    .map(|part| match part {
                        Expression::Not(excluded) => (Occur::MustNot, self.excluded(excluded)),
                        part => (Occur::Must, self.expression(part)),
                    })
                    .collect();
                if clauses.iter().all(|(occur, _)| *occur == Occur::MustNot) {
                    clauses.push((Occur::Must, Box::new(AllQuery)));
                }
                Box::new(BooleanQuery::new(clauses))
            }
        }
    }

    fn excluded(&self, expression: &Expression) -> Box<dyn Query> {
        Box::new(Excluded(self.expression(expression)))
    }

    fn words(&self, words: &[String], is_prefix: bool) -> Box<dyn Query> {
        let mut terms: Vec<Term> = words.iter().map(|word| Term::from_field_text(self.text, word)).collect();
        match terms.pop() {
            None => Box::new(AllQuery),
            Some(last) if is_prefix => beginning(terms, last),
            Some(only) if terms.is_empty() => exact(only),
            Some(last) => {
                terms.push(last);
                Box::new(PhraseQuery::new(terms))
            }
        }
    }

    fn severities(&self, least: u8, most: u8) -> Box<dyn Query> {
        Box::new(RangeQuery::new(
            Bound::Included(Term::from_field_u64(self.severity, u64::from(least))),
            Bound::Included(Term::from_field_u64(self.severity, u64::from(most))),
        ))
    }

    fn number(&self, field: Field, number: u64) -> Box<dyn Query> {
        exact(Term::from_field_u64(field, number))
    }
}

fn exact(term: Term) -> Box<dyn Query> {
    Box::new(TermQuery::new(term, IndexRecordOption::Basic))
}
