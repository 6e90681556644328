//! The templates of one service.
//!
//! A line walks from the root by its number of tokens and its leading tokens to a leaf, whose templates it is
//! compared with. Among those that take the line as they are the most specific wins, then the oldest, by id; so the
//! answer follows from the templates alone, and the memory of recent lines may be dropped at any time. It is dropped for
//! those lines that a template which is new, or became more general, may take.
//!
//! Drain compares every token alike and so has to choose between "started" and "stopped" being one message and
//! "user alice" and "user bob" being two. Here a line joins one template only when the two are much alike, and
//! plain words weigh more than what may be a value; whether a place holds a value is told by how many templates
//! differ in that place alone. When they are enough, all of them take any value there.
//!
//! Where there are too many, the template that was seen least recently goes for a new one. Its id is remembered with its
//! text for as long as there is room: when a line has that very text again, it is the same template, whether or not it has
//! a place again.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap};

use crate::model::id::{ServiceId, TemplateId, TenantNumber};
use crate::model::time::UnixNanos;

use super::fit::{Bar, Fit, Pattern};
use super::pace::{Pace, Rate};
use super::tokens::{Token, Tokens, fingerprint};
use super::tree::Tree;
use super::{Options, Template, VARIABLE};

/// How many values at one place show that it is a variable, by how many words stand beside it: the less a line
/// says otherwise, the more it takes.
const fn values_needed(words: usize) -> usize {
    match words {
        0 => 64,
        1 => 16,
        _ => 5,
    }
}

/// Masked lines whose template is remembered.
const RECENT_LINES_MAX: usize = 1_024;
/// Where a service is full, a new template takes the place of another once in so many lines. Lines that are never alike
/// would otherwise each leave a row in the store for good.
const LINES_PER_REPLACEMENT: u64 = 10_000;
/// The same for one that is found again. Until then its lines get its id all the same, and nothing that is more general.
const LINES_PER_RETURN: u64 = 100;
/// The share of a service's templates that may be replaced at once where that was not done for long.
const SAVED_PART: usize = 4;
/// Texts of templates that are gone, for each one that a service may have.
const RETIRED_FOR_EACH: usize = 4;

/// Which template a line belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Found {
    /// This one, as it is.
    Same(usize),
    /// The first of these, all of which became more general.
    MoreGeneral(Vec<usize>),
    /// None: it needs a new one.
    None,
}

/// One service's templates.
#[derive(Debug, Default)]
pub(super) struct Group {
    templates: Vec<Kept>,
    /// Indexes whose template is gone.
    free: Vec<usize>,
    places: HashMap<TemplateId, usize>,
    tree: Tree,
    /// The template that takes what no other does, once there are too many. It stays.
    overflow: Option<usize>,
    /// Recent lines, by the hash of their masked text. Texts with one hash would only be grouped together.
    recent: HashMap<u128, usize>,
    /// Templates that are gone, by the hash of their text.
    retired: HashMap<u128, TemplateId>,
    /// Each template but the one that stays, by when it was seen as far as that is known: it may have been seen since.
    seen_first: BinaryHeap<Reverse<(u64, TemplateId, usize)>>,
    /// Goes on with every line.
    now: u64,
    /// Templates that went for new ones, and for those that were found again.
    replaced: Pace,
    returned: Pace,
    /// Templates of the service that the store has and that do not rest there.
    pub(super) stored: usize,
}

#[derive(Debug)]
struct Kept {
    id: TemplateId,
    tokens: Box<[Pattern]>,
    /// Tokens joined by one space, as at first; patterns say which have become variables since.
    first_text: Box<str>,
    sample: Box<str>,
    first_seen: UnixNanos,
    /// When a line was last found to belong to it, by [`Group::now`].
    seen: u64,
}

impl Group {
    /// The template of a line; makes templates more general if that is what the line takes.
    pub(super) fn find(&mut self, tokens: &Tokens, options: &Options) -> Found {
        self.now += 1;
        let hash = tokens.fingerprint();
        if let Some(index) = self.recent.get(&hash).copied() {
            self.see(index);
            return Found::Same(index);
        }
        let line: Vec<Token> = tokens.texts().map(Token::of).collect();
        let found = self.compare(&line, options);
        match &found {
            Found::Same(index) => {
                self.see(*index);
                self.remember(hash, *index);
            }
            Found::MoreGeneral(wider) => {
                wider.first().into_iter().for_each(|index| self.see(*index));
                for index in wider {
                    let patterns = self.templates[*index].tokens.iter_mut();
                    patterns.zip(&line).for_each(|(pattern, token)| pattern.widen(token));
                }
                self.forget_lines(wider);
            }
            Found::None => {}
        }
        found
    }

    /// Compares a line with the templates of its leaf.
    fn compare(&self, line: &[Token], options: &Options) -> Found {
        let leaf = self.tree.leaf(line, options);
        let mut bar = Bar { places_max: 1, similarity_min: options.similarity };
        let mut best: Option<(Fit, usize)> = None;
        let mut near = Vec::new();
        for index in leaf {
            let Some(fit) = Fit::of(&self.templates[*index].tokens, line, bar) else { continue };
            near.extend(fit.only_place().map(|place| (place, *index)));
            if best.is_none_or(|best| self.is_better((fit, *index), best)) {
                best = Some((fit, *index));
                if fit.takes() {
                    bar = Bar::TAKING;
                }
            }
        }
        match best {
            Some((fit, index)) if fit.takes() => Found::Same(index),
            Some((fit, index)) if fit.similarity() >= options.similarity => Found::MoreGeneral(vec![index]),
            _ => match self.siblings(near) {
                siblings if siblings.is_empty() => Found::None,
                siblings => Found::MoreGeneral(siblings),
            },
        }
    }

    fn is_better(&self, (fit, index): (Fit, usize), (other, known): (Fit, usize)) -> bool {
        fit.is_better_than(other) || !other.is_better_than(fit) && self.id(index) < self.id(known)
    }

    /// Adds a template of these tokens. Returns its index.
    pub(super) fn add(
        &mut self,
        tokens: &Tokens,
        options: &Options,
        id: TemplateId,
        (sample, first_seen): (&str, UnixNanos),
    ) -> usize {
        let line: Vec<Token> = tokens.texts().map(Token::of).collect();
        self.now += 1;
        let kept = Kept {
            id,
            tokens: line.iter().map(Pattern::of).collect(),
            first_text: String::from_utf8_lossy(tokens.text()).into(),
            sample: sample.into(),
            first_seen,
            seen: self.now,
        };
        let index = match self.free.pop() {
            Some(index) => {
                self.templates[index] = kept;
                index
            }
            None => {
                self.templates.push(kept);
                self.templates.len() - 1
            }
        };
        if self.overflow.is_none() && matches!(line[..], [Token { is_variable: true, .. }]) {
            self.overflow = Some(index);
        } else {
            self.seen_first.push(Reverse((self.now, id, index)));
        }
        let is_new_branch = self.tree.add(&line, options, index);
        self.places.insert(id, index);
        self.retired.remove(&tokens.fingerprint());
        match is_new_branch {
            true => self.recent.clear(),
            false => self.forget_lines(&[index]),
        }
        index
    }

    /// Whether one more template may go for a new one; counts it as gone then.
    pub(super) fn may_replace(&mut self, options: &Options) -> bool {
        self.replaced.allows(self.now, rate(LINES_PER_REPLACEMENT, options))
    }

    /// Whether one more template may go for one that is found again; counts it as gone then.
    pub(super) fn may_return(&mut self, options: &Options) -> bool {
        self.returned.allows(self.now, rate(LINES_PER_RETURN, options))
    }

    /// From here on templates may go for new ones once in so many lines, and none at once: what may be saved up was not,
    /// or each restart would give it anew.
    pub(super) fn begin_anew(&mut self, options: &Options) {
        self.replaced = Pace::spent(self.now, rate(LINES_PER_REPLACEMENT, options));
    }

    /// Lets go of the template that was seen least recently. False where there is none but the one that stays.
    pub(super) fn retire(&mut self, options: &Options) -> bool {
        let Some(index) = self.take_seen_first() else { return false };
        let hash = fingerprint(self.text(index).as_bytes());
        let id = self.take_out(index, options);
        if self.retired.len() >= retired_max(options) {
            let oldest = self.retired.iter().min_by_key(|(hash, id)| (id.0, **hash)).map(|(hash, _)| *hash);
            if let Some(hash) = oldest {
                self.retired.remove(&hash);
            }
        }
        self.remember_gone(hash, id);
        // Lines that were others' are others' still.
        self.recent.retain(|_, other| *other != index);
        true
    }

    /// Forgets templates, whether or not they have places. A line that follows one of them begins another.
    pub(super) fn forget(&mut self, ids: &BTreeSet<TemplateId>, options: &Options) {
        self.retired.retain(|_, id| !ids.contains(id));
        let gone: BTreeSet<usize> = ids.iter().filter_map(|id| self.index(*id)).collect();
        for index in &gone {
            self.take_out(*index, options);
        }
        self.seen_first.retain(|Reverse((_, _, index))| !gone.contains(index));
        self.recent.retain(|_, index| !gone.contains(index));
        self.overflow = self.overflow.filter(|index| !gone.contains(index));
    }

    /// Frees the place of a template. Answers its id.
    fn take_out(&mut self, index: usize, options: &Options) -> TemplateId {
        let kept = &mut self.templates[index];
        let id = kept.id;
        let (tokens, text) = (std::mem::take(&mut kept.tokens), std::mem::take(&mut kept.first_text));
        kept.sample = Box::default();
        let texts = text.split(' ').take(tokens.len());
        let line: Vec<Token> = texts.map(|token| Token::of(token.as_bytes())).collect();
        self.tree.remove(&line, options, index);
        self.places.remove(&id);
        self.free.push(index);
        id
    }

    /// Takes out of the heap the template that was seen least recently. Looks at as many as were seen since the last time,
    /// at most.
    fn take_seen_first(&mut self) -> Option<usize> {
        while let Some(Reverse((then, id, index))) = self.seen_first.pop() {
            let seen = self.templates[index].seen;
            if seen == then {
                return Some(index);
            }
            self.seen_first.push(Reverse((seen, id, index)));
        }
        None
    }

    /// Remembers a template that has no place, by the text that was read, for as long as there is room.
    pub(super) fn restore_gone(&mut self, tokens: &Tokens, options: &Options, id: TemplateId) {
        if self.retired.len() < retired_max(options) {
            self.remember_gone(tokens.fingerprint(), id);
        }
    }

    fn remember_gone(&mut self, hash: u128, id: TemplateId) {
        let oldest = self.retired.entry(hash).or_insert(id);
        *oldest = id.min(*oldest);
    }

    /// The id of a template that is gone and had the text of this line.
    pub(super) fn retired(&self, tokens: &Tokens) -> Option<TemplateId> {
        self.retired.get(&tokens.fingerprint()).copied()
    }

    /// The template that takes what no other does, where it is there already.
    pub(super) const fn overflow(&self) -> Option<usize> {
        self.overflow
    }

    /// How many templates there are.
    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    /// Where all templates are, the oldest first.
    pub(super) fn indexes(&self) -> Vec<usize> {
        let mut indexes: Vec<usize> = self.places.values().copied().collect();
        indexes.sort_unstable_by_key(|index| self.id(*index));
        indexes
    }

    /// Where the template with this id is.
    pub(super) fn index(&self, id: TemplateId) -> Option<usize> {
        self.places.get(&id).copied()
    }

    /// The id of the template at `index`.
    pub(super) fn id(&self, index: usize) -> TemplateId {
        self.templates[index].id
    }

    /// The text of the template at `index`.
    pub(super) fn text(&self, index: usize) -> String {
        let kept = &self.templates[index];
        let mut text = String::with_capacity(kept.first_text.len());
        for (token, pattern) in kept.first_text.split(' ').zip(&kept.tokens) {
            if !text.is_empty() {
                text.push(' ');
            }
            match pattern {
                Pattern::Word { .. } => text.push_str(token),
                Pattern::Any => text.push_str(VARIABLE),
                Pattern::Keyed(_) => {
                    text.push_str(token.split_inclusive('=').next().unwrap_or_default());
                    text.push_str(VARIABLE);
                }
            }
        }
        text
    }

    /// The template at `index` as it is kept.
    pub(super) fn template(&self, index: usize, tenant: TenantNumber, service: ServiceId) -> Template {
        let kept = &self.templates[index];
        let sample = String::from(&*kept.sample);
        Template { id: kept.id, tenant, service, text: self.text(index), sample, first_seen: kept.first_seen }
    }

    /// Of templates that differ from a line in one place each, those that do in the same one, if that place shows enough
    /// values; the oldest first.
    fn siblings(&self, near: Vec<(usize, usize)>) -> Vec<usize> {
        let mut by_place: BTreeMap<usize, (usize, Vec<usize>)> = BTreeMap::new();
        for (place, index) in near {
            let patterns = self.templates[index].tokens.iter();
            let words = patterns.filter(|pattern| **pattern != Pattern::Any).count() - 1;
            let (fewest, siblings) = by_place.entry(place).or_insert((words, Vec::new()));
            *fewest = words.min(*fewest);
            siblings.push(index);
        }
        let enough = |(words, siblings): &(usize, Vec<usize>)| siblings.len() + 1 >= values_needed(*words);
        let mut siblings =
            by_place.into_values().find(enough).map(|(_, siblings)| siblings).unwrap_or_default();
        siblings.sort_unstable_by_key(|index| self.id(*index));
        siblings
    }

    fn see(&mut self, index: usize) {
        self.templates[index].seen = self.now;
    }

    /// Forgets the recent lines that one of these templates may take: it may be the better one.
    fn forget_lines(&mut self, changed: &[usize]) {
        let templates = &self.templates;
        let meets = |one: usize, other: usize| {
            let (one, other) = (&templates[one].tokens, &templates[other].tokens);
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| one.meets(*other))
        };
        self.recent.retain(|_, index| !changed.iter().any(|changed| meets(*index, *changed)));
    }

    fn remember(&mut self, hash: u128, index: usize) {
        if self.recent.len() >= RECENT_LINES_MAX {
            self.recent.clear();
        }
        self.recent.insert(hash, index);
    }
}

/// Once in so many lines; a part of all templates at once.
const fn rate(lines: u64, options: &Options) -> Rate {
    Rate { lines, saved_max: options.templates_max_per_service / SAVED_PART }
}

/// How many texts of templates that are gone are remembered.
const fn retired_max(options: &Options) -> usize {
    options.templates_max_per_service.saturating_mul(RETIRED_FOR_EACH)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{Strategy, prop_assert, prop_assert_eq, proptest};

    use super::*;

    /// Every comparison to its end, and siblings looked for one by one.
    fn compared_plainly(group: &Group, line: &[Token], options: &Options) -> Found {
        let leaf = group.tree.leaf(line, options);
        let whole = Bar { places_max: usize::MAX, similarity_min: 0.0 };
        let mut best: Option<(Fit, usize)> = None;
        for index in leaf {
            let fit = Fit::of(&group.templates[*index].tokens, line, whole).unwrap();
            if best.is_none_or(|best| group.is_better((fit, *index), best)) {
                best = Some((fit, *index));
            }
        }
        match best {
            Some((fit, index)) if fit.takes() => return Found::Same(index),
            Some((fit, index)) if fit.similarity() >= options.similarity => {
                return Found::MoreGeneral(vec![index]);
            }
            _ => {}
        }
        let near = leaf.iter().filter_map(|index| {
            let patterns = group.templates[*index].tokens.iter().zip(line).enumerate();
            let mut differing = patterns.filter(|(_, (pattern, token))| !pattern.takes(token));
            let (first, second) = (differing.next(), differing.next());
            first.filter(|_| second.is_none()).map(|(place, _)| (place, *index))
        });
        match group.siblings(near.collect()) {
            siblings if siblings.is_empty() => Found::None,
            siblings => Found::MoreGeneral(siblings),
        }
    }

    fn any_line() -> impl Strategy<Value = String> {
        let rare = proptest::collection::vec(
            proptest::sample::select(vec!["alice", "bob", "x-1", "a=b", "a=c", "17", "e0", "carol"]),
            0..5,
        );
        // Long lines whose beginnings, or ends, are alike.
        (rare, proptest::sample::select(vec![0, 1, 4, 30, 140]), proptest::bool::ANY).prop_map(
            |(rare, length, is_first)| {
                let words = std::iter::repeat_n("word", length);
                let words: Vec<&str> = match is_first {
                    true => rare.into_iter().chain(words).collect(),
                    false => words.chain(rare).collect(),
                };
                words.join(" ")
            },
        )
    }

    proptest! {
        #[test]
        fn comparing_no_further_than_it_matters_finds_the_same(
            lines in proptest::collection::vec(any_line(), 1..80),
            similarity in proptest::sample::select(vec![0.0, 0.3, 0.8, 1.0, f64::NAN]),
            held_max in 1..60_usize,
        ) {
            let options = Options { similarity, ..Options::default() };
            let (mut group, mut tokens) = (Group::default(), Tokens::default());
            for (line, id) in lines.iter().zip(1..) {
                tokens.read(line, options.line_bytes_max, options.tokens_max);
                let read: Vec<Token> = tokens.texts().map(Token::of).collect();
                let expected = compared_plainly(&group, &read, &options);
                prop_assert_eq!(group.compare(&read, &options), expected.clone(), "{}", line);
                // Also where lines are remembered.
                prop_assert_eq!(group.find(&tokens, &options), expected.clone(), "{}", line);
                if expected == Found::None {
                    if group.len() >= held_max {
                        let held = group.places.values().filter(|index| Some(**index) != group.overflow);
                        let seen = |index: &usize| (group.templates[*index].seen, group.id(*index));
                        let first = held.copied().min_by_key(seen).map(|index| group.id(index));
                        prop_assert_eq!(group.retire(&options), first.is_some());
                        prop_assert!(first.is_none_or(|id| group.index(id).is_none()));
                    }
                    group.add(&tokens, &options, TemplateId(id), (line.as_str(), UnixNanos(0)));
                }
            }
        }
    }

    #[test]
    fn long_lines_are_remembered() {
        let (options, mut tokens, mut group) = (Options::default(), Tokens::default(), Group::default());
        tokens.read(&"word-by-word ".repeat(100), options.line_bytes_max, options.tokens_max);
        assert_eq!(group.find(&tokens, &options), Found::None);
        group.add(&tokens, &options, TemplateId(1), ("", UnixNanos(0)));
        assert_eq!(group.find(&tokens, &options), Found::Same(0));
        assert_eq!(group.recent.len(), 1);
    }
}
