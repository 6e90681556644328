//! A run at a fixed rate: requests are due by the clock, whether or not the server keeps up.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::dice::Dice;
use crate::encode;
use crate::fault::{Fault, Kind};
use crate::figures::{self, Figures};
use crate::ledger::Ledger;
use crate::oracle::book::Book;
use crate::oracle::item::{self, Item};
use crate::processor;
use crate::reel::playing::Playing;
use crate::reel::{Asked, Reel, Showing};
use crate::report::{Report, Run};
use crate::send::{self, Request, Sender};
use crate::sharing::{Dealer, Sharing};
use crate::topology::Topology;
use crate::traffic::{Span, Traffic};

/// Work is made in steps of this length.
const STEP: Duration = Duration::from_millis(50);
/// Requests that may wait for one connection before the run itself falls behind.
const WAITING_PER_CONNECTION: usize = 256;
/// How often metrics are sent.
const METRICS_INTERVAL: Duration = Duration::from_secs(10);

/// What to run.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where and how to send.
    pub send: send::Options,
    /// Repeats the run; where it is prepared, all but the ids of traces.
    pub seed: u64,
    /// Services to simulate.
    pub services: usize,
    /// Spans a second, in all.
    pub spans_per_second: f64,
    /// How long to measure.
    pub duration: Duration,
    /// How long to run before that.
    pub warmup: Duration,
    /// Spreads the timestamps over this much time before now, as if an outage of the exporters ended; zero sends
    /// what happens now.
    pub backfill: Duration,
    /// Connections, among which the load is shared out.
    pub connections: usize,
    /// Spans of one export request at most.
    pub batch: usize,
    /// Log records for each request that a service handles without failure.
    pub chatter: f64,
    /// A fault that lasts from the end of the warm-up.
    pub fault: Option<(Kind, Option<String>)>,
    /// File for what is sent and how it is answered, warm-up included, as [`crate::oracle`] reads it. Every request then
    /// waits for that file's disk, which its latency includes.
    pub ledger: Option<PathBuf>,
    /// The server's metrics, for its own figures. Then it is waited for after the warm-up and after the run, until it has stored
    /// what it acknowledged.
    pub metrics_url: Option<String>,
    /// How the load is made.
    pub manner: Manner,
}

/// How the load is made. By default live, by services that send for themselves every step, and nothing but what belongs to
/// requests.
#[derive(Debug, Clone, Copy)]
pub struct Manner {
    /// Makes up to five seconds of traffic beforehand and plays them again and again.
    pub prepared: bool,
    /// How spans are shared out among connections.
    pub sharing: Sharing,
    /// How long spans wait for a request to be full. Live they wait whole steps.
    pub flush: Duration,
    /// Log records a second for each service beside those that belong to requests; only where prepared.
    pub log_rate: f64,
    /// Metric points a second for each service beside those about requests; only where prepared.
    pub point_rate: f64,
}

impl Default for Manner {
    fn default() -> Self {
        Self { prepared: false, sharing: Sharing::ByService, flush: STEP, log_rate: 0.0, point_rate: 0.0 }
    }
}

/// Where the fate of requests is entered.
#[derive(Clone)]
struct Accounts {
    sums: Arc<Ledger>,
    book: Option<Arc<Book>>,
}

struct Due {
    request: Request,
    /// What is in it, where a book is kept.
    items: Vec<Item>,
    at: Instant,
}

/// Runs and reports. Progress goes to `progress`, once a second.
///
/// # Errors
/// When the options do not fit together or the ledger cannot be written; a server that refuses is not an error.
pub async fn run(options: &Options, progress: impl Fn(&Ledger, Duration)) -> Result<Report> {
    fits(options)?;
    let topology = Topology::seeded(options.seed, options.services);
    let fault = options
        .fault
        .as_ref()
        .map(|(kind, name)| fault(options, &topology, *kind, name.as_deref()))
        .transpose()?;
    let mut traffic = Traffic::new(topology, fault.into_iter().collect(), options.seed);
    let mut source = if options.manner.prepared {
        let reel = Arc::new(Reel::make(&asked(options), &mut traffic, unix_nanos())?);
        Source::Prepared { reel, played: 0 }
    } else {
        Source::Live(Box::new(traffic))
    };
    let book = options.ledger.as_deref().map(|path| Book::create(path, &options.send.tenant)).transpose()?;
    let book = book.map(Arc::new);
    let url = options.metrics_url.as_deref();
    let mut before = match url {
        Some(url) => Some(Figures::read(url).await?),
        None => None,
    };
    if !options.warmup.is_zero() {
        let sums = Arc::new(Ledger::new()?);
        let accounts = Accounts { sums: Arc::clone(&sums), book: book.clone() };
        source.phase(options, options.warmup, &accounts, &|_, _| {}).await?;
        if let Some((url, before)) = url.zip(before.as_mut()) {
            // Lest what the warm-up sent count for the run.
            figures::catch_up(url, before, &sums).await?;
            *before = Figures::read(url).await?;
        }
    }
    let ledger = Arc::new(Ledger::new()?);
    let accounts = Accounts { sums: Arc::clone(&ledger), book };
    let (began, used) = (Instant::now(), processor::seconds());
    source.phase(options, options.duration, &accounts, &progress).await?;
    let seconds = began.elapsed().as_secs_f64();
    let run = Run {
        seed: options.seed,
        services: options.services,
        target_spans_per_second: options.spans_per_second,
        seconds,
        processor_seconds: processor::seconds().zip(used).map(|(after, before)| after - before),
    };
    let server = match url.zip(before) {
        Some((url, before)) => {
            let caught_up = figures::catch_up(url, &before, &ledger).await?;
            Some(figures::server(&before, &caught_up, seconds))
        }
        None => None,
    };
    Ok(Report::new(run, &ledger, server))
}

/// Fails where options do not go together.
fn fits(options: &Options) -> Result<()> {
    let Manner { prepared, log_rate, point_rate, .. } = options.manner;
    if prepared && options.fault.is_some() {
        bail!(
            "--fault does not go with --prepared: what is made beforehand is played again and again, so nothing can go wrong in it later"
        );
    }
    if !options.backfill.is_zero() && options.fault.is_some() {
        bail!(
            "--backfill does not go with --fault: a fault begins at an instant to come, and what is played lies before it"
        );
    }
    if prepared && options.ledger.is_some() {
        bail!(
            "--ledger does not go with --prepared: the book holds a digest of every item, and what is played goes out as encoded bytes that nobody takes apart"
        );
    }
    if !options.backfill.is_zero() && point_rate > 0.0 {
        bail!(
            "--backfill does not go with --point-rate: where time is stretched, a counter would begin anew with each playing and go on from its old value"
        );
    }
    if !prepared && (log_rate > 0.0 || point_rate > 0.0) {
        bail!("--log-rate and --point-rate need --prepared: live, only what belongs to requests is made");
    }
    Ok(())
}

fn asked(options: &Options) -> Asked {
    Asked {
        seed: options.seed,
        spans_per_second: options.spans_per_second,
        connections: options.connections.max(1),
        sharing: options.manner.sharing,
        chatter: options.chatter,
        log_rate: options.manner.log_rate,
        point_rate: options.manner.point_rate,
    }
}

/// Where the load comes from.
enum Source {
    Live(Box<Traffic>),
    Prepared {
        reel: Arc<Reel>,
        /// Playings that earlier phases may have begun.
        played: u64,
    },
}

impl Source {
    async fn phase(
        &mut self,
        options: &Options,
        length: Duration,
        accounts: &Accounts,
        progress: &impl Fn(&Ledger, Duration),
    ) -> Result<()> {
        let (reel, played) = match self {
            Self::Live(traffic) => return phase(options, traffic, length, accounts, progress).await,
            Self::Prepared { reel, played } => (reel, played),
        };
        let nanos = |duration: Duration| u64::try_from(duration.as_nanos());
        let (end_ns, first) = (nanos(length)?, *played);
        *played += end_ns.div_ceil(reel.length_ns.max(1));
        let senders = (0..options.connections.max(1)).map(|_| Sender::new(&options.send));
        let playing = Playing {
            reel: Arc::clone(reel),
            senders: senders.collect::<Result<_>>()?,
            limits: reel.limits(options.batch.max(1) as u64, nanos(options.manner.flush)?, end_ns),
            showing: Showing {
                first,
                started_ns: unix_nanos(),
                backfill_ns: nanos(options.backfill)?,
                end_ns,
            },
            ledger: Arc::clone(&accounts.sums),
        };
        playing.play(progress).await
    }
}

fn fault(options: &Options, topology: &Topology, kind: Kind, name: Option<&str>) -> Result<Fault> {
    let service = match name {
        Some(name) => topology.position(name).with_context(|| format!("no service is called `{name}`"))?,
        None => Dice::new(options.seed).branch(3).below(topology.services.len()),
    };
    let from = unix_nanos() + u64::try_from(options.warmup.as_nanos())?;
    let fault = Fault::of(kind, service, from);
    fault.fits(topology).map_err(anyhow::Error::msg)?;
    Ok(fault)
}

async fn phase(
    options: &Options,
    traffic: &mut Traffic,
    length: Duration,
    accounts: &Accounts,
    progress: &impl Fn(&Ledger, Duration),
) -> Result<()> {
    let connections = options.connections.max(1);
    let mut lanes = Vec::new();
    let mut tasks = JoinSet::new();
    for _ in 0..connections {
        let (lane, due) = mpsc::channel(WAITING_PER_CONNECTION);
        lanes.push(lane);
        tasks.spawn(deliver(Sender::new(&options.send)?, due, accounts.clone()));
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

async fn deliver(sender: Sender, mut due: mpsc::Receiver<Due>, accounts: Accounts) -> Result<()> {
    while let Some(Due { request, items, at }) = due.recv().await {
        let number = match &accounts.book {
            Some(book) => Some((book, book.sent(request.signal, &items).await?)),
            None => None,
        };
        let delivery = sender.deliver(&request).await;
        accounts.sums.enter(&request, &delivery, at.elapsed());
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

/// Nanoseconds since the Unix epoch.
pub fn unix_nanos() -> u64 {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::send::Protocol;

    fn options(manner: Manner) -> Options {
        Options {
            send: send::Options {
                endpoint: "localhost:4317".into(),
                protocol: Protocol::Grpc,
                tenant: String::new(),
                api_key: String::new(),
                timeout: Duration::from_secs(1),
                retry_for: Duration::ZERO,
            },
            seed: 1,
            services: 10,
            spans_per_second: 100.0,
            duration: Duration::from_secs(1),
            warmup: Duration::ZERO,
            backfill: Duration::ZERO,
            connections: 1,
            batch: 64,
            chatter: 0.0,
            fault: None,
            ledger: None,
            metrics_url: None,
            manner,
        }
    }

    #[test]
    fn what_does_not_go_together_is_refused_with_the_reason() {
        let prepared = options(Manner { prepared: true, log_rate: 1.0, ..Manner::default() });
        let refused = |options: &Options| fits(options).unwrap_err().to_string();
        assert!(fits(&prepared).is_ok() && fits(&options(Manner::default())).is_ok());
        let fault = Options { fault: Some((Kind::ALL[0], None)), ..prepared.clone() };
        assert!(refused(&fault).starts_with("--fault does not go with --prepared"));
        let past = Options { backfill: Duration::from_secs(60), ..options(Manner::default()) };
        let past = Options { fault: Some((Kind::ALL[0], None)), ..past };
        assert!(refused(&past).starts_with("--backfill does not go with --fault"));
        let ledger = Options { ledger: Some("ledger".into()), ..prepared };
        assert!(refused(&ledger).starts_with("--ledger does not go with --prepared"));
        let points = options(Manner { prepared: true, point_rate: 1.0, ..Manner::default() });
        let backfill = Options { backfill: Duration::from_secs(60), ..points };
        assert!(refused(&backfill).starts_with("--backfill does not go with --point-rate"));
        let live = options(Manner { point_rate: 1.0, ..Manner::default() });
        assert!(refused(&live).contains("need --prepared"));
    }

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
