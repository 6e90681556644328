//! What one connection sends of one signal in a reel: encoded items in order, cut into requests as they become due.
//!
//! Items rather than requests are kept, because then a request may reach over the end of a playing, and is as full as it
//! would be in an endless stream, however short the reel.

use std::collections::BTreeMap;
use std::ops::Range;

use bytes::{BufMut, BytesMut};

use super::places::{self, Change, Place, Shape};
use crate::send::{Request, Signal};

/// Field 1 of `ResourceSpans`, `ResourceLogs` and `ResourceMetrics`, the resource, and of what holds them in a request;
/// and field 1 of `ScopeSpans` and so on, the scope.
const FIRST: u8 = 1 << 3 | 2;
/// Field 2 of `ResourceSpans` and so on: what a scope holds; and field 2 of that: a span, log record or metric.
const SECOND: u8 = 2 << 3 | 2;

/// An item on its way into a strip.
#[derive(Debug)]
pub(crate) struct Piece {
    /// In which lap of its loop it is due: a loop may be several times as long as the reel.
    pub(crate) lap: u64,
    /// When in that lap it is due.
    pub(crate) offset_ns: u64,
    /// Position of its sender among those of the reel.
    pub(crate) sender: usize,
    /// Spans, log records or points in it.
    pub(crate) count: u64,
    /// The encoded span, log record or metric.
    pub(crate) message: Vec<u8>,
}

/// Encoded items of one signal for one connection, in the order in which they are due. Loops of several lengths run side by
/// side in it and fill the same requests, so that a connection has one of the signal under way.
#[derive(Debug)]
pub(crate) struct Strip {
    /// The connection.
    pub(crate) lane: usize,
    /// The signal.
    pub(crate) signal: Signal,
    loops: Vec<Loop>,
}

/// Encoded items without an end, for after the last comes the first of the next round.
#[derive(Debug)]
struct Loop {
    /// How many playings a round lasts.
    laps: u64,
    items: Vec<Item>,
    bytes: Vec<u8>,
    places: Vec<Place>,
}

#[derive(Debug)]
struct Item {
    lap: u64,
    offset_ns: u64,
    sender: usize,
    count: u64,
    bytes: Range<usize>,
    places: Range<usize>,
}

/// An item of a request that is being made.
struct Chosen<'a> {
    source: &'a Loop,
    playing: u64,
    item: &'a Item,
}

/// When requests are cut from a strip.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Spans, records or points of one request at most.
    pub(crate) batch: u64,
    /// How long items wait at most.
    pub(crate) flush_ns: u64,
    /// How long one playing lasts.
    pub(crate) reel_ns: u64,
    /// When the phase ends; nothing is due from then on.
    pub(crate) end_ns: u64,
}

/// The items of one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cut {
    /// Their positions in each of the endless loops of the strip.
    pub(crate) items: Vec<Range<u64>>,
    /// When the request is due, from the start of the phase.
    pub(crate) due_ns: u64,
    /// Spans, records or points in them.
    pub(crate) count: u64,
}

/// What stands before the items of a sender: its resource, and the scope, both as encoded fields.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Heads<'a> {
    /// The resources of all senders.
    pub(crate) resources: &'a [Vec<u8>],
    /// The scope, which all share.
    pub(crate) scope: &'a [u8],
}

impl Cut {
    /// Where the next request begins.
    pub(crate) fn end(&self) -> Vec<u64> {
        self.items.iter().map(|items| items.end).collect()
    }
}

impl Strip {
    /// A strip of pieces by the laps of their loop, which are put in order. Nothing when one of them is not protobuf of `shape`.
    pub(crate) fn new(
        (lane, signal): (usize, Signal),
        shape: &'static Shape,
        pieces: BTreeMap<u64, Vec<Piece>>,
    ) -> Option<Self> {
        let loops = pieces.into_iter().map(|(laps, pieces)| Loop::new(laps, shape, pieces));
        Some(Self { lane, signal, loops: loops.collect::<Option<_>>()? })
    }

    /// Where the first request of a phase begins.
    pub(crate) fn start(&self) -> Vec<u64> {
        vec![0; self.loops.len()]
    }

    /// The request that begins at `from`; nothing when that is not due before the end. It is due when it is full, or when its
    /// first item has waited long enough, or at the end.
    pub(crate) fn cut(&self, from: &[u64], limits: Limits) -> Option<Cut> {
        let mut items: Vec<Range<u64>> = from.iter().map(|from| *from..*from).collect();
        let (_, begin, _) = self.next(&items, limits.reel_ns)?;
        if begin >= limits.end_ns {
            return None;
        }
        let latest = (begin + limits.flush_ns).min(limits.end_ns);
        let (mut count, mut due_ns) = (0, begin);
        loop {
            let (which, arrival, item) = self.next(&items, limits.reel_ns)?;
            if arrival > latest || arrival >= limits.end_ns {
                due_ns = latest;
                break;
            }
            if count > 0 && count + item.count > limits.batch {
                // The next item does not fit; only its arrival says so.
                due_ns = arrival;
                break;
            }
            items[which].end += 1;
            (count, due_ns) = (count + item.count, arrival.max(due_ns));
            if count >= limits.batch {
                break;
            }
        }
        Some(Cut { items, due_ns, count })
    }

    /// The request of a cut, each item changed as `change` says for its playing and its place in that.
    pub(crate) fn request(
        &self,
        cut: &Cut,
        heads: Heads<'_>,
        change: impl Fn(u64, u64) -> Change,
    ) -> Request {
        let mut chosen: Vec<Chosen<'_>> = Vec::new();
        for (source, items) in self.loops.iter().zip(&cut.items) {
            let found = items.clone().filter_map(|position| source.item(position));
            chosen.extend(found.map(|(playing, item)| Chosen { source, playing, item }));
        }
        // Stable: the items of a sender stay in order.
        chosen.sort_by_key(|chosen| chosen.item.sender);
        let groups = || chosen.chunk_by(|one, other| one.item.sender == other.item.sender);
        let resource = |group: &[Chosen<'_>]| &heads.resources[group[0].item.sender];
        let held = |group: &[Chosen<'_>]| {
            heads.scope.len() + group.iter().map(|chosen| chosen.item.bytes.len()).sum::<usize>()
        };
        let whole = |group: &[Chosen<'_>]| {
            let held = held(group);
            resource(group).len() + 1 + prost::length_delimiter_len(held) + held
        };
        let length: usize =
            groups().map(whole).map(|whole| 1 + prost::length_delimiter_len(whole) + whole).sum();
        let mut body = BytesMut::with_capacity(length);
        for group in groups() {
            delimit(FIRST, whole(group), &mut body);
            body.put_slice(resource(group));
            delimit(SECOND, held(group), &mut body);
            body.put_slice(heads.scope);
            for Chosen { source, playing, item } in group {
                let begin = body.len();
                body.put_slice(&source.bytes[item.bytes.clone()]);
                let places = &source.places[item.places.clone()];
                places::change(&mut body[begin..], places, change(*playing, item.offset_ns));
            }
        }
        Request { signal: self.signal, body: body.freeze(), items: cut.count }
    }

    /// The item that is due next after those of a cut: in which loop it is, and when it is due.
    fn next(&self, items: &[Range<u64>], reel_ns: u64) -> Option<(usize, u64, &Item)> {
        let next = self.loops.iter().zip(items).enumerate().filter_map(|(which, (source, items))| {
            let (playing, item) = source.item(items.end)?;
            Some((which, playing * reel_ns + item.offset_ns, item))
        });
        next.min_by_key(|(_, arrival, _)| *arrival)
    }

    /// Spans, records or points that are kept.
    #[cfg(test)]
    pub(crate) fn kept(&self) -> u64 {
        self.loops.iter().flat_map(|source| &source.items).map(|item| item.count).sum()
    }
}

impl Loop {
    fn new(laps: u64, shape: &'static Shape, mut pieces: Vec<Piece>) -> Option<Self> {
        pieces.sort_by_key(|piece| (piece.lap, piece.offset_ns));
        let (mut items, mut bytes, mut all) = (Vec::with_capacity(pieces.len()), Vec::new(), Vec::new());
        for Piece { lap, offset_ns, sender, count, message } in pieces {
            let (begin, first) = (bytes.len(), all.len());
            bytes.push(SECOND);
            prost::encode_length_delimiter(message.len(), &mut bytes).ok()?;
            let before = u32::try_from(bytes.len() - begin).ok()?;
            let places = places::places(shape, &message)?;
            all.extend(places.into_iter().map(|place| Place { at: place.at + before, ..place }));
            bytes.extend_from_slice(&message);
            let (bytes, places) = (begin..bytes.len(), first..all.len());
            items.push(Item { lap, offset_ns, sender, count, bytes, places });
        }
        Some(Self { laps, items, bytes, places: all })
    }

    /// Items and their playing, by position; nothing when there are none.
    fn item(&self, position: u64) -> Option<(u64, &Item)> {
        let length = self.items.len() as u64;
        let item = &self.items[usize::try_from(position.checked_rem(length)?).ok()?];
        Some((position / length * self.laps + item.lap, item))
    }
}

fn delimit(key: u8, length: usize, body: &mut BytesMut) {
    body.put_u8(key);
    // A buffer that grows has room.
    let _ = prost::encode_length_delimiter(length, body);
}

/// An encoded message as field 1 of the message around it, as resources and scopes are.
pub(crate) fn first_field(message: &impl prost::Message) -> Vec<u8> {
    let mut field = vec![FIRST];
    field.extend(message.encode_length_delimited_to_vec());
    field
}
