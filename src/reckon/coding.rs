//! A roll-up as bytes: a version, then whole numbers as varints and doubles as eight bytes, little endian. The bounds
//! of a histogram are written once, however many histograms of the roll-up have them.

use super::amount::Amount;
use super::explicit::Explicit;
use super::exponential::{Exponential, Side};
use super::link::Mark;
use super::nature::Nature;
use super::number::Number;
use super::rollup::{Ends, Levels, Rollup, Tally};
use super::totals::Totals;
use crate::model::metric::{MetricKind, Temporality};
use crate::model::packed::wire::{take_varint, unzigzag};
use crate::model::packed::write::put_varint;

/// The first byte. A reader that finds another one reads nothing.
const VERSION: u8 = 1;

impl Rollup {
    /// Appends the roll-up as bytes.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let mut writer = Writer { out, bounds: Vec::new() };
        let Nature { kind, temporality, monotonic } = self.nature;
        let Tally { points, skipped, duplicates, resets, overlaps } = self.tally;
        writer.out.extend([VERSION, kind as u8, temporality as u8 | u8::from(monotonic) << 2]);
        for count in [points, skipped, duplicates, resets, overlaps, self.covered_ns] {
            writer.varint(count);
        }
        writer.varint(u64::from(self.ends_in_gap));
        writer.amount(self.grown.as_ref());
        writer.varint(u64::from(self.ends.is_some()));
        for mark in self.ends.iter().flat_map(|ends| [&ends.first, &ends.last]) {
            writer.zigzag(mark.time_ns);
            // Zero is a start of its own: unknown.
            let start =
                if mark.start_ns == 0 { None } else { Some(mark.time_ns.wrapping_sub(mark.start_ns)) };
            writer.varint(u64::from(start.is_some()));
            start.into_iter().for_each(|start| writer.zigzag(start));
            writer.amount(mark.amount.as_ref());
        }
        writer.varint(u64::from(self.levels.is_some()));
        for level in self.levels.iter().flat_map(|it| [it.min, it.max, it.sum, it.last]) {
            writer.double(level);
        }
        writer.varint(self.quantiles.len() as u64);
        for (quantile, value) in &self.quantiles {
            writer.double(*quantile);
            writer.double(*value);
        }
    }

    /// Reads what [`Rollup::encode`] wrote; none when the bytes are no roll-up of this version. Memory is bounded by
    /// the length of the bytes.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let [VERSION, kind, form, rest @ ..] = bytes else { return None };
        let temporality = match form & 3 {
            0 => Temporality::None,
            1 => Temporality::Delta,
            2 => Temporality::Cumulative,
            _ => return None,
        };
        let kind = MetricKind::from_number(u64::from(*kind))?;
        let nature = Nature { kind, temporality, monotonic: form >> 2 == 1 };
        if form >> 2 > 1 {
            return None;
        }
        let mut reader = Reader { rest, bounds: Vec::new() };
        let mut rollup = Self::new(nature);
        let Tally { points, skipped, duplicates, resets, overlaps } = &mut rollup.tally;
        for count in [points, skipped, duplicates, resets, overlaps, &mut rollup.covered_ns] {
            *count = reader.varint()?;
        }
        rollup.ends_in_gap = reader.flag()?;
        rollup.grown = reader.amount(kind)?;
        if reader.flag()? {
            let (first, last) = (reader.mark(kind)?, reader.mark(kind)?);
            rollup.ends = Some(Ends { first, last });
        }
        if reader.flag()? {
            let [min, max, sum, last] = [(); 4].map(|()| reader.double());
            rollup.levels = Some(Levels { min: min?, max: max?, sum: sum?, last: last? });
        }
        for _ in 0..reader.varint()? {
            rollup.quantiles.push((reader.double()? + 0.0, reader.double()?));
        }
        let sorted = rollup.quantiles.is_sorted_by(|(a, _), (b, _)| a < b);
        let known = rollup.quantiles.iter().all(|(quantile, value)| !quantile.is_nan() && !value.is_nan());
        (reader.rest.is_empty() && sorted && known).then_some(rollup)
    }
}

struct Writer<'a> {
    out: &'a mut Vec<u8>,
    /// The bounds that were written last.
    bounds: Vec<f64>,
}

impl Writer<'_> {
    fn varint(&mut self, value: u64) {
        put_varint(value, self.out);
    }

    fn zigzag(&mut self, value: i64) {
        self.varint((value << 1 ^ value >> 63).cast_unsigned());
    }

    fn double(&mut self, value: f64) {
        self.out.extend(value.to_le_bytes());
    }

    fn amount(&mut self, amount: Option<&Amount>) {
        match amount {
            None => self.varint(0),
            Some(Amount::Number(Number::Int(value))) => {
                self.varint(1);
                self.zigzag(*value);
            }
            Some(Amount::Number(Number::Double(value))) => {
                self.varint(2);
                self.double(*value);
            }
            Some(Amount::Explicit(histogram)) => {
                self.varint(3);
                self.totals(histogram.totals());
                let known = histogram.bounds() == self.bounds;
                self.varint(u64::from(known));
                if !known {
                    self.varint(histogram.bounds().len() as u64);
                    histogram.bounds().iter().for_each(|bound| self.double(*bound));
                    self.bounds = histogram.bounds().to_vec();
                }
                histogram.counts().iter().for_each(|count| self.varint(*count));
            }
            Some(Amount::Exponential(histogram)) => {
                self.varint(4);
                self.totals(&histogram.totals);
                self.zigzag(histogram.scale.into());
                self.varint(histogram.zero_count);
                self.double(histogram.zero_threshold);
                self.side(&histogram.positive);
                self.side(&histogram.negative);
            }
            Some(Amount::Totals(totals)) => {
                self.varint(5);
                self.totals(totals);
            }
        }
    }

    fn totals(&mut self, totals: &Totals) {
        self.varint(totals.count);
        let known = [totals.sum, totals.min, totals.max];
        self.varint(known.iter().enumerate().map(|(bit, it)| u64::from(it.is_some()) << bit).sum());
        known.into_iter().flatten().for_each(|number| self.double(number));
    }

    fn side(&mut self, side: &Side) {
        self.varint(side.len() as u64);
        let mut last = 0_i64;
        for (index, count) in side {
            self.zigzag(i64::from(*index) - last);
            self.varint(*count);
            last = i64::from(*index);
        }
    }
}

struct Reader<'a> {
    rest: &'a [u8],
    bounds: Vec<f64>,
}

impl Reader<'_> {
    fn varint(&mut self) -> Option<u64> {
        take_varint(&mut self.rest)
    }

    fn zigzag(&mut self) -> Option<i64> {
        self.varint().map(unzigzag)
    }

    fn flag(&mut self) -> Option<bool> {
        match self.varint()? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }

    fn double(&mut self) -> Option<f64> {
        let (bytes, rest) = self.rest.split_first_chunk::<8>()?;
        self.rest = rest;
        Some(f64::from_le_bytes(*bytes))
    }

    fn mark(&mut self, kind: MetricKind) -> Option<Mark> {
        let time_ns = self.zigzag()?;
        let start_ns = if self.flag()? { time_ns.wrapping_sub(self.zigzag()?) } else { 0 };
        Some(Mark { time_ns, start_ns, amount: self.amount(kind)? })
    }

    /// An amount that a series of this kind can have; none inside where there is none.
    fn amount(&mut self, kind: MetricKind) -> Option<Option<Amount>> {
        let is_number = matches!(kind, MetricKind::Gauge | MetricKind::Sum);
        let amount = match (self.varint()?, kind) {
            (0, _) => return Some(None),
            (1, _) if is_number => Amount::Number(Number::Int(self.zigzag()?)),
            (2, _) if is_number => Amount::Number(Number::Double(self.double()?)),
            (3, MetricKind::Histogram) => Amount::Explicit(self.explicit()?),
            (4, MetricKind::ExponentialHistogram) => Amount::Exponential(self.exponential()?),
            (5, MetricKind::Summary) => Amount::Totals(self.totals()?),
            _ => return None,
        };
        Some(Some(amount))
    }

    fn explicit(&mut self) -> Option<Explicit> {
        let totals = self.totals()?;
        if !self.flag()? {
            let mut bounds = Vec::new();
            for _ in 0..self.varint()? {
                bounds.push(self.double()?);
            }
            self.bounds = bounds;
        }
        let mut counts = Vec::new();
        for _ in 0..=self.bounds.len() {
            counts.push(self.varint()?);
        }
        Explicit::from_parts(self.bounds.clone(), counts, totals)
    }

    fn exponential(&mut self) -> Option<Exponential> {
        let totals = self.totals()?;
        let scale = i32::try_from(self.zigzag()?).ok().filter(|scale| (-64..=64).contains(scale))?;
        let (zero_count, zero_threshold) = (self.varint()?, self.double()?);
        if !(zero_threshold >= 0.0 && zero_threshold.is_finite()) {
            return None;
        }
        let (positive, negative) = (self.side()?, self.side()?);
        Some(Exponential { scale, zero_count, zero_threshold, positive, negative, totals })
    }

    fn totals(&mut self) -> Option<Totals> {
        let count = self.varint()?;
        let known = self.varint().filter(|known| *known < 8)?;
        let mut number = |bit: u32| {
            if known >> bit & 1 == 1 { self.double().map(Some) } else { Some(None) }
        };
        Some(Totals { count, sum: number(0)?, min: number(1)?, max: number(2)? })
    }

    fn side(&mut self) -> Option<Side> {
        let mut side = Side::new();
        let mut last = 0_i64;
        for _ in 0..self.varint()? {
            last = last.checked_add(self.zigzag()?)?;
            let index = i32::try_from(last).ok()?;
            if side.last().is_some_and(|(before, _)| *before >= index) {
                return None;
            }
            side.push((index, self.varint().filter(|count| *count > 0)?));
        }
        Some(side)
    }
}
