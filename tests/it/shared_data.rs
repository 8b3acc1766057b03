//! Every file of the shared data through the program: its row of the catalogue, or the lines of a manifest that read it and why no row
//! does. Rows and labels are compared with the README of its folder, the first and the last text with what this test makes of the raw
//! file by itself. Skipped where the files are not at hand.

use super::shell::{PROJECT, Shell};
use serde_json::Value;
use spot::data::{Card, Dataset, SplitCard, read_dataset};
use spot::ml::model::{Dims, Weights};
use spot::ml::random::Stream;
use spot::ml::tasks::{Example, Split};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::{Path, PathBuf};

use Split::{Test, Train, Validation};

/// A file, how it is read, and what comes out.
struct Known {
    /// Its path below `data`.
    file: &'static str,
    /// The source in a manifest, without the files.
    from: From,
    split: Split,
    /// Labels as README.md has them, and the words that the model writes for them.
    labels: &'static [(&'static str, &'static str)],
    /// What README.md counts and the data set has not: its name there, and the end of the message that says so.
    left_out: Option<(&'static str, &'static str)>,
    /// How this test makes the texts of an example.
    texts: Texts,
    /// The first digits of BLAKE3 of the first input and target.
    digest: &'static str,
}

/// The source of a stage.
#[derive(Clone, Copy)]
enum From {
    /// The row of the catalogue with this name, or a variant of it.
    Row(&'static str),
    Variant(&'static str, &'static str),
    /// No row: a reader, or fields of a table; and why.
    Reader(&'static str, &'static str),
    Table(&'static str, &'static str),
}

/// How the input and the target are made of a row of the raw file, by holes: `{name}` or `{/pointer}`.
#[derive(Clone, Copy)]
enum Texts {
    /// Fields between tabs below a header.
    Tabs(&'static str, &'static str),
    /// Without one; holes are places.
    Bare(&'static str, &'static str),
    /// Fields of the `csv` crate below a header, or without one by their places.
    Csv(&'static str, &'static str),
    BareCsv(&'static str, &'static str),
    /// JSON lines.
    Json(&'static str, &'static str),
    /// Something else, of the raw bytes: the first and the last example.
    Made(fn(&[u8]) -> [[String; 2]; 2]),
}

/// Where the data are; `None`, with a message, if they are not at hand.
fn data() -> Option<PathBuf> {
    let shared = std::env::var_os("SPOT_SHARED").map_or_else(|| Path::new(PROJECT).join("../shared"), PathBuf::from);
    let folder = shared.join("data");
    if folder.is_dir() {
        return Some(folder);
    }
    println!("skipped: no {} (set SPOT_SHARED)", folder.display());
    None
}

const SAME_NLI: &[(&str, &str)] =
    &[("entailment", "entailment"), ("neutral", "neutral"), ("contradiction", "contradiction")];
const SAME_TWO: &[(&str, &str)] = &[("entailment", "entailment"), ("not_entailment", "not_entailment")];
const BOOLEAN: &[(&str, &str)] = &[("False", "False"), ("True", "True")];
const BINARY: &[(&str, &str)] = &[("0", "False"), ("1", "True")];
const MOOD: &[(&str, &str)] = &[("0", "negative"), ("1", "positive")];
const COLA: &[(&str, &str)] = &[("0", "unacceptable"), ("1", "acceptable")];
const MRPC: &[(&str, &str)] = &[("0", "not_equivalent"), ("1", "equivalent")];
const QQP: &[(&str, &str)] = &[("0", "not_duplicate"), ("1", "duplicate")];
const WNLI: &[(&str, &str)] = &[("0", "not_entailment"), ("1", "entailment")];
const COPA: &[(&str, &str)] = &[("0", "choice1"), ("1", "choice2")];
const FOUR: &[(&str, &str)] = &[("0", "choice0"), ("1", "choice1"), ("2", "choice2"), ("3", "choice3")];
const TWEETS: &[(&str, &str)] = &[("0", "negative"), ("4", "positive")];
const OPTIONS: &[(&str, &str)] = &[("0", "option1"), ("1", "option2")];
const NONE: &[(&str, &str)] = &[];

const NO_WNLI: &str = "T5 leaves WNLI out, and so does the paper: WSC stands for it";
const NO_MR: &str = "MR is in none of the paper's mixtures";
const DERIVED: &str = "the file is derived from WinoGrande's: contexts with either noun and a common end, in place of a sentence with a gap";

/// How README.md calls comments with several emotions, and those that are neutral.
const SEVERAL: &str = "multi-label rows";
const NEUTRAL: &str = "27(neutral)";

/// Examples of files that no table of a README counts: SQuAD's are in its text, and those of the contrast set this test counts itself.
const UNCOUNTED: [(&str, usize); 2] =
    [("qa/SQuAD-v1.1/train-v1.1.full.json.zst", 87_599), ("qa/contrast-sets/boolq_perturbed.json", 335)];

const MNLI: Texts = Texts::Json("mnli hypothesis: {hypothesis} premise: {premise}", "{label}");
const SNLI: Texts = Texts::Json("snli hypothesis: {hypothesis} premise: {premise}", "{label}");
const PLAIN_COLA: Texts = Texts::Bare("cola sentence: {3}", "{1}");
const PLAIN_MRPC: Texts = Texts::Tabs("mrpc sentence1: {#1 String} sentence2: {#2 String}", "{Quality}");
const PLAIN_QNLI: Texts = Texts::Tabs("qnli question: {question} sentence: {sentence}", "{label}");
const PLAIN_QQP: Texts = Texts::Tabs("qqp question1: {question1} question2: {question2}", "{is_duplicate}");
const PLAIN_RTE: Texts = Texts::Tabs("rte sentence1: {sentence1} sentence2: {sentence2}", "{label}");
const PLAIN_SST2: Texts = Texts::Tabs("sst2 sentence: {sentence}", "{label}");
const PLAIN_WNLI: Texts = Texts::Tabs("wnli sentence1: {sentence1} sentence2: {sentence2}", "{label}");
const BOOLQ: Texts = Texts::Json("boolq passage: {passage} question: {question}", "{label}");
const CB: Texts = Texts::Json("cb hypothesis: {hypothesis} premise: {premise}", "{label}");
const PLAIN_COPA: Texts =
    Texts::Json("copa choice1: {choice1} choice2: {choice2} premise: {premise} question: {question}", "{label}");
const SUPER_RTE: Texts = Texts::Json("rte hypothesis: {hypothesis} premise: {premise}", "{label}");
const WIC: Texts = Texts::Json("wic sentence1: {sentence1} sentence2: {sentence2} word: {word}", "{label}");
const EMOTIONS: &str = "admiration amusement anger annoyance approval caring confusion curiosity desire disappointment disapproval disgust \
                        embarrassment excitement fear gratitude grief joy love nervousness optimism pride realization relief remorse \
                        sadness surprise neutral";

/// The end of the message about rows of WSC that are not learned.
const WRONG_NOUN: &str = "they name a noun that the pronoun does not refer to";

/// A row of the list below: everything is kept.
const fn known(
    file: &'static str,
    split: Split,
    row: &'static str,
    labels: &'static [(&'static str, &'static str)],
    texts: Texts,
    digest: &'static str,
) -> Known {
    Known { file, from: From::Row(row), split, labels, left_out: None, texts, digest }
}

const KNOWN: &[Known] = &[
    known("glue/CoLA/train.tsv", Train, "cola", COLA, PLAIN_COLA, "f4a82e067b2a"),
    known("glue/CoLA/dev.tsv", Train, "cola", COLA, PLAIN_COLA, "ef854968202d"),
    known("glue/MNLI/train_9k.jsonl", Train, "mnli", SAME_NLI, MNLI, "9ed11d9b8e4f"),
    known("glue/MNLI/heldout_1k.jsonl", Train, "mnli", SAME_NLI, MNLI, "cd69ccb417c4"),
    known("glue/MNLI/dev_matched_9815.jsonl", Train, "mnli", SAME_NLI, MNLI, "c81fce8ef2b0"),
    known(
        "glue/MNLI/glue_layout_sample.tsv",
        Train,
        "mnli",
        SAME_NLI,
        Texts::Tabs("mnli hypothesis: {sentence2} premise: {sentence1}", "{gold_label}"),
        "231bbef92813",
    ),
    known("glue/MRPC/train.tsv", Train, "mrpc", MRPC, PLAIN_MRPC, "9edd48e5b0b0"),
    known("glue/MRPC/dev.tsv", Train, "mrpc", MRPC, PLAIN_MRPC, "062bbce1bd94"),
    known("glue/MRPC/test.tsv", Train, "mrpc", MRPC, PLAIN_MRPC, "8033239035a4"),
    known("glue/QNLI/train_9k.tsv", Train, "qnli", SAME_TWO, PLAIN_QNLI, "36914f51a139"),
    known("glue/QNLI/heldout_1k.tsv", Train, "qnli", SAME_TWO, PLAIN_QNLI, "d7e521150640"),
    known("glue/QNLI/dev.tsv", Train, "qnli", SAME_TWO, PLAIN_QNLI, "4692deeef30e"),
    known("glue/QNLI/glue_layout_sample.tsv", Train, "qnli", SAME_TWO, PLAIN_QNLI, "ae7d86a05ffe"),
    known("glue/QQP/train_9k.tsv", Train, "qqp", QQP, PLAIN_QQP, "7fdd27183fd2"),
    known("glue/QQP/heldout_1k.tsv", Train, "qqp", QQP, PLAIN_QQP, "df0e029e9fb9"),
    known("glue/QQP/glue_layout_sample.tsv", Train, "qqp", QQP, PLAIN_QQP, "13dcf2420629"),
    known("glue/RTE/train.tsv", Train, "glue_rte", SAME_TWO, PLAIN_RTE, "fbd778e98345"),
    known("glue/RTE/dev.tsv", Train, "glue_rte", SAME_TWO, PLAIN_RTE, "dc23030f86d3"),
    known("glue/SST-2/train.tsv", Train, "sst2", MOOD, PLAIN_SST2, "38c7693709b8"),
    known("glue/SST-2/dev.tsv", Train, "sst2", MOOD, PLAIN_SST2, "7234903b25d4"),
    known("glue/STS-B/train.tsv", Train, "stsb", NONE, Texts::Made(similar), "a49316c27c2b"),
    known("glue/STS-B/dev.tsv", Train, "stsb", NONE, Texts::Made(similar), "fcfa6a2d85c4"),
    Known {
        from: From::Reader("glue/wnli", NO_WNLI),
        ..known("glue/WNLI/train.tsv", Train, "", WNLI, PLAIN_WNLI, "86df0fae913f")
    },
    Known {
        from: From::Reader("glue/wnli", NO_WNLI),
        ..known("glue/WNLI/dev.tsv", Train, "", WNLI, PLAIN_WNLI, "744f1957a29e")
    },
    known("superglue/BoolQ/train32.jsonl", Train, "boolq", BOOLEAN, BOOLQ, "e69bf3fed067"),
    known("superglue/BoolQ/dev32.jsonl", Train, "boolq", BOOLEAN, BOOLQ, "fcec0eb79ee6"),
    known("superglue/BoolQ/val.jsonl", Train, "boolq", BOOLEAN, BOOLQ, "69902b8eda5e"),
    known("superglue/CB/train.jsonl", Train, "cb", SAME_NLI, CB, "b683c41c530c"),
    known("superglue/CB/val.jsonl", Train, "cb", SAME_NLI, CB, "617f8c03cc1b"),
    known("superglue/CB/test.jsonl", Test, "cb", NONE, CB, "68d7cc0c0694"),
    known("superglue/COPA/train.jsonl", Train, "copa", COPA, PLAIN_COPA, "c689daf1666e"),
    known("superglue/COPA/val.jsonl", Train, "copa", COPA, PLAIN_COPA, "487cefccd05c"),
    known("superglue/MultiRC/train32.jsonl", Train, "multirc", BINARY, Texts::Made(answers), "5f1fdffba652"),
    known("superglue/MultiRC/dev32.jsonl", Train, "multirc", BINARY, Texts::Made(answers), "397c841ba02b"),
    known("superglue/MultiRC/val.jsonl", Train, "multirc", BINARY, Texts::Made(answers), "f4d9ea76c3e5"),
    known("superglue/ReCoRD/train32.jsonl", Train, "record", NONE, Texts::Made(entities), "d9367c7bbbde"),
    known("superglue/ReCoRD/dev32.jsonl", Validation, "record", NONE, Texts::Made(entities), "32b5ddc3afd5"),
    known("superglue/RTE/train.jsonl", Train, "rte", SAME_TWO, SUPER_RTE, "51ae15d23c3d"),
    known("superglue/RTE/val.jsonl", Train, "rte", SAME_TWO, SUPER_RTE, "11a25616f83e"),
    known("superglue/WiC/train.jsonl", Train, "wic", BOOLEAN, WIC, "14535ae316e5"),
    known("superglue/WiC/val.jsonl", Train, "wic", BOOLEAN, WIC, "dfe942ad5adf"),
    Known {
        left_out: Some(("False", WRONG_NOUN)),
        ..known("superglue/WSC/train.jsonl", Train, "wsc", NONE, Texts::Made(right_pronouns), "9619e6abb5a3")
    },
    Known {
        from: From::Variant("wsc", "classify"),
        ..known("superglue/WSC/train.jsonl", Train, "wsc", BOOLEAN, Texts::Made(pairs_of_wsc), "df78da858910")
    },
    known("superglue/WSC/val.jsonl", Validation, "wsc", NONE, Texts::Made(pronouns), "36be04ee8373"),
    known("superglue/WSC/test.jsonl", Test, "wsc", NONE, Texts::Made(pronouns), "63c8a3bfc27a"),
    known("nli/SNLI/train_9k.jsonl", Train, "snli", SAME_NLI, SNLI, "71a5929f46a2"),
    known("nli/SNLI/heldout_1k.jsonl", Train, "snli", SAME_NLI, SNLI, "34c267f4d487"),
    known("nli/SNLI/dev_9842.jsonl", Train, "snli", SAME_NLI, SNLI, "ca94a1d86d70"),
    known(
        "nli/ANLI/test_r1_r2_r3.jsonl",
        Train,
        "anli_r1",
        SAME_NLI,
        Texts::Json("anli_r1 hypothesis: {hypothesis} context: {premise}", "{label}"),
        "690c611900c8",
    ),
    known(
        "qa/CosmosQA/valid.csv",
        Train,
        "cosmos_qa",
        FOUR,
        Texts::Csv(
            "cosmos_qa question: {question} choice0: {answer0} choice1: {answer1} choice2: {answer2} choice3: {answer3} context: {context}",
            "{label}",
        ),
        "a843a99f4d8b",
    ),
    known("qa/SQuAD-v1.1/dev-v1.1.json", Train, "squad", NONE, Texts::Made(questions), "07b03ff7bcb3"),
    known(
        "qa/SQuAD-v1.1/train-v1.1.first100articles.json",
        Train,
        "squad",
        NONE,
        Texts::Made(questions),
        "7db9828cf1a4",
    ),
    known("qa/SQuAD-v1.1/train-v1.1.full.json.zst", Train, "squad", NONE, Texts::Made(questions), "7db9828cf1a4"),
    Known {
        from: From::Table(
            "name: boolq, metrics: [accuracy], label: label, labels: {true: \"True\", false: \"False\"}, \
             template: \"passage: {passage} question: {question}\", query: \"with items as (select unnest(data) as item from rows), asked as \
             (select item.paragraph as passage, unnest(item.perturbed_questions) as other from items) select passage, other.perturbed_q as \
             question, other.answer as label from asked where other.answer in ('TRUE', 'FALSE')\"",
            "contrast sets have a layout of their own, with a placeholder in front and 5 questions without an answer",
        ),
        ..known("qa/contrast-sets/boolq_perturbed.json", Train, "", NONE, Texts::Made(perturbed), "14ae8ef2aae6")
    },
    known("qa/contrast-sets/drop_contrast_sets_test.json", Train, "drop", NONE, Texts::Made(counted), "d0318ccc49a2"),
    known("sentiment/CR/custrev.all", Train, "cr", MOOD, Texts::Made(reviews_of_products), "4658366eec18"),
    Known {
        from: From::Reader("mr", NO_MR),
        ..known("sentiment/MR/rt-polarity.all", Train, "", MOOD, Texts::Made(reviews_of_films), "f26b2ccead25")
    },
    Known {
        from: From::Variant("go_emotions", "original_several"),
        ..known("sentiment/GoEmotions/train.tsv", Train, "", NONE, Texts::Made(emotions), "72158a9b8e7e")
    },
    Known {
        from: From::Variant("go_emotions", "original"),
        left_out: Some((SEVERAL, "`drop` has `len(labels) > 1`")),
        ..known("sentiment/GoEmotions/dev.tsv", Train, "", NONE, Texts::Made(emotion), "34e8277ac632")
    },
    Known {
        from: From::Variant("go_emotions", "original_several"),
        ..known("sentiment/GoEmotions/test.tsv", Train, "", NONE, Texts::Made(emotions), "bc51b1e94709")
    },
    Known {
        from: From::Variant("sentiment140", "original"),
        ..known(
            "sentiment/Sentiment140/testdata.manual.2009.06.14.csv",
            Train,
            "",
            TWEETS,
            Texts::BareCsv("sentiment140 sentence: {5}", "{0}"),
            "e6309100b1bb",
        )
    },
    known(
        "commonsense/HellaSwag/val_first2500.jsonl",
        Train,
        "hellaswag",
        FOUR,
        Texts::Json(
            "hellaswag context: {ctx} choice0: {/endings/0} choice1: {/endings/1} choice2: {/endings/2} choice3: {/endings/3}",
            "{label}",
        ),
        "f16feedc7fed",
    ),
    Known {
        from: From::Table(
            "name: winogrande, label: gold, labels: {0: option1, 1: option2}, metrics: [accuracy], \
             template: \"option1: {context_options[0]} option2: {context_options[1]} end: {continuation}\"",
            DERIVED,
        ),
        ..known(
            "commonsense/WinoGrande/dev_icl.jsonl",
            Train,
            "",
            OPTIONS,
            Texts::Json(
                "winogrande option1: {/context_options/0} option2: {/context_options/1} end: {continuation}",
                "{gold}",
            ),
            "8b03dbaa1b09",
        )
    },
];

/// Files of examples that are refused, and the end of the message.
const REFUSED: [(&str, &str); 1] =
    // Twelve of its rows have the labels of five annotators below a header with that of one, and nothing says which field is which.
    [("nli/SNLI/glue_layout_sample.tsv", "15 fields, expected 11 (`index`")];

/// Files that hold no examples.
const NO_DATA: [&str; 4] = [
    "glue/CoLA/README.orig.txt",
    "glue/MRPC/Microsoft_Shared_Source_License.htm",
    "glue/STS-B/LICENSE.orig.txt",
    "sentiment/GoEmotions/labels.txt",
];

const FOLDERS: [&str; 6] = ["commonsense", "glue", "nli", "qa", "sentiment", "superglue"];

/// What the table of a README says of a file.
#[derive(Debug)]
struct Told {
    /// `8551`, or `32 passages / 32 questions / 167 answers`.
    rows: String,
    labels: BTreeMap<String, String>,
}

/// The table of the README of a folder, by paths.
fn told(data: &Path, folder: &str) -> BTreeMap<String, Told> {
    let text = std::fs::read_to_string(data.join(folder).join("README.md")).unwrap();
    let cells = |line: &str| line.split('|').map(|cell| cell.trim().to_owned()).collect::<Vec<_>>();
    let rows = text.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| file ")).map(cells);
    rows.map(|cells| {
        let labels = cells[4].split(", ").filter_map(|part| part.split_once(": "));
        let labels = labels.map(|(name, count)| (name.to_owned(), count.to_owned())).collect();
        (format!("{folder}/{}", cells[1]), Told { rows: cells[3].clone(), labels })
    })
    .collect()
}

impl Told {
    /// The number in front of a word, or the only one.
    fn count(&self, word: &str) -> Option<usize> {
        let part = self.rows.split(" / ").find(|part| part.ends_with(word))?;
        part.split(' ').next().unwrap().parse().ok()
    }

    /// How many rows have a label.
    fn number(&self, label: &str) -> usize {
        self.labels.get(label).unwrap_or_else(|| panic!("no `{label}` in {self:?}")).parse().unwrap()
    }
}

/// The scores of STS-B: the least and the largest, and the mean, which rounding to fifths moves by less than a hundredth.
fn check_numbers(examples: &[Example], told: &Told, mean: f64) {
    let numbers: Vec<f64> = examples.iter().map(|example| example.target.parse().unwrap()).collect();
    let found = numbers.iter().sum::<f64>() / numbers.len() as f64;
    assert!((found - mean).abs() < 0.01, "{found} and {mean}");
    let ends = [numbers.iter().copied().fold(f64::INFINITY, f64::min), numbers.iter().copied().fold(0.0, f64::max)];
    assert_eq!(ends.map(|end| format!("{end:.1}")), [told.labels["min"].clone(), told.labels["max"].clone()]);
}

/// Nothing is forgotten: every file of the folders is read, refused, or holds no examples.
#[test]
fn every_file_has_its_row_or_a_reason() {
    let Some(data) = data() else { return };
    let known: BTreeSet<&str> =
        KNOWN.iter().map(|known| known.file).chain(REFUSED.map(|(file, _)| file)).chain(NO_DATA).collect();
    let mut found = BTreeSet::new();
    for folder in FOLDERS {
        for (file, told) in told(&data, folder) {
            assert!(data.join(&file).is_file(), "{file}");
            let is_known = known.contains(&*file);
            assert!(is_known, "{file} has no row in this test ({told:?})");
            found.insert(file);
        }
        for path in files(&data.join(folder)) {
            let file = path.strip_prefix(&data).unwrap().to_str().unwrap().to_owned();
            assert!(file.ends_with("/README.md") || found.contains(&file), "{file} is not in its README.md");
        }
    }
    assert_eq!(found.len(), known.len());
    for known in KNOWN {
        if let From::Reader(_, why) | From::Table(_, why) = known.from {
            assert!(!why.is_empty(), "{}", known.file);
        }
    }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let items = std::fs::read_dir(folder).unwrap().map(|item| item.unwrap().path());
    items.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

/// The stage that reads a file. The other splits are there as far as they must be.
fn stage(name: &str, known: &Known) -> String {
    let file = known.file;
    let train = file.replace("test.jsonl", "train.jsonl");
    let (files, rows) = match (known.split, known.from) {
        (Train, From::Reader(..)) => (format!("train: {file}"), ""),
        (Train, _) => (format!("train: {file}, validation: {file}"), "validation: 1"),
        (Validation, _) => (format!("train: {file}, validation: {file}"), "train: 1"),
        (Test, _) => (format!("train: {train}, validation: {train}, test: {file}"), "train: 1, validation: 1"),
    };
    let from = match known.from {
        From::Row(row) => format!("{{task: {{name: {row}, {files}}}}}"),
        From::Variant(row, variant) => format!("{{task: {{name: {row}, variant: {variant}, {files}}}}}"),
        From::Reader(format, _) => format!("{{files: {{format: {format}, {files}}}}}"),
        From::Table(fields, _) => format!("{{table: {{{fields}, {files}}}}}"),
    };
    format!("  {name}: {{kind: ingest, backbone: backbone, from: {from}, rows: {{{rows}}}}}\n")
}

/// Reads all files of a folder in one run, and compares.
fn check(folder: &str) {
    let Some(data) = data() else { return };
    let told = told(&data, folder);
    let known: Vec<(String, &Known)> = KNOWN
        .iter()
        .filter(|known| known.file.split('/').next() == Some(folder))
        .enumerate()
        .map(|(at, known)| (format!("d{at}"), known))
        .collect();
    let mut pipeline =
        "version: 1\nname: it\nstages:\n  backbone: {kind: backbone, from: {builtin: nano}}\n".to_owned();
    let shell = Shell::new();
    for (name, known) in &known {
        pipeline += &stage(name, known);
        for file in files(data.join(known.file).parent().unwrap()) {
            let name = file.strip_prefix(&data).unwrap().to_str().unwrap().to_owned();
            if !shell.path(&name).exists() {
                shell.put(&name, std::fs::read(file).unwrap());
            }
        }
    }
    shell.put("pipelines/it.yaml", pipeline);
    let done = shell.spot("run it").ok();
    let mut wrong = String::new();
    for (name, known) in &known {
        let card = std::fs::read(shell.behind("it", name, "card")).unwrap();
        let card = Card::from_bytes(&card).unwrap().splits.into_iter().find(|card| card.split == known.split).unwrap();
        let dataset = read_dataset(&std::fs::read(shell.behind("it", name, "dataset")).unwrap()).unwrap();
        known.check_counts(&told[known.file], &card, &dataset, &mut wrong);
        let raw = std::fs::read(data.join(known.file)).unwrap();
        known.check_texts(&raw, dataset.examples(known.split), &mut wrong);
        if let Some((_, why)) = known.left_out {
            done.complains(why);
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

impl Known {
    /// Compares rows and labels with what README.md says.
    fn check_counts(&self, told: &Told, card: &SplitCard, dataset: &Dataset, wrong: &mut String) {
        let mut expect = |what: &str, found: usize, expected: usize| {
            if found != expected {
                writeln!(wrong, "{}: {found} {what}, README.md says {expected}", self.file).unwrap();
            }
        };
        let examples = dataset.examples(self.split);
        let groups: BTreeSet<&str> = examples.iter().filter_map(|example| example.group.as_deref()).collect();
        let left_out = card.left_out.iter().map(|left| left.rows).sum::<usize>();
        let kept = card.rows + left_out;
        for (word, found) in [("queries", groups.len()), ("answers", kept)] {
            if let Some(expected) = told.count(word) {
                expect(word, found, expected);
            }
        }
        match (told.count("answers"), told.count("questions")) {
            (Some(_), Some(questions)) => expect("groups", groups.len(), questions),
            (_, Some(questions)) => expect("questions", kept, questions),
            (..) => {}
        }
        if let Some(rows) =
            told.rows.parse().ok().or_else(|| UNCOUNTED.iter().find(|of| of.0 == self.file).map(|of| of.1))
        {
            expect("rows", kept, rows);
        }
        expect("rows left out", left_out, self.left_out.map_or(0, |(name, _)| told.number(name)));
        if told.labels.contains_key(NEUTRAL) && self.left_out.is_none() {
            let count = |is: &dyn Fn(&str) -> bool| examples.iter().filter(|example| is(&example.target)).count();
            expect(NEUTRAL, count(&|target| target.split(", ").any(|word| word == "neutral")), told.number(NEUTRAL));
            expect(SEVERAL, count(&|target| target.contains(", ")), told.number(SEVERAL));
        }
        let found: BTreeMap<&str, usize> = card.labels.iter().map(|(label, count)| (label.as_str(), *count)).collect();
        for (name, word) in self.labels {
            expect(word, found[word], told.number(name));
        }
        let of_labels: BTreeSet<&str> = self.labels.iter().map(|(_, word)| *word).collect();
        if !of_labels.is_empty() {
            assert_eq!(found.keys().copied().collect::<BTreeSet<_>>(), of_labels, "{}", self.file);
        }
        if let Some(mean) = told.labels.get("mean") {
            check_numbers(examples, told, mean.parse().unwrap());
        }
        if self.split == Test {
            expect("hidden", card.hidden, card.rows);
        }
    }

    /// Compares the first and the last text with those that the raw file has.
    fn check_texts(&self, raw: &[u8], examples: &[Example], wrong: &mut String) {
        let expected = self.texts.of(raw);
        let found = [examples.first(), examples.last()].map(|example| {
            let example = example.unwrap();
            [example.input.clone(), example.target.clone()]
        });
        for (found, expected) in found.iter().zip(&expected) {
            let target =
                self.labels.iter().find(|(name, _)| *name == expected[1]).map_or(&*expected[1], |(_, word)| *word);
            if (&*found[0], &*found[1]) != (&*expected[0], target) {
                let at = found[0].chars().zip(expected[0].chars()).take_while(|(one, other)| one == other).count();
                let (ours, theirs) = (found[0].len(), expected[0].len());
                writeln!(
                    wrong,
                    "{}: inputs differ at character {at} ({ours} and {theirs} bytes), targets are `{}` and `{target}`",
                    self.file, found[1]
                )
                .unwrap();
            }
        }
        let digest = blake3::hash(found[0].join("\n").as_bytes()).to_hex();
        if digest[..12] != *self.digest {
            writeln!(
                wrong,
                "{}: the digest of the first text is {}, expected {}",
                self.file,
                &digest[..12],
                self.digest
            )
            .unwrap();
        }
    }
}

impl Texts {
    /// Input and target of the first and the last row; targets as the raw file has them.
    fn of(self, raw: &[u8]) -> [[String; 2]; 2] {
        match self {
            Self::Tabs(input, target) => {
                let lines = lines(raw);
                let names: Vec<&str> = lines[0].split('\t').collect();
                ends(&lines[1..]).map(|line| {
                    let cells: Vec<&str> = line.split('\t').collect();
                    let cell = |name: &str| cells[names.iter().position(|other| *other == name).unwrap()].to_owned();
                    [filled(input, cell), filled(target, cell)]
                })
            }
            Self::Bare(input, target) => ends(&lines(raw)).map(|line| {
                let cells: Vec<&str> = line.split('\t').collect();
                let cell = |place: &str| cells[place.parse::<usize>().unwrap()].to_owned();
                [filled(input, cell), filled(target, cell)]
            }),
            Self::Csv(input, target) | Self::BareCsv(input, target) => {
                let has_headers = matches!(self, Self::Csv(..));
                let mut reader = csv::ReaderBuilder::new().has_headers(has_headers).from_reader(raw);
                let names = reader.headers().unwrap().clone();
                let rows: Vec<csv::StringRecord> = reader.records().map(Result::unwrap).collect();
                ends(&rows).map(|row| {
                    let place = |name: &str| names.iter().position(|other| other == name);
                    let cell = |name: &str| {
                        let place = if has_headers { place(name).unwrap() } else { name.parse().unwrap() };
                        row[place].to_owned()
                    };
                    [filled(input, cell), filled(target, cell)]
                })
            }
            Self::Json(input, target) => ends(&lines(raw)).map(|line| {
                let row: Value = serde_json::from_str(line).unwrap();
                [filled(input, |hole| value(&row, hole)), filled(target, |hole| value(&row, hole))]
            }),
            Self::Made(make) => make(raw),
        }
    }
}

fn lines(raw: &[u8]) -> Vec<&str> {
    std::str::from_utf8(raw).unwrap().split_terminator('\n').collect()
}

/// The first and the last.
fn ends<T>(items: &[T]) -> [&T; 2] {
    [&items[0], &items[items.len() - 1]]
}

/// A text with its holes filled.
fn filled(text: &str, cell: impl Fn(&str) -> String) -> String {
    let mut parts = text.split('{');
    let mut whole = parts.next().unwrap().to_owned();
    for part in parts {
        let (hole, rest) = part.split_once('}').unwrap();
        whole += &cell(hole);
        whole += rest;
    }
    whole
}

/// A value of an object, by its name or a JSON pointer; `<unk>` if it has none, as labels of test files.
fn value(row: &Value, hole: &str) -> String {
    let found = if hole.starts_with('/') { row.pointer(hole) } else { row.get(hole) };
    match found {
        None => "<unk>".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(Value::Bool(truth)) => if *truth { "True" } else { "False" }.to_owned(),
        Some(other) => other.to_string(),
    }
}

/// STS-B: the nearest fifth of the score.
fn similar(raw: &[u8]) -> [[String; 2]; 2] {
    let texts = Texts::Tabs("stsb sentence1: {sentence1} sentence2: {sentence2}", "{score}").of(raw);
    texts.map(|[input, score]| {
        let fifths = (score.parse::<f64>().unwrap() * 5.0).round();
        [input, format!("{:.1}", fifths / 5.0)]
    })
}

/// MultiRC: the first answer to the first question, and the last to the last.
fn answers(raw: &[u8]) -> [[String; 2]; 2] {
    let lines = lines(raw);
    let [first, last] = ends(&lines).map(|line| serde_json::from_str::<Value>(line).unwrap());
    let all = |row: &Value| {
        let paragraph = row["passage"]["text"].as_str().unwrap();
        let mut texts = Vec::new();
        for question in row["passage"]["questions"].as_array().unwrap() {
            for answer in question["answers"].as_array().unwrap() {
                let (question, text) = (question["question"].as_str().unwrap(), answer["text"].as_str().unwrap());
                let input = format!("multirc question: {question} answer: {text} paragraph: {paragraph}");
                let input = input.replace("<br>", " ").replace("<b>", "").replace("</b>", "");
                texts.push([input, answer["label"].to_string()]);
            }
        }
        texts
    };
    [all(&first)[0].clone(), all(&last).pop().unwrap()]
}

/// ReCoRD: the first answer to the first query in training, and the last to the last; elsewhere the first.
fn entities(raw: &[u8]) -> [[String; 2]; 2] {
    let lines = lines(raw);
    let of = |line: &str| {
        let row: Value = serde_json::from_str(line).unwrap();
        let text: Vec<char> = row["passage"]["text"].as_str().unwrap().chars().collect();
        let number = |span: &Value, name: &str| span[name].as_u64().unwrap() as usize;
        let span = |span: &Value| text[number(span, "start")..=number(span, "end")].iter().collect::<String>();
        let entities: BTreeSet<String> = row["passage"]["entities"].as_array().unwrap().iter().map(span).collect();
        let mut passage: String = text.iter().collect();
        for mark in ['.', '?', '!', '"', '\''] {
            passage = passage.replace(&format!("{mark}\n@highlight\n"), &format!("{mark} "));
        }
        passage = passage.replace("\n@highlight\n", ". ");
        let query = row["qas"][0]["query"].as_str().unwrap();
        let accepted: BTreeSet<&str> = row["qas"][0]["answers"]
            .as_array()
            .unwrap()
            .iter()
            .map(|answer| answer["text"].as_str().unwrap())
            .collect();
        let entities: Vec<String> = entities.into_iter().collect();
        let input = format!("record query: {query} entities: {} passage: {passage}", entities.join(", "));
        (input, accepted.into_iter().map(str::to_owned).collect::<Vec<_>>())
    };
    let [first, last] = ends(&lines).map(|line| of(line));
    // The last row of either file has one answer, so that the first and the last are the same.
    assert_eq!(last.1.len(), 1);
    [[first.0, first.1[0].clone()], [last.0, last.1[0].clone()]]
}

/// The words of WSC with the pronoun between stars.
fn starred(row: &Value) -> String {
    let place = row["target"]["span2_index"].as_u64().unwrap() as usize;
    let pronoun = row["target"]["span2_text"].as_str().unwrap();
    let words =
        row["text"].as_str().unwrap().split(' ').enumerate().map(|(at, word)| match word.strip_prefix(pronoun) {
            Some(rest) if at == place => format!("*{pronoun}*{rest}"),
            _ => word.to_owned(),
        });
    words.collect::<Vec<_>>().join(" ")
}

fn of_wsc(raw: &[u8], keep: impl Fn(&Value) -> bool, make: impl Fn(&Value) -> [String; 2]) -> [[String; 2]; 2] {
    let rows = lines(raw).into_iter().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let rows: Vec<Value> = rows.filter(keep).collect();
    ends(&rows).map(make)
}

fn noun(row: &Value) -> String {
    row["target"]["span1_text"].as_str().unwrap().to_owned()
}

fn pronouns(raw: &[u8]) -> [[String; 2]; 2] {
    of_wsc(raw, |_| true, |row| [format!("wsc: {}", starred(row)), noun(row)])
}

fn right_pronouns(raw: &[u8]) -> [[String; 2]; 2] {
    of_wsc(raw, |row| row["label"] == Value::Bool(true), |row| [format!("wsc: {}", starred(row)), noun(row)])
}

/// The other form of WSC: the noun between stars, the pronoun between hashes.
fn pairs_of_wsc(raw: &[u8]) -> [[String; 2]; 2] {
    let marked = |row: &Value| {
        let number = |name: &str| row["target"][name].as_u64().unwrap() as usize;
        let text = |name: &str| row["target"][name].as_str().unwrap();
        let marks = [("span1_index", "span1_text", '*'), ("span2_index", "span2_text", '#')];
        let mut words: Vec<String> = row["text"].as_str().unwrap().split(' ').map(str::to_owned).collect();
        for (place, name, mark) in marks {
            let (at, count) = (number(place), text(name).split(' ').count());
            let rest = words[at..at + count].join(" ").strip_prefix(text(name)).unwrap().to_owned();
            words[at + count - 1] = format!("\u{1}{mark} {} {mark}{rest}", text(name));
            (at..at + count - 1).for_each(|at| words[at] = "\u{0}".to_owned());
        }
        words.retain(|word| word != "\u{0}");
        format!("wsc text: {}", words.join(" ").replace('\u{1}', ""))
    };
    of_wsc(raw, |_| true, |row| [marked(row), value(row, "label")])
}

/// A text as T5 has it in questions: marks of punctuation by themselves, single spaces.
fn spaced(text: &str) -> String {
    let apart: String =
        text.chars().map(|c| if c.is_ascii_punctuation() { format!(" {c} ") } else { c.to_string() }).collect();
    let mut single = String::new();
    for c in apart.chars().map(|c| if c.is_ascii_whitespace() { ' ' } else { c }) {
        if c != ' ' || !single.ends_with(' ') {
            single.push(c);
        }
    }
    single
}

fn unpacked(raw: &[u8]) -> Vec<u8> {
    if raw.starts_with(b"{") { raw.to_vec() } else { zstd::decode_all(raw).unwrap() }
}

/// SQuAD: the first question of the first article, and the last of the last.
fn questions(raw: &[u8]) -> [[String; 2]; 2] {
    let file: Value = serde_json::from_slice(&unpacked(raw)).unwrap();
    let articles = file["data"].as_array().unwrap();
    let text = |paragraph: &Value, question: &Value| {
        let (asked, context) = (question["question"].as_str().unwrap(), paragraph["context"].as_str().unwrap());
        let input = format!("question: {} context: {}", spaced(asked), spaced(context));
        let single = input.split(' ').filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ");
        let single = if input.ends_with(' ') { single + " " } else { single };
        [single, spaced(question["answers"][0]["text"].as_str().unwrap())]
    };
    let list = |value: &Value, name: &str| value[name].as_array().unwrap().clone();
    let (first, last) = (list(&articles[0], "paragraphs"), list(articles.last().unwrap(), "paragraphs"));
    let (first, last) = (&first[0], last.last().unwrap());
    [text(first, &list(first, "qas")[0]), text(last, list(last, "qas").last().unwrap())]
}

/// Contrast sets of BoolQ: questions with an answer, behind the placeholder.
fn perturbed(raw: &[u8]) -> [[String; 2]; 2] {
    let file: Value = serde_json::from_slice(raw).unwrap();
    let mut texts = Vec::new();
    for item in file["data"].as_array().unwrap() {
        for question in item["perturbed_questions"].as_array().unwrap() {
            let target = match question["answer"].as_str().unwrap() {
                "TRUE" => "True",
                "FALSE" => "False",
                _ => continue,
            };
            let (passage, asked) = (item["paragraph"].as_str().unwrap(), question["perturbed_q"].as_str().unwrap());
            texts.push((passage, asked, target));
        }
    }
    // A query over a query has no order, and its rows come sorted.
    texts.sort_unstable();
    assert_eq!(texts.len(), 335);
    ends(&texts)
        .map(|(passage, asked, target)| [format!("boolq passage: {passage} question: {asked}"), (*target).to_owned()])
}

/// DROP: the first question to the first passage, and the last to the last, in the order of the file.
fn counted(raw: &[u8]) -> [[String; 2]; 2] {
    let text = std::str::from_utf8(raw).unwrap();
    let file: Value = serde_json::from_str(text).unwrap();
    let mut names: Vec<&String> = file.as_object().unwrap().keys().collect();
    names.sort_by_key(|name| text.find(&format!("\"{name}\": {{")).unwrap());
    let of = |passage: &Value, question: &Value| {
        let said = &question["answer"];
        let (number, spans) = (said["number"].as_str().unwrap(), said["spans"].as_array().unwrap());
        let date = ["day", "month", "year"].map(|part| said["date"][part].as_str().unwrap_or_default());
        let target = if !number.is_empty() {
            number.to_owned()
        } else if spans.is_empty() {
            date.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ")
        } else {
            spans.iter().map(|span| span.as_str().unwrap()).collect::<Vec<_>>().join("; ")
        };
        let (asked, passage) = (question["question"].as_str().unwrap(), passage["passage"].as_str().unwrap());
        [format!("drop question: {asked} passage: {passage}"), target]
    };
    let (first, last) = (&file[names[0]], &file[*names.last().unwrap()]);
    [of(first, &first["qa_pairs"][0]), of(last, last["qa_pairs"].as_array().unwrap().last().unwrap())]
}

fn reviews_of_products(raw: &[u8]) -> [[String; 2]; 2] {
    ends(&lines(raw)).map(|line| [format!("cr sentence: {}", &line[2..]), line[..1].to_owned()])
}

/// The first and the last line of MR are ASCII.
fn reviews_of_films(raw: &[u8]) -> [[String; 2]; 2] {
    let lines: Vec<&[u8]> = raw.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).collect();
    ends(&lines).map(|line| {
        let line = std::str::from_utf8(line).unwrap();
        [format!("mr sentence: {}", &line[2..]), line[..1].to_owned()]
    })
}

/// GoEmotions: the names of the numbers in their order, of rows with one or several.
fn emotions(raw: &[u8]) -> [[String; 2]; 2] {
    ends(&lines(raw)).map(|line| named(line))
}

/// The same of the rows with one.
fn emotion(raw: &[u8]) -> [[String; 2]; 2] {
    let has_one = |line: &&str| !line.split('\t').nth(1).unwrap().contains(',');
    ends(&lines(raw).into_iter().filter(has_one).collect::<Vec<_>>()).map(|line| named(line))
}

fn named(line: &str) -> [String; 2] {
    let names: Vec<&str> = EMOTIONS.split_whitespace().collect();
    let cells: Vec<&str> = line.split('\t').collect();
    let mut numbers: Vec<usize> = cells[1].split(',').map(|number| number.parse().unwrap()).collect();
    numbers.sort_unstable();
    let words: Vec<&str> = numbers.into_iter().map(|number| names[number]).collect();
    [format!("go_emotions sentence: {}", cells[0]), words.join(", ")]
}

#[test]
fn files_of_glue_are_those_of_its_readme() {
    check("glue");
}

#[test]
fn files_of_superglue_are_those_of_its_readme() {
    check("superglue");
}

#[test]
fn files_of_inference_are_those_of_their_readme() {
    check("nli");
}

#[test]
fn files_of_questions_are_those_of_their_readme() {
    check("qa");
}

#[test]
fn files_of_sentiment_are_those_of_their_readme() {
    check("sentiment");
}

#[test]
fn files_of_commonsense_are_those_of_their_readme() {
    check("commonsense");
}

#[test]
fn files_whose_rows_do_not_fit_their_header_are_refused() {
    let Some(data) = data() else { return };
    for (file, said) in REFUSED {
        let shell = Shell::new().write(file, std::fs::read(data.join(file)).unwrap());
        shell.put(
            "pipelines/it.yaml",
            format!(
                "version: 1\nname: it\nstages:\n  backbone: {{kind: backbone, from: {{builtin: nano}}}}\n  data:\n    kind: ingest\n    \
                 backbone: backbone\n    from: {{task: {{name: snli, variant: original, train: {file}}}}}\n"
            ),
        );
        shell.spot("run it").exits_with(1).complains(file).complains(said);
    }
}

/// A file of the corpus as its README counts it.
struct Corpus {
    file: String,
    documents: usize,
    paragraphs: usize,
    /// Estimated there, from 3,000 paragraphs.
    tokens: f64,
}

impl Corpus {
    /// Whether a program that was built without optimisation reads it in seconds.
    fn is_small(&self) -> bool {
        self.tokens < 1e6
    }
}

fn corpora(data: &Path) -> Vec<Corpus> {
    let text = std::fs::read_to_string(data.join("corpus/README.md")).unwrap();
    let rows = text.lines().filter(|line| line.starts_with("| ") && line.contains(".txt.zst |"));
    rows.map(|line| {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let count = |at: usize| cells[at].replace(',', "").parse().unwrap();
        let millions: f64 = cells[6].trim_end_matches(" M").parse().unwrap();
        Corpus { file: cells[1].to_owned(), documents: count(4), paragraphs: count(5), tokens: 1e6 * millions }
    })
    .collect()
}

/// Small files go through the row of C4 with T5's tokenizer: all of it comes out, in as many ids as README.md estimates. Of all
/// files documents and paragraphs are counted.
#[test]
fn files_of_the_corpus_are_those_of_their_readme() {
    const WINDOW: usize = 512;
    let Some(data) = data() else { return };
    let corpora = corpora(&data);
    assert_eq!(corpora.len(), 5);
    let shell = Shell::new();
    shell.put_backbone("models/t5", 8);
    let mut dims = Dims::from_json(shell.read("models/t5/config.json").as_bytes()).unwrap();
    dims.vocab = 32_128;
    let weights = Weights::random(dims.clone(), &mut Stream::new(0, "test"));
    shell.put("models/t5/config.json", dims.to_json());
    shell.put("models/t5/model.safetensors", weights.to_safetensors(false).unwrap());
    shell.put("models/t5/tokenizer.json", std::fs::read(data.join("t5-tokenizer/tokenizer.json")).unwrap());
    let mut pipeline =
        "version: 1\nname: it\nstages:\n  backbone: {kind: backbone, from: {path: models/t5}}\n".to_owned();
    for (at, corpus) in corpora.iter().enumerate().filter(|(_, corpus)| corpus.is_small()) {
        let file = format!("data/{}", corpus.file);
        let from = format!("{{task: {{name: c4, train: {file}}}}}");
        writeln!(pipeline, "  d{at}: {{kind: ingest, backbone: backbone, from: {from}, target_length: {WINDOW}}}")
            .unwrap();
        shell.put(&file, std::fs::read(data.join("corpus").join(&corpus.file)).unwrap());
    }
    shell.put("pipelines/it.yaml", pipeline);
    shell.spot("run it").ok();
    for (at, corpus) in corpora.into_iter().enumerate() {
        let is_small = corpus.is_small();
        let Corpus { file, documents, paragraphs, tokens } = corpus;
        let raw = std::fs::read(data.join("corpus").join(&file)).unwrap();
        let raw = String::from_utf8(zstd::decode_all(&raw[..]).unwrap()).unwrap();
        let found: Vec<&str> = raw.split("\n\n").filter(|document| !document.trim().is_empty()).collect();
        assert_eq!(found.len(), documents, "{file}");
        assert_eq!(raw.lines().filter(|line| !line.is_empty()).count(), paragraphs, "{file}");
        if !is_small {
            continue;
        }
        let dataset = read_dataset(&std::fs::read(shell.behind("it", &format!("d{at}"), "dataset")).unwrap()).unwrap();
        let part = dataset.part(Train).unwrap();
        let lengths = part.tokens.iter().map(|ids| ids.input.len() + ids.target.len() - 2);
        let (ids, rows) = (lengths.sum::<usize>(), part.examples.len());
        // Estimates of a sample, rounded to ten thousand.
        let bound = 5e3 + 0.01 * tokens;
        assert!((ids as f64 - tokens).abs() <= bound, "{file}: {ids} ids, README.md says {tokens}");
        let windows = ids.div_ceil(WINDOW);
        assert!((windows..=windows + documents).contains(&rows), "{file}: {rows} windows of {ids} ids");
        let letters = |text: &str| text.chars().filter(|c| !c.is_whitespace()).collect::<String>();
        let first = letters(&part.examples[0].input) + &letters(&part.examples[0].target);
        assert!(letters(found[0]).starts_with(&first), "{file}: the first window is not the beginning of the text");
    }
}
