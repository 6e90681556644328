//! Lines of any text: each gets a template, a miner that was given these back goes on alike, and one with few templates
//! keeps to its bound.

use super::{Change, Miner, Options, SAMPLE_BYTES_MAX};
use crate::model::id::{ServiceId, TemplateId, TenantNumber};
use crate::model::time::UnixNanos;

const WHOSE: (TenantNumber, ServiceId) = (TenantNumber(1), ServiceId(2));
const FEW_TEMPLATES: usize = 8;

/// Lines; the first byte chooses after how many of them the miner is made again.
pub(crate) fn lines(input: &[u8]) {
    let Some((stop, text)) = input.split_first() else { return };
    let text = String::from_utf8_lossy(text);
    let options = Options { line_bytes_max: 200, tokens_max: 12, ..Options::default() };
    let lines: Vec<&str> = text.split('\n').take(options.templates_max_per_service).collect();
    let (mut miner, mut next) = (Miner::new(options), 1);
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
    let options = Options { templates_max_per_service: FEW_TEMPLATES, ..options };
    let (mut few, mut other, mut next, mut other_next) = (Miner::new(options), Miner::new(options), 1, 1);
    for line in lines {
        let found = mine(&mut few, line, &mut next);
        assert_eq!(found, mine(&mut other, line, &mut other_next), "it depends on more than the lines");
        let held = few.templates(WHOSE.0, WHOSE.1).len();
        assert!(held <= FEW_TEMPLATES + 1, "{held} templates of one service");
    }
}

/// The template of a line, with its changes.
fn mine(miner: &mut Miner, line: &str, next: &mut u32) -> (TemplateId, Vec<Change>) {
    let mut id = || {
        *next += 1;
        TemplateId(*next)
    };
    let found = miner.mine(WHOSE.0, WHOSE.1, line, UnixNanos(1), &mut id);
    assert!((2..=*next).contains(&found.template.0), "the template of a line is one of its service");
    let templates = miner.templates(WHOSE.0, WHOSE.1);
    // One that went for another is found again whether or not it has a place.
    if let Some(template) = templates.iter().find(|template| template.id == found.template) {
        assert!(template.sample.len() <= SAMPLE_BYTES_MAX);
        let text = miner.text(WHOSE.0, WHOSE.1, found.template);
        assert_eq!(text.as_ref(), Some(&template.text));
    }
    (found.template, found.changes)
}
