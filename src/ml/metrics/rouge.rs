//! ROUGE (Lin 2004): how many words, pairs of words or common subsequences a text shares with a reference.
//!
//! The measures are F-measures of the Python package `rouge-score` without its stemmer, with the sentences that T5 makes of
//! a text. T5 reports the middle of a bootstrap over examples; here the mean over examples is reported, which that middle
//! estimates. Of several accepted answers the best counts, for each measure by itself; T5 knows one reference only.

use std::collections::BTreeMap;

/// ROUGE-1: shared words.
pub(super) fn rouge1(target: &str, prediction: &str) -> f64 {
    shared(&words(target), &words(prediction), 1)
}

/// ROUGE-2: shared pairs of neighbouring words.
pub(super) fn rouge2(target: &str, prediction: &str) -> f64 {
    shared(&words(target), &words(prediction), 2)
}

/// ROUGE-Lsum: of each sentence of the target, the words in a longest common subsequence with any sentence of the
/// prediction; a word counts as often as both texts have it.
pub(super) fn rouge_lsum(target: &str, prediction: &str) -> f64 {
    let (target, prediction) = (sentences(target), sentences(prediction));
    let mut left = [counts(target.iter().flatten()), counts(prediction.iter().flatten())];
    let mut hits = 0;
    for sentence in &target {
        let mut common = vec![false; sentence.len()];
        for other in &prediction {
            mark_common(sentence, other, &mut common);
        }
        for (word, _) in sentence.iter().zip(&common).filter(|(_, common)| **common) {
            if left.iter().all(|counts| counts.get(word).is_some_and(|left| *left > 0)) {
                left.iter_mut().for_each(|counts| *counts.get_mut(word).expect("just seen") -= 1);
                hits += 1;
            }
        }
    }
    let length = |sentences: &[Vec<String>]| sentences.iter().map(Vec::len).sum();
    f_measure(hits, length(&target), length(&prediction))
}

/// Runs of ASCII letters and digits in lower case.
fn words(text: &str) -> Vec<String> {
    let lower = text.to_lowercase();
    let words = lower.split(|c: char| !(c.is_ascii_lowercase() || c.is_ascii_digit()));
    words.filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

/// The words of every line; a full stop between spaces ends a line too.
fn sentences(text: &str) -> Vec<Vec<String>> {
    text.replace(" . ", " .\n").split('\n').map(words).collect()
}

fn counts<T: Ord>(items: impl Iterator<Item = T>) -> BTreeMap<T, usize> {
    let mut counts = BTreeMap::new();
    items.for_each(|item| *counts.entry(item).or_default() += 1);
    counts
}

fn shared(target: &[String], prediction: &[String], n: usize) -> f64 {
    let (target, prediction) = (counts(target.windows(n)), counts(prediction.windows(n)));
    let both = target.iter().map(|(run, count)| *count.min(prediction.get(run).unwrap_or(&0))).sum();
    f_measure(both, target.values().sum(), prediction.values().sum())
}

fn f_measure(both: usize, target: usize, prediction: usize) -> f64 {
    if both == 0 {
        return 0.0;
    }
    let (recall, precision) = (both as f64 / target as f64, both as f64 / prediction as f64);
    2.0 * precision * recall / (precision + recall)
}

/// Marks the words of a longest common subsequence, of several the one that the package finds.
fn mark_common(sentence: &[String], other: &[String], common: &mut [bool]) {
    let width = other.len();
    // Of the table of lengths only the last row is kept, and for each cell whether the way back leads to the left.
    let mut lengths = vec![0_u32; width + 1];
    let mut left = vec![false; sentence.len() * width];
    for (i, word) in sentence.iter().enumerate() {
        let mut diagonal = 0;
        for (j, candidate) in other.iter().enumerate() {
            let above = lengths[j + 1];
            left[i * width + j] = lengths[j] > above;
            lengths[j + 1] = if word == candidate { diagonal + 1 } else { above.max(lengths[j]) };
            diagonal = above;
        }
    }
    let (mut i, mut j) = (sentence.len(), width);
    while i > 0 && j > 0 {
        if sentence[i - 1] == other[j - 1] {
            common[i - 1] = true;
            (i, j) = (i - 1, j - 1);
        } else if left[(i - 1) * width + j - 1] {
            j -= 1;
        } else {
            i -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ml::metrics::Texts;
    use crate::ml::statistics::tests::{golden, near};

    type Measure = fn(&str, &str) -> f64;

    #[test]
    fn texts_agree_with_the_package_that_t5_calls() {
        let cases = golden()["rouge"].as_array().unwrap().clone();
        assert!(cases.len() >= 150);
        for case in cases {
            let text = |name: &str| case[name].as_str().unwrap();
            let measures: [(&str, Measure); 3] = [("rouge1", rouge1), ("rouge2", rouge2), ("rouge_lsum", rouge_lsum)];
            for (name, measure) in measures {
                near(100.0 * measure(text("target"), text("prediction")), case[name].as_f64().unwrap(), 1e-9);
            }
        }
    }

    #[test]
    fn the_best_answer_counts_and_examples_are_averaged() {
        let [two, one] = [["no", "the cat sat"].map(str::to_owned), ["a b"; 2].map(str::to_owned)];
        let of = |answers: &[&[String]], predictions: &[&str], measure: Measure| {
            Texts { targets: &[], answers, sources: &[], predictions }.best(measure)
        };
        near(of(&[&two, &one[..1]], &["the cat sat", "a"], rouge1), (100.0 + 200.0 / 3.0) / 2.0, 1e-12);
        near(of(&[&[]], &["x"], rouge2), 0.0, 0.0);
        near(of(&[], &[], rouge2), 0.0, 0.0);
    }
}
