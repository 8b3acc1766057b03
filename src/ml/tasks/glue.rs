//! The GLUE benchmark (Wang et al. 2019), with T5's templates and label words.

use super::format::{Field, Format, Layout, Source};
use super::rows::{Encoding, Header};
use super::{Answer, Metric};

const SENTENCE: Field = Field { name: "sentence", columns: &["sentence"] };
const SENTENCE1: Field = Field { name: "sentence1", columns: &["sentence1", "#1 String", "premise"] };
const SENTENCE2: Field = Field { name: "sentence2", columns: &["sentence2", "#2 String", "hypothesis"] };
pub(super) const HYPOTHESIS: Field = Field { name: "hypothesis", columns: &["hypothesis", "sentence2"] };
pub(super) const PREMISE: Field = Field { name: "premise", columns: &["premise", "sentence1"] };

const LABEL: &[&str] = &["label", "gold_label"];
const NLI: &[&str] = &["entailment", "neutral", "contradiction"];
pub(super) const ENTAILMENT: &[&str] = &["entailment", "not_entailment"];

const fn row(
    name: &'static str,
    word: &'static str,
    labels: &'static [&'static str],
    metrics: &'static [Metric],
    fields: &'static [Field],
    answer: &'static [&'static str],
) -> Format {
    let layout = Layout { encoding: Encoding::Utf8, header: Header::First, fields, answer, undecided: None };
    let source = Source::Rows(layout);
    Format { name, task: word, word, labels, answer: Answer::Label, metrics, source }
}

/// A file with MNLI's columns, labels and marks.
const fn mnli(name: &'static str, task: &'static str, metrics: &'static [Metric]) -> Format {
    let fields = &[HYPOTHESIS, PREMISE];
    let layout =
        Layout { encoding: Encoding::Utf8, header: Header::First, fields, answer: LABEL, undecided: Some("-") };
    let source = Source::Rows(layout);
    Format { name, task, word: "mnli", labels: NLI, answer: Answer::Label, metrics, source }
}

/// MNLI, QNLI and RTE files hold label words, the others numbers. The words here are T5's.
pub(super) static FORMATS: &[Format] = &[
    Format {
        source: Source::Rows(Layout {
            encoding: Encoding::Utf8,
            // Source, label, the author's mark, sentence; only the test file of GLUE has a header.
            header: Header::Absent { columns: &["source", "label", "mark", "sentence"], unless: "sentence" },
            fields: &[SENTENCE],
            answer: LABEL,
            undecided: None,
        }),
        ..row("glue/cola", "cola", &["unacceptable", "acceptable"], &[Metric::Matthews], &[], LABEL)
    },
    row("glue/sst2", "sst2", &["negative", "positive"], &[Metric::Accuracy], &[SENTENCE], LABEL),
    row(
        "glue/mrpc",
        "mrpc",
        &["not_equivalent", "equivalent"],
        &[Metric::F1, Metric::Accuracy],
        &[SENTENCE1, SENTENCE2],
        &["label", "Quality"],
    ),
    Format {
        answer: Answer::Number,
        ..row(
            "glue/stsb",
            "stsb",
            &[],
            &[Metric::Pearson, Metric::Spearman],
            &[SENTENCE1, SENTENCE2],
            &["label", "score"],
        )
    },
    row(
        "glue/qqp",
        "qqp",
        &["not_duplicate", "duplicate"],
        &[Metric::F1, Metric::Accuracy],
        &[Field { name: "question1", columns: &["question1"] }, Field { name: "question2", columns: &["question2"] }],
        &["label", "is_duplicate"],
    ),
    mnli("glue/mnli", "mnli", &[Metric::Accuracy]),
    // The second test set of MNLI and GLUE's diagnostic set are read by the prompts of MNLI.
    mnli("glue/mnli_mismatched", "mnli_mismatched", &[Metric::Accuracy]),
    mnli("glue/ax", "ax", &[Metric::Matthews]),
    row(
        "glue/qnli",
        "qnli",
        ENTAILMENT,
        &[Metric::Accuracy],
        &[Field { name: "question", columns: &["question"] }, SENTENCE],
        LABEL,
    ),
    row("glue/rte", "rte", ENTAILMENT, &[Metric::Accuracy], &[SENTENCE1, SENTENCE2], LABEL),
    row("glue/wnli", "wnli", &["not_entailment", "entailment"], &[Metric::Accuracy], &[SENTENCE1, SENTENCE2], LABEL),
];

#[cfg(test)]
mod tests {
    use crate::ml::tasks::error::ReadError;
    use crate::ml::tasks::format::Reading;
    use crate::ml::tasks::published::{read, read_file};
    use crate::ml::tasks::{Example, Split};

    fn train(format: &str, text: &str) -> Result<Vec<Example>, ReadError> {
        read(format, text.as_bytes(), Split::Train, &Reading::default())
    }

    #[track_caller]
    fn check(format: &str, text: &str, input: &str, target: &str, label: Option<u32>) {
        let examples = train(format, text).unwrap();
        let found: Vec<_> = examples.iter().map(|e| (e.input.as_str(), e.target.as_str(), e.label)).collect();
        assert_eq!(found, [(input, target, label)]);
    }

    #[test]
    fn each_task_reads_its_original_layout() {
        check("glue/cola", "gj04\t0\t*\tHe \"ran.\n", "cola sentence: He \"ran.", "unacceptable", Some(0));
        check("glue/sst2", "sentence\tlabel\nfine . \t1\n", "sst2 sentence: fine . ", "positive", Some(1));
        check(
            "glue/mrpc",
            "Quality\t#1 ID\t#2 ID\t#1 String\t#2 String\n1\t7\t8\t\" A \tB\n",
            "mrpc sentence1: \" A  sentence2: B",
            "equivalent",
            Some(1),
        );
        check(
            "glue/stsb",
            "index\tsentence1\tsentence2\tscore\n0\tA\tB\t2.500\n",
            "stsb sentence1: A sentence2: B",
            "2.4",
            None,
        );
        check(
            "glue/qqp",
            "id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate\n5\t1\t2\tA?\tB?\t0\n",
            "qqp question1: A? question2: B?",
            "not_duplicate",
            Some(0),
        );
        check(
            "glue/mnli",
            "index\tsentence1\tsentence2\tlabel1\tgold_label\n0\tP\tH\tneutral\tcontradiction\n",
            "mnli hypothesis: H premise: P",
            "contradiction",
            Some(2),
        );
        check(
            "glue/qnli",
            "index\tquestion\tsentence\tlabel\n0\tQ\tS\tnot_entailment\n",
            "qnli question: Q sentence: S",
            "not_entailment",
            Some(1),
        );
        check(
            "glue/rte",
            "index\tsentence1\tsentence2\tlabel\n0\tA\tB\tentailment\n",
            "rte sentence1: A sentence2: B",
            "entailment",
            Some(0),
        );
        check(
            "glue/wnli",
            "index\tsentence1\tsentence2\tlabel\n0\tA\tB\t1\n",
            "wnli sentence1: A sentence2: B",
            "entailment",
            Some(1),
        );
    }

    #[test]
    fn json_lines_may_hold_words_or_numbers() {
        let mnli = |label: &str| format!("{{\"premise\": \"P\", \"hypothesis\": \"H\", \"label\": {label}}}\n");
        check("glue/mnli", &mnli("\"neutral\""), "mnli hypothesis: H premise: P", "neutral", Some(1));
        check("glue/mnli", &mnli("1"), "mnli hypothesis: H premise: P", "neutral", Some(1));
        check("glue/mnli", &mnli("1.0"), "mnli hypothesis: H premise: P", "neutral", Some(1));
        check("glue/rte", &mnli("0"), "rte sentence1: P sentence2: H", "entailment", Some(0));
        check("glue/sst2", "sentence\tlabel\nfine\t1.0\n", "sst2 sentence: fine", "positive", Some(1));
        let array = format!("[{}, {}]", mnli("0").trim(), mnli("2").trim());
        assert_eq!(train("glue/mnli", &array).unwrap().iter().map(|e| e.label).collect::<Vec<_>>(), [Some(0), Some(2)]);
        let big = "{\"premise\": \"P\", \"hypothesis\": \"H\", \"label\": 1, \"idx\": 18446744073709551615}";
        assert_eq!(train("glue/mnli", big).unwrap()[0].id, "18446744073709551615");
    }

    #[test]
    fn truth_values_are_no_places() {
        let row = |label: &str| format!("{{\"premise\": \"P\", \"hypothesis\": \"H\", \"label\": {label}}}\n");
        for label in ["true", "\"True\""] {
            assert!(matches!(train("glue/rte", &row(label)), Err(ReadError::Label { .. })), "{label}");
        }
    }

    #[test]
    fn only_test_splits_hide_labels() {
        let row = |label: &str| format!("{{\"premise\": \"P\", \"hypothesis\": \"H\"{label}}}\n");
        let read = |text: &str, split| read("glue/mnli", text.as_bytes(), split, &Reading::default());
        for hiding in [
            ", \"label\": -1",
            ", \"label\": -1.0",
            ", \"label\": null",
            ", \"label\": \"\"",
            ", \"label\": \"NaN\"",
            "",
        ] {
            let hidden = read(&row(hiding).repeat(2), Split::Test).unwrap();
            assert!(hidden.iter().all(|e| e.target == "<unk>" && e.label.is_none()), "{hiding}");
            let some = row(", \"label\": 0") + &row(hiding);
            for split in [Split::Train, Split::Validation] {
                assert!(read(&some, split).is_err(), "{hiding}");
            }
            let labels: Vec<_> = read(&some, Split::Test).unwrap().iter().map(|example| example.label).collect();
            assert_eq!(labels, [Some(0), None], "{hiding}");
        }
        let error = |label: &str| read(&row(label), Split::Train).unwrap_err().to_string();
        assert_eq!(
            error(", \"label\": -1"),
            "line 1: column `label` is -1, which hides the answer; only a test split may hide it: leave the row out"
        );
        assert!(error(", \"label\": null").starts_with("line 1: column `label` is missing, which hides the answer"));
        let stsb = train("glue/stsb", "sentence1\tsentence2\tscore\nA\tB\t-1.0\n").unwrap_err().to_string();
        assert!(stsb.starts_with("line 2: column `score` is `-1.0`, which hides the answer"), "{stsb}");
    }

    #[test]
    fn rows_that_nobody_could_decide_are_left_out_and_counted() {
        let text = "gold_label\tsentence1\tsentence2\n-\tP\tH\nneutral\tQ\tI\n-\tR\tJ\n";
        for split in Split::ALL {
            let read = read_file("glue/mnli", text.as_bytes(), split, &Reading::default()).unwrap();
            assert_eq!((read.examples.len(), &*read.examples[0].target), (1, "neutral"));
            assert_eq!((read.left_out.len(), read.left_out[0].rows), (1, 2));
        }
        assert!(matches!(train("glue/rte", "label\tsentence1\tsentence2\n-\tP\tH\n"), Err(ReadError::Label { .. })));
        assert!(matches!(
            train("glue/mnli", "gold_label\tsentence1\tsentence2\n-\tP\tH\n"),
            Err(ReadError::Empty { .. })
        ));
    }

    #[test]
    fn a_file_without_rows_is_refused() {
        for text in ["sentence\tlabel\n", "[]", "sentence\tlabel"] {
            assert_eq!(train("glue/sst2", text).unwrap_err().to_string(), "no rows; expected at least one", "{text}");
        }
    }

    #[test]
    fn test_files_hide_their_labels() {
        let hidden = |format, text: &str| read(format, text.as_bytes(), Split::Test, &Reading::default()).unwrap();
        let cola = hidden("glue/cola", "index\tsentence\n3\tA b.\n");
        assert_eq!((cola[0].id.as_str(), cola[0].input.as_str()), ("3", "cola sentence: A b."));
        assert_eq!((cola[0].target.as_str(), cola[0].label), ("<unk>", None));
        assert_eq!(hidden("glue/stsb", "index\tsentence1\tsentence2\n0\tA\tB\n")[0].target, "<unk>");
    }

    #[test]
    fn diagnostic_sets_have_names_of_their_own_and_the_words_of_their_tasks() {
        let header = "index\tsentence1\tsentence2\n7\tP\tH\n";
        for (format, task) in [("glue/mnli_mismatched", "mnli_mismatched"), ("glue/ax", "ax")] {
            let examples = read(format, header.as_bytes(), Split::Test, &Reading::default()).unwrap();
            assert_eq!((&*examples[0].id, &*examples[0].input), ("7", "mnli hypothesis: H premise: P"));
            assert_eq!(crate::ml::tasks::task(format).unwrap().name, task);
        }
    }

    #[test]
    fn the_word_in_front_can_be_left_out() {
        let reading = Reading { prefix: false, ..Reading::default() };
        let examples = read("glue/sst2", b"sentence\tlabel\nfine\t1\n", Split::Train, &reading).unwrap();
        assert_eq!(examples[0].input, "sentence: fine");
    }

    #[test]
    fn identifiers_that_repeat_become_row_numbers() {
        let ids = |text: &str| train("glue/rte", text).unwrap().into_iter().map(|e| e.id).collect::<Vec<_>>();
        assert_eq!(ids("index\tsentence1\tsentence2\tlabel\n9\tA\tB\t0\n4\tA\tB\t0\n"), ["9", "4"]);
        assert_eq!(ids("index\tsentence1\tsentence2\tlabel\n9\tA\tB\t0\n9\tA\tB\t0\n"), ["0", "1"]);
    }

    #[test]
    fn labels_outside_the_set_are_named() {
        let error = train("glue/rte", "index\tsentence1\tsentence2\tlabel\n0\tA\tB\tentailement\n").unwrap_err();
        assert_eq!(
            error.to_string(),
            "line 2: column `label` is `entailement`, which is not a label of `rte` (did you mean `entailment`?); \
             labels are 0 `entailment`, 1 `not_entailment`"
        );
        assert!(matches!(train("glue/sst2", "sentence\tlabel\nx\t2\n"), Err(ReadError::Label { line: 2, .. })));
        assert!(matches!(train("glue/sst2", "sentence\tlabel\nx\t\n"), Err(ReadError::Hidden { line: 2, .. })));
        let stsb = train("glue/stsb", "sentence1\tsentence2\tscore\nA\tB\t5.5\n").unwrap_err();
        assert_eq!(stsb.to_string(), "line 2: column `score` is `5.5`, expected a number from 0 to 5");
    }

    #[test]
    fn missing_columns_are_named_with_those_that_are_there() {
        let error = train("glue/rte", "index\tsentence1\tsentence_2\tlabel\n0\tA\tB\t0\n").unwrap_err();
        assert_eq!(
            error.to_string(),
            "line 1: no column `sentence2` or `#2 String` or `hypothesis` (did you mean `sentence_2`?); \
             found `index`, `sentence1`, `sentence_2`, `label`"
        );
        let unlabelled = train("glue/sst2", "sentence\nx\n").unwrap_err();
        assert!(matches!(unlabelled, ReadError::Column { line: 1, .. }));
    }

    #[test]
    fn unknown_formats_are_named_with_the_nearest() {
        let error = train("glue/mlni", "").unwrap_err().to_string();
        assert!(error.starts_with("unknown format `glue/mlni` (did you mean `glue/mnli`?); known are `glue/cola`"));
    }
}
