//! What is exported, imported and restored, of any bytes.

use std::io::Cursor;
use std::path::Path;

use bytes::Bytes;

use super::import::{self, Content};
use super::lines::{Line, Lines};
use super::manifest::{self, Manifest};
use super::unfinished::Phase;
use super::{deliver, json};
use crate::decode::{self, Encoding, Limits};
use crate::encode;
use crate::model::batch::{Batch, Signal};
use crate::model::time::UnixNanos;

const RECEIVED: UnixNanos = UnixNanos(1_800_000_000_000_000_000);
/// Bytes that a compressed file may come to here.
const PLAIN_BYTES_MAX: u64 = 1 << 20;

/// A request in protobuf; the first byte chooses its signal. What was decoded once is written as the same request, in
/// halves, and as JSON.
pub(crate) fn request(input: &[u8]) {
    let Some((choice, body)) = input.split_first() else { return };
    let signal = Signal::ALL[usize::from(*choice) % 3];
    let decode =
        |encoding, body: Bytes| decode::decode(signal, encoding, &body, RECEIVED, &Limits::default());
    let Ok(decoded) = decode(Encoding::Protobuf, Bytes::copy_from_slice(body)) else { return };
    let batch = decoded.batch;
    let packed = encode::request(&batch);
    let again = decode(Encoding::Protobuf, packed.clone()).expect("what was decoded once is a request");
    assert_eq!(again.rejected, 0, "{:?}", again.message);
    assert!(is_same(&again.batch, &batch), "written again\n{batch:?}\nis\n{:?}", again.batch);
    if let Some((one, other)) = encode::halves(&batch) {
        assert_eq!(one.items() + other.items(), batch.items());
        assert!(one.items() > 0 && other.items() > 0, "a half of nothing");
    }
    let mut text = String::new();
    json::write(signal, &packed, &mut text);
    assert!(!text.contains('\n'), "a line of several lines");
    let told = decode(Encoding::Json, Bytes::from(text.clone()));
    let told = told.unwrap_or_else(|error| panic!("{error}: {text}"));
    assert_eq!((told.batch.items(), told.rejected), (batch.items(), 0), "{:?} of {text}", told.message);
}

fn is_same(one: &Batch, other: &Batch) -> bool {
    // What is no number differs from itself.
    one == other || format!("{one:?}") == format!("{other:?}")
}

/// Lines of a file, plain or compressed: all of it, and from behind any line on the rest.
pub(crate) fn lines(input: &[u8]) {
    let path = Path::new("any.jsonl");
    let open = |offset, lines| Lines::over(Cursor::new(input.to_vec()), path, offset, lines);
    let Ok(mut all) = open(0, 0) else { return };
    let mut read = Vec::new();
    while let Ok(Some(line)) = all.next_line() {
        assert!(line.next > read.last().map_or(0, |line: &Line| line.next), "a line of nothing");
        assert_eq!(line.number, read.len() as u64 + 1);
        if line.next > PLAIN_BYTES_MAX {
            return;
        }
        judge(line.clone());
        read.push(line);
    }
    let Some(half) = read.get(read.len() / 2) else { return };
    let mut rest = open(half.next, half.number).expect("the file was read so far");
    for line in &read[read.len() / 2 + 1..] {
        assert_eq!(rest.next_line().ok().flatten().as_ref(), Some(line), "read from the middle on");
    }
}

/// A line of requests.
fn judge(line: Line) {
    let text = line.text.clone().unwrap_or_default();
    match import::read(line, None, RECEIVED) {
        Content::Empty => assert!(text.trim_ascii().is_empty()),
        Content::Bad(why) => assert!(!why.is_empty(), "refused, and nothing is said"),
        Content::Parcel(parcel) => {
            assert!(parcel.batch.items() as u64 <= parcel.items, "more items than are sent");
            assert_eq!(&parcel.request.body[..], &text[..], "a line is sent as it is");
        }
    }
}

/// The manifest of a backup: of these bytes where the first is even, else of the rest behind its right digest.
pub(crate) fn manifest(input: &[u8]) {
    let Some((choice, rest)) = input.split_first() else { return };
    let mut bytes = rest.to_vec();
    if choice & 1 == 1
        && let Ok(text) = std::str::from_utf8(rest)
    {
        bytes.extend(format!("{}{}\"\n}}\n", manifest::SEAL, manifest::digest(text)).bytes());
    }
    let Ok(found) = Manifest::parse(Path::new("manifest.json"), bytes) else { return };
    let _ = found.bytes();
    for (name, _) in &found.files {
        let is_below =
            Path::new(name).components().all(|part| matches!(part, std::path::Component::Normal(_)));
        assert!(is_below, "{name:?} leads elsewhere");
    }
    let again = Manifest::parse(Path::new("manifest.json"), found.to_text().into_bytes());
    assert_eq!(again.ok(), Some(found), "written again it is the same");
}

/// The mark of a restore, and answers of a server to what is imported.
pub(crate) fn answers(input: &[u8]) {
    if let Some(phase) = Phase::parse(input) {
        assert_eq!(Phase::parse(phase.to_text().as_bytes()), Some(phase), "written again it is the same");
    }
    for encoding in [Encoding::Protobuf, Encoding::Json] {
        for signal in Signal::ALL {
            let _ = deliver::partial_success(signal, encoding, input);
        }
        let _ = deliver::status_message(encoding, input);
    }
}
