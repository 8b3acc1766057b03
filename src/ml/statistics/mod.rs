//! Means, spreads, correlations, what transfer gained, how good a ranking of sources was, and how sure one can be of it.

mod correlation;
mod inference;
mod ranking;

pub use correlation::{pearson, ranks, spearman};
pub use inference::{holm, order_p, reliability_of_means, reliability_of_runs, sign_flip_p, t_interval};
pub use ranking::{Regret, expected_best_of, expected_ndcg, ndcg};

/// The arithmetic mean; 0 of nothing.
pub fn mean(values: &[f64]) -> f64 {
    if values.is_empty() { 0.0 } else { values.iter().sum::<f64>() / values.len() as f64 }
}

/// The standard deviation of a sample (divided by n - 1); `None` for fewer than two values.
pub fn standard_deviation(values: &[f64]) -> Option<f64> {
    let center = mean(values);
    let squares: f64 = values.iter().map(|value| (value - center).powi(2)).sum();
    (values.len() > 1).then(|| (squares / (values.len() - 1) as f64).sqrt())
}

/// The share of a baseline's error that transfer took away, in percent; negative if transfer harmed. `None` where the
/// baseline makes no errors. Scores are in 0..=100.
///
/// The paper gives the name only; this formula gives all its published numbers.
pub fn relative_error_reduction(transfer: f64, baseline: f64) -> Option<f64> {
    let error = 100.0 - baseline;
    (error > 0.0).then(|| 100.0 * (transfer - baseline) / error)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Made by `tests/golden/metrics.py`.
    pub(crate) fn golden() -> serde_json::Value {
        serde_json::from_str(include_str!("../../../tests/golden/metrics.json")).unwrap()
    }

    /// Made by `tests/golden/generation.py`.
    pub(crate) fn golden_of_generation() -> serde_json::Value {
        serde_json::from_str(include_str!("../../../tests/golden/generation.json")).unwrap()
    }

    /// Made by `tests/golden/inference.py`.
    pub(super) fn inference() -> serde_json::Value {
        serde_json::from_str(include_str!("../../../tests/golden/inference.json")).unwrap()
    }

    #[track_caller]
    pub(crate) fn near(found: f64, expected: f64, tolerance: f64) {
        assert!((found - expected).abs() <= tolerance, "found {found}, expected {expected} ± {tolerance}");
    }

    #[test]
    fn published_error_reductions_are_reproduced() {
        // Transfer and baseline of the paper's table 6, and the percentages of its table 7, which have one decimal.
        let cases = [
            (97.0, 92.7, 58.9),
            (69.3, 56.7, 29.1),
            (77.2, 71.5, 20.0),
            (74.7, 68.7, 19.2),
            (88.7, 86.1, 18.7),
            (70.2, 63.6, 18.1),
            (77.6, 73.0, 17.0),
            (90.0, 88.1, 16.0),
            (63.0, 56.7, 14.5),
            (62.0, 56.7, 12.2),
            (72.0, 68.7, 10.5),
            (75.8, 73.0, 10.4),
        ];
        for (transfer, baseline, published) in cases {
            near(relative_error_reduction(transfer, baseline).unwrap(), published, 0.0501);
        }
        assert!(relative_error_reduction(70.0, 73.0).unwrap() < 0.0);
        assert_eq!(relative_error_reduction(99.0, 100.0), None);
    }

    #[test]
    fn spread_is_of_a_sample() {
        near(standard_deviation(&[1.0, 2.0, 3.0, 4.0]).unwrap(), (5.0_f64 / 3.0).sqrt(), 1e-15);
        assert_eq!(standard_deviation(&[1.0]), None);
        assert_eq!(mean(&[]), 0.0);
    }
}
