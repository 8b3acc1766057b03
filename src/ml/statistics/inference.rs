//! Intervals and tests whose error rates hold for the few targets of a transfer study; `benches/coverage.rs` shows them.

use super::correlation::incomplete_beta;
use super::{mean, standard_deviation};
use crate::ml::random::Stream;

/// The 95 % interval of the mean of what a method gained on each target (Student 1908): targets are the sample, so it is about
/// other targets like these. `None` of fewer than two values.
pub fn t_interval(values: &[f64]) -> Option<[f64; 2]> {
    let deviation = standard_deviation(values)?;
    let n = values.len() as f64;
    let reach = t_quantile(n - 1.0) * deviation / n.sqrt();
    Some([mean(values) - reach, mean(values) + reach])
}

/// The value that Student's t with this many degrees of freedom stays within, in absolute value, with probability 0.95.
fn t_quantile(freedom: f64) -> f64 {
    let beyond = |t: f64| incomplete_beta(freedom / 2.0, 0.5, freedom / (freedom + t * t));
    // 12.7 for one degree of freedom, 1.96 for infinitely many.
    let (mut low, mut high) = (1.0, 13.0);
    // Halved until the bounds are neighbours.
    for _ in 0..64 {
        let middle = 0.5 * (low + high);
        *(if beyond(middle) > 0.05 { &mut low } else { &mut high }) = middle;
    }
    0.5 * (low + high)
}

/// Values up to which every assignment of signs is visited.
const EVERY_SIGN: usize = 16;

/// Arrangements that are drawn where there are too many to visit.
const DRAWN: usize = 10_000;

/// The probability of a mean as far from 0 if each difference were as likely of the other sign (Fisher 1935): two-sided, exact
/// up to 16 values, and so never below 2 / 2ⁿ. `None` of no values.
pub fn sign_flip_p(differences: &[f64]) -> Option<f64> {
    let n = differences.len();
    if n == 0 {
        return None;
    }
    let sum = |positive: &dyn Fn(usize) -> bool| -> f64 {
        differences.iter().enumerate().map(|(i, d)| if positive(i) { *d } else { -d }).sum()
    };
    let mut tail = Tail::of(sum(&|_| true));
    if n <= EVERY_SIGN {
        (0..1u32 << n).for_each(|signs| tail.count(sum(&|i| signs >> i & 1 == 0)));
        return Some(tail.share());
    }
    let mut stream = Stream::new(0, "signs");
    tail.count_observed();
    for _ in 0..DRAWN {
        let signs: Vec<bool> = (0..n).map(|_| stream.chance(0.5)).collect();
        tail.count(sum(&|i| signs[i]));
    }
    Some(tail.share())
}

/// Groups up to which every order is visited: 5,040 of them.
const EVERY_ORDER: usize = 7;

/// The probability of a `statistic` as far from 0 if any order of `n` exchangeable things were as likely as the given one:
/// two-sided. The statistic is asked for the given order, 0 to n - 1, first. Every order is visited for up to 7 things; of more,
/// 10,000 are drawn.
pub fn order_p(n: usize, mut statistic: impl FnMut(&[usize]) -> f64) -> f64 {
    let mut order: Vec<usize> = (0..n).collect();
    let mut tail = Tail::of(statistic(&order));
    if n <= EVERY_ORDER {
        each_order(&mut order, 0, &mut |order| tail.count(statistic(order)));
        return tail.share();
    }
    let mut stream = Stream::new(0, "orders");
    tail.count_observed();
    for _ in 0..DRAWN {
        stream.shuffle(&mut order);
        tail.count(statistic(&order));
    }
    tail.share()
}

/// Visits every order of what stands from `at` on.
fn each_order(order: &mut [usize], at: usize, visit: &mut impl FnMut(&[usize])) {
    if at == order.len() {
        return visit(order);
    }
    for other in at..order.len() {
        order.swap(at, other);
        each_order(order, at + 1, visit);
        order.swap(at, other);
    }
}

/// How many of the values seen are as far from 0 as the observed one.
struct Tail {
    observed: f64,
    seen: u32,
    beyond: u32,
}

impl Tail {
    fn of(observed: f64) -> Self {
        Self { observed: observed.abs(), seen: 0, beyond: 0 }
    }

    fn count(&mut self, value: f64) {
        self.seen += 1;
        // The same sum in another order may differ in its last bits.
        let equal = 1e-12 * self.observed.max(1.0);
        self.beyond += u32::from(value.abs() >= self.observed - equal);
    }

    /// Of drawn arrangements the given one is one, so that no p is 0 (Phipson and Smyth 2010).
    fn count_observed(&mut self) {
        self.count(self.observed);
    }

    fn share(&self) -> f64 {
        f64::from(self.beyond) / f64::from(self.seen)
    }
}

/// Probabilities of several tests, raised so that among all of them 5 % still is 5 % (Holm 1979).
pub fn holm(p: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..p.len()).collect();
    order.sort_by(|a, b| p[*a].total_cmp(&p[*b]));
    let mut adjusted = vec![0.0; p.len()];
    let mut highest = 0.0_f64;
    for (rank, test) in order.into_iter().enumerate() {
        highest = highest.max(p[test] * (p.len() - rank) as f64).min(1.0);
        adjusted[test] = highest;
    }
    adjusted
}

/// The share of the differences between rows that would come again with other runs, 0 to 1: the reliability of the mean over
/// runs, where every row has every run (two-way, consistency: ICC(3,k) of Shrout and Fleiss 1979, Cronbach's alpha). Its root
/// bounds what anything can correlate with the rows (Spearman 1904). `None` of fewer than two rows or runs.
///
/// # Panics
/// If rows differ in length.
pub fn reliability_of_runs(rows: &[Vec<f64>]) -> Option<f64> {
    let (n, runs) = (rows.len(), rows.first()?.len());
    assert!(rows.iter().all(|row| row.len() == runs), "every row has every run");
    if n < 2 || runs < 2 {
        return None;
    }
    let row_means: Vec<f64> = rows.iter().map(|row| mean(row)).collect();
    let run_means: Vec<f64> = (0..runs).map(|run| mean(&rows.iter().map(|row| row[run]).collect::<Vec<_>>())).collect();
    let center = mean(&row_means);
    let between = row_means.iter().map(|row| (row - center).powi(2)).sum::<f64>() * runs as f64 / (n - 1) as f64;
    let residual = |(row, scores): (&f64, &Vec<f64>)| -> f64 {
        scores.iter().zip(&run_means).map(|(score, run)| (score - row - run + center).powi(2)).sum()
    };
    let error = row_means.iter().zip(rows).map(residual).sum::<f64>() / ((n - 1) * (runs - 1)) as f64;
    Some(share_of(between, error))
}

/// The same from means over `runs` runs and the standard deviations of these runs, where no more is known: what is common to all
/// rows of a run counts as error too. `None` of fewer than two rows.
///
/// # Panics
/// If the slices differ in length, or `runs` is 0.
pub fn reliability_of_means(means: &[f64], deviations: &[f64], runs: usize) -> Option<f64> {
    assert!(means.len() == deviations.len() && runs > 0, "a deviation for each mean, over some runs");
    let between = standard_deviation(means)?.powi(2);
    let error = mean(&deviations.iter().map(|deviation| deviation.powi(2)).collect::<Vec<_>>()) / runs as f64;
    Some(share_of(between, error))
}

/// What of a variance is not error.
fn share_of(variance: f64, error: f64) -> f64 {
    if variance > error { 1.0 - error / variance } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ml::statistics::correlation::pearson;
    use crate::ml::statistics::tests::{inference, near};

    fn cases(name: &str) -> Vec<serde_json::Value> {
        let cases = inference()[name].as_array().unwrap().clone();
        assert!(cases.len() >= 3);
        cases
    }

    fn values(case: &serde_json::Value, name: &str) -> Vec<f64> {
        serde_json::from_value(case[name].clone()).unwrap()
    }

    #[test]
    fn intervals_agree_with_scipy() {
        for case in cases("t_intervals") {
            let found = t_interval(&values(&case, "values")).unwrap();
            let expected = values(&case, "interval");
            near(found[0], expected[0], 1e-9);
            near(found[1], expected[1], 1e-9);
        }
        assert_eq!(t_interval(&[3.0]), None);
        assert_eq!(t_interval(&[3.0, 3.0]), Some([3.0, 3.0]));
    }

    #[test]
    fn sign_flips_agree_with_scipy() {
        for case in cases("sign_flips") {
            near(sign_flip_p(&values(&case, "values")).unwrap(), case["p"].as_f64().unwrap(), 1e-12);
        }
        assert_eq!((sign_flip_p(&[]), sign_flip_p(&[0.0, 0.0])), (None, Some(1.0)));
        assert_eq!(sign_flip_p(&[1.0; 5]), Some(2.0 / 32.0), "five targets cannot say more");
        // Drawn, not visited.
        let p = sign_flip_p(&[1.0; 20]).unwrap();
        assert!(p > 0.0 && p < 0.001, "{p}");
    }

    #[test]
    fn permuted_correlations_agree_with_scipy() {
        for case in cases("correlation_permutations") {
            let (x, y) = (values(&case, "x"), values(&case, "y"));
            let size = x.len() / (values(&case, "groups").last().unwrap() + 1.0) as usize;
            let found = order_p(x.len() / size, |order| {
                let moved: Vec<f64> = order.iter().flat_map(|group| &x[group * size..][..size]).copied().collect();
                pearson(&moved, &y)
            });
            near(found, case["p"].as_f64().unwrap(), 1e-12);
        }
    }

    #[test]
    fn holm_agrees_with_statsmodels() {
        for case in cases("holm") {
            let expected = values(&case, "adjusted");
            holm(&values(&case, "p")).iter().zip(expected).for_each(|(found, expected)| near(*found, expected, 1e-12));
        }
    }

    #[test]
    fn reliability_agrees_with_pingouin() {
        for case in cases("reliability") {
            let scores: Vec<Vec<f64>> = serde_json::from_value(case["scores"].clone()).unwrap();
            near(reliability_of_runs(&scores).unwrap(), case["reliability"].as_f64().unwrap(), 1e-9);
        }
        assert_eq!(reliability_of_runs(&[vec![1.0, 2.0]]), None);
        assert_eq!(reliability_of_runs(&[vec![1.0, 2.0], vec![1.0, 2.0]]), Some(0.0), "rows that never differ");
    }

    #[test]
    fn deviations_bound_what_is_reliable() {
        // Means with variance 4, and an error of their means of 3 / 3.
        near(reliability_of_means(&[1.0, 3.0, 5.0], &[3f64.sqrt(); 3], 3).unwrap(), 0.75, 1e-12);
        assert_eq!(reliability_of_means(&[1.0, 1.1], &[5.0, 5.0], 3), Some(0.0));
    }
}
