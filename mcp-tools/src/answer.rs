//! The one shape of every answer.
//!
//! An answer is written once, as compact JSON, and travels twice: as `structuredContent` and as the text
//! beside it. Fields which are empty are absent.

use serde::{Serialize, Serializer};
use serde_json::{Map, Value, json};

use crate::time::rfc3339;

/// Most follow-up calls offered in one answer; later ones are dropped.
pub const NEXT_MAX: usize = 3;

/// What a tool found.
///
/// The fields stand in the order they are written. The server then keeps the answer within the caller's
/// `max_tokens`, cleans its texts of control characters and drops follow-up calls that the contract would
/// refuse.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Answer {
    /// One to three sentences that stand alone, with numbers.
    pub summary: String,
    /// The outcome of a diagnosis, where the tool gives one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verdict: Option<Verdict>,
    /// The stretch of time the answer covers, as resolved.
    pub window: Window,
    /// The findings, most telling row first; ties broken by name so that the same question has the same
    /// bytes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tables: Vec<Table>,
    /// Present when rows were left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shown: Option<Shown>,
    /// Continues after the last row shown, when passed back as the `cursor` argument.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
    /// How much of the telemetry in the window the answer rests on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub coverage: Option<Coverage>,
    /// What the findings rest on.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub evidence: Vec<Evidence>,
    /// What was looked at and is not the cause.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ruled_out: Vec<RuledOut>,
    /// Why there is nothing: the filter that removes everything, the nearest names, when data was last seen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why_empty: Option<String>,
    /// Where text stands that the observed systems wrote: fields, and columns as `table.column`. Written by the server, which
    /// finds the places itself.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub untrusted: Vec<String>,
    /// What the reader must know before trusting the answer.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// Up to three calls worth making next, ready to send.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub next: Vec<Next>,
}

/// The outcome of a diagnosis.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The first cause listed explains the symptom.
    CauseFound,
    /// Several causes remain; the evidence does not settle which.
    Candidates,
    /// Nothing listed is believed enough to act on.
    InsufficientEvidence,
    /// Evidence speaks for the hypothesis, and none against it.
    Supported,
    /// Evidence leaves no way for the hypothesis.
    Refuted,
    /// There is too little evidence about the hypothesis.
    Undecided,
}

/// A stretch of time, in RFC 3339 UTC.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Window {
    /// Its beginning.
    pub from: String,
    /// Its end.
    pub to: String,
    /// Until when telemetry counts: the server's clock when it answered, or `until` where that is earlier.
    pub as_of: String,
}

impl Window {
    /// Writes a window given in nanoseconds since 1970.
    pub fn new(from_ns: i64, to_ns: i64, as_of_ns: i64) -> Self {
        Self { from: rfc3339(from_ns), to: rfc3339(to_ns), as_of: rfc3339(as_of_ns) }
    }
}

/// Rows under named columns; units are in the column names (`p95_ms`).
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Table {
    /// What the rows are: `services`, `causes`, `affected`.
    pub name: String,
    /// One name for each cell of a row.
    pub columns: Vec<String>,
    /// The cells, in the order of the columns.
    pub rows: Vec<Vec<Value>>,
    /// Where each row can be continued after, never written: either empty or one cursor for each row. When
    /// rows are cut to fit `max_tokens`, the cursor of the last row kept becomes the answer's.
    #[serde(skip)]
    pub cursors: Vec<String>,
}

impl Table {
    /// A table without rows yet.
    pub fn new<'a>(name: &str, columns: impl IntoIterator<Item = &'a str>) -> Self {
        Self {
            name: name.to_owned(),
            columns: columns.into_iter().map(str::to_owned).collect(),
            rows: Vec::new(),
            cursors: Vec::new(),
        }
    }
}

/// "20 of 143": how many rows of the answer's first table are shown, and how many there are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// Rows in this answer.
    pub rows: u64,
    /// Rows there are.
    pub total: u64,
    /// True when counting stopped at `total`: "20 of at least 1000".
    pub at_least: bool,
    /// The table meant, when it is not the first: "20 of 143 edges".
    pub table: Option<String>,
}

impl Shown {
    /// So many rows of the first table, of a total that is exact.
    pub const fn new(rows: u64, total: u64) -> Self {
        Self { rows, total, at_least: false, table: None }
    }
}

impl std::fmt::Display for Shown {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let at_least = if self.at_least { "at least " } else { "" };
        write!(f, "{} of {at_least}{}", self.rows, self.total)?;
        self.table.as_ref().map_or(Ok(()), |table| write!(f, " {table}"))
    }
}

impl Serialize for Shown {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// How much of the telemetry an answer rests on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Coverage {
    /// How whole it is.
    pub state: CoverageState,
    /// What is missing and why, when something is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// How whole the telemetry behind an answer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CoverageState {
    /// All that was received in the window.
    Complete,
    /// A sample of it.
    Sampled,
    /// Part of the window, or part of the sources.
    Partial,
    /// The window is past retention.
    NotRetained,
}

/// One observation that a finding rests on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Evidence {
    /// The handle findings refer to it by.
    pub id: String,
    /// What sort of observation it is: `latency`, `errors`, `topology`, `log`, `trace`.
    pub kind: String,
    /// The observation, with numbers.
    pub text: String,
}

/// Something that was looked at and is not the cause.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RuledOut {
    /// The service, dependency or version that was suspected.
    pub subject: String,
    /// Why it is not the cause.
    pub reason: String,
}

/// A call worth making next, ready to send.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Next {
    /// A tool of this contract.
    pub tool: String,
    /// Its arguments, all filled in.
    pub arguments: Map<String, Value>,
}

impl Next {
    /// A call of `tool` with the given arguments.
    pub fn new(tool: &str, arguments: impl IntoIterator<Item = (&'static str, Value)>) -> Self {
        let arguments = arguments.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        Self { tool: tool.to_owned(), arguments }
    }
}

/// What every answer looks like, as the schema that each tool states for its output (JSON Schema 2020-12).
pub(crate) fn schema() -> Map<String, Value> {
    let text = || json!({"type": "string"});
    let list = |item: Value| json!({"type": "array", "items": item});
    let fields = |names: &[&str]| {
        let properties: Map<String, Value> = names.iter().map(|name| ((*name).to_owned(), text())).collect();
        json!({"type": "object", "properties": properties, "required": names})
    };
    let table = json!({
        "type": "object",
        "properties": {
            "name": text(),
            "columns": list(text()),
            "rows": list(json!({"type": "array"})),
        },
        "required": ["name", "columns", "rows"],
    });
    let next = json!({
        "type": "object",
        "properties": {"tool": text(), "arguments": {"type": "object"}},
        "required": ["tool", "arguments"],
    });
    let answer = json!({
        "type": "object",
        "properties": {
            "summary": text(),
            "verdict": text(),
            "window": fields(&["from", "to", "as_of"]),
            "tables": list(table),
            "shown": text(),
            "cursor": text(),
            "coverage": {"type": "object"},
            "evidence": list(fields(&["id", "kind", "text"])),
            "ruled_out": list(fields(&["subject", "reason"])),
            "why_empty": text(),
            "untrusted": list(text()),
            "warnings": list(text()),
            "next": list(next),
        },
        "required": ["summary", "window"],
    });
    answer.as_object().cloned().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{Answer, Coverage, CoverageState, Next, Shown, Table, Verdict, Window};

    #[test]
    fn what_is_empty_is_absent_and_the_summary_comes_first() {
        let answer =
            Answer { summary: "quiet".into(), window: Window::new(0, 1_000_000_000, 0), ..Answer::default() };
        let window =
            r#"{"from":"1970-01-01T00:00:00Z","to":"1970-01-01T00:00:01Z","as_of":"1970-01-01T00:00:00Z"}"#;
        let expected = format!(r#"{{"summary":"quiet","window":{window}}}"#);
        assert_eq!(serde_json::to_string(&answer).unwrap(), expected);
    }

    #[test]
    fn every_field_has_its_form() {
        let mut table = Table::new("edges", ["from", "to"]);
        table.rows.push(vec![json!("a"), json!("b")]);
        table.cursors.push("never written".into());
        let answer = Answer {
            verdict: Some(Verdict::CauseFound),
            tables: vec![table],
            shown: Some(Shown { at_least: true, table: Some("edges".into()), ..Shown::new(1, 9) }),
            coverage: Some(Coverage { state: CoverageState::NotRetained, detail: None }),
            next: vec![Next::new("get_service_health", [("service", json!("a"))])],
            ..Answer::default()
        };
        let value = serde_json::to_value(&answer).unwrap();
        assert_eq!(value["verdict"], "cause_found");
        assert_eq!(
            value["tables"],
            json!([{"name": "edges", "columns": ["from", "to"], "rows": [["a", "b"]]}])
        );
        assert_eq!(value["shown"], "1 of at least 9 edges");
        assert_eq!(value["coverage"], json!({"state": "not_retained"}));
        assert_eq!(value["next"], json!([{"tool": "get_service_health", "arguments": {"service": "a"}}]));
    }
}
