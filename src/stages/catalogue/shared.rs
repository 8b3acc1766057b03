//! Rows of the catalogue on the real files of the benchmarks, by counts and beside the readers of formats; skipped where the files are
//! not at hand.

use super::row::Row;
use super::{Of, find};
use crate::engine::library::Library;
use crate::ml::tasks::shared::folder;
use crate::ml::tasks::{self, Example, Reading, Split};
use crate::stages::ingest::examples_in;

/// A row of the program; `without_id` where a file has no column for it.
fn row(name: &str, variant: Option<&str>, without_id: bool) -> Row {
    let entry = find(&Library::of("/nowhere"), name, Some(Of::Program)).unwrap();
    let row = variant.map_or(entry.row.clone(), |variant| entry.row.variant(variant).unwrap());
    if without_id { row.without("id") } else { row }
}

fn bytes(suite: &str, file: &str) -> Option<Vec<u8>> {
    Some(fs_err::read(folder(suite)?.join(file)).unwrap())
}

fn key(example: &Example) -> (&str, &str, Option<u32>, &[String]) {
    (&example.input, &example.target, example.label, &example.answers)
}

/// The template of a row makes of a file what the reader of its format makes.
#[track_caller]
fn agrees(suite: &str, file: &str, name: &str, without_id: bool) {
    let Some(bytes) = bytes(suite, file) else { return };
    let row = row(name, None, without_id);
    let by_template = examples_in(&row, file, &bytes).unwrap_or_else(|error| panic!("{file}: {error:#}"));
    let by_format = tasks::read(row.format.as_ref().unwrap(), &bytes, Split::Train, &Reading::default()).unwrap();
    assert_eq!(by_template.len(), by_format.len(), "{file}");
    for (template, format) in by_template.iter().zip(&by_format) {
        assert_eq!(key(template), key(format), "{file}");
        assert!(without_id || template.id == format.id, "{file}");
    }
}

#[test]
fn templates_make_of_the_files_of_glue_what_its_readers_make() {
    agrees("glue", "SST-2/dev.tsv", "sst2", true);
    agrees("glue", "RTE/dev.tsv", "glue_rte", true);
    agrees("glue", "QNLI/dev.tsv", "qnli", true);
    agrees("glue", "MNLI/dev_matched_9815.jsonl", "mnli", true);
    agrees("glue", "MNLI/heldout_1k.jsonl", "mnli", true);
}

#[test]
fn templates_make_of_the_files_of_superglue_what_its_readers_make() {
    for file in ["CB/train.jsonl", "CB/val.jsonl"] {
        agrees("superglue", file, "cb", false);
    }
    for file in ["COPA/train.jsonl", "COPA/val.jsonl"] {
        agrees("superglue", file, "copa", false);
    }
    for file in ["RTE/train.jsonl", "RTE/val.jsonl"] {
        agrees("superglue", file, "rte", false);
    }
}

/// Checks the examples of each label, and the beginning of the first input.
#[track_caller]
fn counts((suite, file): (&str, &str), (name, variant): (&str, Option<&str>), expected: &[usize], first: &str) {
    let Some(bytes) = bytes(suite, file) else { return };
    let examples =
        examples_in(&row(name, variant, false), file, &bytes).unwrap_or_else(|error| panic!("{file}: {error:#}"));
    let mut found = vec![0; expected.len()];
    examples.iter().for_each(|example| found[example.label.unwrap() as usize] += 1);
    assert_eq!(found, expected, "{file}");
    assert!(examples[0].input.starts_with(first), "{file}: {}", examples[0].input);
}

#[test]
fn files_of_other_tasks_have_the_known_counts() {
    let snli = "snli hypothesis: ";
    counts(("nli", "SNLI/train_9k.jsonl"), ("snli", None), &[2981, 2994, 3024], snli);
    counts(("nli", "SNLI/heldout_1k.jsonl"), ("snli", None), &[346, 328, 326], snli);
    counts(
        ("nli", "SNLI/dev_9842.jsonl"),
        ("snli", None),
        &[3329, 3235, 3278],
        "snli hypothesis: The sisters are hugging goodbye",
    );
    let anli = "anli_r1 hypothesis: The first Ernest Jones store was opened on the continent of Europe. context: Ernest Jones is";
    counts(("nli", "ANLI/test_r1_r2_r3.jsonl"), ("anli_r1", None), &[1070, 1068, 1062], anli);
    counts(("qa", "CosmosQA/valid.csv"), ("cosmos_qa", None), &[744, 729, 761, 751], "cosmos_qa question: ");
    let hellaswag =
        "hellaswag context: A man is sitting on a roof. he choice0: is using wrap to wrap a pair of skis. choice1: ";
    counts(("commonsense", "HellaSwag/val_first2500.jsonl"), ("hellaswag", None), &[644, 580, 664, 612], hellaswag);
    let tweets = ("sentiment", "Sentiment140/testdata.manual.2009.06.14.csv");
    counts(tweets, ("sentiment140", Some("original")), &[177, 182], "sentiment140 sentence: ");
}

/// GLUE's own copy of SNLI has rows with the labels of five annotators below a header with that of one. Which of 15 fields is which
/// is nobody's to guess.
#[test]
fn rows_with_more_fields_than_their_header_are_refused() {
    let file = "SNLI/glue_layout_sample.tsv";
    let Some(bytes) = bytes("nli", file) else { return };
    let error = examples_in(&row("snli", Some("original"), false), file, &bytes).err().unwrap();
    assert!(format!("{error:#}").contains("15 fields, expected 11 (`index`"), "{error:#}");
}

/// Every format of a row is one of the readers that `ml::tasks::shared` checks on the files of GLUE, SuperGLUE, SQuAD and DROP.
#[test]
fn files_of_a_benchmark_go_to_its_reader() {
    for (name, format) in [
        ("cola", "glue/cola"),
        ("mrpc", "glue/mrpc"),
        ("stsb", "glue/stsb"),
        ("qqp", "glue/qqp"),
        ("boolq", "superglue/boolq"),
        ("wic", "superglue/wic"),
        ("multirc", "superglue/multirc"),
        ("record", "superglue/record"),
        ("wsc", "superglue/wsc"),
        ("squad", "squad"),
        ("drop", "drop"),
    ] {
        assert_eq!(row(name, None, false).format.as_deref(), Some(format));
    }
    assert_eq!(row("wsc", Some("classify"), false).format.as_deref(), Some("superglue/wsc_classify"));
}
