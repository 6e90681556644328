//! What a route can be asked: declared once, for reading requests and for the document.

use utoipa::openapi::path::{Parameter as Documented, ParameterBuilder, ParameterIn, ParameterStyle};
use utoipa::openapi::schema::{ArrayBuilder, ObjectBuilder, Schema, Type};
use utoipa::openapi::{RefOr, Required};

use super::cursor::CURSOR_BYTES_MAX;

/// Longest name of a service, an operation or a metric, in bytes: as long as the store keeps names.
pub(super) const NAME_BYTES_MAX: usize = 1_024;
/// Most items of one page.
pub(super) const LIMIT_MAX: u64 = 1_000;
/// Attribute conditions of one question.
pub(super) const ATTRIBUTES_MAX: usize = 16;

/// One parameter of a route.
#[derive(Debug, Clone, Copy)]
pub(super) struct Parameter {
    /// Its name in the query string or the path.
    pub(super) name: &'static str,
    /// What it does, for people: meaning, unit, default.
    pub(super) description: &'static str,
    /// What its value may be.
    pub(super) shape: Shape,
}

/// What a value may be.
#[derive(Debug, Clone, Copy)]
pub(super) enum Shape {
    /// Text of at most so many bytes.
    Text { bytes_max: usize },
    /// An integer within bounds; the default where it is left out.
    Integer { min: u64, max: u64, default: u64 },
    /// One of these words.
    Choice(&'static [&'static str]),
    /// A moment: RFC 3339 or back from now.
    Moment,
    /// A duration: a number with a unit, or of milliseconds.
    Duration,
    /// So many hexadecimal digits.
    Hex { digits: usize },
    /// `key=value`, any number of times up to [`ATTRIBUTES_MAX`].
    Attributes,
    /// Text of at most so many bytes, so many times.
    Texts { bytes_max: usize, times_max: usize },
}

pub(super) const FROM: Parameter = Parameter {
    name: "from",
    description: "Begin of the window, inside it: RFC 3339 with an offset, or a stretch back from now such as `15m`, \
                  `2h` or `7d`. Default: one hour before `to`.",
    shape: Shape::Moment,
};
pub(super) const TO: Parameter = Parameter {
    name: "to",
    description: "End of the window, outside it; in the forms of `from`. Default: now. What lies in the future is cut \
                  off.",
    shape: Shape::Moment,
};
pub(super) const SINCE: Parameter = Parameter {
    name: "since",
    description: "Another name for `from`; give one of them.",
    shape: Shape::Moment,
};
pub(super) const CURSOR: Parameter = Parameter {
    name: "cursor",
    description: "`next_cursor` of the page before, unchanged, beside the same other parameters; `limit` may differ. \
                  The window is that of the first page.",
    shape: Shape::Text { bytes_max: CURSOR_BYTES_MAX },
};
pub(super) const LIMIT: Parameter = Parameter {
    name: "limit",
    description: "Most items of the page. An answer over 16 MiB is cut before that, with `next_cursor`.",
    shape: Shape::Integer { min: 1, max: LIMIT_MAX, default: 100 },
};
pub(super) const SERVICE: Parameter = Parameter {
    name: "service",
    description: "Only of the service with this name. A name that does not exist is refused with the nearest that does.",
    shape: Shape::Text { bytes_max: NAME_BYTES_MAX },
};
pub(super) const OPERATION: Parameter = Parameter {
    name: "operation",
    description: "Only of the operation (span name) with this name.",
    shape: Shape::Text { bytes_max: NAME_BYTES_MAX },
};
pub(super) const STATUS: Parameter = Parameter {
    name: "status",
    description: "`error`: only what failed; `ok`: only what did not fail.",
    shape: Shape::Choice(&["ok", "error"]),
};
pub(super) const MIN_DURATION: Parameter = Parameter {
    name: "min_duration",
    description: "Only what took at least so long: a number with a unit, such as `250ms` or `1.5s`; a bare number \
                  counts milliseconds.",
    shape: Shape::Duration,
};
pub(super) const MAX_DURATION: Parameter = Parameter {
    name: "max_duration",
    description: "Only what took at most so long; in the forms of `min_duration`.",
    shape: Shape::Duration,
};
pub(super) const ATTRIBUTE: Parameter = Parameter {
    name: "attribute",
    description: "Only with this attribute, as `key=value`, compared with the value as text; may be repeated, and all \
                  must hold. `attribute.KEY=VALUE` is another way to write it.",
    shape: Shape::Attributes,
};
pub(super) const TRACE_ID: Parameter = Parameter {
    name: "trace_id",
    description: "Only of this trace: 32 hexadecimal digits.",
    shape: Shape::Hex { digits: 32 },
};
pub(super) const SPAN_ID: Parameter = Parameter {
    name: "span_id",
    description: "Only of this span: 16 hexadecimal digits. Found at once beside `trace_id`.",
    shape: Shape::Hex { digits: 16 },
};
pub(super) const SEVERITY: Parameter = Parameter {
    name: "severity",
    description: "Least severe that is shown. Records of unknown severity are the least severe.",
    shape: Shape::Choice(&["trace", "debug", "info", "warn", "error", "fatal"]),
};

impl Parameter {
    /// The same parameter in other words.
    pub(super) const fn described(self, description: &'static str) -> Self {
        Self { description, ..self }
    }

    /// The same parameter with another value where it is left out.
    pub(super) const fn defaulting(self, default: u64) -> Self {
        match self.shape {
            Shape::Integer { min, max, .. } => Self { shape: Shape::Integer { min, max, default }, ..self },
            _ => self,
        }
    }

    /// True where it may be given more than once.
    pub(super) const fn is_list(&self) -> bool {
        matches!(self.shape, Shape::Attributes | Shape::Texts { .. })
    }

    /// The parameter of a query string as the document shows it.
    pub(super) fn in_query(&self) -> Documented {
        let is_list = self.is_list();
        self.documented(ParameterIn::Query, Required::False)
            .style(is_list.then_some(ParameterStyle::Form))
            .explode(is_list.then_some(true))
            .build()
    }

    /// The parameter of a path as the document shows it.
    pub(super) fn in_path(&self) -> Documented {
        self.documented(ParameterIn::Path, Required::True).build()
    }

    fn documented(&self, place: ParameterIn, required: Required) -> ParameterBuilder {
        ParameterBuilder::new()
            .name(self.name)
            .parameter_in(place)
            .required(required)
            .description(Some(self.description))
            .schema(Some(self.schema()))
    }

    pub(super) fn schema(&self) -> RefOr<Schema> {
        let text = || ObjectBuilder::new().schema_type(Type::String);
        match self.shape {
            Shape::Text { bytes_max } => text().max_length(Some(bytes_max)).into(),
            Shape::Integer { min, max, default } => ObjectBuilder::new()
                .schema_type(Type::Integer)
                .minimum(Some(min as f64))
                .maximum(Some(max as f64))
                .default(Some(default.into()))
                .into(),
            Shape::Choice(words) => text().enum_values(Some(words.iter().copied())).into(),
            Shape::Moment => text().max_length(Some(64)).examples(["15m", "2026-11-20T09:30:00Z"]).into(),
            Shape::Duration => text().max_length(Some(64)).examples(["250ms", "1.5s"]).into(),
            Shape::Hex { digits } => text().pattern(Some(format!("^[0-9a-fA-F]{{{digits}}}$"))).into(),
            Shape::Attributes => ArrayBuilder::new()
                .items(text().pattern(Some("^[^=]+=")))
                .max_items(Some(ATTRIBUTES_MAX))
                .into(),
            Shape::Texts { bytes_max, times_max } => ArrayBuilder::new()
                .items(text().max_length(Some(bytes_max)))
                .max_items(Some(times_max))
                .into(),
        }
    }
}
