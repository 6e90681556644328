use proptest::prelude::{Strategy, any, prop_assert, prop_assert_eq, proptest};

use crate::model::id::{ServiceId, TemplateId, TenantNumber};
use crate::model::time::UnixNanos;

use super::{Change, Miner, Options, SAMPLE_BYTES_MAX, Template};

const TENANT: TenantNumber = TenantNumber(1);
const SERVICE: ServiceId = ServiceId(7);

/// A miner with the ids and the store that a caller would keep.
struct Bench {
    miner: Miner,
    last_id: u32,
    stored: Vec<Template>,
}

impl Bench {
    fn new(options: Options) -> Self {
        Self { miner: Miner::new(options), last_id: 0, stored: Vec::new() }
    }

    fn mine(&mut self, line: &str) -> TemplateId {
        let Self { miner, last_id, stored } = self;
        let mined = miner.mine(TENANT, SERVICE, line, UnixNanos(5), &mut || {
            *last_id += 1;
            TemplateId(*last_id)
        });
        for change in mined.changes {
            match change {
                Change::New(template) => stored.push(template),
                Change::MoreGeneral(template) => {
                    let place = stored.iter().position(|other| other.id == template.id).unwrap();
                    assert_ne!(stored[place].text, template.text, "told without a change");
                    stored[place] = template;
                }
            }
        }
        mined.template
    }

    fn text(&mut self, line: &str) -> String {
        let id = self.mine(line);
        self.miner.text(TENANT, SERVICE, id).unwrap()
    }

    fn restarted(&self, options: Options) -> Self {
        let mut bench = Self { stored: self.stored.clone(), last_id: self.last_id, ..Self::new(options) };
        self.stored.iter().for_each(|template| bench.miner.restore(template));
        bench
    }
}

#[test]
fn values_are_masked_and_lines_grouped() {
    let mut bench = Bench::new(Options::default());
    let cases = [
        ("Connected to 10.0.0.1:5432 in 17 ms", "Connected to <*> in <*> ms"),
        ("  Connected   to 10.0.0.2:5432\tin 9 ms\r\n", "Connected to <*> in <*> ms"),
        ("sent 1396 bytes (1.36 KB) to x", "sent <*> bytes to x"),
        ("free 13.0 KB, lifetime <1 sec", "free <*>, lifetime <*>"),
        ("", ""),
        (" \t ", ""),
        ("12345", "<*>"),
    ];
    for (line, text) in cases {
        assert_eq!(bench.text(line), text, "{line:?}");
    }
    assert_eq!(bench.stored.len(), 5);
    assert_eq!(bench.stored[0].sample, cases[0].0);
    assert_eq!(bench.miner.templates(TENANT, SERVICE), bench.stored);
    assert_eq!(bench.miner.text(TENANT, ServiceId(8), TemplateId(1)), None);
    assert_eq!(bench.miner.text(TENANT, SERVICE, TemplateId(99)), None);
}

#[test]
fn few_words_tell_messages_apart_and_many_make_a_variable() {
    let mut bench = Bench::new(Options::default());
    let started = bench.mine("the worker has started");
    assert_ne!(started, bench.mine("the worker has stopped"));
    for name in ["alice", "bob", "carol", "dave"] {
        assert_eq!(bench.text(&format!("login of {name}")), format!("login of {name}"));
    }
    let first = bench.mine("login of alice");
    assert_eq!(bench.mine("login of erin"), first, "the fifth name shows the place of a value");
    assert_eq!(bench.text("login of bob"), "login of <*>");
    assert_eq!(bench.mine("login of bob"), first);
    let merged = bench.stored.iter().filter(|template| template.text == "login of <*>").count();
    assert_eq!(merged, 4, "ids that were given stay and share the text");
    assert_eq!(bench.text("the worker has started"), "the worker has started");
}

#[test]
fn keys_stay_when_their_values_vary() {
    let mut bench = Bench::new(Options::default());
    let first = bench.mine("level=info msg=ready user=alice region=eu-west tier=gold");
    assert_eq!(bench.mine("level=info msg=ready user=bob region=eu-west tier=gold"), first);
    let text = bench.miner.text(TENANT, SERVICE, first).unwrap();
    assert_eq!(text, "level=info msg=ready user=<*> region=eu-west tier=gold");
    assert_eq!(
        bench.restarted(Options::default()).mine("level=info msg=ready user=zoe region=eu-west tier=gold"),
        first
    );
}

#[test]
fn hostile_lines_are_bounded() {
    let options = Options { templates_max_per_service: 20, ..Options::default() };
    let mut bench = Bench::new(options);
    let long = "é1".repeat(500_000);
    let many = "x ".repeat(500_000);
    for line in
        [&long, &many, &"\u{0}\u{7f}".repeat(9), &"<*> ".repeat(300), &"=".repeat(9), &"[((\"'".to_owned()]
    {
        bench.mine(line);
    }
    assert!(bench.stored.iter().all(|template| template.text.len() <= 4_096 + 8));
    assert!(bench.stored.iter().all(|template| template.sample.len() <= SAMPLE_BYTES_MAX));
    assert!(bench.stored[1].text.ends_with("x <*>") && bench.stored[1].text.split(' ').count() == 128);
    for number in 0..500 {
        bench.mine(&strange(number));
    }
    // The first line was one long value, so its template takes what is too much.
    assert_eq!(bench.stored.len(), 20 + 5, "a quarter takes the place of others");
    assert_eq!(bench.miner.templates(TENANT, SERVICE).len(), 20);
    assert_eq!(bench.stored[0].text, "<*>");
    assert_eq!(bench.mine("none like this"), TemplateId(1));
    let mut other = Bench::new(Options { templates_max_per_service: 1, ..options });
    let ids: Vec<_> = ["one line", "some other line", "", "yet another"].map(|line| other.mine(line)).into();
    assert_eq!(ids, [1, 2, 3, 3].map(TemplateId));
    assert_eq!(other.text(""), "<*>");
}

/// Three words of letters alone, with nothing in common with those of other numbers.
fn strange(number: usize) -> String {
    let word: String = number.to_string().bytes().map(|digit| char::from(digit + 50)).collect();
    [word.as_str(), &word, &word].join(" ")
}

#[test]
fn a_full_service_lets_go_of_what_was_seen_least_recently() {
    let options = Options { templates_max_per_service: 40, ..Options::default() };
    let mut bench = Bench::new(options);
    for number in 0..40 {
        bench.mine(&strange(number));
    }
    assert_eq!(bench.mine(&strange(0)), TemplateId(1));
    let failed = bench.mine("the disk has failed");
    assert_eq!(failed, TemplateId(41), "a new line has room");
    let held = bench.miner.templates(TENANT, SERVICE);
    assert_eq!(held.len(), 40);
    assert!(
        held.iter().all(|template| template.id != TemplateId(2)),
        "the second was seen before all others"
    );
    assert_eq!(bench.mine(&strange(0)), TemplateId(1));
    assert_eq!(bench.mine(&strange(1)), TemplateId(2), "it is found again");
    assert_eq!(bench.stored.len(), 41, "which makes no other one");
    assert_eq!(bench.mine(&strange(1)), TemplateId(2));
    assert_eq!(bench.mine("the disk has failed"), failed);
}

#[test]
fn lines_that_are_never_alike_share_a_template_until_there_is_room() {
    let options = Options { templates_max_per_service: 40, ..Options::default() };
    let mut bench = Bench::new(options);
    let mut number = 0;
    let mut strangers = |bench: &mut Bench, count| {
        for _ in 0..count {
            bench.mine(&strange(number));
            number += 1;
        }
    };
    strangers(&mut bench, 100);
    // A quarter may go at once; then there is `<*>` beside them.
    assert_eq!(bench.stored.len(), 40 + 10 + 1);
    strangers(&mut bench, 900);
    assert_eq!(bench.stored.len(), 51);
    strangers(&mut bench, 30_000);
    let made = bench.stored.len() - 51;
    assert!((2..=4).contains(&made), "{made} for about thirty thousand lines");
    assert_eq!(bench.miner.templates(TENANT, SERVICE).len(), 41);
    // A restart brings no more.
    let mut restarted = bench.restarted(options);
    strangers(&mut restarted, 5_000);
    assert_eq!(restarted.stored.len(), bench.stored.len());
    strangers(&mut restarted, 10_000);
    assert_eq!(restarted.stored.len(), bench.stored.len() + 1);
}

#[test]
fn lines_that_come_again_have_their_templates_whether_or_not_there_is_room() {
    let options = Options { templates_max_per_service: 40, ..Options::default() };
    let mut bench = Bench::new(options);
    let kinds: Vec<TemplateId> = (0..50).map(|number| bench.mine(&strange(number))).collect();
    assert_eq!(kinds.last(), Some(&TemplateId(50)), "ten went for others");
    for _ in 0..20 {
        for (number, id) in kinds.iter().enumerate() {
            assert_eq!(bench.mine(&strange(number)), *id);
        }
    }
    assert_eq!(bench.stored.len(), 50, "none is begun anew");
    assert_eq!(bench.miner.templates(TENANT, SERVICE).len(), 40);
    // Whoever was told of what has no place goes on alike.
    let mut restarted = Bench { stored: bench.stored.clone(), last_id: 50, ..Bench::new(options) };
    bench.stored[..10].iter().for_each(|template| restarted.miner.restore_gone(template));
    bench.stored[10..].iter().for_each(|template| restarted.miner.restore(template));
    for (number, id) in kinds.iter().enumerate() {
        assert_eq!(restarted.mine(&strange(number)), *id);
    }
    assert_eq!(restarted.stored.len(), 50);
}

#[test]
fn no_more_templates_of_a_service_are_begun_than_may_be_stored() {
    let options = Options { templates_max_per_service: 40, stored_max_per_service: 45, ..Options::default() };
    let mut bench = Bench::new(options);
    for number in 0..60 {
        bench.mine(&strange(number));
    }
    assert_eq!(bench.stored.len(), 45 + 1);
    assert_eq!(bench.stored[45].text, "<*>");
    assert_eq!(bench.mine(&strange(2)), TemplateId(3), "those that there are go on");
    let mut restarted = Bench { last_id: 46, ..Bench::new(options) };
    bench.stored[40..].iter().for_each(|template| restarted.miner.restore(template));
    restarted.miner.set_stored(TENANT, SERVICE, 46);
    assert_eq!(restarted.mine("there would be room"), TemplateId(46));
    assert_eq!(restarted.mine(&strange(44)), TemplateId(45));
}

#[test]
fn templates_that_are_forgotten_make_room_and_come_again_as_others() {
    let options = Options { templates_max_per_service: 40, stored_max_per_service: 50, ..Options::default() };
    let mut bench = Bench::new(options);
    let first: Vec<TemplateId> = (0..50).map(|number| bench.mine(&strange(number))).collect();
    let variable = bench.mine(&strange(50));
    assert_eq!((first[49], variable), (TemplateId(50), TemplateId(51)), "no more are begun");
    // Of those that have a place and of those that have none some are forgotten, and `<*>` as well.
    let gone = [1, 2, 49, 50, 51].map(TemplateId);
    bench.miner.forget_templates(TENANT, SERVICE, &gone.into());
    bench.miner.forget_templates(TENANT, ServiceId(99), &gone.into());
    bench.miner.set_stored(TENANT, SERVICE, 45);
    let held = bench.miner.templates(TENANT, SERVICE);
    assert!(held.iter().all(|template| !gone.contains(&template.id)));
    assert_eq!(held.len(), 41 - 3);
    bench.stored.retain(|template| !gone.contains(&template.id));
    for number in [48, 49] {
        assert_eq!(bench.mine(&strange(number)), TemplateId(number as u32 + 4), "there is room");
        assert_eq!(bench.mine(&strange(number)), TemplateId(number as u32 + 4));
    }
    for (number, id) in first.iter().enumerate().take(48).skip(2) {
        assert_eq!(bench.mine(&strange(number)), *id, "the others stay");
    }
    assert_eq!(bench.miner.templates(TENANT, SERVICE).len(), 40);
    // Where there is none, lines share `<*>`, which begins anew.
    for number in 100..200 {
        bench.mine(&strange(number));
    }
    let ids: Vec<TemplateId> = bench.stored.iter().map(|template| template.id).collect();
    assert!(ids.is_sorted() && ids.iter().all(|id| !gone.contains(id)));
    assert_eq!(bench.text("nothing like the others"), "<*>");
}

#[test]
fn services_that_are_gone_take_no_room() {
    let options = Options { templates_max_per_tenant: 4, ..Options::default() };
    let mut miner = Miner::new(options);
    let mut last = 0;
    let mut mine = |miner: &mut Miner, service, number| {
        let mut next = || {
            last += 1;
            TemplateId(last)
        };
        miner.mine(TENANT, ServiceId(service), &strange(number), UnixNanos(1), &mut next)
    };
    for number in 0..3 {
        mine(&mut miner, 1, number);
    }
    mine(&mut miner, 2, 0);
    miner.forget(|_, service| service == ServiceId(1));
    assert!(miner.templates(TENANT, ServiceId(1)).is_empty());
    for number in 1..4 {
        mine(&mut miner, 2, number);
    }
    assert_eq!(miner.templates(TENANT, ServiceId(2)).len(), 4, "none had to go");
}

#[test]
fn tenants_and_all_have_their_bounds() {
    let options = Options { templates_max_per_tenant: 30, templates_max: 50, ..Options::default() };
    let mut miner = Miner::new(options);
    let mut last = 0;
    let mut mine = |miner: &mut Miner, tenant, service, number| {
        let mut next = || {
            last += 1;
            TemplateId(last)
        };
        miner.mine(TenantNumber(tenant), ServiceId(service), &strange(number), UnixNanos(1), &mut next)
    };
    let held =
        |miner: &Miner, tenant, service| miner.templates(TenantNumber(tenant), ServiceId(service)).len();
    for number in 0..20 {
        mine(&mut miner, 1, 1, number);
    }
    for number in 0..15 {
        assert!(!mine(&mut miner, 1, 2, number).overflowed);
    }
    assert_eq!((held(&miner, 1, 1), held(&miner, 1, 2)), (15, 15), "the larger one makes room");
    for number in 0..30 {
        assert!(!mine(&mut miner, 2, 3, number).overflowed);
    }
    let own = [held(&miner, 1, 1) + held(&miner, 1, 2), held(&miner, 2, 3)];
    assert_eq!(own.iter().sum::<usize>(), 50);
    assert!(own[0].abs_diff(own[1]) <= 1, "{own:?}: who has most makes room");
}

#[test]
fn odd_options_do_no_harm() {
    let options = Options {
        depth: 0,
        similarity: f64::NAN,
        children_max: 0,
        templates_max_per_service: 0,
        templates_max_per_tenant: 0,
        templates_max: 0,
        stored_max_per_service: 0,
        line_bytes_max: 0,
        tokens_max: 0,
    };
    let mut bench = Bench::new(options);
    assert_eq!(bench.mine("a b"), bench.mine("c d e"));
    let mut deep = Bench::new(Options { depth: 9, children_max: 1, ..Options::default() });
    let ids: Vec<_> = ["a b c", "d e f", "a b c", "g"].map(|line| deep.mine(line)).into();
    assert_eq!(ids, [1, 2, 1, 3].map(TemplateId));
    assert_eq!(
        deep.restarted(Options { depth: 9, children_max: 1, ..Options::default() }).mine("d e f"),
        TemplateId(2)
    );
}

fn any_line() -> impl Strategy<Value = String> {
    let word = proptest::sample::select(vec![
        "GET", "user", "of", "login", "failed", "ok", "a=b", "a=c", "a=17", "17", "-3", "10.0.0.1", "x-y",
        "x-z", "(", "eth0", "1.5", "KB", "<*>", "é", "/var/x1", "alice", "bob", "carol", "dave", "erin",
        "frank",
    ]);
    proptest::collection::vec(word, 0..6).prop_map(|words| words.join(" "))
}

proptest! {
    #[test]
    fn a_restart_changes_nothing(
        before in proptest::collection::vec(any_line(), 0..120),
        after in proptest::collection::vec(any_line(), 0..60),
        depth in 3..5_usize,
        children_max in 1..5_usize,
    ) {
        let options = Options { depth, children_max, ..Options::default() };
        let mut bench = Bench::new(options);
        for line in &before {
            bench.mine(line);
        }
        prop_assert_eq!(&bench.miner.templates(TENANT, SERVICE), &bench.stored);
        let known = bench.stored.clone();
        let mut restarted = bench.restarted(options);
        for line in before.iter().chain(&after) {
            prop_assert_eq!(bench.mine(line), restarted.mine(line), "{}", line);
        }
        prop_assert_eq!(&bench.stored, &restarted.stored);
        for template in known {
            let now = bench.stored.iter().find(|other| other.id == template.id).unwrap();
            prop_assert_eq!((&now.sample, now.first_seen), (&template.sample, template.first_seen));
        }
    }

    #[test]
    fn a_full_service_answers_by_its_lines_alone(
        lines in proptest::collection::vec(any_line(), 0..200),
        depth in 3..5_usize,
        templates_max_per_service in 1..20_usize,
        templates_max_per_tenant in 1..30_usize,
    ) {
        let options = Options { depth, templates_max_per_service, templates_max_per_tenant, ..Options::default() };
        let (mut bench, mut other) = (Bench::new(options), Bench::new(options));
        for line in &lines {
            let id = bench.mine(line);
            prop_assert_eq!(id, other.mine(line), "{}", line);
            let held = bench.miner.templates(TENANT, SERVICE);
            prop_assert!(held.len() <= templates_max_per_service.min(templates_max_per_tenant) + 1);
            prop_assert!(bench.stored.iter().any(|template| template.id == id));
            for template in held {
                // Whoever reads the store finds the text, whether or not the template was gone meanwhile.
                let stored = bench.stored.iter().find(|stored| stored.id == template.id).unwrap();
                prop_assert_eq!(&stored.text, &template.text);
            }
        }
        let mut restarted = bench.restarted(options);
        for line in &lines {
            restarted.mine(line);
        }
        let held = restarted.miner.templates(TENANT, SERVICE).len();
        prop_assert!(held <= templates_max_per_service.min(templates_max_per_tenant) + 1);
    }

    #[test]
    fn any_text_is_mined(lines in proptest::collection::vec(any::<String>(), 1..20), bytes_max in 0..40_usize, tokens_max in 0..5_usize) {
        let options = Options { line_bytes_max: bytes_max, tokens_max, ..Options::default() };
        let mut bench = Bench::new(options);
        for line in &lines {
            bench.mine(line);
        }
        let before = bench.stored.clone();
        let ids: Vec<_> = lines.iter().map(|line| bench.mine(line)).collect();
        prop_assert_eq!(&bench.stored, &before, "lines that were mined change nothing");
        let mut restarted = bench.restarted(options);
        prop_assert_eq!(ids, lines.iter().map(|line| restarted.mine(line)).collect::<Vec<_>>());
    }

    #[test]
    fn any_token_is_masked(token in "[-0-9a-fA-FxT:./_=<>\\[(,%é]{0,24}") {
        let mut masked = Vec::new();
        super::mask::token(token.as_bytes(), &mut masked);
        prop_assert!(std::str::from_utf8(&masked).is_ok());
        prop_assert!(masked.len() <= 4 * token.len() + 3);
    }
}
