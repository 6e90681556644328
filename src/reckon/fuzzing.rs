//! Roll-ups of any bytes: refused, or the same when they are written again; and merged without a panic.

use super::Rollup;

/// Two roll-ups, of which the first byte tells where the second begins.
pub(crate) fn rollup(input: &[u8]) {
    let Some((cut, bytes)) = input.split_first() else { return };
    let (one, other) = bytes.split_at(usize::from(*cut).min(bytes.len()));
    let found = [bytes, one, other].map(read);
    let [_, Some(one), Some(other)] = found else { return };
    for (one, other) in [(&one, &other), (&other, &one), (&one, &one)] {
        let mut merged = one.clone();
        if merged.merge(other).is_ok() {
            read(&written(&merged)).expect("what was merged can be written and read");
        }
    }
}

fn read(bytes: &[u8]) -> Option<Rollup> {
    let rollup = Rollup::decode(bytes)?;
    let again = written(&rollup);
    // Numbers can be spelled longer than need be; what was written here is as it is written.
    assert!(again.len() <= bytes.len(), "written longer than it was");
    let reread = Rollup::decode(&again).expect("what was written can be read");
    assert_eq!(written(&reread), again, "written again it is the same");
    let _ = (rollup.levels(), rollup.last(), rollup.quantiles(), rollup.has_points());
    Some(rollup)
}

fn written(rollup: &Rollup) -> Vec<u8> {
    let mut out = Vec::new();
    rollup.encode(&mut out);
    out
}
