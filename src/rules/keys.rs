//! A set of keys, exact ones and beginnings.

/// Keys and beginnings of keys.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Keys {
    /// In order, for the binary search.
    exact: Vec<Box<str>>,
    beginnings: Vec<Box<str>>,
    /// A bit for each length that an exact key has, the highest for all that are longer: most keys need no look.
    lengths: u64,
}

impl Keys {
    /// Keys; one that ends in `*` means all keys that begin so.
    pub(super) fn patterns(keys: &[String]) -> Self {
        let mut found = Self::default();
        for key in keys {
            match key.strip_suffix('*') {
                Some(beginning) => found.beginnings.push(beginning.into()),
                None => found.exact.push(key.as_str().into()),
            }
        }
        found.in_order()
    }

    /// Keys as they are spelled.
    pub(super) fn exact(keys: &[String]) -> Self {
        let exact = keys.iter().map(|key| key.as_str().into()).collect();
        Self { exact, ..Self::default() }.in_order()
    }

    fn in_order(mut self) -> Self {
        self.exact.sort_unstable();
        self.lengths = self.exact.iter().fold(0, |lengths, key| lengths | length_bit(key.len()));
        self
    }

    /// True when there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.exact.is_empty() && self.beginnings.is_empty()
    }

    /// True when `key` is one of them or begins like one.
    #[inline]
    pub(super) fn has(&self, key: &[u8]) -> bool {
        self.lengths & length_bit(key.len()) != 0
            && self.exact.binary_search_by(|other| other.as_bytes().cmp(key)).is_ok()
            || self.beginnings.iter().any(|beginning| key.starts_with(beginning.as_bytes()))
    }
}

#[inline]
fn length_bit(length: usize) -> u64 {
    1 << length.min(63)
}
