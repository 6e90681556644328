//! Whether one thing is worse where another is.

/// Spearman's rank correlation; 0 where one side does not vary.
pub(super) fn rank_correlation(pairs: &[(f64, f64)]) -> f64 {
    let (one, other) = (ranks(pairs.iter().map(|pair| pair.0)), ranks(pairs.iter().map(|pair| pair.1)));
    let mean = (pairs.len() as f64 + 1.0) / 2.0;
    let sum = |of: &dyn Fn(usize) -> f64| (0..pairs.len()).map(of).sum::<f64>();
    let both = sum(&|at| (one[at] - mean) * (other[at] - mean));
    let spreads = (sum(&|at| (one[at] - mean).powi(2)) * sum(&|at| (other[at] - mean).powi(2))).sqrt();
    if spreads <= 0.0 { 0.0 } else { both / spreads }
}

/// The place of each value in their order, from 1; equal ones share the middle of their places.
fn ranks(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut ordered: Vec<(usize, f64)> = values.enumerate().collect();
    ordered.sort_by(|a, b| a.1.total_cmp(&b.1));
    let mut ranks = vec![0.0; ordered.len()];
    let mut before = 0;
    for same in ordered.chunk_by(|a, b| a.1 == b.1) {
        let middle = before as f64 + (same.len() as f64 + 1.0) / 2.0;
        same.iter().for_each(|(at, _)| ranks[*at] = middle);
        before += same.len();
    }
    ranks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_correlate() {
        let rising: Vec<(f64, f64)> = (0..9).map(|at| (f64::from(at), f64::from(at * at))).collect();
        assert!((rank_correlation(&rising) - 1.0).abs() < 1e-9);
        let falling: Vec<(f64, f64)> = rising.iter().map(|(a, b)| (*a, -b)).collect();
        assert!((rank_correlation(&falling) + 1.0).abs() < 1e-9);
        assert!(rank_correlation(&[(1.0, 2.0), (1.0, 3.0)]).abs() < 1e-9);
        assert_eq!(ranks([5.0, 1.0, 5.0].into_iter()), [2.5, 1.0, 2.5]);
    }
}
