//! Composition, and nothing else: bind, start inner to outer, stop outer to inner within a deadline.
//!
//! [`App::bind`] opens the ports, so that the addresses are known; [`Bound::start`] brings the parts up and answers;
//! [`Running::stop`] takes no new work, finishes what was accepted, and leaves the rest in the journal.

mod access;
pub mod checks;
mod disk;
mod encryption;
mod exports;
mod follow;
mod own_spans;
mod routes;
mod running;
mod standby;
pub mod storage;
mod store_exports;
mod tasks;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use axum::Router;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

pub use self::running::Running;

use self::routes::Behind;
use self::standby::Meanwhile;
use self::storage::store_options;
use self::tasks::Tasks;
use crate::admit::Budget;
use crate::auth::Authenticator;
use crate::clock::Clock;
use crate::config::{Acknowledge, Config, DeadLetters};
use crate::decode::{Ages, Limits, VALUE_BYTES_MAX};
use crate::graph::Graph;
use crate::journal::{self, Journal, Lsn, Replay};
use crate::letters::{self, Letters};
use crate::net::tls::Encryption;
use crate::net::{self, Listener};
use crate::pipeline;
use crate::query::{self, Query};
use crate::receive;
use crate::rules::{self, Rules};
use crate::search::{self, Index};
use crate::store::Store;
use crate::store::options::Database;
use crate::transfer;
use crate::upkeep;
use crate::vitals::health::Health;
use crate::vitals::metrics::Metrics;
use crate::vitals::process;

/// Memory of each of the two days that the search index may write at a time.
const SEARCH_WRITER_BYTES: usize = 50 << 20;

/// The ports, as they are named where one fails.
const DOORS: [&str; 3] = ["port for gRPC", "port for OTLP over HTTP", "main port"];

/// The server, from its configuration on.
#[derive(Debug, Clone, Copy)]
pub struct App;

/// The addresses that clients use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Addresses {
    /// OTLP over gRPC.
    pub grpc: SocketAddr,
    /// OTLP over HTTP.
    pub otlp_http: SocketAddr,
    /// MCP, the REST API, probes, metrics, and OTLP over HTTP too.
    pub http: SocketAddr,
}

/// Ports are open; nothing answers yet.
pub struct Bound {
    config: Config,
    clock: Clock,
    grpc: Listener,
    otlp_http: Listener,
    http: Listener,
}

impl App {
    /// Opens the ports of `config`.
    ///
    /// # Errors
    /// When a port is taken or the address is not this machine's.
    pub async fn bind(config: Config, clock: Clock) -> Result<Bound> {
        let at = |port| SocketAddr::new(config.bind_addr, port);
        let grpc = net::bind(at(config.grpc_port)).await.context("GRPC_PORT")?;
        let otlp_http = net::bind(at(config.otlp_http_port)).await.context("OTLP_HTTP_PORT")?;
        let http = net::bind(at(config.http_port)).await.context("HTTP_PORT")?;
        Ok(Bound { config, clock, grpc, otlp_http, http })
    }
}

impl Bound {
    /// The addresses, with the ports the system chose where port 0 was asked for.
    pub const fn addresses(&self) -> Addresses {
        Addresses {
            grpc: self.grpc.address(),
            otlp_http: self.otlp_http.address(),
            http: self.http.address(),
        }
    }

    /// Brings the parts up, inner to outer, and starts answering.
    ///
    /// # Errors
    /// When the data directory, the database or the journal cannot be used.
    pub async fn start(self) -> Result<Running> {
        let addresses = self.addresses();
        let Self { config, clock, grpc, otlp_http, http } = self;
        let (health, metrics) = (Health::default(), Metrics::default());
        let (stop_listening, stop_upkeep) = (CancellationToken::new(), CancellationToken::new());
        let committed = Arc::new(Notify::new());
        let authenticator = access::authenticator(&config, &clock)?;
        let encryption = encryption::open(&config, &clock)?;
        let mut upkeep = follow_files(&clock, &authenticator, &encryption, &stop_upkeep);
        let doors = [grpc, otlp_http, http];
        let meanwhile = Meanwhile::start((&config, &encryption), &doors, (&health, &metrics))?;
        let waiting = || announce(&config, addresses, authenticator.requires_key());
        let (state, replay) = State::open(&config, &clock, &health, waiting).await?;
        let (limits, rules) = (limits(&config), Rules::new(rules_options(&config)));
        let parts = pipeline::Parts {
            journal: state.journal.clone(),
            replay,
            store: state.store.clone(),
            graph: state.graph.clone(),
            limits: limits.clone(),
            rules: rules.clone(),
            letters: open_letters(&config, &metrics)?,
            clock: clock.clone(),
            health: health.clone(),
            committed: Arc::clone(&committed),
        };
        let (pipeline, applier) =
            pipeline::start(pipeline_options(&config), parts).await.context("starting the pipeline")?;
        let spans = own_spans::start(&config, &metrics, &mut upkeep)?;
        let beside = (&clock, &health, &metrics, &committed);
        encryption::register(&metrics, &encryption);
        let query = state.query(&config, &clock);
        look_after((&config, &state, &query), beside, (&mut upkeep, &stop_upkeep));
        let behind = Behind {
            intake: receive_options(&config, limits, rules),
            budget: Budget::new(config.inflight_bytes_max as u64),
            pipeline: pipeline.clone(),
            query,
            clock,
            health: health.clone(),
            spans: spans.clone(),
            stop_listening: stop_listening.clone(),
        };
        access::try_doors(&config, &behind, &authenticator).await?;
        let receive = behind.receive(&authenticator);

        exports::register(
            &metrics,
            &exports::Exported::of(&config, (&state, &behind), &receive, &authenticator),
        );
        let routers = behind.routers(&config, &receive, (&authenticator, &metrics)).map(|(router, _)| router);
        drop(meanwhile);
        let servers = serve((&config, &encryption), doors.into_iter().zip(routers), &stop_listening);
        health.started();
        announce(&config, addresses, authenticator.requires_key())?;
        Ok(Running {
            addresses,
            config,
            health,
            stop_listening,
            stop_upkeep,
            servers,
            receive,
            pipeline,
            applier,
            upkeep,
            spans,
            journal: state.journal,
            store: state.store,
        })
    }
}

/// Keys and certificates are followed also while another server leads: this one answers meanwhile, and then goes on with
/// what they are by then.
fn follow_files(
    clock: &Clock,
    authenticator: &Authenticator,
    encryption: &Option<Encryption>,
    stop: &CancellationToken,
) -> Tasks {
    let mut upkeep = Tasks::default();
    upkeep.add("key file", access::follow_keys(authenticator.clone(), stop.clone()));
    if let Some(it) = encryption.clone() {
        upkeep.add("certificate", encryption::follow(it, clock.clone(), stop.clone()));
    }
    upkeep
}

/// What is kept, opened and mutually consistent.
struct State {
    store: Store,
    journal: Journal,
    index: Option<Arc<Index>>,
    graph: Graph,
}

impl State {
    async fn open(
        config: &Config,
        clock: &Clock,
        health: &Health,
        waiting: impl Fn() -> Result<()>,
    ) -> Result<(Self, Replay)> {
        transfer::unfinished::check(&config.data_dir)?;
        let options = store_options(config)?;
        let (store, (journal, replay)) = match options.database {
            Database::Sqlite(_) => {
                // The journal's lock comes first: a second server on the same data must not touch the database.
                let applied = Store::applied_at(&options).await.context("reading the database")?;
                let journal = open_journal(config, applied).await?;
                let store = Store::open(options).await.context("opening the database")?;
                if store.applied() != applied {
                    let database = config.database.display();
                    bail!("another server wrote to {database} a moment ago; start again");
                }
                (store, journal)
            }
            Database::Postgres(_) => {
                let store = standby::open(options, health, waiting).await?;
                let applied = store.applied();
                (store, open_journal(config, applied).await?)
            }
        };
        let index = open_index(config).await?;
        let graph = Graph::new();
        upkeep::restore::graph(&store, &graph, clock.now()).await;
        Ok((Self { store, journal, index, graph }, replay))
    }

    fn query(&self, config: &Config, clock: &Clock) -> Query {
        let Self { store, index, graph, .. } = self;
        let options = query::Options { cache_ttl: config.mcp_cache_ttl, samples: config.sampling.0 < 1.0 };
        Query::new(&options, store.clone(), graph.clone(), index.clone(), clock.clone())
    }
}

/// Starts what runs beside requests and questions, among `tasks`.
fn look_after(
    (config, state, query): (&Config, &State, &Query),
    (clock, health, metrics, committed): (&Clock, &Health, &Metrics, &Arc<Notify>),
    (tasks, stop): (&mut Tasks, &CancellationToken),
) {
    let State { store, journal, index, graph } = state;
    let (retention, keeping) = upkeep::retention::start(
        storage::retention_options(config),
        (store.clone(), graph.clone()),
        (clock.clone(), health.clone()),
        disk::beside(config),
        stop.clone(),
    );
    store_exports::register(metrics, store, health, &retention);
    let watched = upkeep::watch::Watched {
        journal: journal.clone(),
        journal_bytes_max: config.journal_bytes_max,
        store: store.clone(),
        graph: graph.clone(),
        clock: clock.clone(),
        health: health.clone(),
    };
    let followed = upkeep::anomalies::Followed {
        query: query.clone(),
        store: store.clone(),
        clock: clock.clone(),
        health: health.clone(),
        keep: storage::retention_options(config).hour,
    };
    tasks.add("retention", keeping);
    tasks.add("anomalies", upkeep::anomalies::start(followed, stop.clone()));
    tasks.add("watch", upkeep::watch::start(watched, stop.clone()));
    if let Some(index) = index {
        let (known, index, committed) =
            ((store.clone(), health.clone()), Arc::clone(index), Arc::clone(committed));
        tasks.add("search index", upkeep::index::start(known, index, committed, stop.clone()));
    }
}

fn serve(
    (config, encryption): (&Config, &Option<Encryption>),
    doors: impl Iterator<Item = (Listener, Router)>,
    stop: &CancellationToken,
) -> Tasks {
    let mut tasks = Tasks::default();
    for (name, (listener, router)) in DOORS.into_iter().zip(doors) {
        let options = (net_options(config), encryption.clone());
        tasks.add(name, net::serve(listener, router, options, stop.clone()));
    }
    tasks
}

fn open_letters(config: &Config, metrics: &Metrics) -> Result<Letters> {
    let DeadLetters { ref folder, files_max, bytes_max, drops_oldest } = config.letters;
    let options =
        letters::Options { folder: folder.clone(), letters_max: files_max, bytes_max, drops_oldest };
    let letters = Letters::open(options).context("DLQ_PATH")?;
    exports::letter_metrics(metrics, &letters);
    Ok(letters)
}

/// File descriptors that no connection may take.
const FILES_OF_OUR_OWN: usize = 256;

fn net_options(config: &Config) -> net::Options {
    let usual = net::Options::default();
    // Clients must leave what journal, database and index need, on any of the three ports.
    let room = process::open_files_max().map(|most| most.saturating_sub(FILES_OF_OUR_OWN) / 3);
    net::Options {
        connections_max: room.map_or(usual.connections_max, |room| room.clamp(16, usual.connections_max)),
        streams_max: config.streams_max,
        stop_timeout: config.shutdown_timeout / 2,
        ..usual
    }
}

/// Tells where the server listens: in the log, and in PORTS_FILE.
fn announce(config: &Config, addresses: Addresses, key_required: bool) -> Result<()> {
    if let Some(path) = &config.ports_file {
        write_ports(path, addresses).with_context(|| format!("PORTS_FILE {}", path.display()))?;
    }
    let Addresses { grpc, otlp_http, http } = addresses;
    let data = config.data_dir.display();
    let tls = config.encryption.is_some();
    info!(%grpc, %otlp_http, %http, %data, key_required, tls, "listening");
    if !key_required {
        warn!("API_KEY is not set: whoever reaches these ports may write and read everything");
    }
    Ok(())
}

fn receive_options(config: &Config, limits: Limits, rules: Rules) -> receive::Options {
    let request_bytes_max = config.request_bytes_max;
    receive::Options { request_bytes_max, limits, rules, ..receive::Options::default() }
}

/// What one request may hold, and how old it may be: the same at the door and at a replay.
fn limits(config: &Config) -> Limits {
    let retention = &config.storage.retention;
    let days = |days: u32| Some(Duration::from_secs(u64::from(days) * 86_400));
    Limits {
        attributes_per_item_max: config.intake.attributes_max,
        attribute_bytes_max: config.intake.attribute_bytes_max.unwrap_or(VALUE_BYTES_MAX),
        age_max: Ages {
            traces: days(retention.trace_days),
            logs: days(retention.log_days),
            metrics: days(retention.metric_days),
        },
        ..Limits::default()
    }
}

fn rules_options(config: &Config) -> rules::Options {
    let intake = &config.intake;
    rules::Options {
        attributes_denied: intake.attributes_denied.clone(),
        attributes_allowed: intake.attributes_allowed.clone(),
        attributes_max: intake.attributes_max,
        attribute_bytes_max: intake.attribute_bytes_max.unwrap_or(VALUE_BYTES_MAX),
        services_allowed: intake.services_allowed.clone(),
        services_excluded: intake.services_excluded.clone(),
        ingest_severity_min: intake.ingest_severity_min,
        store_severity_min: intake.store_severity_min,
        severity_from_body: intake.severity_from_body,
        parse_json: intake.parse_json,
    }
}

fn pipeline_options(config: &Config) -> pipeline::Options {
    let (share, keeps_failures, slow) = config.sampling;
    pipeline::Options {
        sampling: pipeline::Sampling { share, keeps_failures, slow },
        requests_max: config.queue_requests_max,
        bytes_max: config.queue_bytes_max,
        tenant_requests_max: config.tenant_requests_max,
        joined_spans_max: config.joined_spans_max,
        ..pipeline::Options::default()
    }
}

async fn open_journal(config: &Config, applied: u64) -> Result<(Journal, Replay)> {
    let options = journal::Options {
        directory: config.data_dir.join("journal"),
        segment_bytes: 64 << 20,
        bytes_max: config.journal_bytes_max,
        pending_bytes_max: config.queue_bytes_max,
        free_bytes_min: config.free_bytes_min,
        sync: match config.acknowledge {
            Acknowledge::Durable => journal::Sync::Durable,
            Acknowledge::Buffered => journal::Sync::Buffered,
        },
    };
    let work = tokio::task::spawn_blocking(move || journal::open(options, Lsn(applied)));
    let (journal, replay) = work.await?.context("opening the journal")?;
    let report = replay.report();
    if report.torn_tail_bytes > 0 {
        info!(bytes = report.torn_tail_bytes, "cut off a write that the last stop interrupted");
    }
    if report.missing > 0 {
        let (requests, applied) = (report.missing, applied);
        error!(
            requests,
            applied,
            "the database is older than the journal remembers: acknowledged requests are in neither; restore a newer backup of it"
        );
    }
    for damaged in &report.quarantined {
        let copy = damaged.copy.as_ref().map(|path| path.display().to_string());
        let (segment, offset, bytes) = (damaged.path.display(), damaged.offset, damaged.bytes);
        error!(%segment, offset, bytes, copy, "the journal is damaged here; acknowledged data may be lost");
    }
    Ok((journal, replay))
}

async fn open_index(config: &Config) -> Result<Option<Arc<Index>>> {
    if !config.search_enabled {
        return Ok(None);
    }
    let options =
        search::Options { directory: config.data_dir.join("search"), writer_bytes: SEARCH_WRITER_BYTES };
    let open = tokio::task::spawn_blocking(move || Index::open(options));
    let index = open.await?.context("opening the search index")?;
    for (day, why) in index.rebuilt() {
        warn!(day, why, "a day of the search index could not be used and is built anew");
    }
    Ok(Some(Arc::new(index)))
}

/// Written beside and renamed, so that a reader never sees half of it.
fn write_ports(path: &PathBuf, addresses: Addresses) -> std::io::Result<()> {
    let Addresses { grpc, otlp_http, http } = addresses;
    let beside = path.with_extension("part");
    std::fs::write(&beside, format!(r#"{{"grpc":"{grpc}","otlp_http":"{otlp_http}","http":"{http}"}}"#))?;
    std::fs::rename(beside, path)
}
