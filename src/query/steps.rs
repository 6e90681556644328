//! What operations do one after the other, in the newest requests of a window and of its baseline.
//!
//! Within a span its log records and its children follow each other as the code has it. Counted over many requests,
//! they tell when an operation takes another way than it used to, even where nothing fails and nothing is slow.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::diagnose::evidence::{Step, StepEvidence};
use crate::model::id::{OperationId, ServiceId, SpanId, TemplateId, TenantNumber};
use crate::model::span::SpanKind;
use crate::model::time::{UnixNanos, Window};
use crate::model::trace_key::TraceKey;
use crate::store::read::logs::{LogAsk, StoredLog};
use crate::store::read::outlines::SpanOutline;

use super::error::Error;
use super::handle::Query;
use super::patterns::Patterns;

/// Spans, and log records, of each window that are looked at: the newest.
const LOOKED_AT_MAX: usize = 10_000;
/// Steps of one span that are counted.
const STEPS_MAX: usize = 200;
/// Change of the part of the calls under one name that goes unanswered from which on nobody knows who was called.
const UNANSWERED_MIN: f64 = 0.05;
/// Times that an operation must have taken a step, in both windows, for what follows it to be compared.
const TIMES_MIN: u64 = 5;

/// An operation, and one of its steps.
type Place = (ServiceId, OperationId, Step);
/// For each template the one that stands for its statement.
type Statements = HashMap<TemplateId, TemplateId>;
/// A span: the hash of its trace and its id.
type SpanKey = (i64, SpanId);
/// How often which step followed at each place.
type Followers = BTreeMap<Place, BTreeMap<Step, u64>>;
/// How often an operation called under a name of its own, by who answered.
type Calls = BTreeMap<(OperationId, OperationId), BTreeMap<Option<OperationId>, u64>>;

/// The newest spans and log records of a window, newest first.
#[derive(Debug)]
pub(super) struct Newest {
    window: Window,
    spans: Vec<SpanOutline>,
    logs: Vec<StoredLog>,
}

/// What was done in a window.
#[derive(Debug, Default)]
struct Counts {
    followers: Followers,
    calls: Calls,
}

/// What is known of the spans and log records that are looked at.
struct Known {
    tenant: TenantNumber,
    /// The service and kind of each operation.
    owners: HashMap<OperationId, (ServiceId, SpanKind)>,
    statements: Statements,
}

impl Query {
    /// The newest spans and log records of windows that end at the same instant: of the longest one that has a baseline,
    /// then of each baseline. `known` is what was read of them already.
    pub(super) async fn newest_of(
        &self,
        tenant: TenantNumber,
        compared: &[(Window, Option<Window>)],
        known: Option<&Newest>,
    ) -> Result<Vec<Newest>, Error> {
        let comparable = || compared.iter().filter_map(|(window, baseline)| Some((*window, (*baseline)?)));
        let longest = comparable().map(|(window, _)| window).min_by_key(|window| window.from);
        let Some(longest) = longest else { return Ok(Vec::new()) };
        let now = known.and_then(|known| known.end_of(longest));
        let windows: Vec<Window> = now
            .is_none()
            .then_some(longest)
            .into_iter()
            .chain(comparable().map(|(_, baseline)| baseline))
            .collect();
        // Each takes as long as the other: two at a time.
        let (first, second) = windows.split_at(windows.len() / 2);
        let (more, rest) = tokio::try_join!(
            Box::pin(self.newest_of_each(tenant, first)),
            Box::pin(self.newest_of_each(tenant, second)),
        )?;
        Ok(now.into_iter().chain(more).chain(rest).collect())
    }

    /// What operations did step by step in these windows, each compared with its baseline; nothing where it has none.
    pub(super) async fn steps(
        &self,
        tenant: TenantNumber,
        compared: &[(Window, Option<Window>)],
        read: Vec<Newest>,
        patterns: &Patterns,
    ) -> Result<Vec<Vec<StepEvidence>>, Error> {
        let operations: BTreeSet<OperationId> =
            read.iter().flat_map(|newest| &newest.spans).map(|span| span.operation).collect();
        let info = |operation| self.names().operation_info(operation);
        let owners = operations.into_iter().filter_map(|id| Some((id, info(id)?)));
        let owners = owners.map(|(id, info)| (id, (info.service, info.kind))).collect();
        let (known, compared) =
            (Known { tenant, owners, statements: statements(patterns) }, compared.to_vec());
        let work = tokio::task::spawn_blocking(move || {
            let mut read = read.into_iter();
            let Some(now) = read.next() else { return vec![Vec::new(); compared.len()] };
            let mut last: Option<(UnixNanos, Counts)> = None;
            let mut of = |(window, baseline): (Window, Option<Window>)| {
                let Some(baseline) = baseline else { return Vec::new() };
                let before = read.next().map(|before| known.counts(&before, baseline));
                let from = now.known_from(window);
                let (_, now) = match last.take() {
                    Some(last) if last.0 == from => last,
                    _ => (from, known.counts(&now, window)),
                };
                let steps = followed(&now, &before.unwrap_or_default());
                last = Some((from, now));
                steps
            };
            compared.into_iter().map(&mut of).collect()
        });
        work.await.map_err(|_| Error::Abandoned)
    }

    async fn newest_of_each(&self, tenant: TenantNumber, windows: &[Window]) -> Result<Vec<Newest>, Error> {
        let mut found = Vec::new();
        for window in windows {
            found.push(Box::pin(self.newest(tenant, *window)).await?);
        }
        Ok(found)
    }

    /// The newest spans and log records of `window`.
    pub(super) async fn newest(&self, tenant: TenantNumber, window: Window) -> Result<Newest, Error> {
        let spans = self.store.span_outlines(tenant, window, LOOKED_AT_MAX).await?;
        if spans.is_empty() {
            return Ok(Newest { window, spans, logs: Vec::new() });
        }
        // Records before the spans that are known belong to others.
        let from =
            spans.last().filter(|_| spans.len() == LOOKED_AT_MAX).map_or(window.from, |last| last.start);
        let logs = LogAsk::newest(Window::new(from, window.to), LOOKED_AT_MAX);
        let logs = self.store.logs(tenant, &logs).await?.items;
        Ok(Newest { window, spans, logs })
    }
}

impl Newest {
    /// Those of a later part of the window; none where it does not end with it.
    fn end_of(&self, part: Window) -> Option<Self> {
        if part.from < self.window.from || part.to != self.window.to {
            return None;
        }
        let spans: Vec<SpanOutline> = self.spans.iter().filter(|it| part.from <= it.start).copied().collect();
        let from = spans.last().filter(|_| spans.len() == LOOKED_AT_MAX).map_or(part.from, |last| last.start);
        let logs = if spans.is_empty() { &[][..] } else { &self.logs[..] };
        let logs = logs.iter().filter(|log| from <= log.row.time).cloned().collect();
        Some(Self { window: part, spans, logs })
    }

    /// From when on everything in `window` is known.
    fn known_from(&self, window: Window) -> UnixNanos {
        let span = self.spans.last().filter(|_| self.spans.len() == LOOKED_AT_MAX).map(|last| last.start);
        let log = self.logs.last().filter(|_| self.logs.len() == LOOKED_AT_MAX).map(|last| last.row.time);
        [span, log].into_iter().flatten().fold(window.from, UnixNanos::max)
    }
}

/// The oldest of the templates of one service that differ in nothing but the values that they name: most likely they are
/// written by one statement, and another value is no other way.
fn statements(patterns: &Patterns) -> Statements {
    let mut first: HashMap<(ServiceId, String), TemplateId> = HashMap::new();
    let mut statements = Statements::new();
    for template in patterns.iter() {
        let key = (template.service, without_values(&template.text));
        statements.insert(template.id, *first.entry(key).or_insert(template.id));
    }
    statements
}

/// A text without the words that follow a colon, as far as commas join them.
fn without_values(text: &str) -> String {
    let mut words: Vec<&str> = Vec::new();
    let mut is_value = false;
    for word in text.split_whitespace() {
        if !is_value {
            words.push(word);
        }
        is_value = if is_value { word.ends_with(',') } else { word.ends_with(':') };
    }
    words.join(" ")
}

impl Known {
    /// Counts the steps of the spans that lie wholly in `window` and in what is known of it.
    fn counts(&self, newest: &Newest, window: Window) -> Counts {
        let known_from = newest.known_from(window);
        let logs = newest.logs.iter().take_while(|log| log.row.time >= known_from);
        let spans = || newest.spans.iter().take_while(|span| span.start >= known_from);
        // Each step with the caller's own name, where it is a call.
        let mut steps: HashMap<SpanKey, Vec<(UnixNanos, Step, Option<OperationId>)>> = HashMap::new();
        for log in logs {
            if let (Some(trace), Some(span)) = (log.row.trace_id, log.row.span_id) {
                let template = self.statements.get(&log.row.template).copied().unwrap_or(log.row.template);
                let key = (TraceKey::hash_of(self.tenant, trace), span);
                steps.entry(key).or_default().push((log.row.time, Step::Log(template), None));
            }
        }
        let kind = |operation: OperationId| self.owners.get(&operation).map(|(_, kind)| *kind);
        let is_outbound = |operation: OperationId| kind(operation).is_some_and(SpanKind::is_outbound);
        // Who reads from a queue does so when it likes, and is no step of who put a message there.
        let is_waited_for = |span: &&SpanOutline| kind(span.operation) != Some(SpanKind::CONSUMER);
        let mut called: HashMap<SpanKey, OperationId> = HashMap::new();
        for span in spans().filter(|span| span.entry).filter(is_waited_for) {
            if let Some(parent) = span.parent_id {
                called.insert((span.trace_key.hash(), parent), span.operation);
            }
        }
        for span in spans().filter(is_waited_for) {
            if let Some(parent) = span.parent_id {
                let made = Some(span.operation).filter(|own| kind(*own) == Some(SpanKind::CLIENT));
                let answering = called.get(&(span.trace_key.hash(), span.span_id)).filter(|_| made.is_some());
                let step = Step::Call(*answering.unwrap_or(&span.operation));
                steps.entry((span.trace_key.hash(), parent)).or_default().push((span.start, step, made));
            }
        }
        let mut counts = Counts::default();
        let mut times: HashMap<(OperationId, Step, Step), u64> = HashMap::new();
        // What a call leads to is its callee's to tell.
        for span in spans().filter(|span| !is_outbound(span.operation) && span.end() <= window.to) {
            let mut own = steps.remove(&(span.trace_key.hash(), span.span_id)).unwrap_or_default();
            own.sort_unstable();
            own.truncate(STEPS_MAX);
            for (_, step, made) in &own {
                if let (Some(name), Step::Call(to)) = (*made, *step) {
                    let calls = counts.calls.entry((span.operation, name)).or_default();
                    *calls.entry(Some(to).filter(|to| *to != name)).or_default() += 1;
                }
            }
            let mut after = Step::Begin;
            for step in own.into_iter().map(|(_, step, _)| step).chain([Step::End]) {
                *times.entry((span.operation, after, step)).or_default() += 1;
                after = step;
            }
        }
        for ((operation, after, then), times) in times {
            let Some((service, _)) = self.owners.get(&operation) else { continue };
            counts.followers.entry((*service, operation, after)).or_default().insert(then, times);
        }
        counts
    }
}

/// The calls of operations that are told by the caller's own name: where another part of those under one name goes unanswered
/// than before, who else was called is not known, and that nobody answered is no other way.
fn by_own_name(now: &Calls, before: &Calls) -> BTreeMap<(OperationId, Step), Step> {
    let none = BTreeMap::new();
    let unanswered = |calls: &BTreeMap<Option<OperationId>, u64>| {
        calls.get(&None).map_or(0.0, |times| *times as f64 / calls.values().sum::<u64>() as f64)
    };
    let mut names = BTreeMap::new();
    let places: BTreeSet<(OperationId, OperationId)> = now.keys().chain(before.keys()).copied().collect();
    for (operation, name) in places {
        let of = |calls: &Calls| calls.get(&(operation, name)).unwrap_or(&none).clone();
        let (now, before) = (of(now), of(before));
        if (unanswered(&now) - unanswered(&before)).abs() < UNANSWERED_MIN {
            continue;
        }
        for answering in now.into_keys().chain(before.into_keys()).flatten() {
            names.insert((operation, Step::Call(answering)), Step::Call(name));
        }
    }
    names
}

/// What followed each step, where some steps are told by other names.
fn renamed(followers: &Followers, names: &BTreeMap<(OperationId, Step), Step>) -> Followers {
    let mut all = Followers::new();
    for ((service, operation, after), then) in followers {
        let name = |step: Step| names.get(&(*operation, step)).copied().unwrap_or(step);
        let own = all.entry((*service, *operation, name(*after))).or_default();
        for (step, times) in then {
            *own.entry(name(*step)).or_default() += *times;
        }
    }
    all
}

/// What followed each step in both windows.
fn followed(now: &Counts, before: &Counts) -> Vec<StepEvidence> {
    let names = by_own_name(&now.calls, &before.calls);
    let (now, before) = (renamed(&now.followers, &names), renamed(&before.followers, &names));
    let mut found = Vec::new();
    for (place, followers_before) in &before {
        let Some(followers_now) = now.get(place) else { continue };
        let times = |followers: &BTreeMap<Step, u64>| followers.values().sum::<u64>();
        let (times_now, times_before) = (times(followers_now), times(followers_before));
        if times_now < TIMES_MIN || times_before < TIMES_MIN {
            continue;
        }
        let mut steps: Vec<Step> = followers_now.keys().chain(followers_before.keys()).copied().collect();
        steps.sort_unstable();
        steps.dedup();
        let count = |followers: &BTreeMap<Step, u64>, step: Step| followers.get(&step).copied().unwrap_or(0);
        found.extend(steps.into_iter().map(|then| StepEvidence {
            service: place.0,
            operation: place.1,
            after: place.2,
            then,
            now: (count(followers_now, then), times_now),
            before: (count(followers_before, then), times_before),
        }));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Operations of a booking: the request, its calls under one name, and its message; who answers or reads, each of a service
    /// of its own.
    const BOOK: u32 = 1;
    const POST: u32 = 2;
    const SEND: u32 = 3;
    const RESERVE: u32 = 11;
    const CHARGE: u32 = 12;
    const NOTE: u32 = 21;
    const COUNT: u32 = 22;

    /// A booking whose calls are answered by these, if anybody answers, and whose message these read.
    fn booking(trace: i64, answering: [Option<u32>; 2], reading: &[u32]) -> Vec<SpanOutline> {
        let id = |number: u64| SpanId::try_from(&number.to_be_bytes()[..]).unwrap();
        let mut spans = Vec::new();
        let mut span = |number: u64, parent: Option<u64>, operation: u32| {
            spans.push(SpanOutline {
                trace_key: TraceKey(trace),
                span_id: id(number),
                parent_id: parent.map(id),
                operation: OperationId(operation),
                entry: !matches!(operation, POST | SEND),
                start: UnixNanos(i64::try_from(number).unwrap()),
                duration_ns: 1,
            });
        };
        span(1, None, BOOK);
        for (number, answering) in [2, 4].into_iter().zip(answering) {
            span(number, Some(1), POST);
            answering.into_iter().for_each(|operation| span(number + 1, Some(number), operation));
        }
        span(6, Some(1), SEND);
        (7..).zip(reading).for_each(|(number, operation)| span(number, Some(6), *operation));
        spans
    }

    /// The steps that are taken in another part of all cases than before.
    fn changed(now: Vec<SpanOutline>, before: Vec<SpanOutline>) -> Vec<StepEvidence> {
        let kinds = [
            (BOOK, 1, SpanKind::SERVER),
            (POST, 1, SpanKind::CLIENT),
            (SEND, 1, SpanKind::PRODUCER),
            (RESERVE, 2, SpanKind::SERVER),
            (CHARGE, 3, SpanKind::SERVER),
            (NOTE, 4, SpanKind::CONSUMER),
            (COUNT, 5, SpanKind::CONSUMER),
        ];
        let owners = kinds.map(|(id, service, kind)| (OperationId(id), (ServiceId(service), kind)));
        let owners = owners.into_iter().collect();
        let known = Known { tenant: TenantNumber(1), owners, statements: Statements::new() };
        let window = Window::new(UnixNanos(0), UnixNanos(1_000));
        let counts = |spans| known.counts(&Newest { window, spans, logs: Vec::new() }, window);
        let mut steps = followed(&counts(now), &counts(before));
        steps.retain(|step| step.now.0 * step.before.1 != step.before.0 * step.now.1);
        steps
    }

    #[test]
    fn who_does_not_answer_is_called_as_before() {
        let well = |trace| booking(trace, [Some(RESERVE), Some(CHARGE)], &[NOTE]);
        let before: Vec<SpanOutline> = (0..10).flat_map(well).collect();
        let lost = |trace| booking(trace, [Some(RESERVE), None], &[NOTE]);
        let now: Vec<SpanOutline> = (0..5).flat_map(well).chain((5..10).flat_map(lost)).collect();
        assert_eq!(changed(now, before.clone()), []);
        let other = |trace| booking(trace, [Some(RESERVE), Some(RESERVE)], &[NOTE]);
        let now: Vec<SpanOutline> = (0..10).flat_map(other).collect();
        let then = changed(now, before).into_iter().map(|step| step.then).collect::<BTreeSet<_>>();
        assert!(then.contains(&Step::Call(OperationId(CHARGE))), "somebody else answers: {then:?}");
    }

    #[test]
    fn who_reads_from_a_queue_is_no_step_of_who_writes() {
        let read = |trace| booking(trace, [Some(RESERVE), Some(CHARGE)], &[NOTE, COUNT]);
        let left = |trace| booking(trace, [Some(RESERVE), Some(CHARGE)], &[NOTE]);
        let before: Vec<SpanOutline> = (0..10).flat_map(read).collect();
        let now: Vec<SpanOutline> = (0..5).flat_map(read).chain((5..10).flat_map(left)).collect();
        assert_eq!(changed(now, before), []);
    }

    #[test]
    fn values_make_no_other_statement() {
        let same = |a: &str, b: &str| without_values(a) == without_values(b);
        assert!(same("[find][Train type: Fast]", "[find][Train type: Slow]"));
        assert!(same("names: [a, b, c]] found", "names: [d]] found"));
        assert!(!same("order created", "order failed"));
        assert!(!same("order: 17 created", "order: 17 failed"));
    }
}
