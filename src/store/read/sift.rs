//! Rows with attributes that few rows have: the filters of all blocks of a time lead to the blocks that may hold them,
//! and these to the rows.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::Arc;

use super::columns::Found;
use super::details::{self, Detailed, Place};
use super::promising::Scope;
use super::reader::Reader;
use super::scan::Scan;
use crate::model::time::{UnixNanos, Window};
use crate::store::error::Error;

/// Blocks that are searched before it is seen whether there is enough.
const TOGETHER: usize = 12;

/// A block, behind when its newest row happened.
pub(super) type Block = (UnixNanos, Place);

/// The blocks with rows of `band` that may hold what `scan` is after; none where these are not `few` as can be seen at once.
pub(super) async fn blocks<T: Detailed>(
    scan: &Scan<'_, T>,
    reader: &mut Reader,
    band: Window,
    few: bool,
) -> Result<Option<Vec<Block>>, Error> {
    let mut blocks = Vec::new();
    for day in reader.days(scan.family, band) {
        let (signal, tenant) = (T::SIGNAL, scan.tenant);
        let scope = Scope { signal, tenant, day, services: scan.services, least_ns: scan.least_ns };
        let found = match few {
            true => scope.few(reader, band, scan.attributes).await?,
            false => Some(scope.newest(reader, band, scan.attributes).await?),
        };
        let Some(found) = found else { return Ok(None) };
        blocks.extend(found.into_iter().map(|(newest, block)| (newest, (day, block))));
    }
    blocks.sort_unstable_by_key(|(newest, place)| Reverse((*newest, *place)));
    Ok(Some(blocks))
}

/// The newest `limit` rows of `band` that `scan` is after, in the order of time and number, with their details; `blocks`
/// may hold them.
pub(super) async fn newest<T: Detailed + Unpin>(
    scan: &Scan<'_, T>,
    reader: &mut Reader,
    band: Window,
    blocks: &[Block],
    limit: usize,
) -> Result<Vec<Found<T>>, Error> {
    let attributes: Arc<[(String, String)]> = scan.attributes.into();
    let mut found: Vec<Found<T>> = Vec::new();
    let days = blocks.chunk_by(|(_, (a, _)), (_, (b, _))| a == b);
    for part in days.flat_map(|of_day| of_day.chunks(TOGETHER)) {
        let (newest, (day, _)) = part[0];
        // What comes from here on is older than all that was found.
        if found.len() >= limit && found.last().is_some_and(|last| scan.place(last).0 > newest) {
            break;
        }
        let ids: Vec<i64> = part.iter().map(|(_, (_, block))| *block).collect();
        let mut searched = details::search::<T>(reader, day, &ids, &attributes).await?;
        searched.retain(|block| !block.ids.is_empty());
        if searched.is_empty() {
            continue;
        }
        // What else is asked for leaves fewer of them: only these are put together.
        let ids = searched.iter().flat_map(|block| block.ids.iter().copied());
        let rows = scan.by_id(reader, (day, band), ids).await?;
        let mut rows: HashMap<i64, Found<T>> = rows.into_iter().map(|row| (row.id, row)).collect();
        for block in searched {
            let ids: Vec<i64> = block.ids.iter().copied().filter(|id| rows.contains_key(id)).collect();
            if ids.is_empty() {
                continue;
            }
            for (id, detail) in block.details::<T>(reader, day, ids, &attributes).await? {
                if let Some(mut row) = rows.remove(&id) {
                    row.row.set_detail(detail);
                    found.push(row);
                }
            }
        }
        found.sort_by_key(|row| Reverse(scan.place(row)));
        found.truncate(limit);
    }
    Ok(found)
}
