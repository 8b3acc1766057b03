//! The card of a data set in memory, as plainly as it can be said: what the one that is counted must be.

use super::card::{Card, Lengths, SplitCard};
use super::dataset::Dataset;
use crate::ml::tasks::{Answer, BagOfWords, Example, LeftOut, Split, Task};
use std::collections::{BTreeMap, HashMap, HashSet};

/// What only whoever made a split knows of it.
#[derive(Clone, Debug, Default)]
pub struct Made {
    /// Rows that were left out.
    pub left_out: Vec<LeftOut>,
    /// Lengths of all inputs before they were cut.
    pub inputs: Lengths,
    /// Lengths of all targets before they were cut.
    pub targets: Lengths,
}

impl Card {
    /// Of a data set, with what is known of how each of its parts was made; `unknown` is the id of what the tokenizer does not know.
    ///
    /// # Panics
    /// If `made` has another number of parts.
    pub fn of(dataset: &Dataset, made: &[Made], unknown: Option<u32>) -> Self {
        assert_eq!(made.len(), dataset.parts.len(), "one for each part");
        let task = &dataset.task;
        let train = dataset.examples(Split::Train);
        let known: Vec<&Example> = train.iter().filter(|example| task.knows(example)).collect();
        let seen: HashSet<&str> = train.iter().map(|example| example.input.as_str()).collect();
        let learned = (task.answer == Answer::Label && !known.is_empty()).then(|| Learned::of(&known));
        let splits = dataset.parts.iter().zip(made).map(|(part, made)| {
            let examples = &part.examples;
            let is_unknown = |id: &u32| Some(*id) == unknown;
            let in_train = examples.iter().filter(|example| seen.contains(example.input.as_str())).count();
            let (majority, bag_of_words) =
                learned.as_ref().map_or((None, None), |learned| learned.accuracies(task, examples));
            SplitCard {
                split: part.split,
                rows: examples.len(),
                left_out: made.left_out.clone(),
                hidden: examples.iter().filter(|example| !task.knows(example)).count(),
                duplicates: examples.len() - distinct(examples, |example| (&example.input, &example.target)),
                contradictions: contradictions(task, examples),
                labels: by_label(task, examples),
                inputs: made.inputs,
                targets: made.targets,
                unknown: part.tokens.iter().filter(|ids| ids.input.iter().any(is_unknown)).count(),
                in_train: if part.split == Split::Train { 0 } else { in_train },
                majority,
                bag_of_words: bag_of_words.filter(|_| part.split != Split::Train),
            }
        });
        Self { task: task.name.clone(), splits: splits.collect() }
    }
}

fn distinct<'e, K: Eq + std::hash::Hash>(examples: &'e [Example], key: impl Fn(&'e Example) -> K) -> usize {
    examples.iter().map(key).collect::<HashSet<K>>().len()
}

/// Inputs with different answers. A question that has several accepted answers is none.
fn contradictions(task: &Task, examples: &[Example]) -> usize {
    if task.answer != Answer::Label {
        return 0;
    }
    let mut answers: HashMap<&str, HashSet<&str>> = HashMap::new();
    for example in examples.iter().filter(|example| task.knows(example)) {
        answers.entry(&example.input).or_default().insert(&example.target);
    }
    answers.values().filter(|answers| answers.len() > 1).count()
}

fn by_label(task: &Task, examples: &[Example]) -> Vec<(String, usize)> {
    if task.answer != Answer::Label || !examples.iter().any(|example| task.knows(example)) {
        return Vec::new();
    }
    let count = |label: &String| examples.iter().filter(|example| example.target == *label).count();
    task.labels.iter().map(|label| (label.clone(), count(label))).collect()
}

/// What predicts labels without a model.
struct Learned {
    majority: String,
    words: BagOfWords,
}

impl Learned {
    /// Of examples with answers, one at least.
    fn of(examples: &[&Example]) -> Self {
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        examples.iter().for_each(|example| *counts.entry(&example.target).or_default() += 1);
        let most = counts.values().copied().max().unwrap_or(0);
        let majority = counts.into_iter().find(|(_, count)| *count == most).map_or("", |(label, _)| label).to_owned();
        let pairs = examples.iter().map(|example| (example.input.as_str(), example.target.as_str()));
        Self { majority, words: BagOfWords::learn(pairs) }
    }

    /// Accuracies in % of the most common answer and of the words, on those of the examples that have answers.
    fn accuracies(&self, task: &Task, examples: &[Example]) -> (Option<f64>, Option<f64>) {
        let known: Vec<&Example> = examples.iter().filter(|example| task.knows(example)).collect();
        if known.is_empty() {
            return (None, None);
        }
        let accuracy = |is_right: &dyn Fn(&Example) -> bool| {
            let right = known.iter().filter(|example| is_right(example)).count();
            Some(100.0 * right as f64 / known.len() as f64)
        };
        let majority = accuracy(&|example| example.target == self.majority);
        (majority, accuracy(&|example| self.words.predict(&example.input) == example.target))
    }
}
