//! Log templates: Drain (He, Zhu, Zheng, Lyu: "Drain: An Online Log Parsing Approach with Fixed Depth Tree", 2017)
//! with masks and a stricter comparison, for each service of each tenant apart.
//!
//! Promise: every line gets a template. A template's id never changes, though its text may become more general;
//! what a line gets depends on the templates of its service alone, so a miner that was given all templates back
//! with [`Miner::restore`] goes on as if it had never stopped. Memory is bounded by [`Options`] for each service.
//!
//! Never: reads a clock or the store, hands out ids by itself, or panics, whatever a line holds.
//!
//! Reading order: this file, `tokens` (a line to masked tokens in one pass), `mask` (which parts of a token are
//! values), `group` (tree and templates of one service). The one handle is [`Miner`].

#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod group;
mod mask;
#[cfg(test)]
mod tests;
mod tokens;

use std::collections::HashMap;

use crate::model::id::{ServiceId, TemplateId, TenantNumber};
use crate::model::time::UnixNanos;

use group::{Found, Group};
use tokens::Tokens;

/// What stands for a value in a template's text.
pub const VARIABLE: &str = "<*>";
/// Bytes of a sample line that are kept.
pub const SAMPLE_BYTES_MAX: usize = 1_024;

/// How lines are grouped, and the bounds of one service.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Options {
    /// Levels of the tree: the root, the number of tokens, then leading tokens, then leaves. 4 looks at one
    /// leading token, which costs messages that begin with a name their common template; 3 and less at none,
    /// which compares a new kind of line with all templates of its length.
    pub depth: usize,
    /// Least share of words that are equal, 0 to 1, for a line to join a template and make it more general.
    /// Values that were masked do not count; a plain word that differs counts thrice. At 0.8 twelve words outweigh
    /// one other word, and four outweigh something that may be a value.
    pub similarity: f64,
    /// Branches of one node by leading token; further tokens share a branch.
    pub children_max: usize,
    /// Templates of one service; lines that match none of them then share the template `<*>`.
    pub templates_max_per_service: usize,
    /// Bytes of a line that are looked at.
    pub line_bytes_max: usize,
    /// Tokens of a line that are told apart; what follows is one variable.
    pub tokens_max: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            depth: 3,
            similarity: 0.8,
            children_max: 100,
            templates_max_per_service: 2_000,
            line_bytes_max: 4_096,
            tokens_max: 128,
        }
    }
}

/// A template as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    /// Stable across restarts and across generalisation of the text.
    pub id: TemplateId,
    /// Whose lines they are.
    pub tenant: TenantNumber,
    /// The service that wrote them.
    pub service: ServiceId,
    /// Tokens joined by one space, values as [`VARIABLE`]; empty for empty lines.
    pub text: String,
    /// The start of the first line it was mined from, at most [`SAMPLE_BYTES_MAX`] bytes.
    pub sample: String,
    /// The time of that line.
    pub first_seen: UnixNanos,
}

/// A change that mining a line made; the caller persists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// The line began a template.
    New(Template),
    /// The line made the template's text more general; only the text differs from what was told before.
    MoreGeneral(Template),
}

/// The template of a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mined {
    /// Its id.
    pub template: TemplateId,
    /// What the line changed, empty for almost all lines. One line can make several templates more general at
    /// once, and some may have the same text from then on: lines they take get the oldest one's id.
    pub changes: Vec<Change>,
}

/// Mines templates. Used by one task; holds no lock.
#[derive(Debug)]
pub struct Miner {
    options: Options,
    groups: HashMap<(TenantNumber, ServiceId), Group>,
    /// Reused from line to line.
    tokens: Tokens,
}

impl Miner {
    /// A miner without templates.
    pub fn new(options: Options) -> Self {
        let options = Options { tokens_max: options.tokens_max.max(1), ..options };
        Self { options, groups: HashMap::new(), tokens: Tokens::default() }
    }

    /// Finds or makes the template of `line`, which was written at `at`. `next_id` is asked for an id, unique
    /// among all that this miner holds, once for each new template and never otherwise.
    pub fn mine(
        &mut self,
        tenant: TenantNumber,
        service: ServiceId,
        line: &str,
        at: UnixNanos,
        next_id: &mut impl FnMut() -> TemplateId,
    ) -> Mined {
        let Self { options, groups, tokens } = self;
        tokens.read(line, options.line_bytes_max, options.tokens_max);
        let group = groups.entry((tenant, service)).or_default();
        let (index, changes) = match group.find(tokens, options) {
            Found::Same(index) => (index, Vec::new()),
            Found::MoreGeneral(changed) => {
                let changes = changed.iter().map(|index| group.template(*index, tenant, service));
                (changed[0], changes.map(Change::MoreGeneral).collect())
            }
            Found::None => {
                let sample = tokens::cut(line, SAMPLE_BYTES_MAX.min(options.line_bytes_max));
                let index = group.add(tokens, options, next_id(), (sample, at));
                (index, vec![Change::New(group.template(index, tenant, service))])
            }
        };
        Mined { template: group.id(index), changes }
    }

    /// Takes back a template from the store, before lines of its service are mined and in the order of the ids.
    /// Afterwards the same lines get the same ids. A template whose id the service has already is skipped.
    pub fn restore(&mut self, template: &Template) {
        let Self { options, groups, tokens } = self;
        let group = groups.entry((template.tenant, template.service)).or_default();
        if group.index(template.id).is_none() {
            tokens.read_template(&template.text, options.tokens_max);
            let sample = tokens::cut(&template.sample, SAMPLE_BYTES_MAX);
            group.add(tokens, options, template.id, (sample, template.first_seen));
        }
    }

    /// The text of a template as it is now; none for an unknown one.
    pub fn text(&self, tenant: TenantNumber, service: ServiceId, id: TemplateId) -> Option<String> {
        let group = self.groups.get(&(tenant, service))?;
        Some(group.text(group.index(id)?))
    }

    /// All templates of a service in the order in which they were made.
    pub fn templates(&self, tenant: TenantNumber, service: ServiceId) -> Vec<Template> {
        let group = self.groups.get(&(tenant, service));
        let templates =
            |group: &Group| (0..group.len()).map(|index| group.template(index, tenant, service)).collect();
        group.map(templates).unwrap_or_default()
    }
}
