//! Attributes that must be there: `key=value` pairs with spaces between them, values with spaces in quotes.

use crate::arguments::Reader;
use crate::fault::echoed;

/// Most pairs of one filter.
const PAIRS_MAX: usize = 16;
/// Names the service, which is no attribute of an item but who sent it.
const OF_SERVICE: &str = "service.name";
/// Names it too, unless items have an attribute of this name.
const MAYBE_OF_SERVICE: &str = "service";

/// Reads the optional service and the optional attributes. A `service.name` among the attributes is the service that is asked
/// about, so that one that does not exist is told as such instead of finding nothing. A `service` stays among them: what it
/// means depends on what there is.
pub(crate) fn with_service(reader: &mut Reader) -> (Option<String>, Vec<(String, String)>) {
    named_by(reader, &[OF_SERVICE])
}

/// Reads them as [`with_service`] does where there are no items that may have attributes: `service` is the service, too.
pub(crate) fn with_service_alone(reader: &mut Reader) -> (Option<String>, Vec<(String, String)>) {
    named_by(reader, &[OF_SERVICE, MAYBE_OF_SERVICE])
}

fn named_by(reader: &mut Reader, keys: &[&str]) -> (Option<String>, Vec<(String, String)>) {
    let mut service = reader.service();
    let is_of_service = |(key, _): &(String, String)| keys.contains(&key.as_str());
    let (named, pairs): (Vec<_>, Vec<_>) = reader.filter().into_iter().partition(is_of_service);
    for (_, name) in named {
        if service.as_ref().is_some_and(|known| *known != name) {
            reader.refuse("two services are named, by `service` or in `filter`; name one");
            break;
        }
        service = Some(name);
    }
    (service, pairs)
}

/// Reads the pairs. A backslash in quotes takes the next character as it is. Errs with what is wrong and how it is
/// written right.
pub(crate) fn read(text: &str) -> Result<Vec<(String, String)>, String> {
    let mut pairs = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let word = rest.split_whitespace().next().unwrap_or(rest);
        let Some((key, after)) = rest.split_once('=').filter(|(key, _)| !key.contains(char::is_whitespace))
        else {
            return Err(format!(
                "{} is no pair; write `key=value`, with quotes around a value with spaces",
                echoed(word)
            ));
        };
        if key.is_empty() || key.ends_with(['!', '<', '>', '~']) {
            return Err(format!("{}: only `key=value` is known, for values that are equal", echoed(word)));
        }
        let (value, after) = match after.strip_prefix('"') {
            Some(quoted) => quoted_value(quoted)
                .ok_or_else(|| format!("the value of {} has no closing quote", echoed(key)))?,
            None => {
                let end = after.find(char::is_whitespace).unwrap_or(after.len());
                (after[..end].to_owned(), &after[end..])
            }
        };
        if !after.is_empty() && !after.starts_with(char::is_whitespace) {
            return Err(format!(
                "behind the quoted value of {} comes {}; put a space between pairs",
                echoed(key),
                echoed(after)
            ));
        }
        pairs.push((key.to_owned(), value));
        rest = after.trim_start();
    }
    if pairs.len() > PAIRS_MAX {
        return Err(format!("{} pairs are too many; give at most {PAIRS_MAX}", pairs.len()));
    }
    Ok(pairs)
}

/// What stands before the closing quote, and what comes behind it; none where there is no closing quote.
fn quoted_value(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, next)) = chars.next() {
        match next {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => value.push(chars.next()?.1),
            other => value.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{prop_assert_eq, proptest};

    use super::read;

    fn pairs(text: &str) -> Vec<(String, String)> {
        read(text).unwrap()
    }

    #[test]
    fn pairs_are_read() {
        let owned = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        assert_eq!(pairs("http.route=/pay"), [owned("http.route", "/pay")]);
        assert_eq!(
            pairs(r#" a=1   b="two words"  c="say \"hi\" \\" d= "#),
            [owned("a", "1"), owned("b", "two words"), owned("c", r#"say "hi" \"#), owned("d", "")]
        );
        assert_eq!(pairs("query=a=b"), [owned("query", "a=b")]);
        assert_eq!(pairs(""), []);
    }

    #[test]
    fn mistakes_say_how_it_is_written() {
        for (text, expected) in [
            ("error", "`error` is no pair; write `key=value`"),
            ("a b=1", "`a` is no pair"),
            ("=1", "only `key=value` is known"),
            ("a!=1", "only `key=value` is known"),
            ("duration>=5", "only `key=value` is known"),
            ("a=\"open", "no closing quote"),
            ("a=\"x\"b=1", "put a space between pairs"),
            (&"a=1 ".repeat(17), "17 pairs are too many"),
        ] {
            let mistake = read(text).unwrap_err();
            assert!(mistake.contains(expected), "{text}: {mistake}");
        }
    }

    proptest! {
        #[test]
        fn what_is_quoted_comes_back(values in proptest::collection::vec(".{0,12}", 1..5)) {
            let quoted = |value: &String| format!("k=\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\""));
            let text = values.iter().map(quoted).collect::<Vec<_>>().join(" ");
            let found: Vec<String> = read(&text).unwrap().into_iter().map(|(_, value)| value).collect();
            prop_assert_eq!(found, values);
        }

        #[test]
        fn strange_text_never_panics(text in ".{0,60}") {
            let _ = read(&text);
        }
    }
}
