//! Soft prompts to and from other programs, and into a manifest.

use super::shell::{PROJECT, Shell};
use std::path::{Path, PathBuf};

fn golden(name: &str) -> Vec<u8> {
    std::fs::read(Path::new(PROJECT).join("tests/golden/adapter").join(name)).unwrap()
}

/// A folder with what PEFT itself saved (`tests/golden/adapter.py`).
fn adapter() -> Shell {
    let files = ["adapter_config.json", "adapter_model.safetensors"];
    files.into_iter().fold(Shell::new(), |shell, name| shell.write(&format!("saved/{name}"), golden(name)))
}

#[test]
fn an_adapter_is_written_as_peft_writes_it() {
    let shell = adapter();
    shell.spot("prompt export saved --to copy").ok().prints("wrote `copy`: `saved`, 3 rows of 8");
    let [ours, theirs] = ["copy", "saved"].map(|folder| {
        let config = shell.read(&format!("{folder}/adapter_config.json"));
        serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(&config).unwrap()
    });
    // Fields that PEFT fills from the model when it loads, and its own version.
    let filled = ["num_attention_heads", "num_layers", "peft_version"];
    for (field, value) in theirs.iter().filter(|(field, _)| !filled.contains(&field.as_str())) {
        assert_eq!(ours.get(field), Some(value), "{field}");
    }
    let bytes = std::fs::read(shell.path("copy/adapter_model.safetensors")).unwrap();
    assert_eq!(tensors(&bytes), tensors(&golden("adapter_model.safetensors")));
}

/// Name, shape and numbers of every tensor.
fn tensors(bytes: &[u8]) -> Vec<(String, Vec<usize>, Vec<u8>)> {
    let tensors = safetensors::SafeTensors::deserialize(bytes).unwrap();
    tensors.iter().map(|(name, view)| (name.to_owned(), view.shape().to_vec(), view.data().to_vec())).collect()
}

#[test]
fn a_prompt_comes_back_from_every_form() {
    let shell = Shell::finished();
    let bytes = std::fs::read(shell.behind("smoke", "source[w_sum,0]", "prompt")).unwrap();
    let tuned = tensors(&bytes)[0].clone();
    for to in ["a.npy", "a.safetensors", "adapter"] {
        shell.spot(&format!("prompt export source[w_sum,0] --to {to}")).ok().prints("2 rows of ");
        shell.spot(&format!("prompt import {to} --to back.safetensors --task x --seed 3")).ok();
        let back = std::fs::read(shell.path("back.safetensors")).unwrap();
        assert_eq!(tensors(&back)[0], tuned, "{to}");
    }
    let bytes = std::fs::read(shell.path("a.npy")).unwrap();
    assert!(bytes.starts_with(b"\x93NUMPY\x01\x00") && bytes.ends_with(&tuned.2));
    // By key and digest too, and a step that the tuning kept.
    let entry = &shell.spot("show source[w_sum,0] --format json").ok().json()["entries"][0];
    let digest = entry["artifacts"][0]["digest"].as_str().unwrap();
    for what in [&entry["key"].as_str().unwrap()[..12], &digest[..12]] {
        shell.spot(&format!("prompt export {what} --to b.npy")).ok();
        assert_eq!(std::fs::read(shell.path("b.npy")).unwrap(), bytes);
    }
    let said = shell.spot("prompt show source[w_sum,0] --at-step 2 --format json").ok().json();
    assert_eq!(said["metadata"]["step"], "2");
    shell.spot("prompt show source[w_sum,0] --at-step 7").exits_with(2).complains("no tensor `step_7`");
}

/// A pipeline that starts from a prompt of another, and scores that one as it is.
const GIVEN: &str = r#"
version: 1
name: given
stages:
  backbone: {kind: backbone, from: {builtin: nano}}
  data:
    kind: ingest
    backbone: backbone
    from: {builtin: w_mood}
    rows: {train: 8, validation: 4, test: 4}
    input_length: 24
  given: {kind: prompt, backbone: backbone, file: there/w_sum.safetensors}
  tuned:
    kind: tune
    backbone: backbone
    data: data
    init: {prompt: given}
    length: 2
    training: {steps: 2, batch_size: 2, evaluate_every: 2}
  scores: {kind: evaluate, backbone: backbone, prompt: given, data: data}
  embedding: {kind: embed, prompt: given}
"#;

#[test]
fn a_prompt_from_a_file_goes_wherever_a_tuned_one_goes() {
    let shell = Shell::finished().write("pipelines/given.yaml", GIVEN);
    std::fs::create_dir(shell.path("there")).unwrap();
    shell.spot("prompt export source[w_sum,0] --to w_sum.npy").ok();
    let said = shell.spot("prompt import w_sum.npy --to there/w_sum.safetensors").ok();
    said.prints("2 rows of ")
        .prints("task `w_sum`, seed 0")
        .prints("kind: prompt")
        .prints("file: there/w_sum.safetensors");
    shell.spot("run given").ok();
    let entry = |job: &str| shell.spot(&format!("show given:{job}")).ok();
    entry("tuned").prints("source = w_sum");
    // A moved file is the same prompt; another task for it is a mistake.
    std::fs::rename(shell.path("there"), shell.path("elsewhere")).unwrap();
    shell.edit("pipelines/given.yaml", "there/", "elsewhere/");
    assert_eq!(shell.executed_by("run given"), [""; 0]);
    shell.edit("pipelines/given.yaml", "w_sum.safetensors}", "w_sum.safetensors, task: w_topic}");
    let done = shell.spot("run given").exits_with(1);
    done.complains("`elsewhere/w_sum.safetensors` says `task` is `w_sum`, but the manifest says `w_topic`");
}

#[test]
fn a_prompt_of_another_backbone_or_without_a_task_is_refused() {
    let shell = adapter().write("pipelines/given.yaml", GIVEN);
    shell.spot("prompt import saved --to there/w_sum.safetensors").exits_with(1).complains("there");
    std::fs::create_dir(shell.path("there")).unwrap();
    shell.spot("prompt import saved --to there/w_sum.safetensors --task w_sum").ok();
    shell
        .spot("run given --only given")
        .exits_with(1)
        .complains("has shape [3, 8], but the backbone's embedding width is");
    std::fs::copy(shell.path("saved/adapter_model.safetensors"), shell.path("there/w_sum.safetensors")).unwrap();
    shell.spot("run given --only given").exits_with(1).complains("has shape [6, 8]");
    let shell = Shell::finished().write("pipelines/given.yaml", GIVEN);
    std::fs::create_dir(shell.path("there")).unwrap();
    shell.spot("prompt export source[w_sum,0] --to there/w_sum.npy").ok();
    std::fs::rename(shell.path("there/w_sum.npy"), shell.path("there/w_sum.safetensors")).unwrap();
    shell.spot("run given --only given").exits_with(1).complains("does not say which task its prompt is of");
}

#[test]
fn show_names_the_pieces_that_rows_are_like() {
    let shell = Shell::finished();
    // Its first rows began as the embeddings of the labels and moved little.
    let said = shell.spot("prompt show target[w_mood,0] --nearest 2 --format json").ok().json();
    assert_eq!((&said["version"], &said["length"], &said["backbone"]), (&1.into(), &2.into(), &"backbone".into()));
    let rows = said["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 2);
    for row in rows {
        let [first, second] = [0, 1].map(|at| row["nearest"][at]["cosine"].as_f64().unwrap());
        assert!(first >= second && first <= 1.0 + 1e-9, "{row}");
        assert!(row["norm"].as_f64().unwrap() > 0.0);
    }
    let text = shell.spot("prompt show target[w_mood,0]").ok();
    text.prints("target[w_mood,0].prompt: 2 rows of ").prints("task: w_mood").prints("vocabulary of `backbone`");
    shell.put_backbone("model", 8);
    shell
        .spot("prompt show target[w_mood,0] --backbone model")
        .exits_with(2)
        .complains("name its own with `--backbone`");
    let shell = adapter();
    shell.put_backbone("model", 8);
    shell.spot("prompt show saved --backbone model").ok().prints("3 rows of 8").prints("vocabulary of `model`");
    shell.spot("prompt show saved").exits_with(2).complains("the backbone `nano`");
}

#[test]
fn files_that_run_code_or_are_no_prompts_are_refused() {
    let shell = Shell::finished().write("x.pt", "cos\nsystem\n").write("x.npy", "not numpy").write("y.npy", "");
    let refused = |line: &str, message: &str| {
        shell.spot(line).exits_with(2).complains(message);
    };
    refused("prompt show x.pt", "a pickle, which can run any code when it is read");
    refused("prompt show x.npy", "x.npy: ");
    refused("prompt show y.npy", "y.npy: ");
    refused("prompt show data[w_sum]", "`data[w_sum]` made nothing of type prompt");
    refused("prompt show sorce[w_sum,0]", "did you mean `source[w_sum,0]`?");
    refused("prompt import source[w_sum,0] --to x.npy", "expected `NAME.safetensors`");
    let several = shell.behind("smoke", "source[w_sum,0]", "checkpoints");
    std::fs::copy(several, shell.path("steps.safetensors")).unwrap();
    shell.spot("prompt show steps.safetensors --tensor step_2").ok();
    refused("prompt show steps.safetensors --tensor step_9", "no tensor `step_9`");
}

/// Lengths of rows that the folder's README states, computed with numpy.
#[test]
fn published_prompts_have_the_lengths_that_are_stated() {
    let shared = std::env::var_os("SPOT_SHARED").map_or_else(|| Path::new(PROJECT).join("../shared"), PathBuf::from);
    let file = shared.join("data/pretrained-prompts/mrpc.npy");
    if !file.is_file() {
        println!("skipped: no {}", file.display());
        return;
    }
    let shell = Shell::new();
    std::fs::copy(file, shell.path("mrpc.npy")).unwrap();
    shell.put_backbone("model", 768);
    let said = shell.spot("prompt show mrpc.npy --backbone model --nearest 1 --format json").ok().json();
    let norms: Vec<f64> = said["rows"].as_array().unwrap().iter().map(|row| row["norm"].as_f64().unwrap()).collect();
    let mean = norms.iter().sum::<f64>() / norms.len() as f64;
    assert!((mean - 867.6726).abs() < 1e-3, "{mean}");
    assert!((norms.iter().copied().fold(0.0, f64::max) - 1472.9914).abs() < 1e-3);
}
