//! What was sent against what is stored.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use serde::Serialize;

use super::entries::{End, Entries, Entry};
use super::item::{self, Item};
use crate::send::Signal;

/// Items that are named one by one for each finding.
const NAMED: usize = 5;

/// What one tenant has stored.
#[derive(Debug, Clone)]
pub struct Stored {
    /// Whose it is; empty for the tenant that the server gives to who names none.
    pub tenant: String,
    /// Lines of OTLP/JSON; unpacked where it ends with `.gz` or `.zst`.
    pub path: PathBuf,
}

/// What the check found, signal by signal.
#[derive(Debug, Default, Serialize)]
pub struct Verdict {
    /// Spans.
    pub spans: Findings,
    /// Log records.
    pub logs: Findings,
    /// Metric points.
    pub points: Findings,
}

/// What the check found of one signal. Items, not requests.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize)]
pub struct Findings {
    /// Sent, each counted once however often it was tried.
    pub sent: u64,
    /// Acknowledged and not rejected.
    pub acknowledged: u64,
    /// Rejected in a partial success.
    pub rejected: u64,
    /// In requests that were refused for good.
    pub refused: u64,
    /// In requests whose end is not known.
    pub unknown: u64,
    /// Stored, each copy counted.
    pub stored: u64,
    /// Acknowledged and not stored.
    pub missing: u64,
    /// Copies beyond what the tries explain; for spans, which have ids, beyond the first.
    pub repeated: u64,
    /// Spans that are stored, and say something else than what was sent.
    pub altered: u64,
    /// Stored with a tenant that did not send it.
    pub misplaced: u64,
    /// Stored, and not sent by any of the ledgers, or refused for good the only time.
    pub strange: u64,
    /// The first few of each finding.
    pub examples: Vec<String>,
}

/// What may be stored of one item.
#[derive(Debug, Default)]
struct Expected {
    digest: u128,
    /// Copies that have to be there, and copies that may be.
    least: u64,
    most: u64,
    found: u64,
}

type Known = HashMap<(Signal, String), HashMap<String, Expected>>;

/// Compares what ledgers tell with what is stored.
///
/// # Errors
/// When a file cannot be read or is not what it should be.
pub fn check(ledgers: &[PathBuf], stored: &[Stored]) -> Result<Verdict> {
    let mut verdict = Verdict::default();
    let mut known = Known::new();
    for path in ledgers {
        let Entries { tenant, requests } = Entries::read(path)?;
        for entry in requests {
            verdict.of(entry.signal).account(&entry);
            let expected = known.entry((entry.signal, tenant.clone())).or_default();
            expect(expected, entry);
        }
    }
    for Stored { tenant, path } in stored {
        let lines = open(path).with_context(|| path.display().to_string())?.lines();
        for (line, number) in lines.zip(1_u64..) {
            let context = || format!("{}, line {number}", path.display());
            let line = line.with_context(context)?;
            if line.trim().is_empty() {
                continue;
            }
            let (signal, items) = items(&line).with_context(context)?;
            for item in items {
                meet(&mut known, (signal, tenant), &item, verdict.of(signal));
            }
        }
    }
    for ((signal, tenant), items) in &known {
        let findings = verdict.of(*signal);
        for (id, expected) in items {
            if expected.found < expected.least {
                findings.missing += expected.least - expected.found;
                findings.name("missing", tenant, id);
            }
        }
    }
    Ok(verdict)
}

/// Enters what may become of the items of a request.
fn expect(expected: &mut HashMap<String, Expected>, entry: Entry) {
    let (least, most) = match entry.end {
        Some(End::Acknowledged { tries, rejected: 0 }) => (1, tries),
        // The answer does not name which were rejected.
        Some(End::Acknowledged { tries, .. } | End::Unknown { tries }) => (0, tries),
        // What was refused for good in the end may have been stored by an earlier try that nobody answered.
        Some(End::Refused { tries }) => (0, tries.saturating_sub(1)),
        None => (0, u64::MAX),
    };
    for Item { id, digest } in entry.items {
        let item = expected.entry(id).or_default();
        item.digest = digest;
        if entry.signal == Signal::Traces {
            // A span with the same ids is the same span.
            item.least = item.least.max(least);
            item.most = item.most.max(most.min(1));
        } else {
            item.least += least;
            item.most = item.most.saturating_add(most);
        }
    }
}

/// Notes one stored item.
fn meet(known: &mut Known, (signal, tenant): (Signal, &String), item: &Item, findings: &mut Findings) {
    findings.stored += 1;
    let own = known.get_mut(&(signal, tenant.clone())).and_then(|items| items.get_mut(&item.id));
    let Some(expected) = own.filter(|expected| expected.most != 0) else {
        let is_of_another =
            known.iter().any(|((of, _), items)| *of == signal && items.contains_key(&item.id));
        let (count, finding) = if is_of_another && !known_to(known, signal, tenant, &item.id) {
            (&mut findings.misplaced, "misplaced")
        } else {
            (&mut findings.strange, "strange")
        };
        *count += 1;
        findings.name(finding, tenant, &item.id);
        return;
    };
    expected.found += 1;
    if expected.most < expected.found {
        findings.repeated += 1;
        findings.name("repeated", tenant, &item.id);
    } else if expected.digest != item.digest {
        findings.altered += 1;
        findings.name("altered", tenant, &item.id);
    }
}

fn known_to(known: &Known, signal: Signal, tenant: &str, id: &str) -> bool {
    known.get(&(signal, tenant.to_owned())).is_some_and(|items| items.contains_key(id))
}

/// The items of one line.
fn items(line: &str) -> Result<(Signal, Vec<Item>)> {
    let start = line.get(..line.len().min(20)).unwrap_or_default();
    Ok(if start.contains("resourceSpans") {
        (Signal::Traces, item::spans(&serde_json::from_str::<ExportTraceServiceRequest>(line)?))
    } else if start.contains("resourceLogs") {
        (Signal::Logs, item::logs(&serde_json::from_str::<ExportLogsServiceRequest>(line)?))
    } else if start.contains("resourceMetrics") {
        (Signal::Metrics, item::points(&serde_json::from_str::<ExportMetricsServiceRequest>(line)?))
    } else {
        bail!(
            "it is no export request in OTLP/JSON: it does not begin with resourceSpans, resourceLogs or resourceMetrics"
        )
    })
}

fn open(path: &Path) -> Result<Box<dyn BufRead>> {
    let file = File::open(path)?;
    let unpacked: Box<dyn Read> = match path.extension().and_then(|extension| extension.to_str()) {
        Some("gz") => Box::new(flate2::read::MultiGzDecoder::new(file)),
        Some("zst") => Box::new(zstd::Decoder::new(file)?),
        _ => Box::new(file),
    };
    Ok(Box::new(BufReader::new(unpacked)))
}

impl Verdict {
    fn of(&mut self, signal: Signal) -> &mut Findings {
        match signal {
            Signal::Traces => &mut self.spans,
            Signal::Logs => &mut self.logs,
            Signal::Metrics => &mut self.points,
        }
    }

    /// True where nothing acknowledged is missing and nothing is stored that should not be.
    pub fn is_clean(&self) -> bool {
        [&self.spans, &self.logs, &self.points].into_iter().all(Findings::is_clean)
    }

    /// The verdict for a person.
    pub fn text(&self) -> String {
        let signals = [("spans", &self.spans), ("logs", &self.logs), ("points", &self.points)];
        signals.into_iter().map(|(name, findings)| findings.text(name)).collect()
    }
}

impl Findings {
    fn account(&mut self, entry: &Entry) {
        let items = entry.items.len() as u64;
        self.sent += items;
        match entry.end {
            Some(End::Acknowledged { rejected, .. }) => {
                self.acknowledged += items.saturating_sub(rejected);
                self.rejected += rejected;
            }
            Some(End::Refused { .. }) => self.refused += items,
            Some(End::Unknown { .. }) | None => self.unknown += items,
        }
    }

    fn is_clean(&self) -> bool {
        self.missing + self.repeated + self.altered + self.misplaced + self.strange == 0
    }

    fn name(&mut self, finding: &str, tenant: &str, id: &str) {
        let named = self.examples.iter().filter(|example| example.starts_with(finding)).count();
        if named < NAMED {
            self.examples.push(format!("{finding}: {id} of tenant `{tenant}`"));
        }
    }

    fn text(&self, name: &str) -> String {
        let mut text = format!(
            "{name}: {} sent = {} acknowledged + {} rejected + {} refused + {} unknown; {} stored: \
             {} missing, {} repeated, {} altered, {} misplaced, {} strange\n",
            self.sent,
            self.acknowledged,
            self.rejected,
            self.refused,
            self.unknown,
            self.stored,
            self.missing,
            self.repeated,
            self.altered,
            self.misplaced,
            self.strange,
        );
        for example in &self.examples {
            text.push_str(&format!("  {example}\n"));
        }
        text
    }
}
