//! The questions, and what is learnt from answers to ask others.

use serde_json::{Map, Value, json};

/// Pieces of evidence that are opened in one question.
const EVIDENCE_MAX: usize = 3;

/// A call of a tool.
#[derive(Debug)]
pub(super) struct Question {
    /// The tool.
    pub(super) tool: &'static str,
    arguments: &'static [(&'static str, Given)],
}

/// The value of an argument.
#[derive(Debug, Clone, Copy)]
enum Given {
    Text(&'static str),
    /// A service that an answer named.
    Service,
    /// An operation that an answer named.
    Operation,
    /// The service of that operation.
    OperationService,
    /// A trace that an answer named.
    Trace,
    /// Evidence that an answer named, or that trace.
    Evidence,
    /// A histogram that an answer named.
    Histogram,
}

use Given::{Evidence, Histogram, Operation, OperationService, Service, Text, Trace};

const fn question(tool: &'static str, arguments: &'static [(&'static str, Given)]) -> Question {
    Question { tool, arguments }
}

/// Every tool with its default arguments or what it needs, and some with others that cost differently. `investigation` only
/// lists what was kept.
pub(super) const QUESTIONS: [Question; 26] = [
    question("search_traces", &[]),
    question("get_service_health", &[]),
    question("query_metrics", &[]),
    question("triage", &[]),
    question("list_services", &[]),
    question("get_service_map", &[]),
    question("get_service_health", &[("service", Service)]),
    question("root_cause_analysis", &[]),
    question("root_cause_analysis", &[("service", Service), ("since", Text("15m"))]),
    question("impact_analysis", &[("service", Service)]),
    question("get_anomaly_timeline", &[]),
    question("trace_graph", &[("trace_id", Trace)]),
    question("search_logs", &[("query", Text("handled user"))]),
    question("search_logs", &[("severity", Text("error"))]),
    question("what_changed", &[]),
    question("test_hypothesis", &[("cause", Service)]),
    question("compare_attributes", &[]),
    question("search_traces", &[("sort", Text("slowest"))]),
    question("search_traces", &[("service", OperationService), ("operation", Operation)]),
    question("get_log_patterns", &[]),
    question("query_metrics", &[("metric", Histogram), ("function", Text("p95"))]),
    question("aggregate", &[]),
    question("aggregate", &[("service", Service), ("group_by", Text("url.path"))]),
    question("describe_data", &[]),
    question("get_evidence", &[("ids", Evidence)]),
    question("investigation", &[("action", Text("resume"))]),
];

/// What answers named; the newest of each.
#[derive(Debug, Default)]
pub(super) struct Known {
    service: Option<String>,
    operation: Option<(String, String)>,
    trace: Option<String>,
    evidence: Option<String>,
    histogram: Option<String>,
}

impl Question {
    /// The arguments; nothing where one of them is not known yet.
    pub(super) fn arguments(&self, known: &Known) -> Option<Value> {
        let mut arguments = Map::new();
        for (name, given) in self.arguments {
            arguments.insert((*name).to_owned(), json!(known.value(*given)?));
        }
        Some(Value::Object(arguments))
    }

    /// The arguments for people: fixed ones with their values.
    pub(super) fn described(&self) -> String {
        let described = self.arguments.iter().map(|(name, given)| match given {
            Text(text) => format!("{name}={text}"),
            _ => (*name).to_owned(),
        });
        described.collect::<Vec<_>>().join(" ")
    }
}

impl Known {
    /// Takes what the answer to a call names.
    pub(super) fn learn(&mut self, tool: &str, arguments: &Value, answer: &Value) {
        let cell = |table: &str, column: &str| cell(answer, table, column, |_| true);
        match (tool, arguments["service"].as_str()) {
            ("get_service_health", None) => keep(&mut self.service, cell("services", "service")),
            ("get_service_health", Some(service)) => {
                let operation = cell("operations", "operation");
                keep(&mut self.operation, operation.map(|operation| (service.to_owned(), operation)));
            }
            ("search_traces", _) => keep(&mut self.trace, cell("traces", "trace_id")),
            ("query_metrics", _) => {
                let histogram = |row: &[Value]| row.iter().any(|cell| cell == "histogram");
                keep(&mut self.histogram, self::cell(answer, "metrics", "metric", histogram));
            }
            _ => {}
        }
        let evidence = answer["evidence"].as_array().into_iter().flatten();
        let ids: Vec<&str> = evidence.filter_map(|it| it["id"].as_str()).take(EVIDENCE_MAX).collect();
        keep(&mut self.evidence, (!ids.is_empty()).then(|| ids.join("; ")));
    }

    fn value(&self, given: Given) -> Option<String> {
        match given {
            Text(text) => Some(text.to_owned()),
            Service => self.service.clone(),
            OperationService => self.operation.as_ref().map(|(service, _)| service.clone()),
            Operation => self.operation.as_ref().map(|(_, operation)| operation.clone()),
            Trace => self.trace.clone(),
            Evidence => self.evidence.clone().or_else(|| Some(format!("trace:{}", self.trace.as_ref()?))),
            Histogram => self.histogram.clone(),
        }
    }
}

fn keep<T>(known: &mut Option<T>, found: Option<T>) {
    if found.is_some() {
        *known = found;
    }
}

/// What a column of a table says in the first row that is wanted.
fn cell(answer: &Value, table: &str, column: &str, is_wanted: impl Fn(&[Value]) -> bool) -> Option<String> {
    let table = answer["tables"].as_array()?.iter().find(|it| it["name"] == table)?;
    let place = table["columns"].as_array()?.iter().position(|name| name == column)?;
    let mut rows = table["rows"].as_array()?.iter().filter_map(|row| row.as_array());
    Some(rows.find(|row| is_wanted(row))?.get(place)?.as_str()?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(name: &str, columns: &[&str], rows: Value) -> Value {
        json!({"tables": [{"name": "other", "columns": [], "rows": []}, {"name": name, "columns": columns, "rows": rows}]})
    }

    #[test]
    fn answers_name_what_other_questions_need() {
        let mut known = Known::default();
        let missing = |known: &Known| QUESTIONS.iter().filter(|it| it.arguments(known).is_none()).count();
        assert_eq!(missing(&known), 9);
        let nothing = json!({});
        known.learn(
            "search_traces",
            &nothing,
            &table("traces", &["start", "trace_id"], json!([["1s", "ab"]])),
        );
        assert_eq!(known.value(Evidence).unwrap(), "trace:ab");
        known.learn("search_traces", &nothing, &table("traces", &["start", "trace_id"], json!([])));
        known.learn("get_service_map", &nothing, &table("services", &["service"], json!([["redis"]])));
        assert_eq!((missing(&known), known.value(Service)), (7, None));
        known.learn(
            "get_service_health",
            &nothing,
            &table("services", &["service"], json!([["cart"], ["pay"]])),
        );
        let of_cart =
            QUESTIONS.iter().find(|it| it.described() == "service").unwrap().arguments(&known).unwrap();
        assert_eq!(of_cart, json!({"service": "cart"}));
        known.learn("get_service_health", &of_cart, &table("operations", &["operation"], json!([["GET /"]])));
        let metrics = table("metrics", &["metric", "kind"], json!([["a", "gauge"], ["b", "histogram"]]));
        known.learn("query_metrics", &nothing, &metrics);
        known.learn("triage", &nothing, &json!({"evidence": [{"id": "template:1"}, {"id": "trace:cd"}]}));
        assert_eq!(missing(&known), 0);
        assert_eq!(
            known.value(OperationService).zip(known.value(Operation)).unwrap(),
            ("cart".into(), "GET /".into())
        );
        assert_eq!(
            known.value(Histogram).zip(known.value(Evidence)).unwrap(),
            ("b".into(), "template:1; trace:cd".into())
        );
    }
}
