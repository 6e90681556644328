//! A number as it was sent: whole numbers keep all their digits.

use std::cmp::Ordering;

/// A whole number or a double.
#[derive(Debug, Clone, Copy)]
pub enum Number {
    /// A whole number.
    Int(i64),
    /// A double; never NaN where it comes from a point.
    Double(f64),
}

impl Number {
    /// Nothing.
    pub const ZERO: Self = Self::Int(0);

    /// The nearest double.
    pub const fn as_f64(self) -> f64 {
        match self {
            Self::Int(value) => value as f64,
            Self::Double(value) => value,
        }
    }

    /// The sum: whole where both are and it fits, else a double.
    pub fn plus(self, other: Self) -> Self {
        match (self, other) {
            (Self::Int(a), Self::Int(b)) => {
                a.checked_add(b).map_or(Self::Double(a as f64 + b as f64), Self::Int)
            }
            _ => Self::Double(self.as_f64() + other.as_f64()),
        }
    }

    /// The difference: whole where both are and it fits, else a double.
    pub fn minus(self, other: Self) -> Self {
        match (self, other) {
            (Self::Int(a), Self::Int(b)) => {
                a.checked_sub(b).map_or(Self::Double(a as f64 - b as f64), Self::Int)
            }
            _ => Self::Double(self.as_f64() - other.as_f64()),
        }
    }

    /// True when it is less than `other`.
    pub fn is_below(self, other: Self) -> bool {
        match (self, other) {
            (Self::Int(a), Self::Int(b)) => a < b,
            _ => self.as_f64().partial_cmp(&other.as_f64()) == Some(Ordering::Less),
        }
    }
}

impl PartialEq for Number {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Int(a), Self::Int(b)) => a == b,
            (Self::Double(a), Self::Double(b)) => a.to_bits() == b.to_bits(),
            _ => false,
        }
    }
}
