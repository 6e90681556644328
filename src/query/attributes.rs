//! Which attribute values bad spans have more often than others.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use crate::diagnose::overrepresented::{Overrepresented, Values};
use crate::model::id::{OperationId, ResourceId, ServiceId, TenantNumber};
use crate::model::span::Status;
use crate::model::tenant::Scope;
use crate::model::time::Window;
use crate::store::read::spans::{SpanAsk, SpanOrder};
use crate::store::rows::SpanRow;

use super::error::Error;
use super::handle::Query;
use super::spans::has_all;

/// Bad spans that are looked at, and others: the newest of each.
const LOOKED_AT: (usize, usize) = (1_500, 3_000);
/// Parts of the time of the bad spans out of each of which as many others are taken.
const PARTS: u32 = 6;
/// Operations to which the others are kept, where the bad ones belong to no more.
const OPERATIONS_MAX: usize = 50;
/// Part of an operation's spans that are slow.
const SLOW_PART: f64 = 0.05;
/// Spans that an operation must have for its slow ones to be told.
const SLOW_OF_MIN: usize = 20;
/// Longest value that is compared, in bytes.
const VALUE_BYTES_MAX: usize = 200;

/// Which spans are the bad ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Bad {
    /// Those that failed.
    Failed,
    /// The slowest twentieth of each operation.
    Slow,
    /// Those that have all of these attributes, by key and rendered value.
    With(Vec<(String, String)>),
    /// All of the window; the others are those of as long a time before it.
    Window,
}

/// Which spans are compared.
#[derive(Debug, Clone)]
pub struct AttributeQuestion {
    /// Spans that began within it.
    pub window: Window,
    /// The service that sent them.
    pub service: Option<String>,
    /// Their name.
    pub operation: Option<String>,
    /// The bad ones.
    pub bad: Bad,
    /// Only spans that have all of these attributes, by key and rendered value.
    pub attributes: Vec<(String, String)>,
}

/// What the bad spans have more often.
#[derive(Debug, Clone, Default)]
pub struct AttributesCompared {
    /// Values, the most telling first.
    pub values: Vec<Overrepresented>,
    /// Bad spans and others that were looked at.
    pub spans: (u64, u64),
    /// Whether there are more of either than were looked at.
    pub cut: bool,
}

impl Query {
    /// Compares the attributes of bad spans with those of others of the same operations.
    ///
    /// # Errors
    /// When a name is unknown or the store does not answer.
    pub async fn compare_attributes(
        &self,
        scope: &Scope,
        question: AttributeQuestion,
    ) -> Result<AttributesCompared, Error> {
        let service = question.service.as_deref().map(|name| self.service(scope, name)).transpose()?;
        let Some(tenant) = self.tenant(scope) else { return Ok(AttributesCompared::default()) };
        let services: Vec<ServiceId> = service.map(|info| info.id).into_iter().collect();
        let operations = self.operations_named(tenant, &services, question.operation.as_deref())?;
        let ask = SpanAsk {
            services,
            operations,
            with_detail: true,
            attributes: question.attributes.clone(),
            order: SpanOrder::Newest,
            ..SpanAsk::newest(question.window, LOOKED_AT.0)
        };
        let (bad, rest, cut) = match &question.bad {
            Bad::Slow => {
                let all = self.store.spans(tenant, &SpanAsk { limit: LOOKED_AT.1, ..ask }).await?;
                let cut = all.len() >= LOOKED_AT.1;
                let (bad, rest) = split_slow(all);
                (bad, rest, cut)
            }
            Bad::Failed => self.against(tenant, SpanAsk { failed: true, ..ask.clone() }, ask).await?,
            Bad::With(pairs) => {
                let with =
                    SpanAsk { attributes: [pairs.clone(), ask.attributes.clone()].concat(), ..ask.clone() };
                self.against(tenant, with, ask).await?
            }
            Bad::Window => {
                let length = question.window.length();
                let before = Window::new(question.window.from.minus(length), question.window.from);
                let before = SpanAsk { window: before, limit: LOOKED_AT.0, ..ask.clone() };
                let (bad, rest) =
                    tokio::try_join!(self.store.spans(tenant, &ask), self.store.spans(tenant, &before))?;
                let cut = bad.len() >= LOOKED_AT.0 || rest.len() >= LOOKED_AT.0;
                (bad, rest, cut)
            }
        };
        let resources = self.described(bad.iter().chain(&rest));
        let work = tokio::task::spawn_blocking(move || {
            let values = counted(&bad, &rest, &resources);
            AttributesCompared { values: values.overrepresented(), spans: values.spans(), cut }
        });
        work.await.map_err(|_| Error::Abandoned)
    }

    /// The spans of `bad`, others like them out of `all` and of the same time, and whether there are more of either.
    async fn against(
        &self,
        tenant: TenantNumber,
        bad: SpanAsk,
        all: SpanAsk,
    ) -> Result<(Vec<SpanRow>, Vec<SpanRow>, bool), Error> {
        let is_bad = |span: &SpanRow| {
            (!bad.failed || span.status == Status::Error)
                && has_all(&bad.attributes, |key| span.detail.attribute(key))
        };
        let found = self.store.spans(tenant, &bad).await?;
        let own: BTreeSet<OperationId> = found.iter().map(|span| span.operation).collect();
        let is_named = !all.operations.is_empty() || own.is_empty() || own.len() > OPERATIONS_MAX;
        let operations = if is_named { all.operations.clone() } else { own.into_iter().collect() };
        let mut cut = found.len() >= bad.limit;
        let from = found.last().filter(|_| cut).map_or(all.window.from, |oldest| oldest.start);
        let part = Window::new(from, all.window.to).length() / PARTS;
        let limit = LOOKED_AT.1 / PARTS as usize;
        let mut rest = Vec::new();
        for number in 0..PARTS {
            let begins = from.plus(part * number);
            let ends = if number + 1 == PARTS { all.window.to } else { begins.plus(part) };
            let window = Window::new(begins, ends);
            let ask = SpanAsk { operations: operations.clone(), limit, window, ..all.clone() };
            let spans = self.store.spans(tenant, &ask).await?;
            cut |= spans.len() >= limit;
            rest.extend(spans);
        }
        rest.retain(|span| !is_bad(span));
        Ok((found, rest, cut))
    }

    /// The attributes of the resources that sent the spans.
    fn described<'a>(&self, spans: impl Iterator<Item = &'a SpanRow>) -> Resources {
        let ids: BTreeSet<ResourceId> = spans.map(|span| span.resource).collect();
        let pairs = |id: ResourceId| {
            let info = self.resource(id)?;
            let attributes = info.resource.attributes.iter();
            let pairs = attributes
                .filter_map(|(key, value)| Some((format!("resource.{key}"), short(value.render())?)));
            Some((id, Arc::from(pairs.collect::<Vec<_>>())))
        };
        ids.into_iter().filter_map(pairs).collect()
    }
}

/// Attributes of resources.
type Resources = HashMap<ResourceId, Arc<[(String, String)]>>;

/// Counts the attributes of bad spans and of others.
fn counted(bad: &[SpanRow], rest: &[SpanRow], resources: &Resources) -> Values {
    let mut values = Values::default();
    for (is_bad, span) in bad.iter().map(|span| (true, span)).chain(rest.iter().map(|span| (false, span))) {
        values.add(is_bad, attributes(span, resources));
    }
    values
}

/// The attributes of a span and of the resource that sent it.
fn attributes(span: &SpanRow, resources: &Resources) -> Vec<(String, String)> {
    let own =
        span.detail.attributes().filter_map(|(key, value)| Some((key.to_owned(), short(value.render())?)));
    let of_resource = resources.get(&span.resource).into_iter().flat_map(|pairs| pairs.iter().cloned());
    own.chain(of_resource).collect()
}

/// A value that is short enough to be compared.
fn short(value: Cow<'_, str>) -> Option<String> {
    (value.len() <= VALUE_BYTES_MAX).then(|| value.into_owned())
}

/// The slowest twentieth of each operation, and the others; operations of which few spans are known are left out.
fn split_slow(spans: Vec<SpanRow>) -> (Vec<SpanRow>, Vec<SpanRow>) {
    let mut durations: BTreeMap<OperationId, Vec<u64>> = BTreeMap::new();
    for span in &spans {
        durations.entry(span.operation).or_default().push(span.duration_ns);
    }
    durations.retain(|_, all| all.len() >= SLOW_OF_MIN);
    let limits: BTreeMap<OperationId, u64> = durations
        .into_iter()
        .map(|(operation, mut all)| {
            all.sort_unstable();
            let slow = ((all.len() as f64 * SLOW_PART).ceil() as usize).max(1);
            (operation, all[all.len() - slow])
        })
        .collect();
    let known = spans.into_iter().filter_map(|span| Some((*limits.get(&span.operation)?, span)));
    let (slow, rest): (Vec<_>, Vec<_>) = known.partition(|(limit, span)| span.duration_ns >= *limit);
    let spans = |part: Vec<(u64, SpanRow)>| part.into_iter().map(|(_, span)| span).collect();
    (spans(slow), spans(rest))
}

#[cfg(test)]
mod tests {
    use crate::model::id::{InstrumentationId, SpanId, TraceId};
    use crate::model::span::{SpanDetail, SpanKind};
    use crate::model::time::UnixNanos;
    use crate::model::trace_key::TraceKey;

    use super::*;

    /// Some spans that a resource sent.
    fn spans(resource: u32, count: usize) -> Vec<SpanRow> {
        let span = SpanRow {
            tenant: TenantNumber(1),
            trace_key: TraceKey(1),
            trace_id: TraceId::try_from(&[1; 16][..]).unwrap(),
            span_id: SpanId::try_from(&[1; 8][..]).unwrap(),
            parent_id: None,
            service: ServiceId(1),
            operation: OperationId(1),
            resource: ResourceId(resource),
            instrumentation: InstrumentationId(1),
            kind: SpanKind::SERVER,
            status: Status::Ok,
            entry: true,
            http_status: 0,
            dependency: None,
            start: UnixNanos(1),
            duration_ns: 1,
            detail: SpanDetail::default(),
        };
        vec![span; count]
    }

    #[test]
    fn another_environment_that_sends_since_the_window_began_is_told() {
        let environment = |name: &str| -> Arc<[(String, String)]> {
            let pairs = [("resource.deployment.environment.name", name), ("resource.host.name", "a")];
            pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
        };
        let resources = Resources::from([
            (ResourceId(1), environment("production")),
            (ResourceId(2), environment("staging")),
        ]);
        let now = [spans(1, 60), spans(2, 40)].concat();
        let found = counted(&now, &spans(1, 100), &resources).overrepresented();
        let [only] = &found[..] else { panic!("only the environment differs: {found:?}") };
        let staging = ("resource.deployment.environment.name".to_owned(), "staging".to_owned());
        assert_eq!(only.pairs, [staging]);
        assert_eq!((only.bad, only.rest), ((40, 0.4), (0, 0.0)));
        let same = counted(&spans(1, 100), &spans(1, 100), &resources);
        assert_eq!(same.overrepresented(), []);
    }
}
