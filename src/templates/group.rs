//! The templates of one service and the tree that finds them.
//!
//! A line walks from the root by its number of tokens and its leading tokens to a leaf, whose templates it is
//! compared with. Among those that take the line as they are the most specific wins, then the oldest; so the
//! answer follows from the texts alone, and the memory of recent lines may be dropped at any time.
//!
//! Drain compares every token alike and so has to choose between "started" and "stopped" being one message and
//! "user alice" and "user bob" being two. Here a line joins one template only when the two are much alike, and
//! plain words weigh more than what may be a value; whether a place holds a value is told by how many templates
//! differ in that place alone. When they are enough, all of them take any value there.

use std::collections::{BTreeMap, HashMap};

use crate::model::id::{ServiceId, TemplateId, TenantNumber};
use crate::model::time::UnixNanos;

use super::tokens::{Token, Tokens};
use super::{Options, Template, VARIABLE};

/// A plain word that differs counts as much as this many other tokens: it is seldom a value.
const WORD_WEIGHT: usize = 3;
/// How many values at one place show that it is a variable, by how many words stand beside it: the less a line
/// says otherwise, the more it takes.
const fn values_needed(words: usize) -> usize {
    match words {
        0 => 64,
        1 => 16,
        _ => 5,
    }
}

/// Masked lines whose template is remembered, and the longest of them.
const RECENT_LINES_MAX: usize = 1_024;
const RECENT_LINE_BYTES_MAX: usize = 512;

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
    places: HashMap<TemplateId, usize>,
    lengths: HashMap<usize, Node>,
    /// The template that takes what no other does, once there are too many.
    overflow: Option<usize>,
    recent: HashMap<Box<[u8]>, usize>,
}

#[derive(Debug)]
struct Kept {
    id: TemplateId,
    tokens: Box<[Pattern]>,
    /// Tokens joined by one space, as at first; patterns say which have become variables since.
    first_text: Box<str>,
    sample: Box<str>,
    first_seen: UnixNanos,
}

/// What one token of a template takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pattern {
    /// This token.
    Word { hash: u64, key: Option<u64>, is_plain: bool },
    /// Any value of this key.
    Keyed(u64),
    /// Anything.
    Any,
}

#[derive(Debug, Default)]
struct Node {
    children: HashMap<u64, Node>,
    /// Where tokens go that are values, or one branch too many.
    others: Option<Box<Node>>,
    templates: Vec<usize>,
}

impl Group {
    /// The template of a line; makes templates more general if that is what the line takes.
    pub(super) fn find(&mut self, tokens: &Tokens, options: &Options) -> Found {
        if let Some(index) = self.recent.get(tokens.text()) {
            return Found::Same(*index);
        }
        let line: Vec<Token> = tokens.texts().map(Token::of).collect();
        let leaf = self.leaf(&line, options).map_or(&[][..], |leaf| &leaf.templates);
        let mut best: Option<(Fit, usize)> = None;
        for index in leaf {
            let fit = Fit::of(&self.templates[*index].tokens, &line);
            if best.is_none_or(|(other, _)| fit.is_better_than(other)) {
                best = Some((fit, *index));
            }
        }
        let wider = match best {
            Some((fit, index)) if fit.takes() => {
                self.remember(tokens, index);
                return Found::Same(index);
            }
            Some((fit, index)) if fit.similarity() >= options.similarity => vec![index],
            _ => self.siblings(leaf, &line),
        };
        if !wider.is_empty() {
            for index in &wider {
                self.templates[*index]
                    .tokens
                    .iter_mut()
                    .zip(&line)
                    .for_each(|(pattern, token)| pattern.widen(token));
            }
            self.recent = HashMap::new();
            return Found::MoreGeneral(wider);
        }
        match self.overflow.filter(|_| self.templates.len() >= options.templates_max_per_service) {
            Some(index) => {
                self.remember(tokens, index);
                Found::Same(index)
            }
            None => Found::None,
        }
    }

    /// Adds a template of these tokens, or that of everything when there are too many. Returns its index.
    pub(super) fn add(
        &mut self,
        tokens: &mut Tokens,
        options: &Options,
        id: TemplateId,
        (sample, first_seen): (&str, UnixNanos),
    ) -> usize {
        let index = self.templates.len();
        if index >= options.templates_max_per_service {
            tokens.read_template(VARIABLE, 1);
        }
        let line: Vec<Token> = tokens.texts().map(Token::of).collect();
        if matches!(line[..], [Token { is_variable: true, .. }]) {
            self.overflow = Some(index);
        }
        self.leaf_or_new(&line, options).templates.push(index);
        self.places.insert(id, index);
        self.templates.push(Kept {
            id,
            tokens: line.iter().map(Pattern::of).collect(),
            first_text: String::from_utf8_lossy(tokens.text()).into(),
            sample: sample.into(),
            first_seen,
        });
        self.recent = HashMap::new();
        index
    }

    /// How many templates there are.
    pub(super) fn len(&self) -> usize {
        self.templates.len()
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

    /// The templates that differ from the line in one place, the same for all, if that place shows enough values.
    fn siblings(&self, leaf: &[usize], line: &[Token]) -> Vec<usize> {
        let mut by_place: BTreeMap<usize, (usize, Vec<usize>)> = BTreeMap::new();
        for index in leaf {
            let template = &self.templates[*index].tokens;
            let mut differing =
                template.iter().zip(line).enumerate().filter(|(_, (pattern, token))| !pattern.takes(token));
            if let (Some((place, _)), None) = (differing.next(), differing.next()) {
                let words = template.iter().filter(|pattern| **pattern != Pattern::Any).count() - 1;
                let (fewest, siblings) = by_place.entry(place).or_insert((words, Vec::new()));
                *fewest = words.min(*fewest);
                siblings.push(*index);
            }
        }
        let enough = |(words, siblings): &(usize, Vec<usize>)| siblings.len() + 1 >= values_needed(*words);
        by_place.into_values().find(enough).map(|(_, siblings)| siblings).unwrap_or_default()
    }

    fn remember(&mut self, tokens: &Tokens, index: usize) {
        if tokens.text().len() <= RECENT_LINE_BYTES_MAX {
            if self.recent.len() >= RECENT_LINES_MAX {
                self.recent.clear();
            }
            self.recent.insert(tokens.text().into(), index);
        }
    }

    fn leaf(&self, line: &[Token], options: &Options) -> Option<&Node> {
        let mut node = self.lengths.get(&line.len())?;
        for token in line.iter().take(options.depth.saturating_sub(3)) {
            let child = node.children.get(&token.hash).filter(|_| token.is_word);
            node = child.or(node.others.as_deref())?;
        }
        Some(node)
    }

    fn leaf_or_new(&mut self, line: &[Token], options: &Options) -> &mut Node {
        let mut node = self.lengths.entry(line.len()).or_default();
        for token in line.iter().take(options.depth.saturating_sub(3)) {
            let known = node.children.contains_key(&token.hash);
            node = if token.is_word && (known || node.children.len() < options.children_max) {
                node.children.entry(token.hash).or_default()
            } else {
                node.others.get_or_insert_default()
            };
        }
        node
    }
}

impl Pattern {
    fn of(token: &Token) -> Self {
        match token.key {
            _ if token.is_variable => Self::Any,
            Some(key) if token.is_keyed_variable => Self::Keyed(key),
            _ => Self::Word { hash: token.hash, key: token.key, is_plain: token.is_plain },
        }
    }

    fn takes(self, token: &Token) -> bool {
        match self {
            Self::Word { hash, .. } => token.hash == hash,
            Self::Keyed(key) => token.key == Some(key),
            Self::Any => true,
        }
    }

    /// Becomes the least general pattern that also takes `token`.
    fn widen(&mut self, token: &Token) {
        if !self.takes(token) {
            *self = match self {
                Self::Word { key: Some(key), .. } if token.key == Some(*key) => Self::Keyed(*key),
                _ => Self::Any,
            };
        }
    }
}

/// How a line compares with a template. Values that both sides mask say nothing for or against.
#[derive(Debug, Clone, Copy)]
struct Fit {
    /// Tokens that are the same word, or have the same key for any value.
    same: usize,
    /// Words that the template takes as a variable.
    taken: usize,
    /// What differs, by weight.
    differing: usize,
}

impl Fit {
    fn of(template: &[Pattern], line: &[Token]) -> Self {
        let mut fit = Self { same: 0, taken: 0, differing: 0 };
        for (pattern, token) in template.iter().zip(line) {
            match pattern {
                Pattern::Any => fit.taken += usize::from(!token.is_variable),
                _ if pattern.takes(token) => fit.same += 1,
                Pattern::Word { is_plain: true, .. } if token.is_plain => fit.differing += WORD_WEIGHT,
                _ => fit.differing += 1,
            }
        }
        fit
    }

    fn takes(self) -> bool {
        self.differing == 0
    }

    fn similarity(self) -> f64 {
        self.same as f64 / (self.same + self.taken + self.differing).max(1) as f64
    }

    fn is_better_than(self, other: Self) -> bool {
        match (self.takes(), other.takes()) {
            // Of two that take the line, the one with more words is the more specific.
            (true, true) => self.same > other.same,
            (false, false) => self.similarity() > other.similarity(),
            (takes, _) => takes,
        }
    }
}
