//! How query texts are read.

use proptest::prelude::{prop_assert, prop_assert_eq, proptest};
use tantivy_query_grammar::parse_query;

use super::super::canonical::canonical;
use super::super::expression::{Expression, parse};
use super::super::range::Values;
use super::super::words::words;
use super::*;

fn show(expression: &Expression) -> String {
    let all = |parts: &[Expression], sign: &str| parts.iter().map(show).collect::<Vec<_>>().join(sign);
    match expression {
        Expression::All => "everything".into(),
        Expression::Words { words, is_prefix, slop } => {
            let slop = if *slop == 0 { String::new() } else { format!("~{slop}") };
            words.join(" ") + if *is_prefix { "…" } else { "" } + &slop
        }
        Expression::Attribute { key, value, is_prefix } => {
            format!("{key}={value}{}", if *is_prefix { "…" } else { "" })
        }
        Expression::Range(range) => match &range.values {
            Values::Numbers(lower, upper) => format!("{} in {lower:?} {upper:?}", range.key),
            Values::Texts(lower, upper) => format!("{} in {lower:?} {upper:?}", range.key),
        },
        Expression::Severity { least, most } => format!("{least}..{most}"),
        Expression::Service { name, is_prefix, .. } => {
            format!("by {name}{}", if *is_prefix { "…" } else { "" })
        }
        Expression::Template(template) => format!("like {}", template.0),
        Expression::Not(part) => format!("no {}", show(part)),
        Expression::And(parts) => format!("[{}]", all(parts, " & ")),
        Expression::Or(parts) => format!("[{}]", all(parts, " | ")),
    }
}

#[test]
fn texts_are_understood() {
    let cases = [
        ("", "everything"),
        ("  ", "everything"),
        ("*", "everything"),
        ("Timeout", "timeout"),
        ("pay AND refused late", "[pay & refused & late]"),
        ("a b OR c", "[[a & b] | c]"),
        ("a OR b c", "[a | [b & c]]"),
        ("a && (b || c)", "[a & [b | c]]"),
        ("a -b !c NOT d", "[a & no b & no c & no d]"),
        ("-(a OR b)", "no [a | b]"),
        ("NOT NOT a", "a"),
        ("a OR -b", "[a | no b]"),
        ("-a b", "[b & no a]"),
        ("a AND -b OR c", "[[a & no b] | c]"),
        ("+a b", "[a & b]"),
        ("a a", "a"),
        ("\"connection reset\" by", "[connection reset & by]"),
        ("\"connection by\"~3", "connection by~3"),
        ("\"a \\\"quoted\\\" word\"", "a quoted word"),
        ("conn*", "conn…"),
        ("\"reset by pe\"*", "reset by pe…"),
        ("order-7f3a", "order 7f3a"),
        ("order-7f*", "order 7f…"),
        ("order-*", "order"),
        ("late^2 (a OR b)^0.5", "[late & [a | b]]"),
        ("/api/pay", "api pay"),
        ("10.0.0.7:5432", "10 0 0 7 5432"),
        ("http://shop/pay", "http shop pay"),
        ("std::io::Error", "std io error"),
        ("ERROR: no space", "[error & no & space]"),
        ("2026-01-02T10:00:00Z", "2026 01 02t10 00 00z"),
        ("a - b -> c | d", "[a & b & c & d]"),
        ("tar --force != -/tmp/x", "[tar & force & no tmp x]"),
        ("select * from", "[select & everything & from]"),
        ("main() can't open '/tmp/a b/'", "[main & can t & open & tmp a & b]"),
        ("{\"id\": 7, tags: [a,b]}", "[id & 7 & tags & a b]"),
        ("error:<nil> panic: x", "[error=<nil> & panic & x]"),
        ("C:\\Temp\\x", "C=\\Temp\\x"),
        ("route\\:x \\-y 2\\*3", "[route x & y & 2 3]"),
        ("http.route:/api/*", "http.route=/api/…"),
        ("k8s.pod.name:pay-1 x", "[k8s.pod.name=pay-1 & x]"),
        ("user:\"Ann Lee\" -y", "[user=Ann Lee & no y]"),
        ("user:\"Ann\"*", "user=Ann…"),
        ("user:*", "user=…"),
        ("code:(this OR \"that one\" OR x*)", "[code=this | code=that one | code=x…]"),
        ("code:(>=5 AND -7)", "[code in Included(Whole(5)) Unbounded & no code=7]"),
        ("code:IN [1 \"2 3\"]", "[code=1 | code=2 3]"),
        ("code: IN [1]", "code=1"),
        ("code:[500 TO 599]", "code in Included(Whole(500)) Included(Whole(599))"),
        ("code:{-1.5 TO *]", "code in Excluded(Real(-1.5)) Unbounded"),
        ("code:<=7", "code in Unbounded Included(Whole(7))"),
        ("code:>-7 x", "[code in Excluded(Whole(-7)) Unbounded & x]"),
        ("name:[A TO b}", "name in Included(\"a\") Excluded(\"b\")"),
        ("name:[a,b]", "name a b"),
        ("severity:error", "17..20"),
        ("Severity:>=WARN", "13..24"),
        ("severity:[warn TO error}", "13..16"),
        ("severity:>warn", "17..24"),
        ("severity:\"info\" or", "[9..12 & or]"),
        ("severity:3", "3..3"),
        ("service:Pay*", "by Pay…"),
        ("service:(a OR b)", "[by a | by b]"),
        ("template:17 x", "[like 17 & x]"),
    ];
    for (text, wanted) in cases {
        assert_eq!(parse(text).map(|expression| show(&expression)).unwrap(), wanted, "{text}");
    }
}

#[test]
fn what_is_not_understood_is_told_with_place_and_remedy() {
    let cases = [
        ("a \"b", 3, "a quote is not closed"),
        ("é (b", 3, "a parenthesis is not closed"),
        ("a b) c", 4, "a parenthesis is closed that was not opened"),
        ("f(-)", 4, "there is nothing before this parenthesis"),
        ("(", 2, "the query ends too early"),
        ("OR a", 1, "an operator has nothing before it"),
        ("a OR OR b", 6, "an operator has nothing before it"),
        ("a NOT AND b", 7, "an operator has nothing before it"),
        ("a AND", 6, "the query ends too early"),
        ("a NOT", 6, "the query ends too early"),
        ("x *tail", 3, "a star stands only at the end of a word"),
        ("mi*le", 3, "a star stands only at the end of a word"),
        ("key:mi*le", 7, "a star stands only at the end of a word"),
        ("x severity:loud", 3, "no such severity"),
        ("severity:[warn TO loud]", 1, "no such severity"),
        ("x trace_id:17", 3, "traces are not part of the query text"),
        ("x template:none", 3, "no such template"),
        ("x service:>a", 3, "this field has no order"),
        ("x code:[1 TO", 8, "a range is not closed"),
        ("x code:[1 TO 2 3]", 8, "a range has two bounds"),
        ("x code:>=\"a b\"", 10, "a bound is one word"),
        ("x code:IN [", 8, "a set is not closed"),
        ("x code:IN []", 8, "a set has no values"),
        ("x code:()", 8, "there is no value"),
        ("\"a b\"~99", 6, "the words may be too far apart"),
        ("x code:\"a b\"~2", 3, "a value's words cannot be moved"),
        ("--- \u{2014}", 1, "there is nothing to search for"),
        ("a \"-\"", 3, "there is nothing to search for"),
        ("a* b* c* d* e* f* g* h* i*", 25, "there are more than 8 words with `*`"),
        ("\"x a\"* b* c* d* e* f* g* k:h* i*", 31, "there are more than 8 words with `*`"),
    ];
    for (text, at, wanted) in cases {
        match parse(text) {
            Err(Error::Query { position, problem, remedy }) => {
                assert_eq!((position, problem), (at, wanted), "{text}");
                assert!(!remedy.is_empty());
            }
            other => panic!("{text}: {other:?}"),
        }
    }
    for deep in ["(".repeat(4000), "-(".repeat(2000) + "a", "NOT ".repeat(1000), "a".repeat(5000)] {
        assert!(matches!(parse(&deep), Err(Error::Query { .. })));
    }
    let deepest = "k:(".repeat(32) + "a" + &")".repeat(32);
    assert_eq!(parse(&deepest).map(|expression| show(&expression)).unwrap(), "k=a");
}

#[test]
fn a_service_that_nobody_knows_is_told_with_its_place() {
    let (_directory, index) = sample();
    for text in ["x service:ship", "x -service:sh*"] {
        let refused = search(&index, &ask(text)).unwrap_err();
        assert!(matches!(refused, Error::Query { position: 3 | 4, .. }), "{text}: {refused}");
    }
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused(
        text in "[a-zé\" ()*:!+~^<>=\\[\\]{}'\\\\-]{0,30}\
                 |(AND|OR|NOT|IN|TO|[(]|[)]|a|k:|-|\"| |\\[|\\]|>=|severity:|service:|~2|[*]|\\^2){0,30}\
                 |\\PC{0,30}",
    ) {
        let _ = parse(&text);
        // What was put into its form, the grammar takes.
        if let Ok(canonical) = canonical(&text) {
            prop_assert!(parse_query(&canonical).is_ok(), "{canonical}");
        }
    }

    #[test]
    fn a_pasted_line_without_quotes_and_parentheses_is_no_error(
        text in "[a-zA-Z0-9 :;,.<>=/_#@'%$?{}\\[\\]^~\\\\-]{0,60}",
    ) {
        let has_words = !words(&text).is_empty();
        let is_operator = |word: &str| matches!(word, "AND" | "OR" | "NOT" | "IN" | "TO");
        if has_words && !text.split(|character: char| !character.is_ascii_uppercase()).any(is_operator) {
            match parse(&text) {
                Ok(_) => {}
                // Names of fields are no accident.
                Err(Error::Query { problem, .. }) => prop_assert!(problem.starts_with("no such"), "{problem}"),
                Err(other) => panic!("{other}"),
            }
        }
    }

    #[test]
    fn what_is_quoted_is_taken_as_it_is(text in "[a-z\"\\\\ :()*AND-]{1,20}|\\PC{1,20}") {
        let quoted = format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""));
        let wanted = words(&text);
        if !wanted.is_empty() {
            let read = parse(&quoted).unwrap();
            prop_assert_eq!(read, Expression::Words { words: wanted, is_prefix: false, slop: 0 });
        }
        let read = parse(&format!("key:{quoted}")).unwrap();
        prop_assert_eq!(read, Expression::Attribute { key: "key".into(), value: text, is_prefix: false });
    }
}
