//! A Postgres of its own: the installed version, on a free port, in a temporary folder.
//!
//! It needs the standard library and `tempfile` alone, so that the tests of the crate include it by its path as well:
//! `#[path = "…/tests/it/postgres/server.rs"] mod server;`.

use std::io::Write;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Output, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// What to do where there is no Postgres.
const INSTALL: &str = "apt-get install -y postgresql (or .ci/setup, which does it)";
/// How long it may take to start or to stop.
const PATIENCE: Duration = Duration::from_secs(60);
/// The account that Postgres runs under where the tests run as root, which it refuses to do.
const ACCOUNT: &str = "postgres";

/// What is special about a server.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Options {
    /// Writes are synced to the disk, so that they survive more than a crash of Postgres. Slower.
    pub(crate) fsync: bool,
    /// The server speaks TLS with a certificate for `localhost` from an authority of its own; see [`Server::file`].
    pub(crate) tls: bool,
    /// More settings for the command line, as `name=value`.
    pub(crate) settings: &'static [&'static str],
}

/// A running Postgres. It stops when this is dropped, and also when the test program ends in any other way.
///
/// Roles: `otel` with the password `otel`, which may create databases and nothing else; `postgres`, a superuser, over
/// the socket in [`Server::folder`] without a password.
#[derive(Debug)]
pub(crate) struct Server {
    options: Options,
    port: u16,
    /// The shell that watches over Postgres; none while it is down.
    watcher: Option<Watcher>,
    programs: PathBuf,
    folder: TempDir,
}

/// An open session. When it is dropped, what it began and did not commit is rolled back.
#[derive(Debug)]
pub(crate) struct Session(Child);

impl Session {
    /// Begins to do this.
    pub(crate) fn say(&mut self, text: &str) {
        let input = self.0.stdin.as_mut().unwrap();
        writeln!(input, "{text}").unwrap();
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // It ends with its input.
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

#[derive(Debug)]
struct Watcher {
    shell: Child,
    /// The shell stops Postgres when this closes.
    line: Option<ChildStdin>,
}

/// Runs Postgres until it ends or its own input does, which also closes when the test program is killed. Unless it was
/// told to keep the folder, it then removes it. Arguments: the folder, then the command.
const WATCH: &str = r#"
folder=$1; shift
exec 3<&0
"$@" 3<&- </dev/null &
postgres=$!
( read -r order <&3; [ "$order" = keep ] || : >"$folder/over"; kill -s INT $postgres ) 2>/dev/null &
wait $postgres
if [ -e "$folder/over" ]; then rm -rf "$folder"; fi
"#;

impl Server {
    /// The server that all tests of the program share: started by the first who asks, stopped when the program ends.
    pub(crate) fn shared() -> &'static Self {
        static SHARED: OnceLock<Server> = OnceLock::new();
        // Tests run beside each other, each with a pool or two.
        SHARED
            .get_or_init(|| Self::start(Options { settings: &["max_connections=300"], ..Options::default() }))
    }

    /// Starts a server and waits until it accepts connections. Panics where Postgres is missing or does not start.
    pub(crate) fn start(options: Options) -> Self {
        let programs = programs();
        let folder = tempfile::Builder::new().prefix("pg").tempdir().unwrap();
        let mut server = Self { options, port: 0, watcher: None, programs, folder };
        server.give_away();
        let initdb = as_account(server.programs.join("initdb"))
            .args(["--auth=trust", "--encoding=UTF8", "--locale=C", "--username=postgres", "--no-sync", "-D"])
            .arg(server.data())
            .current_dir(server.folder())
            .output();
        succeeded("initdb", &initdb.unwrap());
        if options.tls {
            server.make_certificates();
        }
        std::fs::write(server.data().join("pg_hba.conf"), access(options.tls)).unwrap();
        server.give_away();
        server.start_on_a_free_port();
        server.sql("postgres", "CREATE ROLE otel LOGIN CREATEDB PASSWORD 'otel'");
        server
    }

    /// A new, empty database that belongs to `otel`, as a DSN in keyword form, over TCP and without TLS.
    pub(crate) fn database(&self) -> String {
        self.dsn(&self.database_name())
    }

    /// The name of a new, empty database that belongs to `otel`.
    pub(crate) fn database_name(&self) -> String {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let name = format!("otelcontext_{}", NEXT.fetch_add(1, Ordering::Relaxed));
        self.sql("postgres", &format!("CREATE DATABASE {name} OWNER otel"));
        name
    }

    /// The DSN of a database, in keyword form.
    pub(crate) fn dsn(&self, database: &str) -> String {
        let port = self.port;
        format!("host=127.0.0.1 port={port} user=otel password=otel dbname={database} sslmode=disable")
    }

    /// The TCP port on 127.0.0.1; a restart keeps it.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// The folder of the Unix socket and of everything else that belongs to the server.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A file of the server with TLS: `ca.crt`, `server.crt`, `stranger.crt` (an authority that signed nothing), and
    /// `client.crt` with `client.key`, which prove the role `certified`.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Runs SQL as superuser with `psql`, a client that shares no code with the server under test; answers the rows,
    /// columns separated by `|`. Panics when it fails.
    pub(crate) fn sql(&self, database: &str, text: &str) -> String {
        let output = self
            .program("psql")
            .args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-U", "postgres", "-d", database])
            .args(["-p", &self.port.to_string(), "-c", text])
            .arg("-h")
            .arg(self.folder())
            .output()
            .unwrap();
        succeeded(text, &output);
        String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
    }

    /// Opens a session of `psql` as superuser.
    pub(crate) fn session(&self, database: &str) -> Session {
        let session = self
            .program("psql")
            .args(["-X", "-q", "-U", "postgres", "-d", database, "-p", &self.port.to_string(), "-h"])
            .arg(self.folder())
            .stdin(Stdio::piped())
            .spawn();
        Session(session.unwrap())
    }

    /// Ends all of Postgres at once, as a crash of the machine does (what was not synced is still in the page cache).
    /// Nothing is left behind that [`Server::restart`] would have to wait for.
    pub(crate) fn kill(&mut self) {
        let postmaster = self.postmaster().expect("the server runs");
        let children =
            std::fs::read_to_string(format!("/proc/{postmaster}/task/{postmaster}/children")).unwrap();
        let all: Vec<String> =
            std::iter::once(postmaster).chain(children.split_whitespace().map(str::to_owned)).collect();
        // The postmaster first: it would start what is missing again.
        let _ = Command::new("kill").arg("-KILL").args(&all).stderr(Stdio::null()).status();
        self.stop();
        let began = Instant::now();
        while all.iter().any(|pid| is_running(pid)) {
            assert!(began.elapsed() < PATIENCE, "postgres does not die");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Stops the server in order (a fast shutdown); nothing happens when it is down.
    pub(crate) fn stop(&mut self) {
        if let Some(mut watcher) = self.watcher.take() {
            // The watcher is gone where Postgres ended by itself.
            let _ = watcher.line.take().map(|mut line| line.write_all(b"keep\n"));
            let _ = watcher.shell.wait();
        }
    }

    /// Starts the server again on the same data and port.
    pub(crate) fn restart(&mut self) {
        self.stop();
        self.launch().unwrap_or_else(|log| panic!("postgres does not start again:\n{log}"));
    }

    /// What the server logged.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.file("log")).unwrap_or_default()
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn start_on_a_free_port(&mut self) {
        // Somebody may take the port between the look and the start.
        for _ in 0..8 {
            self.port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            match self.launch() {
                Ok(()) => return,
                Err(log) if log.contains("Address already in use") => {}
                Err(log) => panic!("postgres does not start:\n{log}"),
            }
        }
        panic!("no port stays free");
    }

    /// Starts Postgres and waits until it is ready; errs with its log when it ends before.
    fn launch(&mut self) -> Result<(), String> {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.file("log")).unwrap();
        let mut command = as_account("sh");
        command.args(["-c", WATCH, "watch"]).arg(self.folder()).arg(self.programs.join("postgres"));
        command.arg("-D").arg(self.data()).arg("-k").arg(self.folder());
        command.args(["-p", &self.port.to_string(), "-c", "listen_addresses=127.0.0.1"]);
        if !self.options.fsync {
            command.args(["-c", "fsync=off", "-c", "full_page_writes=off"]);
        }
        if self.options.tls {
            command.args(["-c", "ssl=on"]);
            for (name, file) in
                [("ssl_cert_file", "server.crt"), ("ssl_key_file", "server.key"), ("ssl_ca_file", "ca.crt")]
            {
                command.arg("-c").arg(format!("{name}={}", self.file(file).display()));
            }
        }
        command.args(self.options.settings.iter().flat_map(|setting| ["-c", setting]));
        command.current_dir(self.folder()).stdin(Stdio::piped()).stdout(Stdio::null());
        let mut shell = command.stderr(log).spawn().unwrap();
        // Were it dropped, Postgres would stop and the folder go: it is kept while this function waits.
        let mut watcher = Watcher { line: shell.stdin.take(), shell };
        let began = Instant::now();
        while !self.is_ready() {
            if watcher.shell.try_wait().unwrap().is_some() {
                return Err(self.log());
            }
            assert!(began.elapsed() < PATIENCE, "postgres is not ready:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
        self.watcher = Some(watcher);
        Ok(())
    }

    /// Postgres writes into the eighth line of this file what it is doing.
    fn is_ready(&self) -> bool {
        let status = std::fs::read_to_string(self.data().join("postmaster.pid")).unwrap_or_default();
        // A server that was killed leaves its file behind.
        let is_running = status.lines().next().is_some_and(|pid| is_running(pid.trim()));
        is_running && status.lines().nth(7).is_some_and(|line| line.trim() == "ready")
    }

    fn postmaster(&self) -> Option<String> {
        let status = std::fs::read_to_string(self.data().join("postmaster.pid")).ok()?;
        status.lines().next().map(|pid| pid.trim().to_owned())
    }
}

impl Server {
    fn program(&self, name: &str) -> Command {
        let path = self.programs.join(name);
        Command::new(if path.exists() { path } else { name.into() })
    }

    /// Lets the account that Postgres runs under own the folder.
    fn give_away(&self) {
        if is_root() {
            let output = Command::new("chown").arg("-R").arg(ACCOUNT).arg(self.folder()).output();
            succeeded("chown", &output.unwrap());
        }
    }

    /// An authority with certificates for the server (named `localhost` and nothing else) and for a client, and an
    /// authority that nobody was certified by.
    fn make_certificates(&self) {
        let openssl = |arguments: &str| {
            let output =
                Command::new("openssl").args(arguments.split(' ')).current_dir(self.folder()).output();
            succeeded("openssl", &output.expect("openssl runs: apt-get install -y openssl"));
        };
        std::fs::write(self.file("server.ext"), "subjectAltName=DNS:localhost\nbasicConstraints=CA:FALSE\n")
            .unwrap();
        std::fs::write(self.file("client.ext"), "basicConstraints=CA:FALSE\n").unwrap();
        let key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
        for authority in ["ca", "stranger"] {
            openssl(&format!(
                "req -x509 {key} -keyout {authority}.key -out {authority}.crt -days 2 -subj /CN={authority}"
            ));
        }
        for (who, name) in [("server", "localhost"), ("client", "certified")] {
            openssl(&format!("req -new {key} -keyout {who}.key -out {who}.csr -subj /CN={name}"));
            openssl(&format!(
                "x509 -req -in {who}.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 -extfile {who}.ext -out {who}.crt"
            ));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(mut watcher) = self.watcher.take() {
            drop(watcher.line.take());
            let _ = watcher.shell.wait();
        }
    }
}

/// Who may log in how.
fn access(tls: bool) -> String {
    let mut lines = String::from("local all postgres trust\nlocal all all scram-sha-256\n");
    if tls {
        lines.push_str("hostssl all certified 127.0.0.1/32 cert\n");
        lines.push_str("hostnossl all encrypted_only 127.0.0.1/32 reject\n");
        lines.push_str("hostssl all plain_only 127.0.0.1/32 reject\n");
        // As with a token: the password itself travels, inside the encrypted connection.
        lines.push_str("hostssl all entra 127.0.0.1/32 password\n");
    }
    lines.push_str("host all all 127.0.0.1/32 scram-sha-256\n");
    lines
}

/// The folder of the newest installed server.
fn programs() -> PathBuf {
    let told = Command::new("pg_config").arg("--bindir").output().ok();
    let told = told.map(|output| PathBuf::from(String::from_utf8_lossy(&output.stdout).trim()));
    let mut packaged: Vec<PathBuf> = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .collect();
    packaged.sort_by_key(|path| path.file_name().and_then(|name| name.to_str()?.parse::<u32>().ok()));
    let packaged = packaged.into_iter().rev().map(|path| path.join("bin"));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut all = told.into_iter().chain(packaged).chain(std::env::split_paths(&path));
    all.find(|folder| ["postgres", "initdb"].iter().all(|program| folder.join(program).exists()))
        .unwrap_or_else(|| panic!("no Postgres server is installed: {INSTALL}"))
}

/// A command that runs under an account that Postgres accepts.
fn as_account(program: impl AsRef<std::ffi::OsStr>) -> Command {
    if !is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid", ACCOUNT, "--regid", ACCOUNT, "--clear-groups", "--"]).arg(program);
    command
}

fn is_root() -> bool {
    static ROOT: OnceLock<bool> = OnceLock::new();
    *ROOT.get_or_init(|| Command::new("id").arg("-u").output().unwrap().stdout.trim_ascii() == b"0")
}

/// True while a process does anything; one that nobody has asked about since it ended does not.
fn is_running(pid: &str) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = status.rsplit(')').next().and_then(|rest| rest.trim_start().chars().next());
    state.is_some_and(|state| !"ZX".contains(state))
}

fn succeeded(what: &str, output: &Output) {
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{what}: {}:\n{told}", output.status);
}
