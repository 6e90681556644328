//! What each route asks of its callers.
//!
//! A route that is not listed lets nobody in: to be reachable it must be given a policy.

use std::collections::BTreeMap;

use super::Right;

/// What a route asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    /// Nothing.
    Open,
    /// A caller with this right; the gate looks.
    Needs(Right),
    /// A caller with this right; the route looks itself, and refuses in its own encoding.
    Asks(Right),
}

/// The policy of each route, by its path as the router spells it.
#[derive(Debug, Clone, Default)]
pub struct Policies(BTreeMap<String, Policy>);

impl Policies {
    /// The policy of `path`.
    pub(super) fn of(&self, path: &str) -> Option<Policy> {
        self.0.get(path).copied()
    }

    /// All routes, by path.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Policy)> {
        self.0.iter().map(|(path, policy)| (path.as_str(), *policy))
    }
}

impl<P: Into<String>> FromIterator<(P, Policy)> for Policies {
    fn from_iter<I: IntoIterator<Item = (P, Policy)>>(routes: I) -> Self {
        Self(routes.into_iter().map(|(path, policy)| (path.into(), policy)).collect())
    }
}
