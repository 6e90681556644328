//! Log templates: Drain (He, Zhu, Zheng, Lyu: "Drain: An Online Log Parsing Approach with Fixed Depth Tree", 2017)
//! with masks and a stricter comparison, for each service of each tenant apart.
//!
//! Promise: every line gets a template. A template's id never changes, though its text may become more general;
//! what a line gets depends on the templates of its service alone, so a miner that was given all templates back
//! with [`Miner::restore`] goes on as if it had never stopped. Memory is bounded by [`Options`] for each service, each
//! tenant and in all. At a bound the template that was seen least recently goes for a new one: of the service, or, where
//! its tenant or all have too many, of the service that has most. Which one that is depends on the lines so far and on
//! nothing else. A template that went keeps its id for as long as that is remembered, also for the lines that come while it
//! has no place; otherwise its next line begins another one with the same text, and who reads takes both for one. How many
//! templates of a service are stored and still seen is bounded as well.
//!
//! Never: reads a clock or the store, hands out ids by itself, or panics, whatever a line holds.
//!
//! Reading order: this file, `tokens` (a line to masked tokens in one pass), `mask` (which parts of a token are
//! values), `fit` (how a line compares with a template), `tree` (which ones it is compared with), `group` (templates of one
//! service), `pace` (how often one goes for another), `sizes` (who has most). The one handle is [`Miner`].

mod fit;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod group;
mod mask;
mod pace;
mod sizes;
#[cfg(test)]
mod tests;
mod tokens;
mod tree;

use std::collections::{BTreeSet, HashMap};

use crate::model::id::{ServiceId, TemplateId, TenantNumber};
use crate::model::time::UnixNanos;

use group::{Found, Group};
use sizes::Sizes;
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
    /// Templates of one service, beside `<*>`. A line that matches none of them then takes the place of one, once in ten
    /// thousand lines and a quarter of all at once; others share the template `<*>`.
    pub templates_max_per_service: usize,
    /// The same for all services of one tenant.
    pub templates_max_per_tenant: usize,
    /// The same for all tenants.
    pub templates_max: usize,
    /// Templates of one service that are stored, beside `<*>`: each takes room for as long as a log record has it. Past it
    /// whatever is new shares `<*>`.
    pub stored_max_per_service: usize,
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
            templates_max_per_tenant: 100_000,
            templates_max: 500_000,
            stored_max_per_service: 20_000,
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
    /// The line got `<*>` because there are too many templates.
    pub overflowed: bool,
}

/// Mines templates. Used by one task; holds no lock.
#[derive(Debug)]
pub struct Miner {
    options: Options,
    groups: HashMap<Whose, Group>,
    sizes: Sizes,
    /// Reused from line to line.
    tokens: Tokens,
}

type Whose = (TenantNumber, ServiceId);

impl Miner {
    /// A miner without templates.
    pub fn new(options: Options) -> Self {
        let options = Options { tokens_max: options.tokens_max.max(1), ..options };
        Self { options, groups: HashMap::new(), sizes: Sizes::default(), tokens: Tokens::default() }
    }

    /// Finds or makes the template of `line`, which was written at `at`. `next_id` is asked for an id, greater than those
    /// of all templates before, once for each new template and never otherwise.
    pub fn mine(
        &mut self,
        tenant: TenantNumber,
        service: ServiceId,
        line: &str,
        at: UnixNanos,
        next_id: &mut impl FnMut() -> TemplateId,
    ) -> Mined {
        let Self { options, groups, tokens, .. } = self;
        tokens.read(line, options.line_bytes_max, options.tokens_max);
        let group = groups.entry((tenant, service)).or_default();
        match group.find(tokens, options) {
            Found::Same(index) => Mined { template: group.id(index), changes: Vec::new(), overflowed: false },
            Found::MoreGeneral(changed) => {
                let changes = changed.iter().map(|index| group.template(*index, tenant, service));
                let changes = changes.map(Change::MoreGeneral).collect();
                Mined { template: group.id(changed[0]), changes, overflowed: false }
            }
            Found::None => self.begin((tenant, service), line, at, next_id),
        }
    }

    /// Begins a template with the line whose tokens were read, or lets it have that of a template with its text that has no
    /// place, or `<*>`.
    fn begin(
        &mut self,
        whose: Whose,
        line: &str,
        at: UnixNanos,
        next_id: &mut impl FnMut() -> TemplateId,
    ) -> Mined {
        let known = self.groups.get(&whose).and_then(|group| group.retired(&self.tokens));
        let has_place = self.has_place(whose, known.is_some());
        if let Some(template) = known.filter(|_| !has_place) {
            return Mined { template, changes: Vec::new(), overflowed: false };
        }
        let overflowed = !has_place;
        let (group, tokens) = (self.groups.entry(whose).or_default(), &mut self.tokens);
        if overflowed {
            if let Some(index) = group.overflow() {
                return Mined { template: group.id(index), changes: Vec::new(), overflowed };
            }
            tokens.read_template(VARIABLE, 1);
        }
        // What was let go of to make room may have been this very one.
        let known = if overflowed { group.retired(tokens) } else { known };
        let id = match known {
            Some(id) => id,
            None => next_id(),
        };
        let sample = tokens::cut(line, SAMPLE_BYTES_MAX.min(self.options.line_bytes_max));
        let index = group.add(tokens, &self.options, id, (sample, at));
        let (tenant, service) = whose;
        // The store has a template that is found again.
        let new = known.is_none().then(|| Change::New(group.template(index, tenant, service)));
        group.stored += usize::from(new.is_some());
        self.sizes.set(whose, group.len());
        Mined { template: id, changes: new.into_iter().collect(), overflowed }
    }

    /// Takes back a template from the store, before lines of its service are mined; the one that was seen last comes last.
    /// Afterwards the same lines get the same ids, where no more templates come than there may be. A template whose id the
    /// service has already is skipped.
    pub fn restore(&mut self, template: &Template) {
        let whose = (template.tenant, template.service);
        if self.groups.get(&whose).is_some_and(|group| group.index(template.id).is_some()) {
            return;
        }
        if self.is_full(whose) && !self.make_room(whose) && template.text != VARIABLE {
            return;
        }
        let Self { options, groups, sizes, tokens } = self;
        let group = groups.entry(whose).or_default();
        tokens.read_template(&template.text, options.tokens_max);
        let sample = tokens::cut(&template.sample, SAMPLE_BYTES_MAX);
        group.add(tokens, options, template.id, (sample, template.first_seen));
        group.stored += 1;
        group.begin_anew(options);
        sizes.set(whose, group.len());
    }

    /// Takes back no more of a template than its id, for lines that have its very text: one for which there is no place.
    pub fn restore_gone(&mut self, template: &Template) {
        let Self { options, groups, tokens, .. } = self;
        let group = groups.entry((template.tenant, template.service)).or_default();
        tokens.read_template(&template.text, options.tokens_max);
        group.restore_gone(tokens, options, template.id);
        group.stored += 1;
    }

    /// Tells how many templates of a service take room in the store: after those that are taken back were, and when some
    /// of them no longer do.
    pub fn set_stored(&mut self, tenant: TenantNumber, service: ServiceId, count: usize) {
        self.groups.entry((tenant, service)).or_default().stored = count;
    }

    /// Forgets templates of a service: their ids are given to no line any more.
    pub fn forget_templates(&mut self, tenant: TenantNumber, service: ServiceId, ids: &BTreeSet<TemplateId>) {
        let Self { options, groups, sizes, .. } = self;
        if let Some(group) = groups.get_mut(&(tenant, service)) {
            group.forget(ids, options);
            sizes.set((tenant, service), group.len());
        }
    }

    /// Forgets the services that are gone and whatever they have: no line of theirs comes any more.
    pub fn forget(&mut self, is_gone: impl Fn(TenantNumber, ServiceId) -> bool) {
        let Self { groups, sizes, .. } = self;
        groups.retain(|(tenant, service), _| {
            let goes = is_gone(*tenant, *service);
            if goes {
                sizes.set((*tenant, *service), 0);
            }
            !goes
        });
    }

    /// The text of a template as it is now; none for an unknown one.
    pub fn text(&self, tenant: TenantNumber, service: ServiceId, id: TemplateId) -> Option<String> {
        let group = self.groups.get(&(tenant, service))?;
        Some(group.text(group.index(id)?))
    }

    /// The templates of a service that are remembered, by id.
    pub fn templates(&self, tenant: TenantNumber, service: ServiceId) -> Vec<Template> {
        let group = self.groups.get(&(tenant, service));
        let templates = |group: &Group| {
            let indexes = group.indexes().into_iter();
            indexes.map(|index| group.template(index, tenant, service)).collect()
        };
        group.map(templates).unwrap_or_default()
    }

    /// Whether a template of the service has a place now, that of another one where there is no other: one that is found
    /// again, or one that is new.
    fn has_place(&mut self, whose: Whose, is_known: bool) -> bool {
        let is_full = self.is_full(whose);
        let Self { options, groups, .. } = self;
        let group = groups.entry(whose).or_default();
        let may_be = match (is_known, is_full) {
            (true, true) => group.may_return(options),
            (true, false) => true,
            (false, _) if group.stored >= options.stored_max_per_service => false,
            (false, true) => group.may_replace(options),
            (false, false) => true,
        };
        may_be && (!is_full || self.make_room(whose))
    }

    /// Whether one more template of the service needs the place of another one.
    fn is_full(&self, whose: Whose) -> bool {
        self.sizes.of_service(whose) >= self.options.templates_max_per_service
            || self.sizes.of_tenant(whose.0) >= self.options.templates_max_per_tenant
            || self.sizes.total() >= self.options.templates_max
    }

    /// Lets go of the template that was seen least recently: of the service itself where it is full, else of the service
    /// that has most. False where nothing can go.
    fn make_room(&mut self, whose: Whose) -> bool {
        let Self { options, groups, sizes, .. } = self;
        let largest = if sizes.of_service(whose) >= options.templates_max_per_service {
            None
        } else if sizes.of_tenant(whose.0) >= options.templates_max_per_tenant {
            sizes.largest_of(whose.0)
        } else {
            sizes.largest()
        };
        let whose = largest.unwrap_or(whose);
        let Some(group) = groups.get_mut(&whose) else { return false };
        let goes = group.retire(options);
        sizes.set(whose, group.len());
        goes
    }
}
