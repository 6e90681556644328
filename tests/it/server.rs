//! A server of its own for each test: the real binary on free ports in a folder of its own.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use crate::volume::Volume;

/// How long a server may take to start or to reach a state before a test fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The checkout under test, as it is where the tests run: builds may be shared by several checkouts.
pub(crate) fn checkout() -> PathBuf {
    std::env::var_os("CARGO_MANIFEST_DIR")
        .map(PathBuf::from)
        .unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into())
}

/// Runs the program in `folder`, with its data directory there; answers what it said and whether it succeeded.
pub(crate) async fn program(
    folder: &Path,
    variables: &[(&str, String)],
    arguments: &[&str],
) -> (bool, String) {
    program_within(&[], folder, variables, arguments).await
}

/// As [`program`], behind what a command begins with.
async fn program_within(
    beginning: &[OsString],
    folder: &Path,
    variables: &[(&str, String)],
    arguments: &[&str],
) -> (bool, String) {
    let mut command = begun(beginning);
    command
        .current_dir(folder)
        .env_clear()
        .env("DATA_DIR", folder.join("data"))
        .envs(variables.iter().map(|(name, value)| (*name, value)))
        .args(arguments)
        .stdin(Stdio::null());
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&said).into_owned())
}

/// The program, behind what the command begins with.
fn begun(beginning: &[OsString]) -> Command {
    let program = env!("CARGO_BIN_EXE_otelcontext");
    match beginning.split_first() {
        None => Command::new(program),
        Some((first, rest)) => {
            let path = std::env::var_os("PATH").unwrap();
            let found =
                std::env::split_paths(&path).map(|folder| folder.join(first)).find(|path| path.exists());
            let mut command = Command::new(found.expect("nsenter is found: apt-get install -y util-linux"));
            command.args(rest).arg(program);
            command
        }
    }
}

/// A running server; killed when dropped.
pub(crate) struct Server {
    child: Child,
    folder: TempDir,
    variables: Vec<(String, String)>,
    /// What its command begins with.
    beginning: Vec<OsString>,
    pub(crate) grpc: String,
    pub(crate) otlp_http: String,
    pub(crate) http: String,
}

impl Server {
    /// Starts a server with these variables beside free ports and a folder of its own.
    pub(crate) async fn start(variables: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let variables =
            variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Self::start_in(folder, variables).await
    }

    /// Starts a server and waits until it listens, be it ready or not.
    pub(crate) async fn listening(variables: &[(&str, &str)]) -> Self {
        let variables =
            variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Self::listening_in(tempfile::tempdir().unwrap(), variables, Vec::new()).await
    }

    /// Starts a server that sees a volume.
    pub(crate) async fn start_within(volume: &Volume, variables: &[(&str, &str)]) -> Self {
        let variables =
            variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let server = Self::listening_in(tempfile::tempdir().unwrap(), variables, volume.enter()).await;
        server.ready().await;
        server
    }

    async fn start_in(folder: TempDir, variables: Vec<(String, String)>) -> Self {
        let server = Self::listening_in(folder, variables, Vec::new()).await;
        server.ready().await;
        server
    }

    async fn listening_in(
        folder: TempDir,
        variables: Vec<(String, String)>,
        beginning: Vec<OsString>,
    ) -> Self {
        loadsim::send::encrypt();
        let ports_file = folder.path().join("ports.json");
        let _ = std::fs::remove_file(&ports_file);
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(folder.path().join("server.log"))
            .unwrap();
        let child = begun(&beginning)
            .current_dir(&folder)
            .env_clear()
            .envs([("GRPC_PORT", "0"), ("OTLP_HTTP_PORT", "0"), ("HTTP_PORT", "0")])
            .env("DATA_DIR", folder.path().join("data"))
            .env("PORTS_FILE", &ports_file)
            .envs(variables.clone())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut server = Self {
            child,
            folder,
            variables,
            beginning,
            grpc: String::new(),
            otlp_http: String::new(),
            http: String::new(),
        };
        let ports = server.ports(&ports_file).await;
        let address = |name: &str| ports[name].as_str().unwrap().to_owned();
        (server.grpc, server.otlp_http, server.http) =
            (address("grpc"), address("otlp_http"), address("http"));
        server
    }

    async fn ports(&mut self, path: &Path) -> Value {
        let began = Instant::now();
        loop {
            if let Ok(text) = std::fs::read_to_string(path) {
                return serde_json::from_str(&text).unwrap();
            }
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!("the server ended with {status}:\n{}", self.log());
            }
            assert!(began.elapsed() < PATIENCE, "the server does not listen:\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Waits until `/ready` answers 200.
    pub(crate) async fn ready(&self) {
        self.until("ready", || async {
            let answer = reqwest::get(format!("http://{}/ready", self.http)).await;
            answer.is_ok_and(|answer| answer.status() == 200).then_some(())
        })
        .await;
    }

    /// Waits until `probe` answers something.
    pub(crate) async fn until<T, F: Future<Output = Option<T>>>(
        &self,
        what: &str,
        probe: impl Fn() -> F,
    ) -> T {
        let began = Instant::now();
        loop {
            if let Some(found) = probe().await {
                return found;
            }
            assert!(began.elapsed() < PATIENCE, "not {what} after {PATIENCE:?}:\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// The sum of the samples of a metric whose line starts with `start`.
    pub(crate) async fn metric(&self, start: &str) -> f64 {
        let text = reqwest::get(format!("http://{}/metrics", self.http)).await.unwrap().text().await.unwrap();
        let lines = text.lines().filter(|line| line.starts_with(start));
        lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }

    /// Waits until everything acknowledged is stored and searchable.
    pub(crate) async fn settled(&self) {
        self.until("settled", || async {
            let lag = self.metric("otelcontext_store_lag_requests").await;
            let waiting = self.metric("otelcontext_ingest_pipeline_queue_depth").await;
            (lag == 0.0 && waiting == 0.0).then_some(())
        })
        .await;
    }

    /// Kills the server without warning, as a crash does, and starts it anew on the same data. Answers how long it took
    /// until it was ready.
    pub(crate) async fn crash_and_restart(mut self) -> (Self, Duration) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        let folder = std::mem::replace(&mut self.folder, tempfile::tempdir().unwrap());
        let variables = self.variables.clone();
        let began = Instant::now();
        let server = Self::start_in(folder, variables).await;
        (server, began.elapsed())
    }

    /// Starts it anew on the same data once it has ended, with these variables changed, and waits until it listens.
    pub(crate) async fn again(mut self, changed: &[(&str, &str)]) -> Self {
        assert!(self.child.try_wait().unwrap().is_some(), "the server still runs");
        let folder = std::mem::replace(&mut self.folder, tempfile::tempdir().unwrap());
        let mut variables = std::mem::take(&mut self.variables);
        for (name, value) in changed {
            variables.retain(|(known, _)| known != name);
            variables.push(((*name).to_owned(), (*value).to_owned()));
        }
        let beginning = std::mem::take(&mut self.beginning);
        Self::listening_in(folder, variables, beginning).await
    }

    /// Waits until the server ends by itself; answers the exit code.
    pub(crate) async fn ended(&mut self) -> Option<i32> {
        let began = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            assert!(began.elapsed() < PATIENCE, "the server does not end:\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Sends SIGTERM and waits for the end; answers the exit code.
    pub(crate) async fn terminate(&mut self) -> Option<i32> {
        self.signal("-TERM");
        self.ended().await
    }

    /// Sends a signal, such as `-TERM`.
    pub(crate) fn signal(&self, signal: &str) {
        let status = Command::new("kill").args([signal, &self.child.id().to_string()]).status().unwrap();
        assert!(status.success());
    }

    /// Its threads: their names and how far each gives way to others, in steps of `nice(2)`.
    #[cfg(target_os = "linux")]
    pub(crate) fn threads(&self) -> Vec<(String, i32)> {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.child.id())).unwrap();
        // A thread may end meanwhile.
        let lines = tasks.filter_map(|task| std::fs::read_to_string(task.unwrap().path().join("stat")).ok());
        let of_line = |line: String| {
            let (begin, rest) = line.rsplit_once(')').unwrap();
            let name = begin.split_once('(').unwrap().1.to_owned();
            (name, rest.split_whitespace().nth(16).unwrap().parse().unwrap())
        };
        lines.map(of_line).collect()
    }

    /// Runs a command of the program with this server's data directory and variables; answers what it said and whether
    /// it succeeded.
    pub(crate) async fn command(&self, arguments: &[&str]) -> (bool, String) {
        let variables: Vec<_> =
            self.variables.iter().map(|(name, value)| (name.as_str(), value.clone())).collect();
        program_within(&self.beginning, self.folder.path(), &variables, arguments).await
    }

    /// Ends the server without warning; its folder stays until it is dropped.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Starts a server on data that is in `folder`, as `data`.
    pub(crate) async fn start_on(folder: TempDir) -> Self {
        Self::start_in(folder, Vec::new()).await
    }

    /// The folder with the server's data, as `data`, and its log.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// What the server logged.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("server.log")).unwrap_or_default()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
