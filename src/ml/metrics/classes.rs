//! Measures of labels. Class ids are those of a task's labels; an id below 0 or beyond them stands for an output that is not a
//! label.

use crate::ml::statistics;
use std::collections::BTreeMap;

/// An output that is none of the labels.
pub const ILLEGAL: i64 = -1;

/// Class ids that were asked for and predicted, example by example.
#[derive(Clone, Copy, Debug)]
pub struct Classes<'c> {
    /// What is right.
    pub targets: &'c [i64],
    /// What was said.
    pub predictions: &'c [i64],
    /// Number of classes.
    pub count: usize,
    /// The group of each example.
    pub groups: &'c [&'c str],
}

/// Share of predictions equal to their target.
pub(super) fn accuracy<T: PartialEq>(targets: &[T], predictions: &[T]) -> f64 {
    percent(targets.iter().zip(predictions).filter(|(t, p)| t == p).count(), targets.len())
}

/// F1 of class 1 of two. An output that is neither class counts as the wrong one.
pub(super) fn binary_f1(targets: &[i64], predictions: &[i64]) -> f64 {
    let settled: Vec<i64> =
        targets.iter().zip(predictions).map(|(t, p)| if matches!(p, 0 | 1) { *p } else { 1 - t }).collect();
    class_f1(targets, &settled, 1)
}

/// Unweighted mean of the F1 of classes 0 to `classes - 1`, 0 for a class that neither occurs nor is predicted.
pub(super) fn macro_f1(targets: &[i64], predictions: &[i64], classes: usize) -> f64 {
    let scores: Vec<f64> = (0..classes).map(|class| class_f1(targets, predictions, class as i64)).collect();
    statistics::mean(&scores)
}

fn class_f1(targets: &[i64], predictions: &[i64], class: i64) -> f64 {
    let both = targets.iter().zip(predictions).filter(|(t, p)| **t == class && **p == class).count();
    let either = targets.iter().chain(predictions).filter(|id| **id == class).count();
    percent(2 * both, either)
}

/// Matthews correlation for any number of classes (Gorodkin 2004), an illegal output being a class of its own.
pub(super) fn matthews(targets: &[i64], predictions: &[i64]) -> f64 {
    let mut counts: BTreeMap<i64, (f64, f64)> = BTreeMap::new();
    for (target, prediction) in targets.iter().zip(predictions) {
        counts.entry(*target).or_default().0 += 1.0;
        counts.entry(*prediction).or_default().1 += 1.0;
    }
    let n = targets.len() as f64;
    let right = targets.iter().zip(predictions).filter(|(t, p)| t == p).count() as f64;
    let chance: f64 = counts.values().map(|(t, p)| t * p).sum();
    let target_spread = n * n - counts.values().map(|(t, _)| t * t).sum::<f64>();
    let prediction_spread = n * n - counts.values().map(|(_, p)| p * p).sum::<f64>();
    let spread = target_spread * prediction_spread;
    if spread == 0.0 { 0.0 } else { 100.0 * (right * n - chance) / spread.sqrt() }
}

/// Mean over groups, in order of their first appearance, of a measure of each group.
pub(super) fn group_mean(
    groups: &[&str],
    targets: &[i64],
    predictions: &[i64],
    measure: impl Fn(&[i64], &[i64]) -> f64,
) -> f64 {
    let mut members: BTreeMap<&str, (Vec<i64>, Vec<i64>)> = BTreeMap::new();
    for ((group, target), prediction) in groups.iter().zip(targets).zip(predictions) {
        let (t, p) = members.entry(group).or_default();
        t.push(*target);
        p.push(*prediction);
    }
    statistics::mean(&members.values().map(|(t, p)| measure(t, p)).collect::<Vec<_>>())
}

/// 100 if all predictions equal their targets, else 0.
pub(super) fn all_match(targets: &[i64], predictions: &[i64]) -> f64 {
    if targets == predictions { 100.0 } else { 0.0 }
}

/// Positions of the first example of every group.
pub fn first_of_groups(groups: &[&str]) -> Vec<usize> {
    let mut seen = std::collections::BTreeSet::new();
    (0..groups.len()).filter(|at| seen.insert(groups[*at])).collect()
}

fn percent(part: usize, whole: usize) -> f64 {
    if whole == 0 { 0.0 } else { 100.0 * part as f64 / whole as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ml::statistics::tests::{golden, near};

    #[test]
    fn vectors_of_the_t5_tests() {
        assert_eq!(binary_f1(&[0, 1, 1, 0], &[0, 1, 2, 2]), 50.0);
        assert_eq!(group_mean(&["a", "a", "b"], &[0, 1, 0], &[0, 0, 1], accuracy), 25.0);
        let first = first_of_groups(&["a", "a", "b"]);
        let pick = |ids: [i64; 3]| first.iter().map(|at| ids[*at]).collect::<Vec<_>>();
        assert_eq!(accuracy(&pick([0, 0, 1]), &pick([0, 0, 0])), 50.0);
    }

    #[test]
    fn nothing_to_score_is_zero() {
        assert_eq!(
            [accuracy::<i64>(&[], &[]), binary_f1(&[], &[]), macro_f1(&[], &[], 3), matthews(&[], &[])],
            [0.0; 4]
        );
        assert_eq!(group_mean(&[], &[], &[], all_match), 0.0);
        assert_eq!(matthews(&[0, 1], &[1, 1]), 0.0);
    }

    #[test]
    fn classes_agree_with_scikit_learn() {
        let cases = golden()["classes"].as_array().unwrap().clone();
        assert!(cases.len() >= 20);
        for case in cases {
            let ids = |name: &str| -> Vec<i64> { serde_json::from_value(case[name].clone()).unwrap() };
            let (targets, predictions) = (ids("targets"), ids("predictions"));
            let classes = case["classes"].as_u64().unwrap() as usize;
            near(accuracy(&targets, &predictions), case["accuracy"].as_f64().unwrap(), 1e-9);
            near(macro_f1(&targets, &predictions, classes), case["macro_f1"].as_f64().unwrap(), 1e-9);
            near(matthews(&targets, &predictions), case["matthews"].as_f64().unwrap(), 1e-9);
            if classes == 2 {
                near(binary_f1(&targets, &predictions), case["binary_f1"].as_f64().unwrap(), 1e-9);
            }
            let groups: Vec<String> = serde_json::from_value(case["groups"].clone()).unwrap();
            let groups: Vec<&str> = groups.iter().map(String::as_str).collect();
            near(
                group_mean(&groups, &targets, &predictions, all_match),
                case["group_exact_match"].as_f64().unwrap(),
                1e-9,
            );
        }
    }
}
