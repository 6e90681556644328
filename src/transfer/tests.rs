//! The parts together, without a process: what is exported decodes to what it was, a restore survives a kill at every
//! step, a damaged backup is refused, and an import accounts for what it read.

use std::collections::VecDeque;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::proptest;

use super::account::Account;
use super::backup::{self, Source};
use super::deliver::{Answer, Deliverer, Door, Request};
use super::error::Error;
use super::import;
use super::progress::Progress;
use super::restore::{self, Destination, Work};
use super::{json, unfinished};
use crate::clock::Clock;
use crate::decode::tests::laws;
use crate::decode::{Encoding, Limits, decode};
use crate::encode;
use crate::journal::{self, Entry, Journal, Lsn, Prepared, Replay};
use crate::model::batch::Signal;
use crate::model::tenant::TenantId;
use crate::model::time::UnixNanos;
use crate::store::Store;
use crate::store::options::Options;
use crate::store::rows::Commit;

const RECEIVED: UnixNanos = UnixNanos(1_800_000_000_000_000_000);

proptest! {
    #[test]
    fn what_is_exported_decodes_to_what_it_was((signal, request, _) in laws::requests()) {
        let limits = Limits::default();
        let read = |encoding, body: Bytes| decode(signal, encoding, &body, RECEIVED, &limits);
        // Requests of another signal's shape are refused whole.
        if let Ok(decoded) = read(Encoding::Protobuf, request.into()) {
            let packed = encode::request(&decoded.batch);
            let mut text = String::new();
            json::write(signal, &packed, &mut text);
            assert!(!text.contains('\n'));
            let from_json = read(Encoding::Json, text.clone().into()).unwrap();
            assert_eq!(from_json.batch, decoded.batch, "{text}");
            assert_eq!(from_json.rejected, 0, "{text}");
            let from_protobuf = read(Encoding::Protobuf, packed).unwrap();
            assert_eq!(from_protobuf.batch, decoded.batch);
        }
    }

    #[test]
    fn halves_hold_everything((signal, request, _) in laws::requests()) {
        let limits = Limits::default();
        if let Ok(decoded) = decode(signal, Encoding::Protobuf, &request.into(), RECEIVED, &limits) {
            match encode::halves(&decoded.batch) {
                None => assert!(decoded.batch.items() < 2),
                Some((first, second)) => {
                    assert_eq!(first.items(), decoded.batch.items() / 2);
                    assert_eq!(first.items() + second.items(), decoded.batch.items());
                }
            }
        }
    }
}

/// A server's data: journal records 1 to `last`, of which the database has those up to `applied`.
struct Home {
    directory: tempfile::TempDir,
    journal: Option<(Journal, Replay)>,
    store: Store,
}

impl Home {
    async fn new(last: u64, applied: u64) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let options = journal::Options {
            directory: directory.path().join("journal"),
            segment_bytes: 4096,
            bytes_max: 1 << 20,
            pending_bytes_max: 1 << 20,
            free_bytes_min: 0,
            sync: journal::Sync::Durable,
        };
        let (journal, replay) = journal::open(options, Lsn(0)).unwrap();
        for number in 1..=last {
            let entry = Entry {
                tenant: TenantId::try_from("team").unwrap(),
                signal: Signal::Logs,
                encoding: 0,
                received: RECEIVED,
                // Not compressible, so that there are several segments.
                body: (0..1_500).map(|at| (number.wrapping_mul(31 + at * at) >> 3) as u8).collect(),
            };
            journal.append(Prepared::new(&entry).unwrap()).unwrap().durable().await.unwrap();
        }
        let path = directory.path().join("otelcontext.db");
        let store = Store::open(crate::store::options::Options::at(path)).await.unwrap();
        store.commit(Commit { lsn: applied, ..Commit::default() }).await.unwrap();
        Self { directory, journal: Some((journal, replay)), store }
    }

    fn source(&self) -> Source {
        let data_dir = self.directory.path().to_owned();
        Source { database: data_dir.join("otelcontext.db"), data_dir }
    }

    async fn back_up(&self) -> (tempfile::TempDir, backup::Done) {
        let target = tempfile::tempdir().unwrap();
        let done = backup::run(&self.source(), target.path(), &Clock::system(), &Progress::default()).await;
        (target, done.unwrap())
    }
}

fn destination(directory: &Path) -> Destination {
    Destination { data_dir: directory.join("data"), database: directory.join("data/otelcontext.db") }
}

async fn restore(backup: &Path, to: &Destination, force: bool) -> Result<restore::Done, Error> {
    restore::run(backup, to, force, &Clock::standing(RECEIVED), &Progress::default()).await
}

/// The records that a server would replay, after the position of the database.
async fn replayed(to: &Destination) -> (u64, Vec<u64>) {
    let applied = Store::applied_at(&Options::at(&to.database)).await.unwrap();
    let options = journal::Options {
        directory: to.data_dir.join("journal"),
        segment_bytes: 4096,
        bytes_max: 1 << 20,
        pending_bytes_max: 1 << 20,
        free_bytes_min: 0,
        sync: journal::Sync::Durable,
    };
    let (journal, replay) = journal::open(options, Lsn(applied)).unwrap();
    let records = replay.map(|record| record.unwrap().lsn.0).collect();
    journal.stop();
    (applied, records)
}

#[tokio::test]
async fn a_backup_restores_to_its_mark() {
    let home = Home::new(20, 7).await;
    let (backup, done) = home.back_up().await;
    assert_eq!((done.mark, done.applied), (20, 7));
    assert!(done.segments > 3, "{done:?}");
    let place = tempfile::tempdir().unwrap();
    let to = destination(place.path());
    assert_eq!(restore(backup.path(), &to, false).await.unwrap().mark, 20);
    assert_eq!(replayed(&to).await, (7, (8..=20).collect()));
    // Once more: only over data that is moved aside.
    assert!(matches!(restore(backup.path(), &to, false).await, Err(Error::Occupied { .. })));
    let again = restore(backup.path(), &to, true).await.unwrap();
    assert_eq!(replayed(&to).await, (7, (8..=20).collect()));
    assert_eq!(again.aside, [to.data_dir.join(format!("before-restore-{}", RECEIVED.seconds()))]);
    assert!(again.aside[0].join("otelcontext.db").is_file());
    assert!(fs::read_dir(again.aside[0].join("journal")).unwrap().count() > 3);
}

#[tokio::test]
async fn a_database_outside_the_data_directory_is_restored_and_moved_aside_there() {
    let home = Home::new(6, 2).await;
    let (backup, _) = home.back_up().await;
    let place = tempfile::tempdir().unwrap();
    let database = place.path().join("elsewhere/other.db");
    let to = Destination { data_dir: place.path().join("data"), database };
    restore(backup.path(), &to, false).await.unwrap();
    assert_eq!(replayed(&to).await, (2, (3..=6).collect()));
    let again = restore(backup.path(), &to, true).await.unwrap();
    assert_eq!(replayed(&to).await, (2, (3..=6).collect()));
    assert_eq!(again.aside.len(), 2, "{:?}", again.aside);
    assert!(again.aside[0].join("journal").is_dir());
    assert!(again.aside[1].join("other.db").is_file());
}

#[tokio::test]
async fn a_backup_without_journal_records_restores() {
    let home = Home::new(0, 9).await;
    let (backup, done) = home.back_up().await;
    assert_eq!((done.mark, done.applied), (9, 9));
    let place = tempfile::tempdir().unwrap();
    let to = destination(place.path());
    restore(backup.path(), &to, false).await.unwrap();
    assert_eq!(replayed(&to).await, (9, Vec::new()));
}

#[tokio::test]
async fn a_backup_leaves_out_what_it_must_not_mix_with() {
    let home = Home::new(3, 1).await;
    let (backup, _) = home.back_up().await;
    let into_itself =
        backup::run(&home.source(), backup.path(), &Clock::system(), &Progress::default()).await;
    assert!(matches!(into_itself, Err(Error::NotEmpty { .. })));
    let nowhere = Source { data_dir: "nowhere".into(), database: "nowhere/otelcontext.db".into() };
    let target = tempfile::tempdir().unwrap();
    let nothing = backup::run(&nowhere, target.path(), &Clock::system(), &Progress::default()).await;
    assert!(matches!(nothing, Err(Error::NoDatabase { .. })));
    // A running server keeps its data.
    let own = home.source();
    let over = Destination { data_dir: own.data_dir, database: own.database };
    assert!(matches!(restore(backup.path(), &over, true).await, Err(Error::Running { .. })));
    home.store.stop().await;
}

#[tokio::test]
async fn a_hole_in_the_journal_is_told_when_the_backup_is_made() {
    let mut home = Home::new(20, 7).await;
    let (journal, _) = home.journal.take().unwrap();
    journal.stop();
    let mut segments: Vec<PathBuf> = fs::read_dir(home.directory.path().join("journal"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    segments.retain(|path| path.extension().is_some_and(|extension| extension == "journal"));
    segments.sort();
    let middle = &segments[segments.len() - 3];
    let kept = fs::read(middle).unwrap();
    fs::remove_file(middle).unwrap();
    let target = tempfile::tempdir().unwrap();
    let run = |target: PathBuf| {
        let source = home.source();
        async move { backup::run(&source, &target, &Clock::system(), &Progress::default()).await }
    };
    assert!(matches!(run(target.path().join("a")).await, Err(Error::Hole { applied: 7, .. })));
    let mut damaged = kept.clone();
    damaged[100] ^= 1;
    fs::write(middle, damaged).unwrap();
    assert!(matches!(run(target.path().join("b")).await, Err(Error::Hole { applied: 7, .. })));
    fs::write(middle, kept).unwrap();
    assert_eq!(run(target.path().join("c")).await.unwrap().mark, 20);
    assert!(matches!(
        restore(&target.path().join("b"), &destination(target.path()), false).await,
        Err(Error::Unfinished { .. })
    ));
}

#[tokio::test]
async fn a_damaged_backup_is_refused_and_nothing_is_touched() {
    let home = Home::new(12, 4).await;
    let (backup, _) = home.back_up().await;
    let place = tempfile::tempdir().unwrap();
    let to = destination(place.path());
    let mut files = vec![backup.path().join("manifest.json"), backup.path().join("otelcontext.db")];
    files.extend(fs::read_dir(backup.path().join("journal")).unwrap().map(|entry| entry.unwrap().path()));
    for path in files {
        let whole = fs::read(&path).unwrap();
        for part in 0..16 {
            let mut changed = whole.clone();
            changed[(whole.len() - 1) * part / 15] ^= 0x10;
            fs::write(&path, &changed).unwrap();
            let refused = restore(backup.path(), &to, true).await;
            assert!(refused.is_err(), "{} changed in part {part}", path.display());
        }
        fs::write(&path, &whole[..whole.len() - 1]).unwrap();
        assert!(restore(backup.path(), &to, true).await.is_err(), "{} cut", path.display());
        fs::remove_file(&path).unwrap();
        assert!(restore(backup.path(), &to, true).await.is_err(), "{} removed", path.display());
        assert!(!to.data_dir.exists(), "something was touched");
        fs::write(&path, &whole).unwrap();
    }
    let stranger = "000000000099-00000000000000000099-00000000000000000000000000000001.journal";
    fs::write(backup.path().join("journal").join(stranger), b"").unwrap();
    assert!(restore(backup.path(), &to, true).await.is_err(), "a segment that is not in the manifest");
    fs::remove_file(backup.path().join("journal").join(stranger)).unwrap();
    restore(backup.path(), &to, true).await.unwrap();
}

#[tokio::test]
async fn a_restore_that_is_killed_at_any_step_can_be_run_again() {
    let home = Home::new(8, 3).await;
    let (backup, _) = home.back_up().await;
    let old = Home::new(5, 2).await;
    let (old_backup, _) = old.back_up().await;
    let mut steps = 0;
    loop {
        let place = tempfile::tempdir().unwrap();
        let to = destination(place.path());
        restore(old_backup.path(), &to, false).await.unwrap();
        let work = Work {
            backup: backup.path().to_owned(),
            destination: to.clone(),
            manifest: restore::verify(backup.path(), &Progress::default()).await.unwrap(),
            progress: Progress::default(),
        };
        let mut left = steps;
        let killed = || Error::Unfinished { path: PathBuf::new() };
        let mut step = || {
            left -= 1;
            if left < 0 { Err(killed()) } else { Ok(()) }
        };
        let outcome = work.run(true, "aside".into(), &mut step);
        if outcome.is_ok() {
            break;
        }
        // Either nothing was changed, or no server starts on it.
        if unfinished::check(&to.data_dir).is_ok() {
            assert_eq!(replayed(&to).await, (2, (3..=5).collect()), "killed at step {steps}");
        }
        let again = restore(backup.path(), &to, true).await.unwrap();
        assert_eq!(replayed(&to).await, (3, (4..=8).collect()), "killed at step {steps}");
        unfinished::check(&to.data_dir).unwrap();
        let [aside] = again.aside.as_slice() else { panic!("{:?}", again.aside) };
        assert_eq!(Store::verify_snapshot(&aside.join("otelcontext.db")).await.unwrap().applied, 2);
        assert!(!to.data_dir.join("restore.partial").exists());
        steps += 1;
    }
    assert!(steps > 10, "{steps}");
}

/// A door that answers from a list, and with success after its end.
struct Script {
    answers: Mutex<VecDeque<Answer>>,
    seen: Mutex<Vec<Request>>,
}

impl Script {
    fn new(answers: impl IntoIterator<Item = Answer>) -> Arc<Self> {
        Arc::new(Self { answers: Mutex::new(answers.into_iter().collect()), seen: Mutex::default() })
    }
}

impl Door for Arc<Script> {
    async fn post(&self, request: &Request) -> Answer {
        self.seen.lock().unwrap().push(request.clone());
        let next = self.answers.lock().unwrap().pop_front();
        next.unwrap_or(Answer::Accepted { rejected: 0, message: String::new() })
    }
}

fn line(number: u32, items: u32) -> String {
    let records: Vec<String> = (0..items)
        .map(|item| {
            format!(r#"{{"timeUnixNano":"{}","body":{{"stringValue":"{number}.{item}"}}}}"#, 1 + item)
        })
        .collect();
    format!(r#"{{"resourceLogs":[{{"scopeLogs":[{{"logRecords":[{}]}}]}}]}}"#, records.join(","))
}

fn later(is_unreachable: bool) -> Answer {
    Answer::Again { after: Some(Duration::ZERO), reason: "not now".into(), is_unreachable }
}

async fn run_import(options: &import::Options, door: &Arc<Script>) -> Result<Account, Error> {
    let deliverer = Arc::new(Deliverer::new(Arc::clone(door), Duration::from_secs(5)));
    import::run(options, deliverer, &Clock::system(), &Progress::default()).await
}

fn options(files: &[PathBuf]) -> import::Options {
    import::Options { files: files.to_vec(), tenant: None, strict: false, state: None }
}

#[tokio::test]
async fn an_import_accounts_for_every_line_however_it_is_compressed() {
    let directory = tempfile::tempdir().unwrap();
    let text = format!("{}\n\nnot json\n{{\"other\":1}}\n{}", line(1, 2), line(2, 3));
    let gzip = {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        std::io::Write::write_all(&mut encoder, text.as_bytes()).unwrap();
        encoder.finish().unwrap()
    };
    let zstd = zstd::encode_all(text.as_bytes(), 1).unwrap();
    // Names do not matter, contents do.
    for (name, content) in [("a", text.clone().into_bytes()), ("b.json", gzip), ("c.gz", zstd)] {
        let path = directory.path().join(name);
        fs::write(&path, content).unwrap();
        let door = Script::new([Answer::Accepted { rejected: 1, message: "1 record too old".into() }]);
        let account = run_import(&options(std::slice::from_ref(&path)), &door).await.unwrap();
        assert_eq!((account.read, account.empty, account.bad), (5, 1, 2), "{name}");
        assert_eq!((account.accepted, account.refused, account.requests), (4, 1, 2), "{name}");
        assert_eq!(account.reasons, [("… record too old".to_owned(), 1)]);
        assert!(account.has_refused_old());
        let lines: Vec<u64> = account.bad_lines.iter().map(|(_, line, _)| *line).collect();
        assert_eq!(lines, [3, 4]);
        let strict = import::Options { strict: true, ..options(&[path]) };
        let ended = run_import(&strict, &Script::new([])).await;
        assert!(matches!(ended, Err(Error::BadLine { line: 3, .. })), "{ended:?}");
    }
}

#[tokio::test]
async fn a_request_is_tried_again_split_or_given_up_as_the_server_says() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("lines");
    fs::write(&path, line(1, 5)).unwrap();
    let import = options(&[path]);
    let door = Script::new([later(false), later(true), Answer::TooLarge("413".into())]);
    let account = run_import(&import, &door).await.unwrap();
    assert_eq!((account.accepted, account.requests), (5, 2));
    let sizes: Vec<usize> = door
        .seen
        .lock()
        .unwrap()
        .iter()
        .map(|request| {
            let limits = Limits::default();
            decode(request.signal, request.encoding, &request.body, RECEIVED, &limits).unwrap().batch.items()
        })
        .collect();
    assert_eq!(sizes, [5, 5, 5, 2, 3]);

    let account = run_import(&import, &Script::new([Answer::Refused("400".into())])).await.unwrap();
    assert_eq!((account.accepted, account.refused), (0, 5));
    for answer in [Answer::Turned("401".into()), later(true)] {
        let ended = run_import(&import, &Script::new([answer])).await;
        assert!(matches!(ended, Err(Error::Undelivered { .. })), "{ended:?}");
    }
}

#[tokio::test]
async fn an_import_goes_on_where_it_stopped() {
    let directory = tempfile::tempdir().unwrap();
    let (first, second) = (directory.path().join("first"), directory.path().join("second.zst"));
    let lines = |from: u32, to: u32| (from..to).map(|number| line(number, 1) + "\n").collect::<String>();
    fs::write(&first, lines(0, 20)).unwrap();
    fs::write(&second, zstd::encode_all(lines(20, 40).as_bytes(), 1).unwrap()).unwrap();
    let import =
        import::Options { state: Some(directory.path().join("state")), ..options(&[first.clone(), second]) };
    let good = || Answer::Accepted { rejected: 0, message: String::new() };
    // Twice it is interrupted, once in each file.
    let interrupted = Script::new((0..11).map(|_| good()).chain([Answer::Turned("stop".into())]));
    assert!(run_import(&import, &interrupted).await.is_err());
    let interrupted = Script::new((0..23).map(|_| good()).chain([Answer::Turned("stop".into())]));
    assert!(run_import(&import, &interrupted).await.is_err());
    let last = Script::new([]);
    let account = run_import(&import, &last).await.unwrap();
    assert_eq!((account.read, account.accepted), (40, 40));
    // The first eight lines of the first file were done, then all of it and eight of the second.
    assert_eq!(last.seen.lock().unwrap().len(), 12);
    assert_eq!(run_import(&import, &Script::new([])).await.unwrap(), account, "nothing is left to do");
    let other = import::Options { files: vec![first], ..import };
    assert!(matches!(run_import(&other, &Script::new([])).await, Err(Error::State { .. })));
}
