//! What a caller may do, apart from whose data it is about.

/// One thing that a caller may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Right {
    /// Send telemetry.
    Ingest,
    /// Ask questions.
    Read,
    /// See what belongs to no tenant.
    Admin,
}

/// The things that a caller may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rights(u8);

impl Right {
    const EACH: [Self; 3] = [Self::Ingest, Self::Read, Self::Admin];

    /// Its name, as in the key file.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ingest => "ingest",
            Self::Read => "read",
            Self::Admin => "admin",
        }
    }

    /// The right of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::EACH.into_iter().find(|right| right.name() == name)
    }
}

impl Rights {
    /// All of them.
    pub const ALL: Self = Self(0b111);

    /// Whether `right` is among them.
    pub const fn include(self, right: Right) -> bool {
        self.0 >> right as u8 & 1 == 1
    }

    /// Their names, as in the key file.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        Right::EACH.into_iter().filter(move |right| self.include(*right)).map(Right::name)
    }
}

impl FromIterator<Right> for Rights {
    fn from_iter<I: IntoIterator<Item = Right>>(rights: I) -> Self {
        Self(rights.into_iter().fold(0, |bits, right| bits | 1 << right as u8))
    }
}
