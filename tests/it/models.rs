//! Models in other precision, and other ways to make answers.

use super::shell::{PROJECT, Shell};
use spot::data::Table;
use spot::ml::prompt::Prompt;
use spot::ml::prompt::about::About;
use spot::ml::prompt::file::PromptFile;
use std::collections::BTreeMap;

/// One tuning, evaluated in `decoding`, on a model in `precision`.
fn pipeline(precision: &str, decoding: &str) -> String {
    format!(
        r#"
version: 1
name: one
stages:
  backbone: {{kind: backbone, from: {{builtin: nano}}, precision: {precision}}}
  data:
    kind: ingest
    backbone: backbone
    from: {{builtin: w_sum}}
    rows: {{train: 16, validation: 8, test: 12}}
  tuned:
    kind: tune
    backbone: backbone
    data: data
    length: 4
    training: {{steps: 4, batch_size: 4, evaluate_every: 2}}
  scores: {{kind: evaluate, backbone: backbone, prompt: tuned, data: data, split: test, decoding: {decoding}}}
"#
    )
}

fn shell(precision: &str, decoding: &str) -> Shell {
    Shell::new().write("pipelines/one.yaml", pipeline(precision, decoding))
}

#[test]
fn half_precision_goes_all_the_way() {
    let shell = shell("bf16", "greedy");
    shell.spot("run one").ok();
    shell.spot("show scores").ok().prints("accuracy");
    shell.spot("audit one").ok();
}

/// The weights of a folder are converted once, to a part of the artifact that any tool opens.
#[test]
fn a_conversion_to_bf16_is_made_once_and_answers_as_one_in_memory() {
    let text = pipeline("bf16", "greedy").replace("{builtin: nano}", "{path: model}");
    let shell = Shell::new().write("pipelines/one.yaml", text).write("lines.txt", "sum: one two\nsum: three four\n");
    for name in ["config.json", "tokenizer.json", "model.safetensors"] {
        std::fs::create_dir_all(shell.path("model")).unwrap();
        std::fs::copy(format!("{PROJECT}/src/stages/nano/{name}"), shell.path(&format!("model/{name}"))).unwrap();
    }
    shell.spot("run one").ok();
    let packed = shell.behind("one", "backbone", "backbone.parts/packed.safetensors");
    let packed = std::fs::read(packed).unwrap();
    let tensors = safetensors::SafeTensors::deserialize(&packed).unwrap();
    let given = std::fs::read(shell.path("model/model.safetensors")).unwrap();
    assert_eq!(tensors.len(), safetensors::SafeTensors::deserialize(&given).unwrap().len());
    assert_eq!(tensors.tensor("shared.weight").unwrap().dtype(), safetensors::Dtype::BF16);
    shell.spot("audit one").ok();

    // A folder is converted in memory; the job's model is mapped from its part.
    let of = |backbone: &str| {
        let options = "predict lines.txt --prompt tuned --labels one,two --decoding greedy --backbone";
        shell.spot(&format!("{options} {backbone}")).ok().out
    };
    assert_eq!(of("model"), of("backbone"));
    // The backbone's digest is that of a run before there were such parts.
    shell.spot("run one").ok().complains("cached");
}

#[test]
fn f16_is_refused_with_the_reason() {
    shell("f16", "greedy").spot("run one").exits_with(2).complains("one.yaml:5:").complains("65,504").complains("bf16");
    shell("int8", "greedy").spot("run one").exits_with(2).complains("unknown precision `int8`");
}

#[test]
fn ranked_answers_are_labels_whatever_the_prompt_has_learnt() {
    let shell = shell("f32", "{rank: {per_token: true}}");
    shell.spot("run one").ok();
    let predictions = std::fs::read(shell.behind("one", "scores", "predictions")).unwrap();
    let mut table = Table::from_parquet(&predictions).unwrap();
    let (answers, labels) = (table.take_text("prediction").unwrap(), table.take_text("target").unwrap());
    assert_eq!(answers.len(), 12);
    let numbers = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"];
    assert!(answers.iter().chain(&labels).all(|answer| numbers.contains(&answer.as_str())), "{answers:?}");
}

#[test]
fn beams_and_samples_are_ways_to_answer() {
    for decoding in ["{beam: {width: 3}}", "{sample: {temperature: 0.7, top_k: 5, seed: 1}}"] {
        shell("f32", decoding).spot("run one").ok();
    }
    let refused = shell("f32", "{beam: {width: 0}}").spot("run one").exits_with(2);
    refused.complains("`width` is 0, expected 1 to 256");
}

#[test]
fn a_tuning_that_diverges_says_where_and_keeps_its_best_prompt() {
    let text = pipeline("f32", "greedy").replace("evaluate_every: 2", "evaluate_every: 2, learning_rate: 1.0e+300");
    let shell = Shell::new().write("pipelines/one.yaml", text);
    let done = shell.spot("run one").exits_with(1);
    done.complains("at step ")
        .complains("learning rate 1")
        .complains("try a smaller learning rate")
        .complains("is kept as `");
    let partial = std::fs::read_dir(shell.path("cache/v1/partial")).unwrap().next().unwrap().unwrap().path();
    let kept = PromptFile::from_bytes(&std::fs::read(partial.join("best.safetensors")).unwrap()).unwrap();
    assert_eq!(kept.prompt("prompt").unwrap().length(), 4);
}

#[test]
fn memory_is_a_number_with_a_unit() {
    let shell = shell("f32", "greedy");
    shell.spot("run one --memory 64MiB --threads 2").ok();
    shell.spot("run one --memory 64").exits_with(2).complains("`GiB`, `MiB` or `KiB`");
    shell.spot("run one --memory 99999999999999999GiB").exits_with(2);
}

#[test]
fn prompts_of_a_folder_are_ranked_without_a_manifest() {
    let npy = |values: &[f32; 4]| {
        let header = format!("{:117}\n", "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 2), }");
        let bytes = values.iter().flat_map(|x| x.to_le_bytes());
        [b"\x93NUMPY\x01\x00v\x00".as_slice(), header.as_bytes()].concat().into_iter().chain(bytes).collect::<Vec<u8>>()
    };
    let file = |name: &str, values: &[f32]| {
        let prompt = Prompt { values: values.to_vec(), width: 2 };
        PromptFile { prompts: [(name.to_owned(), prompt)].into(), ..PromptFile::default() }.to_bytes()
    };
    // Means of rows: (1, 0), (1, 1), (0, 1); of PEFT's rows the third and fourth are never used.
    let shell = Shell::new()
        .write("prompts/east.npy", npy(&[1.0, 0.0, 1.0, 0.0]))
        .write("prompts/northeast.safetensors", file("prompt", &[2.0, 0.0, 0.0, 2.0]))
        .write(
            "prompts/north/adapter_model.safetensors",
            file("prompt_embeddings", &[0.0, 1.0, 0.0, 1.0, 9.0, 0.0, 9.0, 0.0]),
        )
        .write("prompts/north/adapter_config.json", r#"{"peft_type": "PROMPT_TUNING", "num_virtual_tokens": 2}"#)
        .write("prompts/README.md", "no prompt");
    let found = shell.spot("rank prompts --target north --format json").ok().json();
    assert_eq!([&found["ranking"][0]["source"], &found["ranking"][1]["source"]], ["northeast", "east"]);
    assert!((found["ranking"][0]["similarity"].as_f64().unwrap() - 0.5f64.sqrt()).abs() < 1e-7);
    assert_eq!(found["ranking"][1]["similarity"], 0.0);
    let per_token = shell.spot("rank prompts --metric per-token --format json").ok().json();
    assert_eq!(per_token["prompts"], serde_json::json!(["east", "north", "northeast"]));
    assert_eq!(per_token["similarity"][2][2], 0.5);
    shell.spot("rank prompts").ok().prints("northeast").prints("0.7071");
    shell.spot("rank prompts --format markdown").ok().prints("| north |");

    shell.spot("rank prompts --target south").exits_with(2).complains("there are east, north, northeast");
    shell.spot("rank nowhere").exits_with(2).complains("nowhere");
    let shell = shell.write("prompts/wide.safetensors", file("prompt", &[1.0, 0.0]).as_slice());
    let mut wide = PromptFile::from_bytes(&std::fs::read(shell.path("prompts/wide.safetensors")).unwrap()).unwrap();
    wide.prompts.insert("prompt".to_owned(), Prompt { values: vec![1.0; 3], width: 3 });
    let shell = shell.write("prompts/wide.safetensors", wide.to_bytes());
    shell.spot("rank prompts").exits_with(2).complains("`east` and `wide`").complains("one backbone");
    let shell = shell.write("prompts/wide.safetensors", "junk");
    shell.spot("rank prompts").exits_with(2).complains("wide.safetensors: ");

    let one = r#"{"peft_type": "PROMPT_TUNING", "num_virtual_tokens": 1}"#;
    let shell = Shell::new()
        .write("prompts/lr0.3/adapter_model.safetensors", file("prompt_embeddings", &[0.0, 1.0]))
        .write("prompts/lr0.3/adapter_config.json", one)
        .write("prompts/lr0.1/adapter_model.safetensors", file("prompt_embeddings", &[1.0, 0.0]))
        .write("prompts/lr0.1/adapter_config.json", one);
    shell.spot("rank prompts").ok().prints("lr0.1").prints("lr0.3");
    let shell = shell.write("prompts/lr0.1/adapter_config.json", "{");
    shell.spot("rank prompts").exits_with(2).complains("`adapter_config.json`: ");
    std::fs::remove_file(shell.path("prompts/lr0.1/adapter_config.json")).unwrap();
    shell.spot("rank prompts").exits_with(2).complains("prompts/lr0.1: no `adapter_config.json`");
    shell.spot("rank prompts/lr0.3").exits_with(2).complains("a single adapter");
    let shell = Shell::new()
        .write("prompts/a.npy", npy(&[1.0, 0.0, 1.0, 0.0]))
        .write("prompts/a.safetensors", file("prompt", &[1.0, 0.0]));
    shell.spot("rank prompts").exits_with(2).complains("a second prompt called `a`");
}

#[test]
fn prompts_of_different_backbones_are_not_ranked() {
    let file = |said: &[(&str, &str)]| {
        let metadata: BTreeMap<String, String> =
            said.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let about = About::read(metadata).unwrap();
        PromptFile::of(Prompt { values: vec![1.0, 0.0], width: 2 }, about).to_bytes()
    };
    let shell = Shell::new()
        .write("prompts/a.safetensors", file(&[("backbone", "aaaa")]))
        .write("prompts/b.safetensors", file(&[]))
        .write("prompts/c.safetensors", file(&[("backbone", "aaaa"), ("base_model", "google/t5-base-lm-adapt")]))
        .write("prompts/d.safetensors", file(&[("base_model", "/models/t5-base-lm-adapt/")]));
    shell.spot("rank prompts").ok();
    let shell = shell.write("prompts/e.safetensors", file(&[("backbone", "bbbb")]));
    let different = "`c` was tuned on the model aaaa and `e` on bbbb; only prompts of one backbone can be compared";
    shell.spot("rank prompts").exits_with(2).complains(different);
    shell.spot("rank prompts --target a").exits_with(2).complains(different);
    std::fs::remove_file(shell.path("prompts/e.safetensors")).unwrap();
    let shell = shell.write("prompts/e.safetensors", file(&[("base_model", "google/t5-xl-lm-adapt")]));
    shell
        .spot("rank prompts")
        .exits_with(2)
        .complains("`d` was tuned on the model t5-base-lm-adapt and `e` on t5-xl-lm-adapt");
    let shell = shell.write("prompts/e.bin", "no prompt of ours").write("prompts/f/adapter_model.bin", "PK");
    std::fs::remove_file(shell.path("prompts/e.safetensors")).unwrap();
    shell.spot("rank prompts").exits_with(2).complains("e.bin: not a file that `torch.save` wrote");
    std::fs::remove_file(shell.path("prompts/e.bin")).unwrap();
    shell
        .spot("rank prompts")
        .exits_with(2)
        .complains("prompts/f: no `adapter_config.json` beside `adapter_model.bin`");
}

/// Model tuning with `precision`, then a prompt on the tuned model, by the data set of the first one.
fn model_tuning(precision: &str) -> Shell {
    let tuned = "  better:\n    kind: tune_model\n    backbone: backbone\n    data: data\n    training: {steps: 4, batch_tokens: 200, evaluate_every: 2}\n";
    let pipeline = pipeline(precision, "greedy")
        .replace(
            "  tuned:\n    kind: tune\n    backbone: backbone\n",
            &format!("{tuned}  tuned:\n    kind: tune\n    backbone: better\n"),
        )
        .replace("kind: evaluate, backbone: backbone,", "kind: evaluate, backbone: better,");
    Shell::new().write("pipelines/one.yaml", pipeline)
}

#[test]
fn a_tuned_model_is_a_backbone_for_the_same_data() {
    let shell = model_tuning("f32");
    shell.spot("run one").ok();
    let mut curve = Table::from_parquet(&std::fs::read(shell.behind("one", "better", "curve")).unwrap()).unwrap();
    assert_eq!(curve.take_int("step").unwrap(), [0, 2, 4]);
    let (losses, scores) = (curve.take_opt_float("loss").unwrap(), curve.take_opt_float("score").unwrap());
    assert!(losses[0].is_none() && losses[1..].iter().all(Option::is_some), "{losses:?}");
    assert!(scores.iter().all(Option::is_some), "{scores:?}");
    shell.spot("audit one").ok();
}

#[test]
fn a_model_in_half_precision_is_not_tuned() {
    model_tuning("bf16")
        .spot("run one")
        .exits_with(1)
        .complains("`backbone` is kept in bf16")
        .complains("`precision: f32`");
}

#[test]
fn a_folder_with_a_spiece_model_alone_is_a_backbone() {
    let golden =
        |name: &str| std::fs::read(std::path::Path::new(PROJECT).join("tests/golden/spiece").join(name)).unwrap();
    let manifest = "version: 1\nname: one\nstages:\n  backbone: {kind: backbone, from: {path: models/m}}\n  data:\n    kind: \
                    ingest\n    backbone: backbone\n    from: {builtin: w_sum}\n    rows: {train: 8, validation: 4, test: 4}\n";
    let shell = Shell::new().write("pipelines/one.yaml", manifest);
    shell.put_backbone("models/m", 8);
    std::fs::remove_file(shell.path("models/m/tokenizer.json")).unwrap();
    shell.spot("run one").exits_with(1).complains("`models/m` has no `tokenizer.json`").complains("`spiece.model`");
    shell.put("models/m/spiece.model", golden("rules.model"));
    assert_eq!(shell.executed_by("run one"), ["backbone", "data"]);
    let bytes = std::fs::read(shell.behind("one", "data", "dataset")).unwrap();
    let data = spot::data::read_dataset(&bytes).unwrap();
    let sentinel = data.largest_id().unwrap();
    assert!(sentinel < 189, "texts have pieces of the small model and no sentinels: {sentinel}");
    // Where both are there, Hugging Face's file counts, and what happens to the other changes nothing.
    shell.put("models/m/tokenizer.json", spot::stages::backbone::Nano::TOKENIZER);
    assert_eq!(shell.executed_by("run one"), ["backbone", "data"]);
    shell.put("models/m/spiece.model", "broken");
    assert_eq!(shell.executed_by("run one"), [""; 0]);
    std::fs::remove_file(shell.path("models/m/tokenizer.json")).unwrap();
    let done = shell.spot("run one").exits_with(1);
    done.complains("model in `models/m`: `spiece.model`: tokenizer: the file is cut off or not a SentencePiece model");
}
