//! Words of texts, and what can be told of a text by its words alone: what a model on top of them has to beat.

use std::collections::{BTreeMap, HashMap};

/// The words of a text as scikit-learn's `CountVectorizer` takes them: in lower case, runs of at least two letters, digits or `_`.
pub(super) fn words(text: &str) -> Vec<String> {
    let lower = text.to_lowercase();
    let runs = lower.split(|c: char| !(c.is_alphanumeric() || c == '_'));
    runs.filter(|run| run.chars().nth(1).is_some()).map(str::to_owned).collect()
}

/// Multinomial naive Bayes on words, with one count added to each (Laplace), as scikit-learn's `MultinomialNB` has it.
pub struct BagOfWords {
    /// Labels in their order, with the logarithm of their share.
    labels: Vec<(String, f64)>,
    /// For each word the logarithm of its probability under each label.
    words: HashMap<String, Vec<f64>>,
}

impl BagOfWords {
    /// Learns from texts and their labels.
    ///
    /// # Panics
    /// If there are none.
    pub fn learn<'t>(examples: impl Iterator<Item = (&'t str, &'t str)> + Clone) -> Self {
        let mut rows: BTreeMap<&str, usize> = BTreeMap::new();
        examples.clone().for_each(|(_, label)| *rows.entry(label).or_default() += 1);
        assert!(!rows.is_empty(), "examples to learn from");
        let places: HashMap<&str, usize> = rows.keys().enumerate().map(|(at, label)| (*label, at)).collect();
        let (mut counts, mut totals): (HashMap<String, Vec<f64>>, Vec<f64>) = (HashMap::new(), vec![0.0; rows.len()]);
        for (text, label) in examples {
            for word in words(text) {
                counts.entry(word).or_insert_with(|| vec![0.0; rows.len()])[places[label]] += 1.0;
                totals[places[label]] += 1.0;
            }
        }
        let (all, vocabulary) = (rows.values().sum::<usize>() as f64, counts.len() as f64);
        let labels = rows.iter().map(|(label, count)| ((*label).to_owned(), (*count as f64 / all).ln())).collect();
        for of_labels in counts.values_mut() {
            of_labels.iter_mut().zip(&totals).for_each(|(count, total)| {
                *count = ((*count + 1.0) / (total + vocabulary)).ln();
            });
        }
        Self { labels, words: counts }
    }

    /// The likeliest label of a text; of equal ones the first. Words that were not learned say nothing.
    pub fn predict(&self, text: &str) -> &str {
        let mut scores: Vec<f64> = self.labels.iter().map(|(_, share)| *share).collect();
        for of_labels in words(text).iter().filter_map(|word| self.words.get(word)) {
            scores.iter_mut().zip(of_labels).for_each(|(score, of_label)| *score += of_label);
        }
        let best = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let at = scores.iter().position(|score| *score == best).unwrap_or(0);
        &self.labels[at].0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(serde::Deserialize)]
    struct Golden {
        train: Vec<(String, String)>,
        asked: Vec<(String, Vec<String>, String)>,
    }

    #[test]
    fn words_and_labels_are_those_of_scikit_learn() {
        let golden: Golden = serde_json::from_str(include_str!("../../../tests/golden/bag_of_words.json")).unwrap();
        let model = BagOfWords::learn(golden.train.iter().map(|(text, label)| (text.as_str(), label.as_str())));
        for (text, expected, label) in &golden.asked {
            let mut found = words(text);
            found.sort();
            assert_eq!(found, *expected, "{text}");
            assert_eq!(model.predict(text), label, "{text}");
        }
    }
}
