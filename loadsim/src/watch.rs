//! What is looked at beside a load: the server's figures over time, questions to it, and from when on it answers with what was
//! sent last.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::accounts::Accounts;
use crate::ask::tally::Asked;
use crate::ask::{self, Asker};
use crate::figures::{self, Figures, Source};
use crate::ledger::Ledger;
use crate::queryable::{self, Api, Queryable};
use crate::report::Server;
use crate::send;
use crate::series::{self, Point};

/// What to look at; by default only what loadsim knows itself.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The server's metrics, for its own figures. Then it is waited for after the warm-up and after the run, until it has stored
    /// what it acknowledged.
    pub metrics_url: Option<String>,
    /// Questions to put during the run.
    pub ask: Option<ask::Options>,
    /// The base URL of the server's API, which is asked after the run until it answers with what was acknowledged last.
    pub queryable: Option<String>,
}

/// Who looks.
pub(crate) struct Watch {
    source: Option<Source>,
    asker: Option<Asker>,
    api: Option<Api>,
}

/// What was seen.
#[derive(Debug, Default)]
pub(crate) struct Watched {
    /// What the server says about itself.
    pub(crate) server: Option<Server>,
    /// The run over time.
    pub(crate) series: Vec<Point>,
    /// How questions went.
    pub(crate) asked: Option<Asked>,
    /// From when on the last items were answered.
    pub(crate) queryable: Option<Queryable>,
    /// What could not be looked at, and why.
    pub(crate) unseen: Vec<String>,
}

impl Watch {
    /// Prepares to look, as whoever sends the load.
    ///
    /// # Errors
    /// When there is nobody to ask.
    pub(crate) async fn new(options: &Options, send: &send::Options) -> Result<Self> {
        let asker = match &options.ask {
            Some(ask) => Some(Asker::new(ask, send).await?),
            None => None,
        };
        let api = match &options.queryable {
            Some(url) => Some(Api::new(url, send).await?),
            None => None,
        };
        Ok(Self { source: options.metrics_url.as_deref().map(Source::new).transpose()?, asker, api })
    }

    /// The server's figures, where they are looked at.
    ///
    /// # Errors
    /// When they cannot be read.
    pub(crate) async fn figures(&self) -> Result<Option<Figures>> {
        match &self.source {
            Some(source) => source.read().await.context("--metrics-url").map(Some),
            None => Ok(None),
        }
    }

    /// Waits until what `ledger` has as acknowledged since `before` is stored; answers the figures then.
    ///
    /// # Errors
    /// When they cannot be read.
    pub(crate) async fn caught_up(
        &self,
        before: Option<Figures>,
        ledger: &Ledger,
    ) -> Result<Option<Figures>> {
        if let Some((source, before)) = self.source.as_ref().zip(before) {
            figures::catch_up(source, &before, ledger).await?;
        }
        self.figures().await
    }

    /// Begins to look at a run of this length; `before` is what the server's figures are.
    pub(crate) fn begin(self, before: Option<Figures>, accounts: &Accounts, length: Duration) -> Watching {
        let (end_series, ended) = oneshot::channel();
        let server = self.source.clone().zip(before);
        let series = tokio::spawn(series::record(Arc::clone(&accounts.sums), server, length, ended));
        let asking = self.asker.map(|asker| {
            let (end, ended) = oneshot::channel();
            (end, tokio::spawn(asker.ask(ended)))
        });
        let (server, accounts) = (self.source.zip(before), accounts.clone());
        Watching { server, api: self.api, accounts, series: (end_series, series), asking }
    }
}

/// A task, and what tells it that the run is over.
type Task<T> = (oneshot::Sender<()>, JoinHandle<T>);

/// Looks that are under way.
pub(crate) struct Watching {
    server: Option<(Source, Figures)>,
    api: Option<Api>,
    accounts: Accounts,
    series: Task<Vec<Point>>,
    asking: Option<Task<Asked>>,
}

impl Watching {
    /// Ends the looks that accompany the run, which took so many seconds, and waits for what the server does after it. What
    /// cannot be looked at any more is told: it is no reason to lose the rest.
    pub(crate) async fn end(self, seconds: f64) -> Watched {
        let Self { server, api, accounts, series, asking } = self;
        let server = async {
            let (source, before) = server.as_ref()?;
            Some(
                figures::catch_up(source, before, &accounts.sums)
                    .await
                    .map(|it| figures::server(before, &it, seconds)),
            )
        };
        let queryable = async {
            let lasts = accounts.lasts.as_ref();
            Some(queryable::measure(api.as_ref()?, lasts?).await)
        };
        let asked = async {
            match asking {
                Some(asking) => over(asking).await,
                None => None,
            }
        };
        let (server, queryable, series, asked) = tokio::join!(server, queryable, over(series), asked);
        let mut watched =
            Watched { queryable, asked, series: series.unwrap_or_default(), ..Watched::default() };
        match server {
            Some(Ok(server)) => watched.server = Some(server),
            Some(Err(error)) => watched.unseen.push(format!("the server's figures: {error:#}")),
            None => {}
        }
        watched
    }
}

/// Ends a task; nothing where it failed, which is a defect that told of itself.
async fn over<T>((end, task): Task<T>) -> Option<T> {
    // Who ended already does not listen.
    let _ = end.send(());
    task.await.ok()
}
