//! The SuperGLUE benchmark (Wang et al. 2019) in its JSON lines, with T5's templates and label words.

use super::format::{Field, Format, Layout, Source};
use super::glue::{ENTAILMENT, HYPOTHESIS, PREMISE};
use super::rows::{Encoding, Header};
use super::{Answer, Metric, multirc, record, wsc};

const BOOLEAN: &[&str] = &["False", "True"];

const fn row(
    name: &'static str,
    word: &'static str,
    labels: &'static [&'static str],
    metrics: &'static [Metric],
    fields: &'static [Field],
) -> Format {
    let (encoding, header, answer) = (Encoding::Utf8, Header::First, &["label"]);
    let source = Source::Rows(Layout { encoding, header, fields, answer, undecided: None });
    Format { name, task: word, word, labels, answer: Answer::Label, metrics, source }
}

pub(super) static FORMATS: &[Format] = &[
    row(
        "superglue/boolq",
        "boolq",
        BOOLEAN,
        &[Metric::Accuracy],
        &[Field { name: "passage", columns: &["passage"] }, Field { name: "question", columns: &["question"] }],
    ),
    // The order of CB's labels is not that of MNLI's.
    row(
        "superglue/cb",
        "cb",
        &["entailment", "contradiction", "neutral"],
        &[Metric::MacroF1, Metric::Accuracy],
        &[HYPOTHESIS, PREMISE],
    ),
    row(
        "superglue/copa",
        "copa",
        &["choice1", "choice2"],
        &[Metric::Accuracy],
        &[
            Field { name: "choice1", columns: &["choice1"] },
            Field { name: "choice2", columns: &["choice2"] },
            Field { name: "premise", columns: &["premise"] },
            Field { name: "question", columns: &["question"] },
        ],
    ),
    Format {
        name: "superglue/multirc",
        task: "multirc",
        word: "multirc",
        labels: BOOLEAN,
        answer: Answer::Label,
        metrics: &[Metric::F1, Metric::GroupExactMatch],
        source: Source::Other {
            template: multirc::TEMPLATE,
            by_value: true,
            read: |piece, split, reading| multirc::read(piece, split, reading).map(Into::into),
        },
    },
    Format {
        name: "superglue/record",
        task: "record",
        word: "record",
        labels: &[],
        answer: Answer::Text,
        metrics: &[Metric::ExactMatch, Metric::TokenF1],
        source: Source::Other {
            template: record::TEMPLATE,
            by_value: true,
            read: |piece, split, reading| record::read(piece, split, reading).map(Into::into),
        },
    },
    row("superglue/rte", "rte", ENTAILMENT, &[Metric::Accuracy], &[HYPOTHESIS, PREMISE]),
    row(
        "superglue/wic",
        "wic",
        BOOLEAN,
        &[Metric::Accuracy],
        &[
            Field { name: "sentence1", columns: &["sentence1"] },
            Field { name: "sentence2", columns: &["sentence2"] },
            Field { name: "word", columns: &["word"] },
        ],
    ),
    Format {
        name: "superglue/wsc",
        task: "wsc",
        word: "wsc",
        labels: &[],
        answer: Answer::Referent,
        metrics: &[Metric::Accuracy],
        source: Source::Other { template: wsc::GENERATE, by_value: true, read: wsc::read_generative },
    },
    Format {
        name: "superglue/wsc_classify",
        task: "wsc",
        word: "wsc",
        labels: BOOLEAN,
        answer: Answer::Label,
        metrics: &[Metric::Accuracy],
        source: Source::Other {
            template: wsc::CLASSIFY,
            by_value: true,
            read: |piece, split, reading| wsc::read_classifying(piece, split, reading).map(Into::into),
        },
    },
    // The diagnostic sets are read by the prompts of RTE.
    Format { task: "axb", ..row("superglue/axb", "rte", ENTAILMENT, &[Metric::Matthews], &[HYPOTHESIS, PREMISE]) },
    Format { task: "axg", ..row("superglue/axg", "rte", ENTAILMENT, &[Metric::Accuracy], &[HYPOTHESIS, PREMISE]) },
];

#[cfg(test)]
mod tests {
    use crate::ml::tasks::Split;
    use crate::ml::tasks::format::Reading;
    use crate::ml::tasks::published::read;

    #[track_caller]
    fn check(format: &str, line: &str, input: &str, target: &str, label: Option<u32>) {
        let examples = read(format, line.as_bytes(), Split::Train, &Reading::default()).unwrap();
        let found: Vec<_> = examples.iter().map(|e| (e.input.as_str(), e.target.as_str(), e.label)).collect();
        assert_eq!(found, [(input, target, label)]);
    }

    #[test]
    fn each_task_reads_its_original_layout() {
        check(
            "superglue/boolq",
            r#"{"question": "is it", "passage": "P", "idx": 3, "label": true}"#,
            "boolq passage: P question: is it",
            "True",
            Some(1),
        );
        check(
            "superglue/cb",
            r#"{"premise": "P", "hypothesis": "H", "label": "neutral", "idx": 0}"#,
            "cb hypothesis: H premise: P",
            "neutral",
            Some(2),
        );
        check(
            "superglue/copa",
            r#"{"premise": "P.", "choice1": "X.", "choice2": "Y.", "question": "cause", "label": 1, "idx": 0}"#,
            "copa choice1: X. choice2: Y. premise: P. question: cause",
            "choice2",
            Some(1),
        );
        check(
            "superglue/rte",
            r#"{"premise": "P", "hypothesis": "H", "label": "not_entailment", "idx": 0}"#,
            "rte hypothesis: H premise: P",
            "not_entailment",
            Some(1),
        );
        check(
            "superglue/wic",
            r#"{"word": "w", "sentence1": "A", "sentence2": "B", "idx": 0, "label": false, "version": 1.1}"#,
            "wic sentence1: A sentence2: B word: w",
            "False",
            Some(0),
        );
    }

    #[test]
    fn diagnostic_sets_have_names_of_their_own_and_the_words_of_rte() {
        let broad = r#"{"sentence1": "P", "sentence2": "H", "idx": 5, "label": "entailment", "logic": "x"}"#;
        check("superglue/axb", broad, "rte hypothesis: H premise: P", "entailment", Some(0));
        let gender = r#"{"premise": "P", "hypothesis": "H", "pair_id": 3, "label": "not_entailment", "idx": 0}"#;
        check("superglue/axg", gender, "rte hypothesis: H premise: P", "not_entailment", Some(1));
        assert_eq!(crate::ml::tasks::task("superglue/axg").unwrap().name, "axg");
    }

    #[test]
    fn labels_may_be_missing_only_from_test_splits() {
        let line = br#"{"premise": "P", "hypothesis": "H", "idx": 0}"#;
        let hidden = read("superglue/cb", line, Split::Test, &Reading::default()).unwrap();
        assert_eq!((hidden[0].target.as_str(), hidden[0].label), ("<unk>", None));
        let error = read("superglue/cb", line, Split::Validation, &Reading::default()).unwrap_err();
        assert_eq!(error.to_string(), "line 1: no column `label`; found `premise`, `hypothesis`, `idx`");
    }

    #[test]
    fn values_of_the_wrong_type_are_named() {
        let line = br#"{"premise": 5, "hypothesis": "H", "label": 0}"#;
        let error = read("superglue/cb", line, Split::Train, &Reading::default()).unwrap_err();
        assert_eq!(error.to_string(), "line 1: column `premise` is 5, expected a text");
        let boolean = br#"{"premise": "P", "hypothesis": "H", "label": true}"#;
        let error = read("superglue/cb", boolean, Split::Train, &Reading::default()).unwrap_err().to_string();
        assert!(error.starts_with("line 1: column `label` is true, which is not a label of `cb`"), "{error}");
    }
}
