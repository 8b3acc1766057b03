//! Means, spreads, correlations, what transfer gained, and how good a ranking of sources was.

use super::random::Stream;

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

/// How far the best of the first `k` of a ranking stays behind the best of all, in percent of the latter (Renggli et al. 2022;
/// Poth et al. 2021). `scores` are in the order of the ranking; 0 where there is nothing to lose.
pub fn regret(scores: &[f64], k: usize) -> f64 {
    let best = |scores: &[f64]| scores.iter().copied().fold(0.0, f64::max);
    let all = best(scores);
    if all > 0.0 { 100.0 * (all - best(&scores[..k.min(scores.len())])) / all } else { 0.0 }
}

/// Normalised discounted cumulative gain of a whole ranking (Järvelin and Kekäläinen 2002), linear in the gain: that of a
/// source is its score above the worst source's. `scores` are in the order of the ranking; 1 where all are equal.
pub fn ndcg(scores: &[f64]) -> f64 {
    let worst = scores.iter().copied().fold(f64::INFINITY, f64::min);
    let gain = |ranking: &[f64]| -> f64 {
        ranking.iter().zip(2u32..).map(|(score, rank)| (score - worst) / libm::log2(f64::from(rank))).sum()
    };
    let mut ideal = scores.to_vec();
    ideal.sort_by(|a, b| b.total_cmp(a));
    let best = gain(&ideal);
    if best > 0.0 { gain(scores) / best } else { 1.0 }
}

/// Resamples of a bootstrap.
const RESAMPLES: usize = 10_000;

/// The 95 % percentile interval (Efron 1979) of the mean over groups of the mean of each: groups are drawn with replacement, and
/// values within each of them, so that it covers other targets and other seeds. `None` of fewer than two values.
pub fn bootstrap_interval(groups: &[Vec<f64>], stream: &mut Stream) -> Option<[f64; 2]> {
    let groups: Vec<&Vec<f64>> = groups.iter().filter(|group| !group.is_empty()).collect();
    if groups.iter().map(|group| group.len()).sum::<usize>() < 2 {
        return None;
    }
    let mut resample = || {
        let group = |stream: &mut Stream| {
            let group = *stream.choose(&groups);
            (0..group.len()).map(|_| *stream.choose(group)).sum::<f64>() / group.len() as f64
        };
        (0..groups.len()).map(|_| group(stream)).sum::<f64>() / groups.len() as f64
    };
    let mut means: Vec<f64> = (0..RESAMPLES).map(|_| resample()).collect();
    means.sort_by(f64::total_cmp);
    Some([0.025, 0.975].map(|share| quantile(&means, share)))
}

/// Of sorted values, linear between neighbours.
fn quantile(sorted: &[f64], share: f64) -> f64 {
    let place = share * (sorted.len() - 1) as f64;
    let (below, above) = (sorted[place.floor() as usize], sorted[place.ceil() as usize]);
    below + (above - below) * place.fract()
}

/// A correlation and the probability of one as strong among unrelated values.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Correlation {
    /// In -1..=1; 0 where one side is constant, so that no result is ever NaN.
    pub r: f64,
    /// Two-sided; 1 where it cannot be told (a constant side, fewer than three pairs).
    pub p: f64,
}

/// Pearson's correlation of pairs.
///
/// # Panics
/// If the sides differ in length.
pub fn pearson(x: &[f64], y: &[f64]) -> Correlation {
    assert_eq!(x.len(), y.len(), "a correlation is of pairs");
    let constant = |values: &[f64]| values.iter().all(|value| *value == values[0]);
    if x.len() < 2 || constant(x) || constant(y) {
        return Correlation { r: 0.0, p: 1.0 };
    }
    let (dx, dy) = (deviations(x), deviations(y));
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let spread = (dot(&dx, &dx) * dot(&dy, &dy)).sqrt();
    let r = if spread == 0.0 { 0.0 } else { (dot(&dx, &dy) / spread).clamp(-1.0, 1.0) };
    Correlation { r, p: p_value(r, x.len()) }
}

/// Spearman's correlation of pairs: Pearson's of their ranks, ties sharing the mean rank.
///
/// # Panics
/// If the sides differ in length.
pub fn spearman(x: &[f64], y: &[f64]) -> Correlation {
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
fn ranks(values: &[f64]) -> Vec<f64> {
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

/// Under independence `r²` of `n` normal pairs follows Beta(1/2, n/2 - 1).
fn p_value(r: f64, n: usize) -> f64 {
    if n < 3 { 1.0 } else { incomplete_beta(n as f64 / 2.0 - 1.0, 0.5, (1.0 - r.abs()) * (1.0 + r.abs())) }
}

/// The regularised incomplete beta function `I_x(a, b)` by its continued fraction (DLMF 8.17.22), evaluated with Lentz's method.
fn incomplete_beta(a: f64, b: f64, x: f64) -> f64 {
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
pub(crate) mod tests {
    use super::*;

    /// Made by `tests/golden/metrics.py`.
    pub(crate) fn golden() -> serde_json::Value {
        serde_json::from_str(include_str!("../../tests/golden/metrics.json")).unwrap()
    }

    /// Made by `tests/golden/retrieval.py`.
    fn retrieval() -> serde_json::Value {
        serde_json::from_str(include_str!("../../tests/golden/retrieval.json")).unwrap()
    }

    #[track_caller]
    pub(crate) fn near(found: f64, expected: f64, tolerance: f64) {
        assert!((found - expected).abs() <= tolerance, "found {found}, expected {expected} ± {tolerance}");
    }

    #[test]
    fn correlations_agree_with_scipy() {
        let cases = golden()["correlations"].as_array().unwrap().clone();
        assert!(cases.len() >= 20);
        for case in cases {
            let values = |name: &str| -> Vec<f64> { serde_json::from_value(case[name].clone()).unwrap() };
            let (x, y) = (values("x"), values("y"));
            for (found, name) in [(pearson(&x, &y), "pearson"), (spearman(&x, &y), "spearman")] {
                near(found.r, case[name]["r"].as_f64().unwrap(), 1e-12);
                let p = case[name]["p"].as_f64().unwrap();
                near(found.p, p, 1e-9 * p.max(1e-3));
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
        near(spearman(&[0.0, 2.0, 1.0], &[0.0, 1.0, 2.0]).r, 0.5, 1e-15);
    }

    #[test]
    fn constants_and_short_samples_correlate_with_nothing() {
        for (x, y) in [(&[1.0, 1.0, 1.0][..], &[1.0, 2.0, 3.0][..]), (&[], &[]), (&[0.1], &[2.0])] {
            assert_eq!(pearson(x, y), Correlation { r: 0.0, p: 1.0 });
            assert_eq!(spearman(x, y), Correlation { r: 0.0, p: 1.0 });
        }
        assert_eq!(pearson(&[1.0, 2.0], &[3.0, 1.0]).p, 1.0);
    }

    #[test]
    fn extreme_magnitudes_do_not_overflow() {
        let x = [1e-200, 2e-200, 4e-200];
        near(pearson(&x, &[1e200, 2e200, 4e200]).r, 1.0, 1e-12);
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
    fn gains_of_rankings_agree_with_scikit_learn() {
        let cases = retrieval()["ndcg"].as_array().unwrap().clone();
        assert!(cases.len() >= 20);
        for case in cases {
            let scores: Vec<f64> = serde_json::from_value(case["scores"].clone()).unwrap();
            near(ndcg(&scores), case["ndcg"].as_f64().unwrap(), 1e-12);
        }
        assert_eq!(ndcg(&[70.0, 70.0]), 1.0);
    }

    #[test]
    fn regret_falls_as_more_sources_are_tried() {
        let scores = [60.0, 75.0, 80.0, 20.0];
        let found: Vec<f64> = (1..=4).map(|k| regret(&scores, k)).collect();
        assert_eq!(found, [25.0, 6.25, 0.0, 0.0]);
        assert_eq!(regret(&[0.0, 0.0], 1), 0.0);
        assert_eq!(regret(&scores, 9), 0.0);
    }

    /// SciPy draws other resamples, so its interval is met as far as 10,000 of them tell.
    #[test]
    fn bootstrap_intervals_agree_with_scipy() {
        let cases = retrieval()["bootstrap"].as_array().unwrap().clone();
        assert!(cases.len() >= 3);
        for case in cases {
            let values: Vec<f64> = serde_json::from_value(case["values"].clone()).unwrap();
            let expected: [f64; 2] = serde_json::from_value(case["interval"].clone()).unwrap();
            let groups: Vec<Vec<f64>> = values.iter().map(|value| vec![*value]).collect();
            let mut stream = Stream::new(0, "bootstrap");
            let found = bootstrap_interval(&groups, &mut stream).unwrap();
            let tolerance = 0.04 * (expected[1] - expected[0]);
            near(found[0], expected[0], tolerance);
            near(found[1], expected[1], tolerance);
            // One group with all the values is the same thing.
            let one = bootstrap_interval(&[values], &mut stream).unwrap();
            near(one[0], expected[0], tolerance);
        }
        let mut stream = Stream::new(0, "bootstrap");
        assert_eq!(bootstrap_interval(&[vec![3.0]], &mut stream), None);
        assert_eq!(bootstrap_interval(&[vec![3.0], vec![], vec![3.0, 3.0]], &mut stream), Some([3.0, 3.0]));
    }

    #[test]
    fn spread_is_of_a_sample() {
        near(standard_deviation(&[1.0, 2.0, 3.0, 4.0]).unwrap(), (5.0_f64 / 3.0).sqrt(), 1e-15);
        assert_eq!(standard_deviation(&[1.0]), None);
        assert_eq!(mean(&[]), 0.0);
    }
}
