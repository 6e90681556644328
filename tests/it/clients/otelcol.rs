//! The official Collector before a server that is killed and stopped under load: nothing it took over is missing.
//!
//! It sends again what was not answered, so a record may come twice. How often each was handed to the server is read at the
//! doors between them, and the server stores none more often than that: what it answered once, it does not store again when
//! it reads its journal. Spans it knows again, and stores them once however often they come.

use std::collections::BTreeSet;
use std::net::{SocketAddrV4, TcpStream};
use std::process::Command;
use std::time::Instant;

use loadsim::send::{Protocol, Signal};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::collector::own_ports;
use super::numbered::{Copies, Load, SIGNALS, numbers, stored};
use super::{Client, tool, wire};
use crate::door::{Door, Said};
use crate::server::Server;

/// Spans that a server takes before it ends, fewer than a second's: then it is in the middle of the load.
const SOME: u64 = 500;
/// What the Collector logs about a request that it keeps, and about one that it gives up.
const TRIED_AGAIN: &str = "Exporting failed. Will retry the request after interval.";
const GIVEN_UP: &str = "Dropping data";

/// The way between the Collector and the server: a door for each signal.
struct Doors {
    protocol: Protocol,
    doors: Vec<(Signal, Door, Said)>,
}

impl Doors {
    async fn open(protocol: Protocol, server: &Server) -> Self {
        let mut doors = Vec::new();
        for signal in SIGNALS {
            let (door, said) = Door::keeping(Self::behind(protocol, server)).await;
            doors.push((signal, door, said));
        }
        Self { protocol, doors }
    }

    fn behind(protocol: Protocol, server: &Server) -> &str {
        match protocol {
            Protocol::Grpc => &server.grpc,
            Protocol::Http => &server.otlp_http,
        }
    }

    fn shut(&self) {
        self.doors.iter().for_each(|(_, door, _)| door.shut());
    }

    fn lead_to(&self, server: &Server) {
        self.doors.iter().for_each(|(_, door, _)| door.lead_to(Self::behind(self.protocol, server)));
    }

    /// How often each record was handed over, for each signal.
    fn handed(&self) -> Vec<Copies> {
        let read = match self.protocol {
            Protocol::Grpc => wire::grpc,
            Protocol::Http => wire::http,
        };
        let handed = |(signal, _, said): &(Signal, Door, Said)| {
            let mut copies = Copies::new();
            let messages = said.streams().into_iter().flat_map(|stream| read(&stream));
            for number in messages.flat_map(|message| numbers(*signal, &message)) {
                *copies.entry(number).or_default() += 1;
            }
            copies
        };
        self.doors.iter().map(handed).collect()
    }
}

/// Where the Collector keeps what it has not delivered.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Queue {
    /// Lost when it ends.
    Memory,
    /// Handed to the operating system, and not synced, before the Collector acknowledges: it survives the end of the process.
    File,
}

/// A Collector with a file for its settings and a folder for its queue; killed when dropped.
struct Collector {
    folder: TempDir,
    ports: [SocketAddrV4; 2],
    client: Option<Client>,
    /// What it logged until it was killed.
    log: String,
}

impl Collector {
    async fn start(test: u8, queue: Queue, doors: &Doors, server: &Server) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let ports = own_ports(test);
        let settings = settings(ports, queue, doors, &folder);
        std::fs::write(folder.path().join("settings.yaml"), settings.to_string()).unwrap();
        let mut collector = Self { folder, ports, client: None, log: String::new() };
        collector.run(server).await;
        collector
    }

    /// Starts it, and waits until it takes telemetry.
    async fn run(&mut self, server: &Server) {
        let mut command = Command::new(tool("collector/source/otelcol"));
        command.arg("--config").arg(self.folder.path().join("settings.yaml"));
        self.client = Some(Client::start(command));
        let open = || self.ports.iter().all(|port| TcpStream::connect(port).is_ok());
        server.until("forwarding", async || open().then_some(())).await;
    }

    /// Kills it without warning.
    fn kill(&mut self) {
        let client = self.client.take().unwrap();
        self.log += &client.read("errors");
    }

    /// Where clients reach it.
    fn address(&self, protocol: Protocol) -> String {
        self.ports[usize::from(protocol == Protocol::Http)].to_string()
    }
}

/// Settings of the Collector (its YAML takes JSON): each signal has a pipeline with an exporter of its own, which never gives
/// up.
fn settings(ports: [SocketAddrV4; 2], queue: Queue, doors: &Doors, folder: &TempDir) -> Value {
    let mut exporters = json!({});
    let mut pipelines = json!({});
    for (signal, door, _) in &doors.doors {
        let signal = serde_json::to_value(signal).unwrap();
        let signal = signal.as_str().unwrap();
        let (kind, endpoint) = match doors.protocol {
            Protocol::Grpc => ("otlp_grpc", door.address.clone()),
            Protocol::Http => ("otlp_http", format!("http://{}", door.address)),
        };
        let exporter = format!("{kind}/{signal}");
        exporters[&exporter] = json!({
            "endpoint": endpoint,
            "compression": "gzip",
            "tls": {"insecure": true},
            "retry_on_failure": {"initial_interval": "100ms", "max_interval": "1s", "max_elapsed_time": 0},
            "sending_queue": {"enabled": true, "storage": (queue == Queue::File).then_some("file_storage")},
        });
        pipelines[signal] = json!({"receivers": ["otlp"], "exporters": [exporter]});
    }
    let [grpc, http] = ports.map(|port| json!({"endpoint": port.to_string()}));
    let storage = json!({"directory": folder.path().join("queue"), "create_directory": true});
    let logs = json!({"level": "debug", "sampling": {"enabled": false}});
    json!({
        "receivers": {"otlp": {"protocols": {"grpc": grpc, "http": http}}},
        "exporters": exporters,
        "extensions": {"file_storage": storage},
        "service": {
            "telemetry": {"metrics": {"level": "none"}, "logs": logs},
            "extensions": ["file_storage"],
            "pipelines": pipelines,
        },
    })
}

/// How a server ends.
#[derive(Clone, Copy)]
enum End {
    Killed,
    Stopped,
}

/// Waits until the server has taken some of the load in its life.
async fn under_load(server: &Server) {
    let taken = "otelcontext_ingest_accepted_total";
    let some = async || {
        for signal in ["traces", "logs", "metrics"] {
            if server.metric(&format!("{taken}{{signal=\"{signal}\"}}")).await < SOME as f64 {
                return None;
            }
        }
        Some(())
    };
    server.until("under load", some).await;
}

async fn end(server: &mut Server, end: End, doors: &Doors) {
    match end {
        End::Killed => server.kill(),
        End::Stopped => assert_eq!(server.terminate().await, Some(0), "{}", server.log()),
    }
    doors.shut();
}

async fn again(server: Server, doors: &Doors) -> Server {
    let server = server.again(&[]).await;
    server.ready().await;
    doors.lead_to(&server);
    server
}

/// Kills the Collector while it holds what the server has not seen, and starts it anew.
async fn end_collector(collector: &mut Collector, server: &Server, load: &Load, doors: &Doors) {
    let before = load.acknowledged();
    let more = || load.acknowledged().iter().zip(before).all(|(now, before)| *now >= before + SOME);
    server.until("waiting in the Collector", async || more().then_some(())).await;
    let acknowledged = load.acknowledged();
    collector.kill();
    for (handed, acknowledged) in doors.handed().iter().zip(acknowledged) {
        let held = (1..=acknowledged).filter(|number| !handed.contains_key(number)).count();
        assert!(held as u64 >= SOME, "the Collector held {held} alone");
    }
    collector.run(server).await;
}

/// Sends through a Collector to a server that ends in all `ends` and starts anew; with a queue in a file, the Collector is
/// killed while the server is away for the first time.
async fn check(test: u8, protocol: Protocol, queue: Queue, ends: &[End]) {
    let began = Instant::now();
    let mut server = Server::start(&[]).await;
    let doors = Doors::open(protocol, &server).await;
    let mut collector = Collector::start(test, queue, &doors, &server).await;
    let load = Load::start(collector.address(protocol), protocol);
    for (count, how) in ends.iter().enumerate() {
        under_load(&server).await;
        end(&mut server, *how, &doors).await;
        if count == 0 && queue == Queue::File {
            end_collector(&mut collector, &server, &load, &doors).await;
        }
        server = again(server, &doors).await;
    }
    under_load(&server).await;
    let acknowledged = load.end().await;
    let all = async || {
        for (signal, acknowledged) in SIGNALS.into_iter().zip(acknowledged) {
            if (stored(&server, signal).await.len() as u64) < acknowledged {
                return None;
            }
        }
        Some(())
    };
    server.until("holding everything", all).await;
    // What it still has are requests without an answer whose records are stored: a server that stops puts them off for up to
    // 15 s. Told to stop, it would log them as given up.
    collector.kill();
    server.settled().await;
    let log = &collector.log;
    assert!(log.contains(TRIED_AGAIN), "the Collector noticed nothing: {log}");
    assert!(!log.contains(GIVEN_UP), "the Collector gave up: {log}");

    let mut kept = Vec::new();
    for signal in SIGNALS {
        kept.push(stored(&server, signal).await);
    }
    // Asked after the server, for it has nothing that was not handed over before.
    for (((signal, stored), acknowledged), handed) in
        SIGNALS.into_iter().zip(kept).zip(acknowledged).zip(doors.handed())
    {
        let there: BTreeSet<u64> = stored.keys().copied().collect();
        assert_eq!(there, (1..=acknowledged).collect(), "{signal:?}");
        let times = |number: &u64| handed.get(number).copied().unwrap_or(0);
        for (number, copies) in &stored {
            let times = times(number);
            let most = if signal == Signal::Traces { times.min(1) } else { times };
            assert!(*copies <= most, "{signal:?} {number} is stored {copies} times, handed over {times}");
        }
        let resent = handed.values().filter(|times| **times > 1).count();
        let twice = stored.values().filter(|copies| **copies > 1).count();
        println!("{signal:?}: {acknowledged} acknowledged, {resent} handed over again, {twice} stored again");
    }
    println!("{protocol:?}: {} ends in {:?}", ends.len(), began.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_official_collector_loses_nothing_to_restarts_over_grpc() {
    check(8, Protocol::Grpc, Queue::Memory, &[End::Killed, End::Stopped, End::Killed, End::Stopped]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_official_collector_loses_nothing_to_restarts_over_http() {
    check(9, Protocol::Http, Queue::Memory, &[End::Killed, End::Stopped, End::Killed, End::Stopped]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_official_collector_loses_nothing_to_its_own_end_with_a_queue_in_a_file() {
    check(10, Protocol::Grpc, Queue::File, &[End::Killed, End::Stopped]).await;
}
