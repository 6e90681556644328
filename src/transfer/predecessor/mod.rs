//! The database of the Go program that came before, through the door of a server.
//!
//! Spans, log records and metric buckets are carried over, each to its tenant. What that program did not keep (span
//! kinds, resources, scopes, links, the kind of a metric) cannot come back; what of its rows cannot be carried is
//! counted with the reason. Rows are read by number, so an import that was killed goes on behind the last page.

mod convert;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::account::Account;
use super::deliver::{self, Deliverer, Door};
use super::error::Error;
use super::files;
use super::progress::{Progress, Unit};
use crate::model::batch::Batch;
use crate::model::log::LogRecord;
use crate::model::metric::Metric;
use crate::model::span::Span;
use crate::model::tenant::TenantId;
use crate::store::predecessor::Predecessor;

/// Rows of one page.
const PAGE: u32 = 1_000;

/// What to carry over, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// The predecessor's database.
    pub database: PathBuf,
    /// Gives everything to one tenant, whatever the rows say.
    pub tenant: Option<TenantId>,
    /// Where the position is kept, to go on from after an interruption.
    pub state: Option<PathBuf>,
}

/// The tables that are carried over, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Table {
    Spans,
    Logs,
    Buckets,
}

impl Table {
    const ALL: [Self; 3] = [Self::Spans, Self::Logs, Self::Buckets];

    const fn name(self) -> &'static str {
        ["spans", "logs", "metric_buckets"][self as usize]
    }
}

/// The last number that was carried of each table, and the account so far.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct State {
    after: [i64; 3],
    account: Account,
}

/// Carries everything over; answers the account, that of earlier runs with the same state file included.
///
/// # Errors
/// When the file is not a predecessor's, the state is that of another file, or the server takes nothing.
pub async fn run<D: Door>(
    options: &Options,
    deliverer: &Deliverer<D>,
    progress: &Progress,
) -> Result<Account, Error> {
    let mut source = Predecessor::open(&options.database).await?;
    let counts = source.counts().await?;
    let count_of = |table: &str| counts.iter().find(|(name, _)| name == table).map_or(0, |(_, count)| *count);
    let mut state = match &options.state {
        Some(path) if path.exists() => State::read(path, &options.database)?,
        _ => State { after: [0; 3], account: left_behind(&counts) },
    };
    progress.begin("importing", Unit::Items, Table::ALL.iter().map(|table| count_of(table.name())).sum());
    progress.set(state.account.read);
    for table in Table::ALL {
        loop {
            let after = state.after[table as usize];
            let mut page = Page { tenant: options.tenant.clone(), ..Page::default() };
            let Some(last) = page.read(&mut source, table, after).await? else { break };
            let read = page.account.read;
            for parcel in page.batches.into_iter().flat_map(|(tenant, items)| items.parcels(&tenant)) {
                let taken = deliverer.deliver(parcel).await?;
                state.account.add(&taken);
            }
            state.account.add(&page.account);
            state.after[table as usize] = last;
            state.save(options)?;
            progress.add(read);
        }
    }
    source.close().await?;
    Ok(state.account)
}

/// An account of the rows in tables that are not carried over.
fn left_behind(counts: &[(String, u64)]) -> Account {
    let mut account = Account::default();
    for (table, rows) in counts.iter().filter(|(_, rows)| *rows > 0) {
        let reason = match table.as_str() {
            "spans" | "logs" | "metric_buckets" => continue,
            "traces" => "rows of `traces`: they are made anew from the spans",
            "drain_templates" => "rows of `drain_templates`: templates are mined anew from the log records",
            "graph_snapshots" => "rows of `graph_snapshots`: the graph is made anew from the spans",
            "investigations" => "rows of `investigations`: those of agents here rest on other evidence",
            _ => {
                account.note(&format!("rows of `{table}`: an unknown table, left behind"), *rows);
                continue;
            }
        };
        account.note(reason, *rows);
    }
    account
}

/// Converted rows of one tenant, by the service that sent them.
#[derive(Debug, Default)]
struct Items {
    spans: BTreeMap<String, Vec<Span>>,
    logs: BTreeMap<String, Vec<LogRecord>>,
    metrics: BTreeMap<String, Vec<Metric>>,
}

impl Items {
    fn parcels(self, tenant: &TenantId) -> Vec<deliver::Parcel> {
        let batches = [
            Batch::Traces(convert::groups(self.spans)),
            Batch::Logs(convert::groups(self.logs)),
            Batch::Metrics(convert::groups(self.metrics)),
        ];
        let full = batches.into_iter().filter(|batch| batch.items() > 0);
        full.map(|batch| deliver::packed(batch, Some(tenant.clone()))).collect()
    }
}

/// One page of a table, converted.
#[derive(Debug, Default)]
struct Page {
    tenant: Option<TenantId>,
    batches: BTreeMap<TenantId, Items>,
    account: Account,
}

impl Page {
    /// Reads and converts the rows after number `after`; answers the last number, or none at the end.
    async fn read(
        &mut self,
        source: &mut Predecessor,
        table: Table,
        after: i64,
    ) -> Result<Option<i64>, Error> {
        let mut last = None;
        match table {
            Table::Spans => {
                for row in source.spans(after, PAGE).await? {
                    last = Some(row.id);
                    let converted = convert::span(&row);
                    self.take(&row.tenant, converted, |items, span| {
                        items.spans.entry(row.service.clone()).or_default().push(span);
                    });
                }
            }
            Table::Logs => {
                for row in source.logs(after, PAGE).await? {
                    last = Some(row.id);
                    let converted = convert::log(&row);
                    self.take(&row.tenant, converted, |items, record| {
                        items.logs.entry(row.service.clone()).or_default().push(record);
                    });
                }
            }
            Table::Buckets => {
                for row in source.buckets(after, PAGE).await? {
                    last = Some(row.id);
                    let converted = convert::bucket(&row);
                    self.take(&row.tenant, converted, |items, metric| {
                        items.metrics.entry(row.service.clone()).or_default().push(metric);
                    });
                }
            }
        }
        Ok(last)
    }

    /// Puts a converted row where it belongs and counts what it lacks, or counts why it cannot be carried.
    fn take<T>(
        &mut self,
        tenant: &str,
        converted: Result<convert::Carried<T>, &'static str>,
        put: impl FnOnce(&mut Items, T),
    ) {
        self.account.read += 1;
        let tenant = match &self.tenant {
            Some(tenant) => Ok(tenant.clone()),
            // Rows from before there were tenants.
            None if tenant.is_empty() => TenantId::try_from("default"),
            None => TenantId::try_from(tenant),
        };
        let outcome = converted.and_then(|carried| {
            Ok((carried, tenant.map_err(|_| "a tenant name that is not allowed here: give --tenant")?))
        });
        match outcome {
            Ok((carried, tenant)) => {
                carried.missing.iter().for_each(|reason| self.account.note(reason, 1));
                put(self.batches.entry(tenant).or_default(), carried.item);
            }
            Err(reason) => {
                self.account.lost += 1;
                self.account.note(reason, 1);
            }
        }
    }
}

impl State {
    /// Reads the state at `path`, which must be that of `database`.
    fn read(path: &Path, database: &Path) -> Result<Self, Error> {
        let foreign = || Error::State { path: path.to_owned() };
        let text = std::fs::read(path).map_err(Error::io("read", path))?;
        let value: Value = serde_json::from_slice(&text).map_err(|_| foreign())?;
        if value["database"] != json!(database.to_string_lossy()) {
            return Err(foreign());
        }
        let mut after = [0; 3];
        for table in Table::ALL {
            after[table as usize] = value["after"][table.name()].as_i64().ok_or_else(foreign)?;
        }
        let account = Account::from_json(&value["account"]).ok_or_else(foreign)?;
        Ok(Self { after, account })
    }

    /// Keeps the state where the options say so, durably.
    fn save(&self, options: &Options) -> Result<(), Error> {
        let Some(path) = &options.state else { return Ok(()) };
        let after: BTreeMap<&str, i64> =
            Table::ALL.into_iter().map(|table| (table.name(), self.after[table as usize])).collect();
        let value = json!({
            "database": options.database.to_string_lossy(),
            "after": after,
            "account": self.account.to_json(),
        });
        files::write(path, value.to_string().as_bytes())
    }
}
