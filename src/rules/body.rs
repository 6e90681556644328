//! Attributes out of bodies that are JSON objects, so that they can be searched and filtered by.

use xxhash_rust::xxh3::xxh3_64;

use crate::model::log::LogDetail;
use crate::model::packed::value::{Entries, Value};
use crate::model::packed::write::put_varint;

use super::json::{self, Scalar};
use super::{LeftOut, Rules};

/// Longest text that is read as JSON, in bytes.
const BODY_BYTES_MAX: usize = 64 * 1024;
/// Objects within objects whose scalars are taken, the outermost included.
const OBJECTS_MAX: usize = 4;
/// Attributes that one body adds.
const ADDED_MAX: usize = 64;
/// Longest key that is added, in bytes.
const KEY_BYTES_MAX: usize = 256;
/// Bytes that one body adds.
const ADDED_BYTES_MAX: usize = 32 * 1024;
/// Keys that few records have more of, theirs and those of their bodies.
const KEYS_USUAL: usize = 32;
/// The field number of a record's attributes.
const ATTRIBUTES: u32 = 6;

impl Rules {
    /// A record's detail with the scalars of its body as attributes, where the body is a JSON object and they do not
    /// exist yet. The body stays as it came. A text that is no JSON to its end, or longer than 64 KiB, adds nothing;
    /// of a large object the first 64 scalars and 32 KiB are added. Those that are cut are counted.
    pub fn unfold(&self, detail: LogDetail, left_out: &mut LeftOut) -> LogDetail {
        if !self.inner.options.parse_json {
            return detail;
        }
        let added = match detail.body() {
            Value::Text(text) if is_like_an_object(text) => {
                let mut unfolding = self.unfolding(&detail, text.len());
                let is_object = json::scalars(text, OBJECTS_MAX, &mut |path, scalar| {
                    unfolding.add(path, &scalar);
                    true
                });
                is_object.then_some(unfolding)
            }
            Value::Map(entries) => {
                let mut unfolding = self.unfolding(&detail, detail.as_bytes().len());
                unfolding.entries(entries, &mut String::new(), 1);
                Some(unfolding)
            }
            _ => None,
        };
        let Some(added) = added.filter(|unfolding| !unfolding.out.is_empty()) else { return detail };
        left_out.shortened += added.shortened;
        let packed = detail.as_bytes();
        let mut whole = Vec::with_capacity(packed.len() + added.out.len());
        whole.extend_from_slice(packed);
        whole.extend_from_slice(&added.out);
        LogDetail::from_checked(whole.into())
    }

    /// Nothing is unfolded yet of a body of so many bytes: the attributes seldom take a quarter more.
    fn unfolding(&self, detail: &LogDetail, bytes: usize) -> Unfolding {
        let options = &self.inner.options;
        let mut keys = Vec::with_capacity(KEYS_USUAL);
        keys.extend(detail.attributes().map(|(key, _)| xxh3_64(key.as_bytes())));
        let room = options.attributes_max.saturating_sub(keys.len()).min(ADDED_MAX);
        let out = Vec::with_capacity((bytes + bytes / 4).min(ADDED_BYTES_MAX));
        Unfolding { keys, room, value_bytes_max: options.attribute_bytes_max, out, shortened: 0 }
    }
}

/// True for what can only be an object, told by its ends.
fn is_like_an_object(text: &str) -> bool {
    text.len() <= BODY_BYTES_MAX
        && text.trim_ascii_start().starts_with('{')
        && text.trim_ascii_end().ends_with('}')
}

/// Attributes on their way into a record.
struct Unfolding {
    /// Hashes of the keys that exist, so that a key costs eight bytes.
    keys: Vec<u64>,
    room: usize,
    value_bytes_max: usize,
    out: Vec<u8>,
    shortened: u64,
}

impl Unfolding {
    fn entries(&mut self, entries: Entries<'_>, path: &mut String, depth: usize) {
        let length = path.len();
        for (key, value) in entries.iter() {
            if length > 0 {
                path.push('.');
            }
            path.push_str(key);
            match value {
                Value::Map(inner) if depth < OBJECTS_MAX => self.entries(inner, path, depth + 1),
                Value::Text(text) => self.add(path, &Scalar::Text(text.into())),
                Value::Bool(flag) => self.add(path, &Scalar::Bool(flag)),
                Value::Int(number) => self.add(path, &Scalar::Int(number)),
                Value::Double(number) => self.add(path, &Scalar::Double(number)),
                Value::Map(_) | Value::Array(_) | Value::Bytes(_) | Value::Empty => {}
            }
            path.truncate(length);
        }
    }

    fn add(&mut self, key: &str, scalar: &Scalar<'_>) {
        if self.room == 0 || key.is_empty() || key.len() > KEY_BYTES_MAX {
            return;
        }
        let hash = xxh3_64(key.as_bytes());
        if self.keys.contains(&hash) {
            return;
        }
        let mut value = [0; 11];
        let mut head = &mut value[..];
        let mut text: &[u8] = &[];
        // An `AnyValue`: text is field 1, a truth value 2, an integer 3, a double 4.
        match scalar {
            Scalar::Text(whole) => {
                text = whole[..whole.floor_char_boundary(self.value_bytes_max)].as_bytes();
                put_varint(1 << 3 | 2, &mut head);
                put_varint(text.len() as u64, &mut head);
            }
            Scalar::Bool(flag) => {
                put_varint(2 << 3, &mut head);
                put_varint(u64::from(*flag), &mut head);
            }
            Scalar::Int(number) => {
                put_varint(3 << 3, &mut head);
                put_varint(number.cast_unsigned(), &mut head);
            }
            Scalar::Double(number) => {
                put_varint(4 << 3 | 1, &mut head);
                bytes::BufMut::put_u64_le(&mut head, number.to_bits());
            }
        }
        let unused = head.len();
        let head = &value[..value.len() - unused];
        let any = head.len() + text.len();
        let entry = 1 + varint_length(key.len()) + key.len() + 1 + varint_length(any) + any;
        if self.out.len() + entry + 8 > ADDED_BYTES_MAX {
            return;
        }
        let out = &mut self.out;
        put_varint(u64::from(ATTRIBUTES << 3 | 2), out);
        put_varint(entry as u64, out);
        put_varint(1 << 3 | 2, out);
        put_varint(key.len() as u64, out);
        out.extend_from_slice(key.as_bytes());
        put_varint(2 << 3 | 2, out);
        put_varint(any as u64, out);
        out.extend_from_slice(head);
        out.extend_from_slice(text);
        self.keys.push(hash);
        self.room -= 1;
        let is_cut = matches!(scalar, Scalar::Text(whole) if whole.len() > text.len());
        self.shortened += u64::from(is_cut);
    }
}

/// Bytes of `value` as a varint.
const fn varint_length(value: usize) -> usize {
    (usize::BITS - (value | 1).leading_zeros()).div_ceil(7) as usize
}
