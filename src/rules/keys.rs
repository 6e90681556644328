//! A set of keys, exact ones and beginnings.

/// Keys and beginnings of keys.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Keys {
    /// In order, for the binary search.
    exact: Vec<Box<str>>,
    beginnings: Vec<Box<str>>,
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
        found.exact.sort_unstable();
        found.exact.dedup();
        found
    }

    /// Keys as they are spelled.
    pub(super) fn exact(keys: &[String]) -> Self {
        let mut exact: Vec<Box<str>> = keys.iter().map(|key| key.as_str().into()).collect();
        exact.sort_unstable();
        Self { exact, beginnings: Vec::new() }
    }

    /// True when there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.exact.is_empty() && self.beginnings.is_empty()
    }

    /// True when `key` is one of them or begins like one.
    #[inline]
    pub(super) fn has(&self, key: &str) -> bool {
        self.exact.binary_search_by(|other| (**other).cmp(key)).is_ok()
            || self.beginnings.iter().any(|beginning| key.starts_with(&**beginning))
    }
}
