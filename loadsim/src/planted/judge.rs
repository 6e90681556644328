//! How good answers are, by kind of fault and in sum.

use std::fmt;

use serde::Serialize;

/// What the server said about one run.
#[derive(Debug, Clone, Serialize)]
pub struct Outcome {
    /// The kind of fault; `quiet` where there is none.
    pub kind: String,
    /// Repeats the run.
    pub seed: u64,
    /// True where only the last half hour was told.
    pub is_recent: bool,
    /// The nodes of which one is right.
    pub wanted: Vec<String>,
    /// The levels of which one is right.
    pub wanted_levels: Vec<String>,
    /// The nodes that were named, the most probable first.
    pub ranking: Vec<String>,
    /// What was said of the first.
    pub said: String,
    /// The level of the first, and its kind of fault.
    pub level: [String; 2],
    /// The confidence in the first.
    pub confidence: f64,
    /// True where the server said that the evidence does not suffice.
    pub abstains: bool,
    /// Whom it told to be hurt.
    pub impact: Option<Impact>,
}

/// Whom the server told to be hurt, against who is.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Impact {
    /// Operations that were told and are hurt.
    pub right: usize,
    /// Those that were told and are not.
    pub wrong: Vec<String>,
    /// Those that are hurt and were not told.
    pub missed: Vec<String>,
}

impl Outcome {
    /// The place of a right node among those that were named, from 1 on.
    pub fn rank(&self) -> Option<usize> {
        self.ranking.iter().position(|name| self.wanted.contains(name)).map(|place| place + 1)
    }

    /// True where a right node comes first and it was said how far down the fault lies.
    pub fn is_level_right(&self) -> bool {
        self.rank() == Some(1) && self.level.iter().any(|level| self.wanted_levels.contains(level))
    }

    /// True for a run without fault.
    pub const fn is_quiet(&self) -> bool {
        self.wanted.is_empty()
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rank = self.rank().map_or_else(|| "not".to_owned(), |rank| format!("{rank}."));
        let level = if self.is_level_right() { ", its level too" } else { "" };
        write!(f, "{}, seed {}: {:?} named {rank}{level}", self.kind, self.seed, self.wanted)
    }
}

/// Shares of runs.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub(super) struct Score {
    pub(super) runs: usize,
    pub(super) first: f64,
    pub(super) among_3: f64,
    pub(super) level: f64,
    pub(super) abstained: f64,
}

impl Score {
    pub(super) fn of(outcomes: &[&Outcome]) -> Self {
        let share = |is: &dyn Fn(&Outcome) -> bool| {
            outcomes.iter().filter(|outcome| is(outcome)).count() as f64 / outcomes.len().max(1) as f64
        };
        Self {
            runs: outcomes.len(),
            first: share(&|it| it.rank() == Some(1)),
            among_3: share(&|it| it.rank().is_some_and(|rank| rank <= 3)),
            level: share(&Outcome::is_level_right),
            abstained: share(&|it| it.abstains),
        }
    }
}

/// A part of all answers: those of about the same confidence.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Bin {
    pub(crate) answers: usize,
    pub(crate) confidence: f64,
    pub(crate) right: f64,
}

/// Answers by confidence in tenths, and the expected calibration error: the mean distance between confidence and share of
/// right answers, weighed by answers (Naeini, Cooper, Hauskrecht 2015).
pub(crate) fn calibration(answers: &[(f64, bool)]) -> (Vec<Bin>, f64) {
    let mut bins = vec![Bin::default(); 10];
    for (confidence, is_right) in answers {
        let bin = &mut bins[((confidence * 10.0) as usize).min(9)];
        bin.answers += 1;
        bin.confidence += confidence;
        bin.right += f64::from(u8::from(*is_right));
    }
    for bin in bins.iter_mut().filter(|bin| bin.answers > 0) {
        bin.confidence /= bin.answers as f64;
        bin.right /= bin.answers as f64;
    }
    let weigh = |bin: &Bin| bin.answers as f64 * (bin.confidence - bin.right).abs();
    let error = bins.iter().map(weigh).sum::<f64>() / answers.len().max(1) as f64;
    (bins, error)
}

/// Precision and recall over all runs: of what was told, what is so; of what is so, what was told.
pub(super) fn precision_and_recall(outcomes: &[&Outcome]) -> (f64, f64) {
    let impacts = || outcomes.iter().filter_map(|outcome| outcome.impact.as_ref());
    let right: usize = impacts().map(|impact| impact.right).sum();
    let of = |others: usize| right as f64 / (right + others).max(1) as f64;
    let wrong = impacts().map(|impact| impact.wrong.len()).sum();
    let missed = impacts().map(|impact| impact.missed.len()).sum();
    (of(wrong), of(missed))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome() -> Outcome {
        Outcome {
            kind: "error".into(),
            seed: 1,
            is_recent: false,
            wanted: vec!["b".into()],
            wanted_levels: vec!["operation".into()],
            ranking: vec!["b".into(), "a".into()],
            said: String::new(),
            level: ["operation".into(), "errors".into()],
            confidence: 0.9,
            abstains: false,
            impact: Some(Impact { right: 3, wrong: vec!["x".into()], missed: vec![] }),
        }
    }

    #[test]
    fn scores_count_rank_level_and_abstention() {
        let right = outcome();
        let second = Outcome { ranking: vec!["a".into(), "b".into()], ..outcome() };
        let quiet = Outcome { wanted: vec![], abstains: true, ranking: vec![], ..outcome() };
        let score = Score::of(&[&right, &second]);
        assert_eq!((score.first, score.among_3, score.level, score.abstained), (0.5, 1.0, 0.5, 0.0));
        assert!(quiet.is_quiet() && quiet.rank().is_none());
        assert_eq!(precision_and_recall(&[&right]), (0.75, 1.0));
    }

    #[test]
    fn confidence_that_is_right_as_often_as_it_says_has_no_error() {
        let honest: Vec<(f64, bool)> = (0..10).map(|it| (0.75, it * 4 < 30)).collect();
        let (bins, error) = calibration(&honest);
        assert_eq!((bins[7].answers, bins[7].right), (10, 0.8));
        assert!((error - 0.05).abs() < 1e-9);
        assert!((calibration(&[(1.0, false)]).1 - 1.0).abs() < 1e-9);
        assert_eq!(calibration(&[]).1, 0.0);
    }
}
