//! Arguments: what a tool accepts, and the reader that turns JSON from a model into bounded fields.
//!
//! A reader collects every mistake of a call before it refuses, so that one correction is enough. It forgives
//! form (a number written as text, `null` for absent, capital letters in a severity) and never meaning: a
//! name it does not know, a value out of bounds or an unreadable time is refused with the nearest valid
//! value.

use serde_json::{Map, Value, json};

use crate::fault::{Fault, echoed, listed};
use crate::filter;
use crate::nearest::nearest;
use crate::plain::unescaped;
use crate::time::{TimeExpression, TimeRange, rfc3339};
use crate::tools::search_logs::Severity;

/// The size of an answer in tokens when the question does not say.
pub const MAX_TOKENS_DEFAULT: u32 = 4_000;
/// The least and the greatest size of an answer in tokens.
pub const MAX_TOKENS_BOUNDS: (u32, u32) = (200, 20_000);
/// Most rows in a table.
pub const LIMIT_MAX: u32 = 500;

/// Most mistakes told of in one refusal.
const MISTAKES_MAX: usize = 5;
/// Arguments that are looked at; no tool has as many.
const ARGUMENTS_MAX: usize = 64;
/// Longest name of a service or an operation, in bytes.
pub(crate) const NAME_BYTES_MAX: usize = 1_024;

/// Where the window begins.
pub(crate) const SINCE: Argument =
    Argument::text("since", TIME_BYTES_MAX, "Start: `15m`, `7d` or RFC 3339. Default 1h.")
        .also(&["time_range"]);
/// Where the window ends.
pub(crate) const UNTIL: Argument = Argument::text("until", TIME_BYTES_MAX, "End, likewise. Default now.");
/// The service asked about.
pub(crate) const SERVICE: Argument =
    Argument::text("service", NAME_BYTES_MAX, "Exact service name.").also(&["service_name"]);
/// How many rows are wanted.
pub(crate) const LIMIT: Argument = Argument::integer("limit", 1, LIMIT_MAX, "Rows. Default 50.");
/// Where to continue.
pub(crate) const CURSOR: Argument = Argument::text("cursor", 1_024, "From an earlier answer.");
/// How large the answer may be.
pub(crate) const MAX_TOKENS: Argument =
    Argument::integer("max_tokens", MAX_TOKENS_BOUNDS.0, MAX_TOKENS_BOUNDS.1, "Answer size. Default 4000.");

/// Attributes that must be there.
pub(crate) const FILTER: Argument = Argument::text("filter", 1_024, "`key=value` pairs; all must hold.");
/// How grave a record is at least.
pub(crate) const SEVERITY: Argument = Argument::choice("severity", &Severity::WORDS, "Least severity.");

/// Longest text read as a time, in bytes.
pub(crate) const TIME_BYTES_MAX: usize = 64;

/// What a tool is, on the wire and in the list of tools.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Spec {
    /// The name agents call it by.
    pub(crate) name: &'static str,
    /// The name people read.
    pub(crate) title: &'static str,
    /// One or two sentences: what it answers and when to call it.
    pub(crate) description: &'static str,
    /// What it accepts, in the order of its schema.
    pub(crate) arguments: &'static [&'static Argument],
}

/// One argument of a tool.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Argument {
    pub(crate) name: &'static str,
    /// Other names it is accepted under; not in the schema.
    pub(crate) aliases: &'static [&'static str],
    pub(crate) form: Form,
    pub(crate) description: &'static str,
    pub(crate) required: bool,
}

/// What values an argument takes.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Form {
    /// Text of at least one and at most so many bytes.
    Text { bytes_max: usize },
    /// A whole number within bounds.
    Integer { min: u32, max: u32 },
    /// One of a few words.
    Choice(&'static [&'static str]),
    /// Thirty-two hexadecimal digits, not all zero.
    TraceId,
}

impl Argument {
    const fn optional(name: &'static str, form: Form, description: &'static str) -> Self {
        Self { name, aliases: &[], form, description, required: false }
    }

    /// An optional text.
    pub(crate) const fn text(name: &'static str, bytes_max: usize, description: &'static str) -> Self {
        Self::optional(name, Form::Text { bytes_max }, description)
    }

    /// An optional whole number.
    pub(crate) const fn integer(name: &'static str, min: u32, max: u32, description: &'static str) -> Self {
        Self::optional(name, Form::Integer { min, max }, description)
    }

    /// An optional choice between a few words.
    pub(crate) const fn choice(
        name: &'static str,
        words: &'static [&'static str],
        description: &'static str,
    ) -> Self {
        Self::optional(name, Form::Choice(words), description)
    }

    /// An optional trace id.
    pub(crate) const fn trace_id(description: &'static str) -> Self {
        Self::optional("trace_id", Form::TraceId, description)
    }

    /// The same argument under further names.
    pub(crate) const fn also(mut self, aliases: &'static [&'static str]) -> Self {
        self.aliases = aliases;
        self
    }

    /// The same argument, which a call must give.
    pub(crate) const fn required(mut self) -> Self {
        self.required = true;
        self
    }

    /// The same argument described for one tool.
    pub(crate) const fn described(mut self, description: &'static str) -> Self {
        self.description = description;
        self
    }

    fn schema(&self) -> Value {
        let mut schema = match self.form {
            Form::Text { .. } | Form::TraceId => json!({"type": "string"}),
            Form::Integer { min, max } => json!({"type": "integer", "minimum": min, "maximum": max}),
            Form::Choice(words) => json!({"type": "string", "enum": words}),
        };
        schema["description"] = json!(self.description);
        schema
    }

    fn expected(&self) -> String {
        match self.form {
            Form::Text { bytes_max } => format!("text of 1 to {bytes_max} bytes"),
            Form::Integer { min, max } => format!("a whole number from {min} to {max}"),
            Form::Choice(words) => format!("one of {}", listed(words)),
            Form::TraceId => "32 hexadecimal digits, such as `4bf92f3577b34da6a3ce929d0e0e4736`".to_owned(),
        }
    }
}

impl Spec {
    /// The JSON Schema of the arguments: an object, closed, without references or odd formats.
    pub(crate) fn input_schema(&self) -> Map<String, Value> {
        let properties: Map<String, Value> =
            self.arguments.iter().map(|argument| (argument.name.to_owned(), argument.schema())).collect();
        let required: Vec<&str> = self
            .arguments
            .iter()
            .filter(|argument| argument.required)
            .map(|argument| argument.name)
            .collect();
        let mut schema = Map::new();
        schema.insert("type".to_owned(), json!("object"));
        schema.insert("properties".to_owned(), Value::Object(properties));
        if !required.is_empty() {
            schema.insert("required".to_owned(), json!(required));
        }
        schema.insert("additionalProperties".to_owned(), json!(false));
        schema
    }

    fn names(&self) -> Vec<&'static str> {
        self.arguments.iter().map(|argument| argument.name).collect()
    }
}

/// Reads the arguments of one call. What it returns for a mistaken argument means nothing, and
/// [`Reader::finish`] never lets it out.
pub(crate) struct Reader {
    spec: &'static Spec,
    given: Map<String, Value>,
    mistakes: Vec<String>,
}

impl Reader {
    /// Sorts the given arguments under their proper names and notes those the tool does not have.
    pub(crate) fn new(spec: &'static Spec, arguments: Map<String, Value>) -> Self {
        let mut reader = Self { spec, given: Map::new(), mistakes: Vec::new() };
        if arguments.len() > ARGUMENTS_MAX {
            let given = arguments.len();
            reader.mistake(format!(
                "`{}` takes no more than {ARGUMENTS_MAX} arguments, got {given}",
                spec.name
            ));
        }
        let accepted: Vec<&str> = spec
            .arguments
            .iter()
            .flat_map(|it| std::iter::once(&it.name).chain(it.aliases))
            .copied()
            .collect();
        // Each that is unknown is compared with those that there are: so many say enough.
        for (name, value) in arguments.into_iter().take(ARGUMENTS_MAX) {
            let Some(argument) =
                spec.arguments.iter().find(|it| it.name == name || it.aliases.contains(&name.as_str()))
            else {
                let hint = match nearest(&name, accepted.iter().copied()) {
                    Some(nearest) => format!("; did you mean `{nearest}`?"),
                    None => format!("; `{}` takes {}", spec.name, listed(&spec.names())),
                };
                reader.mistake(format!("unknown argument {}{hint}", echoed(&name)));
                continue;
            };
            if !value.is_null() && reader.given.insert(argument.name.to_owned(), value).is_some() {
                reader.mistake(format!(
                    "`{}` is given twice, once under another name; give it once",
                    argument.name
                ));
            }
        }
        reader
    }

    /// Returns `ask` when nothing was mistaken, else all mistakes in one [`Fault::Invalid`].
    pub(crate) fn finish<T>(mut self, ask: T) -> Result<T, Fault> {
        let more = self.mistakes.len().saturating_sub(MISTAKES_MAX);
        if self.mistakes.is_empty() {
            return Ok(ask);
        }
        self.mistakes.truncate(MISTAKES_MAX);
        let more = if more == 0 { String::new() } else { format!("; and {more} more mistakes") };
        Err(Fault::invalid(self.mistakes.join(". ") + &more))
    }

    /// Reads an optional text; what answers write out in it is read back.
    pub(crate) fn text(&mut self, argument: &Argument) -> Option<String> {
        self.text_as_given(argument).map(|text| unescaped(&text).into_owned())
    }

    /// Reads an optional text as it is.
    pub(crate) fn text_as_given(&mut self, argument: &Argument) -> Option<String> {
        let value = self.take(argument)?;
        let Form::Text { bytes_max } = argument.form else { return None };
        // What answers write out is longer than what it stands for.
        let raw_max = 2 * bytes_max;
        match value {
            Value::String(text) if text.len() <= raw_max && unescaped(text.trim()).trim().is_empty() => {
                self.mistake(format!(
                    "`{}` is empty; leave it out or give {}",
                    argument.name,
                    argument.expected()
                ));
                None
            }
            Value::String(text) if text.len() <= raw_max && unescaped(&text).len() <= bytes_max => {
                Some(text.trim().to_owned())
            }
            Value::String(text) => {
                let bytes = text.len();
                self.mistake(format!(
                    "`{}` must be {}, got {bytes} bytes",
                    argument.name,
                    argument.expected()
                ));
                None
            }
            other => self.wrong(argument, &other),
        }
    }

    /// Reads a text that a call must give.
    pub(crate) fn required_text(&mut self, argument: &Argument) -> String {
        self.text(argument).unwrap_or_default()
    }

    /// Reads a whole number, also when written as text; `default` when absent.
    pub(crate) fn integer(&mut self, argument: &Argument, default: u32) -> u32 {
        let Some(value) = self.take(argument) else { return default };
        let Form::Integer { min, max } = argument.form else { return default };
        let number = match &value {
            Value::Number(number) => number.as_f64(),
            Value::String(text) => text.trim().parse::<f64>().ok(),
            _ => None,
        };
        let Some(number) = number.filter(|number| number.is_finite() && number.fract() == 0.0) else {
            return self.wrong(argument, &value).unwrap_or(default);
        };
        if number < f64::from(min) || f64::from(max) < number {
            let nearest = if number < f64::from(min) { min } else { max };
            let name = argument.name;
            self.mistake(format!(
                "`{name}` must be from {min} to {max}, got {number}; the nearest valid value is {nearest}"
            ));
            return default;
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "whole and within u32 bounds"
        )]
        let whole = number as u32;
        whole
    }

    /// Reads a whole number as [`Reader::integer`] does; none when absent.
    pub(crate) fn integer_if_given(&mut self, argument: &Argument) -> Option<u32> {
        let is_given = self.given.contains_key(argument.name);
        let number = self.integer(argument, 0);
        is_given.then_some(number)
    }

    /// Reads words with commas between them; none when absent.
    pub(crate) fn list(&mut self, argument: &Argument) -> Option<Vec<String>> {
        let text = self.text(argument)?;
        let words: Vec<String> =
            text.split(',').map(str::trim).filter(|word| !word.is_empty()).map(str::to_owned).collect();
        if words.is_empty() {
            self.mistake(format!("`{}` names nothing; give words with commas between them", argument.name));
        }
        Some(words)
    }

    /// Reads the optional attributes, by key and value; none when absent.
    pub(crate) fn filter(&mut self) -> Vec<(String, String)> {
        // Read back only within its pair: what was written out may be what separates them.
        let Some(text) = self.text_as_given(&FILTER) else { return Vec::new() };
        let read_back = |text: String| unescaped(&text).into_owned();
        match filter::read(&text) {
            Ok(pairs) => pairs.into_iter().map(|(key, value)| (read_back(key), read_back(value))).collect(),
            Err(mistake) => {
                self.mistake(format!("`{}`: {mistake}", FILTER.name));
                Vec::new()
            }
        }
    }

    /// Reads the optional least severity.
    pub(crate) fn severity(&mut self) -> Option<Severity> {
        let word = self.choice(&SEVERITY, &[("warning", "warn"), ("critical", "fatal")]);
        word.map(|at| Severity::ALL[at])
    }

    /// Notes what is wrong with arguments that do not fit each other.
    pub(crate) fn refuse(&mut self, mistake: &str) {
        self.mistake(mistake.to_owned());
    }

    /// Reads one of a few words and returns its place in the list; `synonyms` are accepted for it.
    pub(crate) fn choice(&mut self, argument: &Argument, synonyms: &[(&str, &str)]) -> Option<usize> {
        let value = self.take(argument)?;
        let Form::Choice(words) = argument.form else { return None };
        let Value::String(text) = &value else { return self.wrong(argument, &value) };
        let lower = text.trim().to_ascii_lowercase();
        let word = synonyms.iter().find(|(from, _)| *from == lower).map_or(lower.as_str(), |(_, to)| to);
        let found = words.iter().position(|candidate| *candidate == word);
        if found.is_none() {
            let nearest = nearest(&lower, words.iter().copied());
            let hint = nearest.map_or(";".to_owned(), |word| format!("; did you mean `{word}`?"));
            self.mistake(format!(
                "unknown {} {}{hint} valid: {}",
                argument.name,
                echoed(text),
                listed(words)
            ));
        }
        found
    }

    /// Reads a trace id.
    pub(crate) fn trace_id(&mut self, argument: &Argument) -> Option<[u8; 16]> {
        let value = self.take(argument)?;
        let Value::String(text) = &value else { return self.wrong(argument, &value) };
        let text = text.trim();
        let id = (text.len() == 32).then(|| u128::from_str_radix(text, 16).ok()).flatten();
        match id.filter(|id| *id != 0 && !text.starts_with('+')) {
            Some(id) => Some(id.to_be_bytes()),
            None => {
                let is_span = text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
                let hint = if is_span { " (16 digits look like a span id)" } else { "" };
                self.mistake(format!(
                    "`{}` must be {}, got {}{hint}",
                    argument.name,
                    argument.expected(),
                    echoed(text)
                ));
                None
            }
        }
    }

    /// Reads `since` and `until`; the last hour when neither is given. Refuses those that run backwards
    /// whatever the clock says.
    pub(crate) fn range(&mut self) -> TimeRange {
        self.range_if_given().unwrap_or(TimeRange::LAST_HOUR)
    }

    /// Reads `since` and `until` as [`Reader::range`] does; none when neither is given.
    pub(crate) fn range_if_given(&mut self) -> Option<TimeRange> {
        let (since, until) = (self.time(&SINCE), self.time(&UNTIL));
        match (since, until.unwrap_or(TimeExpression::NOW)) {
            (Some(TimeExpression::At { unix_ns: since }), TimeExpression::At { unix_ns: until })
                if until <= since =>
            {
                let (since, until) = (rfc3339(since), rfc3339(until));
                self.mistake(format!("`since` ({since}) is not before `until` ({until})"));
            }
            (
                Some(TimeExpression::Ago { duration_ns: since }),
                TimeExpression::Ago { duration_ns: until },
            ) if since <= until => {
                self.mistake(
                    "`since` is not before `until`: both count back from now, so give `since` the larger one"
                        .to_owned(),
                );
            }
            _ => {}
        }
        if since.is_none() && until.is_none() {
            return None;
        }
        Some(TimeRange { since, until: until.unwrap_or(TimeExpression::NOW) })
    }

    /// Reads the optional service name.
    pub(crate) fn service(&mut self) -> Option<String> {
        self.text(&SERVICE)
    }

    /// Reads how many rows are wanted; `default` when absent.
    pub(crate) fn limit(&mut self, default: u32) -> usize {
        self.integer(&LIMIT, default) as usize
    }

    /// Reads where to continue.
    pub(crate) fn cursor(&mut self) -> Option<String> {
        self.text(&CURSOR)
    }

    /// Reads the size of the answer in tokens; [`MAX_TOKENS_DEFAULT`] when absent.
    pub(crate) fn max_tokens(&mut self) -> usize {
        self.integer(&MAX_TOKENS, MAX_TOKENS_DEFAULT) as usize
    }

    /// Reads an optional moment.
    pub(crate) fn time(&mut self, argument: &Argument) -> Option<TimeExpression> {
        let value = self.take(argument)?;
        let text = match &value {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        match TimeExpression::parse(&text) {
            Ok(time) => Some(time),
            Err(fault) => {
                self.mistake(format!("`{}`: {fault}", argument.name));
                None
            }
        }
    }

    /// Takes a given value, and notes a required one that is missing.
    fn take(&mut self, argument: &Argument) -> Option<Value> {
        debug_assert!(self.spec.names().contains(&argument.name), "{} is not in the schema", argument.name);
        let value = self.given.remove(argument.name);
        // A tool reads its own copy of a shared argument, so whether it is required stands in its spec.
        let required = self.spec.arguments.iter().any(|it| it.name == argument.name && it.required);
        if value.is_none() && required {
            self.mistake(format!("`{}` is required: {}", argument.name, argument.expected()));
        }
        value
    }

    fn wrong<T>(&mut self, argument: &Argument, value: &Value) -> Option<T> {
        let kind = match value {
            Value::Null => "null",
            Value::Bool(_) => "a truth value",
            Value::Number(_) => "a number",
            Value::String(_) => "text",
            Value::Array(_) => "a list",
            Value::Object(_) => "an object",
        };
        let got = echoed(&value.to_string());
        self.mistake(format!("`{}` must be {}, got {kind}: {got}", argument.name, argument.expected()));
        None
    }

    fn mistake(&mut self, text: String) {
        self.mistakes.push(text);
    }
}
