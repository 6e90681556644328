//! Questions beside a load: all tools over MCP in turn. A question is due every so often, whether or not those before it are
//! answered, and waits from when it is due, so that a server that stands still shows in what it holds up.
//!
//! `questions` has the questions, and what they need from answers to others; `tally` counts and tells how they went.

mod questions;
pub mod tally;

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use self::questions::{Known, QUESTIONS};
use self::tally::{Asked, Tally};
use crate::mcp::Client;
use crate::send;

/// Questions under way at once; what is due beyond that waits. Fewer than a server lets in by default, so that there is room for
/// others, and for what it still does for calls that were given up.
const AT_ONCE_MAX: usize = 24;
/// Longest time from one question to the next.
const EVERY_MAX: Duration = Duration::from_secs(24 * 3600);
/// How long an answer is waited for.
const ANSWER_MAX: Duration = Duration::from_secs(60);

/// What to ask.
#[derive(Debug, Clone)]
pub struct Options {
    /// The server's MCP endpoint.
    pub url: String,
    /// Time from one question to the next.
    pub every: Duration,
}

/// Who asks.
#[derive(Debug)]
pub(crate) struct Asker {
    client: Client,
    every: Duration,
    tally: Tally,
}

/// A question that was put.
struct Put {
    position: usize,
    arguments: Value,
    answer: Result<Value>,
    waited: Duration,
}

impl Asker {
    /// Prepares to ask, as whoever sends the load.
    ///
    /// # Errors
    /// When nobody answers there, or questions would follow each other without pause.
    pub(crate) async fn new(options: &Options, send: &send::Options) -> Result<Self> {
        ensure!(!options.every.is_zero(), "--ask-every is too short: give a time such as 1s or 100ms");
        ensure!(options.every <= EVERY_MAX, "--ask-every is too long: give a day at most");
        let client = Client::new(send.client(ANSWER_MAX)?, options.url.clone());
        client.tools().await.with_context(|| {
            format!("--ask {}: give an MCP endpoint, such as http://127.0.0.1:8080/mcp", options.url)
        })?;
        Ok(Self { client, every: options.every, tally: Tally::new()? })
    }

    /// Asks until `ended`, waits for the answers that are missing then, and tells how it went.
    pub(crate) async fn ask(self, mut ended: oneshot::Receiver<()>) -> Asked {
        let mut known = Known::default();
        let mut tally = self.tally;
        let mut under_way = JoinSet::new();
        let (began, mut number, mut next) = (Instant::now(), 0_u32, 0);
        loop {
            let due = began + self.every * number;
            tokio::select! {
                _ = &mut ended => break,
                Some(put) = under_way.join_next() => enter(put, &mut known, &mut tally),
                () = tokio::time::sleep_until(due.into()), if under_way.len() < AT_ONCE_MAX => {
                    let (position, arguments) = turn(next, &known);
                    (number, next) = (number + 1, position + 1);
                    under_way.spawn(put(self.client.clone(), position, arguments, due));
                }
            }
        }
        // Without the newest, which may have come due this very moment.
        let were_due = began.elapsed().as_nanos() / self.every.as_nanos();
        let unasked = were_due.saturating_sub(u128::from(number));
        while let Some(put) = under_way.join_next().await {
            enter(put, &mut known, &mut tally);
        }
        tally.asked(u64::try_from(unasked).unwrap_or(u64::MAX))
    }
}

/// The next question from a position on that can be asked with what is known, and its arguments.
fn turn(next: usize, known: &Known) -> (usize, Value) {
    let positions = (next..next + QUESTIONS.len()).map(|position| position % QUESTIONS.len());
    let mut asked = positions.filter_map(|at| Some((at, QUESTIONS[at].arguments(known)?)));
    asked.next().expect("some questions need nothing")
}

async fn put(client: Client, position: usize, arguments: Value, due: Instant) -> Put {
    let answer = client.ask(QUESTIONS[position].tool, &arguments).await;
    Put { position, arguments, answer, waited: due.elapsed() }
}

fn enter(put: Result<Put, tokio::task::JoinError>, known: &mut Known, tally: &mut Tally) {
    // A task that failed is a defect, which has told of itself.
    let Ok(Put { position, arguments, answer, waited }) = put else { return };
    match answer {
        Ok(answer) => {
            known.learn(QUESTIONS[position].tool, &arguments, &answer);
            tally.answered(position, waited, answer.to_string().len() as u64);
        }
        Err(error) => tally.failed(position, format!("{error:#}")),
    }
}

#[cfg(test)]
mod tests;
