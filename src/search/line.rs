//! A line on its way to the indexing thread.
//!
//! tantivy's queue is bounded by documents, not by bytes: ten thousand long lines would be hundreds of
//! megabytes. A line therefore holds a share of a [`Budget`] until the indexing thread drops it.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use tantivy::schema::Field;
use tantivy::schema::document::{Document as Indexed, ReferenceValue, ReferenceValueLeaf, Value};

use super::Document;
use super::schema::Fields;
use super::words::{cut, push_lower};

/// Longest attribute name that is told apart, in bytes.
pub const KEY_BYTES_MAX: usize = 128;
/// Longest attribute value that is told apart, in bytes; longer ones are found by this beginning.
pub const VALUE_BYTES_MAX: usize = 128;
/// Bytes of body and attribute values of one line whose words are indexed; what follows is not found.
pub const TEXT_BYTES_MAX: usize = 64 * 1024;
/// Attributes of one line that are indexed; what follows is not found.
pub const ATTRIBUTES_MAX: usize = 256;
/// What a line takes in memory besides its text.
const LINE_BYTES: usize = 256;

/// The term of an attribute: `key=value` in lower case.
pub(super) fn attribute_token(key: &str, value: &str) -> String {
    let mut token = String::new();
    push_attribute_token(key, value, &mut token);
    token
}

fn push_attribute_token(key: &str, value: &str, out: &mut String) {
    let (key, value) = (cut(key, KEY_BYTES_MAX), cut(value, VALUE_BYTES_MAX));
    out.reserve(key.len() + 1 + value.len());
    push_lower(key, out);
    out.push('=');
    push_lower(value, out);
}

/// Bytes of lines that wait for the indexing thread.
#[derive(Debug)]
pub(super) struct Budget {
    bytes: Mutex<usize>,
    freed: Condvar,
    bytes_max: usize,
}

impl Budget {
    pub(super) const fn new(bytes_max: usize) -> Self {
        Self { bytes: Mutex::new(0), freed: Condvar::new(), bytes_max }
    }

    /// Waits for room for `bytes`; false when none was freed for `patience`.
    fn take(&self, bytes: usize, patience: Duration) -> bool {
        let mut held = self.bytes.lock().unwrap_or_else(PoisonError::into_inner);
        // A line larger than the budget goes alone.
        while *held != 0 && self.bytes_max < *held + bytes {
            let (next, timeout) =
                self.freed.wait_timeout(held, patience).unwrap_or_else(PoisonError::into_inner);
            held = next;
            if timeout.timed_out() {
                return false;
            }
        }
        *held += bytes;
        true
    }

    fn give_back(&self, bytes: usize) {
        *self.bytes.lock().unwrap_or_else(PoisonError::into_inner) -= bytes;
        self.freed.notify_all();
    }
}

/// A document as the index takes it: numbers, and all texts in one allocation.
#[derive(Debug)]
pub(super) struct Line {
    numbers: [(Field, Piece<'static>); 6],
    text: String,
    /// Field and end in `text` of each text.
    pieces: Vec<(Field, usize)>,
    bytes: usize,
    budget: Arc<Budget>,
}

impl Line {
    /// Copies what is indexed of `document`; none when the indexing thread freed nothing for `patience`.
    pub(super) fn new<'a, A, K, V>(
        document: Document<'a, A>,
        fields: &Fields,
        budget: &Arc<Budget>,
        patience: Duration,
    ) -> Option<Self>
    where
        A: IntoIterator<Item = (K, V)>,
        K: AsRef<str>,
        V: AsRef<str>,
    {
        let numbers = [
            (fields.tenant, Piece::U64(u64::from(document.tenant.0))),
            (fields.time, Piece::I64(document.time.0)),
            (fields.row, Piece::I64(document.row)),
            (fields.service, Piece::U64(u64::from(document.service.0))),
            (fields.severity, Piece::U64(u64::from(document.severity.0))),
            (fields.template, Piece::U64(u64::from(document.template.0))),
        ];
        let mut text = String::from(cut(document.body, TEXT_BYTES_MAX));
        let mut words_left = TEXT_BYTES_MAX - text.len();
        let attributes = document.attributes.into_iter().take(ATTRIBUTES_MAX);
        let mut pieces = Vec::with_capacity(1 + 2 * attributes.size_hint().0);
        pieces.push((fields.text, text.len()));
        for (key, value) in attributes {
            let (key, value) = (key.as_ref(), value.as_ref());
            let words = cut(value, words_left);
            words_left -= words.len();
            text.push_str(words);
            pieces.push((fields.text, text.len()));
            push_attribute_token(key, value, &mut text);
            pieces.push((fields.attributes, text.len()));
        }
        let bytes = LINE_BYTES + text.capacity() + pieces.capacity() * size_of::<(Field, usize)>();
        budget.take(bytes, patience).then(|| Self {
            numbers,
            text,
            pieces,
            bytes,
            budget: Arc::clone(budget),
        })
    }

    /// Bytes it takes in memory.
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.budget.give_back(self.bytes);
    }
}

impl Indexed for Line {
    type Value<'a> = Piece<'a>;
    type FieldsValuesIter<'a> = Pieces<'a>;

    fn iter_fields_and_values(&self) -> Pieces<'_> {
        Pieces { line: self, at: 0, from: 0 }
    }
}

/// Walks the fields of a line.
pub(super) struct Pieces<'a> {
    line: &'a Line,
    at: usize,
    from: usize,
}

impl<'a> Iterator for Pieces<'a> {
    type Item = (Field, Piece<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        let at = self.at;
        self.at += 1;
        if let Some(number) = self.line.numbers.get(at) {
            return Some(*number);
        }
        let (field, to) = *self.line.pieces.get(at - self.line.numbers.len())?;
        let text = &self.line.text[self.from..to];
        self.from = to;
        Some((field, Piece::Text(text)))
    }
}

/// One value of a line.
#[derive(Debug, Clone, Copy)]
pub(super) enum Piece<'a> {
    Text(&'a str),
    U64(u64),
    I64(i64),
}

impl<'a> Value<'a> for Piece<'a> {
    type ArrayIter = std::iter::Empty<Self>;
    type ObjectIter = std::iter::Empty<(&'a str, Self)>;

    fn as_value(&self) -> ReferenceValue<'a, Self> {
        match *self {
            Self::Text(text) => ReferenceValueLeaf::Str(text).into(),
            Self::U64(number) => ReferenceValueLeaf::U64(number).into(),
            Self::I64(number) => ReferenceValueLeaf::I64(number).into(),
        }
    }
}
