//! What a study compares: how prompts begin, controls of the same budget, and what reports make of them.

use super::shell::{PROJECT, Shell};
use spot::data::Table;
use spot::ml::prompt::file::PromptFile;
use std::path::Path;

/// Two sources and a target, six seeds each, whose prompts are embedded where they begin and after one step.
const SEEDS: &str = r#"
version: 1
name: seeds
vars: {seeds: [0, 1, 2, 3, 4, 5], origin: null, init: {sampled_vocabulary: {top: 1000}}}
stages:
  backbone: {kind: backbone, from: {builtin: nano}}
  data:
    kind: ingest
    matrix: {task: [w_sum, w_topic, w_mood]}
    backbone: backbone
    from: {builtin: "${task}"}
    rows: {train: 16, validation: 4, test: 0}
  source:
    kind: tune
    matrix: {task: [w_sum, w_topic], seed: "${seeds}"}
    backbone: backbone
    data: data[${task}]
    init: ${init}
    length: 8
    seed: ${seed}
    origin: ${origin}
    training: {steps: 1, batch_size: 4, evaluate_every: 1}
    keep_at: [0, 1]
  target:
    kind: tune
    matrix: {seed: "${seeds}"}
    backbone: backbone
    data: data[w_mood]
    init: ${init}
    length: 8
    seed: ${seed}
    origin: ${origin}
    training: {steps: 1, batch_size: 4, evaluate_every: 1}
    keep_at: [0, 1]
  source_embedding: {kind: embed, matrix: {task: [w_sum, w_topic], seed: "${seeds}"}, prompt: "source[${task},${seed}]", at_step: 1}
  target_embedding: {kind: embed, matrix: {seed: "${seeds}"}, prompt: "target[${seed}]", at_step: 1}
  ranking:
    kind: rank
    matrix: {seed: "${seeds}"}
    target: target_embedding[${seed}]
    sources: source_embedding[*]
    metric: average_tokens
"#;

fn seeds() -> Shell {
    Shell::new().write("pipelines/seeds.yaml", SEEDS)
}

fn bytes(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap()
}

fn checkpoints(shell: &Shell, job: &str) -> PromptFile {
    PromptFile::from_bytes(&bytes(&shell.behind("seeds", job, "checkpoints"))).unwrap()
}

#[test]
fn the_seed_of_the_most_similar_source_is_independent_of_the_targets() {
    let shell = seeds();
    shell.spot("run seeds").ok();
    let beginning = |job: &str| checkpoints(&shell, job).prompts["step_0"].clone();
    assert_ne!(beginning("source[w_sum,0]"), beginning("source[w_topic,0]"), "tasks share the beginnings of a seed");
    assert_ne!(beginning("source[w_sum,0]"), beginning("source[w_sum,1]"));
    let mut own = 0;
    for seed in 0..6 {
        let ranking = bytes(&shell.behind("seeds", &format!("ranking[{seed}]"), "ranking"));
        let first = Table::from_parquet(&ranking).unwrap().take_unsigned("source_seed").unwrap().remove(0);
        own += usize::from(first == seed);
    }
    // One of six by chance. Where all tasks of a seed begin alike it is six, as long as so little is learned.
    assert!(own <= 3, "{own} of 6 rankings have the target's own seed first");
}

#[test]
fn runs_of_one_origin_begin_alike_and_are_compared_by_what_they_learned() {
    let shell = seeds();
    shell.spot("run seeds --set vars.origin=7 --set vars.seeds=[0,1]").ok();
    let (a, b) = (checkpoints(&shell, "source[w_sum,0]"), checkpoints(&shell, "target[1]"));
    assert_eq!(a.prompts["step_0"], b.prompts["step_0"]);
    assert_eq!((&a.prompts["origin"], &a.about.origin), (&b.prompts["step_0"], &b.about.origin));
    assert!(a.about.origin.is_some());
    let embedding = bytes(&shell.behind("seeds", "target_embedding[1]", "embedding"));
    let (width, learned) = Table::from_parquet(&embedding).unwrap().take_vectors("vector").unwrap();
    let expected = b.prompts["step_1"].minus(&b.prompts["origin"]).unwrap();
    assert_eq!((width, learned), (expected.width, expected.values));
    // The best prompt does not say where it began.
    let best = "--set stages.target_embedding.at_step=null --only target_embedding";
    let line = format!("run seeds --set vars.origin=7 --set vars.seeds=[0,1] {best}");
    shell.spot(&line).exits_with(1).complains("`at_step`");
}

#[test]
fn what_has_no_common_origin_is_not_compared() {
    let shell = seeds();
    shell.spot("run seeds --set vars.seeds=[0] --set stages.target.origin=1").exits_with(1).complains(
        "cannot be compared: what they learned is measured from different places; give all of them the same `origin`, or none",
    );
    for (init, begins) in
        [("{class_labels: {}}", "the labels of its own task"), ("{prompt: \"source[w_sum,0]\"}", "tuned prompts")]
    {
        let set = format!("stages.target.init={init}");
        shell.spot("status seeds --set stages.target.origin=1 --set").arg(&set).exits_with(2).complains(begins);
    }
}

/// A target with controls of the same budget.
const CONTROLS: &str = r#"
version: 1
name: controls
vars:
  training: {steps: 2, batch_size: 4, evaluate_every: 1}
  strategies: {random: {random_k: 3}, similar: {best_of_top_k: 2}, all: brute_force, largest: largest_source}
stages:
  backbone: {kind: backbone, from: {builtin: nano}}
  data:
    kind: ingest
    matrix: {task: [w_sum, w_topic, w_mood]}
    backbone: backbone
    from: {builtin: "${task}"}
    rows: {train: 16, validation: 16, test: 8}
  source:
    kind: tune
    matrix: {task: [w_sum, w_topic], seed: [0, 1]}
    backbone: backbone
    data: data[${task}]
    length: 4
    seed: ${seed}
    training: ${training}
    keep_at: [1]
  target: {kind: tune, backbone: backbone, data: "data[w_mood]", length: 4, seed: 3, training: "${training}", keep_at: [1]}
  source_embedding: {kind: embed, matrix: {task: [w_sum, w_topic], seed: [0, 1]}, prompt: "source[${task},${seed}]", at_step: 1}
  target_embedding: {kind: embed, prompt: target, at_step: 1}
  ranking: {kind: rank, target: target_embedding, sources: "source_embedding[*]"}
  restart:
    kind: transfer
    backbone: backbone
    data: data[w_mood]
    strategy: {restarts: 3}
    init: {sampled_vocabulary: {}}
    length: 4
    seed: 3
    training: ${training}
  chosen:
    kind: transfer
    matrix: {by: [random, similar, all, largest]}
    backbone: backbone
    data: data[w_mood]
    ranking: ranking
    prompts: source[*]
    source_data: ["data[w_sum]", "data[w_topic]"]
    strategy: ${strategies.${by}}
    length: 4
    seed: 3
    training: ${training}
"#;

fn trials(shell: &Shell, job: &str) -> Table {
    Table::from_parquet(&bytes(&shell.behind("controls", job, "trials"))).unwrap()
}

#[test]
fn restarts_are_tunings_from_scratch_of_which_the_best_on_validation_counts() {
    let shell = Shell::new().write("pipelines/controls.yaml", CONTROLS);
    shell.spot("run controls --only restart --only target").ok();
    let mut trials = trials(&shell, "restart");
    assert_eq!((trials.metadata["tunings"].as_str(), trials.metadata["candidates"].as_str()), ("3", "0"));
    assert_eq!((trials.metadata["target_steps"].as_str(), trials.metadata["source_steps"].as_str()), ("6", "0"));
    let seeds = trials.take_unsigned("seed").unwrap();
    assert!(seeds[0] == 3 && seeds[1] != seeds[2] && !seeds[1..].contains(&3), "{seeds:?}");
    let scores = trials.take_float("validation_score").unwrap();
    let best = PromptFile::from_bytes(&bytes(&shell.behind("controls", "restart", "prompt"))).unwrap();
    let highest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    assert_eq!((best.about.score, best.about.seed, &best.about.source), (Some(highest), Some(3), &None));
    // The first is the tuning of the baseline.
    let baseline = PromptFile::from_bytes(&bytes(&shell.behind("controls", "target", "prompt"))).unwrap();
    assert_eq!(baseline.about.score, Some(scores[0]));
}

#[test]
fn steps_of_sources_and_of_the_targets_own_run_are_counted() {
    let shell = Shell::new().write("pipelines/controls.yaml", CONTROLS);
    shell.spot("run controls").ok();
    // Tunings of 2 steps; an embedding of 1; four sources of 2 steps.
    for (by, tunings, target, source) in
        [("random", "3", "6", "6"), ("similar", "2", "5", "8"), ("all", "4", "8", "8"), ("largest", "1", "2", "2")]
    {
        let trials = trials(&shell, &format!("chosen[{by}]"));
        let said = |key: &str| trials.metadata[key].as_str();
        assert_eq!([said("tunings"), said("target_steps"), said("source_steps")], [tunings, target, source], "{by}");
        assert_eq!((said("library_steps"), said("candidates")), ("8", "4"));
    }
    let mut random = trials(&shell, "chosen[random]");
    let (tasks, seeds) = (random.take_text("source").unwrap(), random.take_unsigned("source_seed").unwrap());
    let mut drawn: Vec<(String, u64)> = tasks.into_iter().zip(seeds).collect();
    drawn.sort();
    drawn.dedup();
    assert_eq!(drawn.len(), 3, "none is drawn twice");
}

#[test]
fn strategies_say_what_they_need_and_what_is_of_no_use_to_them() {
    for (from, to, complaint) in [
        ("    init: {sampled_vocabulary: {}}\n", "", "needs `init`"),
        ("    init: {sampled_vocabulary: {}}\n", "    init: {prompt: target}\n", "begin from scratch"),
        ("{restarts: 3}", "{restarts: 0}", "at least 1"),
        (
            "    strategy: {restarts: 3}\n",
            "    strategy: {restarts: 3}\n    ranking: ranking\n",
            "no use beside `restarts`",
        ),
        ("{random_k: 3}", "{random_k: 5}", "asks for 5 sources, but `prompts` are 4"),
        ("    ranking: ranking\n", "", "needs `ranking`"),
        ("    source_data: [\"data[w_sum]\", \"data[w_topic]\"]\n", "    init: {sampled_vocabulary: {}}\n", "init"),
    ] {
        let shell = Shell::new().write("pipelines/controls.yaml", CONTROLS);
        shell.edit("pipelines/controls.yaml", from, to);
        shell.spot("status controls").exits_with(2).complains(complaint);
    }
}

#[test]
fn the_papers_study_is_a_manifest_and_says_what_it_lacks() {
    let text = std::fs::read_to_string(Path::new(PROJECT).join("pipelines/spot_paper.yaml")).unwrap();
    let shell = Shell::new().write("pipelines/spot_paper.yaml", text);
    let jobs = shell.spot("status spot_paper --format json").ok().json()["jobs"].as_array().unwrap().clone();
    let count = |stage: &str| jobs.iter().filter(|job| job["stage"] == stage).count();
    assert_eq!([count("source"), count("target"), count("pair")], [48, 30, 1440]);
    let later: Vec<&str> = jobs
        .iter()
        .filter(|job| job["reasons"].to_string().contains("cannot be read yet"))
        .filter_map(|job| job["job"].as_str())
        .collect();
    assert_eq!(later, ["source_data[cxc]"]);
    let said = shell.spot("status spot_paper").ok();
    said.prints("its pairs name captions by numbers")
        .prints("there is no file")
        .prints("MultiRC/train.jsonl")
        .prints("not downloaded");
    // The other benchmarks' own files, and nothing that cannot be read.
    let said = shell.spot("status spot_paper --profile readable,files").ok();
    said.prints("MNLI/train.tsv").prints("source_data       15 blocked");
    assert!(!said.out.contains("cxc"), "{}", said.out);
}
