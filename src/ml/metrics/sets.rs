//! Measures of answers that are sets of labels, with commas between their words: those of scikit-learn for multi-label classes, where
//! nothing said of nothing asked for is right (`zero_division=1`).

use super::answers::Texts;
use crate::ml::statistics;
use std::collections::BTreeSet;

/// What stands between the words of an answer.
pub(crate) const BETWEEN_LABELS: &str = ", ";
/// The answer where there are no labels.
pub(crate) const NO_LABEL: &str = "none";

/// The labels of an answer. What is no label counts as one that nobody asked for.
fn set(text: &str) -> BTreeSet<&str> {
    let words = text.split(BETWEEN_LABELS.trim()).map(str::trim);
    words.filter(|word| !word.is_empty() && *word != NO_LABEL).collect()
}

/// 1 if both answers have the same labels.
pub(super) fn same(answer: &str, prediction: &str) -> f64 {
    f64::from(set(answer) == set(prediction))
}

/// F1 of the labels of one answer.
pub(super) fn f1(answer: &str, prediction: &str) -> f64 {
    let (answer, prediction) = (set(answer), set(prediction));
    of_counts(answer.intersection(&prediction).count(), answer.len() + prediction.len())
}

/// F1 of the labels of all answers together, in percent.
pub(super) fn micro_f1(texts: &Texts<'_>) -> f64 {
    let (mut both, mut all) = (0, 0);
    for (target, prediction) in texts.targets.iter().zip(texts.predictions) {
        let (target, prediction) = (set(target), set(prediction));
        both += target.intersection(&prediction).count();
        all += target.len() + prediction.len();
    }
    100.0 * of_counts(both, all)
}

/// F1 of every label that is asked for or said, their mean in percent.
pub(super) fn macro_f1(texts: &Texts<'_>) -> f64 {
    let sets =
        |texts: &[&'_ str]| texts.iter().map(|text| set(text).into_iter().map(str::to_owned).collect()).collect();
    let (targets, predictions): (Vec<BTreeSet<String>>, Vec<BTreeSet<String>>) =
        (sets(texts.targets), sets(texts.predictions));
    let labels: BTreeSet<&String> = targets.iter().chain(&predictions).flatten().collect();
    let of_label = |label: &&String| {
        let has = |set: &BTreeSet<String>| usize::from(set.contains(*label));
        let pairs = || targets.iter().zip(&predictions).map(|(target, prediction)| (has(target), has(prediction)));
        of_counts(pairs().map(|(target, said)| target * said).sum(), pairs().map(|(target, said)| target + said).sum())
    };
    let values: Vec<f64> = labels.iter().map(of_label).collect();
    if values.is_empty() { 100.0 } else { 100.0 * statistics::mean(&values) }
}

/// F1 of how many labels are in both of two sets, and how many are in either, those in both twice.
fn of_counts(both: usize, all: usize) -> f64 {
    if all == 0 { 1.0 } else { 2.0 * both as f64 / all as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ml::statistics::tests::near;

    /// By scikit-learn (`tests/golden/sets.py`).
    #[test]
    fn measures_are_those_of_scikit_learn() {
        let cases: serde_json::Value = serde_json::from_str(include_str!("../../../tests/golden/sets.json")).unwrap();
        let cases = cases["cases"].as_array().unwrap();
        assert!(cases.len() > 20);
        for case in cases {
            let texts = |name: &str| -> Vec<String> { serde_json::from_value(case[name].clone()).unwrap() };
            let (targets, predictions) = (texts("targets"), texts("predictions"));
            let answers: Vec<&[String]> = targets.iter().map(std::slice::from_ref).collect();
            let [targets, predictions] =
                [&targets, &predictions].map(|texts| texts.iter().map(String::as_str).collect::<Vec<_>>());
            let sources = vec![""; targets.len()];
            let of = Texts { targets: &targets, answers: &answers, sources: &sources, predictions: &predictions };
            let said = |name: &str| case[name].as_f64().unwrap();
            near(of.best(same), said("subset_accuracy"), 1e-9);
            near(of.best(f1), said("samples_f1"), 1e-9);
            near(micro_f1(&of), said("micro_f1"), 1e-9);
            near(macro_f1(&of), said("macro_f1"), 1e-9);
        }
    }

    #[test]
    fn order_space_and_unknown_words() {
        assert_eq!(same("joy, fear", "fear,joy"), 1.0);
        assert_eq!((same("none", ""), f1("none", "joy"), f1("none", "none")), (1.0, 0.0, 1.0));
        assert_eq!(f1("joy, fear", "joy, fun"), 0.5);
    }
}
