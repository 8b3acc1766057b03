//! Words of texts, and what can be told of a text by its words alone: what a model on top of them has to beat.

#[cfg(test)]
use std::collections::BTreeMap;
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

/// The words of a text in lower case as scikit-learn's `CountVectorizer` takes them: runs of at least two letters, digits or `_`.
fn words(lower: &str) -> impl Iterator<Item = &str> {
    let runs = lower.split(|c: char| !(c.is_alphanumeric() || c == '_'));
    runs.filter(|run| run.chars().nth(1).is_some())
}

/// Multinomial naive Bayes on words of texts in memory: what [`WordCounts`] must be.
#[cfg(test)]
pub struct BagOfWords {
    /// Labels in their order, with the logarithm of their share.
    labels: Vec<(String, f64)>,
    /// For each word the logarithm of its probability under each label.
    words: HashMap<String, Vec<f64>>,
}

#[cfg(test)]
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
            for word in words(&text.to_lowercase()) {
                counts.entry(word.to_owned()).or_insert_with(|| vec![0.0; rows.len()])[places[label]] += 1.0;
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
        for of_labels in words(&text.to_lowercase()).filter_map(|word| self.words.get(word)) {
            scores.iter_mut().zip(of_labels).for_each(|(score, of_label)| *score += of_label);
        }
        let best = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let at = scores.iter().position(|score| *score == best).unwrap_or(0);
        &self.labels[at].0
    }
}

/// The words of a text, by hashes of 64 bits.
pub struct Words(Vec<u64>);

impl Words {
    /// Of a text, each as often as it is there.
    pub fn of(text: &str) -> Self {
        let hash = |word: &str| {
            let mut hasher = DefaultHasher::new();
            word.hash(&mut hasher);
            hasher.finish()
        };
        Self(words(&text.to_lowercase()).map(hash).collect())
    }

    /// The hashes.
    pub fn hashes(&self) -> &[u64] {
        &self.0
    }
}

/// Multinomial naive Bayes on words, with one count added to each (Laplace), as scikit-learn's `MultinomialNB` has it. Texts may be more
/// than fit into memory: what is counted is only the words that will be asked about.
/// Words are told apart by hashes of 64 bits: of ten million different ones two are taken for one with a probability of 3 in a million.
pub struct WordCounts {
    labels: Vec<String>,
    /// Texts and words of each label.
    rows: Vec<u64>,
    totals: Vec<u64>,
    /// Places of the words that are asked about.
    places: HashMap<u64, u32>,
    /// How often each of them is there under each label.
    counts: Vec<u32>,
    vocabulary: u64,
}

impl WordCounts {
    /// Nothing learned, of answers among these labels.
    pub fn new(labels: Vec<String>) -> Self {
        let none = || vec![0; labels.len()];
        let (rows, totals) = (none(), none());
        Self { labels, rows, totals, places: HashMap::new(), counts: Vec::new(), vocabulary: 0 }
    }

    /// Will be asked about a text with these words; to be said before anything is learned.
    ///
    /// # Panics
    /// If these are more than 2<sup>32</sup> different words.
    pub fn will_ask(&mut self, words: &Words) {
        for word in &words.0 {
            let next = u32::try_from(self.places.len()).expect("fewer than 2^32 words");
            self.places.entry(*word).or_insert(next);
        }
        self.counts.resize(self.places.len() * self.labels.len(), 0);
    }

    /// Learns the words of a text with this label.
    pub fn learn(&mut self, words: &Words, label: &str) {
        let Some(label) = self.labels.iter().position(|known| known == label) else { return };
        self.rows[label] += 1;
        self.totals[label] += words.0.len() as u64;
        for place in words.0.iter().filter_map(|word| self.places.get(word)) {
            let count = &mut self.counts[*place as usize * self.labels.len() + label];
            *count = count.saturating_add(1);
        }
    }

    /// Says how many different words were learned.
    pub fn know(&mut self, vocabulary: u64) {
        self.vocabulary = vocabulary;
    }

    /// The likeliest label of a text that was announced; of equal ones the first by name. `None` if nothing was learned.
    pub fn predict(&self, words: &Words) -> Option<&str> {
        let mut known: Vec<usize> = (0..self.labels.len()).filter(|label| self.rows[*label] > 0).collect();
        known.sort_by_key(|label| &self.labels[*label]);
        let (all, vocabulary) = (self.rows.iter().sum::<u64>() as f64, self.vocabulary as f64);
        let mut scores: Vec<f64> = known.iter().map(|label| (self.rows[*label] as f64 / all).ln()).collect();
        for place in words.0.iter().filter_map(|word| self.places.get(word)) {
            let counts = &self.counts[*place as usize * self.labels.len()..][..self.labels.len()];
            if counts.iter().all(|count| *count == 0) {
                continue;
            }
            for (score, label) in scores.iter_mut().zip(&known) {
                let total = self.totals[*label] as f64;
                *score += ((f64::from(counts[*label]) + 1.0) / (total + vocabulary)).ln();
            }
        }
        let best = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let at = scores.iter().position(|score| *score == best)?;
        Some(&self.labels[known[at]])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

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
            let lower = text.to_lowercase();
            let mut found: Vec<&str> = words(&lower).collect();
            found.sort();
            assert_eq!(found, *expected, "{text}");
            assert_eq!(model.predict(text), label, "{text}");
        }
    }

    #[test]
    fn counts_of_the_words_that_are_asked_about_predict_alike() {
        let golden: Golden = serde_json::from_str(include_str!("../../../tests/golden/bag_of_words.json")).unwrap();
        let labels: HashSet<String> = golden.train.iter().map(|(_, label)| label.clone()).collect();
        let mut counts = WordCounts::new(labels.into_iter().chain(["never".to_owned()]).collect());
        golden.asked.iter().for_each(|(text, ..)| counts.will_ask(&Words::of(text)));
        let mut all = HashSet::new();
        for (text, label) in &golden.train {
            counts.learn(&Words::of(text), label);
            all.extend(Words::of(text).hashes().to_vec());
        }
        counts.know(all.len() as u64);
        for (text, _, label) in &golden.asked {
            assert_eq!(counts.predict(&Words::of(text)), Some(label.as_str()), "{text}");
        }
        assert_eq!(WordCounts::new(vec!["a".to_owned()]).predict(&Words::of("some words")), None);
    }
}
