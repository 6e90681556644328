//! Batches, drops and stops against a target of the test's making.

use std::sync::Mutex;

use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};

use super::*;

const TRACEPARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// What a target does with what it is sent.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Target {
    Takes,
    Refuses,
    Hangs,
    Panics,
}

#[derive(Debug, Clone)]
struct Fake {
    target: Arc<Mutex<Target>>,
    taken: Arc<Mutex<Vec<SpanData>>>,
}

impl SpanExporter for Fake {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let target = *self.target.lock().unwrap();
        match target {
            Target::Takes => {
                assert!(batch.len() <= BATCH_SPANS_MAX);
                self.taken.lock().unwrap().extend(batch);
                Ok(())
            }
            Target::Refuses => Err(OTelSdkError::InternalFailure("no".into())),
            Target::Hangs => std::future::pending().await,
            Target::Panics => panic!("a defect"),
        }
    }
}

fn begin(target: Target) -> (Fake, Spans, JoinHandle<()>) {
    let fake = Fake { target: Arc::new(Mutex::new(target)), taken: Arc::default() };
    let (spans, task) = started(fake.clone());
    (fake, spans, task)
}

fn span(traceparent: Option<&str>) -> Span {
    Span {
        name: "tools/call triage".into(),
        ended: UnixNanos::from_seconds(1_000),
        duration: Duration::from_secs(1),
        traceparent: traceparent.map(str::to_owned),
        failure: None,
        attributes: vec![
            ("gen_ai.tool.name", Value::Text("triage".into())),
            ("otelcontext.answer.tokens", Value::Number(7)),
        ],
    }
}

fn dropped(spans: &Spans) -> [u64; 3] {
    let dropped: Vec<u64> = spans.dropped().map(|(_, count)| count).collect();
    dropped.try_into().unwrap()
}

#[tokio::test(start_paused = true)]
async fn what_is_recorded_is_sent_within_seconds_as_a_child_of_the_clients_span() {
    let (fake, spans, task) = begin(Target::Takes);
    spans.record(span(Some(TRACEPARENT)));
    spans.record(Span { failure: Some("out of time"), ..span(None) });
    spans.record(Span { attributes: vec![("error.type", Value::Text("tool_error".into()))], ..span(None) });
    tokio::time::sleep(PAUSE * 2).await;
    let taken = fake.taken.lock().unwrap().clone();
    assert_eq!(taken.len(), 3);
    assert_eq!(taken[2].status, Status::Ok, "an error of the caller's is none of the server's");
    assert_eq!(taken[0].span_context.trace_id().to_string(), "4bf92f3577b34da6a3ce929d0e0e4736");
    assert_eq!(taken[0].parent_span_id.to_string(), "00f067aa0ba902b7");
    assert_eq!((taken[0].span_kind.clone(), &taken[0].status), (SpanKind::Server, &Status::Unset));
    assert_eq!(taken[0].end_time.duration_since(taken[0].start_time).unwrap(), Duration::from_secs(1));
    assert_eq!(taken[1].parent_span_id, SpanId::INVALID);
    assert_eq!(taken[1].status, Status::error("out of time"));
    assert!(taken[..2].iter().all(|span| span.span_context.is_valid() && span.attributes.len() == 2));
    assert_eq!((spans.exported(), dropped(&spans)), (3, [0, 0, 0]));
    spans.stop();
    task.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_stop_sends_what_waits() {
    let (_fake, spans, task) = begin(Target::Takes);
    for _ in 0..BATCH_SPANS_MAX + 1 {
        spans.record(span(None));
    }
    spans.stop();
    task.await.unwrap();
    spans.record(span(None));
    assert_eq!((spans.exported(), dropped(&spans)), (BATCH_SPANS_MAX as u64 + 1, [0, 0, 1]));
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_sent_is_dropped_counted_and_holds_up_nothing() {
    let (fake, spans, task) = begin(Target::Refuses);
    spans.record(span(None));
    tokio::time::sleep(PAUSE * 2).await;
    assert_eq!((spans.exported(), dropped(&spans)), (0, [0, 1, 0]));
    *fake.target.lock().unwrap() = Target::Panics;
    spans.record(span(None));
    tokio::time::sleep(PAUSE * 2).await;
    assert_eq!((spans.exported(), dropped(&spans)), (0, [0, 2, 0]));
    *fake.target.lock().unwrap() = Target::Hangs;
    spans.record(span(None));
    tokio::time::sleep(PAUSE * 2).await;
    for _ in 0..QUEUE_SPANS_MAX + 3 {
        spans.record(span(None));
    }
    assert_eq!(dropped(&spans), [3, 2, 0]);
    spans.stop();
    let began = Instant::now();
    task.await.unwrap();
    assert!(began.elapsed() < STOP_TIME_MAX + PAUSE, "{:?}", began.elapsed());
    assert_eq!((spans.exported(), dropped(&spans)), (0, [3, 2, QUEUE_SPANS_MAX as u64 + 1]));
}

#[tokio::test(start_paused = true)]
async fn a_trace_that_is_not_recorded_stays_so() {
    let (_fake, spans, task) = begin(Target::Takes);
    spans.record(span(Some(&TRACEPARENT.replace("-01", "-00"))));
    spans.stop();
    task.await.unwrap();
    assert_eq!((spans.exported(), dropped(&spans)), (0, [0, 0, 0]));
    let off = Spans::default();
    off.record(span(None));
    assert!(!off.are_exported() && dropped(&off) == [0, 0, 0]);
}

#[test]
fn only_whole_trace_contexts_are_parents() {
    assert!(parent(TRACEPARENT).is_some_and(|parent| parent.is_sampled() && parent.is_remote()));
    for wrong in [
        "",
        "00-1-2-01",
        "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
        "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
        "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
    ] {
        assert_eq!(parent(wrong), None, "{wrong}");
    }
}
