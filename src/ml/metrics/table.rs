//! The list of metrics: of each its name, what it means, its range, the answers it fits and how it is taken of them.
//!
//! A new metric is one entry here. What a manifest may name, which metrics a task may have, how they are taken and what is
//! checked of their values all come from its entry, and [docs/data.md](../../../docs/data.md) has a line for it.

use super::answers::{Texts, exact_match, token_f1};
use super::bleu::bleu;
use super::classes::{Classes, accuracy, all_match, binary_f1, group_mean, macro_f1, matthews};
use super::drop;
use super::rouge::{rouge_lsum, rouge1, rouge2};
use super::sari::sari;
use super::sets;
use crate::ml::statistics::{mean, pearson, spearman};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::ops::RangeInclusive;

/// The entries as a type, whose names in files are those of its values in snake case.
macro_rules! metrics {
    ($($(#[doc = $about:literal])+ $metric:ident $row:tt)+) => {
        /// A measure of quality, reported in 0..=100 (correlations in -100..=100).
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
        #[serde(rename_all = "snake_case")]
        pub enum Metric {
            $($(#[doc = $about])+ $metric,)+
        }

        impl Metric {
            /// All metrics.
            pub const ALL: &'static [Self] = &[$(Self::$metric),+];

            /// What it means, in a sentence.
            pub fn about(self) -> &'static str {
                match self {
                    $(Self::$metric => concat!($($about),+).trim_ascii(),)+
                }
            }

            const fn row(self) -> &'static Row {
                match self {
                    $(Self::$metric => const { &Row $row },)+
                }
            }
        }
    };
}

metrics! {
    /// Share of predictions equal to the target.
    Accuracy {
        name: "accuracy",
        range: SHARE,
        needs: Needs::Nothing,
        classes: Fit::Usual(|of| accuracy(of.targets, of.predictions)),
        numbers: Fit::Asked(|targets, numbers| 100.0 * mean(&equal(targets, numbers))),
        texts: Fit::Asked(|of| accuracy(of.targets, of.predictions)),
    }
    /// F1 of the class with label id 1; an illegal prediction counts as the wrong class.
    F1 {
        name: "f1",
        range: SHARE,
        needs: Needs::TwoLabels,
        classes: Fit::Asked(|of| binary_f1(of.targets, of.predictions)),
        numbers: Fit::Not,
        texts: Fit::Not,
    }
    /// Unweighted mean of the F1 of every label.
    MacroF1 {
        name: "macro_f1",
        range: SHARE,
        needs: Needs::Nothing,
        classes: Fit::Asked(|of| macro_f1(of.targets, of.predictions, of.count)),
        numbers: Fit::Not,
        texts: Fit::Not,
    }
    /// Matthews correlation coefficient.
    Matthews {
        name: "matthews",
        range: CORRELATION,
        needs: Needs::Nothing,
        classes: Fit::Asked(|of| matthews(of.targets, of.predictions)),
        numbers: Fit::Not,
        texts: Fit::Not,
    }
    /// Pearson correlation.
    Pearson {
        name: "pearson",
        range: CORRELATION,
        needs: Needs::Nothing,
        classes: Fit::Not,
        numbers: Fit::Usual(|targets, numbers| 100.0 * pearson(targets, numbers)),
        texts: Fit::Not,
    }
    /// Spearman rank correlation, ties by mean rank.
    Spearman {
        name: "spearman",
        range: CORRELATION,
        needs: Needs::Nothing,
        classes: Fit::Not,
        numbers: Fit::Usual(|targets, numbers| 100.0 * spearman(targets, numbers)),
        texts: Fit::Not,
    }
    /// Share of groups of which every answer is right (MultiRC).
    GroupExactMatch {
        name: "group_exact_match",
        range: SHARE,
        needs: Needs::Groups,
        classes: Fit::Asked(|of| group_mean(of.groups, of.targets, of.predictions, all_match)),
        numbers: Fit::Not,
        texts: Fit::Not,
    }
    /// SQuAD exact match, the best over accepted answers.
    ExactMatch {
        name: "exact_match",
        range: SHARE,
        needs: Needs::Nothing,
        classes: Fit::Not,
        numbers: Fit::Not,
        texts: Fit::Usual(|of| of.best(exact_match)),
    }
    /// SQuAD token F1, the best over accepted answers.
    TokenF1 {
        name: "token_f1",
        range: SHARE,
        needs: Needs::Nothing,
        classes: Fit::Not,
        numbers: Fit::Not,
        texts: Fit::Usual(|of| of.best(token_f1)),
    }
    /// ROUGE-1 F-measure: shared words, the best over accepted answers.
    Rouge1 {
        name: "rouge1",
        range: SHARE,
        needs: Needs::Nothing,
        classes: Fit::Not,
        numbers: Fit::Not,
        texts: Fit::Asked(|of| of.best(rouge1)),
    }
    /// ROUGE-2 F-measure: shared pairs of words, the best over accepted answers.
    Rouge2 {
        name: "rouge2",
        range: SHARE,
        needs: Needs::Nothing,
        classes: Fit::Not,
        numbers: Fit::Not,
        texts: Fit::Asked(|of| of.best(rouge2)),
    }
    /// ROUGE-Lsum F-measure: longest common subsequences by sentence, the best over accepted answers.
    RougeLsum {
        name: "rouge_lsum",
        range: SHARE,
        needs: Needs::Nothing,
        classes: Fit::Not,
        numbers: Fit::Not,
        texts: Fit::Asked(|of| of.best(rouge_lsum)),
    }
    /// BLEU of all answers together, as sacreBLEU takes it for T5.
    Bleu {
        name: "bleu",
        range: SHARE,
        needs: Needs::Nothing,
        classes: Fit::Not,
        numbers: Fit::Not,
        texts: Fit::Asked(bleu),
    }
    /// SARI: how well the text of the only column in the template was rewritten.
    Sari {
        name: "sari",
        range: SHARE,
        needs: Needs::Source,
        classes: Fit::Not,
        numbers: Fit::Not,
        texts: Fit::Asked(sari),
    }
    /// Exact match of DROP: the same spans, with `; ` between them, numbers as numbers; the best over accepted answers.
    DropExactMatch {
        name: "drop_exact_match",
        range: SHARE,
        needs: Needs::Nothing,
        classes: Fit::Not,
        numbers: Fit::Not,
        texts: Fit::Asked(|of| of.best(drop::exact_match)),
    }
    /// F1 of DROP: words of the spans in common, numbers as numbers; the best over accepted answers.
    DropF1 {
        name: "drop_f1",
        range: SHARE,
        needs: Needs::Nothing,
        classes: Fit::Not,
        numbers: Fit::Not,
        texts: Fit::Asked(|of| of.best(drop::f1)),
    }
    /// Share of answers with several labels that have the same ones.
    SetExactMatch {
        name: "set_exact_match",
        range: SHARE,
        needs: Needs::Nothing,
        classes: Fit::Not,
        numbers: Fit::Not,
        texts: Fit::Asked(|of| of.best(sets::same)),
    }
    /// Mean over answers with several labels of the F1 of their labels (`samples` of scikit-learn).
    SetF1 {
        name: "set_f1",
        range: SHARE,
        needs: Needs::Nothing,
        classes: Fit::Not,
        numbers: Fit::Not,
        texts: Fit::Asked(|of| of.best(sets::f1)),
    }
    /// F1 of the labels of all answers together (`micro`).
    SetMicroF1 {
        name: "set_micro_f1",
        range: SHARE,
        needs: Needs::Nothing,
        classes: Fit::Not,
        numbers: Fit::Not,
        texts: Fit::Asked(sets::micro_f1),
    }
    /// Unweighted mean of the F1 of every label that is asked for or said in answers with several (`macro`).
    SetMacroF1 {
        name: "set_macro_f1",
        range: SHARE,
        needs: Needs::Nothing,
        classes: Fit::Not,
        numbers: Fit::Not,
        texts: Fit::Asked(sets::macro_f1),
    }
}

const SHARE: RangeInclusive<f64> = 0.0..=100.0;
const CORRELATION: RangeInclusive<f64> = -100.0..=100.0;

/// An entry of the list.
struct Row {
    name: &'static str,
    range: RangeInclusive<f64>,
    needs: Needs,
    classes: Fit<OfClasses>,
    numbers: Fit<OfNumbers>,
    texts: Fit<OfTexts>,
}

type OfClasses = fn(&Classes<'_>) -> f64;
type OfNumbers = fn(&[f64], &[f64]) -> f64;
type OfTexts = fn(&Texts<'_>) -> f64;

/// Whether a metric fits a kind of answers, and how it is taken of them.
enum Fit<F> {
    /// It does not.
    Not,
    /// A task may ask for it.
    Asked(F),
    /// A task that asks for nothing has it.
    Usual(F),
}

impl<F: Copy> Fit<F> {
    fn measure(&self) -> Option<F> {
        match self {
            Self::Not => None,
            Self::Asked(measure) | Self::Usual(measure) => Some(*measure),
        }
    }
}

/// What a metric asks of a task besides its answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    /// Nothing.
    Nothing,
    /// Two labels, neither more nor less.
    TwoLabels,
    /// Examples in groups.
    Groups,
    /// The text that was to be rewritten, and so a template of a single column.
    Source,
}

/// What answers are to a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answers {
    /// Ids of labels.
    Classes,
    /// Numbers.
    Numbers,
    /// Free text.
    Texts,
}

impl Metric {
    /// The name used in files and reports, the same as in data: `macro_f1`.
    pub fn name(self) -> &'static str {
        self.row().name
    }

    /// The metric with this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|metric| metric.name() == name)
    }

    /// What its values can be; the more the better.
    pub fn range(self) -> RangeInclusive<f64> {
        self.row().range.clone()
    }

    /// What it asks of a task besides its answers.
    pub fn needs(self) -> Needs {
        self.row().needs
    }

    /// Those that fit answers of a kind, first those that a task has which asks for none.
    pub fn of(answers: Answers) -> Vec<Self> {
        let mut fit: Vec<Self> = Self::ALL.iter().copied().filter(|metric| metric.fits(answers)).collect();
        fit.sort_by_key(|metric| !metric.is_usual(answers));
        fit
    }

    /// Whether it can be taken of such answers.
    pub fn fits(self, answers: Answers) -> bool {
        let row = self.row();
        match answers {
            Answers::Classes => !matches!(row.classes, Fit::Not),
            Answers::Numbers => !matches!(row.numbers, Fit::Not),
            Answers::Texts => !matches!(row.texts, Fit::Not),
        }
    }

    /// Whether a task with such answers has it without asking.
    pub fn is_usual(self, answers: Answers) -> bool {
        let row = self.row();
        match answers {
            Answers::Classes => matches!(row.classes, Fit::Usual(_)),
            Answers::Numbers => matches!(row.numbers, Fit::Usual(_)),
            Answers::Texts => matches!(row.texts, Fit::Usual(_)),
        }
    }

    /// Of labels; `None` if it does not fit them.
    pub fn of_classes(self, classes: &Classes<'_>) -> Option<f64> {
        Some(self.row().classes.measure()?(classes))
    }

    /// Of numbers, those asked for first; `None` if it does not fit them.
    pub fn of_numbers(self, targets: &[f64], numbers: &[f64]) -> Option<f64> {
        Some(self.row().numbers.measure()?(targets, numbers))
    }

    /// Of free text; `None` if it does not fit it.
    pub fn of_texts(self, texts: &Texts<'_>) -> Option<f64> {
        Some(self.row().texts.measure()?(texts))
    }
}

/// 1 for every pair that is equal, 0 for the others.
fn equal(targets: &[f64], numbers: &[f64]) -> Vec<f64> {
    targets.iter().zip(numbers).map(|(target, number)| f64::from(target == number)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const KINDS: [Answers; 3] = [Answers::Classes, Answers::Numbers, Answers::Texts];

    /// Its value of answers of a kind that it fits: right ones, half-right ones and wrong ones.
    fn values(metric: Metric, answers: Answers) -> [f64; 3] {
        let value = match answers {
            Answers::Classes => |metric: Metric, predictions: &[usize]| {
                let ids = |places: &[usize]| places.iter().map(|at| (*at % 2) as i64).collect::<Vec<_>>();
                let (targets, predictions) = (ids(&[0, 1, 2, 3]), ids(predictions));
                let groups = ["a", "b", "c", "d"];
                let of = Classes { targets: &targets, predictions: &predictions, count: 2, groups: &groups };
                metric.of_classes(&of)
            },
            Answers::Numbers => |metric: Metric, predictions: &[usize]| {
                let numbers = |places: &[usize]| places.iter().map(|at| *at as f64).collect::<Vec<_>>();
                metric.of_numbers(&numbers(&[0, 1, 2, 3]), &numbers(predictions))
            },
            Answers::Texts => |metric: Metric, predictions: &[usize]| {
                let all =
                    ["one two three four", "five six seven eight", "nine ten eleven twelve", "red green blue grey"];
                let all = all.map(str::to_owned);
                let answers: Vec<&[String]> = (0..4).map(|at| std::slice::from_ref(&all[at])).collect();
                let targets: Vec<&str> = (0..4).map(|at| all[at].as_str()).collect();
                let predictions: Vec<&str> = predictions.iter().map(|at| all[*at].as_str()).collect();
                let sources = ["a text of other words"; 4];
                metric.of_texts(&Texts {
                    targets: &targets,
                    answers: &answers,
                    sources: &sources,
                    predictions: &predictions,
                })
            },
        };
        [[0, 1, 2, 3], [0, 1, 3, 2], [3, 2, 1, 0]].map(|predictions| value(metric, &predictions).unwrap())
    }

    #[test]
    fn every_metric_is_best_for_right_answers_and_worse_for_others() {
        for metric in Metric::ALL {
            let fits: Vec<Answers> = KINDS.into_iter().filter(|answers| metric.fits(*answers)).collect();
            assert!(!fits.is_empty(), "{metric:?} fits nothing");
            for answers in fits {
                let [right, half, wrong] = values(*metric, answers);
                assert_eq!(right, *metric.range().end(), "{metric:?} of {answers:?}");
                assert!(right > half && half > wrong, "{metric:?} of {answers:?}: {right} {half} {wrong}");
                assert!(metric.range().contains(&wrong), "{metric:?} of {answers:?}: {wrong}");
            }
        }
    }

    #[test]
    fn correlations_reach_down_to_minus_a_hundred() {
        let lowest = |metric, answers| values(metric, answers)[2];
        assert_eq!(lowest(Metric::Pearson, Answers::Numbers), -100.0);
        assert_eq!(lowest(Metric::Spearman, Answers::Numbers), -100.0);
        assert_eq!(lowest(Metric::Matthews, Answers::Classes), -100.0);
    }

    #[test]
    fn names_are_those_of_serialised_values_and_lead_back() {
        for metric in Metric::ALL {
            assert_eq!(serde_json::to_value(metric).unwrap(), metric.name());
            assert_eq!(Metric::named(metric.name()), Some(*metric));
        }
        assert_eq!(Metric::named("score"), None);
    }

    #[test]
    fn every_kind_of_answers_has_usual_metrics_and_they_come_first() {
        for answers in KINDS {
            let fit = Metric::of(answers);
            let usual = fit.iter().take_while(|metric| metric.is_usual(answers)).count();
            assert!(usual > 0 && fit[usual..].iter().all(|metric| !metric.is_usual(answers)), "{answers:?}");
        }
    }

    #[test]
    fn what_does_not_fit_has_no_value() {
        let none = Classes { targets: &[], predictions: &[], count: 0, groups: &[] };
        assert_eq!(Metric::Pearson.of_classes(&none), None);
        assert_eq!(Metric::F1.of_numbers(&[], &[]), None);
        assert_eq!(Metric::F1.of_texts(&Texts { targets: &[], answers: &[], sources: &[], predictions: &[] }), None);
    }

    /// How [`docs/data.md`] tells of a metric.
    fn documented(metric: Metric) -> String {
        let kind = |answers| match answers {
            Answers::Classes => "labels",
            Answers::Numbers => "numbers",
            Answers::Texts => "free text",
        };
        let said = |answers| match metric.is_usual(answers) {
            true => format!("{} (usual)", kind(answers)),
            false => kind(answers).to_owned(),
        };
        let fits: Vec<String> = KINDS.into_iter().filter(|answers| metric.fits(*answers)).map(said).collect();
        let (low, high) = metric.range().into_inner();
        format!("| `{}` | {} | {low} to {high} | {} |", metric.name(), fits.join(", "), metric.about())
    }

    #[test]
    fn the_manual_lists_every_metric_as_it_is() {
        let manual = include_str!("../../../docs/data.md");
        let lines: Vec<&str> = manual.lines().collect();
        let head = lines.iter().position(|line| line.starts_with("| metric | answers |")).unwrap();
        let listed: Vec<&str> = lines[head + 2..].iter().copied().take_while(|line| line.starts_with('|')).collect();
        let known: Vec<String> = Metric::ALL.iter().map(|metric| documented(*metric)).collect();
        assert_eq!(listed, known, "docs/data.md");
    }
}
