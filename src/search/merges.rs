//! Which segments of a day become one.
//!
//! Several of about one size are merged, so that each line is written again a few times at most while searches look through
//! few segments (a log-structured merge: O'Neil et al. 1996). The lines of a day are sorted by template, and to merge them
//! takes some fifty bytes of memory for each beside the files that are read: so there is an end to it.

use std::collections::HashMap;

use tantivy::SegmentMeta;
use tantivy::index::SegmentId;
use tantivy::indexer::{LogMergePolicy, MergeCandidate, MergePolicy};

/// Segments of about one size that are merged into one. Fewer merge more often, more make searches slower.
const TOGETHER: usize = 8;
/// Segments of up to so many lines count as one size: those of single commits.
const SMALL_LINES: u32 = 20_000;
/// Lines of a segment that others were merged into. A hundred million in a day are up to a hundred segments then.
const MERGED_MAX: u32 = 2_000_000;

/// Merges up to [`MERGED_MAX`] lines.
#[derive(Debug)]
pub(super) struct Policy(LogMergePolicy);

impl Policy {
    pub(super) fn new() -> Self {
        let mut policy = LogMergePolicy::default();
        policy.set_min_num_segments(TOGETHER);
        policy.set_min_layer_size(SMALL_LINES);
        // No two that are larger fit into one.
        policy.set_max_docs_before_merge(MERGED_MAX as usize / 2);
        Self(policy)
    }
}

impl MergePolicy for Policy {
    fn compute_merge_candidates(&self, segments: &[SegmentMeta]) -> Vec<MergeCandidate> {
        let lines: HashMap<SegmentId, u32> = segments.iter().map(|it| (it.id(), it.max_doc())).collect();
        let proposed = self.0.compute_merge_candidates(segments);
        let cut = proposed.into_iter().flat_map(|MergeCandidate(ids)| {
            parts(ids.into_iter().map(|id| (id, lines.get(&id).copied().unwrap_or(MERGED_MAX))))
        });
        cut.map(MergeCandidate).collect()
    }
}

/// Cuts what is to be merged, each with its lines, into parts of [`MERGED_MAX`] lines at most; what would be alone is left out.
fn parts<T>(all: impl Iterator<Item = (T, u32)>) -> Vec<Vec<T>> {
    let mut parts: Vec<Vec<T>> = Vec::new();
    let mut room = 0_u32;
    for (one, lines) in all {
        match (parts.last_mut(), room.checked_sub(lines)) {
            (Some(part), Some(left)) => {
                part.push(one);
                room = left;
            }
            _ => {
                parts.push(vec![one]);
                room = MERGED_MAX.saturating_sub(lines);
            }
        }
    }
    parts.retain(|part| part.len() > 1);
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(lines: &[u32]) -> Vec<Vec<usize>> {
        parts(lines.iter().copied().enumerate())
    }

    #[test]
    fn small_ones_become_one_and_large_ones_as_much_as_fits() {
        assert_eq!(cut(&[20_000; 8]), [[0, 1, 2, 3, 4, 5, 6, 7]]);
        assert_eq!(cut(&[700_000; 5]), [vec![0, 1], vec![2, 3]], "what would be alone stays");
        assert_eq!(cut(&[MERGED_MAX, MERGED_MAX / 2, MERGED_MAX / 2, 1]), [[1, 2]]);
        assert_eq!(cut(&[MERGED_MAX + 1, u32::MAX, 1, 1]), [[2, 3]]);
        assert!(cut(&[]).is_empty());
    }
}
