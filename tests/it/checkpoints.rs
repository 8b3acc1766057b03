//! Folders in Hugging Face's layout that are read in one way only, or refused with the file's name and what to do.

use super::shell::{PROJECT, Shell};
use serde_json::{Value, json};
use spot::data::read_dataset;
use spot::ml::tasks::Split;

/// A data set with one row a line of `data/t.csv`, on the backbone in `model`, and the model's answers to it.
const MANIFEST: &str = r#"
version: 1
name: own
stages:
  backbone: {kind: backbone, from: {path: model}}
  data:
    kind: ingest
    backbone: backbone
    from: {table: {train: data/t.csv, validation: data/t.csv, template: "{text}", label: y, labels: [bad, good]}}
    input_length: 48
  scores: {kind: evaluate, backbone: backbone, data: data, split: validation}
"#;

/// A folder with a backbone of random weights and two rows, and the pipeline `own` that answers them.
pub(crate) fn shell() -> Shell {
    let shell = Shell::new()
        .write("pipelines/own.yaml", MANIFEST)
        .write("data/t.csv", "text,y\none two three four five six,0\nseven eight nine,1\n");
    shell.put_backbone("model", 8);
    shell
}

/// The same with another `tokenizer.json`.
fn with_tokenizer(edit: impl FnOnce(&mut Value)) -> Shell {
    let shell = shell();
    let mut json = serde_json::from_str(&shell.read("model/tokenizer.json")).unwrap();
    edit(&mut json);
    shell.put("model/tokenizer.json", serde_json::to_vec(&json).unwrap());
    shell
}

/// Ids of inputs and targets.
fn ids(shell: &Shell) -> Vec<(Vec<u32>, Vec<u32>)> {
    shell.spot("run own --only data").ok();
    let data = read_dataset(&std::fs::read(shell.behind("own", "data", "dataset")).unwrap()).unwrap();
    data.pairs(Split::Train).map(|(input, target)| (input.to_vec(), target.to_vec())).collect()
}

/// The run fails with one line that names the model's folder and has these parts.
#[track_caller]
fn refused(shell: &Shell, parts: &[&str]) {
    let done = shell.spot("run own").env("RUST_BACKTRACE", "1").exits_with(1);
    let lines: Vec<&str> = done.err.lines().filter(|line| line.contains("error")).collect();
    assert_eq!(lines.len(), 1, "{}", done.err);
    let prefix = "error: job `backbone` failed: ";
    assert!(lines[0].starts_with(prefix) && lines[0].contains("`model`"), "{}", lines[0]);
    parts.iter().for_each(|part| assert!(lines[0].contains(part), "`{part}` is not in {}", lines[0]));
    assert!(!done.err.contains("panicked at") && !done.err.contains("backtrace"), "{}", done.err);
}

#[test]
fn truncation_and_padding_of_a_tokenizer_change_no_text() {
    let plain = ids(&shell());
    assert!(plain[0].0.len() > 4);
    let truncation = json!({"direction": "Right", "max_length": 3, "strategy": "LongestFirst", "stride": 0});
    let padding = json!({"strategy": {"Fixed": 16}, "direction": "Right", "pad_to_multiple_of": null, "pad_id": 0,
                         "pad_type_id": 0, "pad_token": "<pad>"});
    assert_eq!(ids(&with_tokenizer(|json| json["truncation"] = truncation)), plain);
    assert_eq!(ids(&with_tokenizer(|json| json["padding"] = padding)), plain);
}

#[test]
fn a_sentinel_in_a_template_is_read_as_one() {
    let shell = shell();
    let plain = ids(&shell);
    shell.edit("pipelines/own.yaml", "\"{text}\"", "\"{text} <extra_id_0> </s>\"");
    let [(input, _), _] = &ids(&shell)[..] else { panic!("two rows") };
    let text = &plain[0].0[..plain[0].0.len() - 1];
    assert_eq!(input[..text.len()], *text);
    let rest = &input[text.len()..];
    assert_eq!((rest[0], rest.last()), (4095, Some(&1)), "{rest:?}");
    assert!(!rest[1..rest.len() - 1].contains(&1), "`</s>` in a text is text: {rest:?}");
}

#[test]
fn a_tokenizer_that_adds_more_than_eos_is_refused() {
    let item = |token: &str| json!({"SpecialToken": {"id": token, "type_id": 0}});
    let shell = with_tokenizer(|json| {
        json["post_processor"]["single"] =
            json!([item("<unk>"), {"Sequence": {"id": "A", "type_id": 0}}, item("</s>")]);
        json["post_processor"]["special_tokens"]["<unk>"] = json!({"id": "<unk>", "ids": [2], "tokens": ["<unk>"]});
    });
    refused(
        &shell,
        &["`tokenizer.json`: ", "`post_processor` makes `<unk> ▁a </s>` of the text `a`", "change `post_processor`"],
    );
}

#[test]
fn a_damaged_tokenizer_is_one_line() {
    let shell = shell();
    let whole = shell.read("model/tokenizer.json");
    let decoder = whole.find("\"decoder\"").unwrap();
    for end in [decoder + 40, decoder + 9, 1, whole.len() / 2] {
        shell.put("model/tokenizer.json", &whole[..end]);
        refused(&shell, &["`tokenizer.json`: ", "the file is cut off at line "]);
    }
    let hole = format!("{}{}", &whole[..decoder + 12], &whole[decoder + 52..]);
    shell.put("model/tokenizer.json", hole);
    refused(&shell, &["`tokenizer.json`: ", "copy or download it again"]);
    refused(&with_tokenizer(|json| json["decoder"] = json!({"type": "Unheard"})), &["`tokenizer.json`: "]);
    refused(
        &with_tokenizer(|json| json["normalizer"] = json!({"type": "Precompiled", "precompiled_charsmap": "AA"})),
        &["`tokenizer.json`: "],
    );
}

#[test]
fn a_spiece_model_reads_marks_as_sentencepiece_does() {
    let golden =
        |name: &str| std::fs::read(std::path::Path::new(PROJECT).join("tests/golden/spiece").join(name)).unwrap();
    let marks: Value = serde_json::from_slice(&golden("marks.json")).unwrap();
    // "Tiếng Việt" with its marks as characters of their own.
    let line = marks["lines"]
        .as_array()
        .unwrap()
        .iter()
        .find(|line| line[0].as_str().unwrap().starts_with("Tie\u{302}\u{301}ng"));
    let (text, ids_of_text) = (line.unwrap()[0].as_str().unwrap(), &line.unwrap()[1]);
    let shell = shell().write("data/t.csv", format!("text,y\n\"{text}\",0\nb,1\n"));
    std::fs::remove_file(shell.path("model/tokenizer.json")).unwrap();
    shell.put("model/spiece.model", golden("marks.model"));
    let expected: Vec<u32> = ids_of_text.as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect();
    let found = ids(&shell);
    // In front stands the name of the task.
    assert!(found[0].0.ends_with(&[&expected[..], &[1]].concat()), "{:?}, expected {expected:?}", found[0].0);
}

#[test]
fn pointers_of_git_lfs_are_named() {
    let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 990345061\n";
    for name in ["config.json", "tokenizer.json", "model.safetensors"] {
        let shell = shell().write(&format!("model/{name}"), pointer);
        refused(
            &shell,
            &[&format!("`{name}`: a Git LFS pointer in place of the file of 990345061 bytes"), "`git lfs pull`"],
        );
    }
    let shell = shell().write("model/spiece.model", pointer);
    std::fs::remove_file(shell.path("model/tokenizer.json")).unwrap();
    refused(&shell, &["`spiece.model`: a Git LFS pointer"]);
    std::fs::rename(shell.path("model/model.safetensors"), shell.path("model/model-00001-of-00001.safetensors"))
        .unwrap();
    shell.put("model/tokenizer.json", spot::stages::backbone::Nano::TOKENIZER);
    shell.put("model/model.safetensors.index.json", pointer);
    refused(&shell, &["`model.safetensors.index.json`: a Git LFS pointer"]);
}

/// Parts the weights in two files and writes their index.
fn in_shards(shell: &Shell) -> [String; 2] {
    let bytes = std::fs::read(shell.path("model/model.safetensors")).unwrap();
    let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let names = [1, 2].map(|i| format!("model-0000{i}-of-00002.safetensors"));
    let mut map = serde_json::Map::new();
    for (i, file) in names.iter().enumerate() {
        let own = tensors.iter().enumerate().filter(|(at, _)| at % 2 == i).map(|(_, tensor)| tensor);
        let own: Vec<_> = own.collect();
        map.extend(own.iter().map(|(name, _)| ((*name).to_owned(), json!(file))));
        shell.put(&format!("model/{file}"), safetensors::serialize(own, None).unwrap());
    }
    shell.put("model/model.safetensors.index.json", json!({"metadata": {}, "weight_map": map}).to_string());
    std::fs::remove_file(shell.path("model/model.safetensors")).unwrap();
    names
}

#[test]
fn shards_are_read_together_or_the_missing_one_is_named() {
    let shell = shell();
    let predictions = |shell: &Shell| {
        shell.spot("run own").ok();
        std::fs::read(shell.behind("own", "scores", "predictions")).unwrap()
    };
    let whole = predictions(&shell);
    let [first, second] = in_shards(&shell);
    assert_eq!(predictions(&shell), whole);
    // A shard of another checkpoint beside them.
    std::fs::copy(shell.path(&format!("model/{second}")), shell.path("model/model-00003-of-00003.safetensors"))
        .unwrap();
    refused(&shell, &["`model-00003-of-00003.safetensors` is not in `model.safetensors.index.json`"]);
    std::fs::remove_file(shell.path("model/model-00003-of-00003.safetensors")).unwrap();
    std::fs::remove_file(shell.path(&format!("model/{second}"))).unwrap();
    refused(&shell, &[&format!("the shard `{second}` is missing, where `model.safetensors.index.json` has ")]);
    std::fs::remove_file(shell.path("model/model.safetensors.index.json")).unwrap();
    refused(&shell, &[&format!("the shard 2 of 2 is missing beside `{first}`")]);
    std::fs::remove_file(shell.path(&format!("model/{first}"))).unwrap();
    refused(&shell, &["`model` has no `model.safetensors`"]);
}

/// Writes the weights with other names, and more of them.
fn rename(shell: &Shell, name: impl Fn(&str) -> Vec<String>) {
    let bytes = std::fs::read(shell.path("model/model.safetensors")).unwrap();
    let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let renamed = tensors.iter().flat_map(|(old, view)| name(old).into_iter().map(move |new| (new, view.clone())));
    shell.put("model/model.safetensors", safetensors::serialize(renamed, None).unwrap());
}

#[test]
fn tensors_under_other_names_are_read_where_only_one_model_can_be_meant() {
    let predictions = |name: &dyn Fn(&str) -> Vec<String>| {
        let shell = shell();
        rename(&shell, name);
        shell.spot("run own").ok();
        std::fs::read(shell.behind("own", "scores", "predictions")).unwrap()
    };
    let plain = predictions(&|name| vec![name.to_owned()]);
    let embedding = |to: &'static [&str]| {
        move |name: &str| {
            if name == "shared.weight" { to.iter().map(|to| (*to).to_owned()).collect() } else { vec![name.to_owned()] }
        }
    };
    for to in [
        &["encoder.embed_tokens.weight"][..],
        &["decoder.embed_tokens.weight"],
        &["encoder.embed_tokens.weight", "decoder.embed_tokens.weight"],
    ] {
        assert!(predictions(&embedding(to)) == plain, "{to:?}");
    }
    assert!(predictions(&|name| vec![format!("model.{name}")]) == plain);
    assert!(predictions(&|name| vec![format!("transformer.{name}")]) == plain);
}

#[test]
fn models_that_are_no_t5_and_tensors_without_a_place_are_refused() {
    let shell = shell();
    let config = shell.read("model/config.json");
    shell.put("model/config.json", config.replace("\"t5\"", "\"longt5\""));
    refused(&shell, &["`config.json`: ", "`model_type` is `longt5`", "attends locally"]);
    shell.put("model/config.json", &config);
    let bias = "SelfAttention.relative_attention_bias.weight";
    let more = |name: &str| {
        if name.ends_with(bias) {
            vec![name.to_owned(), name.replace("block.0", "block.1")]
        } else {
            vec![name.to_owned()]
        }
    };
    rename(&shell, more);
    refused(
        &shell,
        &[
            "`model.safetensors`: weights: tensor `decoder.block.1.layer.0.SelfAttention",
            "at most layer 0 by `num_decoder_layers` (1)",
        ],
    );
}

#[test]
fn a_head_may_be_the_embedding_without_scaling() {
    let shell = shell();
    rename(&shell, |name| if name == "lm_head.weight" { Vec::new() } else { vec![name.to_owned()] });
    refused(
        &shell,
        &["`model.safetensors`: weights: tensor `lm_head.weight` is missing", "`scale_decoder_outputs: false`"],
    );
    let tied = "\"tie_word_embeddings\": true, \"scale_decoder_outputs\": false";
    shell.edit("model/config.json", "\"tie_word_embeddings\": false", tied);
    shell.spot("run own").ok();
}
