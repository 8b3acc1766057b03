//! What inputs are made of: the files of a target, in `tests/fuzz/corpus` and elsewhere in the project. Those named `made-…` are
//! written here (`--write-corpus`), by the product's own writers where it has some; the others are inputs that once went wrong.

use super::mending;
use super::mutation::LONGEST;
use super::targets::{Target, fixed_key};
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::json;
use spot::data::{Column, Dataset, Inputs, Part, Predictions, Ranked, Ranking, ScoresFile, Sorter, Table, Tokenized};
use spot::data::{Trial, Trials, write_dataset};
use spot::engine::store::digest::{Digest, Key};
use spot::engine::store::entry::{self, Entry, Record};
use spot::engine::store::provenance::Provenance;
use spot::engine::store::recipe::{Recipe, SCHEMA};
use spot::ml::metrics::Metric;
use spot::ml::prompt::Prompt;
use spot::ml::prompt::file::PromptFile;
use spot::ml::tasks::{Example, Split, task};
use spot::remote::lease::Worker;
use spot::trust::envelope::Envelope;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

/// The project's own folder.
const PROJECT: &str = env!("CARGO_MANIFEST_DIR");

fn folder(target: &str) -> PathBuf {
    Path::new(PROJECT).join("tests/fuzz/corpus").join(target)
}

/// The files of a target, sorted, and those of another folder.
pub(crate) fn of(target: &Target, more: Option<&Path>) -> Vec<Vec<u8>> {
    let own = [folder(target.name)];
    let seeds = target.seeds.iter().map(|path| Path::new(PROJECT).join(path));
    let files = own.into_iter().chain(seeds).chain(more.map(Path::to_owned)).flat_map(|path| files_in(&path));
    let known: Vec<Vec<u8>> =
        files.filter_map(|path| fs::read(path).ok()).filter(|bytes| bytes.len() <= LONGEST).collect();
    assert!(!known.is_empty(), "`{}` has no files to begin with", target.name);
    known
}

fn files_in(path: &Path) -> Vec<PathBuf> {
    if path.is_file() {
        return vec![path.to_owned()];
    }
    let items = fs::read_dir(path).into_iter().flatten().flatten().map(|item| item.path());
    let mut files: Vec<PathBuf> = items.filter(|path| path.is_file()).collect();
    files.sort();
    files
}

/// Writes the files that are made here.
pub(crate) fn write() {
    for (target, name, bytes) in made() {
        fs::create_dir_all(folder(target)).expect("the project can be written");
        fs::write(folder(target).join(format!("made-{name}")), bytes).expect("the project can be written");
    }
}

fn made() -> Vec<(&'static str, &'static str, Vec<u8>)> {
    let mut made = vec![
        ("manifest", "extends.yaml", EXTENDS.into()),
        ("manifest", "words.yaml", WORDS.into()),
        ("entry", "tune.json", entry().to_text().into_bytes()),
        ("journal", "run.jsonl", journal()),
        ("journal", "stubs.jsonl", stubs()),
        ("files", "files.json", files()),
        ("safetensors", "prompt.safetensors", prompt().to_bytes()),
        ("csv", "labels.csv", CSV.into()),
        ("tsv", "labels.tsv", CSV.replace(',', "\t").into_bytes()),
        ("jsonl", "labels.jsonl", JSON_LINES.into()),
        ("key", "public.pem", fixed_key().public().to_pem().into_bytes()),
        ("key", "inside.der", [b"0*0\x05\x06\x03+ep\x03!\0".as_slice(), &[7; 32]].concat()),
        ("envelope", "again.json", signed(STATEMENT).into_bytes()),
        ("envelope", "statement.json", STATEMENT.into()),
        (
            "shared",
            "claim.json",
            json!({"worker": "here-1-abcdef12", "nonce": "00".repeat(16)}).to_string().into_bytes(),
        ),
        ("shared", "beat.json", beat().into_bytes()),
        (
            "shared",
            "root.json",
            json!({"format": 1, "pipeline": "fuzz", "keys": [Key::of(b"fuzz")]}).to_string().into_bytes(),
        ),
        (
            "shared",
            "failure.json",
            json!({"job": "tuned[a,0]", "worker": "here", "error": "it failed"}).to_string().into_bytes(),
        ),
        ("shared", "saved.json", saved().into_bytes()),
        (
            "shared",
            "told.bin",
            [Key::of(b"fuzz").bytes().as_slice(), Digest::of(b"a").bytes(), Digest::of(b"b").bytes()].concat(),
        ),
        ("packed", "small.zst", zstd::encode_all(CSV.as_bytes(), 3).expect("memory takes everything")),
        ("packed", "long.gz", gzip(&[b'a'; 1 << 18])),
    ];
    made.extend(studies().into_iter().map(|(name, text)| ("manifest", name, text.into_bytes())));
    made.extend(tables().into_iter().map(|(name, bytes)| ("parquet", name, bytes)));
    made.extend(published().into_iter().map(|(name, text)| ("published", name, text.into())));
    made.extend(pickles());
    made
}

/// The studies of `pipelines` with a few tasks each: whole, they have thousands of jobs, and planning them would be most of the time.
fn studies() -> [(&'static str, String); 2] {
    let smaller = |name: &str, lines: &[(&str, &str)]| {
        let mut text = fs::read_to_string(Path::new(PROJECT).join("pipelines").join(name)).expect("a study");
        for (line, instead) in lines {
            assert_eq!(text.matches(line).count(), 1, "`{name}` has one `{line}`");
            text = text.replace(line, instead);
        }
        text
    };
    let sources =
        "  sources: [w_senti, w_topic, w_nli, w_para, w_fact, w_qa, w_sum, w_accept, w_sts, w_sense, w_cause]\n";
    let targets = "  targets: [w_mood, w_product, w_animal, w_where, w_rte, w_mrpc, w_boolq, w_copa, w_wic]\n";
    let glue = [
        (sources, "  sources: [w_nli, w_qa, w_sum]\n"),
        (targets, "  targets: [w_mood, w_rte]\n"),
        ("tasks: [w_mood, w_product, w_animal, w_where]", "tasks: [w_mood]"),
        ("tasks: [w_rte, w_mrpc, w_boolq, w_copa, w_wic]", "tasks: [w_rte]"),
        ("\n  seeds: [0, 1, 2] ", "\n  seeds: [0] "),
        ("\n  source_seeds: [0, 1]\n", "\n  source_seeds: [0]\n"),
    ];
    let paper = [
        ("\n  targets: [boolq, cola, stsb, wic, cr, mrpc, rte, wsc, copa, cb]\n", "\n  targets: [rte]\n"),
        ("\n  seeds: [0, 1, 2]\n", "\n  seeds: [0]\n"),
        ("\n  metrics: [average_tokens, per_token]\n", "\n  metrics: [per_token]\n"),
    ];
    [("glue.yaml", smaller("spot_glue.yaml", &glue)), ("paper.yaml", smaller("spot_paper.yaml", &paper))]
}

/// That a job was executed again.
pub(crate) const STATEMENT: &str = r#"{"_type":"https://in-toto.io/Statement/v1","subject":[{"name":"prompt","digest":{"blake3":"00"}}],"predicateType":"urn:spot:again:v1","predicate":{"key":"1111111111111111111111111111111111111111111111111111111111111111","entry":"2222222222222222222222222222222222222222222222222222222222222222","job":"tuned[a,0]","differs":[],"program":"0.1.0","host":"Linux","time":"2026-01-01T00:00:00Z"}}"#;

fn signed(statement: &str) -> String {
    Envelope::sign(statement.as_bytes(), &fixed_key()).expect("Ed25519 needs no randomness").to_json()
}

fn beat() -> String {
    let worker = Worker {
        worker: "here-1-abcdef12".to_owned(),
        host: "here".to_owned(),
        pid: 1,
        pipeline: "fuzz".to_owned(),
        run: Some("run".to_owned()),
        started: "2026-01-01T00:00:00Z".to_owned(),
        device: "cpu".to_owned(),
        jobs: [("tuned[a,0]".to_owned(), "4 of 300".to_owned())].into(),
        beat: 3,
    };
    serde_json::to_string(&worker).expect("a beat is plain data")
}

fn saved() -> String {
    json!({"files": [{"name": "state", "digest": Digest::of(b"state"), "size": 5}, {"name": "step", "digest": Digest::of(b"3"), "size": 1}]})
        .to_string()
}

/// With the file that it extends, which the target has too.
const EXTENDS: &str = "extends: base.yaml
version: 1
name: fuzz
environment: {DATA: null, MODELS: here}
profiles: {small: {vars: {steps: 2}}, large: {stages: {data: {rows: {train: 9}}}}}
vars: {steps: 4, tasks: [w_sum, w_mood], name: \"${DATA}/x\"}
stages:
  backbone: {kind: backbone, from: {builtin: nano}}
  data: {kind: ingest, matrix: {task: \"${tasks}\"}, backbone: backbone, from: {builtin: \"${task}\"}, rows: {train: 8}}
  tuned:
    kind: tune
    matrix: {task: \"${tasks}\", seed: [0, 1]}
    backbone: backbone
    data: data[${task}]
    seed: ${seed}
    training: {steps: \"${steps}\", batch_size: 4}
  other: {like: tuned, init: {prompt: \"tuned[${task},0]\"}, matrix: {task: [w_sum]}}
  report: {kind: command, run: [sh, -c, 'cat \"$in_a\" > \"$out_b\"'], inputs: {a: {output: \"tuned[*].prompt\"}}, outputs: [b]}
";

/// Every way to write a scalar.
const WORDS: &str = "version: 1
name: words
vars:
  a: &anchor [1, 2.5e-3, -0x1f, .inf, ~, true, 'it''s', \"\\u00e9\\n\", 2026-01-01]
  b: *anchor
  c: |-
    text
      more
  d: >+
    folded

  ? complex
  : value
stages: {one: {kind: command, run: [\"true\"], outputs: [x]}}
...
";

const CSV: &str =
    "text,label,id,options[0]\nplain,good,1,x\n\"quoted, \"\"twice\"\"\nover lines\",bad,2,y\n\u{e9}\u{2028},0,3,\n";

const JSON_LINES: &str = "{\"text\": \"a \\ud83d\\ude00\", \"label\": \"good\", \"id\": 1, \"options\": [\"x\", \"y\"]}
{\"text\": {\"deep\": [1.5, null]}, \"label\": 1, \"id\": \"2\", \"options\": [\"z\"]}
{\"text\": 12345678901234567890.5, \"label\": \"bad\", \"id\": 3, \"options\": [], \"more\": true}
";

fn entry() -> Entry {
    let params =
        json!({"length": 8, "training": {"steps": 4, "learning_rate": 0.3}, "init": {"class_labels": {"top": null}}});
    let inputs = vec![("data".to_owned(), Digest::of(b"data")), ("backbone".to_owned(), Digest::of(b"backbone"))];
    let recipe = Recipe { schema: SCHEMA, kind: "tune".to_owned(), version: 3, params, inputs };
    let part = |name: &str, external: Option<&str>| entry::Part {
        sha256: None,
        name: name.to_owned(),
        digest: Digest::of(name.as_bytes()),
        size: 7,
        external: external.map(PathBuf::from),
    };
    let record = |name: &str, parts| Record {
        sha256: None,
        name: name.to_owned(),
        r#type: "prompt".to_owned(),
        digest: Digest::of(b"x"),
        size: 1,
        parts,
    };
    let provenance = Provenance {
        pipeline: "fuzz".to_owned(),
        job: "tuned[w_sum,0]".to_owned(),
        seconds: 1.25,
        attempts: 1,
        command_line: ["spot", "run", "fuzz"].map(str::to_owned).to_vec(),
        ..Provenance::default()
    };
    let artifacts =
        vec![record("prompt", Vec::new()), record("weights", vec![part("a", None), part("b", Some("model/b"))])];
    Entry { key: Key::of(recipe.canonical().as_bytes()), recipe, artifacts, provenance }
}

fn chained(events: &[serde_json::Value], is_ended: bool) -> Vec<u8> {
    let mut lines: Vec<String> = events.iter().map(|event| format!("{{\"prev\":null,\"event\":{event}}}")).collect();
    if let Some(last) = lines.last_mut().filter(|_| is_ended) {
        last.insert_str(last.len() - 1, ",\"seal\":\"\"");
    }
    let mut bytes = (lines.join("\n") + "\n").into_bytes();
    mending::journal(&mut bytes);
    bytes
}

fn journal() -> Vec<u8> {
    let key = Key::of(b"recipe");
    chained(
        &[
            json!({"event": "start", "pipeline": "fuzz", "time": "2026-01-01T00:00:00.000Z", "command_line": ["spot"]}),
            json!({"event": "job", "job": "tuned[w_sum,0]", "stage": "tuned", "kind": "tune", "state": "executed", "key": key, "seconds": 0.5}),
            json!({"event": "job", "job": "other", "state": "failed", "key": null, "error": "it \"failed\"\n"}),
            json!({"event": "summary", "jobs": 2, "executed": 1, "cached": 0, "failed": 1, "seconds": 1.0}),
        ],
        true,
    )
}

/// What stands in place of old journals.
fn stubs() -> Vec<u8> {
    let used = json!({"job": "a", "key": Key::of(b"a"), "time": "2026"});
    chained(
        &[
            json!({"event": "folded", "line": Digest::of(b"line"), "uses": [used]}),
            json!({"event": "aside", "why": "a flip"}),
        ],
        true,
    )
}

fn files() -> Vec<u8> {
    let stat = json!({"size": 7, "mtime_ns": 1_700_000_000_000_000_000_u64, "ctime_ns": 1_700_000_000_000_000_000_u64, "inode": 12});
    let seen = json!({"stat": stat, "hashed_ns": 1_800_000_000_000_000_000_u64, "digest": Digest::of(b"content")});
    let mut bytes = format!("spot files v1 \n{}\n", json!({"/nowhere/a": seen, "/nowhere/b": seen})).into_bytes();
    mending::files(&mut bytes);
    bytes
}

fn prompt() -> PromptFile {
    let prompt = |scale: f32| Prompt { values: (0..12).map(|i| scale * i as f32).collect(), width: 4 };
    let mut file = PromptFile::of(prompt(0.5), spot::ml::prompt::about::About::default());
    file.about.task = Some("w_sum".to_owned());
    file.prompts.insert("step_2".to_owned(), prompt(-1.0));
    file
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).and_then(|()| encoder.finish()).expect("memory takes everything")
}

/// A file of each kind of table that a store has.
fn tables() -> Vec<(&'static str, Vec<u8>)> {
    let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
    let vectors = Table::new([
        ("texts", Column::Texts(vec![texts(&["a", "b"]), Vec::new()])),
        ("vector", Column::Vector { width: 2, values: vec![0.5, -1.0, 2.0, 3.0] }),
        ("opt_int", Column::OptInt(vec![None, Some(3)])),
    ]);
    let scores = ScoresFile {
        task: "boolq".to_owned(),
        split: Split::Test,
        metrics: vec![(Metric::Accuracy, 75.0)],
        score: Some(75.0),
        examples: 4,
        answered: Digest::of(b"examples").to_string(),
        illegal: 0,
        predicted: vec![("True".to_owned(), 3), ("False".to_owned(), 1)],
        majority: Some(50.0),
        prompts: 1,
        seed: Some(0),
        source: None,
        source_seed: None,
        step: Some(4),
        validation: Some(50.0),
        steps: Some(4),
        source_steps: None,
    };
    let ranked = |task: &str, similarity| Ranked { task: task.to_owned(), seed: 0, similarity };
    let ranking = Ranking {
        target: "rte".to_owned(),
        seed: Some(1),
        embedding_steps: Some(2),
        sources: vec![ranked("mnli", 0.75), ranked("boolq", -0.5)],
    };
    let trial = |seed, chosen| Trial {
        source: Some(("mnli".to_owned(), 0)),
        similarity: Some(0.5),
        seed,
        validation: 60.0,
        chosen,
    };
    let trials = Trials {
        rows: vec![trial(0, true), trial(1, false)],
        task: "rte".to_owned(),
        seed: 0,
        tunings: 2,
        candidates: 2,
        tuning_steps: Some(4.0),
        target_steps: Some(8),
        source_steps: None,
        library_steps: None,
    };
    let predictions = Predictions {
        task: "rte".to_owned(),
        published: "rte".to_owned(),
        split: Split::Validation,
        seed: Some(0),
        ids: texts(&["0", "1"]),
        inputs: texts(&["a", "b"]),
        targets: texts(&["x", ""]),
        answers: texts(&["x", "y"]),
    };
    let mut sorter = Sorter::new(&std::env::temp_dir());
    [7, 3, 5].iter().for_each(|digest| sorter.push([*digest]).expect("it fits into memory"));
    sorter.close().expect("it fits into memory");
    let inputs = Inputs::write("rte", &[(Split::Train, sorter)], Vec::new());
    vec![
        ("vectors.parquet", vectors.to_parquet().expect("a table")),
        ("scores.parquet", scores.to_parquet().expect("a table")),
        ("ranking.parquet", ranking.to_parquet().expect("a table")),
        ("trials.parquet", trials.to_parquet().expect("a table")),
        ("predictions.parquet", predictions.into_parquet().expect("a table")),
        ("inputs.parquet", inputs.expect("a table")),
        ("dataset.parquet", write_dataset(&dataset()).expect("a table")),
    ]
}

fn dataset() -> Dataset {
    let task = task("superglue/boolq").expect("a published task");
    let example = |id: &str, label: u32| Example {
        id: id.to_owned(),
        input: format!("boolq question {id}"),
        target: task.labels[label as usize].clone(),
        label: Some(label),
        group: None,
        answers: Vec::new(),
        choices: Vec::new(),
    };
    let part = |split, ids: &[&str]| Part {
        split,
        examples: ids.iter().zip(0..).map(|(id, label)| example(id, label % 2)).collect(),
        tokens: ids.iter().map(|_| Tokenized { input: vec![5, 6, 1], target: vec![7, 1] }).collect(),
    };
    let parts = vec![part(Split::Train, &["a", "b", "c"]), part(Split::Validation, &["d"])];
    Dataset {
        task: task.clone(),
        template: "boolq {question}".to_owned(),
        tokenizer: Some(Digest::of(b"x").to_string()),
        parts,
    }
}

/// Rows of published formats that have readers of their own.
fn published() -> Vec<(&'static str, &'static str)> {
    vec![
        ("boolq.jsonl", "{\"question\": \"is it\", \"passage\": \"It is.\", \"idx\": 0, \"label\": true}\n"),
        (
            "wsc.jsonl",
            "{\"text\": \"Mark told Pete lies about himself.\", \"target\": {\"span1_index\": 0, \"span1_text\": \"Mark\", \"span2_index\": 5, \"span2_text\": \"himself\"}, \"idx\": 0, \"label\": true}\n",
        ),
        (
            "wic.jsonl",
            "{\"word\": \"place\", \"sentence1\": \"a place\", \"sentence2\": \"to place\", \"idx\": 0, \"label\": false, \"start1\": 2, \"start2\": 3, \"end1\": 7, \"end2\": 8, \"version\": 1.1}\n",
        ),
        (
            "multirc.jsonl",
            "{\"idx\": 0, \"version\": 1.1, \"passage\": {\"text\": \"<b>Sent 1: </b>It is so.<br>\", \"questions\": [{\"question\": \"is it\", \"answers\": [{\"text\": \"yes\", \"idx\": 0, \"label\": 1}], \"idx\": 0}]}}\n",
        ),
        (
            "record.jsonl",
            "{\"source\": \"x\", \"passage\": {\"text\": \"A saw B.\\n@highlight\\nB was seen\", \"entities\": [{\"start\": 0, \"end\": 0}, {\"start\": 6, \"end\": 6}]}, \"qas\": [{\"query\": \"@placeholder was seen\", \"answers\": [{\"start\": 6, \"end\": 6, \"text\": \"B\"}], \"idx\": 0}], \"idx\": 0}\n",
        ),
        (
            "squad.json",
            "{\"version\": \"1.1\", \"data\": [{\"title\": \"t\", \"paragraphs\": [{\"context\": \"It is red.\", \"qas\": [{\"id\": \"q\", \"question\": \"what\", \"answers\": [{\"text\": \"red\", \"answer_start\": 6}]}]}]}]}",
        ),
        (
            "copa.jsonl",
            "{\"premise\": \"p\", \"choice1\": \"a\", \"choice2\": \"b\", \"question\": \"cause\", \"label\": 1, \"idx\": 0}\n",
        ),
        ("sst2.tsv", "sentence\tlabel\na \"good\" one\t1\nbad\t0\n"),
        (
            "stsb.tsv",
            "index\tgenre\tfilename\tyear\told_index\tsource1\tsource2\tsentence1\tsentence2\tscore\n0\tg\tf\t2012\t1\tn\tn\ta plane\tan air plane\t5.000\n",
        ),
        ("cola.tsv", "gj04\t1\t\tOur friends won't buy this.\ngj04\t0\t*\tThem is.\n"),
    ]
}

/// The pickles of what torch wrote.
fn pickles() -> Vec<(&'static str, &'static str, Vec<u8>)> {
    let torch = Path::new(PROJECT).join("tests/golden/torch");
    let names = ["dict.pt", "parameter.pt", "two.pt", "view.pt", "module.pt"];
    let pickle =
        |name: &'static str| ("pickle", name, member(&fs::read(torch.join(name)).expect("golden"), b"/data.pkl"));
    names.into_iter().map(pickle).collect()
}

/// The content of the first member whose name ends so, of a zip in which all are stored as they are.
fn member(zip: &[u8], name: &[u8]) -> Vec<u8> {
    let number =
        |at: usize, width: usize| zip[at..at + width].iter().rev().fold(0, |all, byte| all << 8 | usize::from(*byte));
    let named = |at: &usize| {
        zip[*at..].starts_with(b"PK\x01\x02") && zip[at + 46..at + 46 + number(at + 28, 2)].ends_with(name)
    };
    let found = (0..zip.len() - 46).find(named).expect("it has one");
    let (length, at) = (number(found + 24, 4), number(found + 42, 4));
    let start = at + 30 + number(at + 26, 2) + number(at + 28, 2);
    zip[start..start + length].to_vec()
}
