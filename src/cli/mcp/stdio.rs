//! The bridge: lines in, calls over HTTP, lines out.

use std::collections::HashMap;
use std::io::{self, Write};
use std::sync::Arc;
use std::thread;

use anyhow::{Context, Result};
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};
use tracing::warn;

use super::endpoint::Endpoint;
use super::lines::{self, Line};
use super::message::Message;
use super::refusal::{CALLS_MAX, Refusal};

/// Messages that may wait for a client that reads slowly; the calls behind them wait as well.
const MESSAGES_WAITING_MAX: usize = 16;

/// Passes messages on until standard input has ended and its calls are answered, or until nobody reads standard output.
pub(super) fn run(endpoint: Endpoint) -> Result<()> {
    // One thread for all calls: a call that was cancelled cannot be in the middle of its answer meanwhile.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (input, lines) = mpsc::channel(1);
    let (output, messages) = mpsc::channel(MESSAGES_WAITING_MAX);
    // The process does not wait for this thread.
    let reader = thread::Builder::new().name("input".into()).spawn(move || read(&input));
    let _waits_for_the_client = reader.context("starting a thread")?;
    let writer = thread::Builder::new().name("output".into()).spawn(move || write(messages));
    let writer = writer.context("starting a thread")?;
    let calls = JoinSet::new();
    let bridge = Bridge { endpoint: Arc::new(endpoint), output, calls, in_flight: HashMap::new() };
    runtime.block_on(bridge.run(lines));
    // With the last call the last sender of messages goes, and the writer ends when it has written them all.
    runtime.shutdown_background();
    writer.join().map_err(|_| anyhow::anyhow!("the writer of standard output failed"))
}

/// Reads standard input to its end.
fn read(lines: &mpsc::Sender<Line>) {
    let mut input = io::stdin().lock();
    loop {
        match lines::next(&mut input) {
            Ok(Some(line)) => {
                if lines.blocking_send(line).is_err() {
                    return;
                }
            }
            Ok(None) => return,
            Err(error) => {
                warn!(%error, "standard input cannot be read");
                return;
            }
        }
    }
}

/// Writes each message as one line, at once. A client that reads no more ends it.
fn write(mut messages: mpsc::Receiver<String>) {
    let mut output = io::stdout().lock();
    while let Some(message) = messages.blocking_recv() {
        if writeln!(output, "{message}").and_then(|()| output.flush()).is_err() {
            return;
        }
    }
}

/// The calls between a client and the server.
struct Bridge {
    endpoint: Arc<Endpoint>,
    output: mpsc::Sender<String>,
    /// Each ends with the id of its request, as JSON.
    calls: JoinSet<Option<String>>,
    /// Requests without an answer yet, by id as JSON.
    in_flight: HashMap<String, Call>,
}

struct Call {
    task: AbortHandle,
    is_subscription: bool,
}

impl Bridge {
    async fn run(mut self, mut lines: mpsc::Receiver<Line>) {
        loop {
            let line = tokio::select! {
                line = lines.recv() => line,
                () = self.output.closed() => return,
            };
            let Some(line) = line else { break };
            self.forget_ended();
            if let Some(said) = self.take(line)
                && self.output.send(said).await.is_err()
            {
                return;
            }
        }
        self.finish().await;
    }

    /// Begins what a line asks for; answers what is said to it at once, if anything.
    fn take(&mut self, line: Line) -> Option<String> {
        let message = match line {
            Line::Blank => return None,
            Line::Whole(text) => Message::read(text),
            Line::TooLong => Err(Refusal::LineTooLong),
        };
        let message = match message {
            Ok(message) => message,
            Err(refusal) => return Some(refusal.line(&Value::Null)),
        };
        if let Some(id) = &message.cancels {
            // To close its connection is to cancel it at the server, and nothing more of it is heard.
            if let Some(call) = self.in_flight.remove(&id.to_string()) {
                call.task.abort();
            }
            return None;
        }
        if CALLS_MAX <= self.calls.len() {
            return message.id.as_ref().map(|id| Refusal::TooManyCalls.line(id));
        }
        let id = message.id.as_ref().map(Value::to_string);
        let is_subscription = message.is_subscription();
        let (endpoint, output, ended) = (Arc::clone(&self.endpoint), self.output.clone(), id.clone());
        let task = self.calls.spawn(async move {
            endpoint.call(&message, &output).await;
            ended
        });
        if let Some(id) = id {
            self.in_flight.insert(id, Call { task, is_subscription });
        }
        None
    }

    fn forget_ended(&mut self) {
        while let Some(ended) = self.calls.try_join_next() {
            // Those that were cancelled are forgotten already.
            if let Ok(Some(id)) = ended {
                self.in_flight.remove(&id);
            }
        }
    }

    /// Waits for the answers of calls in flight. Subscriptions have none to wait for.
    async fn finish(mut self) {
        self.in_flight.values().filter(|call| call.is_subscription).for_each(|call| call.task.abort());
        loop {
            tokio::select! {
                ended = self.calls.join_next() => if ended.is_none() { return },
                () = self.output.closed() => return,
            }
        }
    }
}
