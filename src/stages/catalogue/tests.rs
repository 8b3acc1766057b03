//! What the rows of the program say, and what becomes of names in a manifest.

use super::*;
use crate::engine::manifest::node::{self, Node};
use crate::ml::tasks::{self, Reading, Split};
use crate::stages::ingest::{check_row, example_of, template_of};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(FOLDER)
}

/// The program's rows, and after each its variants.
fn rows() -> Vec<Row> {
    let none = tempfile::TempDir::new().unwrap();
    let entries = all(&Library::of(none.path())).unwrap();
    let mut rows = Vec::new();
    for Entry { row, .. } in entries {
        let variants: Vec<Row> = row.variants().map(|name| row.variant(name).unwrap()).collect();
        rows.push(row);
        rows.extend(variants);
    }
    rows
}

#[test]
fn every_file_of_the_folder_is_a_task_and_there_are_no_others() {
    let files = Library::of(folder().parent().unwrap()).names(FOLDER, ENDING).unwrap();
    let embedded: Vec<&str> = embedded::TEXTS.iter().map(|(name, _)| *name).collect();
    assert_eq!(files, embedded);
    let here = fs_err::read_dir(folder()).unwrap().count();
    assert_eq!(here, embedded.len(), "a file of `{FOLDER}` is none of a task");
}

#[test]
fn every_row_says_what_is_right_for_its_fields() {
    for row in rows() {
        check_row(&row).unwrap();
        assert!(row.about.as_ref().is_some_and(|about| !about.is_empty()), "{}", row.name);
        assert!(row.is_text() || !row.metrics().is_empty(), "{} has no metrics", row.name);
    }
}

#[test]
fn the_paper_has_16_sources_10_targets_and_its_mixtures() {
    let none = tempfile::TempDir::new().unwrap();
    let all = all(&Library::of(none.path())).unwrap();
    let count = |role: Role| all.iter().filter(|entry| entry.row.roles.contains(&role)).count();
    assert_eq!([Role::Source, Role::Target].map(count), [16, 10]);
    let mixtures = [
        (Role::Glue, 8),
        (Role::Superglue, 8),
        // Seven, of which ANLI has three rounds.
        (Role::Nli, 9),
        (Role::Paraphrase, 4),
        (Role::Sentiment, 5),
        (Role::Mrqa, 6),
        (Role::Rainbow, 6),
        (Role::Translation, 3),
        (Role::Summarization, 9),
        (Role::Gem, 8),
    ];
    for (role, expected) in mixtures {
        assert_eq!(count(role), expected, "{role:?}");
    }
    let in_mixtures = |entry: &&Entry| entry.row.roles.iter().any(|role| ![Role::Source, Role::Target].contains(role));
    // RTE has the fields of GLUE too, and GEM its own XSum and WikiLingua: in the paper's count each is one.
    assert_eq!(all.iter().filter(in_mixtures).count(), 55 + 3);
}

#[test]
fn what_is_left_out_is_said_to_be_unverified() {
    for row in rows() {
        let known = [
            ("hub", row.hub.is_some()),
            ("licence", row.licence.is_some()),
            ("rows", row.rows.train.is_some()),
            ("template_from", row.template_from.is_some()),
        ];
        for (field, is_known) in known {
            assert_eq!(row.unverified.iter().any(|other| other == field), !is_known, "`{field}` of {}", row.name);
        }
    }
}

#[test]
fn templates_and_formats_of_one_row_say_the_same() {
    let mut seen = 0;
    for row in rows().iter().filter(|row| row.has_template()) {
        let Some(format) = &row.format else { continue };
        let task = tasks::task(format).unwrap();
        assert_eq!(template_of(row).unwrap(), tasks::template(format, &Reading::default()).unwrap(), "{}", row.name);
        assert_eq!(row.metrics(), task.metrics, "{}", row.name);
        seen += 1;
    }
    assert!(seen >= 14, "{seen}");
}

#[test]
fn every_example_becomes_one_for_the_model() {
    for row in rows().iter().filter(|row| row.later.is_none() && !row.is_text()) {
        let examples = example_of(row).unwrap_or_else(|error| panic!("{}: {error:#}", row.name));
        assert!(!examples.is_empty() && examples.iter().all(|example| !example.target.is_empty()), "{}", row.name);
        let Some(format) = row.format.as_ref().filter(|_| row.has_template()) else { continue };
        let line = serde_json::to_vec(&row.example().unwrap()).unwrap();
        let read = tasks::read(format, &line, Split::Train, &Reading::default()).unwrap();
        assert_eq!(read, examples, "{}", row.name);
    }
}

/// The lines of the table of tasks in the manual.
fn documented() -> Vec<String> {
    let none = tempfile::TempDir::new().unwrap();
    let all = all(&Library::of(none.path())).unwrap();
    let line = |Entry { row, .. }: &Entry| {
        let hub = row.hub.as_ref().map_or_else(String::new, |hub| match &hub.config {
            Some(config) => format!("`{}`, `{config}`", hub.dataset),
            None => format!("`{}`", hub.dataset),
        });
        let read = match (&row.later, &row.format) {
            (Some(_), _) => "not yet".to_owned(),
            (None, Some(format)) if !row.has_template() => format!("files by `{format}`"),
            (None, Some(format)) => format!("tables; files by `{format}`"),
            (None, None) if row.is_text() => "text".to_owned(),
            (None, None) => "tables".to_owned(),
        };
        let template = match &row.template_from {
            Some(Origin::Spot(_)) => "SPoT",
            Some(Origin::T5(_)) => "T5",
            Some(Origin::Ours(_)) => "ours",
            None => "",
        };
        let metrics: Vec<String> = row.metrics().iter().map(|metric| format!("`{}`", metric.name())).collect();
        let roles: Vec<&str> = row.roles.iter().map(|role| role.name()).collect();
        format!("| `{}` | {hub} | {read} | {template} | {} | {} |", row.name, metrics.join(", "), roles.join(", "))
    };
    all.iter().map(line).collect()
}

/// With `SPOT_GOLDEN=write` the table is written anew.
#[test]
fn the_manual_lists_every_task_as_it_is() {
    const HEAD: &str = "| task | hub | read from | template | metrics | in the paper |";
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/tasks.md");
    let manual = fs_err::read_to_string(&path).unwrap();
    let (before, rest) = manual.split_once(HEAD).unwrap();
    let mut lines = rest.lines();
    let rule: Vec<&str> = lines.by_ref().take(2).collect();
    let listed: Vec<&str> = lines.by_ref().take_while(|line| line.starts_with('|')).collect();
    if std::env::var_os("SPOT_GOLDEN").is_some() {
        let after: String = lines.map(|line| format!("\n{line}")).collect();
        let text = format!("{before}{HEAD}{}\n{}\n{after}\n", rule.join("\n"), documented().join("\n"));
        return fs_err::write(path, text).unwrap();
    }
    assert_eq!(listed, documented(), "docs/tasks.md; SPOT_GOLDEN=write writes it anew");
}

// A project with tasks of its own.

const MOOD: &str =
    "about: Moods\ntemplate: \"text: {text}\"\nlabel: mood\nlabels: [bad, good]\nfiles: {train: data/mood.csv}\n";

fn project(files: &[(&str, &str)]) -> (tempfile::TempDir, Library) {
    let folder = tempfile::TempDir::new().unwrap();
    fs_err::create_dir(folder.path().join(FOLDER)).unwrap();
    files.iter().for_each(|(name, text)| fs_err::write(folder.path().join(FOLDER).join(name), text).unwrap());
    let library = Library::of(folder.path());
    (folder, library)
}

/// What `from: {task: …}` stands for, without places.
fn out(library: &Library, task: &str) -> Result<serde_json::Value, String> {
    let node = node::parse(task).unwrap();
    let by_name: ByName = crate::engine::manifest::read_value(&node).unwrap();
    let row = by_name.row(library).map_err(|(_, message)| message)?;
    let out: Node = by_name.written_out(&row, &node).map_err(|issue| format!("{}: {}", issue.field, issue.message))?;
    Ok(crate::engine::manifest::read_value(&out).unwrap())
}

#[test]
fn a_name_stands_for_the_hub_and_files_for_their_reader() {
    let (_folder, library) = project(&[]);
    let out = |task: &str| out(&library, task).unwrap();
    let hub = out("rte");
    assert_eq!(hub["hub"]["dataset"], "aps/super_glue");
    assert_eq!(hub["hub"]["template"], "hypothesis: {hypothesis} premise: {premise}");
    assert_eq!((&hub["hub"]["name"], hub["hub"].get("rows")), (&"rte".into(), None));
    let files = out("{name: rte, train: a.jsonl, validation: b.jsonl}");
    assert_eq!(
        files["files"],
        serde_json::json!({"format": "superglue/rte", "train": "a.jsonl", "validation": "b.jsonl"})
    );
    let table = out("{name: rte, train: a.parquet}");
    assert_eq!((&table["table"]["train"], &table["table"]["label"]), (&"a.parquet".into(), &"label".into()));
    assert_eq!(out("{name: glue_rte, train: a.tsv}")["files"]["name"], "glue_rte");
    assert_eq!(out("{name: c4, train: a.json.gz}")["text"]["files"], serde_json::json!(["a.json.gz"]));
    assert_eq!(out("multirc")["later"]["name"], "multirc");
    assert_eq!(out("{name: squad, variant: spot, train: a.jsonl}")["table"]["word"], "squad");
    assert!(out("{name: cxc, train: a.csv}")["later"]["because"].as_str().unwrap().contains("captions"));
}

#[test]
fn what_a_row_cannot_be_read_from_is_refused() {
    let (_folder, library) = project(&[]);
    let error = |task: &str| out(&library, task).unwrap_err();
    assert!(
        error("{name: rte, validation: b.jsonl}").starts_with("from.task.validation: is given, but `train` is not")
    );
    assert!(error("{name: rte, train: a.jsonl, validation: b.parquet}").contains("give all splits in one form"));
    assert!(error("{name: rte, train: [a.jsonl, b.jsonl]}").contains("`superglue/rte` reads one of each split"));
    assert!(error("{name: wsc, train: a.parquet}").contains("reads only the files of its authors"));
    assert!(error("doc_nli").contains("give its files as `train` and `validation`"));
    assert_eq!(error("rtee"), "no task `rtee`; did you mean `rte`?");
    assert!(error("zzzzzzzzz").contains("`spot tasks` lists those that there are"));
    assert!(error("../rte").contains("expected the name of a task"));
    assert_eq!(error("{name: squad, variant: spott}"), "`squad` has no variant `spott`; did you mean `spot`?");
    assert_eq!(error("{name: rte, variant: x}"), "`rte` has no variant `x`; it has none");
}

#[test]
fn a_project_has_tasks_of_its_own() {
    let (_folder, library) = project(&[("mood.yaml", MOOD), ("rte.yaml", MOOD)]);
    assert_eq!(out(&library, "mood").unwrap()["table"]["train"], "data/mood.csv");
    let given = out(&library, "{name: mood, train: x.tsv, test: y.tsv}").unwrap();
    assert_eq!((&given["table"]["train"], &given["table"]["test"]), (&"x.tsv".into(), &"y.tsv".into()));
    let both = out(&library, "rte").unwrap_err();
    assert!(both.contains("can be read in two ways") && both.contains("Moods") && both.contains("SuperGLUE"), "{both}");
    assert_eq!(out(&library, "{name: rte, of: project}").unwrap()["table"]["label"], "mood");
    assert_eq!(out(&library, "{name: rte, of: program}").unwrap()["hub"]["label"], "label");
    let names: BTreeSet<(bool, String)> =
        all(&library).unwrap().into_iter().map(|entry| (entry.of == Of::Project, entry.row.name)).collect();
    assert!(names.contains(&(true, "mood".to_owned())) && names.contains(&(true, "rte".to_owned())));
}

#[test]
fn mistakes_in_a_file_are_told_with_their_place() {
    let error = |text: &str| {
        let (_folder, library) = project(&[("mood.yaml", text)]);
        let found = find(&library, "mood", None).and_then(|entry| check_row(&entry.row));
        found.expect_err(text)
    };
    assert!(error("").starts_with("tasks/mood.yaml:1:1: a task is a mapping"));
    assert!(error("a: [").starts_with("tasks/mood.yaml:"));
    assert!(error("about: x\n").contains("neither `template` nor `format`"));
    assert!(error(&MOOD.replace("label: mood", "lable: mood")).contains("tasks/mood.yaml"));
    assert!(error(&format!("{MOOD}name: rte\n")).starts_with("tasks/mood.yaml:6:7: `name` is `rte`, expected `mood`"));
    assert!(error(&format!("{MOOD}format: rte\n")).contains("no data set format `rte`"));
    assert!(error(&format!("{MOOD}later: {{files: [a], because: b}}\n")).contains("leave all but one out"));
    assert!(error(&format!("{MOOD}metrics: [f2]\n")).contains("`metrics[0]` cannot be `f2`"));
    assert!(
        error(&format!("{MOOD}answer: number\n")).starts_with("tasks/mood.yaml:6:9: `answer` is given beside `labels`")
    );
    assert!(error(&format!("{MOOD}roles: [sauce]\n")).contains("cannot be `sauce`"));
}

#[test]
fn a_copy_of_a_file_of_the_program_is_no_other_task() {
    let repository = Library::of(env!("CARGO_MANIFEST_DIR"));
    assert_eq!(find(&repository, "rte", None).unwrap().of, Of::Program);
    assert_eq!(all(&repository).unwrap().len(), embedded::TEXTS.len());
}
