//! Attributes that are left out. What loses nothing keeps its bytes; only what does is packed anew.

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};

use crate::model::log::LogDetail;
use crate::model::metric::{MetricKind, Point, PointDetail};
use crate::model::packed::Attributes;
use crate::model::packed::wire::{self, Field, Fields};
use crate::model::packed::write::put_varint;
use crate::model::resource::{Instrumentation, Resource};
use crate::model::span::SpanDetail;

use super::Rules;
use super::keys::Keys;

/// How many attributes were left out, by rule.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LeftOut {
    /// Those on the list of what is dropped.
    pub denied: u64,
    /// Those that are not on the list of what is allowed.
    pub not_allowed: u64,
    /// Texts from bodies that were cut.
    pub shortened: u64,
}

/// The two lists, of which at least one has a key.
#[derive(Debug)]
pub(super) struct AttributeRules {
    denied: Keys,
    allowed: Keys,
}

/// Where a message has its attributes.
struct Layout {
    own: Place,
    /// Messages inside it with attributes of their own: the number of their field, and of theirs.
    nested: &'static [(u32, u32)],
}

/// Which fields are attributes.
enum Place {
    /// Every one.
    Every,
    /// Those with this number.
    At(u32),
    /// None.
    Nowhere,
}

const LIST: Layout = Layout { own: Place::Every, nested: &[] };
/// Events are field 11 with attributes in 3, links 13 with attributes in 4.
const SPAN: Layout = Layout { own: Place::At(9), nested: &[(11, 3), (13, 4)] };
const LOG: Layout = Layout { own: Place::At(6), nested: &[] };
const EVENT: Layout = Layout { own: Place::At(3), nested: &[] };
const LINK: Layout = Layout { own: Place::At(4), nested: &[] };
const EXEMPLAR: Layout = Layout { own: Place::At(7), nested: &[] };

/// Where the points of a kind have exemplars.
const fn point_layout(kind: MetricKind) -> Layout {
    let nested: &'static [(u32, u32)] = match kind {
        MetricKind::Gauge | MetricKind::Sum => &[(5, 7)],
        MetricKind::Histogram => &[(8, 7)],
        MetricKind::ExponentialHistogram => &[(11, 7)],
        MetricKind::Summary => &[],
    };
    Layout { own: Place::Nowhere, nested }
}

/// The layout of a nested message whose attributes have `number`.
const fn nested_layout(number: u32) -> &'static Layout {
    match number {
        3 => &EVENT,
        4 => &LINK,
        _ => &EXEMPLAR,
    }
}

impl Rules {
    /// `resource` without what is left out; the same allocation where that is nothing.
    pub fn resource(&self, resource: &Arc<Resource>, left_out: &mut LeftOut) -> Arc<Resource> {
        match self.filtered(resource.attributes.as_bytes(), &LIST, left_out) {
            None => Arc::clone(resource),
            Some(kept) => {
                Arc::new(Resource { attributes: Attributes::from_checked(kept), ..Resource::clone(resource) })
            }
        }
    }

    /// `instrumentation` without what is left out; the same allocation where that is nothing.
    pub fn instrumentation(
        &self,
        instrumentation: &Arc<Instrumentation>,
        left_out: &mut LeftOut,
    ) -> Arc<Instrumentation> {
        match self.filtered(instrumentation.attributes.as_bytes(), &LIST, left_out) {
            None => Arc::clone(instrumentation),
            Some(kept) => Arc::new(Instrumentation {
                attributes: Attributes::from_checked(kept),
                ..Instrumentation::clone(instrumentation)
            }),
        }
    }

    /// A span's detail, its events and links included, without what is left out.
    pub fn span(&self, detail: SpanDetail, left_out: &mut LeftOut) -> SpanDetail {
        self.filtered(detail.as_bytes(), &SPAN, left_out).map_or(detail, SpanDetail::from_checked)
    }

    /// A record's detail without what is left out. Its body stays as it came.
    pub fn log(&self, detail: LogDetail, left_out: &mut LeftOut) -> LogDetail {
        self.filtered(detail.as_bytes(), &LOG, left_out).map_or(detail, LogDetail::from_checked)
    }

    /// The attributes of a metric without what is left out.
    pub fn metadata(&self, metadata: Attributes, left_out: &mut LeftOut) -> Attributes {
        self.filtered(metadata.as_bytes(), &LIST, left_out).map_or(metadata, Attributes::from_checked)
    }

    /// A point of `kind`, its exemplars included, without what is left out. Points that differ in nothing else belong
    /// to one series from then on.
    pub fn point(&self, mut point: Point, kind: MetricKind, left_out: &mut LeftOut) -> Point {
        if let Some(kept) = self.filtered(point.attributes.as_bytes(), &LIST, left_out) {
            point.attributes = Attributes::from_checked(kept);
        }
        if let Some(kept) = self.filtered(point.detail.as_bytes(), &point_layout(kind), left_out) {
            point.detail = PointDetail::from_checked(kept);
        }
        point
    }

    /// What is kept of `message`; none where it is all of it.
    #[inline]
    fn filtered(&self, message: &Bytes, layout: &Layout, left_out: &mut LeftOut) -> Option<Bytes> {
        let rules = self.inner.attributes.as_ref()?;
        rules.filter(message, layout, left_out).map(BytesMut::freeze)
    }
}

impl AttributeRules {
    /// The lists as rules; none where both are empty.
    pub(super) fn new(denied: &[String], allowed: &[String]) -> Option<Self> {
        let rules = Self { denied: Keys::patterns(denied), allowed: Keys::patterns(allowed) };
        (!rules.denied.is_empty() || !rules.allowed.is_empty()).then_some(rules)
    }

    /// Copies from the first field on that is left out or changed; none where there is none.
    fn filter(&self, message: &[u8], layout: &Layout, left_out: &mut LeftOut) -> Option<BytesMut> {
        let mut kept: Option<BytesMut> = None;
        let mut fields = Fields::new(message);
        loop {
            let start = message.len() - fields.remaining();
            let Some((number, field)) = fields.next() else { break };
            let end = message.len() - fields.remaining();
            let begun = |kept: &mut Option<BytesMut>| {
                if kept.is_none() {
                    let mut out = BytesMut::with_capacity(message.len());
                    out.put_slice(&message[..start]);
                    *kept = Some(out);
                }
            };
            if self.leaves_out(number, field, layout, left_out) {
                begun(&mut kept);
                continue;
            }
            if let Some(inner) = self.nested(number, field, layout, left_out) {
                begun(&mut kept);
                if let Some(out) = &mut kept {
                    put_varint(u64::from(number << 3 | 2), out);
                    put_varint(inner.len() as u64, out);
                    out.put_slice(&inner);
                }
                continue;
            }
            if let Some(out) = &mut kept {
                out.put_slice(&message[start..end]);
            }
        }
        kept
    }

    #[inline]
    fn leaves_out(&self, number: u32, field: Field<'_>, layout: &Layout, left_out: &mut LeftOut) -> bool {
        let is_own = match layout.own {
            Place::Every => true,
            Place::At(own) => own == number,
            Place::Nowhere => false,
        };
        let Field::Bytes(entry) = field else { return false };
        if !is_own {
            return false;
        }
        let key = wire::key(entry);
        if self.denied.has(key) {
            left_out.denied += 1;
            return true;
        }
        if !self.allowed.is_empty() && !is_needed(key) && !self.allowed.has(key) {
            left_out.not_allowed += 1;
            return true;
        }
        false
    }

    fn nested(
        &self,
        number: u32,
        field: Field<'_>,
        layout: &Layout,
        left_out: &mut LeftOut,
    ) -> Option<BytesMut> {
        let (_, attributes) = layout.nested.iter().find(|(outer, _)| *outer == number)?;
        let Field::Bytes(inner) = field else { return None };
        self.filter(inner, nested_layout(*attributes), left_out)
    }
}

/// True for what answers read from what is stored: who sent it, and which exception it was.
fn is_needed(key: &[u8]) -> bool {
    matches!(
        key,
        b"service.name"
            | b"service.namespace"
            | b"service.version"
            | b"service.instance.id"
            | b"deployment.environment.name"
            | b"deployment.environment"
            | b"k8s.cluster.name"
            | b"k8s.pod.name"
            | b"container.id"
            | b"host.name"
            | b"host.id"
            | b"exception.type"
            | b"exception.message"
    )
}
