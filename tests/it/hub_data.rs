//! Data sets of a hub as sources of `ingest`: which files come, what their metadata say, and what is refused.

use super::mock_hub::{MockHub, Wrong};
use super::shell::{Done, Shell, Spot};
use flate2::Compression;
use flate2::write::GzEncoder;
use spot::data::{Column, Dataset, Table, read_dataset};
use spot::ml::tasks::{Answer, Split};
use std::io::Write;

const ID: &str = "org/glue";
const RTE: &str = "dataset: org/glue, config: rte, template: \"one: {sentence1} two: {sentence2}\", label: label";

/// A hub, and a project with one data set of it.
struct Place {
    hub: MockHub,
    shell: Shell,
}

type Files = Vec<(String, Vec<u8>)>;

impl Place {
    fn new(from: &str, files: &Files) -> Self {
        Self::at("main", from, files)
    }

    fn at(revision: &str, from: &str, files: &Files) -> Self {
        let place = Self { hub: MockHub::new(), shell: Shell::new() };
        place.says(from);
        place.put(revision, files);
        place
    }

    fn says(&self, from: &str) {
        let pipeline = format!(
            "version: 1\nname: one\nstages:\n  backbone: {{kind: backbone, from: {{builtin: nano}}}}\n  data:\n    kind: ingest\n    \
             backbone: backbone\n    from:\n      hub: {{{from}}}\n"
        );
        self.shell.put("pipelines/one.yaml", pipeline);
    }

    fn put(&self, revision: &str, files: &Files) -> String {
        let files: Vec<(&str, &[u8])> =
            files.iter().map(|(name, content)| (name.as_str(), content.as_slice())).collect();
        self.hub.put_kind("datasets", ID, revision, &files)
    }

    fn spot(&self, line: &str) -> Spot {
        self.shell.spot(line).env("HF_HOME", self.shell.path("hf")).env("HF_ENDPOINT", self.hub.endpoint())
    }

    #[track_caller]
    fn runs(&self) -> Done {
        self.spot("run one").ok()
    }

    /// What a run complains of that cannot use the data set.
    #[track_caller]
    fn fails(&self, from: &str, message: &str) {
        self.says(from);
        self.spot("run one").exits_with(1).complains(message);
    }

    fn dataset(&self) -> Dataset {
        read_dataset(&std::fs::read(self.shell.behind("one", "data", "dataset")).unwrap()).unwrap()
    }

    /// The files that were asked for since the last time.
    fn asked(&self) -> Vec<String> {
        let requests = self.hub.requests().into_iter().filter(|request| request.method == "GET" && !request.cdn);
        requests
            .map(|request| {
                request.path.rsplit_once("/resolve/").map_or(request.path.clone(), |(_, path)| path[41..].to_owned())
            })
            .collect()
    }

    /// The data set as Python tools leave it in their cache, on a disk without links.
    fn cached(&self, files: &Files) {
        let (commit, folder) = ("c".repeat(40), self.shell.path("hf/hub/datasets--org--glue"));
        let put = |path: &str, content: &[u8]| {
            let path = folder.join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, content).unwrap();
        };
        put("refs/main", commit.as_bytes());
        files.iter().for_each(|(name, content)| put(&format!("snapshots/{commit}/{name}"), content));
    }
}

const FEATURES: &str = r#"{"info": {"features": {"sentence1": {"dtype": "string", "_type": "Value"}, "sentence2": {"dtype": "string", "_type":
    "Value"}, "label": {"names": ["good", "bad"], "_type": "ClassLabel"}, "idx": {"dtype": "int32", "_type": "Value"}}}}"#;

fn text(split: &str, row: i64) -> String {
    format!("the {split} says {row}")
}

/// Rows as GLUE has them; a test split hides its labels.
fn rows(split: &str, count: i64, features: Option<&str>) -> Vec<u8> {
    let texts = |other: &str| Column::Text((0..count).map(|row| format!("{} {other}", text(split, row))).collect());
    let labels = (0..count).map(|row| if split == "test" { -1 } else { row % 2 }).collect();
    let table = Table::new([
        ("sentence1", texts("first")),
        ("sentence2", texts("second")),
        ("label", Column::Int(labels)),
        ("idx", Column::Int((0..count).collect())),
    ]);
    features.map_or(table.clone(), |features| table.with("huggingface", features)).to_parquet().unwrap()
}

fn readme() -> String {
    let split = |config: &str, split: &str| format!("  - split: {split}\n    path: {config}/{split}-*\n");
    let config = |config: &str, splits: &[&str]| {
        let splits: String = splits.iter().map(|name| split(config, name)).collect();
        format!("- config_name: {config}\n  data_files:\n{splits}")
    };
    let configs = [
        config("ax", &["test"]),
        config("mnli", &["train", "validation_matched", "validation_mismatched"]),
        config("rte", &["train", "validation", "test"]),
    ];
    format!("---\nlicense: other\nconfigs:\n{}---\n# GLUE\n", configs.concat())
}

/// As `nyu-mll/glue` is laid out.
fn glue(features: Option<&str>) -> Files {
    let file = |config: &str, split: &str, count: i64| {
        (format!("{config}/{split}-00000-of-00001.parquet"), rows(split, count, features))
    };
    let mut files = vec![
        (".gitattributes".to_owned(), b"*.parquet filter=lfs".to_vec()),
        ("README.md".to_owned(), readme().into_bytes()),
        file("ax", "test", 8),
        file("rte", "train", 40),
        file("rte", "validation", 20),
        file("rte", "test", 10),
    ];
    files.extend(["train", "validation_matched", "validation_mismatched"].map(|split| file("mnli", split, 30)));
    files
}

fn gz(text: &str) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn a_run_brings_a_config_and_nothing_else_asks_the_hub() {
    let place = Place::new(RTE, &glue(Some(FEATURES)));
    place.spot("status one").ok().prints("data: blocked: input `from.hub`: not downloaded\n");
    place.spot("explain one data").ok().prints("not downloaded");
    assert_eq!(place.asked(), [""; 0]);

    place.runs().complains("downloading `org/glue` at `main`").complains("in 3 files");
    let asked = place.asked();
    assert!(asked[0].starts_with("/api/datasets/org/glue/revision/main"), "{asked:?}");
    let names = [
        "README.md",
        "rte/test-00000-of-00001.parquet",
        "rte/train-00000-of-00001.parquet",
        "rte/validation-00000-of-00001.parquet",
    ];
    let mut files = asked[1..].to_vec();
    files.sort();
    assert_eq!(files, names);

    let dataset = place.dataset();
    assert_eq!((&*dataset.task.name, dataset.task.answer), ("rte", Answer::Label));
    assert_eq!(dataset.task.labels, ["good", "bad"], "the names in the metadata");
    let part = |split: Split| dataset.parts.iter().find(|part| part.split == split).unwrap();
    let first = &part(Split::Train).examples[1];
    assert_eq!(
        (&*first.input, &*first.target, first.label),
        ("rte one: the train says 1 first two: the train says 1 second", "bad", Some(1))
    );
    assert_eq!((part(Split::Train).examples.len(), part(Split::Validation).examples.len()), (40, 20));
    assert!(part(Split::Test).examples.iter().all(|example| example.label.is_none()), "-1 hides an answer");

    place.runs().complains("0 executed, 2 cached");
    place.spot("run one --force data").env("HF_HUB_OFFLINE", "1").ok().complains("1 executed, 1 cached");
    place.spot("audit one --rerun 1").ok();
    assert_eq!(place.asked(), [""; 0], "what is here is not asked for");
}

#[test]
fn the_content_counts_and_neither_commit_nor_description() {
    let place = Place::new(RTE, &glue(Some(FEATURES)));
    place.runs();
    let mut files = glue(Some(FEATURES));
    files[1].1.extend(b"Another word.\n");
    let commit = place.put("v2", &files);
    for revision in ["v2", &commit] {
        place.says(&format!("{RTE}, revision: {revision}"));
        place.runs().complains("0 executed, 2 cached");
    }
    let entry = std::fs::read_to_string(place.shell.behind("one", "data", "entry.json")).unwrap();
    assert!(entry.contains("`org/glue` at `main`, commit "), "{entry}");
    // Said in another way, what is read is the same.
    place.says(&format!(
        "{RTE}, name: rte, splits: {{train: train, validation: [validation], test: rte/test-*.parquet}}"
    ));
    let dataset = place.dataset();
    place.runs();
    assert_eq!(place.dataset().parts, dataset.parts);
}

#[test]
fn the_branch_that_the_hub_makes_is_read() {
    let shard = |split: &str, number: usize, count: i64| {
        (format!("rte/{split}/{number:04}.parquet"), rows(split, count, Some(FEATURES)))
    };
    let files = vec![shard("train", 0, 10), shard("train", 1, 6), shard("validation", 0, 4), shard("test", 0, 4)];
    let from = format!("{RTE}, revision: refs/convert/parquet");
    let place = Place::at("refs/convert/parquet", &from, &files);
    place.put(
        "main",
        &vec![("README.md".to_owned(), b"# GLUE\n".to_vec()), ("glue.py".to_owned(), b"import os\n".to_vec())],
    );
    place.runs();
    let train = &place.dataset().parts[0].examples;
    assert_eq!((train.len(), &*train[10].input), (16, "rte one: the train says 0 first two: the train says 0 second"));
    place.fails(
        RTE,
        "`glue.py`, which is not run; what the hub made of it is mostly there as `revision: refs/convert/parquet`",
    );
    let gap = Place::at("refs/convert/parquet", &from, &files[1..].to_vec());
    gap.fails(&from, "split `train`: `rte/train`: shard 0 is missing");
}

#[test]
fn labels_are_looked_up_by_name_or_number() {
    let place = Place::new(RTE, &glue(Some(FEATURES)));
    for labels in ["{good: yes, bad: no}", "{0: yes, 1: no}", "{bad: no, 0: yes}", "[yes, no]"] {
        place.says(&format!("{RTE}, labels: {labels}"));
        place.runs();
        let dataset = place.dataset();
        assert_eq!(
            (&*dataset.parts[0].examples[0].target, &*dataset.parts[0].examples[1].target),
            ("yes", "no"),
            "{labels}"
        );
    }
    for (labels, message) in [
        (
            "[bad, good]",
            "`labels` has `bad` in place 0, which can be read in two ways: as a word for 0 `good`, by its place, or as 1 `bad`",
        ),
        (
            "{goood: yes, bad: no}",
            "`labels` has `goood`, which is neither a name nor a number of the column (did you mean `good`?)",
        ),
        ("[yes, no, maybe]", "`labels` has 3 words, but the column has 2 names"),
    ] {
        place.fails(&format!("{RTE}, labels: {labels}"), message);
    }
    place.fails(&format!("{RTE}, answer: text"), "as the text `0` or as `good`");
    place.fails(
        &format!("{RTE}, metrics: [token_f1]"),
        "`metrics` has `token_f1`, which does not fit answers that are labels",
    );
    place.fails(
        &format!("{RTE}, drop: 'label == \"bad\"'"),
        "but the column has numbers, for which that is a name; compare with 1",
    );
    // Without names answers are what stands there.
    let plain =
        Place::new(&format!("{RTE}, answer: number, splits: {{train: train, validation: validation}}"), &glue(None));
    plain.runs();
    assert_eq!(plain.dataset().task.answer, Answer::Number);
}

#[test]
fn metadata_that_are_not_what_they_should_be_are_refused() {
    let named = |names: &str| FEATURES.replace("[\"good\", \"bad\"]", names);
    for (features, message) in [
        ("{".to_owned(), "its metadata `huggingface` is not what `datasets` writes"),
        (named("[1, 2]"), "its names are no list of texts"),
        (named("[\"a\", \"a\"]"), "has the name `a` twice"),
        (named("[\"a \", \"b\"]"), "will not do: it has `a `, which a model cannot write"),
        (named("[\"one\"]"), "expected at least two"),
    ] {
        Place::new(RTE, &glue(Some(&features))).fails(RTE, message);
    }
    let mut files = glue(Some(FEATURES));
    files[4].1 = rows("validation", 20, Some(&named("[\"bad\", \"good\"]")));
    Place::new(RTE, &files).fails(RTE, "have different names for the numbers of `label`");
    files[1].1 = b"---\nconfigs: 3\n---\n".to_vec();
    Place::new(RTE, &files)
        .fails(RTE, "cannot be used: `README.md`: line 2: `configs` is the number 3, expected a list");
}

#[test]
fn what_a_data_set_lacks_is_told_with_what_it_has() {
    let place = Place::new(RTE, &glue(Some(FEATURES)));
    let from = |config: &str, more: &str| RTE.replace("rte", config) + more;
    place.fails(&from("rt", ""), "`org/glue` at `main` cannot be used: it has no config `rt`; did you mean `rte`?");
    place.fails(
        &RTE.replace("config: rte, ", ""),
        "it has several configs, `ax`, `mnli`, `rte`; say by `config` which is meant",
    );
    place.fails(
        &from("mnli", ""),
        "no split `validation`; splits are `train`, `validation_matched`, `validation_mismatched`; if one of them",
    );
    place.fails(
        &from("rte", ", splits: {train: train, validation: dev}"),
        "the config `rte` has no split `dev`; splits are `test`, `train`",
    );
    place.fails(
        &from("rte", ", splits: {train: \"rte/*.csv\"}"),
        "no file of rows is called `rte/*.csv`; found `ax/test",
    );
    place.fails(
        &from("rte", ", splits: {train: train, test: train}"),
        "is in `train` and in `test`; expected different files",
    );
    place.says(&from("mnli", ", splits: {train: train, validation: validation_matched}"));
    place.runs();
    assert_eq!(place.dataset().task.name, "mnli");
    let mut files = glue(Some(FEATURES));
    files[3].0 = "rte/train-00000-of-00002.parquet".to_owned();
    place.put("main", &files);
    let shard = Place::new(RTE, &files);
    shard.fails(RTE, "shard 1 of 2 of `train-*.parquet` is missing");
}

#[test]
fn files_of_other_layouts_have_their_names_in_the_description() {
    let line = |row: usize| format!("{{\"title\": \"A film {row}\", \"label\": \"{}\"}}\n", ["bad", "good"][row % 2]);
    let lines = |count: usize| gz(&(0..count).map(line).collect::<String>());
    let front = "---\ndataset_info:\n  features:\n  - name: title\n    dtype: string\n  - name: label\n    dtype:\n      class_label:\n        \
                 names:\n          '0': bad\n          '1': good\n---\n# Films\n";
    let files = vec![
        ("README.md".to_owned(), front.as_bytes().to_vec()),
        ("data/dev.json.gz".to_owned(), lines(10)),
        ("data/train-00000-of-00002.json.gz".to_owned(), lines(10)),
        ("data/train-00001-of-00002.json.gz".to_owned(), lines(12)),
    ];
    let from = "dataset: org/glue, template: \"{title}\", label: label, splits: {train: data/train-*.json.gz, validation: dev}";
    let place = Place::new(from, &files);
    place.runs();
    let dataset = place.dataset();
    assert_eq!((&*dataset.task.name, dataset.parts[0].examples.len()), ("glue", 22));
    assert_eq!(dataset.task.labels, ["bad", "good"]);
    assert_eq!(&*dataset.parts[0].examples[11].target, "good");
    place.fails(&format!("{from}, quotes: text"), "`quotes` is given, but no file is a `.tsv`");
}

#[test]
fn what_cannot_be_downloaded_is_told_with_the_command_that_brings_it() {
    let place = Place::new(RTE, &glue(Some(FEATURES)));
    let offline = place.spot("run one").env("HF_HUB_OFFLINE", "1").exits_with(5);
    offline.complains("HF_HUB_OFFLINE is set").complains("`hf download org/glue --revision main --repo-type dataset`");
    offline.complains("datasets--org--glue");
    // Once the description is here, it is known what is missing.
    place.hub.fault("rte/train-", 1, Wrong::Status(404, Vec::new()));
    place.spot("run one").exits_with(1).complains("404");
    place.spot("status one").ok().prints("input `from.hub`: not downloaded (").prints(" left)");
    let offline = place.spot("run one").env("HF_HUB_OFFLINE", "1").exits_with(5);
    offline
        .complains("`hf download org/glue README.md rte/test-00000-of-00001.parquet rte/train-00000-of-00001.parquet");
    place.asked();
    place.runs();
    assert!(!place.asked().iter().any(|name| name.starts_with("rte/test")), "what has come is not fetched again");
}

#[test]
fn what_python_brought_is_used_as_it_lies() {
    let place = Place::new(RTE, &Files::new());
    let offline = |line: &str| place.spot(line).env("HF_HUB_OFFLINE", "1");
    let all = glue(Some(FEATURES));
    let of_rte = |with_readme: bool| -> Files {
        all.iter().filter(|(name, _)| name.starts_with("rte") || with_readme && name == "README.md").cloned().collect()
    };
    // Without a list of its files, or a description, nobody knows whether a split is missing.
    place.cached(&of_rte(false));
    offline("run one")
        .exits_with(5)
        .complains("nothing says whether these are all of its files; name them by `splits`");
    place.says(&format!("{RTE}, splits: {{train: train, validation: validation}}"));
    offline("run one").ok();
    place.cached(&of_rte(true));
    place.says(RTE);
    offline("run one").ok();
    assert_eq!(place.dataset().parts.len(), 3);
    // Nor while something is still to come.
    let begun = place.shell.path("hf/hub/datasets--org--glue/blobs/abc.incomplete");
    std::fs::create_dir_all(begun.parent().unwrap()).unwrap();
    std::fs::write(begun, "x").unwrap();
    offline("status one").ok().prints("not downloaded");
    assert_eq!(place.asked(), [""; 0]);
}

#[test]
fn a_manifest_is_refused_where_it_stands() {
    let rest = "template: \"{a}\", label: b";
    for (from, expected) in [
        (format!("dataset: ../glue, {rest}"), "`../glue` is not the name of a repository"),
        (format!("dataset: datasets/org/glue, {rest}"), "is not the name of a repository"),
        (format!("dataset: org/glue, revision: ../main, {rest}"), "`../main` is not a revision"),
        (format!("dataset: org/glue, config: \"\", {rest}"), "`from.hub.config` is empty"),
        (format!("dataset: org/glue, splits: {{train: []}}, {rest}"), "`from.hub.splits.train` is empty"),
        (format!("dataset: org/glue, splits: {{validation: a}}, {rest}"), "train"),
        (format!("dataset: org/glue, lables: [a, b], {rest}"), "`lables` in `from.hub`; did you mean `labels`?"),
        (format!("dataset: org/glue, labels: [a, b], answer: text, {rest}"), "is given beside `labels`"),
        (format!("dataset: org/glue, validation_share: 2, {rest}"), "expected between 0 and 1"),
        ("dataset: org/glue, template: \"{b}\", label: b".to_owned(), "the input must not hold it"),
        ("dataset: org/glue, label: b".to_owned(), "template"),
    ] {
        let place = Place::new(&from, &Files::new());
        place.spot("status one").exits_with(2).complains("one.yaml:").complains(expected);
    }
}
