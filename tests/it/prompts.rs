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
        shell.spot(&format!("prompt import {to} --to back.safetensors --task x --seed 3 --overwrite")).ok();
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
    shell.spot("run given --only given").exits_with(1).complains("has shape [6, 8]; it is of a PEFT adapter");
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
    refused("prompt show x.pt", "x.pt: no file that `torch.save` wrote, or it is cut off");
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

#[test]
fn adapters_in_half_precision_are_widened_and_their_first_half_is_the_prompt() {
    for name in ["adapter_bf16", "adapter_f16"] {
        let golden = |file: &str| std::fs::read(Path::new(PROJECT).join("tests/golden").join(name).join(file)).unwrap();
        let shell = ["adapter_config.json", "adapter_model.safetensors", "rows.npy"]
            .iter()
            .fold(Shell::new(), |shell, file| shell.write(&format!("saved/{file}"), golden(file)));
        shell.spot("prompt export saved --to rows.npy").ok().prints("3 rows of 8");
        assert_eq!(std::fs::read(shell.path("rows.npy")).unwrap(), golden("rows.npy"), "{name}");
        // The file alone is the adapter too, where its settings are beside it.
        shell.spot("prompt export saved/adapter_model.safetensors --to rows.npy").ok().prints("unchanged: `rows.npy`");
    }
}

#[test]
fn an_adapter_whose_files_do_not_fit_together_is_refused() {
    let refused = |shell: &Shell, parts: &[&str]| {
        let done = shell.spot("prompt export saved --to x.npy").exits_with(2);
        for part in parts {
            done.complains(part);
        }
        assert!(!shell.path("x.npy").exists());
    };
    let edited = |from: &str, to: &str| {
        let shell = adapter();
        shell.edit("saved/adapter_config.json", from, to);
        shell
    };
    let rows = "\"num_virtual_tokens\": 3";
    for (to, message) in [
        ("\"num_virtual_tokens\": 2", "is 2 and `num_transformer_submodules` 2, but `prompt_embeddings` has 6 rows"),
        ("\"num_virtual_tokens\": 0", "is 0, expected a whole number from 1"),
        ("\"num_virtual_tokens\": \"3\"", "is \"3\", expected a whole number"),
        ("\"num_virtual_tokens\": 4611686018427387904", "is 4611686018427387904"),
        ("\"other\": 3", "`num_virtual_tokens` is null, expected"),
    ] {
        refused(&edited(rows, to), &["saved: ", "`adapter_config.json`", message]);
    }
    refused(
        &edited("\"token_dim\": 8", "\"token_dim\": 16"),
        &["says `token_dim` is 16, but `prompt_embeddings` is 8 wide"],
    );
    refused(&edited("\"SEQ_2_SEQ_LM\"", "\"CAUSAL_LM\""), &["`CAUSAL_LM`, expected `SEQ_2_SEQ_LM`"]);
    refused(&edited("\"PROMPT_TUNING\"", "\"MULTITASK_PROMPT_TUNING\""), &["says `MULTITASK_PROMPT_TUNING`, expected"]);
    let shell = adapter();
    std::fs::remove_file(shell.path("saved/adapter_config.json")).unwrap();
    refused(&shell, &["saved: no `adapter_config.json` beside `adapter_model.safetensors`"]);
    shell
        .spot("prompt show saved/adapter_model.safetensors")
        .exits_with(2)
        .complains("saved: no `adapter_config.json`");
    let shell = adapter().write("saved/adapter_model.bin", "PK");
    std::fs::remove_file(shell.path("saved/adapter_model.safetensors")).unwrap();
    refused(&shell, &["saved: ", "`adapter_model.bin`: ", "the file is cut off, or of another kind"]);
}

#[test]
fn import_and_export_overwrite_only_when_they_are_told_to() {
    let shell = adapter();
    for (command, to) in
        [("export", "x.npy"), ("export", "x.safetensors"), ("export", "x"), ("import", "y.safetensors")]
    {
        let line = format!("prompt {command} saved --to {to}");
        shell.spot(&line).ok().prints(&format!("wrote `{to}`"));
        shell.spot(&line).ok().prints(&format!("unchanged: `{to}`"));
    }
    let other = shell.write("other.npy", to_npy(&[2.0; 8]));
    for (command, to, file) in [
        ("export", "x.npy", "x.npy"),
        ("export", "x.safetensors", "x.safetensors"),
        ("export", "x", "x/adapter_model.safetensors"),
        ("import", "y.safetensors", "y.safetensors"),
    ] {
        let before = std::fs::read(other.path(file)).unwrap();
        let line = format!("prompt {command} other.npy --to {to}");
        other.spot(&line).exits_with(2).complains(&format!("`{file}` is there already")).complains("--overwrite");
        assert_eq!(std::fs::read(other.path(file)).unwrap(), before);
        other.spot(&format!("{line} --overwrite")).ok().prints("wrote");
        assert_ne!(std::fs::read(other.path(file)).unwrap(), before);
    }
}

/// One row as numpy saves it.
fn to_npy(row: &[f32]) -> Vec<u8> {
    let header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': (1, {}), }}", row.len());
    let values = row.iter().flat_map(|x| x.to_le_bytes());
    [b"\x93NUMPY\x01\x00v\x00".as_slice(), format!("{header:117}\n").as_bytes()]
        .concat()
        .into_iter()
        .chain(values)
        .collect()
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

/// Tunings of two steps that keep where they began.
const BEGINNINGS: &str = r#"
version: 1
name: beginnings
stages:
  backbone: {kind: backbone, from: {builtin: nano}}
  data:
    kind: ingest
    backbone: backbone
    from: {builtin: w_mood}
    rows: {train: 8, validation: 4, test: 4}
    input_length: 24
  text:
    kind: tune
    backbone: backbone
    data: data
    init: {text: "the happy child"}
    length: 8
    training: {steps: 2, batch_size: 2, evaluate_every: 1}
    keep_at: [0, 2]
  uniform:
    kind: tune
    backbone: backbone
    data: data
    init: {uniform: {low: -0.25, high: 0.75}}
    length: 8
    training: {steps: 2, batch_size: 2, evaluate_every: 1}
    keep_at: [0, 2]
"#;

/// The numbers of a tensor in f32.
fn floats(bytes: &[u8], name: &str) -> Vec<f32> {
    let (_, _, bytes) = tensors(bytes).into_iter().find(|(found, ..)| found == name).unwrap();
    bytes.chunks_exact(4).map(|x| f32::from_le_bytes(x.try_into().unwrap())).collect()
}

#[test]
fn a_prompt_begins_with_the_embeddings_of_a_text_or_with_uniform_numbers() {
    let shell = Shell::new().write("pipelines/beginnings.yaml", BEGINNINGS);
    shell.spot("run beginnings").ok();
    let checkpoints = |job: &str| std::fs::read(shell.behind("beginnings", job, "checkpoints")).unwrap();
    let [text, uniform] = ["text", "uniform"].map(checkpoints);

    let nano = |name: &str| std::fs::read(Path::new(PROJECT).join("src/stages/nano").join(name)).unwrap();
    let tokenizer = tokenizers::Tokenizer::from_bytes(nano("tokenizer.json")).unwrap();
    let ids = tokenizer.encode("the happy child", false).unwrap().get_ids().to_vec();
    assert!((3..8).contains(&ids.len()), "{ids:?}");
    let weights = nano("model.safetensors");
    let view = safetensors::SafeTensors::deserialize(&weights).unwrap();
    let view = view.tensor("shared.weight").unwrap();
    assert_eq!(view.dtype(), safetensors::Dtype::BF16);
    let width = view.shape()[1];
    let wide = |bits: &[u8]| f32::from_bits(u32::from(u16::from_le_bytes(bits.try_into().unwrap())) << 16);
    let embedding: Vec<f32> = view.data().chunks_exact(2).map(wide).collect();
    let rows: Vec<&[f32]> = embedding.chunks_exact(width).collect();

    let begins = floats(&text, "step_0");
    assert_eq!(begins.len(), 8 * width);
    for (i, row) in begins.chunks_exact(width).enumerate() {
        match ids.get(i) {
            Some(id) => assert!(row == rows[*id as usize], "row {i} is not the embedding of {id}"),
            None => assert!(rows.contains(&row), "row {i} is of no piece"),
        }
    }
    let begins = floats(&uniform, "step_0");
    assert_eq!(begins.len(), 8 * width);
    assert!(begins.iter().all(|x| (-0.25..0.75).contains(x)));
    let mean = begins.iter().sum::<f32>() / begins.len() as f32;
    // Four standard deviations of a mean of 1024 numbers.
    assert!((mean - 0.25).abs() < 0.037, "{mean}");
    for file in [&text, &uniform] {
        assert_ne!(floats(file, "step_2"), floats(file, "step_0"), "nothing was learned");
    }
}

// ---- what comes with an export --------------------------------------------------------------------------------------------

/// Lines of CSV by the names of their columns.
fn sheet(bytes: &[u8]) -> Vec<std::collections::BTreeMap<String, String>> {
    csv::Reader::from_reader(bytes).deserialize().map(Result::unwrap).collect()
}

#[test]
fn words_of_an_export_are_those_that_show_finds() {
    let shell = Shell::finished();
    shell.spot("prompt export target[w_mood,0] --to saved --readable --nearest 3").ok();
    let words = sheet(&std::fs::read(shell.path("saved/words.csv")).unwrap());
    assert_eq!(words.len(), 2 * 2 * 3, "two rows, by cosine and by distance, three each");
    let shown = shell.spot("prompt show target[w_mood,0] --nearest 3 --format json").ok().json();
    let by = |metric: &str| words.iter().filter(|line| line["nearest_by"] == metric).collect::<Vec<_>>();
    for (at, line) in by("cosine").into_iter().enumerate() {
        let row = &shown["rows"][at / 3];
        let near = &row["nearest"][at % 3];
        assert_eq!(
            (line["piece"].as_str(), line["id"].as_str()),
            (near["piece"].as_str().unwrap(), &*near["id"].to_string())
        );
        assert_eq!(line["cosine"].parse::<f64>().unwrap(), near["cosine"].as_f64().unwrap());
        assert_eq!(line["length"].parse::<f64>().unwrap(), row["norm"].as_f64().unwrap());
    }
    let distances: Vec<f64> = by("distance").iter().map(|line| line["distance"].parse().unwrap()).collect();
    assert!(distances.chunks_exact(3).all(<[f64]>::is_sorted), "{distances:?}");
    // No piece is nearer than the line from the origin through it.
    for line in &words {
        let number = |name: &str| line[name].parse::<f64>().unwrap();
        let (length, cosine, distance) = (number("length"), number("cosine"), number("distance"));
        let square = distance * distance - length * length * (1.0 - cosine * cosine);
        assert!(square > -1e-6 * length * length, "{line:?}");
    }
    shell.spot("prompt export target[w_mood,0] --to a.npy --readable --nearest 3").ok();
    assert_eq!(
        std::fs::read(shell.path("a.words.csv")).unwrap(),
        std::fs::read(shell.path("saved/words.csv")).unwrap()
    );
    // A prompt that does not say its model is compared with none by guess.
    let asked = "prompt export a.npy --to b.npy --readable";
    shell
        .spot(asked)
        .exits_with(2)
        .complains("does not say on which model it was tuned; name the model by `--backbone`");
    assert!(!shell.path("b.npy").exists(), "all or nothing");
    shell.spot(&format!("{asked} --backbone backbone")).ok();
    shell.put_backbone("other", 8);
    shell
        .spot("prompt export a.npy --to c.npy --readable --backbone other")
        .exits_with(2)
        .complains("embedding width is 8");
    shell.spot("prompt export a.npy --to c.npy --nearest 3").exits_with(2).complains("--readable");
}

#[test]
fn a_card_says_what_is_known_of_a_prompt() {
    let shell = Shell::finished();
    let command = "prompt export target[w_mood,0] --to saved --base-model google/t5-small-lm-adapt";
    shell.spot(command).ok();
    shell.spot(command).ok().prints("unchanged: `saved`");
    let card = shell.read("saved/README.md");
    let entry = &shell.spot("show target[w_mood,0] --format json").ok().json()["entries"][0];
    let metadata = shell.spot("prompt show target[w_mood,0] --format json").ok().json()["metadata"].clone();
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    for part in [
        "---\nbase_model: \"google/t5-small-lm-adapt\"\nlibrary_name: peft\ntags:\n- \"base_model:adapter:google/t5-small-lm-adapt\"\n",
        "# Soft prompt for `w_mood`",
        "| seed | 0 |",
        &format!("| step | {} |", text(&metadata["step"])),
        &format!("| score on validation, at that step | {:.1} |", text(&metadata["score"]).parse::<f64>().unwrap()),
        "| job | `target[w_mood,0]` |",
        &format!("| key of the job | `{}` |", text(&entry["key"])),
        &format!("| digest of the prompt | `{}` |", text(&entry["artifacts"][0]["digest"])),
        &format!("| digest of the model | `{}` |", text(&metadata["backbone"])),
        "base = \"google/t5-small-lm-adapt\"\n",
    ] {
        assert!(card.contains(part), "{part} is not in\n{card}");
    }
    assert!(!card.to_lowercase().contains("license"), "nobody said one");
    // What somebody else wrote there stays.
    shell.put("own/README.md", "mine");
    shell.spot("prompt export target[w_mood,0] --to own").exits_with(2).complains("own/README.md` is there already");
    assert!(!shell.path("own/adapter_config.json").exists());
    // The model that an adapter names is named again.
    shell.spot("prompt export saved --to again").ok();
    assert!(shell.read("again/adapter_config.json").contains("google/t5-small-lm-adapt"));
    assert!(shell.read("again/README.md").contains("| exported from | `saved` |"));
}

/// A Python that has PEFT: `$SPOT_PEFT_PYTHON`, or `python3` if it has it.
fn python() -> Option<std::ffi::OsString> {
    if let Some(named) = std::env::var_os("SPOT_PEFT_PYTHON") {
        return Some(named);
    }
    let tried = std::process::Command::new("python3").args(["-c", "import peft, tokenizers, torch"]).output();
    tried.is_ok_and(|tried| tried.status.success()).then(|| "python3".into())
}

#[test]
fn peft_loads_an_export_as_its_card_says_and_thinks_the_same() {
    let Some(python) = python() else {
        println!("skipped: no Python with PEFT; name one by SPOT_PEFT_PYTHON");
        return;
    };
    let shell = Shell::new().write("rows.npy", to_npy(&[0.5, -0.25, 1.0, 0.0, -1.5, 0.75, 2.0, -0.125]));
    shell.put_backbone("model", 8);
    let base = shell.path("model").display().to_string();
    shell.spot("prompt export rows.npy --to saved --base-model").arg(&base).ok();
    let (input, labels) = ("anna was sad because the rain came", ["good", "bad", "a river"]);
    let found = std::process::Command::new(python)
        .arg(Path::new(PROJECT).join("tests/golden/card.py"))
        .arg(shell.path("saved"))
        .arg(shell.path("model/tokenizer.json"))
        .arg(input)
        .args(labels)
        .env("HF_HUB_OFFLINE", "1")
        .output()
        .unwrap();
    assert!(found.status.success(), "{}", String::from_utf8_lossy(&found.stderr));
    let theirs: serde_json::Value = serde_json::from_slice(&found.stdout).unwrap();
    shell.put("new.txt", input);
    let asked = "predict new.txt --complete --prompt saved --backbone model --labels good,bad";
    let ours = shell.spot(asked).arg("--labels").arg("a river").ok().lines().remove(0);
    for label in labels {
        let [ours, theirs] = [&ours["log_likelihood"], &theirs].map(|of| of[label].as_f64().unwrap());
        assert!((ours - theirs).abs() < 1e-4, "{label}: {ours} and {theirs}");
    }
}
