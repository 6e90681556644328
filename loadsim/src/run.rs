//! A run at a fixed rate: requests are due by the clock, whether or not the server keeps up.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};

use crate::accounts::Accounts;
use crate::dice::Dice;
use crate::fault::{Fault, Kind};
use crate::lasts::Lasts;
use crate::ledger::Ledger;
use crate::live::{self, STEP};
use crate::oracle::book::Book;
use crate::processor;
use crate::reel::playing::Playing;
use crate::reel::{Asked, Reel, Showing};
use crate::report::{Report, Run};
use crate::send::{self, Sender};
use crate::sharing::Sharing;
use crate::topology::Topology;
use crate::traffic::Traffic;
use crate::watch::{self, Watch};

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
    /// What is looked at beside the load.
    pub watch: watch::Options,
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
    let watch = Watch::new(&options.watch, &options.send).await?;
    let mut before = watch.figures().await?;
    // Not before it is certain that there will be a run: a ledger that is there is begun anew.
    let book = options.ledger.as_deref().map(|path| Book::create(path, &options.send.tenant)).transpose()?;
    let book = book.map(Arc::new);
    if !options.warmup.is_zero() {
        let sums = Arc::new(Ledger::new()?);
        let accounts = Accounts { sums: Arc::clone(&sums), book: book.clone(), lasts: None };
        source.phase(options, options.warmup, &accounts, &|_, _| {}).await?;
        // Lest what the warm-up sent count for the run.
        before = watch.caught_up(before, &sums).await?;
    }
    let lasts = options.watch.queryable.as_ref().map(|_| Arc::new(Lasts::default()));
    let accounts = Accounts { sums: Arc::new(Ledger::new()?), book, lasts };
    let (began, used) = (Instant::now(), processor::seconds());
    let watching = watch.begin(before, &accounts, options.duration);
    source.phase(options, options.duration, &accounts, &progress).await?;
    let run = Run {
        seed: options.seed,
        services: options.services,
        target_spans_per_second: options.spans_per_second,
        seconds: began.elapsed().as_secs_f64(),
        processor_seconds: processor::seconds().zip(used).map(|(after, before)| after - before),
    };
    let watched = watching.end(run.seconds).await;
    Ok(Report::new(run, &accounts.sums, watched))
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
    let sends = options.spans_per_second > 0.0 || log_rate > 0.0 || point_rate > 0.0;
    if !sends && options.watch.ask.is_none() {
        bail!(
            "--rate 0 leaves nothing to do: give --ask to put questions without a load, or --log-rate or --point-rate"
        );
    }
    if options.watch.queryable.is_some() && options.spans_per_second <= 0.0 && log_rate <= 0.0 {
        bail!(
            "--queryable looks for the last traces and log records, and none are sent: give --rate, or --log-rate with --prepared"
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
            Self::Live(traffic) => return live::phase(options, traffic, length, accounts, progress).await,
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
            accounts: accounts.clone(),
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

/// Nanoseconds since the Unix epoch.
pub fn unix_nanos() -> u64 {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::ask;
    use crate::send::Protocol;

    pub(crate) fn options(manner: Manner) -> Options {
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
            watch: watch::Options::default(),
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
        let silent = Options { spans_per_second: 0.0, ..options(Manner::default()) };
        assert!(refused(&silent).contains("nothing to do: give --ask"));
        let ask = ask::Options { url: "http://localhost:8080/mcp".into(), every: Duration::from_secs(1) };
        let watch = watch::Options { ask: Some(ask), ..watch::Options::default() };
        let asking = Options { watch: watch.clone(), ..silent.clone() };
        assert!(fits(&asking).is_ok());
        let watch = watch::Options { queryable: Some("http://localhost:8080".into()), ..watch };
        assert!(refused(&Options { watch: watch.clone(), ..silent }).starts_with("--queryable looks for"));
        let records = options(Manner { prepared: true, log_rate: 1.0, ..Manner::default() });
        assert!(fits(&Options { watch, spans_per_second: 0.0, ..records }).is_ok());
    }
}
