//! Which blocks may hold attributes, as their filters tell, or long spans, as they say. One in some ten says "maybe" by chance.
//!
//! Filters that stand alone are asked in the database. Of those that are laid across each other, a word tells of 64
//! blocks which of them have a bit: four words for an attribute, and eight for each service whose rows have it.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::reader::Reader;
use crate::model::id::{ServiceId, TenantNumber};
use crate::model::time::{UnixNanos, Window};
use crate::store::blocks::longest::{self, UNKNOWN};
use crate::store::blocks::{self, LONGEST, SLICED, Spot};
use crate::store::day::Day;
use crate::store::error::Error;
use crate::store::filters::slice_id;
use crate::store::packing::Signal;
use crate::store::partition::Partition;
use crate::store::sql::Sql;

/// Attributes that filters are asked about; further ones are looked for in the blocks alone.
const FILTERED_MAX: usize = 16;
/// Words that one statement asks for.
const WORDS_MAX: usize = 500;
/// Blocks that one statement looks at.
const BLOCKS_MAX: usize = 2_000;
/// Filters laid across each other, that are asked before rows are looked at: those of a million spans, about.
const GLANCED_MAX: usize = 16;
/// Services that filters are asked about, at most.
const SERVICES_MAX: usize = 4;
/// Of how many blocks one may hold what few rows have.
const FEW: usize = 8;

/// Blocks of one signal, tenant and day.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scope<'s> {
    pub(super) signal: Signal,
    pub(super) tenant: TenantNumber,
    pub(super) day: Day,
    /// Whose rows are meant; none for those of any service.
    pub(super) services: &'s [ServiceId],
    /// How long the spans that are meant took at least.
    pub(super) least_ns: Option<u64>,
}

/// The key and value of an attribute, and whether the key is promoted.
type Asked<'a> = (&'a str, &'a str, bool);

/// A block that may hold attributes, behind when its newest row happened.
pub(super) type Promising = (UnixNanos, i64);

/// A block, and the level of the longest span of some services in it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Leveled {
    pub(super) id: i64,
    /// No row of the block happened later.
    pub(super) newest: UnixNanos,
    pub(super) level: u8,
}

/// The filters of one block or more.
pub(super) struct Filters {
    id: i64,
    pub(super) day: Day,
    /// When the newest of their rows happened.
    pub(super) newest: UnixNanos,
    /// How long they are.
    bytes: usize,
    /// The blocks; none where it is the one with this id, whose filter was asked.
    ids: Vec<i64>,
}

impl Scope<'_> {
    /// `attributes`, as far as filters are asked about them, each with whether it is promoted on the day.
    async fn asked<'a>(
        self,
        reader: &mut Reader,
        attributes: &'a [(String, String)],
    ) -> Result<Vec<Asked<'a>>, Error> {
        let Partition { family, day } = self.signal.family().partition(self.day);
        let sql = format!("SELECT key FROM promoted WHERE family = {} AND day = {}", family as u8, day.0);
        let keys = reader.all(reader.sql(sql), |row| row.get::<String>(0)).await?;
        let asked = attributes.iter().take(FILTERED_MAX);
        Ok(asked.map(|(key, value)| (key.as_str(), value.as_str(), keys.contains(key))).collect())
    }

    /// Blocks with rows of `window` that may hold all of `attributes`, each with when its newest row happened.
    pub(super) async fn newest(
        self,
        reader: &mut Reader,
        window: Window,
        attributes: &[(String, String)],
    ) -> Result<Vec<Promising>, Error> {
        let blocks = self.holding(reader, window, attributes).await?;
        self.times(reader, window, blocks).await
    }

    /// The same, where few filters tell that few blocks may hold them.
    pub(super) async fn few(
        self,
        reader: &mut Reader,
        window: Window,
        attributes: &[(String, String)],
    ) -> Result<Option<Vec<Promising>>, Error> {
        let asked = self.asked(reader, attributes).await?;
        let filters = self.of_window(reader, window, &asked).await?;
        let many = filters.iter().filter(|found| !found.ids.is_empty()).count();
        if filters.is_empty() {
            return Ok(Some(Vec::new()));
        }
        if many == 0 || many > GLANCED_MAX {
            return Ok(None);
        }
        let blocks = self.sift(reader, filters, &asked).await?;
        if blocks.len() > many * SLICED / FEW {
            return Ok(None);
        }
        self.times(reader, window, blocks).await.map(Some)
    }

    /// The blocks that may hold all of `attributes`, among those with rows of `window` and some that lie beside it.
    pub(super) async fn holding(
        self,
        reader: &mut Reader,
        window: Window,
        attributes: &[(String, String)],
    ) -> Result<BTreeSet<i64>, Error> {
        let asked = self.asked(reader, attributes).await?;
        let filters = self.of_window(reader, window, &asked).await?;
        self.sift(reader, filters, &asked).await
    }

    /// All filters of blocks with rows of `window`, and of some that lie beside it.
    pub(super) async fn filters(self, reader: &mut Reader, window: Window) -> Result<Vec<Filters>, Error> {
        self.of_window(reader, window, &[]).await
    }

    /// The blocks of `filters`, each with the level of the longest span of the services.
    pub(super) async fn levels(
        self,
        reader: &mut Reader,
        filters: &[Filters],
    ) -> Result<Vec<Leveled>, Error> {
        let services: HashSet<u32> = self.services.iter().map(|service| service.0).collect();
        let mut levels = HashMap::with_capacity(filters.len());
        if self.signal == Signal::Spans {
            let table = self.signal.slices().on(self.day);
            for filters in filters.chunks(BLOCKS_MAX) {
                let ids = filters.iter().map(|found| slice_id(found.id, LONGEST));
                let ids = reader.dialect().is_one_of(ids);
                let sql = reader.sql(format!("SELECT id, bits FROM {table} WHERE id{ids}"));
                let is_wanted = |service| services.is_empty() || services.contains(&service);
                levels.extend(
                    reader
                        .all(sql, |row| Ok((row.get::<i64>(0)?, longest::levels(row.get(1)?, is_wanted))))
                        .await?,
                );
            }
        }
        let mut blocks = Vec::new();
        for found in filters {
            let levels = levels.get(&slice_id(found.id, LONGEST)).unwrap_or(&[UNKNOWN; SLICED]);
            let ids = if found.ids.is_empty() { std::slice::from_ref(&found.id) } else { &found.ids };
            let newest = found.newest;
            blocks.extend(ids.iter().zip(levels).map(|(id, level)| Leveled {
                id: *id,
                newest,
                level: *level,
            }));
        }
        Ok(blocks)
    }

    /// Those of `blocks` that have rows of `window`, each with when its newest row happened.
    async fn times(
        self,
        reader: &mut Reader,
        window: Window,
        blocks: BTreeSet<i64>,
    ) -> Result<Vec<Promising>, Error> {
        let (dialect, day) = (reader.dialect(), self.day);
        let blocks: Vec<i64> = blocks.into_iter().collect();
        let mut found = Vec::new();
        for ids in blocks.chunks(BLOCKS_MAX) {
            let ids = dialect.is_one_of(ids.iter().copied());
            let sql = reader.sql(format!(
                "SELECT id, max_ns FROM {} WHERE tenant_id = {} AND max_ns >= {} AND min_ns < {} AND id{ids}",
                self.signal.blocks().on(day),
                self.tenant.0,
                day.since(window.from),
                day.since(window.to)
            ));
            found.extend(reader.all(sql, |row| Ok((day.after(row.get(1)?), row.get(0)?))).await?);
        }
        Ok(found)
    }

    /// The filters of blocks with rows of `window`, and of some that lie beside it; those that stand alone only where they
    /// say "maybe".
    async fn of_window(
        self,
        reader: &mut Reader,
        window: Window,
        asked: &[Asked<'_>],
    ) -> Result<Vec<Filters>, Error> {
        let day = self.day;
        let sql = reader.sql(format!(
            "SELECT id, max_ns, filter_bytes, ids FROM {}{} WHERE tenant_id = {} AND max_ns >= {} AND min_ns < {}",
            self.signal.filters().on(day),
            reader.dialect().indexed(self.signal.filters(), day, "by_time"),
            self.tenant.0,
            day.since(window.from),
            day.since(window.to)
        ));
        filters((reader, day), sql, asked).await
    }

    /// Those of `blocks` that may hold all of `attributes`, and some beside them.
    pub(super) async fn of_blocks(
        self,
        reader: &mut Reader,
        blocks: &[i64],
        attributes: &[(String, String)],
    ) -> Result<BTreeSet<i64>, Error> {
        let (table, tenant) = (self.signal.filters().on(self.day), self.tenant.0);
        if blocks.is_empty() {
            return Ok(BTreeSet::new());
        }
        let numbers = reader.dialect().numbers(blocks.iter().copied());
        let sql = reader.sql(format!(
            "SELECT id, max_ns, filter_bytes, ids FROM {table} WHERE id IN (SELECT coalesce(\
             (SELECT id FROM {table} WHERE tenant_id = {tenant} AND blocks = 1 AND id = w.n), \
             (SELECT max(id) FROM {table} WHERE tenant_id = {tenant} AND blocks = {SLICED} AND id <= w.n)) FROM {numbers})"
        ));
        let asked = self.asked(reader, attributes).await?;
        let filters = filters((reader, self.day), sql, &asked).await?;
        self.sift(reader, filters, &asked).await
    }

    /// The blocks that may hold all that is asked about, as their filters tell, and what they say of the longest spans.
    async fn sift(
        self,
        reader: &mut Reader,
        filters: Vec<Filters>,
        asked: &[Asked<'_>],
    ) -> Result<BTreeSet<i64>, Error> {
        let long = match self.least_ns {
            Some(least_ns) => {
                let blocks = self.levels(reader, &filters).await?.into_iter();
                let long = blocks.filter(|block| block.level >= longest::level(least_ns));
                Some(long.map(|block| block.id).collect::<BTreeSet<i64>>())
            }
            None => None,
        };
        let (alone, many): (Vec<_>, Vec<_>) = filters.into_iter().partition(|found| found.ids.is_empty());
        let mut promising: BTreeSet<i64> = alone.into_iter().map(|found| found.id).collect();
        let mut by_bytes: BTreeMap<usize, Vec<Filters>> = BTreeMap::new();
        many.into_iter().for_each(|found| by_bytes.entry(found.bytes).or_default().push(found));
        for (bytes, many) in by_bytes {
            let (bits, tells) = blocks::parts(bytes);
            for many in many.chunks(WORDS_MAX) {
                let all = many.iter().map(|found| (found.id, u64::MAX)).collect();
                let mut masks = self.masks(reader, all, spots(bits, asked)).await?;
                if tells && (1..=SERVICES_MAX).contains(&self.services.len()) {
                    for (key, value, _) in asked {
                        masks = self.of_services(reader, masks, (key, value, bits)).await?;
                    }
                }
                for found in many {
                    let mask = masks.get(&found.id).copied().unwrap_or_default();
                    let held = found.ids.iter().enumerate().filter(|(bit, _)| mask >> bit & 1 == 1);
                    promising.extend(held.map(|(_, id)| *id));
                }
            }
        }
        if let Some(long) = long {
            promising.retain(|id| long.contains(id));
        }
        Ok(promising)
    }

    /// Those blocks of `masks` of which rows of the services may have an attribute; the bits of the filters take so many bytes.
    async fn of_services(
        self,
        reader: &mut Reader,
        masks: HashMap<i64, u64>,
        (key, value, bytes): (&str, &str, usize),
    ) -> Result<HashMap<i64, u64>, Error> {
        let mut may: HashMap<i64, u64> = HashMap::new();
        let mut rest = masks;
        let of_services = self.services.iter().map(|it| blocks::service_probes(key, value, it.0, bytes));
        for bits in of_services.chain([blocks::untold_probes(key, bytes)]) {
            if rest.is_empty() {
                break;
            }
            let spots = bits.into_iter().map(Spot::of).collect();
            for (id, mask) in self.masks(reader, rest.clone(), spots).await? {
                *may.entry(id).or_default() |= mask;
            }
            rest.iter_mut().for_each(|(id, mask)| *mask &= !may.get(id).copied().unwrap_or_default());
            rest.retain(|_, mask| *mask != 0);
        }
        Ok(may)
    }

    /// Which of the blocks in `masks` have a bit at all of `spots`; those of which none has may be missing.
    async fn masks(
        self,
        reader: &mut Reader,
        mut masks: HashMap<i64, u64>,
        spots: BTreeSet<Spot>,
    ) -> Result<HashMap<i64, u64>, Error> {
        if masks.is_empty() {
            return Ok(masks);
        }
        for spot in spots {
            let mut sql = reader.sql(format!(
                "SELECT id, substr(bits, {}, 8) FROM {} WHERE id",
                spot.offset + 1,
                self.signal.slices().on(self.day)
            ));
            sql.push(reader.dialect().is_one_of(masks.keys().map(|id| slice_id(*id, spot.slice))));
            let words = reader.all(sql, |row| {
                let word = <[u8; 8]>::try_from(row.get::<&[u8]>(1)?);
                let word = word.map_err(|_| Error::Unreadable { what: "filter" })?;
                Ok((row.get::<i64>(0)?, u64::from_be_bytes(word)))
            });
            let words: HashMap<i64, u64> = words.await?.into_iter().collect();
            masks.retain(|id, mask| {
                // Where a word is missing, nothing is known.
                *mask &= words.get(&slice_id(*id, spot.slice)).copied().unwrap_or(u64::MAX);
                *mask != 0
            });
            if masks.is_empty() {
                break;
            }
        }
        Ok(masks)
    }
}

/// Where filters of `bytes` bytes have the bits of attributes.
fn spots(bytes: usize, asked: &[Asked<'_>]) -> BTreeSet<Spot> {
    let bits = asked.iter().flat_map(|(key, value, is_promoted)| {
        blocks::probes(key, value, *is_promoted).filter(|(length, _)| *length == bytes)
    });
    bits.flat_map(|(_, bits)| bits).map(Spot::of).collect()
}

/// The filters that a statement leads to; those that stand alone only where they say "maybe".
async fn filters(
    (reader, day): (&mut Reader, Day),
    mut sql: Sql,
    asked: &[Asked<'_>],
) -> Result<Vec<Filters>, Error> {
    for (key, value, is_promoted) in asked {
        let may_hold = sql.dialect.may_hold(key, value, *is_promoted);
        sql.push(" AND ").push(may_hold);
    }
    let filters = reader.all(sql, |row| {
        let ids = row.get::<&[u8]>(3)?.as_chunks().0.iter().map(|id| i64::from_be_bytes(*id)).collect();
        let bytes = row.get::<i64>(2)?.unsigned_abs() as usize;
        Ok(Filters { id: row.get(0)?, day, newest: day.after(row.get(1)?), bytes, ids })
    });
    filters.await
}
