//! From answers in text to the numbers of a task.

use super::{Answer, Example, Metric, Task};
use crate::ml::metrics::{self, Answers, Classes, ILLEGAL, Texts};
use crate::ml::statistics;
use serde::{Deserialize, Serialize};

/// How good a set of predictions is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scores {
    /// The task's metrics, in its order; none if nothing was scored.
    pub metrics: Vec<(Metric, f64)>,
    /// Their arithmetic mean, by which checkpoints are chosen; `None` if the task has no metrics or nothing was scored. Never NaN.
    pub score: Option<f64>,
    /// Examples that were scored: those whose answer is known.
    pub scored: usize,
    /// Predictions among them that are not an answer at all: not a label, not a number, or nothing where a noun should be.
    pub illegal: usize,
    /// How often each label was predicted, in the order of the labels; empty if answers are not labels. A model that
    /// collapsed to one class shows here.
    pub predicted: Vec<(String, usize)>,
}

impl Task {
    /// Scores predictions in text against the examples they were made for. Examples with hidden answers do not count.
    ///
    /// # Panics
    /// If there are not as many predictions as examples.
    pub fn score(&self, predictions: &[String], examples: &[Example]) -> Scores {
        assert_eq!(predictions.len(), examples.len(), "a prediction for every example");
        let known: Vec<(&str, &Example)> =
            predictions.iter().map(String::as_str).zip(examples).filter(|(_, example)| self.knows(example)).collect();
        match self.answer {
            Answer::Label => self.score_labels(&known),
            Answer::Number => self.score_numbers(&known),
            Answer::Text => self.score_texts(&known),
            Answer::Referent => self.score_referents(&known),
            Answer::Choice => self.score_choices(&known),
        }
    }

    /// Whether an example's answer is known; test splits often hide it.
    pub fn knows(&self, example: &Example) -> bool {
        self.answer.is_known(example)
    }

    fn score_labels(&self, known: &[(&str, &Example)]) -> Scores {
        let ids: Vec<i64> = known.iter().map(|(prediction, _)| self.label_id(prediction)).collect();
        let scores = self.score_classes(&ids, known, self.labels.len());
        let count = |id: usize| ids.iter().filter(|found| **found == id as i64).count();
        let predicted = self.labels.iter().enumerate().map(|(id, label)| (label.clone(), count(id))).collect();
        Scores { predicted, ..scores }
    }

    /// The id of a label word that a prediction is, exactly.
    fn label_id(&self, prediction: &str) -> i64 {
        self.labels.iter().position(|label| label == prediction).map_or(ILLEGAL, |id| id as i64)
    }

    /// WSC's classes are whether the prediction is the noun that the example names, and whether that noun is the right one.
    fn score_referents(&self, known: &[(&str, &Example)]) -> Scores {
        let ids: Vec<i64> =
            known.iter().map(|(prediction, example)| metrics::names_referent(prediction, &example.target)).collect();
        self.score_classes(&ids, known, 2)
    }

    /// Classes are the places of choices; an answer is the text of one, exactly.
    fn score_choices(&self, known: &[(&str, &Example)]) -> Scores {
        let place = |(prediction, example): &(&str, &Example)| {
            example.choices.iter().position(|choice| choice == prediction).map_or(ILLEGAL, |place| place as i64)
        };
        let most = known.iter().map(|(_, example)| example.choices.len()).max().unwrap_or(0);
        self.score_classes(&known.iter().map(place).collect::<Vec<_>>(), known, most)
    }

    fn score_classes(&self, ids: &[i64], known: &[(&str, &Example)], classes: usize) -> Scores {
        let targets: Vec<i64> = known.iter().map(|(_, example)| example.label.map_or(ILLEGAL, i64::from)).collect();
        let groups: Vec<&str> = known.iter().map(|(_, example)| group(example)).collect();
        let of = Classes { targets: &targets, predictions: ids, count: classes, groups: &groups };
        let illegal = ids.iter().filter(|id| **id == ILLEGAL).count();
        self.scores(known.len(), illegal, |metric| metric.of_classes(&of))
    }

    fn score_numbers(&self, known: &[(&str, &Example)]) -> Scores {
        let targets: Vec<f64> = known.iter().map(|(_, example)| number(&example.target).unwrap_or(-1.0)).collect();
        let numbers: Vec<Option<f64>> = known.iter().map(|(prediction, _)| number(prediction)).collect();
        let filled: Vec<f64> = numbers.iter().map(|number| number.unwrap_or(-1.0)).collect();
        let illegal = numbers.iter().filter(|number| number.is_none()).count();
        self.scores(known.len(), illegal, |metric| metric.of_numbers(&targets, &filled))
    }

    /// Copies of an example for several answers (ReCoRD's training form) count once.
    fn score_texts(&self, known: &[(&str, &Example)]) -> Scores {
        let groups: Vec<&str> = known.iter().map(|(_, example)| group(example)).collect();
        let first: Vec<&(&str, &Example)> =
            metrics::first_of_groups(&groups).into_iter().map(|at| &known[at]).collect();
        let targets: Vec<&str> = first.iter().map(|(_, example)| example.target.as_str()).collect();
        let answers: Vec<&[String]> = first.iter().map(|(_, example)| accepted(example)).collect();
        let predictions: Vec<&str> = first.iter().map(|(prediction, _)| *prediction).collect();
        let sources: Vec<&str> = first.iter().map(|(_, example)| self.source_of(&example.input)).collect();
        let of = Texts { targets: &targets, answers: &answers, sources: &sources, predictions: &predictions };
        self.scores(first.len(), 0, |metric| metric.of_texts(&of))
    }

    /// The text of an input that is not of the template, if that is known.
    fn source_of<'i>(&self, input: &'i str) -> &'i str {
        let Some((before, after)) = &self.around else { return input };
        let rest = input.strip_prefix(before.as_str()).unwrap_or(input);
        rest.strip_suffix(after.as_str()).unwrap_or(rest)
    }

    /// # Panics
    /// If the task asks for a metric that its answers cannot have; [`Answer::metrics`] says which they can.
    fn scores(&self, scored: usize, illegal: usize, measure: impl Fn(Metric) -> Option<f64>) -> Scores {
        let asked: &[Metric] = if scored == 0 { &[] } else { &self.metrics };
        let metrics: Vec<(Metric, f64)> = asked
            .iter()
            .map(|metric| {
                let answer = self.answer;
                (
                    *metric,
                    measure(*metric).unwrap_or_else(|| panic!("{metric:?} is not a metric of {answer:?} answers")),
                )
            })
            .collect();
        let values: Vec<f64> = metrics.iter().map(|(_, value)| *value).collect();
        let score = (!values.is_empty()).then(|| statistics::mean(&values));
        Scores { metrics, score, scored, illegal, predicted: Vec::new() }
    }
}

impl Answer {
    /// The metrics that answers of this kind can have, first the usual ones.
    pub fn metrics(self) -> Vec<Metric> {
        match self {
            // The first choice of one example has nothing in common with that of another.
            Self::Choice => vec![Metric::Accuracy],
            _ => Metric::of(self.measured()),
        }
    }

    /// What metrics see of them.
    pub(super) fn measured(self) -> Answers {
        match self {
            Self::Label | Self::Referent | Self::Choice => Answers::Classes,
            Self::Number => Answers::Numbers,
            Self::Text => Answers::Texts,
        }
    }

    fn is_known(self, example: &Example) -> bool {
        match self {
            Self::Label | Self::Referent | Self::Choice => example.label.is_some(),
            Self::Number => number(&example.target).is_some(),
            Self::Text => !example.answers.is_empty() || example.target != super::format::HIDDEN,
        }
    }
}

fn group(example: &Example) -> &str {
    example.group.as_deref().unwrap_or(&example.id)
}

fn accepted(example: &Example) -> &[String] {
    if example.answers.is_empty() { std::slice::from_ref(&example.target) } else { &example.answers }
}

/// A finite number. Python, which T5 uses, would also take `nan` and `inf`; they would make every correlation NaN.
fn number(text: &str) -> Option<f64> {
    text.trim().parse().ok().filter(|number: &f64| number.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ml::statistics::tests::near;
    use crate::ml::tasks::{Spacing, task};

    fn example(id: usize, target: &str, label: Option<u32>) -> Example {
        Example {
            id: id.to_string(),
            input: String::new(),
            target: target.to_owned(),
            label,
            group: None,
            answers: Vec::new(),
            choices: Vec::new(),
        }
    }

    fn score(format: &str, predictions: &[&str], examples: &[Example]) -> Scores {
        let predictions: Vec<String> = predictions.iter().map(|p| (*p).to_owned()).collect();
        task(format).unwrap().score(&predictions, examples)
    }

    fn labelled(format: &str, ids: &[u32]) -> Vec<Example> {
        let task = task(format).unwrap();
        ids.iter().enumerate().map(|(i, id)| example(i, &task.labels[*id as usize], Some(*id))).collect()
    }

    #[test]
    fn illegal_outputs_are_the_wrong_class_for_f1_and_wrong_for_accuracy() {
        let examples = labelled("glue/mrpc", &[0, 1, 1, 0]);
        let scores = score("glue/mrpc", &["not_equivalent", "equivalent", "Equivalent", "yes"], &examples);
        assert_eq!(scores.metrics, [(Metric::F1, 50.0), (Metric::Accuracy, 50.0)]);
        assert_eq!((scores.score, scores.scored, scores.illegal), (Some(50.0), 4, 2));
        assert_eq!(scores.predicted, [("not_equivalent".to_owned(), 1), ("equivalent".to_owned(), 1)]);
    }

    #[test]
    fn hidden_labels_do_not_count() {
        let mut examples = labelled("glue/rte", &[0, 1]);
        examples.push(example(2, "<unk>", None));
        let scores = score("glue/rte", &["entailment", "entailment", "entailment"], &examples);
        assert_eq!((scores.score, scores.scored), (Some(50.0), 2));
        let nothing = score("glue/cola", &["acceptable"], &[example(0, "<unk>", None)]);
        assert_eq!((nothing.score, nothing.scored, nothing.metrics.len()), (None, 0, 0));
    }

    #[test]
    fn similarities_that_are_no_numbers_count_as_minus_one() {
        let examples: Vec<Example> =
            ["0.0", "2.0", "4.0"].iter().enumerate().map(|(i, t)| example(i, t, None)).collect();
        let scores = score("glue/stsb", &["nan", " 2.0 ", "5"], &examples);
        assert_eq!(scores.illegal, 1);
        near(scores.metrics[0].1, 100.0 * statistics::pearson(&[0.0, 2.0, 4.0], &[-1.0, 2.0, 5.0]), 1e-12);
        assert_eq!(scores.metrics[1], (Metric::Spearman, 100.0));
        let constant = score("glue/stsb", &["1.0", "1.0", "1.0"], &examples);
        assert_eq!(constant.score, Some(0.0));
    }

    #[test]
    fn questions_of_multirc_need_every_answer() {
        let mut examples = labelled("superglue/multirc", &[1, 0, 1]);
        for (example, group) in examples.iter_mut().zip(["q", "q", "r"]) {
            example.group = Some(group.to_owned());
        }
        let scores = score("superglue/multirc", &["True", "True", "True"], &examples);
        assert_eq!(scores.metrics, [(Metric::F1, 80.0), (Metric::GroupExactMatch, 50.0)]);
    }

    #[test]
    fn copies_of_a_query_count_once() {
        let mut examples: Vec<Example> = (0..3).map(|i| example(i, "Bob", None)).collect();
        for (example, group) in examples.iter_mut().zip(["q", "q", "r"]) {
            example.group = Some(group.to_owned());
            example.answers = vec!["Bob".to_owned(), "the Bob Smith".to_owned()];
        }
        let scores = score("superglue/record", &["bob smith", "wrong", "wrong"], &examples);
        assert_eq!(scores.metrics, [(Metric::ExactMatch, 50.0), (Metric::TokenF1, 50.0)]);
        assert_eq!(scores.scored, 2);
    }

    #[test]
    fn rouge_takes_the_best_answer_of_the_first_copy() {
        let metrics = vec![Metric::Rouge1, Metric::Rouge2, Metric::RougeLsum];
        let summary = Task {
            name: "sum".to_owned(),
            format: None,
            labels: Vec::new(),
            answer: Answer::Text,
            metrics,
            around: None,
            spacing: Spacing::default(),
        };
        let mut examples = vec![example(0, "a b c", None), example(1, "x . y z", None)];
        examples[0].answers = vec!["a b c".to_owned(), "d e".to_owned()];
        let scores = summary.score(&["d e".to_owned(), "y z . x".to_owned()], &examples);
        assert_eq!(scores.metrics, [(Metric::Rouge1, 100.0), (Metric::Rouge2, 75.0), (Metric::RougeLsum, 100.0)]);
    }

    #[test]
    fn a_task_without_metrics_has_no_score() {
        let text = Task {
            name: "c4".to_owned(),
            format: None,
            labels: Vec::new(),
            answer: Answer::Text,
            metrics: Vec::new(),
            around: None,
            spacing: Spacing::default(),
        };
        let scores = text.score(&["b".to_owned()], &[example(0, "a", None)]);
        assert_eq!((scores.score, scores.scored, scores.metrics.len()), (None, 1, 0));
    }

    #[test]
    fn referents_are_judged_against_the_label() {
        let examples =
            [example(0, "fuzzy hungry bunny", Some(1)), example(1, "Bob", Some(0)), example(2, "Eve", Some(0))];
        let scores = score("superglue/wsc", &["fuzzy bunny", "Bob's hat", "a this"], &examples);
        near(scores.score.unwrap(), 200.0 / 3.0, 1e-12);
        assert_eq!(scores.illegal, 1);
    }

    #[test]
    fn every_format_scores_its_own_targets_perfectly() {
        for format in crate::ml::tasks::formats() {
            let known = task(format).unwrap();
            assert!(known.metrics.iter().all(|metric| known.answer.metrics().contains(metric)), "{format}");
            let examples: Vec<Example> = match known.answer {
                Answer::Label => labelled(format, &(0..known.labels.len() as u32).collect::<Vec<_>>()),
                Answer::Number => vec![example(0, "1.0", None), example(1, "2.0", None)],
                Answer::Text => vec![example(0, "an answer", None)],
                Answer::Referent => vec![example(0, "the noun", Some(1))],
                Answer::Choice => {
                    vec![Example { choices: vec!["the noun".to_owned()], ..example(0, "the noun", Some(0)) }]
                }
            };
            let predictions: Vec<String> = examples.iter().map(|e| e.target.clone()).collect();
            assert_eq!(known.score(&predictions, &examples).score, Some(100.0), "{format}");
        }
    }
}
