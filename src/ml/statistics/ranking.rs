//! How good a ranking of sources was, known afterwards, and how good a random one is.

use super::mean;

/// How far a choice stays behind the best of all.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Regret {
    /// In percent of the best score (Renggli et al. 2022; Poth et al. 2021); `None` where that is not above 0.
    pub of_best: Option<f64>,
    /// In percent of what is between the mean score, which a random choice gets, and the best; `None` where nothing is.
    pub of_span: Option<f64>,
}

impl Regret {
    /// Of a choice that scores `chosen`, where it could have had any of `scores`.
    ///
    /// # Panics
    /// If there is no score.
    pub fn of(chosen: f64, scores: &[f64]) -> Self {
        let (best, mean) = (highest(scores), mean(scores));
        let lost = 100.0 * (best - chosen);
        let share = |whole: f64| (whole > 0.0).then(|| lost / whole);
        Self { of_best: share(best), of_span: share(best - mean) }
    }

    /// Of the best of the first `k` of a ranking, whose scores are `scores`.
    ///
    /// # Panics
    /// If there is no score, or `k` is 0.
    pub fn at(scores: &[f64], k: usize) -> Self {
        Self::of(highest(&scores[..k.min(scores.len())]), scores)
    }
}

fn highest(scores: &[f64]) -> f64 {
    scores.iter().copied().reduce(f64::max).expect("there is a score")
}

/// Normalised discounted cumulative gain of a whole ranking (Järvelin and Kekäläinen 2002), linear in the gain: that of a
/// source is its score above the worst source's. `scores` are in the order of the ranking; 1 where all are equal.
pub fn ndcg(scores: &[f64]) -> f64 {
    let (gains, best) = gains(scores);
    if best > 0.0 { discounted(&gains) / best } else { 1.0 }
}

/// The mean [`ndcg`] over all orders of these scores: what a ranking that knows nothing gets.
pub fn expected_ndcg(scores: &[f64]) -> f64 {
    let (gains, best) = gains(scores);
    if best > 0.0 { discounted(&vec![mean(&gains); gains.len()]) / best } else { 1.0 }
}

/// Gains in the order of `scores`, and the discounted sum of the best order.
fn gains(scores: &[f64]) -> (Vec<f64>, f64) {
    let worst = scores.iter().copied().fold(f64::INFINITY, f64::min);
    let gains: Vec<f64> = scores.iter().map(|score| score - worst).collect();
    let mut ideal = gains.clone();
    ideal.sort_by(|a, b| b.total_cmp(a));
    (gains, discounted(&ideal))
}

fn discounted(gains: &[f64]) -> f64 {
    gains.iter().zip(2u32..).map(|(gain, rank)| gain / libm::log2(f64::from(rank))).sum()
}

/// The expected score of the best of `k` sources that are drawn at random, none twice, and of which the one with the highest
/// `chosen_by` is taken; of equal ones a random one. With `chosen_by` the scores themselves it is the expected maximum.
///
/// # Panics
/// If the slices differ in length, or `k` is not in 1..=length.
pub fn expected_best_of(k: usize, chosen_by: &[f64], scores: &[f64]) -> f64 {
    let n = scores.len();
    assert!(
        chosen_by.len() == n && (1..=n).contains(&k),
        "{k} of {n} sources, {} values to choose by",
        chosen_by.len()
    );
    let mut order: Vec<usize> = (0..n).collect();
    order.sort_by(|a, b| chosen_by[*a].total_cmp(&chosen_by[*b]));
    // The share of the choices in which all k are among the first i of the order: C(i, k) / C(n, k).
    let within = |i: usize| (0..k).map(|j| i.saturating_sub(j) as f64 / (n - j) as f64).product::<f64>();
    let mut below = 0;
    let mut expected = 0.0;
    for tied in order.chunk_by(|a, b| chosen_by[*a] == chosen_by[*b]) {
        let weight = within(below + tied.len()) - within(below);
        expected += weight * mean(&tied.iter().map(|i| scores[*i]).collect::<Vec<_>>());
        below += tied.len();
    }
    expected
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ml::statistics::tests::{inference, near};

    /// Made by `tests/golden/retrieval.py`.
    fn retrieval() -> serde_json::Value {
        serde_json::from_str(include_str!("../../../tests/golden/retrieval.json")).unwrap()
    }

    #[test]
    fn gains_of_rankings_agree_with_scikit_learn() {
        let cases = retrieval()["ndcg"].as_array().unwrap().clone();
        assert!(cases.len() >= 20);
        for case in cases {
            let scores: Vec<f64> = serde_json::from_value(case["scores"].clone()).unwrap();
            near(ndcg(&scores), case["ndcg"].as_f64().unwrap(), 1e-12);
        }
        assert_eq!((ndcg(&[70.0, 70.0]), expected_ndcg(&[70.0, 70.0])), (1.0, 1.0));
    }

    #[test]
    fn what_a_random_order_gets_is_the_mean_over_all_orders() {
        let cases = inference()["chance"].as_array().unwrap().clone();
        assert!(cases.len() >= 3);
        for case in cases {
            let values = |name: &str| -> Vec<f64> { serde_json::from_value(case[name].clone()).unwrap() };
            let (scores, chosen_by) = (values("scores"), values("chosen_by"));
            near(expected_ndcg(&scores), case["ndcg"].as_f64().unwrap(), 1e-12);
            for (k, expected) in case["best_of"].as_object().unwrap() {
                near(expected_best_of(k.parse().unwrap(), &chosen_by, &scores), expected.as_f64().unwrap(), 1e-9);
            }
        }
    }

    #[test]
    fn regret_falls_as_more_sources_are_tried() {
        let scores = [60.0, 75.0, 80.0, 25.0];
        let found: Vec<_> = (1..=4).map(|k| Regret::at(&scores, k)).collect();
        let (of_best, of_span): (Vec<_>, Vec<_>) =
            found.iter().map(|regret| (regret.of_best.unwrap(), regret.of_span.unwrap())).unzip();
        assert_eq!(of_best, [25.0, 6.25, 0.0, 0.0]);
        assert_eq!(of_span, [100.0, 25.0, 0.0, 0.0]);
        assert_eq!(Regret::at(&scores, 9).of_best, Some(0.0));
    }

    #[test]
    fn there_is_no_regret_in_percent_of_nothing() {
        assert_eq!(Regret::at(&[0.0, 0.0], 1), Regret { of_best: None, of_span: None });
        // Matthews' correlation may be negative.
        assert_eq!(Regret::at(&[-4.0, -2.0], 1), Regret { of_best: None, of_span: Some(200.0) });
    }
}
