//! Plays live: what happens is made step by step, and sent whether or not the server keeps up.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::accounts::Accounts;
use crate::dice::Dice;
use crate::encode;
use crate::ledger::Ledger;
use crate::oracle::item::{self, Item};
use crate::run::{Options, unix_nanos};
use crate::send::{Request, Sender};
use crate::sharing::{Dealer, Sharing};
use crate::traffic::{Span, Traffic};

/// Work is made in steps of this length.
pub(crate) const STEP: Duration = Duration::from_millis(50);
/// Requests that may wait for one connection before the run itself falls behind.
const WAITING_PER_CONNECTION: usize = 256;
/// How often metrics are sent.
const METRICS_INTERVAL: Duration = Duration::from_secs(10);

/// Plays for so long, and returns once everything that was due has been answered or given up. Progress is told once a second.
///
/// # Errors
/// When a task fails, which is a defect, or the book cannot be written.
pub(crate) async fn phase(
    options: &Options,
    traffic: &mut Traffic,
    length: Duration,
    accounts: &Accounts,
    progress: &impl Fn(&Ledger, Duration),
) -> Result<()> {
    let connections = options.connections.max(1);
    let mut lanes = Vec::new();
    let mut tasks = JoinSet::new();
    for number in 0..connections {
        let (lane, due) = mpsc::channel(WAITING_PER_CONNECTION);
        lanes.push(lane);
        tasks.spawn(deliver(number, Sender::new(&options.send)?, due, accounts.clone()));
    }
    let mut dealer = Dealer::new(options.manner.sharing, connections);
    let mut waiting: Vec<Waiting> = lanes.iter().map(|_| Waiting::default()).collect();
    let mut dice = Dice::new(options.seed).branch(4);
    let (began, started_ns) = (Instant::now(), unix_nanos());
    let (mut made, mut wanted, mut step, mut told) = (0.0, 0.0, 0_u32, 0);
    let mut since_metrics: (Vec<Span>, u64, Instant) =
        (Vec::new(), instant(options, length, 0, started_ns), began);
    while STEP * step < length {
        let due = began + STEP * step;
        tokio::time::sleep_until(due.into()).await;
        step += 1;
        let mut spans = Vec::new();
        let now = instant(options, length, step, started_ns);
        wanted += options.spans_per_second * STEP.as_secs_f64() * traffic.load(now);
        while made + (spans.len() as f64) < wanted {
            traffic.request(now + dice.word() % STEP.as_nanos() as u64, &mut spans);
        }
        made += spans.len() as f64;
        let is_last = length <= STEP * step;
        for ((lane, waiting), spans) in lanes.iter().zip(&mut waiting).zip(dealer.shared_out(&spans)) {
            let ready = waiting.ready(spans, due, options, is_last);
            for request in requests(traffic, &ready, options, due, &mut dice) {
                lane.send(request).await.context("a connection's task ended")?;
            }
        }
        since_metrics.0.append(&mut spans);
        // At the end as well, as an SDK does when it is shut down.
        if since_metrics.2.elapsed() >= METRICS_INTERVAL || is_last {
            // By service whatever is asked for, lest two connections carry one series.
            let shared = Dealer::new(Sharing::ByService, connections).shared_out(&since_metrics.0);
            for (lane, spans) in lanes.iter().zip(shared) {
                let message = encode::metrics(traffic, &spans, (since_metrics.1, now), &mut dice);
                if message.resource_metrics.is_empty() {
                    continue;
                }
                let items = 5 * message.resource_metrics.len() as u64;
                let request = Request::metrics(&message, items);
                let items = if options.ledger.is_some() { item::points(&message) } else { Vec::new() };
                lane.send(Due { request, items, at: due }).await.context("a connection's task ended")?;
            }
            since_metrics = (Vec::new(), now, Instant::now());
        }
        if began.elapsed().as_secs() > told {
            told = began.elapsed().as_secs();
            progress(&accounts.sums, began.elapsed());
        }
    }
    drop(lanes);
    while let Some(ended) = tasks.join_next().await {
        ended.context("a connection's task failed")??;
    }
    Ok(())
}

/// The time that a step plays: now, or its share of the time to fill.
fn instant(options: &Options, length: Duration, step: u32, started_ns: u64) -> u64 {
    if options.backfill.is_zero() {
        return unix_nanos();
    }
    let left = 1.0 - (STEP * step).as_secs_f64() / length.as_secs_f64();
    started_ns - options.backfill.mul_f64(left.clamp(0.0, 1.0)).as_nanos() as u64
}

struct Due {
    request: Request,
    /// What is in it, where a book is kept.
    items: Vec<Item>,
    at: Instant,
}

async fn deliver(
    lane: usize,
    sender: Sender,
    mut due: mpsc::Receiver<Due>,
    accounts: Accounts,
) -> Result<()> {
    while let Some(Due { request, items, at }) = due.recv().await {
        let number = match &accounts.book {
            Some(book) => Some((book, book.sent(request.signal, &items).await?)),
            None => None,
        };
        let delivery = sender.deliver(&request).await;
        accounts.enter(lane, &request, &delivery, at.elapsed());
        if let Some((book, number)) = number {
            book.ended(number, &delivery).await?;
        }
    }
    Ok(())
}

/// Spans of one connection that wait for their request to be full.
#[derive(Default)]
struct Waiting {
    spans: Vec<Span>,
    since: Option<Instant>,
}

impl Waiting {
    /// Takes the spans of a step; answers those that are due with it: full requests, and what has waited long enough or is
    /// the last.
    fn ready(&mut self, mut spans: Vec<Span>, now: Instant, options: &Options, is_last: bool) -> Vec<Span> {
        self.spans.append(&mut spans);
        let since = *self.since.get_or_insert(now);
        // The first of them came in up to a step ago; at the next step it would be too old.
        if is_last || since + options.manner.flush < now + 2 * STEP {
            self.since = None;
            return std::mem::take(&mut self.spans);
        }
        let full = self.spans.len() - self.spans.len() % options.batch.max(1);
        if full > 0 {
            self.since = (full < self.spans.len()).then_some(now);
        } else if self.spans.is_empty() {
            self.since = None;
        }
        self.spans.drain(..full).collect()
    }
}

fn requests(traffic: &Traffic, spans: &[Span], options: &Options, at: Instant, dice: &mut Dice) -> Vec<Due> {
    let mut requests = Vec::new();
    for batch in spans.chunks(options.batch.max(1)) {
        let spans = encode::spans(traffic, batch);
        let items = if options.ledger.is_some() { item::spans(&spans) } else { Vec::new() };
        requests.push(Due { request: Request::traces(&spans), items, at });
        let logs = encode::logs(traffic, batch, options.chatter, dice);
        if !logs.resource_logs.is_empty() {
            let items = if options.ledger.is_some() { item::logs(&logs) } else { Vec::new() };
            requests.push(Due { request: Request::logs(&logs), items, at });
        }
    }
    requests
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::Manner;
    use crate::run::tests::options;
    use crate::topology::Topology;

    /// Feeds ten steps of 30 spans; answers how many were ready at each.
    fn ready(flush: Duration) -> Vec<usize> {
        let options = options(Manner { flush, ..Manner::default() });
        let mut traffic = Traffic::new(Topology::seeded(1, 10), Vec::new(), 1);
        let (mut waiting, began) = (Waiting::default(), Instant::now());
        let step = |step| {
            let mut spans = Vec::new();
            while spans.len() < 30 {
                traffic.request(1, &mut spans);
            }
            spans.truncate(30);
            waiting.ready(spans, began + STEP * step, &options, step == 9).len()
        };
        (0..10).map(step).collect()
    }

    #[test]
    fn spans_wait_until_there_are_enough_of_them_or_long_enough() {
        assert_eq!(ready(STEP), [30; 10]);
        assert_eq!(ready(STEP * 2), [0, 60, 0, 60, 0, 60, 0, 60, 0, 60]);
        assert_eq!(ready(STEP * 100), [0, 0, 64, 0, 64, 0, 64, 0, 64, 44]);
    }
}
