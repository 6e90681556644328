//! How often the true cause was among the first.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

/// The answer to a case.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Truth {
    pub(super) id: String,
    pub(super) suite: String,
    pub(super) root_cause_service: String,
    pub(super) fault_type: String,
    pub(super) fault_class: String,
    /// The revision that is to blame, where a change is; `none` where none is.
    #[serde(default)]
    pub(super) root_cause_commit: Option<String>,
}

/// Shares of cases.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub(super) struct Score {
    /// Cases.
    pub(super) cases: usize,
    /// Share whose cause was named first, and among three and five.
    pub(super) first: f64,
    /// Among three.
    pub(super) among_3: f64,
    /// Among five.
    pub(super) among_5: f64,
    /// Mean of one divided by the rank; nothing where the cause was not named.
    pub(super) reciprocal_rank: f64,
}

/// All answers in `truth*.json` of `folder`, by case.
pub(super) fn truths(folder: &Path) -> Result<BTreeMap<String, Truth>> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name.starts_with("truth") && name.ends_with(".json") {
            let text = std::fs::read_to_string(&path)?;
            let truths: Vec<Truth> =
                serde_json::from_str(&text).with_context(|| path.display().to_string())?;
            found.extend(truths.into_iter().map(|truth| (truth.id.clone(), truth)));
        }
    }
    anyhow::ensure!(!found.is_empty(), "no answers (truth*.json) in {}", folder.display());
    Ok(found)
}

/// The place of the cause in a ranking, from 1 on; a name that comes twice counts once.
pub(super) fn rank_of(cause: &str, ranking: &[String]) -> Option<usize> {
    let mut seen: Vec<&str> = Vec::new();
    for name in ranking {
        if !seen.contains(&name.as_str()) {
            seen.push(name);
        }
    }
    seen.iter().position(|name| *name == cause).map(|place| place + 1)
}

impl Score {
    /// The score of cases by the rank of their cause.
    pub(super) fn of(ranks: &[Option<usize>]) -> Self {
        let count = ranks.len().max(1) as f64;
        let among = |most| ranks.iter().flatten().filter(|rank| **rank <= most).count() as f64 / count;
        let reciprocal: f64 = ranks.iter().flatten().map(|rank| 1.0 / *rank as f64).sum();
        Self {
            cases: ranks.len(),
            first: among(1),
            among_3: among(3),
            among_5: among(5),
            reciprocal_rank: reciprocal / count,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_and_shares() {
        let ranking = ["a", "a", "b", "c"].map(String::from);
        assert_eq!(
            [rank_of("a", &ranking), rank_of("b", &ranking), rank_of("d", &ranking)],
            [Some(1), Some(2), None]
        );
        let score = Score::of(&[Some(1), Some(2), Some(4), None]);
        assert_eq!((score.cases, score.first, score.among_3, score.among_5), (4, 0.25, 0.5, 0.75));
        assert_eq!(score.reciprocal_rank, 0.4375);
        assert_eq!(Score::of(&[]).first, 0.0);
    }
}
