//! Single spans by service, outcome, duration and attributes.

use crate::model::id::{OperationId, ServiceId, SpanId, TenantNumber, TraceId};
use crate::model::packed::value::Value;
use crate::model::span::{SpanKind, Status};
use crate::model::tenant::Scope;
use crate::model::time::{UnixNanos, Window};
use crate::store::read::spans::{SPANS_MAX, SpanAsk, SpanOrder};
use crate::store::rows::SpanRow;

use super::error::Error;
use super::handle::Query;

/// Spans that are read at a time, where more than the store's own conditions decide: first, and later on.
const CHUNK: (usize, usize) = (256, 2_048);
/// Spans that one page looks at; then it is given as it is, with where to go on.
const LOOKED_AT_MAX: usize = 20_000;

/// Which spans. Everything given must hold.
#[derive(Debug, Clone)]
pub struct SpanQuestion {
    /// Spans that began within it.
    pub window: Window,
    /// The service that sent it.
    pub service: Option<String>,
    /// Its name.
    pub operation: Option<String>,
    /// Its part in a call.
    pub kind: Option<SpanKind>,
    /// Only those that failed, or only those that did not.
    pub failed: Option<bool>,
    /// The shortest.
    pub duration_min_ns: Option<u64>,
    /// The longest.
    pub duration_max_ns: Option<u64>,
    /// Its attributes, by key and rendered value.
    pub attributes: Vec<(String, String)>,
    /// The trace it belongs to.
    pub trace: Option<TraceId>,
    /// Its own id.
    pub span: Option<SpanId>,
    /// What comes first.
    pub order: SpanOrder,
    /// Only what comes after this span in the order.
    pub after: Option<SpanPlace>,
    /// How many.
    pub limit: usize,
}

/// A span in the order of a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpanPlace {
    /// How long it took.
    pub duration_ns: u64,
    /// When it began.
    pub start: UnixNanos,
    /// Its trace.
    pub trace_id: TraceId,
    /// Its id.
    pub span_id: SpanId,
}

impl SpanPlace {
    /// The place of a span.
    pub const fn of(row: &SpanRow) -> Self {
        let (duration_ns, start) = (row.duration_ns, row.start);
        Self { duration_ns, start, trace_id: row.trace_id, span_id: row.span_id }
    }
}

/// Spans in the order that was asked for, with their details.
#[derive(Debug, Clone, Default)]
pub struct SpansFound {
    /// The spans.
    pub spans: Vec<SpanRow>,
    /// After which span the next page begins; none at the end. There may be one after a page of fewer spans than were
    /// asked for, where few of those looked at match.
    pub next: Option<SpanPlace>,
    /// True when the order could not be followed to its end: only the slowest [`SPANS_MAX`] are ranked.
    pub cut: bool,
}

impl Query {
    /// Finds spans.
    ///
    /// # Errors
    /// When a name is unknown or the store does not answer.
    pub async fn spans(&self, scope: &Scope, question: SpanQuestion) -> Result<SpansFound, Error> {
        let service = question.service.as_deref().map(|name| self.service(scope, name)).transpose()?;
        let Some(tenant) = self.tenant(scope) else { return Ok(SpansFound::default()) };
        let services: Vec<ServiceId> = service.map(|info| info.id).into_iter().collect();
        let operations = self.operations_named(tenant, &services, question.operation.as_deref())?;
        let ask = SpanAsk {
            window: question.window,
            services,
            operations,
            failed: question.failed == Some(true),
            duration_min_ns: question.duration_min_ns,
            attributes: question.attributes.clone(),
            order: question.order,
            limit: 0,
            with_detail: true,
        };
        let mut search = Search { query: self, tenant, question, ask, found: SpansFound::default() };
        match (search.question.trace, search.question.order) {
            (Some(trace), _) => search.of_trace(trace).await?,
            (None, SpanOrder::Newest) => search.newest().await?,
            (None, SpanOrder::Slowest) => search.slowest().await?,
        }
        Ok(search.found)
    }

    /// The operations called `name` of these services, or of all the tenant's where there are none; nothing for no
    /// name.
    ///
    /// # Errors
    /// [`Error::UnknownOperation`] with the names that exist.
    pub(super) fn operations_named(
        &self,
        tenant: TenantNumber,
        services: &[ServiceId],
        name: Option<&str>,
    ) -> Result<Vec<OperationId>, Error> {
        let Some(name) = name else { return Ok(Vec::new()) };
        let all = || self.names().services_of(tenant).into_iter().map(|service| service.id).collect();
        let services: Vec<ServiceId> = if services.is_empty() { all() } else { services.to_vec() };
        let mut found = Vec::new();
        let mut known = Vec::new();
        for service in services {
            for operation in self.names().operations_of(service) {
                if *operation.name == *name {
                    found.push(operation.id);
                } else if known.len() < KNOWN_MAX {
                    known.push(operation.name.to_string());
                }
            }
        }
        if found.is_empty() {
            Err(Error::UnknownOperation { name: name.to_owned(), known })
        } else {
            Ok(found)
        }
    }
}

/// Whether an item whose attributes `of` knows has all of these, by key and rendered value.
pub(super) fn has_all<'a>(wanted: &[(String, String)], of: impl Fn(&str) -> Option<Value<'a>>) -> bool {
    wanted.iter().all(|(key, wanted)| of(key).is_some_and(|value| value.render() == *wanted))
}

/// Names that are offered for one that is unknown.
const KNOWN_MAX: usize = 10_000;

struct Search<'a> {
    query: &'a Query,
    tenant: TenantNumber,
    question: SpanQuestion,
    ask: SpanAsk,
    found: SpansFound,
}

impl Search<'_> {
    /// Whether the store looks at everything that was asked for.
    const fn is_plain(&self) -> bool {
        let question = &self.question;
        !matches!(question.failed, Some(false))
            && question.kind.is_none()
            && question.duration_max_ns.is_none()
            && question.span.is_none()
    }

    /// What the store does not look at.
    fn matches(&self, row: &SpanRow) -> bool {
        let question = &self.question;
        question.failed.is_none_or(|failed| failed == (row.status == Status::Error))
            && question.kind.is_none_or(|kind| kind == row.kind)
            && question.duration_max_ns.is_none_or(|most| row.duration_ns <= most)
            && question.span.is_none_or(|span| span == row.span_id)
    }

    /// What the store looks at where it is asked for spans and not for a trace.
    fn matches_ask(&self, row: &SpanRow) -> bool {
        let ask = &self.ask;
        ask.window.contains(row.start)
            && (ask.services.is_empty() || ask.services.contains(&row.service))
            && (ask.operations.is_empty() || ask.operations.contains(&row.operation))
            && ask.duration_min_ns.is_none_or(|least| row.duration_ns >= least)
            && has_all(&ask.attributes, |key| row.detail.attribute(key))
    }

    /// Takes a span; false once the page is full, which tells where the next one begins.
    fn take(&mut self, row: SpanRow) -> bool {
        if self.found.spans.len() == self.question.limit {
            self.found.next = self.found.spans.last().map(SpanPlace::of);
            return false;
        }
        self.found.spans.push(row);
        true
    }

    /// Walks back in time. Spans of one instant have an order that only the store knows: each step begins at the instant
    /// of the last span and leaves out what came up to it.
    async fn newest(&mut self) -> Result<(), Error> {
        let mut after = self.question.after;
        let mut looked_at = 0;
        // One more than asked for tells whether there is another page, and one stands for the last page's own end.
        let enough = self.question.limit + 2;
        let mut chunk = if self.is_plain() { enough } else { CHUNK.0.max(enough) };
        loop {
            if let Some(after) = after {
                self.ask.window.to = UnixNanos(after.start.0.saturating_add(1)).min(self.question.window.to);
            }
            self.ask.limit = chunk;
            let rows = self.query.store.spans(self.tenant, &self.ask).await?;
            let (is_last, read) = (rows.len() < chunk, rows.len());
            let seen = after.map_or(0, |after| seen_before(&rows, after));
            if seen == read && !is_last && chunk < SPANS_MAX {
                // More spans of one instant than were read at a time.
                chunk = SPANS_MAX;
                continue;
            }
            for row in rows.into_iter().skip(seen) {
                looked_at += 1;
                after = Some(SpanPlace::of(&row));
                if self.matches(&row) && !self.take(row) {
                    return Ok(());
                }
            }
            if is_last {
                return Ok(());
            }
            if seen == read {
                // An instant with more spans than can be told apart: what lies before it goes on.
                after = None;
                self.found.cut = true;
                self.ask.window.to = UnixNanos(self.ask.window.to.0.saturating_sub(1));
            }
            if looked_at >= LOOKED_AT_MAX && after.is_some() {
                self.found.next = after;
                return Ok(());
            }
            chunk = (2 * chunk).min(CHUNK.1.max(enough));
        }
    }

    /// Ranks the slowest anew for every page: the store has no place to go on from.
    async fn slowest(&mut self) -> Result<(), Error> {
        let after = self.question.after;
        let is_first = after.is_none() && self.is_plain();
        let mut chunk = if is_first { self.question.limit + 1 } else { CHUNK.1 };
        loop {
            self.ask.limit = chunk;
            let rows = self.query.store.spans(self.tenant, &self.ask).await?;
            let is_last = rows.len() < chunk;
            let rank = |row: &SpanRow| (row.duration_ns, row.start);
            let begin = after.map_or(0, |after| {
                let bound = (after.duration_ns, after.start);
                let before = rows.iter().take_while(|row| rank(row) > bound).count();
                before + seen_of(&rows[before..], after, |row| rank(row) == bound)
            });
            self.found.spans.clear();
            for row in rows.into_iter().skip(begin) {
                if self.matches(&row) && !self.take(row) {
                    return Ok(());
                }
            }
            if is_last {
                return Ok(());
            }
            if chunk == SPANS_MAX {
                self.found.cut = true;
                return Ok(());
            }
            chunk = if chunk < CHUNK.1 { CHUNK.1 } else { SPANS_MAX };
        }
    }

    /// Looks at the spans of one trace.
    async fn of_trace(&mut self, trace: TraceId) -> Result<(), Error> {
        let Some(stored) = self.query.store.trace(self.tenant, trace, SPANS_MAX).await? else {
            return Ok(());
        };
        self.found.cut = stored.truncated;
        let rank = |place: &SpanPlace| match self.question.order {
            SpanOrder::Newest => (0, place.start, place.span_id),
            SpanOrder::Slowest => (place.duration_ns, place.start, place.span_id),
        };
        let mut rows: Vec<SpanRow> =
            stored.spans.into_iter().filter(|row| self.matches_ask(row) && self.matches(row)).collect();
        rows.sort_by_key(|row| std::cmp::Reverse(rank(&SpanPlace::of(row))));
        if let Some(after) = self.question.after {
            rows.retain(|row| rank(&SpanPlace::of(row)) < rank(&after));
        }
        for row in rows {
            if !self.take(row) {
                break;
            }
        }
        Ok(())
    }
}

/// How many of the newest `rows` lie before or at `after`. Where it is not among those of its instant, none of them.
fn seen_before(rows: &[SpanRow], after: SpanPlace) -> usize {
    let later = rows.iter().take_while(|row| row.start > after.start).count();
    later + seen_of(&rows[later..], after, |row| row.start == after.start)
}

/// How many of the `rows` that stand where `after` does come up to it; all of them while more may follow.
fn seen_of(rows: &[SpanRow], after: SpanPlace, is_equal: impl Fn(&SpanRow) -> bool) -> usize {
    let equal = rows.iter().take_while(|row| is_equal(row)).count();
    let found = rows[..equal]
        .iter()
        .position(|row| row.trace_id == after.trace_id && row.span_id == after.span_id)
        .map(|index| index + 1);
    found.unwrap_or(if equal == rows.len() { equal } else { 0 })
}
