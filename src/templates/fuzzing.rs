//! Lines of any text: each gets a template, and a miner that was given these back goes on alike.

use super::{Change, Miner, Options, SAMPLE_BYTES_MAX};
use crate::model::id::{ServiceId, TemplateId, TenantNumber};
use crate::model::time::UnixNanos;

const WHOSE: (TenantNumber, ServiceId) = (TenantNumber(1), ServiceId(2));
const TEMPLATES_MAX: usize = 8;

/// Lines; the first byte chooses after how many of them the miner is made again.
pub(crate) fn lines(input: &[u8]) {
    let Some((stop, text)) = input.split_first() else { return };
    let text = String::from_utf8_lossy(text);
    let options = Options {
        templates_max_per_service: TEMPLATES_MAX,
        line_bytes_max: 200,
        tokens_max: 12,
        ..Options::default()
    };
    let (mut miner, mut next) = (Miner::new(options), 1);
    let lines: Vec<&str> = text.split('\n').collect();
    let (before, after) = lines.split_at(usize::from(*stop).min(lines.len()));
    before.iter().for_each(|line| drop(mine(&mut miner, line, &mut next)));
    let (mut restored, mut restored_next) = (Miner::new(options), next);
    miner.templates(WHOSE.0, WHOSE.1).iter().for_each(|template| restored.restore(template));
    for line in after {
        let (one, other) = (mine(&mut miner, line, &mut next), mine(&mut restored, line, &mut restored_next));
        assert_eq!(one, other, "a miner that was made again answers otherwise to {line:?}");
    }
    let (one, other) = (miner.templates(WHOSE.0, WHOSE.1), restored.templates(WHOSE.0, WHOSE.1));
    assert_eq!(one, other, "a miner that was made again holds others");
}

/// The template of a line, with its changes.
fn mine(miner: &mut Miner, line: &str, next: &mut u32) -> (TemplateId, Vec<Change>) {
    let mut id = || {
        *next += 1;
        TemplateId(*next)
    };
    let found = miner.mine(WHOSE.0, WHOSE.1, line, UnixNanos(1), &mut id);
    let templates = miner.templates(WHOSE.0, WHOSE.1);
    assert!(templates.len() <= TEMPLATES_MAX + 1, "{} templates of one service", templates.len());
    let template = templates.iter().find(|template| template.id == found.template);
    let template = template.expect("the template of a line is one of its service");
    assert!(template.sample.len() <= SAMPLE_BYTES_MAX);
    let text = miner.text(WHOSE.0, WHOSE.1, found.template);
    assert_eq!(text.as_ref(), Some(&template.text));
    (found.template, found.changes)
}
