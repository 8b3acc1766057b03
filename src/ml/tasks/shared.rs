//! Checks on the real files of the benchmarks, by counts and digests; skipped where they are not at hand.

use super::{Answer, Example, Keys, Metric, Reading, Split, read, sample, task};
use crate::ml::random::Stream;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// A folder of the shared data, which stays outside the repository.
pub(crate) fn folder(name: &str) -> Option<PathBuf> {
    let root = std::env::var_os("SPOT_SHARED")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared"), PathBuf::from);
    let folder = root.join("data").join(name);
    if folder.is_dir() {
        return Some(folder);
    }
    eprintln!("skipped: no {} (set SPOT_SHARED)", folder.display());
    None
}

fn examples(suite: &str, file: &str, format: &str, split: Split) -> Option<Vec<Example>> {
    let path = folder(suite)?.join(file);
    let bytes = fs_err::read(&path).unwrap();
    Some(read(format, &bytes, split, &Reading::default()).unwrap_or_else(|error| panic!("{file}: {error}")))
}

/// Checks the number of examples with each label, in the order of the labels.
#[track_caller]
fn check(suite: &str, file: &str, format: &str, split: Split, expected: &[usize]) {
    let Some(examples) = examples(suite, file, format, split) else { return };
    let task = task(format).unwrap();
    let mut counts = vec![0; task.labels.len()];
    for example in &examples {
        let label = example.label.expect("labelled") as usize;
        assert_eq!(example.target, task.labels[label]);
        counts[label] += 1;
    }
    assert_eq!(counts, expected, "{file}");
    check_form(&examples, &task.name, file);
}

fn check_form(examples: &[Example], word: &str, file: &str) {
    let ids: std::collections::BTreeSet<_> = examples.iter().map(|e| &e.id).collect();
    assert_eq!(ids.len(), examples.len(), "{file}: ids repeat");
    assert!(examples.iter().all(|e| e.input.starts_with(word) && !e.input.contains('\t')), "{file}");
}

use Split::{Test, Train, Validation};

#[test]
fn glue_has_the_known_counts() {
    let glue = |file, format, split, expected: &[usize]| check("glue", file, format, split, expected);
    glue("CoLA/train.tsv", "glue/cola", Train, &[2528, 6023]);
    glue("CoLA/dev.tsv", "glue/cola", Validation, &[324, 719]);
    glue("SST-2/train.tsv", "glue/sst2", Train, &[29780, 37569]);
    glue("SST-2/dev.tsv", "glue/sst2", Validation, &[428, 444]);
    glue("MRPC/train.tsv", "glue/mrpc", Train, &[1194, 2474]);
    glue("MRPC/dev.tsv", "glue/mrpc", Validation, &[129, 279]);
    glue("MRPC/test.tsv", "glue/mrpc", Test, &[578, 1147]);
    glue("QQP/train_9k.tsv", "glue/qqp", Train, &[5747, 3252]);
    glue("QQP/heldout_1k.tsv", "glue/qqp", Validation, &[623, 377]);
    glue("QQP/glue_layout_sample.tsv", "glue/qqp", Train, &[80, 80]);
    glue("MNLI/train_9k.jsonl", "glue/mnli", Train, &[3061, 2980, 2958]);
    glue("MNLI/heldout_1k.jsonl", "glue/mnli", Validation, &[347, 333, 320]);
    glue("MNLI/dev_matched_9815.jsonl", "glue/mnli", Validation, &[3479, 3123, 3213]);
    glue("MNLI/glue_layout_sample.tsv", "glue/mnli", Train, &[80, 80, 80]);
    glue("QNLI/train_9k.tsv", "glue/qnli", Train, &[4523, 4476]);
    glue("QNLI/heldout_1k.tsv", "glue/qnli", Validation, &[504, 496]);
    glue("QNLI/dev.tsv", "glue/qnli", Validation, &[2702, 2761]);
    glue("QNLI/glue_layout_sample.tsv", "glue/qnli", Train, &[80, 80]);
    glue("RTE/train.tsv", "glue/rte", Train, &[1249, 1241]);
    glue("RTE/dev.tsv", "glue/rte", Validation, &[146, 131]);
    glue("WNLI/train.tsv", "glue/wnli", Train, &[323, 312]);
    glue("WNLI/dev.tsv", "glue/wnli", Validation, &[40, 31]);
}

#[test]
fn similarities_have_the_known_mean_and_steps() {
    for (file, split, count, mean) in
        [("STS-B/train.tsv", Train, 5749, 2.701), ("STS-B/dev.tsv", Validation, 1500, 2.364)]
    {
        let Some(examples) = examples("glue", file, "glue/stsb", split) else { return };
        assert_eq!(examples.len(), count);
        let numbers: Vec<f64> = examples.iter().map(|e| e.target.parse().unwrap()).collect();
        assert!(numbers.iter().all(|n| (0.0..=5.0).contains(n) && (n * 5.0 - (n * 5.0).round()).abs() < 1e-9));
        let found = numbers.iter().sum::<f64>() / count as f64;
        assert!((found - mean).abs() < 0.01, "{file}: mean {found}");
        check_form(&examples, "stsb sentence1: ", file);
    }
}

#[test]
fn superglue_has_the_known_counts() {
    let superglue = |file, format, split, expected: &[usize]| check("superglue", file, format, split, expected);
    superglue("BoolQ/train32.jsonl", "superglue/boolq", Train, &[14, 18]);
    superglue("BoolQ/val.jsonl", "superglue/boolq", Validation, &[1237, 2033]);
    superglue("CB/train.jsonl", "superglue/cb", Train, &[115, 119, 16]);
    superglue("CB/val.jsonl", "superglue/cb", Validation, &[23, 28, 5]);
    superglue("COPA/train.jsonl", "superglue/copa", Train, &[195, 205]);
    superglue("COPA/val.jsonl", "superglue/copa", Validation, &[55, 45]);
    superglue("MultiRC/train32.jsonl", "superglue/multirc", Train, &[86, 68]);
    superglue("MultiRC/val.jsonl", "superglue/multirc", Validation, &[2773, 2075]);
    superglue("RTE/train.jsonl", "superglue/rte", Train, &[1249, 1241]);
    superglue("RTE/val.jsonl", "superglue/rte", Validation, &[146, 131]);
    superglue("WiC/train.jsonl", "superglue/wic", Train, &[2714, 2714]);
    superglue("WiC/val.jsonl", "superglue/wic", Validation, &[319, 319]);
    superglue("WSC/train.jsonl", "superglue/wsc_classify", Train, &[295, 259]);
    superglue("WSC/val.jsonl", "superglue/wsc_classify", Validation, &[66, 38]);
}

#[test]
fn the_files_of_either_rte_serve_both_templates() {
    let Some(glue) = examples("glue", "RTE/dev.tsv", "superglue/rte", Validation) else { return };
    let Some(superglue) = examples("superglue", "RTE/val.jsonl", "superglue/rte", Validation) else { return };
    let labels = |examples: &[Example]| examples.iter().map(|e| e.label).collect::<Vec<_>>();
    assert_eq!(labels(&glue), labels(&superglue));
}

#[test]
fn questions_of_multirc_are_groups() {
    let Some(examples) = examples("superglue", "MultiRC/val.jsonl", "superglue/multirc", Validation) else { return };
    let groups: std::collections::BTreeSet<_> = examples.iter().map(|e| e.group.clone().unwrap()).collect();
    assert_eq!(groups.len(), 953);
    assert!(examples.iter().all(|e| !e.input.contains("<br>") && !e.input.contains("<b>")));
}

#[test]
fn queries_of_record_ask_for_an_entity() {
    let Some(train) = examples("superglue", "ReCoRD/train32.jsonl", "superglue/record", Train) else { return };
    let Some(dev) = examples("superglue", "ReCoRD/dev32.jsonl", "superglue/record", Validation) else { return };
    assert_eq!(dev.len(), 32);
    assert!(train.len() >= 32);
    for example in train.iter().chain(&dev) {
        let (_, rest) = example.input.split_once(" entities: ").unwrap();
        let (entities, _) = rest.split_once(" passage: ").unwrap();
        assert!(entities.split(", ").any(|entity| entity == example.target) || entities.contains(&example.target));
        assert!(!example.input.contains("@highlight"));
    }
    check_form(&train, "record query: ", "ReCoRD/train32.jsonl");
}

/// Answers to a question are right or wrong together: of some of them a group would be right more often than of all.
#[test]
fn a_sample_of_multirc_scores_what_the_whole_scores() {
    let Some(all) = examples("superglue", "MultiRC/val.jsonl", "superglue/multirc", Validation) else { return };
    let task = task("superglue/multirc").unwrap();
    let always_false = |examples: &[Example]| {
        let metrics = task.score(&vec!["False".to_owned(); examples.len()], examples).metrics;
        metrics.into_iter().find(|(metric, _)| *metric == Metric::GroupExactMatch).unwrap().1
    };
    assert!((always_false(&all) - 0.3).abs() < 0.05, "{}", always_false(&all));
    for seed in 0..5 {
        let taken = sample(&Keys::of(&all), 300, &mut Stream::new(seed, "rows of validation"));
        let drawn = all.iter().zip(taken).filter(|(_, taken)| *taken).map(|(example, _)| example.clone());
        let drawn: Vec<Example> = drawn.collect();
        assert!((280..=300).contains(&drawn.len()), "{}", drawn.len());
        assert!(always_false(&drawn) < 5.0, "{}", always_false(&drawn));
    }
}

#[test]
fn wsc_in_its_generative_form_keeps_right_nouns() {
    let Some(train) = examples("superglue", "WSC/train.jsonl", "superglue/wsc", Train) else { return };
    let Some(val) = examples("superglue", "WSC/val.jsonl", "superglue/wsc", Validation) else { return };
    let Some(test) = examples("superglue", "WSC/test.jsonl", "superglue/wsc", Test) else { return };
    assert_eq!((train.len(), val.len(), test.len()), (259, 104, 146));
    assert!(train.iter().chain(&val).chain(&test).all(|e| e.input.matches('*').count() == 2));
    // The target is a part of the text, once its case is that of the text.
    assert!(train.iter().all(|e| e.input.replace('*', "").contains(&e.target)));
    check_form(&train, "wsc: ", "WSC/train.jsonl");
    let scores = task("superglue/wsc").unwrap().score(&val.iter().map(|e| e.target.clone()).collect::<Vec<_>>(), &val);
    // Always naming the given noun is right where it is the right one: 38 of 104.
    assert!((scores.score.unwrap() - 100.0 * 38.0 / 104.0).abs() < 1e-9);
}

#[test]
fn hidden_test_labels_are_read() {
    let Some(cb) = examples("superglue", "CB/test.jsonl", "superglue/cb", Test) else { return };
    assert_eq!(cb.len(), 250);
    assert!(cb.iter().all(|e| e.label.is_none() && e.target == "<unk>"));
}

#[test]
fn squad_has_the_known_counts() {
    let Some(dev) = examples("qa", "SQuAD-v1.1/dev-v1.1.json", "squad", Validation) else { return };
    assert_eq!(dev.len(), 10_570);
    assert_eq!(dev.iter().map(|e| e.answers.len()).sum::<usize>(), 34_726);
    check_form(&dev, "question: ", "dev-v1.1.json");
    let known = task("squad").unwrap();
    assert_eq!(known.answer, Answer::Text);
    let scores = known.score(&dev.iter().map(|e| e.target.clone()).collect::<Vec<_>>(), &dev);
    assert_eq!(scores.metrics[0].1, 100.0);
    let Some(train) = examples("qa", "SQuAD-v1.1/train-v1.1.first100articles.json", "squad", Train) else { return };
    assert_eq!(train.len(), 20_456);
}

#[test]
fn drop_has_the_known_counts() {
    let Some(test) = examples("qa", "contrast-sets/drop_contrast_sets_test.json", "drop", Validation) else { return };
    assert_eq!(test.len(), 947);
    let scores = task("drop").unwrap().score(&test.iter().map(|e| e.target.clone()).collect::<Vec<_>>(), &test);
    assert_eq!(scores.score, Some(100.0));
}

/// Digests of what the readers make of the real files: a change of a template, a rounding or a field shows here.
#[test]
fn the_text_of_every_example_is_pinned() {
    let files = [
        ("glue", "CoLA/dev.tsv", "glue/cola", Validation),
        ("glue", "SST-2/dev.tsv", "glue/sst2", Validation),
        ("glue", "MRPC/dev.tsv", "glue/mrpc", Validation),
        ("glue", "STS-B/dev.tsv", "glue/stsb", Validation),
        ("glue", "QQP/heldout_1k.tsv", "glue/qqp", Validation),
        ("glue", "MNLI/heldout_1k.jsonl", "glue/mnli", Validation),
        ("glue", "MNLI/glue_layout_sample.tsv", "glue/mnli", Train),
        ("glue", "QNLI/dev.tsv", "glue/qnli", Validation),
        ("glue", "RTE/dev.tsv", "glue/rte", Validation),
        ("glue", "WNLI/dev.tsv", "glue/wnli", Validation),
        ("superglue", "BoolQ/val.jsonl", "superglue/boolq", Validation),
        ("superglue", "CB/val.jsonl", "superglue/cb", Validation),
        ("superglue", "COPA/val.jsonl", "superglue/copa", Validation),
        ("superglue", "MultiRC/val.jsonl", "superglue/multirc", Validation),
        ("superglue", "ReCoRD/train32.jsonl", "superglue/record", Train),
        ("superglue", "RTE/val.jsonl", "superglue/rte", Validation),
        ("superglue", "WiC/val.jsonl", "superglue/wic", Validation),
        ("superglue", "WSC/train.jsonl", "superglue/wsc", Train),
        ("superglue", "WSC/val.jsonl", "superglue/wsc", Validation),
        ("superglue", "WSC/val.jsonl", "superglue/wsc_classify", Validation),
        ("qa", "SQuAD-v1.1/dev-v1.1.json", "squad", Validation),
    ];
    let pinned: BTreeMap<String, String> =
        serde_json::from_str(include_str!("../../../tests/golden/tasks.json")).unwrap();
    for (suite, file, format, split) in files {
        let Some(examples) = examples(suite, file, format, split) else { return };
        let mut hasher = blake3::Hasher::new();
        for example in &examples {
            for text in [&example.input, &example.target].into_iter().chain(&example.answers) {
                hasher.update(text.as_bytes()).update(b"\n");
            }
        }
        let digest = hasher.finalize().to_hex();
        assert_eq!(pinned[&format!("{format} of {file}")], digest[..32], "{format} of {file}");
    }
}
