//! Names that were probably meant.

use super::given_up::NOT_YET;
use super::variables;

/// The known variable that `name` is probably a misspelling of: at most two edits away, not itself known.
pub(super) fn meant_by(name: &str) -> Option<&'static str> {
    let known =
        || variables::all().map(|variable| variable.name).chain(NOT_YET.iter().map(|(name, ..)| *name));
    let bare = name.strip_suffix("_FILE").unwrap_or(name);
    if known().any(|other| other == name || other == bare) {
        return None;
    }
    let scored = known().map(|other| (edits(name, other), other));
    scored.filter(|(edits, _)| *edits <= 2).min().map(|(_, other)| other)
}

/// Levenshtein distance.
fn edits(left: &str, right: &str) -> usize {
    strsim::generic_levenshtein(&left.as_bytes().to_vec(), &right.as_bytes().to_vec())
}
