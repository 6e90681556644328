//! What was recorded of an incident, moved to another time.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use flate2::read::MultiGzDecoder;
use serde::Deserialize;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::send::Signal;

/// Fields that hold an instant in nanoseconds since 1970.
const INSTANTS: [&str; 4] = ["startTimeUnixNano", "endTimeUnixNano", "timeUnixNano", "observedTimeUnixNano"];
/// How often a call graph that is known beforehand is sent.
const CALLS_EVERY_NS: i64 = 300_000_000_000;

/// A window in nanoseconds since 1970.
pub(super) type WindowNs = (i64, i64);

/// What `case.json` says.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Case {
    /// Its name.
    pub(super) id: String,
    /// The parts of the recording.
    pub(super) segments: Vec<Segment>,
    /// The time before the fault.
    pub(super) baseline_window_ns: WindowNs,
    /// The time of the fault.
    pub(super) fault_window_ns: WindowNs,
    /// What raised the alarm, where something did.
    #[serde(default)]
    pub(super) alert: Option<Alert>,
    /// Who calls whom, where that is known beforehand.
    #[serde(default)]
    topology: Topology,
    #[serde(skip)]
    folder: PathBuf,
}

/// A part of a recording.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Segment {
    name: String,
    shift_ns: i64,
}

/// What raised the alarm.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Alert {
    /// Where.
    pub(super) service: String,
}

#[derive(Debug, Clone, Default, Deserialize)]
struct Topology {
    #[serde(default)]
    edges: Vec<(String, String)>,
}

/// One request of a case.
#[derive(Debug)]
pub(super) struct Request {
    /// The latest instant in it.
    pub(super) at_ns: i64,
    /// What it holds.
    pub(super) signal: Signal,
    /// Its body in OTLP/JSON.
    pub(super) body: Value,
}

impl Case {
    /// Reads `case.json` in `folder`.
    ///
    /// # Errors
    /// When there is none, or it is not as expected.
    pub(super) fn open(folder: &Path) -> Result<Self> {
        let path = folder.join("case.json");
        let file = File::open(&path).with_context(|| path.display().to_string())?;
        let case: Self =
            serde_json::from_reader(BufReader::new(file)).with_context(|| path.display().to_string())?;
        Ok(Self { folder: folder.to_owned(), ..case })
    }

    /// All requests, `offset_ns` later than recorded, in order.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub(super) fn requests(&self, offset_ns: i64) -> Result<Vec<Request>> {
        let mut requests = Vec::new();
        for segment in &self.segments {
            for signal in [Signal::Traces, Signal::Logs, Signal::Metrics] {
                let path = self.folder.join(format!("{}.{}.jsonl.gz", segment.name, signal.name()));
                if !path.exists() {
                    continue;
                }
                let file = File::open(&path).with_context(|| path.display().to_string())?;
                for line in BufReader::new(MultiGzDecoder::new(file)).lines() {
                    let mut body: Value =
                        serde_json::from_str(&line?).with_context(|| path.display().to_string())?;
                    let at_ns = moved(&mut body, segment.shift_ns + offset_ns);
                    requests.push(Request { at_ns, signal, body });
                }
            }
        }
        requests.extend(self.calls(offset_ns));
        requests.extend(self.changes(offset_ns)?);
        requests.sort_by_key(|request| request.at_ns);
        Ok(requests)
    }

    /// The known call graph as the Collector's service-graph metrics.
    fn calls(&self, offset_ns: i64) -> Vec<Request> {
        let (from, to) = (self.baseline_window_ns.0, self.fault_window_ns.1);
        let instants =
            (0..).map(|round| (round, from + round * CALLS_EVERY_NS)).take_while(|(_, at)| *at < to);
        let request = |(round, at): (i64, i64)| {
            let point = |(client, server): &(String, String)| {
                json!({
                    "attributes": [text("client", client), text("server", server)],
                    "startTimeUnixNano": (from + offset_ns).to_string(),
                    "timeUnixNano": (at + offset_ns).to_string(),
                    "asInt": (100 * round).to_string(),
                })
            };
            let points: Vec<Value> = self.topology.edges.iter().map(point).collect();
            let sum = json!({"aggregationTemporality": 2, "isMonotonic": true, "dataPoints": points});
            let metric =
                json!({"name": "traces_service_graph_request_total", "unit": "{request}", "sum": sum});
            let body = json!({"resourceMetrics": [{
                "resource": {"attributes": [text("service.name", "servicegraph")]},
                "scopeMetrics": [{"scope": {"name": "traces_service_graph"}, "metrics": [metric]}],
            }]});
            Request { at_ns: at + offset_ns, signal: Signal::Metrics, body }
        };
        if self.topology.edges.is_empty() { Vec::new() } else { instants.map(request).collect() }
    }

    /// What was deployed, switched and committed, as events.
    pub(super) fn changes(&self, offset_ns: i64) -> Result<Vec<Request>> {
        let path = self.folder.join("changes.json");
        if !path.exists() {
            return Ok(Vec::new());
        }
        let changes: Changes = serde_json::from_reader(BufReader::new(File::open(&path)?))
            .with_context(|| path.display().to_string())?;
        let mut requests = Vec::new();
        for it in &changes.deploys {
            let attributes =
                vec![text("service.version", &it.version), text("vcs.ref.head.revision", &it.commit_sha)];
            let body = format!("deployed {}", it.version);
            requests.push(event(&it.timestamp, offset_ns, &it.service, "deployment", &body, attributes)?);
        }
        for it in &changes.flags {
            let attributes =
                vec![text("feature_flag.key", &it.flag), text("feature_flag.change", &it.change.to_string())];
            let body = format!("flag {} {}", it.flag, it.change);
            requests.push(event(
                &it.timestamp,
                offset_ns,
                &it.service,
                "feature_flag.change",
                &body,
                attributes,
            )?);
        }
        for it in &changes.commits {
            let files = it.files_changed.join(" ");
            let attributes = vec![text("vcs.ref.head.revision", &it.sha), text("vcs.change.files", &files)];
            requests.push(event(&it.timestamp, offset_ns, "vcs", "vcs.commit", &it.message, attributes)?);
        }
        Ok(requests)
    }
}

#[derive(Deserialize)]
struct Changes {
    #[serde(default)]
    deploys: Vec<Deploy>,
    #[serde(default)]
    flags: Vec<Flag>,
    #[serde(default)]
    commits: Vec<Commit>,
}

#[derive(Deserialize)]
struct Deploy {
    timestamp: String,
    service: String,
    version: String,
    commit_sha: String,
}

#[derive(Deserialize)]
struct Flag {
    timestamp: String,
    service: String,
    flag: String,
    change: Value,
}

#[derive(Deserialize)]
struct Commit {
    timestamp: String,
    sha: String,
    message: String,
    #[serde(default)]
    files_changed: Vec<String>,
}

fn text(key: &str, value: &str) -> Value {
    json!({"key": key, "value": {"stringValue": value}})
}

fn event(
    timestamp: &str,
    offset_ns: i64,
    service: &str,
    name: &str,
    body: &str,
    attributes: Vec<Value>,
) -> Result<Request> {
    let at = OffsetDateTime::parse(timestamp, &Rfc3339).with_context(|| format!("the time {timestamp}"))?;
    let at_ns = i64::try_from(at.unix_timestamp_nanos())? + offset_ns;
    let record = json!({
        "timeUnixNano": at_ns.to_string(),
        "severityNumber": 9,
        "eventName": name,
        "body": {"stringValue": body},
        "attributes": attributes,
    });
    let body = json!({"resourceLogs": [{
        "resource": {"attributes": [text("service.name", service)]},
        "scopeLogs": [{"scope": {"name": "changes"}, "logRecords": [record]}],
    }]});
    Ok(Request { at_ns, signal: Signal::Logs, body })
}

/// Moves every instant in `value` by `by_ns`; answers the latest.
fn moved(value: &mut Value, by_ns: i64) -> i64 {
    match value {
        Value::Object(fields) => fields
            .iter_mut()
            .map(|(key, field)| {
                if !INSTANTS.contains(&key.as_str()) {
                    return moved(field, by_ns);
                }
                let number = field.as_str().and_then(|text| text.parse().ok()).or_else(|| field.as_i64());
                let at_ns = number.unwrap_or(0) + by_ns;
                *field = Value::String(at_ns.to_string());
                at_ns
            })
            .max()
            .unwrap_or(0),
        Value::Array(items) => items.iter_mut().map(|item| moved(item, by_ns)).max().unwrap_or(0),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_instant_moves_and_nothing_else() {
        let mut body =
            json!({"spans": [{"startTimeUnixNano": "5", "endTimeUnixNano": 7, "name": "5"}], "count": 5});
        assert_eq!(moved(&mut body, 10), 17);
        let expected =
            json!({"spans": [{"startTimeUnixNano": "15", "endTimeUnixNano": "17", "name": "5"}], "count": 5});
        assert_eq!(body, expected);
    }

    #[test]
    fn changes_become_events() {
        let made = event("1970-01-01T00:00:02Z", 1, "shop", "deployment", "deployed 2", vec![]).unwrap();
        assert_eq!(made.at_ns, 2_000_000_001);
        let record = &made.body["resourceLogs"][0]["scopeLogs"][0]["logRecords"][0];
        assert_eq!(record["eventName"], "deployment");
        assert!(event("yesterday", 0, "shop", "deployment", "", vec![]).is_err());
    }
}
