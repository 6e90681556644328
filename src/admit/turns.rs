//! How many questions are worked on at once, and for whom.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use crate::model::tenant::TenantId;

use super::recent::{ACTIVE, Recent};

/// So many questions at once, of which one tenant has half at most while others ask; cheap to clone.
#[derive(Debug, Clone)]
pub struct Turns(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    at_once_max: usize,
    state: Mutex<State>,
    left: Notify,
}

#[derive(Debug, Default)]
struct State {
    held: HashMap<TenantId, usize>,
    all: usize,
    recent: Recent<TenantId>,
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
        Self(Arc::new(Shared { at_once_max, state: Mutex::default(), left: Notify::new() }))
    }

    /// A turn of the tenant; none where all are taken, or where it has its share and others ask too.
    pub fn take(&self, tenant: &TenantId) -> Option<Turn> {
        let (mut state, now) = (self.0.state(), Instant::now());
        let is_beside_others = state.recent.has_others(tenant, now, ACTIVE);
        state.recent.note(tenant, now);
        let all = self.0.at_once_max;
        let share = if is_beside_others { all.div_ceil(2) } else { all };
        if state.all >= all || state.held.get(tenant).is_some_and(|held| *held >= share) {
            return None;
        }
        state.all += 1;
        *state.held.entry(tenant.clone()).or_default() += 1;
        Some(Turn { shared: Arc::clone(&self.0), tenant: tenant.clone() })
    }

    /// The same, once there is one; none where there is none for as long as `wait`.
    pub async fn wait(&self, tenant: &TenantId, wait: Duration) -> Option<Turn> {
        let taken = async {
            loop {
                // Before the look, so that nobody leaves unheard in between.
                let mut left = std::pin::pin!(self.0.left.notified());
                left.as_mut().enable();
                if let Some(turn) = self.take(tenant) {
                    return turn;
                }
                left.await;
            }
        };
        tokio::time::timeout(wait, taken).await.ok()
    }
}

impl Shared {
    /// Consistent between statements, so a panic under the lock leaves it usable.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut state = self.shared.state();
        state.all = state.all.saturating_sub(1);
        if let Some(held) = state.held.get_mut(&self.tenant) {
            *held = held.saturating_sub(1);
            if *held == 0 {
                state.held.remove(&self.tenant);
            }
        }
        drop(state);
        // All of them, for whoever is first may have its share already.
        self.shared.left.notify_waiters();
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

    #[tokio::test(start_paused = true)]
    async fn who_waits_gets_the_next_turn_or_none_in_time() {
        let (turns, one, other) = (Turns::new(1), tenant("one"), tenant("other"));
        let turn = turns.take(&one).unwrap();
        assert!(turns.wait(&other, Duration::from_secs(1)).await.is_none());
        let waiting = tokio::spawn({
            let (turns, other) = (turns.clone(), other.clone());
            async move { turns.wait(&other, Duration::from_secs(60)).await.is_some() }
        });
        tokio::task::yield_now().await;
        drop(turn);
        assert!(waiting.await.unwrap());
    }
}
