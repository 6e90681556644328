use std::path::{Path, PathBuf};
use std::time::Duration;

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};

use serde::Serialize;

use super::book::Book;
use super::check::{Findings, Stored, Verdict, check};
use super::entries::Entries;
use super::item;
use crate::send::{Delivery, Outcome, Signal};

fn spans(ids: &[u8], name: &str) -> ExportTraceServiceRequest {
    let spans = ids.iter().map(|id| Span {
        trace_id: vec![*id; 16],
        span_id: vec![*id; 8],
        name: name.into(),
        ..Span::default()
    });
    let scope = ScopeSpans { spans: spans.collect(), ..ScopeSpans::default() };
    ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans { scope_spans: vec![scope], ..ResourceSpans::default() }],
    }
}

fn logs(times: &[u64]) -> ExportLogsServiceRequest {
    let records = times.iter().map(|time| LogRecord { time_unix_nano: *time, ..LogRecord::default() });
    let scope = ScopeLogs { log_records: records.collect(), ..ScopeLogs::default() };
    ExportLogsServiceRequest {
        resource_logs: vec![ResourceLogs { scope_logs: vec![scope], ..ResourceLogs::default() }],
    }
}

fn delivery(outcome: Outcome, tries: u64) -> Delivery {
    Delivery { outcome, retries: tries - 1, latency: Duration::ZERO }
}

fn acknowledged(tries: u64) -> Delivery {
    delivery(Outcome::Acknowledged { rejected: 0 }, tries)
}

/// What a load of tenant `a` sent, spans 1 to 4 and log records at 10, 10 and 11, with a request of each end.
async fn ledger(folder: &Path) -> PathBuf {
    let path = folder.join("ledger");
    let book = Book::create(&path, "a").unwrap();
    for (ids, ended) in [
        ([1], Some(acknowledged(2))),
        ([2], Some(delivery(Outcome::GaveUp("away".into()), 3))),
        ([3], Some(delivery(Outcome::Refused("never".into()), 1))),
        ([4], None),
    ] {
        let number = book.sent(Signal::Traces, &item::spans(&spans(&ids, "x"))).await.unwrap();
        if let Some(ended) = ended {
            book.ended(number, &ended).await.unwrap();
        }
    }
    for (times, tries) in [(vec![10, 11], 1), (vec![10], 2)] {
        let number = book.sent(Signal::Logs, &item::logs(&logs(&times))).await.unwrap();
        book.ended(number, &acknowledged(tries)).await.unwrap();
    }
    path
}

/// The verdict on what is stored of tenants, as lines each.
async fn verdict(stored: &[(&str, &[String])]) -> Verdict {
    let folder = tempfile::tempdir().unwrap();
    let ledger = ledger(folder.path()).await;
    let stored = stored.iter().map(|(tenant, lines)| {
        let path = folder.path().join(format!("stored-{tenant}"));
        std::fs::write(&path, lines.join("\n")).unwrap();
        Stored { tenant: (*tenant).to_owned(), path }
    });
    check(&[ledger], &stored.collect::<Vec<_>>()).unwrap()
}

fn line(message: &impl Serialize) -> String {
    serde_json::to_string(message).unwrap()
}

#[tokio::test]
async fn what_may_be_stored_is_no_finding() {
    // The record at 10 was sent three times in all: twice in one request, so at least two of it, and at most three.
    for records in [vec![10, 10, 11], vec![10, 10, 10, 11]] {
        for others in [vec![1], vec![1, 2], vec![4, 1, 2]] {
            let verdict = verdict(&[("a", &[line(&spans(&others, "x")), line(&logs(&records))])]).await;
            assert!(verdict.is_clean(), "{}", verdict.text());
            let spans = &verdict.spans;
            assert_eq!((spans.sent, spans.acknowledged, spans.refused, spans.unknown), (4, 1, 1, 2));
        }
    }
}

#[tokio::test]
async fn every_kind_of_fault_is_found() {
    let good = [line(&spans(&[1], "x")), line(&logs(&[10, 10, 11]))];
    let with = |more: &[String]| [&good[..], more].concat();
    let finding = |verdict: &Verdict| {
        let Verdict { spans, logs, .. } = verdict;
        assert!(!verdict.is_clean());
        assert!(!spans.examples.is_empty() || !logs.examples.is_empty());
        let of = |of: &Findings| [of.missing, of.repeated, of.altered, of.misplaced, of.strange];
        (of(spans), of(logs))
    };
    let none = [0; 5];
    let [missing, repeated, altered, misplaced, strange] =
        [[1, 0, 0, 0, 0], [0, 1, 0, 0, 0], [0, 0, 1, 0, 0], [0, 0, 0, 1, 0], [0, 0, 0, 0, 1]];
    let one = |lines: Vec<String>| async move { finding(&verdict(&[("a", &lines)]).await) };
    assert_eq!(one(good[1..].to_vec()).await, (missing, none));
    assert_eq!(one(vec![good[0].clone(), line(&logs(&[10, 11]))]).await, (none, missing));
    assert_eq!(one(with(&[line(&spans(&[1], "x"))])).await, (repeated, none));
    assert_eq!(one(with(&[line(&logs(&[10, 10]))])).await, (none, repeated));
    assert_eq!(one(vec![line(&spans(&[1], "y")), good[1].clone()]).await, (altered, none));
    assert_eq!(one(with(&[line(&spans(&[3], "x"))])).await, (strange, none), "refused for good");
    assert_eq!(one(with(&[line(&logs(&[12]))])).await, (none, strange));
    let other = [line(&spans(&[2], "x")), line(&logs(&[11]))];
    assert_eq!(finding(&verdict(&[("a", &good), ("b", &other)]).await), (misplaced, misplaced));
}

#[tokio::test]
async fn a_ledger_cut_short_is_read_to_its_last_whole_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = ledger(folder.path()).await;
    let whole = std::fs::read_to_string(&path).unwrap();
    let before = Entries::read(&path).unwrap().acknowledged(Signal::Logs).count();
    std::fs::write(&path, &whole[..whole.len() - 3]).unwrap();
    let entries = Entries::read(&path).unwrap();
    assert_eq!((before, entries.acknowledged(Signal::Logs).count()), (3, 2), "its end is not known");
    assert_eq!(entries.requests.len(), 6);
    std::fs::write(&path, "loadsim ledger 1 a\nsent 1 traces\nsent x\n").unwrap();
    assert!(format!("{:#}", Entries::read(&path).unwrap_err()).contains("line 3"));
}
