//! What the tokens of a template take, and how a line compares with a template.

use super::tokens::Token;

/// A plain word that differs counts as much as this many other tokens: it is seldom a value.
const WORD_WEIGHT: usize = 3;

/// What one token of a template takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pattern {
    /// This token.
    Word { hash: u64, key: Option<u64>, is_plain: bool },
    /// Any value of this key.
    Keyed(u64),
    /// Anything.
    Any,
}

impl Pattern {
    pub(super) fn of(token: &Token) -> Self {
        match token.key {
            _ if token.is_variable => Self::Any,
            Some(key) if token.is_keyed_variable => Self::Keyed(key),
            _ => Self::Word { hash: token.hash, key: token.key, is_plain: token.is_plain },
        }
    }

    pub(super) fn takes(self, token: &Token) -> bool {
        match self {
            Self::Word { hash, .. } => token.hash == hash,
            Self::Keyed(key) => token.key == Some(key),
            Self::Any => true,
        }
    }

    /// Whether there is a token that both take.
    pub(super) fn meets(self, other: Self) -> bool {
        match (self, other) {
            (Self::Any, _) | (_, Self::Any) => true,
            (Self::Word { hash, .. }, Self::Word { hash: other, .. }) => hash == other,
            (Self::Keyed(key), Self::Keyed(other)) => key == other,
            (Self::Keyed(key), Self::Word { key: other, .. })
            | (Self::Word { key: other, .. }, Self::Keyed(key)) => other == Some(key),
        }
    }

    /// Becomes the least general pattern that also takes `token`.
    pub(super) fn widen(&mut self, token: &Token) {
        if !self.takes(token) {
            *self = match self {
                Self::Word { key: Some(key), .. } if token.key == Some(*key) => Self::Keyed(*key),
                _ => Self::Any,
            };
        }
    }
}

/// How a line compares with a template. Values that both sides mask say nothing for or against.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fit {
    /// Tokens that are the same word, or have the same key for any value.
    same: usize,
    /// Words that the template takes as a variable.
    taken: usize,
    /// What differs, by weight.
    differing: usize,
    /// How many places differ, and the first of them.
    places: usize,
    first_place: usize,
}

/// Which comparisons matter to their end.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bar {
    /// Those with no more differing places.
    pub(super) places_max: usize,
    /// And those that are at least so similar.
    pub(super) similarity_min: f64,
}

impl Bar {
    /// For the time when a template was found that takes the line: only another one that does can be better.
    pub(super) const TAKING: Self = Self { places_max: 0, similarity_min: f64::INFINITY };
}

impl Fit {
    /// How `line` compares with a template of as many tokens; none as soon as it is plain that it stays below the bar.
    pub(super) fn of(template: &[Pattern], line: &[Token], bar: Bar) -> Option<Self> {
        let mut fit = Self { same: 0, taken: 0, differing: 0, places: 0, first_place: 0 };
        for (place, (pattern, token)) in template.iter().zip(line).enumerate() {
            match pattern {
                Pattern::Any => {
                    fit.taken += usize::from(!token.is_variable);
                    continue;
                }
                _ if pattern.takes(token) => {
                    fit.same += 1;
                    continue;
                }
                Pattern::Word { is_plain: true, .. } if token.is_plain => fit.differing += WORD_WEIGHT,
                _ => fit.differing += 1,
            }
            if fit.places == 0 {
                fit.first_place = place;
            }
            fit.places += 1;
            if fit.places > bar.places_max {
                // As if everything that follows were the same: similarity cannot become more.
                let best = Self { same: fit.same + (line.len() - place - 1), ..fit };
                if best.similarity() < bar.similarity_min {
                    return None;
                }
            }
        }
        Some(fit)
    }

    /// Whether the template takes the line as it is.
    pub(super) fn takes(self) -> bool {
        self.differing == 0
    }

    /// Share of words that are the same.
    pub(super) fn similarity(self) -> f64 {
        self.same as f64 / (self.same + self.taken + self.differing).max(1) as f64
    }

    /// The one place that differs, if it is one.
    pub(super) fn only_place(self) -> Option<usize> {
        (self.places == 1).then_some(self.first_place)
    }

    pub(super) fn is_better_than(self, other: Self) -> bool {
        match (self.takes(), other.takes()) {
            // Of two that take the line, the one with more words is the more specific.
            (true, true) => self.same > other.same,
            (false, false) => self.similarity() > other.similarity(),
            (takes, _) => takes,
        }
    }
}
