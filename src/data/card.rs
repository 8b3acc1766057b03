//! The card of a data set: what was read, what was left out and cut, and what a score on it has to beat.

use crate::ml::tasks::{LeftOut, Split};
use serde::{Deserialize, Serialize};

/// What is to be known of a data set before anything is learned from it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Card {
    /// Name of the task.
    pub task: String,
    /// Its splits, in the order of the data set.
    pub splits: Vec<SplitCard>,
}

/// The card of a split.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SplitCard {
    /// Which split.
    pub split: Split,
    /// Examples.
    pub rows: usize,
    /// Rows of the file that are not among them, by the reason.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<LeftOut>,
    /// Examples without an answer.
    pub hidden: usize,
    /// Examples that say what an earlier one says, input and answer.
    pub duplicates: usize,
    /// Inputs that are there with different answers.
    pub contradictions: usize,
    /// Examples by label, in the order of the task's labels; empty if answers are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<(String, usize)>,
    /// Ids of inputs.
    pub inputs: Lengths,
    /// Ids of targets.
    pub targets: Lengths,
    /// Inputs in which the tokenizer knows no piece for something.
    pub unknown: usize,
    /// Examples whose input is in the training split too; of the training split none.
    pub in_train: usize,
    /// Accuracy in % of the most common answer of the training split, where answers are labels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub majority: Option<f64>,
    /// Accuracy in % of naive Bayes on the words of the inputs, learned from the training split, where answers are labels; not on
    /// the training split itself, which it has seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bag_of_words: Option<f64>,
}

/// Lengths in ids, eos included, as they were before anything was cut.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lengths {
    /// Half are at most so long.
    pub median: usize,
    /// 90 % are.
    pub p90: usize,
    /// 99 % are.
    pub p99: usize,
    /// All are.
    pub longest: usize,
    /// So many were longer than they may be, and lost their ends.
    pub cut: usize,
}

impl Lengths {
    /// Of these lengths, of which those above `most` are cut. A percentile is the nearest rank (the smallest length that so many have
    /// at most).
    pub fn of(lengths: impl Iterator<Item = usize>, most: usize) -> Self {
        let mut lengths: Vec<usize> = lengths.collect();
        lengths.sort_unstable();
        let rank = |percent: usize| (lengths.len() * percent).div_ceil(100).max(1) - 1;
        let at = |percent: usize| lengths.get(rank(percent)).copied().unwrap_or(0);
        let cut = lengths.len() - lengths.partition_point(|length| *length <= most);
        Self { median: at(50), p90: at(90), p99: at(99), longest: at(100), cut }
    }
}

impl Card {
    /// The card as a table for people: a line for every fact, a column for every split. What is nowhere is left out.
    pub fn lines(&self) -> Vec<Vec<String>> {
        let head = self.splits.iter().map(|card| card.split.name().to_owned());
        let mut lines = vec![[String::new()].into_iter().chain(head).collect()];
        let mut line = |name: &str, of: &dyn Fn(&SplitCard) -> String| {
            let cells: Vec<String> = self.splits.iter().map(of).collect();
            if cells.iter().any(|cell| !matches!(cell.as_str(), "" | "0")) {
                lines.push([name.to_owned()].into_iter().chain(cells).collect());
            }
        };
        let percent = |share: Option<f64>| share.map_or_else(String::new, |share| format!("{share:.1} %"));
        let lengths = |of: Lengths| format!("{} / {} / {} / {}", of.median, of.p90, of.p99, of.longest);
        line("rows", &|card| card.rows.to_string());
        line("left out", &|card| card.left_out().to_string());
        line("without an answer", &|card| card.hidden.to_string());
        line("duplicates", &|card| card.duplicates.to_string());
        line("contradictions", &|card| card.contradictions.to_string());
        line("inputs in train", &|card| card.in_train.to_string());
        line("inputs cut", &|card| card.inputs.cut.to_string());
        line("targets cut", &|card| card.targets.cut.to_string());
        line("inputs with unknown characters", &|card| card.unknown.to_string());
        line("ids of inputs, 50 / 90 / 99 / 100 %", &|card| lengths(card.inputs));
        line("ids of targets", &|card| lengths(card.targets));
        line("most common label", &|card| percent(card.majority));
        line("bag of words", &|card| percent(card.bag_of_words));
        let labels = self.splits.iter().map(|card| card.labels.len()).max().unwrap_or(0);
        for at in 0..labels {
            let name = self.splits.iter().find_map(|card| card.labels.get(at)).map_or("", |(label, _)| label);
            line(&format!("label `{name}`"), &|card| {
                card.labels.get(at).map_or_else(String::new, |(_, n)| n.to_string())
            });
        }
        lines
    }

    /// The card as JSON.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = serde_json::to_vec_pretty(self).expect("texts and numbers");
        bytes.push(b'\n');
        bytes
    }

    /// Reads one.
    ///
    /// # Errors
    /// If it is no card.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(bytes)
    }
}

impl SplitCard {
    /// Rows of the file that are not among the examples.
    fn left_out(&self) -> usize {
        self.left_out.iter().map(|left| left.rows).sum()
    }

    /// What is wrong with the split, by what it means for results; with `most` ids of an input and a target.
    pub fn warnings(&self, (inputs, targets): (usize, usize)) -> Vec<String> {
        let (split, rows) = (self.split.name(), self.rows);
        let is_train = self.split == Split::Train;
        let cut = |what: &str, lengths: Lengths, most: usize, means: [&str; 2]| {
            let (Lengths { longest, cut, .. }, means) = (lengths, means[usize::from(!is_train)]);
            let see = what.trim_end_matches('s');
            let message = || {
                format!(
                    "{cut} of {rows} {what} of the {split} split have more than {most} ids (the longest {longest}) and were cut: {means}; \
                     see `{see}_length`"
                )
            };
            (cut > 0).then(message)
        };
        let of_inputs = ["what was cut is not learned from", "their answers may lie in what was cut"];
        let of_targets = ["unfinished answers are learned", "the loss on them is of unfinished answers"];
        let cuts = [cut("inputs", self.inputs, inputs, of_inputs), cut("targets", self.targets, targets, of_targets)];
        let mut warnings: Vec<String> = cuts.into_iter().flatten().collect();
        if self.in_train > 0 {
            warnings.push(format!(
                "{} of {rows} inputs of the {split} split are in the train split too: scores on it are too high",
                self.in_train
            ));
        }
        if self.contradictions > 0 {
            warnings.push(format!(
                "of the inputs of the {split} split {} are there with different labels: nothing answers all of them right",
                self.contradictions
            ));
        }
        if self.unknown > 0 {
            warnings.push(format!(
                "{} of {rows} inputs of the {split} split have characters that the tokenizer does not know: the model reads `<unk>` in \
                 their place",
                self.unknown
            ));
        }
        warnings
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::oracle::Made;
    use crate::data::{Dataset, Part, Tokenized};
    use crate::ml::tasks::{Answer, Example, Spacing, Task};

    fn example(input: &str, target: &str) -> Example {
        let label = ["bad", "good"].iter().position(|label| *label == target).map(|label| label as u32);
        Example {
            id: String::new(),
            input: input.to_owned(),
            target: target.to_owned(),
            label,
            group: None,
            answers: Vec::new(),
            choices: Vec::new(),
        }
    }

    fn part(split: Split, rows: &[(&str, &str)]) -> Part {
        let examples: Vec<Example> = rows.iter().map(|(input, target)| example(input, target)).collect();
        let tokens = rows.iter().map(|(input, _)| Tokenized {
            input: input.split(' ').map(|word| if word == "?" { 2 } else { 9 }).collect(),
            target: vec![1],
        });
        Part { split, tokens: tokens.collect(), examples }
    }

    #[test]
    fn percentiles_are_nearest_ranks_and_what_is_longer_is_cut() {
        let lengths = Lengths::of((1..=200).rev(), 150);
        assert_eq!(lengths, Lengths { median: 100, p90: 180, p99: 198, longest: 200, cut: 50 });
        assert_eq!(Lengths::of([7].into_iter(), 7), Lengths { median: 7, p90: 7, p99: 7, longest: 7, cut: 0 });
        assert_eq!(Lengths::of(std::iter::empty(), 7), Lengths::default());
    }

    #[test]
    fn a_card_counts_what_a_score_has_to_beat_and_what_is_wrong() {
        let task = Task {
            name: "mood".to_owned(),
            format: None,
            labels: vec!["bad".to_owned(), "good".to_owned()],
            answer: Answer::Label,
            metrics: Vec::new(),
            around: None,
            spacing: Spacing::default(),
        };
        let train =
            [("dull film", "bad"), ("dull film", "bad"), ("dull film", "good"), ("grey", "bad"), ("fine day", "good")];
        let validation = [("fine film", "good"), ("dull film", "bad"), ("what ?", "good"), ("hidden", "<unk>")];
        let parts = vec![part(Split::Train, &train), part(Split::Validation, &validation)];
        let dataset = Dataset { task, template: String::new(), tokenizer: Some("t".to_owned()), parts };
        let cut = Lengths { longest: 9, cut: 1, ..Lengths::default() };
        let left_out = vec![LeftOut { rows: 3, why: "they are wrong".to_owned() }];
        let made = [Made { left_out, inputs: cut, ..Made::default() }, Made { targets: cut, ..Made::default() }];
        let card = Card::of(&dataset, &made, Some(2));
        let [train, validation] = &card.splits[..] else { panic!("{card:?}") };
        assert_eq!((train.rows, train.duplicates, train.contradictions, train.in_train), (5, 1, 1, 0));
        assert_eq!(train.labels, [("bad".to_owned(), 3), ("good".to_owned(), 2)]);
        assert_eq!(train.left_out[0].rows, 3);
        assert_eq!((validation.rows, validation.hidden, validation.in_train, validation.unknown), (4, 1, 1, 1));
        assert_eq!(validation.labels, [("bad".to_owned(), 1), ("good".to_owned(), 2)]);
        // Of three answers `bad` is one; words tell `fine` and `dull`, and of `what` the more common label.
        let third = 100.0 / 3.0;
        assert_eq!((validation.majority, validation.bag_of_words), (Some(third), Some(2.0 * third)));
        let warnings = train.warnings((5, 6));
        assert_eq!(warnings.len(), 2, "{warnings:?}");
        assert!(
            warnings[0]
                .starts_with("1 of 5 inputs of the train split have more than 5 ids (the longest 9) and were cut")
        );
        let warnings = validation.warnings((5, 6));
        assert_eq!(warnings.len(), 3, "{warnings:?}");
        assert!(warnings[1].starts_with("1 of 4 inputs of the validation split are in the train split too"));
        assert_eq!(Card::from_bytes(&card.to_bytes()).unwrap(), card);
        let lines = card.lines();
        let said = |name: &str| lines.iter().find(|line| line[0] == name).map(|line| line[1..].to_vec());
        assert_eq!(said("").unwrap(), ["train", "validation"]);
        assert_eq!(said("inputs cut").unwrap(), ["1", "0"]);
        assert_eq!(said("most common label").unwrap(), ["60.0 %", "33.3 %"]);
        assert_eq!(said("bag of words").unwrap(), ["", "66.7 %"]);
        assert_eq!(said("label `good`").unwrap(), ["2", "2"]);
        assert!(lines.iter().all(|line| line.len() == 3));
    }
}
