//! The words of the product: what a span, a log record and a metric point are, once they are known to be valid.
//!
//! Nothing here reads a socket, a clock or a file, and nothing derives serde: each door converts to and from
//! its own view types, so that a wire format can change without the graph noticing. Values are checked once,
//! at the door (`decode`), and trusted afterwards.
//!
//! Reading order: [`id`] and [`time`], [`tenant`], [`packed`] (attributes as they stay in memory and on disk),
//! [`resource`], [`span`], [`log`], [`metric`], [`batch`], then [`sketch`] and [`rollup`] (the numbers that are
//! kept about all of them).

pub mod batch;
pub mod id;
pub mod log;
pub mod metric;
pub mod node;
pub mod packed;
pub mod resource;
pub mod rollup;
pub mod sketch;
pub mod span;
pub mod subject_map;
pub mod tenant;
pub mod text;
pub mod time;
pub mod trace_key;
