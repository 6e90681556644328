//! From when on a server answers with what it acknowledged last: traces by their ids, a log record by its words.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use reqwest::Url;
use serde::Serialize;
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::lasts::{LastRecord, LastSpan, Lasts};
use crate::send::{self, Signal};

/// How long what is sought is asked for.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long one answer is waited for.
const ANSWER_MAX: Duration = Duration::from_secs(30);
/// Questions under way at once.
const AT_ONCE_MAX: usize = 8;
/// Time from one round of questions to the next, at least, and for each question of it: a server takes 100 questions a second
/// from one address, unless it is told otherwise.
const BETWEEN: Duration = Duration::from_millis(50);
const BETWEEN_EACH: Duration = Duration::from_millis(12);

/// Seconds from the last acknowledgement until the server answered with what was acknowledged last, at most: nobody asks before
/// all is sent, and then every so often.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Queryable {
    /// Until the last span of each connection was in the answer to its trace's id; nothing where no spans were acknowledged, or
    /// one of these was not answered within a minute.
    pub traces: Option<f64>,
    /// Until the newest log record was found by its words; nothing where none was acknowledged, or it was not found within a
    /// minute.
    pub logs: Option<f64>,
    /// What was not answered within a minute, and what was last said instead.
    pub missing: Vec<String>,
}

/// A server's API; cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Api {
    client: reqwest::Client,
    url: Url,
}

impl Api {
    /// The API at a base URL, asked as whoever sends the load.
    ///
    /// # Errors
    /// When there is none.
    pub(crate) async fn new(url: &str, send: &send::Options) -> Result<Self> {
        let client = send.client(ANSWER_MAX)?;
        let answers = async {
            let url = Url::parse(&format!("{}/", url.trim_end_matches('/')))?;
            client.get(url.join("api/v1/status")?).send().await?.error_for_status()?;
            Ok(url)
        };
        let found: Result<Url> = answers.await;
        let url = found.with_context(|| {
            format!("--queryable {url}: give the base URL of the API, such as http://127.0.0.1:8080")
        })?;
        Ok(Self { client, url })
    }
}

/// Something that is sought.
#[derive(Debug, Clone)]
enum Sought {
    Span(LastSpan),
    Record(LastRecord),
}

/// Asks until everything that was acknowledged last is answered, for a minute at most.
pub(crate) async fn measure(api: &Api, lasts: &Lasts) -> Queryable {
    let spans: Vec<Sought> = lasts.spans().into_iter().map(Sought::Span).collect();
    let records: Vec<Sought> = lasts.record().into_iter().map(Sought::Record).collect();
    let traces = found(api, spans, lasts.acknowledged(Signal::Traces));
    let logs = found(api, records, lasts.acknowledged(Signal::Logs));
    let ((traces, mut missing), (logs, others)) = tokio::join!(traces, logs);
    missing.extend(others);
    Queryable { traces, logs, missing }
}

/// Seconds since `acknowledged` until all that is sought was answered, and what was not.
async fn found(
    api: &Api,
    mut sought: Vec<Sought>,
    acknowledged: Option<Instant>,
) -> (Option<f64>, Vec<String>) {
    let Some(acknowledged) = acknowledged else { return (None, Vec::new()) };
    let (mut last, mut missing) = (None, Vec::new());
    let until = Instant::now() + PATIENCE;
    while !sought.is_empty() && Instant::now() < until {
        let (mut asking, turns) = (JoinSet::new(), Arc::new(Semaphore::new(AT_ONCE_MAX)));
        for it in std::mem::take(&mut sought) {
            let (api, turns) = (api.clone(), Arc::clone(&turns));
            asking.spawn(async move {
                let _turn = turns.acquire().await;
                let answered = tokio::time::timeout_at(until.into(), api.has(&it)).await;
                let answered = answered.unwrap_or_else(|_| Err(anyhow!("no answer within a minute")));
                (it, answered, Instant::now())
            });
        }
        let asked = asking.len() as u32;
        missing.clear();
        while let Some(joined) = asking.join_next().await {
            let Ok((it, answered, at)) = joined else {
                // A defect, which told of itself.
                missing.push("a question ended in a panic".to_owned());
                continue;
            };
            match answered {
                Ok(()) => last = last.max(Some(at)),
                Err(error) => {
                    missing.push(format!("{}: {error:#}", it.described()));
                    sought.push(it);
                }
            }
        }
        if !sought.is_empty() {
            tokio::time::sleep(BETWEEN.max(BETWEEN_EACH * asked)).await;
        }
    }
    let seconds = last.filter(|_| missing.is_empty()).map(|last| (last - acknowledged).as_secs_f64());
    (seconds, missing)
}

impl Api {
    /// Looks whether the server's answer has it.
    ///
    /// # Errors
    /// When it has not, or there is none.
    async fn has(&self, sought: &Sought) -> Result<()> {
        let answer = self.client.get(sought.url(&self.url)?).send().await?;
        ensure!(answer.status().is_success(), "{}", answer.status());
        let answer = serde_json::from_slice(&answer.bytes().await?)?;
        ensure!(sought.is_in(&answer), "not in the answer");
        Ok(())
    }
}

impl Sought {
    /// Where to ask for it. Of a record's words there may be as many as there like, so that its time is given as well.
    fn url(&self, base: &Url) -> Result<Url> {
        match self {
            Self::Span(span) => Ok(base.join(&format!("api/v1/traces/{}", span.trace_id))?),
            Self::Record(LastRecord { body, time_ns }) => {
                let moment = |ns: u64| -> Result<String> {
                    Ok(OffsetDateTime::from_unix_timestamp_nanos(ns.into())?.format(&Rfc3339)?)
                };
                let words = body.replace('\\', "\\\\").replace('"', "\\\"");
                let mut url = base.join("api/v1/logs")?;
                url.query_pairs_mut()
                    .append_pair("q", &format!("\"{words}\""))
                    .append_pair("from", &moment(*time_ns)?)
                    .append_pair("to", &moment(time_ns + 1)?);
                Ok(url)
            }
        }
    }

    fn is_in(&self, answer: &Value) -> bool {
        let mut items = answer["items"].as_array().into_iter().flatten();
        match self {
            Self::Span(span) => items.any(|item| item["span_id"] == *span.span_id),
            Self::Record(record) => items.any(|item| item["body"] == *record.body),
        }
    }

    fn described(&self) -> String {
        match self {
            Self::Span(LastSpan { trace_id, span_id }) => format!("span {span_id} of trace {trace_id}"),
            Self::Record(LastRecord { body, time_ns }) => format!("log record of {time_ns} ns: {body}"),
        }
    }
}

impl Queryable {
    /// A line, and one for what is missing.
    pub(crate) fn text(&self) -> String {
        let told = |seconds: Option<f64>| {
            seconds.map_or_else(|| "not measured".to_owned(), |seconds| format!("after {seconds:.2} s"))
        };
        let mut text =
            format!("queryable: last traces {}, newest log record {}\n", told(self.traces), told(self.logs));
        if !self.missing.is_empty() {
            text.push_str(&format!("not answered within a minute: {}\n", self.missing.join("; ")));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_record_is_asked_for_by_its_words_at_its_time() {
        let body = "GET /a failed: \"no\\way\" & so on";
        let sought = Sought::Record(LastRecord { body: body.into(), time_ns: 1_500_000_000_000_000_007 });
        let base = Url::parse("http://host:8080/").unwrap();
        let url = sought.url(&base).unwrap();
        let pairs: Vec<(String, String)> = url.query_pairs().into_owned().collect();
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(
            pairs,
            [
                pair("q", "\"GET /a failed: \\\"no\\\\way\\\" & so on\""),
                pair("from", "2017-07-14T02:40:00.000000007Z"),
                pair("to", "2017-07-14T02:40:00.000000008Z"),
            ]
        );
        assert!(sought.is_in(&json!({"items": [{"body": "other"}, {"body": body}]})));
        assert!(!sought.is_in(&json!({"items": [{"body": "other"}]})) && !sought.is_in(&json!({})));
    }

    #[test]
    fn a_trace_has_to_have_the_span() {
        let span = LastSpan { trace_id: "ab".into(), span_id: "cd".into() };
        let sought = Sought::Span(span);
        let base = Url::parse("http://host:8080/behind/").unwrap();
        assert_eq!(sought.url(&base).unwrap().as_str(), "http://host:8080/behind/api/v1/traces/ab");
        assert!(sought.is_in(&json!({"items": [{"span_id": "00"}, {"span_id": "cd"}]})));
        assert!(!sought.is_in(&json!({"items": [{"span_id": "00"}]})));
    }
}
