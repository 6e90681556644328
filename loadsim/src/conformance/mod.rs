//! A suite for servers of OTLP: some hundred rules of the wire, each tried for the signals and doors that it concerns.
//!
//! The cases are data, in `cases/`, with the source of each rule; `cases/README.md` says how they are written. Any server
//! can be held against them: nothing is asked but OTLP itself, except to count what was stored, which only an otelcontext
//! answers. The messages are encoded by a table of the suite's own.
//!
//! Reading order: `case` (what is written), `messages` and `protobuf` (messages as bytes), `request` (the bytes of a
//! request), `http1` and `http2` (sending them), `answer` (what came back), `judge` (whether it is right), and this file,
//! which runs them one after the other.

mod answer;
mod case;
mod http1;
mod http2;
mod judge;
mod messages;
mod protobuf;
mod request;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use serde::Serialize;
use serde_json::Value;

use self::answer::Got;
use self::case::{Answer, Case, Send, Suite};
pub use self::case::{Door, Level};
use self::judge::Verdict;
use self::request::{Filling, Way};
use crate::dice::Dice;
use crate::run::unix_nanos;
use crate::send::Signal;

/// How long an answer may take where a case does not say.
const WITHIN: Duration = Duration::from_secs(10);
/// How long what was accepted may take to be found again.
const STORED_WITHIN: Duration = Duration::from_secs(30);

/// What is tried, and where.
#[derive(Debug, Clone)]
pub struct Options {
    /// `host:port` of OTLP/HTTP.
    pub http: String,
    /// `host:port` of OTLP/gRPC.
    pub grpc: String,
    /// Bearer key; empty sends none.
    pub api_key: String,
    /// `x-tenant-id`; empty sends none.
    pub tenant: String,
    /// Only cases whose group or name contains this.
    pub only: String,
    /// Only rules that are worded at least so strongly.
    pub level: Level,
    /// The base URL of an otelcontext's own API, to count what was stored.
    pub read_back: Option<String>,
}

/// One execution of a case.
#[derive(Debug, Clone, Serialize)]
pub struct Outcome {
    /// The file that the case is in.
    pub group: &'static str,
    /// The case.
    pub name: String,
    /// For which signal it was tried.
    pub signal: Signal,
    /// Through which door.
    pub door: Door,
    /// How strongly the rule is worded.
    pub level: Level,
    /// What a server does.
    pub rule: String,
    /// Where that is written.
    pub source: String,
    /// What was wrong; empty where it passed.
    pub faults: Vec<String>,
    /// What came back.
    pub answer: String,
    /// How long that took, in milliseconds.
    pub took_ms: f64,
}

/// All executions.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// In the order in which they were run.
    pub outcomes: Vec<Outcome>,
}

impl Report {
    /// Executions that did not pass.
    pub fn failed(&self) -> impl Iterator<Item = &Outcome> {
        self.outcomes.iter().filter(|outcome| !outcome.faults.is_empty())
    }

    /// The failures, and a table of all.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for outcome in self.failed() {
            let Outcome { group, name, signal, door, rule, source, faults, answer, .. } = outcome;
            let level = format!("{:?}", outcome.level).to_lowercase();
            // Writing to a string does not fail.
            let _ =
                writeln!(text, "FAILED {group}/{name} [{} over {}] ({level})", signal.name(), door.name());
            let _ = writeln!(text, "  {rule} ({source})");
            text.extend(faults.iter().map(|fault| format!("  - {fault}\n")));
            let _ = writeln!(text, "  the answer: {answer}");
        }
        let _ = writeln!(text, "{:20} {:>6} {:>6}", "group", "passed", "failed");
        let mut sums: Vec<(&str, usize, usize)> = Vec::new();
        for outcome in &self.outcomes {
            if sums.last().is_none_or(|(group, ..)| *group != outcome.group) {
                sums.push((outcome.group, 0, 0));
            }
            if let Some((_, passed, failed)) = sums.last_mut() {
                *(if outcome.faults.is_empty() { passed } else { failed }) += 1;
            }
        }
        sums.push(("all", self.outcomes.len() - self.failed().count(), self.failed().count()));
        for (group, passed, failed) in sums {
            let _ = writeln!(text, "{group:20} {passed:>6} {failed:>6}");
        }
        text
    }
}

/// Every case of the suite, a line each.
///
/// # Errors
/// When a case cannot be read, a defect of the suite.
pub fn list() -> Result<String> {
    let suite = Suite::read()?;
    let line = |(group, case): &(&str, Case)| {
        let level = format!("{:?}", case.level).to_lowercase();
        format!("{level:6} {group}/{}: {} ({})\n", case.name, case.rule, case.source)
    };
    Ok(suite.cases.iter().map(line).collect())
}

/// Runs the suite; `progress` is told after each execution.
///
/// # Errors
/// When the server cannot be reached at all, or a case cannot be read.
pub async fn run(options: &Options, mut progress: impl FnMut(&Outcome)) -> Result<Report> {
    let suite = Suite::read()?;
    let mut dice = Dice::new(unix_nanos());
    let run = format!("conformance-{:08x}", dice.word() >> 32);
    let mut runner = Runner { options, suite: &suite, run, dice, stored: BTreeMap::new() };
    for address in [&options.http, &options.grpc] {
        let connected = tokio::time::timeout(WITHIN, tokio::net::TcpStream::connect(address)).await;
        connected
            .context("no answer in time")
            .and_then(|it| Ok(it?))
            .with_context(|| format!("reaching {address}"))?;
    }
    if let Some(url) = &options.read_back {
        runner.stored(url).await.with_context(|| format!("counting what is stored, at {url}"))?;
    }
    let mut outcomes = Vec::new();
    for (group, case) in &suite.cases {
        let wanted = group.contains(&options.only) || case.name.contains(&options.only);
        if !wanted || options.level < case.level {
            continue;
        }
        for signal in &case.signals {
            for door in &case.doors {
                let outcome = runner.execute((group, case), (*signal, *door), outcomes.len()).await?;
                progress(&outcome);
                outcomes.push(outcome);
            }
        }
    }
    ensure!(!outcomes.is_empty(), "no case has \"{}\" in its name", options.only);
    if let Some(url) = &options.read_back {
        let found = runner.stored(url).await?;
        for (index, (service, wanted)) in &runner.stored {
            let found = found.get(service).copied().unwrap_or(0);
            if found != *wanted {
                outcomes[*index].faults.push(format!("{found} items are stored, not {wanted}"));
            }
        }
    }
    Ok(Report { outcomes })
}

struct Runner<'a> {
    options: &'a Options,
    suite: &'a Suite,
    /// What the names of this run's services begin with.
    run: String,
    dice: Dice,
    /// By execution, the service and how many items of it have to be stored.
    stored: BTreeMap<usize, (String, u64)>,
}

impl Runner<'_> {
    async fn execute(
        &mut self,
        (group, case): (&'static str, &Case),
        (signal, door): (Signal, Door),
        index: usize,
    ) -> Result<Outcome> {
        let filling = self.filling(signal, door);
        let way = Way { door, signal, messages: &self.suite.messages, filling: &filling };
        let within = case.expect.within_ms.map_or(WITHIN, Duration::from_millis);
        let began = Instant::now();
        let got = self
            .send(way, &case.send, within)
            .await
            .with_context(|| format!("case {group}/{}", case.name))?;
        let took = began.elapsed();
        let Verdict { kind, mut faults } = judge::judge(case, (signal, door), &got);
        match (kind, case.expect.stored) {
            (Some(Answer::Success | Answer::Partial), Some(items)) => {
                self.stored.insert(index, (filling.service, items));
            }
            (Some(Answer::Refused), _) => drop(self.stored.insert(index, (filling.service, 0))),
            _ => {}
        }
        faults.extend(self.still_serves((signal, door)).await?);
        Ok(Outcome {
            group,
            name: case.name.clone(),
            signal,
            door,
            level: case.level,
            rule: case.rule.clone(),
            source: case.source.clone(),
            faults,
            answer: got.text(),
            took_ms: took.as_secs_f64() * 1e3,
        })
    }

    fn filling(&mut self, signal: Signal, door: Door) -> Filling {
        let host = if door == Door::Grpc { &self.options.grpc } else { &self.options.http };
        let service = format!("{}-{:016x}", self.run, self.dice.word());
        Filling::new(&mut self.dice, service, (unix_nanos(), host, signal))
    }

    /// What is wrong with a plain request after a case.
    async fn still_serves(&mut self, (signal, door): (Signal, Door)) -> Result<Option<String>> {
        let filling = self.filling(signal, door);
        let way = Way { door, signal, messages: &self.suite.messages, filling: &filling };
        let plain = Send { message: Some("minimal".to_owned()), ..Send::default() };
        let got = self.send(way, &plain, WITHIN).await?;
        let well = matches!(got, Got::Http { status: 200, .. } | Got::Grpc { code: Some(0), .. });
        Ok((!well).then(|| format!("afterwards a plain request fails: {}", got.text())))
    }

    async fn send(&self, way: Way<'_>, send: &Send, within: Duration) -> Result<Got> {
        if way.door == Door::Grpc {
            let mut headers = self.callers();
            headers.push(("content-type".to_owned(), way.door.media_type().to_owned()));
            headers.push(("te".to_owned(), "trailers".to_owned()));
            if let Some(coding) = send.compression.last() {
                headers.push(("grpc-encoding".to_owned(), coding.clone()));
            }
            change(&mut headers, way.headers(send));
            let path = send.grpc.path.as_deref().unwrap_or(way.signal.method());
            let method = send.method.as_deref().unwrap_or("POST");
            let frames = way.frames(send)?;
            return Ok(http2::call(&self.options.grpc, (method, path), &headers, frames, within).await);
        }
        let request = match &send.raw {
            Some(raw) => self.with_callers(way.raw(raw)?),
            None => self.request(way, send)?,
        };
        let is_head = send.method.as_deref() == Some("HEAD");
        Ok(http1::exchange(&self.options.http, request, is_head, within).await)
    }

    /// A request over HTTP/1.1.
    fn request(&self, way: Way<'_>, send: &Send) -> Result<Bytes> {
        let body = way.body(send)?;
        let mut headers = self.callers();
        headers.push(("host".to_owned(), self.options.http.clone()));
        headers.push(("content-type".to_owned(), way.door.media_type().to_owned()));
        if !send.compression.is_empty() {
            headers.push(("content-encoding".to_owned(), send.compression.join(", ")));
        }
        headers.push(("content-length".to_owned(), body.len().to_string()));
        headers.push(("connection".to_owned(), "close".to_owned()));
        change(&mut headers, way.headers(send));
        let path = way.filling.fill(send.path.as_deref().unwrap_or("${path}"));
        let mut head = format!("{} {path} HTTP/1.1\r\n", send.method.as_deref().unwrap_or("POST"));
        head.extend(headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")));
        head.push_str("\r\n");
        Ok([head.as_bytes(), &body].concat().into())
    }

    /// Who asks.
    fn callers(&self) -> Vec<(String, String)> {
        let bearer = format!("Bearer {}", self.options.api_key);
        let headers = [
            ("authorization", &self.options.api_key, &bearer),
            ("x-tenant-id", &self.options.tenant, &self.options.tenant),
        ];
        let given = headers.into_iter().filter(|(_, given, _)| !given.is_empty());
        given.map(|(name, _, value)| (name.to_owned(), value.clone())).collect()
    }

    /// Adds who asks to a request that is written out, behind its first line.
    fn with_callers(&self, request: Bytes) -> Bytes {
        const VERSION: &[u8] = b" HTTP/1.";
        let callers: String =
            self.callers().iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let version = request.windows(VERSION.len()).position(|window| window == VERSION);
        let end = |at: usize| request[at..].iter().position(|byte| *byte == b'\n').map(|end| at + end + 1);
        match version.and_then(end) {
            Some(end) if !callers.is_empty() => {
                let (line, rest) = request.split_at(end);
                [line, callers.as_bytes(), rest].concat().into()
            }
            _ => request,
        }
    }

    /// How many items of each service of this run are stored, once as many are as have to be.
    async fn stored(&self, url: &str) -> Result<BTreeMap<String, u64>> {
        crate::send::encrypt();
        let client = reqwest::Client::new();
        let deadline = Instant::now() + STORED_WITHIN;
        loop {
            let mut found = BTreeMap::new();
            for view in ["v_spans", "v_logs", "v_points"] {
                let statement = format!(
                    "SELECT service, count(*) FROM {view} WHERE service LIKE '{}-%' GROUP BY service",
                    self.run
                );
                let mut call =
                    client.post(format!("{}/api/v1/sql", url.trim_end_matches('/'))).body(statement);
                for (name, value) in self.callers() {
                    call = call.header(name, value);
                }
                let answer: Value = call.send().await?.error_for_status()?.json().await?;
                let rows =
                    answer["rows"].as_array().context("the answer to a question in SQL has no rows")?;
                for row in rows {
                    let service = row[0].as_str().unwrap_or_default().to_owned();
                    *found.entry(service).or_insert(0) += row[1].as_u64().unwrap_or(0);
                }
            }
            let is_there =
                |(service, wanted): &(String, u64)| found.get(service).copied().unwrap_or(0) >= *wanted;
            if self.stored.values().all(is_there) || deadline < Instant::now() {
                return Ok(found);
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
}

/// Puts headers of a case in the place of those with the same names, and takes away those it does not want.
fn change(headers: &mut Vec<(String, String)>, changes: Vec<(String, Option<String>)>) {
    for (name, value) in changes {
        headers.retain(|(other, _)| *other != name);
        headers.extend(value.map(|value| (name, value)));
    }
}
