//! Every family of T5 in every form of its files, against Hugging Face in f64 (`tests/golden/forms.py`).

use super::shell::{PROJECT, Shell};
use super::torch_files::{Numbers, Tensor, save, save_legacy};
use half::bf16;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde::Deserialize;
use serde_json::{Map, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// `golden.json`.
#[derive(Deserialize)]
struct Golden {
    texts: Vec<String>,
    labels: Vec<String>,
    families: BTreeMap<String, Expected>,
}

/// Log-likelihoods of a family's labels for each text: of its weights as they are, and rounded to bf16.
#[derive(Deserialize)]
struct Expected {
    f32: Vec<Vec<f64>>,
    bf16: Vec<Vec<f64>>,
}

/// How far a log-likelihood may be from Hugging Face's.
const TOLERANCE: f64 = 1e-4;

/// The files of weights.
#[derive(Clone, Copy, Debug)]
enum Files {
    Safetensors,
    SafetensorsShards,
    Bin,
    BinShards,
    /// As torch wrote before 1.6.
    LegacyBin,
}

const FILES: [Files; 5] =
    [Files::Safetensors, Files::SafetensorsShards, Files::Bin, Files::BinShards, Files::LegacyBin];

fn golden(path: &str) -> Vec<u8> {
    std::fs::read(Path::new(PROJECT).join("tests/golden").join(path)).unwrap()
}

/// A tensor with its bytes.
type Weight = (String, Vec<usize>, Vec<u8>);

/// The weights of a family with these numbers.
fn weights(family: &str, numbers: Numbers) -> Vec<Weight> {
    let bytes = golden(&format!("{family}/model.safetensors"));
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let rounded = |data: &[u8]| -> Vec<u8> {
        let numbers = data.chunks_exact(4).map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap()));
        numbers.flat_map(|x| bf16::from_f32(x).to_le_bytes()).collect()
    };
    let data = |data: &[u8]| if numbers == Numbers::F32 { data.to_vec() } else { rounded(data) };
    tensors.iter().map(|(name, view)| (name.to_owned(), view.shape().to_vec(), data(view.data()))).collect()
}

/// Writes some of the weights into a file.
fn write(path: &Path, files: Files, numbers: Numbers, weights: &[&Weight]) {
    let tensors = || -> Vec<Tensor<'_>> {
        weights.iter().map(|(name, shape, bytes)| (name.clone(), shape.clone(), Some(&bytes[..]))).collect()
    };
    match files {
        Files::Safetensors | Files::SafetensorsShards => {
            let dtype = if numbers == Numbers::F32 { Dtype::F32 } else { Dtype::BF16 };
            let view = |shape: &[usize], bytes| TensorView::new(dtype, shape.to_vec(), bytes).unwrap();
            let views = weights.iter().map(|(name, shape, bytes)| (name, view(shape, bytes)));
            std::fs::write(path, safetensors::serialize(views, None).unwrap()).unwrap();
        }
        Files::Bin | Files::BinShards => save(path, numbers, &tensors()),
        Files::LegacyBin => save_legacy(path, numbers, &tensors()),
    }
}

/// A folder `model` with a family's checkpoint, and no file of a tokenizer.
fn checkpoint(family: &str, files: Files, numbers: Numbers) -> Shell {
    let shell = Shell::new()
        .write("model/config.json", golden(&format!("{family}/config.json")))
        .write("prompt.npy", golden("forms/prompt.npy"));
    let mut weights = weights(family, numbers);
    let (stem, ending) = match files {
        Files::Safetensors | Files::SafetensorsShards => ("model", "safetensors"),
        Files::Bin | Files::BinShards | Files::LegacyBin => {
            // In torch's files the embedding is there three times.
            let (_, shape, bytes) = weights.iter().find(|(name, ..)| name == "shared.weight").unwrap().clone();
            let copies = ["encoder", "decoder"].map(|stack| format!("{stack}.embed_tokens.weight"));
            weights.extend(copies.map(|name| (name, shape.clone(), bytes.clone())));
            ("pytorch_model", "bin")
        }
    };
    let path = |name: &str| -> PathBuf { shell.path(&format!("model/{name}")) };
    match files {
        Files::SafetensorsShards | Files::BinShards => {
            let mut map = Map::new();
            for at in [0, 1] {
                let name = format!("{stem}-0000{}-of-00002.{ending}", at + 1);
                let own: Vec<&Weight> = weights.iter().skip(at).step_by(2).collect();
                map.extend(own.iter().map(|(tensor, ..)| (tensor.clone(), json!(name))));
                write(&path(&name), files, numbers, &own);
            }
            let index = json!({"metadata": {}, "weight_map": map}).to_string();
            std::fs::write(path(&format!("{stem}.{ending}.index.json")), index).unwrap();
        }
        Files::Safetensors | Files::Bin | Files::LegacyBin => {
            write(&path(&format!("{stem}.{ending}")), files, numbers, &weights.iter().collect::<Vec<_>>());
        }
    }
    shell
}

/// Asks a checkpoint for the likelihoods of both labels.
#[track_caller]
fn agrees(shell: &Shell, Golden { texts, labels, .. }: &Golden, expected: &[Vec<f64>], what: &str) {
    shell.put("texts.txt", texts.join("\n"));
    let asked = shell.spot("predict texts.txt --complete --prompt prompt.npy --backbone model --device cpu --labels");
    let lines = asked.arg(&labels.join(",")).ok().lines();
    assert_eq!(lines.len(), expected.len());
    for (line, expected) in lines.iter().zip(expected) {
        for (label, expected) in labels.iter().zip(expected) {
            let found = line["log_likelihood"][label].as_f64().unwrap();
            let apart = (found - expected).abs();
            assert!(apart < TOLERANCE, "{what}: `{label}` has {found}, expected {expected}, {apart:.1e} apart");
        }
    }
}

/// Asks a family in every form of weights, and in both forms of a tokenizer, or without one.
fn in_every_form(family: &str, tokenizers: &[&str]) {
    let golden_numbers: Golden = serde_json::from_slice(&golden("forms/golden.json")).unwrap();
    let expected = &golden_numbers.families[family];
    for files in FILES {
        for (numbers, expected) in [(Numbers::F32, &expected.f32), (Numbers::Bf16, &expected.bf16)] {
            let shell = checkpoint(family, files, numbers);
            let what = format!("{family}, {files:?}, {numbers:?}");
            if tokenizers.is_empty() {
                agrees(&shell, &golden_numbers, expected, &what);
            }
            for tokenizer in tokenizers {
                shell.put(&format!("model/{tokenizer}"), golden(&format!("forms/{tokenizer}")));
                agrees(&shell, &golden_numbers, expected, &format!("{what}, {tokenizer}"));
                std::fs::remove_file(shell.path(&format!("model/{tokenizer}"))).unwrap();
            }
        }
    }
}

const BOTH: [&str; 2] = ["spiece.model", "tokenizer.json"];

#[test]
fn t5_v1_0_in_every_form() {
    in_every_form("t5_v1_0", &BOTH);
}

#[test]
fn t5_v1_1_in_every_form() {
    in_every_form("t5_v1_1", &BOTH);
}

#[test]
fn mt5_in_every_form() {
    in_every_form("mt5", &BOTH);
}

#[test]
fn umt5_in_every_form() {
    in_every_form("umt5", &BOTH);
}

#[test]
fn byt5_in_every_form() {
    in_every_form("byt5", &[]);
}

#[test]
fn ul2_in_every_form() {
    in_every_form("ul2", &BOTH);
}
