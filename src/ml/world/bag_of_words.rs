//! The yardstick of the task tests: what a linear classifier that sees words without their order can learn.

use crate::ml::random::Stream;
use crate::ml::tasks::Example;
use std::collections::{BTreeMap, BTreeSet};

/// What the classifier sees of a word.
#[derive(Clone, Copy, Debug)]
pub(super) enum Feature {
    /// How often it occurs.
    Count,
    /// Whether it occurs.
    Presence,
    /// How often it occurs in which field, so that a text which betrays the answer on its own is found out.
    InField,
}

/// Test accuracy of a multinomial logistic regression over words.
pub(super) fn accuracy(train: &[Example], test: &[Example], classes: usize, feature: Feature) -> f64 {
    let words: BTreeSet<String> = train.iter().flat_map(|example| observe(&example.input, feature)).collect();
    let index: BTreeMap<String, usize> = words.into_iter().enumerate().map(|(i, word)| (word, i)).collect();
    let bag = |example: &Example| -> Vec<usize> {
        observe(&example.input, feature).iter().filter_map(|word| index.get(word).copied()).collect()
    };
    let label = |example: &Example| example.label.expect("a labelled example") as usize;
    let mut weights = vec![vec![0.0; classes]; index.len() + 1];
    let mut stream = Stream::new(0, "bag of words");
    let mut order: Vec<(Vec<usize>, usize)> = train.iter().map(|example| (bag(example), label(example))).collect();
    for epoch in 0..30 {
        stream.shuffle(&mut order);
        let rate = 0.2 / (1.0 + f64::from(epoch));
        for (bag, label) in &order {
            let probabilities = softmax(&scores(&weights, bag));
            for class in 0..classes {
                let step = rate * (f64::from(u8::from(class == *label)) - probabilities[class]);
                bag.iter().for_each(|word| weights[*word][class] += step);
                weights[index.len()][class] += step;
            }
        }
    }
    let right = test.iter().filter(|example| {
        let scores = scores(&weights, &bag(example));
        (0..classes).max_by(|a, b| scores[*a].total_cmp(&scores[*b])) == Some(label(example))
    });
    right.count() as f64 / test.len() as f64
}

/// The words of a text as the classifier sees them.
fn observe(text: &str, feature: Feature) -> Vec<String> {
    let mut field = "";
    let mut words: Vec<String> = Vec::new();
    for word in text.split(' ') {
        if word.ends_with(':') {
            field = word;
        }
        words.push(if matches!(feature, Feature::InField) { format!("{field}{word}") } else { word.to_owned() });
    }
    if matches!(feature, Feature::Presence) {
        words.sort_unstable();
        words.dedup();
    }
    words
}

fn scores(weights: &[Vec<f64>], bag: &[usize]) -> Vec<f64> {
    let bias = &weights[weights.len() - 1];
    (0..bias.len()).map(|class| bias[class] + bag.iter().map(|word| weights[*word][class]).sum::<f64>()).collect()
}

fn softmax(scores: &[f64]) -> Vec<f64> {
    let top = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let exponentials: Vec<f64> = scores.iter().map(|score| (score - top).exp()).collect();
    let sum: f64 = exponentials.iter().sum();
    exponentials.iter().map(|e| e / sum).collect()
}
