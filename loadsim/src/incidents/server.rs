//! A server of its own for each case: the real binary on free ports, in a folder of its own.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use reqwest::Client;
use serde_json::Value;

use crate::mcp;

/// How long a server may take to start, and to store what it took.
const PATIENCE: Duration = Duration::from_secs(120);
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(20);
/// Servers that this process started, each of which has a folder, also where several run at once.
static STARTED: AtomicUsize = AtomicUsize::new(0);

/// A server that runs; it ends, and its folder goes, when this is dropped.
pub(crate) struct Server {
    child: Child,
    folder: PathBuf,
    client: Client,
    mcp: mcp::Client,
    /// The base URL of OTLP/HTTP.
    pub(crate) otlp: String,
    http: String,
}

impl Server {
    /// Starts `program` and waits until it is ready.
    pub(crate) async fn start(program: &Path) -> Result<Self> {
        crate::send::encrypt();
        let client = Client::builder().timeout(PATIENCE).build()?;
        let number = STARTED.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("loadsim-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
        let mut child = Command::new(program)
            .env_clear()
            .env("DATA_DIR", &folder)
            .envs([("HTTP_PORT", "0"), ("GRPC_PORT", "0"), ("OTLP_HTTP_PORT", "0")])
            .current_dir(&folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| program.display().to_string())?;
        let said = child.stderr.take().context("the server's messages")?;
        let (sender, receiver) = tokio::sync::oneshot::channel();
        std::thread::spawn(move || {
            let mut sender = Some(sender);
            for line in BufReader::new(said).lines().map_while(Result::ok) {
                let line: Value = serde_json::from_str(&line).unwrap_or_default();
                let address = |key: &str| line[key].as_str().map(|address| format!("http://{address}"));
                if line["message"] == "listening"
                    && let (Some(otlp), Some(http)) = (address("otlp_http"), address("http"))
                    && let Some(sender) = sender.take()
                {
                    drop(sender.send((otlp, http)));
                }
            }
        });
        let addresses = tokio::time::timeout(PATIENCE, receiver).await;
        let Ok(Ok((otlp, http))) = addresses else {
            drop(child.kill());
            bail!("{} did not say where it listens", program.display());
        };
        let mcp = mcp::Client::new(client.clone(), format!("{http}/mcp"));
        let server = Self { child, folder, client, mcp, otlp, http };
        let ready = format!("{}/ready", server.http);
        server.until(async |client| Ok(client.get(&ready).send().await?.status().is_success())).await?;
        Ok(server)
    }

    /// Waits until everything that was taken is stored.
    pub(crate) async fn stored(&self) -> Result<()> {
        let url = format!("{}/metrics", self.http);
        self.until(async |client| {
            let text = client.get(&url).send().await?.text().await?;
            let waiting = ["otelcontext_store_lag_requests ", "otelcontext_ingest_pipeline_queue_depth "];
            let figures =
                text.lines().filter_map(|line| waiting.iter().find_map(|name| line.strip_prefix(name)));
            Ok(figures.filter_map(|figure| figure.parse::<f64>().ok()).sum::<f64>() == 0.0)
        })
        .await
    }

    /// Calls a tool over MCP; answers its structured content.
    pub(crate) async fn ask(&self, tool: &str, arguments: Value) -> Result<Value> {
        self.mcp.ask(tool, &arguments).await.with_context(|| tool.to_owned())
    }

    /// The tools there are.
    pub(crate) async fn tools(&self) -> Result<Vec<Value>> {
        self.mcp.tools().await
    }

    /// Asks a tool until its first table has a row.
    pub(crate) async fn found(&self, tool: &str, arguments: &Value) -> Result<()> {
        self.until(async |_| {
            let content = self.ask(tool, arguments.clone()).await?;
            Ok(content["tables"][0]["rows"].as_array().is_some_and(|rows| !rows.is_empty()))
        })
        .await
    }

    async fn until(&self, is_so: impl AsyncFn(&Client) -> Result<bool>) -> Result<()> {
        let began = Instant::now();
        while !is_so(&self.client).await.unwrap_or(false) {
            ensure!(began.elapsed() < PATIENCE, "the server was not ready within {} s", PATIENCE.as_secs());
            tokio::time::sleep(PAUSE).await;
        }
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
        drop(std::fs::remove_dir_all(&self.folder));
    }
}
