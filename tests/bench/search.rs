//! Measures the search index on lines made from templates with variables, about 140 bytes each.
//!
//!     cargo bench --bench search -- [lines] [days] [lines per commit] [plain|attributes]
//!
//! The defaults are 10,000,000 lines of one day, 10,000 a commit (what half a second brings at 20,000 a second), and
//! no attributes. Lines are made before the clock runs. Prints what indexing, commits and disk cost, then the
//! milliseconds that kinds of questions take: median, 95th percentile, greatest. Needs some 80 bytes of disk a line.

mod log_lines;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use otelcontext::model::id::{ServiceId, TemplateId, TenantNumber};
use otelcontext::model::log::Severity;
use otelcontext::model::time::{UnixNanos, Window};
use otelcontext::search::{Ask, DAY_BITS, Document, Index, Nameless, Options};

use self::log_lines::{TEMPLATES, line};

const TENANT: TenantNumber = TenantNumber(1);
const FIRST_DAY: i64 = 20_785;
const DAY_NANOS: i64 = 86_400_000_000_000;
const ROUNDS: usize = 200;

struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        // splitmix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }
}

struct Made {
    template: usize,
    body: String,
    attributes: Vec<(&'static str, String)>,
    time: i64,
    severity: u8,
    row: i64,
}

/// Line `n` of `count`, which are spread over `days`.
fn make(random: &mut Random, n: i64, count: i64, days: i64, with_attributes: bool) -> Made {
    let template = random.below(TEMPLATES.len() as u64) as usize;
    let body = line(template, &mut |bound| random.below(bound));
    let attributes = if with_attributes {
        vec![
            ("http.response.status_code", [200, 201, 404, 500, 503][random.below(5) as usize].to_string()),
            ("k8s.pod.name", format!("checkout-{}", random.below(40))),
            ("duration_ms", random.below(5_000).to_string()),
        ]
    } else {
        Vec::new()
    };
    let per_day = (count + days - 1) / days;
    let (day, in_day) = (FIRST_DAY + n / per_day, n % per_day);
    let time = day * DAY_NANOS + in_day * (DAY_NANOS / per_day) + random.below(1_000_000) as i64;
    let severity = [9, 9, 9, 9, 9, 9, 9, 5, 13, 17][random.below(10) as usize];
    Made { template, body, attributes, time, severity, row: day << DAY_BITS | (in_day + 1) }
}

fn document(made: &Made) -> Document<'_, impl Iterator<Item = (&str, &str)>> {
    Document {
        row: made.row,
        tenant: TENANT,
        time: UnixNanos(made.time),
        service: ServiceId(made.template as u32 % 12),
        severity: Severity(made.severity),
        template: TemplateId(made.template as u32),
        body: &made.body,
        attributes: made.attributes.iter().map(|(key, value)| (*key, value.as_str())),
    }
}

fn percentile(sorted: &[Duration], part: f64) -> f64 {
    let at = ((sorted.len() as f64 * part) as usize).min(sorted.len().saturating_sub(1));
    sorted.get(at).map_or(0.0, |duration| duration.as_secs_f64() * 1e3)
}

fn print_times(name: &str, mut times: Vec<Duration>, note: &str) {
    times.sort();
    let (median, high, most) = (percentile(&times, 0.5), percentile(&times, 0.95), percentile(&times, 1.0));
    println!("{name:<44} {median:>9.2} {high:>9.2} {most:>9.2}  {note}");
}

/// Bytes below `folder`, by the end of the files' names.
fn bytes_by_kind(folder: &Path, kinds: &mut BTreeMap<String, u64>) {
    for entry in folder.read_dir().expect("the folder can be listed").flatten() {
        let path = entry.path();
        if path.is_dir() {
            bytes_by_kind(&path, kinds);
        } else if let Ok(about) = path.metadata() {
            let kind = path.extension().map(|kind| kind.to_string_lossy().into_owned()).unwrap_or_default();
            *kinds.entry(kind).or_default() += about.len();
        }
    }
}

fn print_bytes(folder: &Path, lines: i64) {
    let mut kinds = BTreeMap::new();
    bytes_by_kind(folder, &mut kinds);
    let total: u64 = kinds.values().sum();
    print!("disk: {:.1} bytes a line:", total as f64 / lines as f64);
    for (kind, bytes) in kinds {
        print!(" {kind} {:.2}", bytes as f64 / lines as f64);
    }
    println!();
}

fn fill(index: &Index, lines: i64, days: i64, per_commit: i64, with_attributes: bool) {
    let mut random = Random(7);
    let (mut adding, mut bytes) = (Duration::ZERO, 0);
    let mut commits = Vec::new();
    let mut n = 0;
    while n < lines {
        let batch: Vec<Made> = (n..(n + per_commit).min(lines))
            .map(|n| make(&mut random, n, lines, days, with_attributes))
            .collect();
        n += batch.len() as i64;
        bytes += batch.iter().map(|made| made.body.len()).sum::<usize>();
        let start = Instant::now();
        for part in batch.chunks(5_000) {
            index.add(part.iter().map(document)).expect("lines are taken");
        }
        adding += start.elapsed();
        let start = Instant::now();
        index.commit().expect("lines are committed");
        commits.push(start.elapsed());
    }
    let committing: Duration = commits.iter().sum();
    println!("lines of {:.1} bytes", bytes as f64 / lines as f64);
    println!(
        "indexing: {:.0} lines/s, {:.1} s adding and {:.1} s committing",
        lines as f64 / (adding + committing).as_secs_f64(),
        adding.as_secs_f64(),
        committing.as_secs_f64()
    );
    println!("{:<44} {:>9} {:>9} {:>9}", "milliseconds", "median", "p95", "most");
    print_times("a commit", commits, "");
}

/// One of many questions of a kind.
type Question = fn(&mut Random) -> String;

const QUESTIONS: [(&str, Question); 14] = [
    ("two common words", |random| format!("{} {}", word(random), word(random))),
    ("a common and a rare word", |random| format!("{} {}", word(random), random.below(100_000))),
    ("two rare words", |random| format!("user {} {}", random.below(2_000), random.below(100_000))),
    ("an identifier", |random| format!("user-{} node-{}", random.below(2_000), random.below(500))),
    ("a phrase", |random| {
        let phrases =
            ["connection to database", "was declined by", "cache miss for key", "took", "slow query took"];
        format!("\"{}\"", phrases[random.below(5) as usize])
    }),
    ("a phrase with slop", |_| "\"database lost\"~4".into()),
    ("a beginning", |random| format!("{:02x}*", random.below(256))),
    ("one word or another", |random| format!("{} OR {}", word(random), word(random))),
    ("a word without another", |random| format!("{} -{}", word(random), word(random))),
    ("a word and a severity", |random| format!("{} severity:>=error", word(random))),
    ("every line", |_| "*".into()),
    ("an attribute", |random| format!("k8s.pod.name:checkout-{} {}", random.below(40), word(random))),
    ("a range of few values", |_| "http.response.status_code:[500 TO 599]".into()),
    ("a range of 5,000 values", |random| format!("duration_ms:>={}", random.below(5_000))),
];

fn word(random: &mut Random) -> &'static str {
    let words: Vec<&str> = TEMPLATES[random.below(TEMPLATES.len() as u64) as usize]
        .split(' ')
        .filter(|word| 3 < word.len() && word.bytes().all(|byte| byte.is_ascii_lowercase()))
        .collect();
    words[random.below(words.len() as u64) as usize]
}

fn ask(index: &Index, days: i64) {
    println!("{:<44} {:>9} {:>9} {:>9}", "milliseconds", "median", "p95", "most");
    let all = Window::new(UnixNanos(FIRST_DAY * DAY_NANOS), UnixNanos((FIRST_DAY + days) * DAY_NANOS));
    let end = all.to.0;
    let hour = Window::new(UnixNanos(end - DAY_NANOS / 24), UnixNanos(end));
    for (window, which) in [(all, "all time"), (hour, "the last hour")] {
        for (name, question) in QUESTIONS {
            let mut random = Random(11);
            let (mut times, mut matches) = (Vec::new(), 0);
            for _ in 0..ROUNDS {
                let ask = Ask {
                    text: question(&mut random),
                    window,
                    services: Vec::new(),
                    templates: Vec::new(),
                    severity_min: Severity(0),
                    before: None,
                    limit: 50,
                    waiting: None,
                };
                let start = Instant::now();
                let hits = index.search(TENANT, &ask, &Nameless).expect("the question is answered");
                times.push(start.elapsed());
                matches += hits.total.unwrap_or(hits.rows.len());
            }
            print_times(&format!("{name}, {which}"), times, &format!("{} matches", matches / ROUNDS));
        }
    }
}

/// How long after a line was added it is found, on the index as it now stands.
fn freshness(index: &Index, days: i64) {
    let mut times = Vec::new();
    for n in 0..100 {
        let row = ((FIRST_DAY + days - 1) << DAY_BITS) | ((1 << 35) + n);
        let made = Made {
            template: 0,
            body: format!("marker line number {n}"),
            attributes: Vec::new(),
            time: (FIRST_DAY + days) * DAY_NANOS - 1,
            severity: 9,
            row,
        };
        let start = Instant::now();
        index.add([document(&made)]).expect("the line is taken");
        index.commit().expect("the line is committed");
        times.push(start.elapsed());
    }
    print_times("one line, from adding to being found", times, "");
}

fn main() {
    // `cargo bench` itself appends `--bench`.
    let given: Vec<String> = std::env::args().skip(1).filter(|text| !text.starts_with("--")).collect();
    let number = |at: usize, default: i64| {
        given
            .get(at)
            .map_or(default, |text| text.parse().expect("a number of lines, days or lines per commit"))
    };
    let (lines, days, per_commit) = (number(0, 10_000_000), number(1, 1), number(2, 10_000));
    let with_attributes = given.get(3).is_some_and(|text| text == "attributes");
    let folder = tempfile::tempdir().expect("a folder for the index");
    let options = || Options { directory: folder.path().to_owned(), writer_bytes: 50 << 20 };
    let index = Index::open(options()).expect("an empty index");
    fill(&index, lines, days, per_commit, with_attributes);
    println!("{:?}", index.stats());
    print_bytes(folder.path(), lines);
    ask(&index, days);
    freshness(&index, days);
    drop(index);
    let start = Instant::now();
    let index = Index::open(options()).expect("the index as it was");
    println!("opened again in {:.2} s, {:?}", start.elapsed().as_secs_f64(), index.stats());
}
