//! Did-you-mean: the candidate closest to a mistyped name.

/// Longest name that is compared, in characters; the rest of a longer one is not looked at.
const COMPARED_CHARS_MAX: usize = 64;

/// Returns the candidate a reader would take `name` for, or none when all are too far away to be a slip.
///
/// Letter case is ignored. Near means a few edits (a third of the longer name, at least one), or one name
/// holding the other (`checkout` and `checkout-service`). Fewest edits win, then alphabetical order, so the
/// answer does not depend on the order of the candidates. Costs `name` × candidate characters for each
/// candidate.
pub fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let wanted = folded(name);
    if wanted.is_empty() {
        return None;
    }
    candidates
        .into_iter()
        .filter_map(|candidate| {
            let offered = folded(candidate);
            let edits = distance(&wanted, &offered);
            let near = edits <= (wanted.len().max(offered.len()) / 3).max(1);
            (near || holds(&wanted, &offered) || holds(&offered, &wanted)).then_some((edits, candidate))
        })
        .min()
        .map(|(_, candidate)| candidate)
}

fn folded(text: &str) -> Vec<char> {
    text.chars().take(COMPARED_CHARS_MAX).flat_map(char::to_lowercase).collect()
}

/// True when `outer` holds `inner` and `inner` is long enough (three characters) for that to mean something.
fn holds(outer: &[char], inner: &[char]) -> bool {
    3 <= inner.len() && outer.windows(inner.len()).any(|window| window == inner)
}

/// Counts the insertions, deletions, replacements and swaps of neighbours that turn `from` into `to`, where
/// no part is edited twice (optimal string alignment).
fn distance(from: &[char], to: &[char]) -> usize {
    let mut before_last: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=to.len()).collect();
    for (i, a) in from.iter().enumerate() {
        let mut row = Vec::with_capacity(to.len() + 1);
        row.push(i + 1);
        for (j, b) in to.iter().enumerate() {
            let replaced = last[j] + usize::from(a != b);
            let mut edits = replaced.min(last[j + 1] + 1).min(row[j] + 1);
            if 0 < i && 0 < j && *a == to[j - 1] && from[i - 1] == *b {
                edits = edits.min(before_last[j - 1] + 1);
            }
            row.push(edits);
        }
        before_last = std::mem::replace(&mut last, row);
    }
    last[to.len()]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::proptest;

    use super::{distance, nearest};

    fn edits(from: &str, to: &str) -> usize {
        distance(&from.chars().collect::<Vec<_>>(), &to.chars().collect::<Vec<_>>())
    }

    #[test]
    fn counts_each_kind_of_slip_once() {
        for (from, to, expected) in [
            ("", "", 0),
            ("", "abc", 3),
            ("service", "service", 0),
            ("servce", "service", 1),
            ("sservice", "service", 1),
            ("sarvice", "service", 1),
            ("sevrice", "service", 1),
            ("kitten", "sitting", 3),
        ] {
            assert_eq!(edits(from, to), expected, "{from} {to}");
        }
    }

    #[test]
    fn takes_a_slip_for_the_name_and_leaves_the_rest() {
        let names = ["checkout", "payments", "cart", "frontend-proxy"];
        for (name, expected) in [
            ("chekout", Some("checkout")),
            ("CHECKOUT", Some("checkout")),
            ("paymnets", Some("payments")),
            ("frontend", Some("frontend-proxy")),
            ("checkout-service", Some("checkout")),
            ("kafka", None),
            ("", None),
        ] {
            assert_eq!(nearest(name, names), expected, "{name}");
        }
    }

    #[test]
    fn a_tie_is_settled_by_the_alphabet() {
        assert_eq!(nearest("cat", ["cut", "car"]), Some("car"));
        assert_eq!(nearest("cat", ["car", "cut"]), Some("car"));
    }

    proptest! {
        #[test]
        fn distance_is_symmetric_and_bounded(from in ".{0,12}", to in ".{0,12}") {
            let there = edits(&from, &to);
            assert_eq!(there, edits(&to, &from));
            assert!(there <= from.chars().count().max(to.chars().count()));
            assert_eq!(there == 0, from == to);
        }

        #[test]
        fn a_name_on_the_list_is_its_own_nearest(name in "[a-z][a-z-]{0,20}", other in "[a-z-]{1,20}") {
            assert_eq!(nearest(&name, [other.as_str(), name.as_str()]), Some(name.as_str()));
        }
    }
}
