//! Every combination of what a query can ask for agrees with a scan over the lines.

use proptest::collection::vec;
use proptest::prelude::{Just, Strategy, any, prop_oneof};
use proptest::sample::select;

use super::*;

/// A query beside what it means for a line.
#[derive(Debug, Clone)]
enum Meaning {
    Phrase(Vec<&'static str>),
    /// Words in a row, of which the last is a beginning.
    Beginning(Vec<&'static str>, &'static str),
    Attribute(&'static str),
    AttributeBeginning(&'static str),
    Exists,
    Set(Vec<&'static str>),
    /// A range of the number `n`: bounds, and whether they are inside.
    Numbers((i64, bool), (i64, bool)),
    AtLeast(i64),
    /// A range of the text `k`.
    Texts(&'static str, &'static str),
    Severity(u8, u8),
    Service(&'static str),
    Not(Box<Meaning>, u8),
    And(Vec<Meaning>, u8),
    Or(Vec<Meaning>, u8),
}

/// A line beside what is indexed of it.
#[derive(Debug, Clone)]
struct Written {
    words: Vec<&'static str>,
    k: Option<&'static str>,
    n: i64,
    severity: u8,
    service: u32,
}

impl Meaning {
    fn text(&self) -> String {
        let join = |parts: &[Self], sign: &str| {
            let parts: Vec<_> = parts.iter().map(Self::text).collect();
            format!("({})", parts.join(sign))
        };
        match self {
            Self::Phrase(words) => format!("\"{}\"", words.join(" ")),
            Self::Beginning(words, last) if words.is_empty() => format!("{last}*"),
            Self::Beginning(words, last) => format!("\"{} {last}\"*", words.join(" ")),
            Self::Attribute(value) => format!("k:{value}"),
            Self::AttributeBeginning(value) => format!("k:{value}*"),
            Self::Exists => "k:*".into(),
            Self::Set(values) => format!("k:IN [{}]", values.join(" ")),
            Self::Numbers((lower, has_lower), (upper, has_upper)) => {
                let (open, close) = (if *has_lower { '[' } else { '{' }, if *has_upper { ']' } else { '}' });
                format!("n:{open}{lower} TO {upper}{close}")
            }
            Self::AtLeast(lower) => format!("n:>={lower}"),
            Self::Texts(lower, upper) => format!("k:[{lower} TO {upper}]"),
            Self::Severity(least, most) => format!("severity:[{least} TO {most}]"),
            Self::Service(name) => format!("service:{name}"),
            // Two signs side by side are an arrow or an option that was pasted, and no negations.
            Self::Not(part, sign) if matches!(**part, Self::Not(..)) => {
                format!("{}({})", ["NOT ", "-", "!"][usize::from(*sign) % 3], part.text())
            }
            Self::Not(part, sign) => ["NOT ", "-", "!"][usize::from(*sign) % 3].to_owned() + &part.text(),
            Self::And(parts, sign) => join(parts, [" ", " AND ", " && "][usize::from(*sign) % 3]),
            Self::Or(parts, sign) => join(parts, [" OR ", " || "][usize::from(*sign) % 2]),
        }
    }

    fn holds(&self, line: &Written) -> bool {
        match self {
            Self::Phrase(phrase) => line.words.windows(phrase.len()).any(|window| window == phrase),
            Self::Beginning(words, last) => line
                .words
                .windows(words.len() + 1)
                .any(|window| window[..words.len()] == words[..] && window[words.len()].starts_with(last)),
            Self::Attribute(value) => line.k == Some(value),
            Self::AttributeBeginning(value) => line.k.is_some_and(|k| k.starts_with(value)),
            Self::Exists => line.k.is_some(),
            Self::Set(values) => line.k.is_some_and(|k| values.contains(&k)),
            Self::Numbers((lower, has_lower), (upper, has_upper)) => {
                let after = if *has_lower { *lower <= line.n } else { *lower < line.n };
                let before = if *has_upper { line.n <= *upper } else { line.n < *upper };
                after && before
            }
            Self::AtLeast(lower) => *lower <= line.n,
            Self::Texts(lower, upper) => line.k.is_some_and(|k| *lower <= k && k <= *upper),
            Self::Severity(least, most) => (*least..=*most).contains(&line.severity),
            Self::Service(name) => line.service == if *name == "payment" { 7 } else { 8 },
            Self::Not(part, _) => !part.holds(line),
            Self::And(parts, _) => parts.iter().all(|part| part.holds(line)),
            Self::Or(parts, _) => parts.iter().any(|part| part.holds(line)),
        }
    }
}

fn meaning() -> impl Strategy<Value = Meaning> {
    let word = || select(vec!["a", "ab", "b", "c", "d", "rare", "never"]);
    let value = || select(vec!["x", "xy", "y", "z"]);
    let bound = || (-12..=12_i64, any::<bool>());
    let leaf = prop_oneof![
        6 => vec(word(), 1..4).prop_map(Meaning::Phrase),
        2 => (vec(word(), 0..2), select(vec!["a", "r", "n", "ab"]))
            .prop_map(|(words, last)| Meaning::Beginning(words, last)),
        1 => value().prop_map(Meaning::Attribute),
        1 => value().prop_map(Meaning::AttributeBeginning),
        1 => Just(Meaning::Exists),
        1 => vec(value(), 1..3).prop_map(Meaning::Set),
        2 => (bound(), bound()).prop_map(|(lower, upper)| Meaning::Numbers(lower, upper)),
        1 => (-12..=12_i64).prop_map(Meaning::AtLeast),
        1 => (value(), value()).prop_map(|(lower, upper)| Meaning::Texts(lower, upper)),
        1 => (0..=24_u8, 0..=24_u8).prop_map(|(least, most)| Meaning::Severity(least, most)),
        1 => select(vec!["payment", "cart"]).prop_map(Meaning::Service),
    ];
    leaf.prop_recursive(4, 16, 4, |inner| {
        prop_oneof![
            (inner.clone(), any::<u8>()).prop_map(|(part, sign)| Meaning::Not(Box::new(part), sign)),
            (vec(inner.clone(), 2..4), any::<u8>()).prop_map(|(parts, sign)| Meaning::And(parts, sign)),
            (vec(inner, 2..4), any::<u8>()).prop_map(|(parts, sign)| Meaning::Or(parts, sign)),
        ]
    })
}

fn lines() -> Vec<Written> {
    let mut seed = 7_u32;
    let mut random = |below: u32| {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (seed >> 8) % below
    };
    // Long enough for tantivy's unions to move their window of 4096 documents.
    (0..12_000)
        .map(|_| {
            let word = |n: u32| if n == 400 { "rare" } else { ["a", "b", "c", "d", "ab"][n as usize % 5] };
            Written {
                words: (0..random(7)).map(|_| word(random(401))).collect(),
                k: [Some("x"), Some("y"), Some("xy"), None][random(4) as usize],
                n: i64::from(random(21)) - 10,
                severity: random(25) as u8,
                service: 7 + random(2),
            }
        })
        .collect()
}

/// Lines of three days, and what is found in them.
#[test]
fn every_combination_agrees_with_a_scan() {
    const DAY_NANOS: i64 = 86_400 * NANOS_PER_SECOND;
    let directory = TempDir::new().unwrap();
    let index = open(directory.path());
    let lines = lines();
    let bodies: Vec<String> = lines.iter().map(|line| line.words.join(" ")).collect();
    let place = |at: usize| {
        let (day, n) = if at < 9_000 { (100, at) } else { (101 + (at as i64 - 9_000) / 1_500, at) };
        (UnixNanos(day * DAY_NANOS + n as i64), day << DAY_BITS | (n as i64 + 1))
    };
    for part in [0..6_000, 6_000..9_500, 9_500..12_000] {
        let documents = part.map(|at| {
            let written = &lines[at];
            let mut attributes = vec![("n".to_owned(), written.n.to_string())];
            attributes.extend(written.k.map(|k| ("k".to_owned(), k.to_owned())));
            Document {
                time: place(at).0,
                severity: Severity(written.severity),
                service: ServiceId(written.service),
                attributes,
                ..line(place(at).1, &bodies[at], &[])
            }
        });
        index.add(documents).unwrap();
        index.commit().unwrap();
    }
    let mut runner = TestRunner::new(ProptestConfig::with_cases(150));
    let check = |(meaning, from, to): (Meaning, i64, i64)| {
        let edge = |at: i64| UnixNanos(100 * DAY_NANOS + at * (DAY_NANOS / 4));
        for window in [
            Window::new(UnixNanos(0), UnixNanos(i64::MAX)),
            Window::new(edge(0), edge(4)),
            Window::new(edge(from), edge(to)),
        ] {
            let holds = |at: &usize| window.contains(place(*at).0) && meaning.holds(&lines[*at]);
            let wanted: Vec<i64> = (0..lines.len()).rev().filter(holds).map(|at| place(at).1).collect();
            let ask = Ask { limit: LIMIT_MAX, window, ..ask(&meaning.text()) };
            let hits = search(&index, &ask).unwrap();
            if let Some(total) = hits.total {
                assert_eq!(total, wanted.len(), "{}", meaning.text());
            }
            assert!(hits.total.is_some() || LIMIT_MAX < wanted.len(), "{}", meaning.text());
            assert_eq!(hits.rows, wanted[..wanted.len().min(LIMIT_MAX)], "{}", meaning.text());
            assert_eq!(hits.more, LIMIT_MAX < wanted.len(), "{}", meaning.text());
        }
        Ok(())
    };
    runner.run(&(meaning(), 0..12_i64, 0..12_i64), check).unwrap();
}
