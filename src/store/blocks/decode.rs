//! Columns into rows: all of them, or those that are asked for, out of the columns that they have.

use std::collections::BTreeSet;

use bytes::Bytes;

use super::encode::meaning;
use super::fields::{FIELDS_MAX, Field, Kind, Value, put};
use super::section::{DECODED_BYTES_MAX, Place};
use super::texts::{self, Texts};
use super::{COLUMNS_MAX, ROWS_MAX, UNREADABLE, VERSION, numbers, take_length};
use crate::store::error::Error;

/// A block, open to be read. Errs on anything that was not written by [`Encoder`](super::Encoder), and takes no more
/// memory than the block itself admits to, some hundreds of MiB at most.
#[derive(Debug)]
pub struct Block<'a> {
    body: &'a [u8],
    columns: Vec<Column>,
    shapes: Vec<Vec<usize>>,
    /// The shape of each row.
    rows: Vec<usize>,
    /// Bytes that the columns which are not loaded yet may come to, all together.
    pub(super) left: usize,
}

#[derive(Debug)]
struct Column {
    kind: Kind,
    number: u32,
    key: Vec<u8>,
    /// How many values it has.
    count: usize,
    /// Where in the body it ends.
    end: usize,
    places: Places,
    values: Option<Values>,
}

#[derive(Debug)]
enum Places {
    Bytes(texts::Places),
    Numbers(numbers::Places),
}

#[derive(Debug)]
enum Values {
    Bytes(Texts),
    Numbers(Vec<u64>),
}

impl<'a> Block<'a> {
    /// Reads what columns there are in a whole block: its front and its rest, one behind the other.
    ///
    /// # Errors
    /// When this is no block.
    pub fn open(block: &'a [u8]) -> Result<Self, Error> {
        let block = Self::open_front(block)?;
        let end = block.columns.last().map_or(block.body.len(), |column| column.end);
        if end == block.body.len() { Ok(block) } else { Err(UNREADABLE) }
    }

    /// Reads what columns there are in a block, of which this is the front or all.
    ///
    /// # Errors
    /// When this is no block.
    pub fn open_front(block: &'a [u8]) -> Result<Self, Error> {
        let Some((&VERSION, mut rest)) = block.split_first() else { return Err(UNREADABLE) };
        let mut at = 0;
        let directory = Place::read(&mut rest, &mut at)?;
        let packed = directory.load(rest)?;
        let body = rest.get(at..).ok_or(UNREADABLE)?;
        let mut directory = &packed[..];
        let count = take_length(&mut directory).filter(|count| *count <= ROWS_MAX).ok_or(UNREADABLE)?;
        let shapes = shapes(&mut directory)?;
        let mut at = 0;
        let rows = numbers::Places::read(&mut directory, &mut at)?.load(count, body)?;
        let shape = |number: u64| usize::try_from(number).ok().filter(|number| *number < shapes.len());
        let rows: Vec<usize> = rows.into_iter().map(shape).collect::<Option<_>>().ok_or(UNREADABLE)?;
        let columns = take_length(&mut directory).filter(|count| *count <= COLUMNS_MAX).ok_or(UNREADABLE)?;
        let mut counts = vec![0; columns];
        for column in rows.iter().flat_map(|shape| &shapes[*shape]) {
            let Some(count) = counts.get_mut(*column) else { return Err(UNREADABLE) };
            *count += 1;
        }
        let columns = counts.into_iter().map(|count| Column::read(&mut directory, &mut at, count));
        let columns = columns.collect::<Result<_, _>>()?;
        if !directory.is_empty() || at < body.len() {
            return Err(UNREADABLE);
        }
        Ok(Self { body, columns, shapes, rows, left: DECODED_BYTES_MAX })
    }

    /// How many rows it has.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// All rows.
    ///
    /// # Errors
    /// When a column cannot be read.
    pub fn all(&mut self) -> Result<Vec<Bytes>, Error> {
        self.at(&(0..self.rows.len()).collect::<Vec<_>>())
    }

    /// The rows at `positions`, in their order.
    ///
    /// # Errors
    /// When a column cannot be read, or a position lies behind the last row.
    pub fn at(&mut self, positions: &[usize]) -> Result<Vec<Bytes>, Error> {
        if positions.is_empty() {
            return Ok(Vec::new());
        }
        let mut wanted = vec![false; self.rows.len()];
        let mut shapes = BTreeSet::new();
        for position in positions {
            *wanted.get_mut(*position).ok_or(UNREADABLE)? = true;
            shapes.insert(self.rows[*position]);
        }
        for shape in shapes {
            self.load(shape)?;
        }
        let mut next = vec![0; self.columns.len()];
        let mut rows = vec![Bytes::new(); self.rows.len()];
        let (mut row, mut bytes) = (Vec::new(), 0);
        for (position, shape) in self.rows.iter().enumerate() {
            row.clear();
            for column in &self.shapes[*shape] {
                if wanted[position] {
                    put(self.columns[*column].field(next[*column]).ok_or(UNREADABLE)?, &mut row);
                }
                next[*column] += 1;
            }
            bytes += row.len();
            if bytes > DECODED_BYTES_MAX {
                return Err(UNREADABLE);
            }
            rows[position] = Bytes::copy_from_slice(&row);
        }
        Ok(positions.iter().map(|position| rows[*position].clone()).collect())
    }

    /// Whether all that [`Block::may_have`] looks at is at hand.
    pub fn reaches(&self, attributes: u32, key: &str) -> bool {
        let mut asked = self.columns.iter().filter(|column| column.is_of(attributes, key));
        asked.all(|column| column.end <= self.body.len())
    }

    /// For each row, whether it may have attribute `key`, in a field with number `attributes`, with a value that
    /// [renders](crate::model::packed::value::Value::render) as `value`. It may where that cannot be told from the
    /// columns of this key alone.
    ///
    /// # Errors
    /// When a column cannot be read.
    pub fn may_have(&mut self, attributes: u32, key: &str, value: &str) -> Result<Vec<bool>, Error> {
        let mut equal: Vec<Option<Vec<bool>>> = vec![None; self.columns.len()];
        for (column, equal) in self.columns.iter_mut().zip(&mut equal) {
            if column.kind == Kind::Row || column.kind == Kind::Bytes && column.number == attributes {
                *equal = Some(vec![true; column.count]);
            } else if column.is_of(attributes, key) {
                *equal = Some(column.equal(value, self.body, &mut self.left)?);
            }
        }
        if !equal.iter().flatten().flatten().any(|equal| *equal) {
            return Ok(vec![false; self.rows.len()]);
        }
        let mut next = vec![0; self.columns.len()];
        let mut answer = Vec::with_capacity(self.rows.len());
        for shape in &self.rows {
            let mut may = false;
            for column in &self.shapes[*shape] {
                let equal = equal[*column].as_ref();
                may |= equal.is_some_and(|equal| equal.get(next[*column]).copied().unwrap_or(true));
                next[*column] += 1;
            }
            answer.push(may);
        }
        Ok(answer)
    }

    /// Loads the columns of a shape.
    fn load(&mut self, shape: usize) -> Result<(), Error> {
        for column in &self.shapes[shape] {
            self.columns[*column].load(self.body, &mut self.left)?;
        }
        Ok(())
    }
}

/// The columns of the rows of each shape.
fn shapes(directory: &mut &[u8]) -> Result<Vec<Vec<usize>>, Error> {
    let shapes = take_length(directory).filter(|count| *count <= ROWS_MAX + 1).ok_or(UNREADABLE)?;
    let shape = |_| {
        let length = take_length(directory).filter(|length| *length <= FIELDS_MAX).ok_or(UNREADABLE)?;
        (0..length).map(|_| take_length(directory).ok_or(UNREADABLE)).collect()
    };
    (0..shapes).map(shape).collect()
}

impl Column {
    fn read(directory: &mut &[u8], at: &mut usize, count: usize) -> Result<Self, Error> {
        let mut length = || take_length(directory).ok_or(UNREADABLE);
        let kind = Kind::from_number(length()? as u64).ok_or(UNREADABLE)?;
        let number = u32::try_from(length()?).map_err(|_| UNREADABLE)?;
        let bytes = length()?;
        let (key, rest) = directory.split_at_checked(bytes).ok_or(UNREADABLE)?;
        let key = key.to_vec();
        *directory = rest;
        let places = match kind.is_bytes() {
            true => Places::Bytes(texts::Places::read(directory, at)?),
            false => Places::Numbers(numbers::Places::read(directory, at)?),
        };
        Ok(Self { kind, number, key, count, end: *at, places, values: None })
    }

    /// Whether it has the values of attribute `key`.
    fn is_of(&self, attributes: u32, key: &str) -> bool {
        self.number == attributes && self.kind.is_attribute() && self.key == key.as_bytes()
    }

    /// Loads the values, which come to `left` bytes at most, and takes from these what they come to.
    fn load(&mut self, body: &[u8], left: &mut usize) -> Result<&Values, Error> {
        let values = match self.values.take() {
            Some(values) => values,
            None => match &self.places {
                Places::Bytes(places) => {
                    let texts = places.load(self.count, body, *left)?;
                    *left = left.saturating_sub(texts.bytes());
                    Values::Bytes(texts)
                }
                Places::Numbers(places) => Values::Numbers(places.load(self.count, body)?),
            },
        };
        Ok(self.values.insert(values))
    }

    /// The `index`th value, once they are loaded.
    fn field(&self, index: usize) -> Option<Field<'_>> {
        let value = match self.values.as_ref()? {
            Values::Bytes(texts) => Value::Bytes(texts.get(index)?),
            Values::Numbers(numbers) => Value::Number(*numbers.get(index)?),
        };
        Some(Field { kind: self.kind, number: self.number, key: &self.key, value })
    }

    /// For each value, whether it renders as `value`.
    fn equal(&mut self, value: &str, body: &[u8], left: &mut usize) -> Result<Vec<bool>, Error> {
        let kind = self.kind;
        Ok(match self.load(body, left)? {
            Values::Bytes(texts) => texts.equal(value.as_bytes()),
            Values::Numbers(numbers) => {
                numbers.iter().map(|number| meaning(kind, *number).render() == value).collect()
            }
        })
    }
}
