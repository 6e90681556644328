//! One request to a route, read strictly.

use std::sync::Arc;
use std::time::Duration;

use crate::model::id::{SpanId, TraceId};
use crate::model::tenant::Scope;
use crate::model::time::{UnixNanos, Window};
use crate::query::Query;

use super::cursor::{Place, Seal};
use super::parameter::{
    ATTRIBUTE, ATTRIBUTES_MAX, CURSOR, FROM, LIMIT, Parameter, SINCE, SPAN_ID, Shape, TO, TRACE_ID,
};
use super::problem::{Problem, echoed};
use super::routes::{Parts, Route};
use super::time::{MOMENT_FORMS, STRETCH_FORMS, duration, moment};

/// How far back a window reaches when the question does not say.
const LOOKBACK: Duration = Duration::from_secs(3_600);

/// What was asked, by whom.
pub(super) struct Call {
    /// Whose data it is about.
    pub(super) scope: Scope,
    /// Whether the caller may see what belongs to no tenant.
    pub(super) is_admin: bool,
    /// True where the caller would have a table as CSV rather than JSON.
    pub(super) wants_csv: bool,
    /// What answers.
    pub(super) parts: Arc<Parts>,
    /// Seals the cursors of this question.
    pub(super) seal: Seal,
    /// The variable parts of the path, in its order.
    path: Vec<String>,
    parameters: &'static [&'static Parameter],
    given: Vec<(String, String)>,
}

/// Which page of which window is wanted.
pub(super) struct Resumed {
    /// The window: that of the cursor, else the one that was asked for.
    pub(super) window: Window,
    /// After which item the page begins; none for the first.
    pub(super) after: Option<Place>,
    /// Most items of the page.
    pub(super) limit: usize,
}

impl Call {
    /// Takes what the query string says; what is empty counts as left out.
    pub(super) fn new(
        (route, parts): (&Route, Arc<Parts>),
        (scope, is_admin): (Scope, bool),
        path: Vec<String>,
        mut given: Vec<(String, String)>,
    ) -> Result<Self, Problem> {
        let parameters = route.parameters;
        let takes_attributes = parameters.iter().any(|parameter| parameter.name == ATTRIBUTE.name);
        for (index, (name, value)) in given.iter().enumerate() {
            if takes_attributes && (name == ATTRIBUTE.name || name.starts_with("attribute.")) {
                continue;
            }
            let Some(parameter) = parameters.iter().find(|parameter| parameter.name == name) else {
                let known: Vec<&str> = parameters.iter().map(|parameter| parameter.name).collect();
                return Err(Problem::unknown_parameter(name, &known));
            };
            if value.trim().is_empty() {
                continue;
            }
            let earlier = given[..index].iter().filter(|(earlier, _)| earlier == name).count();
            let refused = |detail: String| Err(Problem::invalid(name, detail));
            match parameter.shape {
                Shape::Texts { times_max, .. } if earlier >= times_max => {
                    return refused(format!("`{name}` is given more than {times_max} times"));
                }
                Shape::Texts { .. } => {}
                _ if earlier > 0 => {
                    return refused(format!("`{name}` is given more than once; give it once"));
                }
                _ => {}
            }
            check(parameter, value)?;
        }
        given.retain(|(_, value)| !value.trim().is_empty());
        let bound: Vec<(String, String)> =
            given.iter().filter(|(name, _)| *name != CURSOR.name && *name != LIMIT.name).cloned().collect();
        let asked = [&[route.path.to_owned()], path.as_slice()].concat().join("\n");
        let seal = Seal::new(scope.tenant(), &asked, &bound);
        Ok(Self { scope, is_admin, wants_csv: false, parts, seal, path, parameters, given })
    }

    /// What answers questions.
    pub(super) fn query(&self) -> &Query {
        &self.parts.query
    }

    /// The variable part of the path at `index`; empty where the route has none.
    pub(super) fn path(&self, index: usize) -> &str {
        self.path.get(index).map_or("", String::as_str)
    }

    /// The text of `parameter`, where it was given.
    pub(super) fn text(&self, parameter: &Parameter) -> Option<&str> {
        self.given.iter().find(|(name, _)| *name == parameter.name).map(|(_, value)| value.as_str())
    }

    /// The text of `parameter` as its own.
    pub(super) fn owned(&self, parameter: &Parameter) -> Option<String> {
        self.text(parameter).map(str::to_owned)
    }

    /// Every text of `parameter`, in the order of the query string.
    pub(super) fn texts(&self, parameter: &Parameter) -> impl Iterator<Item = &str> {
        self.given.iter().filter(|(name, _)| *name == parameter.name).map(|(_, value)| value.as_str())
    }

    /// The text of a parameter that the route cannot do without.
    pub(super) fn needed(&self, parameter: &Parameter) -> Result<&str, Problem> {
        let missing = || Problem::invalid(parameter.name, format!("`{}` is needed", parameter.name));
        self.text(parameter).ok_or_else(missing)
    }

    /// The integer of `parameter`, or its default; the bounds are the route's own.
    pub(super) fn integer(&self, parameter: &Parameter) -> u64 {
        let own = self.parameters.iter().find(|own| own.name == parameter.name);
        let default = match own.map(|own| own.shape) {
            Some(Shape::Integer { default, .. }) => default,
            _ => 0,
        };
        self.text(parameter).and_then(|text| text.trim().parse().ok()).unwrap_or(default)
    }

    /// The duration of `parameter` in nanoseconds.
    pub(super) fn duration_ns(&self, parameter: &Parameter) -> Option<u64> {
        let duration = self.text(parameter).and_then(duration)?;
        Some(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX))
    }

    /// The trace that was named.
    pub(super) fn trace_id(&self) -> Result<Option<TraceId>, Problem> {
        self.text(&TRACE_ID).map(trace_id).transpose()
    }

    /// The span that was named.
    pub(super) fn span_id(&self) -> Result<Option<SpanId>, Problem> {
        let read = |text: &str| {
            SpanId::from_hex(text.trim())
                .map_err(|error| Problem::invalid(SPAN_ID.name, format!("`span_id` is {error}")))
        };
        self.text(&SPAN_ID).map(read).transpose()
    }

    /// Whether only what failed is wanted (true), or only what did not.
    pub(super) fn failed(&self, status: &Parameter) -> Option<bool> {
        self.text(status).map(|status| status == "error")
    }

    /// The attributes that must be there, by key and value as text.
    pub(super) fn attributes(&self) -> Result<Vec<(String, String)>, Problem> {
        let mut attributes = Vec::new();
        for (name, value) in &self.given {
            let pair = if name == ATTRIBUTE.name {
                value.split_once('=')
            } else if let Some(key) = name.strip_prefix("attribute.") {
                Some((key, value.as_str()))
            } else {
                continue;
            };
            let Some((key, value)) = pair.filter(|(key, _)| !key.is_empty()) else {
                let detail = format!("`{}` is no condition; write `attribute=key=value`", echoed(value));
                return Err(Problem::invalid(ATTRIBUTE.name, detail));
            };
            attributes.push((key.to_owned(), value.to_owned()));
        }
        if attributes.len() > ATTRIBUTES_MAX {
            let detail = format!("more than {ATTRIBUTES_MAX} attribute conditions in one question");
            return Err(Problem::invalid(ATTRIBUTE.name, detail));
        }
        Ok(attributes)
    }

    /// The window that was asked for, and which page of it.
    pub(super) fn resumed(&self) -> Result<Resumed, Problem> {
        let limit = usize::try_from(self.integer(&LIMIT)).unwrap_or(usize::MAX);
        let Some(cursor) = self.text(&CURSOR) else {
            return Ok(Resumed { window: self.window()?, after: None, limit });
        };
        let (window, place) = self.seal.open(cursor).ok_or_else(foreign_cursor)?;
        Ok(Resumed { window, after: Some(place), limit })
    }

    /// The window that was asked for, cut where the future begins: what has not happened yet would look like silence.
    fn window(&self) -> Result<Window, Problem> {
        let now = self.query().clock().now();
        let read = |parameter: &Parameter| -> Result<Option<UnixNanos>, Problem> {
            let Some(text) = self.text(parameter) else { return Ok(None) };
            let name = parameter.name;
            moment(text, now).map(Some).ok_or_else(|| {
                Problem::invalid(name, format!("`{}` is not a moment; {MOMENT_FORMS}", echoed(text)))
            })
        };
        let (from, since, to) = (read(&FROM)?, read(&SINCE)?, read(&TO)?);
        if from.is_some() && since.is_some() {
            return Err(Problem::invalid(SINCE.name, "`since` is another name for `from`: give one of them"));
        }
        let to = to.unwrap_or(now);
        let from = from.or(since).unwrap_or_else(|| to.minus(LOOKBACK));
        if from >= to {
            return Err(Problem::invalid(FROM.name, "the window is empty: `from` must lie before `to`"));
        }
        if from >= now {
            return Err(Problem::invalid(
                FROM.name,
                "the window lies in the future; give a `from` before now",
            ));
        }
        Ok(Window::new(from, to.min(now)))
    }
}

/// The place of a cursor that was sealed for this question but has another form.
pub(super) fn foreign_cursor() -> Problem {
    Problem::invalid(
        CURSOR.name,
        "the cursor is not one of this question; pass back `next_cursor` of its page before, unchanged and beside the \
         same parameters, or leave it out",
    )
}

/// Reads the id of a trace.
pub(super) fn trace_id(text: &str) -> Result<TraceId, Problem> {
    TraceId::from_hex(text.trim())
        .map_err(|error| Problem::invalid(TRACE_ID.name, format!("the trace id is {error}")))
}

/// Refuses values that are no such thing, whether or not the question gets to look at them.
fn check(parameter: &Parameter, value: &str) -> Result<(), Problem> {
    let name = parameter.name;
    let refused = |detail: String| Err(Problem::invalid(name, detail));
    match parameter.shape {
        Shape::Text { bytes_max } | Shape::Texts { bytes_max, .. } if value.len() > bytes_max => {
            refused(format!("`{name}` has {} bytes; {bytes_max} at most", value.len()))
        }
        Shape::Integer { min, max, .. } => match value.trim().parse::<u64>() {
            Ok(number) if (min..=max).contains(&number) => Ok(()),
            _ => refused(format!("`{}` is not a whole number from {min} to {max}", echoed(value))),
        },
        Shape::Choice(words) if !words.contains(&value) => {
            refused(format!("`{}` is not one of {}", echoed(value), words.join(", ")))
        }
        Shape::Duration if duration(value).is_none() => {
            refused(format!("`{}` is not a duration; {STRETCH_FORMS}", echoed(value)))
        }
        _ => Ok(()),
    }
}
