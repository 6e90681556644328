//! Ids by content.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

/// The way from contents to ids. A content has one id, but for rows of earlier builds, which told apart in what order
/// attributes came.
#[derive(Debug)]
pub(super) struct Contents<T> {
    found: HashMap<u128, T>,
    /// Further ids of a content that is found under another one.
    others: HashMap<u128, Vec<T>>,
}

impl<T> Default for Contents<T> {
    fn default() -> Self {
        Self { found: HashMap::new(), others: HashMap::new() }
    }
}

impl<T: Copy + Ord> Contents<T> {
    /// The id of a content, given its hash: of several the lowest.
    pub(super) fn get(&self, hash: u128) -> Option<T> {
        self.found.get(&hash).copied()
    }

    /// Adds an id, which must not be there.
    pub(super) fn put(&mut self, hash: u128, id: T) {
        match self.found.entry(hash) {
            Entry::Vacant(free) => {
                free.insert(id);
            }
            Entry::Occupied(mut found) => {
                let other = if id < *found.get() { found.insert(id) } else { id };
                self.others.entry(hash).or_default().push(other);
            }
        }
    }

    /// Takes an id out. Its content is found under the lowest that is left.
    pub(super) fn remove(&mut self, hash: u128, id: T) {
        let mut others = self.others.remove(&hash).unwrap_or_default();
        if self.get(hash) == Some(id) {
            match others.iter().copied().min() {
                Some(lowest) => {
                    self.found.insert(hash, lowest);
                    others.retain(|other| *other != lowest);
                }
                None => {
                    self.found.remove(&hash);
                }
            }
        } else {
            others.retain(|other| *other != id);
        }
        if !others.is_empty() {
            self.others.insert(hash, others);
        }
    }

    /// All ids, those by which nothing is found among them.
    pub(super) fn ids(&self) -> impl Iterator<Item = T> {
        self.found.values().chain(self.others.values().flatten()).copied()
    }
}
