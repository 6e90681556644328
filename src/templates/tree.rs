//! The tree that leads from a line to the templates it is compared with.

use std::collections::HashMap;

use super::Options;
use super::tokens::Token;

/// Leaves by the number of tokens and the leading tokens. Branches are never taken away.
#[derive(Debug, Default)]
pub(super) struct Tree {
    lengths: HashMap<usize, Node>,
}

#[derive(Debug, Default)]
struct Node {
    children: HashMap<u64, Node>,
    /// Where tokens go that are values, or one branch too many.
    others: Option<Box<Node>>,
    templates: Vec<usize>,
}

impl Tree {
    /// What the leaf of a line holds.
    pub(super) fn leaf(&self, line: &[Token], options: &Options) -> &[usize] {
        let Some(mut node) = self.lengths.get(&line.len()) else { return &[] };
        for token in leading(line, options) {
            let child = node.children.get(&token.hash).filter(|_| token.is_word);
            let Some(next) = child.or(node.others.as_deref()) else { return &[] };
            node = next;
        }
        &node.templates
    }

    /// Takes `index` out of the leaf into which it was put with this line.
    pub(super) fn remove(&mut self, line: &[Token], options: &Options, index: usize) {
        let Some(mut node) = self.lengths.get_mut(&line.len()) else { return };
        for token in leading(line, options) {
            let is_child = token.is_word && node.children.contains_key(&token.hash);
            let next = if is_child { node.children.get_mut(&token.hash) } else { node.others.as_deref_mut() };
            let Some(next) = next else { return };
            node = next;
        }
        node.templates.retain(|other| *other != index);
    }

    /// Puts `index` into the leaf of a line, and answers whether there is a new branch: lines may come to another leaf now.
    pub(super) fn add(&mut self, line: &[Token], options: &Options, index: usize) -> bool {
        let mut is_new = false;
        let mut node = self.lengths.entry(line.len()).or_default();
        for token in leading(line, options) {
            let known = node.children.contains_key(&token.hash);
            node = if token.is_word && (known || node.children.len() < options.children_max) {
                is_new |= !known;
                node.children.entry(token.hash).or_default()
            } else {
                node.others.get_or_insert_default()
            };
        }
        node.templates.push(index);
        is_new
    }
}

fn leading<'t>(line: &'t [Token], options: &Options) -> impl Iterator<Item = &'t Token> + use<'t> {
    line.iter().take(options.depth.saturating_sub(3))
}
