//! Did you mean: the known name closest to one that is not known.

/// Longest name that is compared, in bytes: comparing costs the product of both lengths.
const COMPARED_BYTES_MAX: usize = 64;

/// The candidate that `name` is probably a misspelling of, ignoring case: at most a third of its letters away, or one of
/// the two holds the other. Fewest edits win, then the alphabet. None where all are too far away to be a slip.
pub(super) fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let wanted = folded(name);
    let scored = candidates.into_iter().filter_map(|candidate| {
        let other = folded(candidate);
        let distance = edits(&wanted, &other);
        let is_slip = distance <= (wanted.len().max(other.len()) / 3).max(1);
        let is_part = |inner: &str, outer: &str| inner.len() >= 3 && outer.contains(inner);
        (is_slip || is_part(&wanted, &other) || is_part(&other, &wanted)).then_some((distance, candidate))
    });
    scored.min().map(|(_, candidate)| candidate)
}

fn folded(name: &str) -> String {
    name[..name.floor_char_boundary(COMPARED_BYTES_MAX)].to_lowercase()
}

/// Insertions, deletions and replacements of bytes that turn one text into the other.
fn edits(from: &str, to: &str) -> usize {
    strsim::generic_levenshtein(&from.as_bytes().to_vec(), &to.as_bytes().to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_taken_for_the_name_and_the_rest_is_left() {
        let names = ["service", "severity", "min_duration", "limit"];
        for (name, wanted) in [
            ("servise", Some("service")),
            ("SERVICE", Some("service")),
            ("duration", Some("min_duration")),
            ("limits", Some("limit")),
            ("tenant", None),
            ("", None),
        ] {
            assert_eq!(nearest(name, names), wanted, "{name}");
        }
        assert_eq!(edits("kitten", "sitting"), 3);
    }
}
