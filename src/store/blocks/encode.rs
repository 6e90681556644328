//! Rows into columns.

use std::collections::HashMap;

use foldhash::quality::RandomState;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::fields::{Field, Kind, Value, split};
use super::filter::FilterBuilder;
use super::section::Compressor;
use super::{COLUMNS_MAX, FRONT_BYTES, ROWS_MAX, VERSION, WHOLE, numbers, texts};
use crate::model::packed::AttributeIter;
use crate::model::packed::value::{Value as Meaning, key_value};
use crate::model::packed::write::put_varint;
use crate::store::error::Error;

/// Makes blocks, one after the other.
pub struct Encoder {
    compressor: Compressor,
}

/// A block as it is stored.
#[derive(Debug)]
pub struct Encoded {
    /// What describes the columns, and the shortest of them.
    pub front: Vec<u8>,
    /// The other columns.
    pub rest: Vec<u8>,
    /// Which attributes they may hold; see [`probes`](super::probes).
    pub filter: Vec<u8>,
}

/// The values of one kind of field, in the order of the rows.
struct Column<'a> {
    kind: Kind,
    number: u32,
    key: &'a [u8],
    bytes: Vec<&'a [u8]>,
    numbers: Vec<u64>,
    /// The service of the row of each, where they are values of an attribute.
    services: Vec<u32>,
}

/// Rows, taken apart.
#[derive(Default)]
struct Columns<'a> {
    all: Vec<Column<'a>>,
    /// By kind, number and key.
    known: HashMap<u64, u32, RandomState>,
    shapes: Vec<Vec<u32>>,
    shapes_known: HashMap<Vec<u32>, u32, RandomState>,
    /// The shape of each row.
    rows: Vec<u64>,
}

impl Encoder {
    /// Makes one block after the other.
    ///
    /// # Errors
    /// When the compressor lacks memory.
    pub fn new() -> Result<Self, Error> {
        Ok(Self { compressor: Compressor::new()? })
    }

    /// Packs `rows`, [`ROWS_MAX`] at most, each with the number of its service; `attributes` is the number of the field that
    /// holds an attribute, of which the filter tells, and `promoted` are the keys whose values it tells better.
    ///
    /// # Errors
    /// When the compressor lacks memory, or when there are too many rows.
    pub fn encode(
        &mut self,
        rows: &[(&[u8], u32)],
        attributes: u32,
        promoted: &[String],
    ) -> Result<Encoded, Error> {
        if rows.len() > ROWS_MAX {
            return Err(Error::TooMuch { what: "rows of a block", max: ROWS_MAX });
        }
        let mut columns = Columns::new();
        let (mut fields, mut shape) = (Vec::new(), Vec::new());
        for (row, service) in rows {
            split(row, &mut fields);
            columns.add((row, *service), (&fields, attributes), &mut shape);
        }
        let mut filter = FilterBuilder::new(promoted);
        let (mut descriptions, mut runs, mut parts) = (Vec::new(), Vec::new(), Vec::new());
        for column in &columns.all {
            let begin = (descriptions.len(), runs.len());
            column.put(&mut self.compressor, &mut descriptions, &mut runs, (attributes, &mut filter))?;
            parts.push((begin.0..descriptions.len(), begin.1..runs.len()));
        }
        let mut order: Vec<usize> = (0..parts.len()).collect();
        order[WHOLE as usize + 1..].sort_by_key(|column| parts[*column].1.len());
        let (mut directory, mut body) = (Vec::new(), Vec::new());
        put_varint(rows.len() as u64, &mut directory);
        columns.put_shapes(&order, &mut directory);
        numbers::put(&columns.rows, &mut self.compressor, &mut directory, &mut body)?;
        put_varint(order.len() as u64, &mut directory);
        order.iter().for_each(|column| directory.extend_from_slice(&descriptions[parts[*column].0.clone()]));
        let mut front = vec![VERSION];
        let mut packed = Vec::new();
        self.compressor.put(&directory, &mut front, &mut packed)?;
        front.append(&mut packed);
        front.append(&mut body);
        let mut rest = Vec::new();
        for column in order {
            let run = &runs[parts[column].1.clone()];
            let fits = rest.is_empty() && front.len() + run.len() <= FRONT_BYTES;
            if fits { &mut front } else { &mut rest }.extend_from_slice(run);
        }
        Ok(Encoded { front, rest, filter: filter.finish() })
    }
}

impl<'a> Columns<'a> {
    /// Starts with the column and the shape of rows that stay whole.
    fn new() -> Self {
        let whole = Column::new(Kind::Row, 0, &[]);
        Self { all: vec![whole], shapes: vec![vec![WHOLE]], ..Self::default() }
    }

    fn add(
        &mut self,
        (row, service): (&'a [u8], u32),
        (fields, attributes): (&[Field<'a>], u32),
        shape: &mut Vec<u32>,
    ) {
        shape.clear();
        for field in fields {
            match self.column(field) {
                Some(column) => shape.push(column),
                None => {
                    self.rows.push(u64::from(WHOLE));
                    return self.all[WHOLE as usize].bytes.push(row);
                }
            }
        }
        for (field, column) in fields.iter().zip(&*shape) {
            let column = &mut self.all[*column as usize];
            match field.value {
                Value::Bytes(bytes) => column.bytes.push(bytes),
                Value::Number(number) => column.numbers.push(number),
            }
            if field.number == attributes && field.kind.is_attribute() {
                column.services.push(service);
            }
        }
        let number = match self.shapes_known.get(shape) {
            Some(number) => *number,
            None => {
                let number = self.shapes.len() as u32;
                self.shapes.push(shape.clone());
                self.shapes_known.insert(shape.clone(), number);
                number
            }
        };
        self.rows.push(number.into());
    }

    /// Appends the shapes, with the columns in `order`.
    fn put_shapes(&self, order: &[usize], directory: &mut Vec<u8>) {
        let mut places = vec![0; order.len()];
        order.iter().zip(0_u64..).for_each(|(column, place)| places[*column] = place);
        put_varint(self.shapes.len() as u64, directory);
        for shape in &self.shapes {
            put_varint(shape.len() as u64, directory);
            shape.iter().for_each(|column| put_varint(places[*column as usize], directory));
        }
    }

    /// The column of a field, made where it is missing; none where there are too many, or for a row that stays whole.
    fn column(&mut self, field: &Field<'a>) -> Option<u32> {
        if field.kind == Kind::Row {
            return None;
        }
        let place = u64::from(field.number) << 8 | field.kind as u64;
        let next = self.all.len();
        let number = *self.known.entry(xxh3_64_with_seed(field.key, place)).or_insert(next as u32);
        if let Some(column) = self.all.get(number as usize) {
            // Two fields with one hash: it is not worth more than to keep the row whole.
            let same = (column.kind, column.number, column.key) == (field.kind, field.number, field.key);
            return same.then_some(number);
        }
        // What is known beyond the last column stays without one.
        (next < COLUMNS_MAX).then(|| {
            self.all.push(Column::new(field.kind, field.number, field.key));
            number
        })
    }
}

impl<'a> Column<'a> {
    const fn new(kind: Kind, number: u32, key: &'a [u8]) -> Self {
        Self { kind, number, key, bytes: Vec::new(), numbers: Vec::new(), services: Vec::new() }
    }

    /// Appends the column, and adds to the filter what it says of attributes.
    fn put(
        &self,
        compressor: &mut Compressor,
        directory: &mut Vec<u8>,
        body: &mut Vec<u8>,
        (attributes, filter): (u32, &mut FilterBuilder<'_>),
    ) -> Result<(), Error> {
        put_varint(self.kind as u64, directory);
        put_varint(self.number.into(), directory);
        put_varint(self.key.len() as u64, directory);
        directory.extend_from_slice(self.key);
        if !self.kind.is_bytes() {
            if self.number == attributes && self.kind.is_attribute() {
                self.add_numbers(filter);
            }
            return numbers::put(&self.numbers, compressor, directory, body);
        }
        let named = texts::name(&self.bytes);
        let different = named.as_ref().map_or(&self.bytes, |named| &named.values);
        match self.kind {
            Kind::Text if self.number == attributes => {
                let tokens: Vec<u64> =
                    different.iter().map(|value| filter.add_pair(self.key, value)).collect();
                let services = self.services.iter().copied();
                match &named {
                    Some(named) => {
                        let values = named.numbers.iter().map(|number| tokens[*number as usize]);
                        filter.add_services(self.key, values.zip(services));
                    }
                    None => filter.add_services(self.key, tokens.into_iter().zip(services)),
                }
            }
            Kind::Bytes if self.number == attributes => different.iter().for_each(|entry| {
                let (key, value) = key_value(entry);
                filter.add_value(key.as_bytes(), value);
                filter.leave_untold(key.as_bytes());
            }),
            Kind::Row => {
                different.iter().for_each(|row| filter.add(AttributeIter::within(row, attributes)));
            }
            _ => {}
        }
        match named {
            Some(named) => texts::put_named(&named, compressor, directory, body),
            None => texts::put(&self.bytes, compressor, directory, body),
        }
    }

    fn add_numbers(&self, filter: &mut FilterBuilder<'_>) {
        let mut known: HashMap<u64, u64, RandomState> = HashMap::default();
        let mut token = |number: &u64| {
            *known.entry(*number).or_insert_with(|| filter.add_value(self.key, meaning(self.kind, *number)))
        };
        let tokens: Vec<u64> = self.numbers.iter().map(&mut token).collect();
        filter.add_services(self.key, tokens.into_iter().zip(self.services.iter().copied()));
    }
}

/// What a number of an attribute means.
pub(super) const fn meaning(kind: Kind, number: u64) -> Meaning<'static> {
    match kind {
        Kind::Bool => Meaning::Bool(number != 0),
        Kind::Double => Meaning::Double(f64::from_bits(number)),
        _ => Meaning::Int(number as i64),
    }
}
