//! Names that were probably meant.

use super::given_up::NOT_YET;
use super::variables;

/// What the names of variables begin with that no other program has.
const PREFIX: &str = "OTELCONTEXT_";
/// Edits that a slip makes at most.
const SLIP_MAX: usize = 2;

/// Whether `name` is a variable of this program or of its predecessor, or names the file of a secret.
pub(super) fn is_known(name: &str) -> bool {
    let of_secret = name.strip_suffix("_FILE");
    let is_ours = variables::all()
        .any(|variable| variable.name == name || variable.secret && of_secret == Some(variable.name));
    is_ours || NOT_YET.iter().any(|(other, ..)| *other == name)
}

/// The known variable that `name`, which is none itself, is probably a misspelling of: at most two edits away. A name that
/// begins as only ours do always means one: the variable that it has behind that beginning, or else the nearest that begins
/// so too.
pub(super) fn meant_by(name: &str) -> Option<&'static str> {
    if is_known(name) {
        return None;
    }
    let ours = || variables::all().map(|variable| variable.name);
    let known = ours().chain(NOT_YET.iter().map(|(other, ..)| *other));
    let slip = nearest(name, known).filter(|(edits, _)| *edits <= SLIP_MAX).map(|(_, other)| other);
    slip.or_else(|| {
        let rest = name.strip_prefix(PREFIX)?;
        let behind = ours().find(|other| *other == rest);
        behind.or_else(|| {
            nearest(name, ours().filter(|other| other.starts_with(PREFIX))).map(|(_, other)| other)
        })
    })
}

/// The nearest of `others`, with the edits to it.
fn nearest(name: &str, others: impl Iterator<Item = &'static str>) -> Option<(usize, &'static str)> {
    others.map(|other| (edits(name, other), other)).min()
}

/// Levenshtein distance.
fn edits(left: &str, right: &str) -> usize {
    strsim::generic_levenshtein(&left.as_bytes().to_vec(), &right.as_bytes().to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_only_this_program_has_means_one_of_ours_however_far_it_is() {
        for (name, meant) in [
            ("HTTP_PROT", Some("HTTP_PORT")),
            ("HTTP_PORT", None),
            ("DB_DSN_FILE", None),
            ("DLQ_MAX_RETRIES", None),
            ("HOME", None),
            ("OTELCONTEXT_ALLOW_INSECURE", None),
            ("OTELCONTEXT_ALOW_INSECURE", Some("OTELCONTEXT_ALLOW_INSECURE")),
            ("OTELCONTEXT_ALLOW_INSECURE_FILE", Some("OTELCONTEXT_ALLOW_INSECURE")),
            ("OTELCONTEXT_ALLOW_SQLITE_IN_PRODUCTION", Some("OTELCONTEXT_ALLOW_SQLITE_PROD")),
            ("OTELCONTEXT_API_KEY", Some("API_KEY")),
        ] {
            assert_eq!(meant_by(name), meant, "{name}");
        }
        for name in ["OTELCONTEXT_", "OTELCONTEXT_FOO", "OTELCONTEXT_NOTHING_THAT_ANYBODY_EVER_HEARD_OF"] {
            assert!(meant_by(name).is_some_and(|meant| meant.starts_with(PREFIX)), "{name}");
        }
    }
}
