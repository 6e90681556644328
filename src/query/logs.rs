//! Log records by words, severity, service, trace, template and time.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use crate::model::id::{ServiceId, TemplateId, TenantNumber, TraceId};
use crate::model::log::Severity;
use crate::model::tenant::Scope;
use crate::model::time::{UnixNanos, Window};
use crate::search::{Ask, Index, Names, templates_named};
use crate::store::Store;
use crate::store::read::logs::{LogAsk, LogPlace, StoredLog};

use super::error::Error;
use super::handle::Query;
use super::spans::has_all;

/// Most records of one answer.
const LIMIT_MAX: usize = 500;
/// Hits that are looked at together where more than words must hold.
const HITS_PER_ROUND: usize = 1_000;
/// Rounds of them before the page is given as it is, with where to go on.
const ROUNDS_MAX: usize = 10;

/// Templates that a text may name: each is found with those that have its text.
const ALIKE_MAX: usize = 20;

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
    /// Its attributes, by key and rendered value.
    pub attributes: Vec<(String, String)>,
    /// Only records before this position, from an earlier page.
    pub before: Option<(UnixNanos, i64)>,
    /// How many, 1 to 500.
    pub limit: usize,
}

/// Records, newest first.
#[derive(Debug, Clone, Default)]
pub struct LogsFound {
    /// The records.
    pub records: Vec<StoredLog>,
    /// How many match in all, where words were searched and all days of the window were counted.
    pub total: Option<usize>,
    /// Where the next page begins; none at the end. There may be one after a page of fewer records than were asked for, or
    /// of none, where few of those that the words find match.
    pub next: Option<(UnixNanos, i64)>,
    /// Whether all that comes next matches. Otherwise it is still to be looked at.
    pub next_matches: bool,
    /// Log records of the tenant in which words are not searched yet: newer than the index, or of a day that is built
    /// anew.
    pub not_indexed: u64,
}

impl Query {
    /// Finds log records, newest first.
    ///
    /// # Errors
    /// When the service is unknown, the words are not in the search syntax or name too many templates, or the store does not
    /// answer.
    pub async fn logs(&self, scope: &Scope, question: LogQuestion) -> Result<LogsFound, Error> {
        let service = question.service.as_deref().map(|name| self.service(scope, name)).transpose()?;
        let Some(tenant) = self.tenant(scope) else { return Ok(LogsFound::default()) };
        let services = service.map(|info| info.id).into_iter().collect::<Vec<_>>();
        let limit = question.limit.clamp(1, LIMIT_MAX);
        if !question.text.trim().is_empty() {
            return self.searched(tenant, question, services, limit).await;
        }
        let ask = LogAsk {
            window: question.window,
            severity_min: question.severity_min,
            services,
            templates: self.alike(tenant, question.template).await?,
            trace: question.trace,
            span: None,
            attributes: question.attributes,
            before: question.before.map(|(time, id)| LogPlace { time, id }),
            limit,
            with_detail: true,
        };
        let page = self.store.logs(tenant, &ask).await?;
        let next = page.next.map(|place| (place.time, place.id));
        Ok(LogsFound { records: page.items, total: None, next, next_matches: true, not_indexed: 0 })
    }

    /// The newest records of all services that the text describes; none where words are not searched.
    pub(super) async fn events(
        &self,
        tenant: TenantNumber,
        window: Window,
        text: &str,
        limit: usize,
    ) -> Result<Vec<StoredLog>, Error> {
        if self.index.is_none() {
            return Ok(Vec::new());
        }
        let question = LogQuestion {
            window,
            text: text.to_owned(),
            severity_min: Severity::default(),
            service: None,
            trace: None,
            template: None,
            attributes: Vec::new(),
            before: None,
            limit,
        };
        Ok(self.searched(tenant, question, Vec::new(), limit).await?.records)
    }

    /// Finds by words. The index knows neither traces nor whole attributes: those are looked at record by record.
    async fn searched(
        &self,
        tenant: TenantNumber,
        question: LogQuestion,
        services: Vec<ServiceId>,
        limit: usize,
    ) -> Result<LogsFound, Error> {
        let index = self.index.clone().ok_or(Error::SearchOff)?;
        let named = named(&question.text)?;
        let narrowed = question.trace.is_some() || !question.attributes.is_empty();
        // Before searching: what is indexed meanwhile was perhaps not found.
        let not_indexed = self.not_indexed(tenant, &index).await?;
        let templates = self.alike(tenant, question.template).await?;
        let mut alike = HashMap::new();
        for template in named {
            alike.insert(template, self.alike(tenant, Some(template)).await?);
        }
        let names = Arc::new(ServiceNames { store: self.store.clone(), tenant, alike });
        let mut found = LogsFound { next: question.before, next_matches: !narrowed, ..LogsFound::default() };
        // Dropped with this question: whoever leaves leaves no search behind.
        let waiting = Arc::new(());
        for round in 0..ROUNDS_MAX {
            let ask = Ask {
                text: question.text.clone(),
                window: question.window,
                services: services.clone(),
                templates: templates.clone(),
                severity_min: question.severity_min,
                before: found.next,
                limit: if narrowed { HITS_PER_ROUND } else { limit },
                waiting: Some(Arc::downgrade(&waiting)),
            };
            let (searching, names) = (Arc::clone(&index), Arc::clone(&names));
            let work = tokio::task::spawn_blocking(move || searching.search(tenant, &ask, &*names));
            let hits = work.await.map_err(|_| Error::Abandoned)??;
            if round == 0 && !narrowed {
                found.total = hits.total;
            }
            let records = self.store.logs_by_id(tenant, &hits.rows).await?;
            found.next = records.last().filter(|_| hits.more).map(|last| (last.row.time, last.id));
            for log in records {
                let is_of_trace = question.trace.is_none_or(|trace| log.row.trace_id == Some(trace));
                if !is_of_trace || !has_all(&question.attributes, |key| log.row.detail.attribute(key)) {
                    continue;
                }
                if found.records.len() == limit {
                    found.next = found.records.last().map(|last: &StoredLog| (last.row.time, last.id));
                    break;
                }
                found.records.push(log);
            }
            if found.records.len() == limit || found.next.is_none() {
                break;
            }
        }
        found.not_indexed = not_indexed;
        Ok(found)
    }

    /// The tenant's records that the index does not have yet, over all days.
    async fn not_indexed(&self, tenant: TenantNumber, index: &Index) -> Result<u64, Error> {
        let mut count = 0;
        for (day, highest) in self.store.log_days().await? {
            let position = index.position_of(day.0);
            if position < highest {
                // What lies beyond the day's last record is no record of this day.
                let beyond = self.store.logs_beyond(tenant, position).await?;
                count += beyond.saturating_sub(self.store.logs_beyond(tenant, highest).await?);
            }
        }
        Ok(count)
    }
}

/// The templates that a text names.
fn named(text: &str) -> Result<BTreeSet<TemplateId>, Error> {
    let named: BTreeSet<TemplateId> = templates_named(text).into_iter().collect();
    if named.len() > ALIKE_MAX {
        return Err(Error::TooManyTemplates { named: named.len(), max: ALIKE_MAX });
    }
    Ok(named)
}

/// The services that a query text may name, and what the templates in it stand for.
struct ServiceNames {
    store: Store,
    tenant: TenantNumber,
    alike: HashMap<TemplateId, Vec<TemplateId>>,
}

impl Names for ServiceNames {
    fn services(&self, wanted: &dyn Fn(&str) -> bool) -> Vec<ServiceId> {
        let services = self.store.names().services_of(self.tenant).into_iter();
        services.filter(|service| wanted(&service.name)).map(|service| service.id).collect()
    }

    fn templates(&self, template: TemplateId) -> Vec<TemplateId> {
        self.alike.get(&template).cloned().unwrap_or_else(|| vec![template])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_that_names_too_many_templates_is_refused() {
        let text = |ids: std::ops::RangeInclusive<u32>| {
            let ids: Vec<String> = ids.map(|id| id.to_string()).collect();
            format!("template:IN [{}] OR template:1", ids.join(" "))
        };
        let most = ALIKE_MAX as u32;
        assert_eq!(named(&text(1..=most)).unwrap().len(), ALIKE_MAX, "the same twice counts once");
        let refused = named(&text(1..=most + 1)).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "the text names 21 templates and may name 20: ask for some of them at a time"
        );
    }
}
