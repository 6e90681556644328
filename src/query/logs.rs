//! Log records by words, severity, service, trace, template and time.

use crate::model::id::{TemplateId, TraceId};
use crate::model::log::Severity;
use crate::model::tenant::Scope;
use crate::model::time::{UnixNanos, Window};
use crate::search::Ask;
use crate::store::read::logs::{LogAsk, LogPlace, StoredLog};

use super::error::Error;
use super::handle::Query;

/// What to look for. Everything given must hold.
#[derive(Debug, Clone)]
pub struct LogQuestion {
    /// When.
    pub window: Window,
    /// Words in the search syntax; empty for all.
    pub text: String,
    /// Least severe; [`Severity`] 0 for all.
    pub severity_min: Severity,
    /// The service that logged it.
    pub service: Option<String>,
    /// The trace it belongs to.
    pub trace: Option<TraceId>,
    /// Its template.
    pub template: Option<TemplateId>,
    /// Only records before this position, from an earlier page.
    pub before: Option<(UnixNanos, i64)>,
    /// How many, 1 to 200.
    pub limit: usize,
}

/// Records, newest first.
#[derive(Debug, Clone, Default)]
pub struct LogsFound {
    /// The records.
    pub records: Vec<StoredLog>,
    /// How many match in all, where words were searched.
    pub total: Option<usize>,
    /// Where the next page begins; none at the end.
    pub next: Option<(UnixNanos, i64)>,
    /// Log records that were stored after the search index was last brought up to date.
    pub not_indexed: i64,
}

impl Query {
    /// Finds log records, newest first.
    ///
    /// # Errors
    /// When the service is unknown, the words are not in the search syntax, or the store does not answer.
    pub async fn logs(&self, scope: &Scope, question: LogQuestion) -> Result<LogsFound, Error> {
        let service = question.service.as_deref().map(|name| self.service(scope, name)).transpose()?;
        let Some(tenant) = self.tenant(scope) else { return Ok(LogsFound::default()) };
        let services = service.map(|info| info.id).into_iter().collect::<Vec<_>>();
        let limit = question.limit.clamp(1, 200);
        if question.text.trim().is_empty() || question.trace.is_some() || question.template.is_some() {
            let ask = LogAsk {
                window: question.window,
                severity_min: question.severity_min,
                services,
                templates: question.template.into_iter().collect(),
                trace: question.trace,
                span: None,
                attributes: Vec::new(),
                before: question.before.map(|(time, id)| LogPlace { time, id }),
                limit,
            };
            let mut page = self.store.logs(tenant, &ask).await?;
            let next = page.next.take().map(|place| (place.time, place.id));
            if !question.text.trim().is_empty() {
                // Few records share a trace or template: their words are looked at one by one.
                let words: Vec<String> =
                    question.text.to_lowercase().split_whitespace().map(str::to_owned).collect();
                page.items.retain(|log| {
                    let body = log.row.detail.body_text().to_lowercase();
                    words.iter().all(|word| body.contains(word.trim_matches('"')))
                });
            }
            return Ok(LogsFound { records: page.items, total: None, next, not_indexed: 0 });
        }
        let index = self.index.clone().ok_or(Error::SearchOff)?;
        let ask = Ask {
            text: question.text,
            window: question.window,
            services,
            severity_min: question.severity_min,
            before: question.before,
            limit,
        };
        let searched = index.clone();
        let work = tokio::task::spawn_blocking(move || searched.search(tenant, &ask));
        let hits = work.await.map_err(|_| Error::Abandoned)??;
        let records = self.store.logs_by_id(tenant, &hits.rows).await?;
        let next = records.last().filter(|_| hits.more).map(|last| (last.row.time, last.id));
        let not_indexed = (self.store.highest_log_id().await? - index.position()).max(0);
        Ok(LogsFound { records, total: Some(hits.total), next, not_indexed })
    }
}
