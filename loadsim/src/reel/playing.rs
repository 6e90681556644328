//! Plays a reel: every request is made when it is due by the clock, and sent whether or not the server keeps up.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use tokio::task::JoinSet;

use super::strip::Limits;
use super::{Reel, Showing};
use crate::accounts::Accounts;
use crate::ledger::Ledger;
use crate::send::Sender;

/// One phase of playing.
pub(crate) struct Playing {
    /// What is played.
    pub(crate) reel: Arc<Reel>,
    /// The connections. Each carries one request of each kind of item at a time, as an SDK's exporters do.
    pub(crate) senders: Vec<Sender>,
    /// When requests are cut.
    pub(crate) limits: Limits,
    /// When and as what it is played.
    pub(crate) showing: Showing,
    /// Where the fate of requests is entered.
    pub(crate) accounts: Accounts,
}

impl Playing {
    /// Plays until everything that was due has been answered or given up. Progress is told once a second.
    ///
    /// # Errors
    /// When a task fails, which is a defect.
    pub(crate) async fn play(self, progress: &impl Fn(&Ledger, Duration)) -> Result<()> {
        let (began, playing) = (Instant::now(), Arc::new(self));
        let mut tasks = JoinSet::new();
        for position in 0..playing.reel.strips.len() {
            tasks.spawn(Arc::clone(&playing).strip(position, began));
        }
        let second = Duration::from_secs(1);
        let mut seconds = tokio::time::interval_at((began + second).into(), second);
        let end = began + Duration::from_nanos(playing.limits.end_ns);
        loop {
            tokio::select! {
                ended = tasks.join_next() => match ended {
                    Some(ended) => ended.context("a connection's task failed")?,
                    None => break,
                },
                _ = seconds.tick() => progress(&playing.accounts.sums, began.elapsed()),
            }
        }
        // Also where the last request was due earlier, or where there were none: the length of a phase is what was asked.
        tokio::time::sleep_until(end.into()).await;
        Ok(())
    }

    async fn strip(self: Arc<Self>, position: usize, began: Instant) {
        let strip = &self.reel.strips[position];
        let sender = &self.senders[strip.lane];
        let mut next = strip.start();
        while let Some(cut) = strip.cut(&next, self.limits) {
            next = cut.end();
            let due = began + Duration::from_nanos(cut.due_ns);
            tokio::time::sleep_until(due.into()).await;
            // Made late, so that requests which wait for a slow server take no memory.
            let request = self.reel.request(strip, &cut, &self.showing);
            let delivery = sender.deliver(&request).await;
            self.accounts.enter(strip.lane, &request, &delivery, due.elapsed());
        }
    }
}
