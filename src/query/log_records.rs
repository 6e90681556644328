//! Log records by everything that can be asked of them: words, span and attributes too.

use crate::model::id::{SpanId, TemplateId, TraceId};
use crate::model::log::Severity;
use crate::model::tenant::Scope;
use crate::model::time::{UnixNanos, Window};
use crate::search;
use crate::store::read::logs::{LogAsk, LogPlace, StoredLog};

use super::error::Error;
use super::handle::Query;
use super::logs::LogQuestion;
use super::spans::has_all;

/// Longest text of a search, in bytes.
pub const TEXT_BYTES_MAX: usize = search::QUERY_BYTES_MAX;

/// Records that are searched by words at a time.
const FOUND_AT_ONCE: usize = 200;
/// Searches by words for one page; then it is given as it is, with where to go on.
const SEARCHES_MAX: usize = 20;

/// Which log records. Everything given must hold.
#[derive(Debug, Clone)]
pub struct RecordQuestion {
    /// When.
    pub window: Window,
    /// Words in the search syntax; none for all.
    pub text: Option<String>,
    /// Least severe; 0 for all.
    pub severity_min: Severity,
    /// The service that logged it.
    pub service: Option<String>,
    /// Its template.
    pub template: Option<TemplateId>,
    /// The trace it belongs to.
    pub trace: Option<TraceId>,
    /// The span it belongs to.
    pub span: Option<SpanId>,
    /// Its attributes, by key and rendered value.
    pub attributes: Vec<(String, String)>,
    /// Only records before this position.
    pub before: Option<(UnixNanos, i64)>,
    /// How many.
    pub limit: usize,
}

/// Records, newest first.
#[derive(Debug, Clone, Default)]
pub struct RecordsFound {
    /// The records.
    pub records: Vec<StoredLog>,
    /// Where the next page begins; none at the end. There may be one after a page of fewer records than were asked for,
    /// where few of those looked at match.
    pub next: Option<(UnixNanos, i64)>,
    /// Records that were stored so recently that words are not searched in them.
    pub not_indexed: u64,
}

impl Query {
    /// Finds log records, newest first.
    ///
    /// # Errors
    /// When the service is unknown, the words are not in the search syntax, or the store does not answer.
    pub async fn log_records(&self, scope: &Scope, question: RecordQuestion) -> Result<RecordsFound, Error> {
        if let Some(text) = question.text.clone() {
            return self.records_with_words(scope, question, text).await;
        }
        let service = question.service.as_deref().map(|name| self.service(scope, name)).transpose()?;
        let Some(tenant) = self.tenant(scope) else { return Ok(RecordsFound::default()) };
        let ask = LogAsk {
            window: question.window,
            severity_min: question.severity_min,
            services: service.map(|info| info.id).into_iter().collect(),
            templates: self.alike(tenant, question.template).await?,
            trace: question.trace,
            span: question.span,
            attributes: question.attributes,
            before: question.before.map(|(time, id)| LogPlace { time, id }),
            limit: question.limit,
            with_detail: true,
        };
        let page = self.store.logs(tenant, &ask).await?;
        let next = page.next.map(|place| (place.time, place.id));
        Ok(RecordsFound { records: page.items, next, not_indexed: 0 })
    }

    /// Words are searched by the index, which knows neither spans nor whole attributes: those are looked at record by
    /// record.
    async fn records_with_words(
        &self,
        scope: &Scope,
        question: RecordQuestion,
        text: String,
    ) -> Result<RecordsFound, Error> {
        let mut found = RecordsFound { next: question.before, ..RecordsFound::default() };
        for _ in 0..SEARCHES_MAX {
            let search = LogQuestion {
                window: question.window,
                text: text.clone(),
                severity_min: question.severity_min,
                service: question.service.clone(),
                trace: question.trace,
                template: question.template,
                attributes: Vec::new(),
                before: found.next,
                limit: FOUND_AT_ONCE,
            };
            let page = self.logs(scope, search).await?;
            found.not_indexed = found.not_indexed.max(page.not_indexed);
            found.next = page.next;
            for log in page.records {
                if !holds(&question, &log) {
                    continue;
                }
                if found.records.len() == question.limit {
                    found.next = found.records.last().map(|last| (last.row.time, last.id));
                    return Ok(found);
                }
                found.records.push(log);
            }
            if found.next.is_none() {
                break;
            }
        }
        Ok(found)
    }
}

fn holds(question: &RecordQuestion, log: &StoredLog) -> bool {
    question.span.is_none_or(|span| log.row.span_id == Some(span))
        && has_all(&question.attributes, |key| log.row.detail.attribute(key))
}
