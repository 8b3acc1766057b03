//! Tasks by their names: those of the paper, which the program brings, and those of a project.

use super::shell::Shell;
use spot::data::{Dataset, read_dataset};
use spot::ml::tasks::{Answer, Split};

const ROWS: [(&str, &str, usize); 4] = [
    ("It rains.", "It is wet.", 0),
    ("It rains.", "It is dry.", 1),
    ("A dog.", "An animal.", 0),
    ("A dog.", "A cat.", 1),
];

/// Rows of RTE as SuperGLUE publishes them.
fn rte() -> String {
    let words = ["entailment", "not_entailment"];
    let row = |(at, (premise, hypothesis, label)): (usize, &(&str, &str, usize))| {
        format!(
            "{{\"premise\": \"{premise}\", \"hypothesis\": \"{hypothesis}\", \"label\": \"{}\", \"idx\": {at}}}\n",
            words[*label]
        )
    };
    ROWS.iter().cycle().take(12).enumerate().map(row).collect()
}

const MOOD: &str = "about: Moods of reviews\ntemplate: \"review: {text}\"\nlabel: stars\nlabels: {1: bad, 5: good}\nfiles: {train: data/mood.csv}\n\
example: {text: dull, stars: 1}\n";

fn manifest(from: &str) -> String {
    format!(
        "version: 1\nname: own\nstages:\n  backbone: {{kind: backbone, from: {{builtin: nano}}}}\n  data:\n    kind: ingest\n    \
         backbone: backbone\n    from: {from}\n"
    )
}

fn shell(from: &str) -> Shell {
    let reviews: String =
        (0..40).map(|at| format!("number {at} is {},{}\n", ["dull", "fine"][at % 2], [1, 5][at % 2])).collect();
    Shell::new()
        .write("pipelines/own.yaml", manifest(from))
        .write("data/rte.jsonl", rte())
        .write("data/mood.csv", format!("text,stars\n{reviews}"))
        .write("tasks/mood.yaml", MOOD)
}

fn dataset(shell: &Shell) -> Dataset {
    read_dataset(&std::fs::read(shell.behind("own", "data", "dataset")).unwrap()).unwrap()
}

#[test]
fn a_task_is_read_from_its_files_by_name() {
    let by_name = shell("{task: {name: rte, train: data/rte.jsonl, validation: data/rte.jsonl}}");
    by_name.spot("run own").ok();
    let data = dataset(&by_name);
    assert_eq!((data.task.name.as_str(), data.task.answer), ("rte", Answer::Label));
    assert_eq!(data.examples(Split::Train)[0].input, "rte hypothesis: It is wet. premise: It rains.");
    // The same recipe as that of the manifest that says all of it.
    let written = manifest("{files: {format: superglue/rte, train: data/rte.jsonl, validation: data/rte.jsonl}}");
    let by_name = by_name.write("pipelines/own.yaml", written);
    by_name.spot("status own --exit-code").ok().prints("2 cached");
}

#[test]
fn a_project_has_tasks_of_its_own() {
    let shell = shell("{task: mood}");
    shell.spot("run own").ok();
    let data = dataset(&shell);
    assert_eq!((data.task.name.as_str(), &data.task.labels[..]), ("mood", &["bad".to_owned(), "good".to_owned()][..]));
    assert!(data.examples(Split::Train)[0].input.starts_with("mood review: number "));
    // What the file says is part of the recipe.
    let shell = shell.write("tasks/mood.yaml", MOOD.replace("review: {text}", "text: {text}"));
    shell.spot("status own --exit-code").exits_with(10);
    let shell = shell.write("tasks/mood.yaml", MOOD.replace("label: stars", "lable: stars"));
    shell.spot("status own").exits_with(2).complains("tasks/mood.yaml:").complains("lable");
}

#[test]
fn a_name_that_is_taken_is_refused_until_it_is_said_whose_it_is() {
    let shell = shell("{task: rte}").write("tasks/rte.yaml", MOOD);
    shell
        .spot("status own")
        .exits_with(2)
        .complains("pipelines/own.yaml:8:18")
        .complains("`rte` can be read in two ways");
    let shell = shell.write("pipelines/own.yaml", manifest("{task: {name: rte, of: project}}"));
    shell.spot("run own").ok();
    assert_eq!(dataset(&shell).task.name, "rte");
}

#[test]
fn what_cannot_be_read_yet_blocks_its_stage_and_says_why() {
    let shell = shell("{task: dart}");
    shell.spot("status own").ok().prints("blocked").prints("lists of lists");
    shell.spot("tasks dart").ok().prints("cannot be read").prints("the stage is blocked");
}

#[test]
fn wrong_names_and_forms_are_told() {
    let at = |from: &str| shell(from).spot("status own").exits_with(2);
    at("{task: moood}").complains("pipelines/own.yaml:8:18: `from.task`: no task `moood`; did you mean `mood`?");
    at("{task: {name: rte, tain: x.jsonl}}").complains("unknown key `tain` in `from.task`; did you mean `train`?");
    at("{task: {name: rte, validation: data/rte.jsonl}}").complains("`train` is not");
    at("{task: [rte]}").complains("`from.task` is a list, expected the name of a task");
    at("{task: 1}").complains("`from.task` is the number 1, expected the name of a task");
    at("{task: null}").complains("expected the name of a task");
    at("{task: \"\"}").complains("expected the name of a task");
    at("{task: {name: squad, variant: spott, train: x.jsonl}}").complains("did you mean `spot`?");
    at("{task: {name: rte, train: ../rte.jsonl}}").complains("leads out of the project");
}

#[test]
fn tasks_are_listed_and_explained() {
    let shell = shell("{task: mood}");
    shell
        .spot("tasks")
        .ok()
        .prints("aps/super_glue, rte")
        .prints("of this project")
        .prints("61 tasks of the paper, of which 3 cannot be read yet");
    shell
        .spot("tasks rte")
        .ok()
        .prints("rte hypothesis: The city has a harbour. premise: The city has two harbours.")
        .prints("target  entailment")
        .prints("T5's code")
        .prints("2,490 train, 277 validation, 3,000 test");
    shell
        .spot("tasks squad --variant spot")
        .ok()
        .prints("squad question: Who built it ? context: It was built by Ann Lee , in 1932 .")
        .prints("{name: squad, variant: spot}");
    shell.spot("tasks mood").ok().prints("tasks/mood.yaml").prints("mood review: dull").prints("from: {task: mood}");
    shell.spot("tasks rtee").exits_with(2).complains("did you mean `rte`?");
    shell.spot("tasks --variant spot").exits_with(2);
    let listed = shell.spot("tasks --format json").ok().json();
    assert_eq!(listed["tasks"].as_array().unwrap().len(), 62);
    let one = shell.spot("tasks stsb --format json").ok().json();
    assert_eq!(one["task"]["examples"][0]["target"], "1.6");
    assert_eq!(one["task"]["metrics"], serde_json::json!(["pearson", "spearman"]));
}
