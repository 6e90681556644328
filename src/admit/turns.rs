//! How many questions are worked on at once, and for whom.
//!
//! Those who wait are served in the order in which they came among the questions of one tenant, and the tenants that wait
//! are served by turns: however many questions of one tenant wait, the first of another waits for one of them at most.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use crate::model::tenant::TenantId;

use super::Error;
use super::recent::{ACTIVE, Recent};

/// Questions of one tenant that may wait; the next is refused at once.
const TENANT_WAITING_MAX: usize = 256;
/// Questions that may wait in all; the next is refused at once.
const WAITING_MAX: usize = 1_024;

const _: () = assert!(TENANT_WAITING_MAX <= WAITING_MAX / 2);

/// So many questions at once, of which one tenant has half at most while others ask; cheap to clone.
#[derive(Debug, Clone)]
pub struct Turns(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    at_once_max: usize,
    /// Questions of one tenant, and in all, that may wait.
    waiting_max: (usize, usize),
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    held: HashMap<TenantId, usize>,
    all: usize,
    recent: Recent<TenantId>,
    /// The tenants that wait; the first that may have a turn is served next, and stands behind the others then.
    lines: VecDeque<Line>,
}

/// The questions of a tenant that wait, in the order in which they came.
#[derive(Debug)]
struct Line {
    tenant: TenantId,
    waiting: VecDeque<oneshot::Sender<Turn>>,
}

/// A question that is worked on. Dropping it makes room for the next.
#[derive(Debug)]
pub struct Turn {
    shared: Arc<Shared>,
    tenant: TenantId,
}

impl Turns {
    /// Room for so many at once.
    pub fn new(at_once_max: usize) -> Self {
        Self::bounded(at_once_max, (TENANT_WAITING_MAX, WAITING_MAX))
    }

    /// The same for what something else bounds while it waits.
    pub fn however_many_wait(at_once_max: usize) -> Self {
        Self::bounded(at_once_max, (usize::MAX, usize::MAX))
    }

    fn bounded(at_once_max: usize, waiting_max: (usize, usize)) -> Self {
        Self(Arc::new(Shared { at_once_max, waiting_max, state: Mutex::default() }))
    }

    /// A turn of the tenant; none where all are taken, where it has its share and others ask too, or where another question
    /// of it waits already.
    pub fn take(&self, tenant: &TenantId) -> Option<Turn> {
        // Its share may have become larger since it was looked last.
        self.0.serve();
        let (mut state, now) = (self.0.state(), Instant::now());
        state.recent.note(tenant, now);
        let waits = state.lines.iter().any(|line| line.tenant == *tenant);
        if waits || !state.has_room(tenant, self.0.at_once_max, now) {
            return None;
        }
        state.hold(tenant);
        Some(Turn { shared: Arc::clone(&self.0), tenant: tenant.clone() })
    }

    /// The same, once it is this question's turn.
    ///
    /// # Errors
    /// [`Error::Waiting`] and [`Error::TenantWaits`] at once where as many wait as may, [`Error::Busy`] where its turn did not come
    /// within `wait`.
    pub async fn wait(&self, tenant: &TenantId, wait: Duration) -> Result<Turn, Error> {
        if let Some(turn) = self.take(tenant) {
            return Ok(turn);
        }
        let coming = self.0.state().line_up(tenant, self.0.waiting_max)?;
        // Who left in between served nobody.
        self.0.serve();
        let come = tokio::time::timeout(wait, coming).await;
        come.ok().and_then(Result::ok).ok_or(Error::Busy { wait })
    }
}

impl Shared {
    /// Consistent between statements, so a panic under the lock leaves it usable.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands out the turns that are free and that somebody who waits may have.
    fn serve(self: &Arc<Self>) {
        loop {
            let next = self.state().next(self.at_once_max, Instant::now());
            let Some((tenant, waiting)) = next else { return };
            // Not under the lock: where the question was given up a moment ago, its turn ends here.
            drop(waiting.send(Turn { shared: Arc::clone(self), tenant }));
        }
    }
}

impl State {
    /// Whether the tenant may have one more of `all` turns.
    fn has_room(&self, tenant: &TenantId, all: usize, now: Instant) -> bool {
        let share = if self.recent.has_others(tenant, now, ACTIVE) { all.div_ceil(2) } else { all };
        self.all < all && self.held.get(tenant).is_none_or(|held| *held < share)
    }

    fn hold(&mut self, tenant: &TenantId) {
        self.all += 1;
        *self.held.entry(tenant.clone()).or_default() += 1;
    }

    fn leave(&mut self, tenant: &TenantId) {
        self.all = self.all.saturating_sub(1);
        if let Some(held) = self.held.get_mut(tenant) {
            *held = held.saturating_sub(1);
            if *held == 0 {
                self.held.remove(tenant);
            }
        }
    }

    /// Lets a question of the tenant wait behind its others.
    fn line_up(
        &mut self,
        tenant: &TenantId,
        (tenant_max, all_max): (usize, usize),
    ) -> Result<oneshot::Receiver<Turn>, Error> {
        self.forget_given_up();
        if self.lines.iter().map(|line| line.waiting.len()).sum::<usize>() >= all_max {
            return Err(Error::Waiting { waiting_max: all_max });
        }
        let (waiting, coming) = oneshot::channel();
        match self.lines.iter_mut().find(|line| line.tenant == *tenant) {
            Some(line) if line.waiting.len() >= tenant_max => {
                return Err(Error::TenantWaits { waiting_max: tenant_max });
            }
            Some(line) => line.waiting.push_back(waiting),
            None => {
                let waiting = VecDeque::from([waiting]);
                self.lines.push_back(Line { tenant: tenant.clone(), waiting });
            }
        }
        Ok(coming)
    }

    /// The question that is served next, and its tenant, which holds one more turn from here on.
    fn next(&mut self, all: usize, now: Instant) -> Option<(TenantId, oneshot::Sender<Turn>)> {
        self.forget_given_up();
        let at = self.lines.iter().position(|line| self.has_room(&line.tenant, all, now))?;
        let mut line = self.lines.remove(at)?;
        let (tenant, next) = (line.tenant.clone(), line.waiting.pop_front()?);
        if !line.waiting.is_empty() {
            self.lines.push_back(line);
        }
        self.hold(&tenant);
        Some((tenant, next))
    }

    /// Forgets questions that nobody waits for any more.
    fn forget_given_up(&mut self) {
        self.lines.iter_mut().for_each(|line| line.waiting.retain(|waiting| !waiting.is_closed()));
        self.lines.retain(|line| !line.waiting.is_empty());
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.shared.state().leave(&self.tenant);
        self.shared.serve();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenant(name: &str) -> TenantId {
        TenantId::try_from(name).unwrap()
    }

    #[test]
    fn who_is_alone_has_all_turns_and_half_of_them_beside_others() {
        let (turns, one, other) = (Turns::new(4), tenant("one"), tenant("other"));
        let mut held: Vec<Turn> = std::iter::from_fn(|| turns.take(&one)).collect();
        assert_eq!(held.len(), 4);
        assert!(turns.take(&other).is_none(), "none is left, but it was heard");
        held.truncate(2);
        assert!(turns.take(&one).is_none(), "it has its share");
        let others: Vec<Turn> = std::iter::from_fn(|| turns.take(&other)).collect();
        assert_eq!(others.len(), 2);
        held.clear();
        assert!(turns.take(&one).is_some());
        assert!(Turns::new(1).take(&one).is_some());
        assert!(Turns::new(0).take(&one).is_none());
    }

    /// The names in the order in which their questions are served, when they came in this one and the only turn is taken.
    async fn served(names: &[&'static str]) -> Vec<&'static str> {
        let (turns, order) = (Turns::new(1), Arc::new(Mutex::new(Vec::new())));
        let first = turns.take(&tenant("first")).unwrap();
        let mut waiting = Vec::new();
        for name in names.iter().copied() {
            let (turns, order) = (turns.clone(), Arc::clone(&order));
            waiting.push(tokio::spawn(async move {
                let tenant = tenant(name.trim_end_matches(|c: char| c.is_ascii_digit()));
                let turn = turns.wait(&tenant, Duration::from_secs(60)).await.unwrap();
                order.lock().unwrap().push(name);
                drop(turn);
            }));
            tokio::task::yield_now().await;
        }
        drop(first);
        for waiting in waiting {
            waiting.await.unwrap();
        }
        std::mem::take(&mut *order.lock().unwrap())
    }

    #[tokio::test(start_paused = true)]
    async fn who_came_first_is_served_first_and_tenants_take_turns() {
        assert_eq!(served(&["a1", "a2", "a3"]).await, ["a1", "a2", "a3"]);
        assert_eq!(served(&["a1", "a2", "a3", "b1", "c1", "b2"]).await, ["a1", "b1", "c1", "a2", "b2", "a3"]);
    }

    #[tokio::test(start_paused = true)]
    async fn who_comes_later_does_not_overtake_who_waits() {
        let (turns, one, other) = (Turns::new(1), tenant("one"), tenant("other"));
        let turn = turns.take(&one).unwrap();
        let mut waiting = std::pin::pin!(turns.wait(&other, Duration::from_secs(60)));
        assert!(tokio::time::timeout(Duration::ZERO, &mut waiting).await.is_err(), "it waits");
        drop(turn);
        assert!(turns.take(&one).is_none(), "the turn is that of who waited");
        let turn = waiting.await.unwrap();
        assert!(turns.take(&one).is_none());
        drop(turn);
        assert!(turns.take(&one).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_turn_that_nobody_waits_for_any_more_goes_to_the_next() {
        let (turns, one, other) = (Turns::new(1), tenant("one"), tenant("other"));
        let turn = turns.take(&one).unwrap();
        let gone = tokio::time::timeout(Duration::ZERO, turns.wait(&other, Duration::from_secs(60))).await;
        assert!(gone.is_err());
        let mut given_up = Box::pin(turns.wait(&other, Duration::from_secs(60)));
        assert!(tokio::time::timeout(Duration::ZERO, &mut given_up).await.is_err());
        drop(turn);
        // It has its turn already, and does not know.
        drop(given_up);
        assert!(turns.take(&one).is_some());
        assert!(turns.0.state().lines.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn so_many_wait_and_the_next_is_refused_at_once() {
        let (turns, hour) = (Turns::new(1), Duration::from_secs(3_600));
        let turn = turns.take(&tenant("first")).unwrap();
        let mut waiting = Vec::new();
        for number in 0..=WAITING_MAX {
            let tenant = tenant(&format!("t{}", number / TENANT_WAITING_MAX));
            let mut question = Box::pin({
                let (turns, tenant) = (turns.clone(), tenant.clone());
                async move { turns.wait(&tenant, hour).await.map(drop) }
            });
            let told = tokio::time::timeout(Duration::ZERO, &mut question).await;
            if number == WAITING_MAX {
                assert_eq!(told, Ok(Err(Error::Waiting { waiting_max: WAITING_MAX })));
            } else {
                assert!(told.is_err(), "{number} waits");
                waiting.push(question);
            }
            if number + 1 == TENANT_WAITING_MAX {
                let refused = turns.wait(&tenant, hour).await.unwrap_err();
                assert_eq!(refused, Error::TenantWaits { waiting_max: TENANT_WAITING_MAX });
                assert!(refused.kind().is_retryable());
            }
        }
        // Who gives up makes room.
        waiting.clear();
        let late = turns.wait(&tenant("t0"), Duration::from_secs(1)).await.unwrap_err();
        assert_eq!(late, Error::Busy { wait: Duration::from_secs(1) });
        drop(turn);
        assert!(turns.take(&tenant("t0")).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_gets_the_next_turn_or_none_in_time() {
        let (turns, one, other) = (Turns::new(1), tenant("one"), tenant("other"));
        let turn = turns.take(&one).unwrap();
        assert!(turns.wait(&other, Duration::from_secs(1)).await.is_err());
        let waiting = tokio::spawn({
            let (turns, other) = (turns.clone(), other.clone());
            async move { turns.wait(&other, Duration::from_secs(60)).await.is_ok() }
        });
        tokio::task::yield_now().await;
        drop(turn);
        assert!(waiting.await.unwrap());
    }
}
