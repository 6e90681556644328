//! What is indexed of a line, and the queries over it.

use tantivy::query::{
    AllQuery, BooleanQuery, EmptyQuery, Occur, PhraseQuery, Query, TermQuery, TermSetQuery,
};
use tantivy::schema::{
    FAST, Field, IndexRecordOption, NumericOptions, Schema, TextFieldIndexing, TextOptions,
};
use tantivy::{Index, Term};

use super::beginning::beginning;
use super::canonical::wrong;
use super::excluded::Excluded;
use super::expression::Expression;
use super::line::attribute_token;
use super::range::in_range;
use super::watch::Watch;
use super::words::{Words, push_lower};
use super::{Ask, Error, Names, expression};
use crate::model::id::{ServiceId, TenantNumber};

/// Version of the fields and of the words; another version means that the index is rebuilt.
pub(super) const VERSION: u32 = 2;
/// Highest severity number.
pub(super) const SEVERITY_MAX: u8 = 24;
/// The column of times.
pub(super) const TIME: &str = "time";
/// The column of rows.
pub(super) const ROW: &str = "row";
/// The column of templates, by which a segment's lines are sorted: lines of one template share most of their
/// words, so that where a word occurs is mostly "and in the next line", which takes next to no space.
pub(super) const TEMPLATE: &str = "template";
const WORDS: &str = "words";

/// The fields of the index.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fields {
    pub(super) tenant: Field,
    pub(super) time: Field,
    pub(super) row: Field,
    pub(super) service: Field,
    pub(super) severity: Field,
    pub(super) template: Field,
    /// The words of the body and of attribute values, with positions.
    pub(super) text: Field,
    /// One `key=value` for each attribute.
    pub(super) attributes: Field,
}

/// For whom a query is made.
#[derive(Clone, Copy)]
pub(super) struct Whom<'a> {
    /// Who is asked about names.
    pub(super) names: &'a dyn Names,
    /// Whether somebody waits for the answer.
    pub(super) watch: &'a Watch,
}

/// The schema and its fields.
pub(super) fn schema() -> (Schema, Fields) {
    let text = |tokenizer: &str, record: IndexRecordOption| {
        let indexing = TextFieldIndexing::default().set_tokenizer(tokenizer);
        // Nothing is ranked by relevance, so the lengths of lines are not kept.
        TextOptions::default().set_indexing_options(indexing.set_index_option(record).set_fieldnorms(false))
    };
    let number = NumericOptions::default().set_indexed();
    let mut builder = Schema::builder();
    let fields = Fields {
        tenant: builder.add_u64_field("tenant", number.clone()),
        time: builder.add_i64_field(TIME, FAST),
        row: builder.add_i64_field(ROW, FAST),
        service: builder.add_u64_field("service", number.clone()),
        severity: builder.add_u64_field("severity", number.clone()),
        template: builder.add_u64_field(TEMPLATE, number.set_fast()),
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
    /// The lines of `tenant` that `ask` wants, without regard to its window and its cursor.
    pub(super) fn query(
        &self,
        tenant: TenantNumber,
        ask: &Ask,
        whom: Whom<'_>,
    ) -> Result<Box<dyn Query>, Error> {
        let expression = expression::parse(&ask.text)?;
        let mut parts = vec![self.number(self.tenant, u64::from(tenant.0))];
        if expression != Expression::All {
            parts.push(self.expression(&expression, whom)?);
        }
        if !ask.services.is_empty() {
            parts.push(self.services(&ask.services));
        }
        if !ask.templates.is_empty() {
            parts.push(self.any_of(self.template, ask.templates.iter().map(|id| u64::from(id.0))));
        }
        if 0 < ask.severity_min.0 {
            parts.push(self.severities(ask.severity_min.0, u8::MAX));
        }
        Ok(Box::new(BooleanQuery::intersection(parts)))
    }

    fn expression(&self, expression: &Expression, whom: Whom<'_>) -> Result<Box<dyn Query>, Error> {
        let Whom { names, watch } = whom;
        Ok(match expression {
            Expression::All => Box::new(AllQuery),
            Expression::Words { words, is_prefix, slop } => self.words(words, *is_prefix, *slop, watch),
            Expression::Attribute { key, value, is_prefix } => {
                let term = Term::from_field_text(self.attributes, &attribute_token(key, value));
                if *is_prefix { beginning(Vec::new(), term, watch) } else { exact(term) }
            }
            Expression::Range(range) => in_range(self.attributes, range, watch),
            Expression::Severity { least, most } => self.severities(*least, *most),
            Expression::Service { position, name, is_prefix } => {
                let services = named(names, name, *is_prefix);
                if services.is_empty() {
                    let remedy = "write a name as the service map shows it, or its beginning as in pay*";
                    return Err(wrong(*position, "no service has this name", remedy));
                }
                self.services(&services)
            }
            Expression::Template(template) => match &names.templates(*template)[..] {
                [only] => self.number(self.template, u64::from(only.0)),
                all => self.any_of(self.template, all.iter().map(|id| u64::from(id.0))),
            },
            Expression::Not(part) => Box::new(BooleanQuery::new(vec![
                (Occur::Must, Box::new(AllQuery)),
                (Occur::MustNot, self.excluded(part, whom)?),
            ])),
            Expression::Or(parts) => {
                let parts: Result<Vec<_>, Error> = parts.iter().map(|part| self.choice(part, whom)).collect();
                Box::new(BooleanQuery::union(parts?))
            }
            Expression::And(parts) => {
                let mut clauses: Vec<(Occur, Box<dyn Query>)> = Vec::with_capacity(parts.len() + 1);
                for part in parts {
                    clauses.push(match part {
                        Expression::Not(excluded) => (Occur::MustNot, self.excluded(excluded, whom)?),
                        part => (Occur::Must, self.expression(part, whom)?),
                    });
                }
                if clauses.iter().all(|(occur, _)| *occur == Occur::MustNot) {
                    clauses.push((Occur::Must, Box::new(AllQuery)));
                }
                Box::new(BooleanQuery::new(clauses))
            }
        })
    }

    fn excluded(&self, expression: &Expression, whom: Whom<'_>) -> Result<Box<dyn Query>, Error> {
        Ok(Box::new(Excluded(self.expression(expression, whom)?)))
    }

    /// One of several that will do. There may be hundreds, of which each looks for its next line by itself.
    fn choice(&self, expression: &Expression, whom: Whom<'_>) -> Result<Box<dyn Query>, Error> {
        let query = self.expression(expression, whom)?;
        let is_joined = matches!(expression, Expression::And(_) | Expression::Not(_));
        Ok(if is_joined { whom.watch.over(query) } else { query })
    }

    fn words(&self, words: &[String], is_prefix: bool, slop: u32, watch: &Watch) -> Box<dyn Query> {
        let mut terms: Vec<Term> = words.iter().map(|word| Term::from_field_text(self.text, word)).collect();
        match terms.pop() {
            None => Box::new(AllQuery),
            Some(last) if is_prefix => beginning(terms, last, watch),
            Some(only) if terms.is_empty() => exact(only),
            Some(last) => {
                terms.push(last);
                let mut phrase = PhraseQuery::new(terms);
                phrase.set_slop(slop);
                watch.over(Box::new(phrase))
            }
        }
    }

    fn services(&self, services: &[ServiceId]) -> Box<dyn Query> {
        self.any_of(self.service, services.iter().map(|id| u64::from(id.0)))
    }

    fn severities(&self, least: u8, most: u8) -> Box<dyn Query> {
        match (least, most.min(SEVERITY_MAX)) {
            (least, most) if most < least => Box::new(EmptyQuery),
            (0, SEVERITY_MAX) => Box::new(AllQuery),
            (least, most) => self.any_of(self.severity, (least..=most).map(u64::from)),
        }
    }

    fn any_of(&self, field: Field, numbers: impl Iterator<Item = u64>) -> Box<dyn Query> {
        Box::new(TermSetQuery::new(numbers.map(|number| Term::from_field_u64(field, number))))
    }

    fn number(&self, field: Field, number: u64) -> Box<dyn Query> {
        exact(Term::from_field_u64(field, number))
    }
}

/// Services with this name in whatever case, or with a name that begins so.
fn named(names: &dyn Names, name: &str, is_prefix: bool) -> Vec<ServiceId> {
    let lower = |text: &str| {
        let mut lower = String::new();
        push_lower(text, &mut lower);
        lower
    };
    let wanted = lower(name);
    names.services(&|found| {
        let found = lower(found);
        if is_prefix { found.starts_with(&wanted) } else { found == wanted }
    })
}

fn exact(term: Term) -> Box<dyn Query> {
    Box::new(TermQuery::new(term, IndexRecordOption::Basic))
}
