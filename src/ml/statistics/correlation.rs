//! Correlations, and the function behind Student's t.

use super::mean;

/// Pearson's correlation of pairs, in -1..=1; 0 where one side is constant or there are fewer than two pairs, so that no result is
/// ever NaN.
///
/// # Panics
/// If the sides differ in length.
pub fn pearson(x: &[f64], y: &[f64]) -> f64 {
    assert_eq!(x.len(), y.len(), "a correlation is of pairs");
    let constant = |values: &[f64]| values.iter().all(|value| *value == values[0]);
    if x.len() < 2 || constant(x) || constant(y) {
        return 0.0;
    }
    let (dx, dy) = (deviations(x), deviations(y));
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let spread = (dot(&dx, &dx) * dot(&dy, &dy)).sqrt();
    if spread == 0.0 { 0.0 } else { (dot(&dx, &dy) / spread).clamp(-1.0, 1.0) }
}

/// Spearman's correlation of pairs: Pearson's of their ranks, ties sharing the mean rank.
///
/// # Panics
/// If the sides differ in length.
pub fn spearman(x: &[f64], y: &[f64]) -> f64 {
    pearson(&ranks(x), &ranks(y))
}

/// Deviations from the mean, divided by the largest of them so that their squares neither vanish nor overflow.
fn deviations(values: &[f64]) -> Vec<f64> {
    let center = mean(values);
    let mut deviations: Vec<f64> = values.iter().map(|value| value - center).collect();
    let largest = deviations.iter().fold(0.0_f64, |largest, d| largest.max(d.abs()));
    if largest > 0.0 {
        deviations.iter_mut().for_each(|d| *d /= largest);
    }
    deviations
}

/// Ranks from 1; equal values share the mean of theirs.
pub fn ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|a, b| values[*a].total_cmp(&values[*b]));
    let mut ranks = vec![0.0; values.len()];
    let mut below = 0;
    for tied in order.chunk_by(|a, b| values[*a] == values[*b]) {
        let rank = below as f64 + (tied.len() + 1) as f64 / 2.0;
        tied.iter().for_each(|at| ranks[*at] = rank);
        below += tied.len();
    }
    ranks
}

/// The regularised incomplete beta function `I_x(a, b)` by its continued fraction (DLMF 8.17.22), evaluated with Lentz's method.
pub(super) fn incomplete_beta(a: f64, b: f64, x: f64) -> f64 {
    if x <= 0.0 || x >= 1.0 {
        return x.clamp(0.0, 1.0);
    }
    // The fraction converges fast below the mean only.
    if x > (a + 1.0) / (a + b + 2.0) {
        return 1.0 - incomplete_beta(b, a, 1.0 - x);
    }
    let front = a * libm::log(x) + b * libm::log1p(-x) + libm::lgamma(a + b) - libm::lgamma(a) - libm::lgamma(b);
    let away_from_zero = |value: f64| if value.abs() < 1e-300 { 1e-300 } else { value };
    let mut c = 1.0;
    let mut d = 1.0 / away_from_zero(1.0 - (a + b) * x / (a + 1.0));
    let mut fraction = d;
    for m in 1..10_000 {
        let m = f64::from(m);
        let even = m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m));
        let odd = -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0));
        let before = fraction;
        for step in [even, odd] {
            d = 1.0 / away_from_zero(1.0 + step * d);
            c = away_from_zero(1.0 + step / c);
            fraction *= c * d;
        }
        if (fraction - before).abs() <= 1e-16 * fraction.abs() {
            break;
        }
    }
    (libm::exp(front) * fraction / a).clamp(0.0, 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ml::statistics::tests::{golden, near};

    #[test]
    fn correlations_agree_with_scipy() {
        let cases = golden()["correlations"].as_array().unwrap().clone();
        assert!(cases.len() >= 20);
        for case in cases {
            let values = |name: &str| -> Vec<f64> { serde_json::from_value(case[name].clone()).unwrap() };
            let (x, y) = (values("x"), values("y"));
            for (found, name) in [(pearson(&x, &y), "pearson"), (spearman(&x, &y), "spearman")] {
                near(found, case[name]["r"].as_f64().unwrap(), 1e-12);
            }
        }
    }

    #[test]
    fn the_incomplete_beta_function_agrees_with_scipy() {
        let cases = golden()["incomplete_beta"].as_array().unwrap().clone();
        assert!(cases.len() >= 50);
        for case in cases {
            let [a, b, x, expected] = ["a", "b", "x", "value"].map(|name| case[name].as_f64().unwrap());
            near(incomplete_beta(a, b, x), expected, 1e-12 + 1e-10 * expected);
        }
    }

    #[test]
    fn spearman_of_the_t5_tests() {
        near(spearman(&[0.0, 2.0, 1.0], &[0.0, 1.0, 2.0]), 0.5, 1e-15);
    }

    #[test]
    fn constants_and_short_samples_correlate_with_nothing() {
        for (x, y) in [(&[1.0, 1.0, 1.0][..], &[1.0, 2.0, 3.0][..]), (&[], &[]), (&[0.1], &[2.0])] {
            assert_eq!(pearson(x, y), 0.0);
            assert_eq!(spearman(x, y), 0.0);
        }
    }

    #[test]
    fn extreme_magnitudes_do_not_overflow() {
        let x = [1e-200, 2e-200, 4e-200];
        near(pearson(&x, &[1e200, 2e200, 4e200]), 1.0, 1e-12);
    }
}
