//! Files of OTLP/JSON lines through the door of a server.
//!
//! A few lines are on their way at once. When all of them were answered the position is saved, so an import that was
//! killed and resumed sends at most those few lines again: of them, spans are recognised by the server, log records
//! and points are not.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::account::Account;
use super::backup::blocking;
use super::deliver::{Deliverer, Door, Parcel, Request};
use super::error::Error;
use super::files;
use super::lines::{LINE_BYTES_MAX, Line, Lines};
use super::progress::{Progress, Unit};
use crate::clock::Clock;
use crate::decode::{self, Encoding, Limits};
use crate::model::batch::Signal;
use crate::model::tenant::TenantId;
use crate::model::time::UnixNanos;

/// Lines on their way at once, and their bytes, of which one line may be more.
const WINDOW: (usize, usize) = (8, 16 * 1024 * 1024);

/// What to import, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// The files, in order.
    pub files: Vec<PathBuf>,
    /// Whose; the server's default where there is none.
    pub tenant: Option<TenantId>,
    /// Whether a bad line ends the import.
    pub strict: bool,
    /// Where the position is kept, to go on from after an interruption.
    pub state: Option<PathBuf>,
}

/// How far an import is.
#[derive(Debug, Clone, PartialEq, Eq)]
struct State {
    /// The file that is being read, by its place among the files.
    file: usize,
    /// Where the next line begins in it.
    offset: u64,
    /// Lines before it.
    lines: u64,
    account: Account,
}

/// Imports; answers the account, that of earlier runs with the same state file included.
///
/// # Errors
/// When a file cannot be read, the state is that of other files, the server takes nothing, or, where `strict`, at the
/// first bad line. What was taken until then stays taken.
pub async fn run<D: Door + 'static>(
    options: &Options,
    deliverer: std::sync::Arc<Deliverer<D>>,
    clock: &Clock,
    progress: &Progress,
) -> Result<Account, Error> {
    let mut state = match &options.state {
        Some(path) if path.exists() => State::read(path, &options.files)?,
        _ => State { file: 0, offset: 0, lines: 0, account: Account::default() },
    };
    progress.begin("importing", Unit::Items, 0);
    progress.set(state.account.accepted);
    while let Some(path) = options.files.get(state.file) {
        let (file, offset, count) = (path.clone(), state.offset, state.lines);
        let mut lines = blocking(move || Lines::open(&file, offset, count)).await?;
        loop {
            let (window, rest) = blocking(move || gather(lines)).await?;
            lines = rest;
            let Some(last) = window.last() else { break };
            let (offset, count) = (last.next, last.number);
            // After a bad line the position stays, so some lines before it may come twice; none is left out.
            send(options, path, window, (&deliverer, clock), &mut state.account, progress).await?;
            (state.offset, state.lines) = (offset, count);
            state.save(options)?;
        }
        state = State { file: state.file + 1, offset: 0, lines: 0, account: state.account };
        state.save(options)?;
    }
    Ok(state.account)
}

/// Reads some lines.
fn gather(mut lines: Lines) -> Result<(Vec<Line>, Lines), Error> {
    let mut window: Vec<Line> = Vec::new();
    let mut bytes = 0;
    while window.len() < WINDOW.0 && bytes < WINDOW.1 {
        let Some(line) = lines.next_line()? else { break };
        bytes += line.text.as_ref().map_or(0, Vec::len);
        window.push(line);
    }
    Ok((window, lines))
}

/// Sends some lines at once and waits for all of them.
async fn send<D: Door + 'static>(
    options: &Options,
    path: &Path,
    window: Vec<Line>,
    (deliverer, clock): (&std::sync::Arc<Deliverer<D>>, &Clock),
    account: &mut Account,
    progress: &Progress,
) -> Result<(), Error> {
    let mut tasks = JoinSet::new();
    let received = clock.now();
    let mut bad = None;
    for line in window {
        account.read += 1;
        let tenant = options.tenant.clone();
        let number = line.number;
        match blocking(move || Ok(read(line, tenant, received))).await? {
            Content::Empty => account.empty += 1,
            Content::Bad(reason) => {
                account.bad_line(&path.display().to_string(), number, reason.clone());
                if options.strict {
                    bad = Some(Error::BadLine { path: path.to_owned(), line: number, reason });
                    break;
                }
            }
            Content::Parcel(parcel) => {
                let deliverer = std::sync::Arc::clone(deliverer);
                tasks.spawn(async move { deliverer.deliver(*parcel).await });
            }
        }
    }
    while let Some(ended) = tasks.join_next().await {
        let lost = |cause| Error::Store(crate::store::error::Error::Lost(cause));
        let sent = ended.map_err(lost)??;
        progress.add(sent.accepted);
        account.add(&sent);
    }
    bad.map_or(Ok(()), Err)
}

/// What a line is.
pub(super) enum Content {
    Empty,
    Bad(String),
    Parcel(Box<Parcel>),
}

pub(super) fn read(line: Line, tenant: Option<TenantId>, received: UnixNanos) -> Content {
    let Some(text) = line.text else {
        return Content::Bad(format!("longer than {LINE_BYTES_MAX} bytes"));
    };
    if text.iter().all(u8::is_ascii_whitespace) {
        return Content::Empty;
    }
    let Some(signal) = signal_of(&text) else {
        return Content::Bad("no object with resourceSpans, resourceLogs or resourceMetrics".to_owned());
    };
    let body = Bytes::from(text);
    // What is too much for the server at once is split before it refuses it for good.
    let limits = Limits { items_max: 10_000_000, attributes_max: 100_000_000, ..Limits::default() };
    match decode::decode(signal, Encoding::Json, &body, received, &limits) {
        Ok(decoded) => {
            let items = decoded.batch.items() as u64 + decoded.rejected;
            let request = Request { signal, tenant, encoding: Encoding::Json, body };
            let invalid = decoded.message.filter(|_| decoded.rejected > 0);
            Content::Parcel(Box::new(Parcel { request, items, batch: decoded.batch, invalid }))
        }
        Err(error) => Content::Bad(crate::fault::chain(&error)),
    }
}

/// The signal of a request, by the first of the three names that stands in it as a name.
fn signal_of(text: &[u8]) -> Option<Signal> {
    const NAMES: [(&[u8], Signal); 3] = [
        (b"\"resourceSpans\"", Signal::Traces),
        (b"\"resourceLogs\"", Signal::Logs),
        (b"\"resourceMetrics\"", Signal::Metrics),
    ];
    let start = text.iter().position(|byte| !byte.is_ascii_whitespace())?;
    let inner = text[start..].strip_prefix(b"{")?;
    let name = inner.iter().position(|byte| !byte.is_ascii_whitespace())?;
    let first = NAMES.iter().find(|(quoted, _)| inner[name..].starts_with(quoted));
    // Another member may stand first; that is rare enough to read the whole line for.
    first.map(|(_, signal)| *signal).or_else(|| {
        let value: Value = serde_json::from_slice(text).ok()?;
        let named = |quoted: &[u8]| {
            let name = std::str::from_utf8(quoted).unwrap_or_default().trim_matches('"');
            value.get(name).is_some()
        };
        NAMES.iter().find(|(quoted, _)| named(quoted)).map(|(_, signal)| *signal)
    })
}

impl State {
    /// Reads the state at `path`, which must be that of `files`.
    fn read(path: &Path, files: &[PathBuf]) -> Result<Self, Error> {
        let foreign = || Error::State { path: path.to_owned() };
        let text = std::fs::read(path).map_err(Error::io("read", path))?;
        let value: Value = serde_json::from_slice(&text).map_err(|_| foreign())?;
        let names: Vec<Value> = files.iter().map(|file| json!(file.to_string_lossy())).collect();
        if value["files"] != json!(names) {
            return Err(foreign());
        }
        let read = || {
            Some(Self {
                file: usize::try_from(value["file"].as_u64()?).ok()?,
                offset: value["offset"].as_u64()?,
                lines: value["lines"].as_u64()?,
                account: Account::from_json(&value["account"])?,
            })
        };
        read().ok_or_else(foreign)
    }

    /// Keeps the state where the options say so, durably.
    fn save(&self, options: &Options) -> Result<(), Error> {
        let Some(path) = &options.state else { return Ok(()) };
        let names: Vec<_> = options.files.iter().map(|file| file.to_string_lossy()).collect();
        let value = json!({
            "files": names,
            "file": self.file,
            "offset": self.offset,
            "lines": self.lines,
            "account": self.account.to_json(),
        });
        files::write(path, value.to_string().as_bytes())
    }
}
