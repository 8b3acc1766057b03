//! A kind whose bytes change has to say so by its version: every kind's outputs are compared with digests kept in
//! `tests/golden/kinds.json`.
//!
//! After a bump, `SPOT_GOLDEN=write cargo test --locked --test it kinds::` writes the digests of this CPU's class anew. It
//! refuses where a kind gives other bytes for the same recipe under the same version.

use super::shell::{PROJECT, Shell};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What is kept of a kind.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Golden {
    version: u64,
    /// Of the keys of its jobs.
    recipes: String,
    /// Of the artifacts that they made.
    outputs: String,
}

/// The first field of the file, for whoever opens it.
const HOW: &str = "SPOT_GOLDEN=write cargo test --locked --test it kinds:: writes the digests of this CPU's class anew";

fn file() -> PathBuf {
    Path::new(PROJECT).join("tests/golden/kinds.json")
}

/// CPUs whose vectors have the same width sum in the same order and give the same bytes.
fn class() -> Option<&'static str> {
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("avx512f") {
            return Some("avx512");
        }
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            return Some("avx2");
        }
    }
    None
}

/// Rows without answers.
const NEW: &str = r#"{"id": "a", "input": "the boat is slow", "prompt": "mood"}
{"id": 7, "input": "the river is wide", "prompt": "given"}
{"input": "the sea"}
"#;

/// Runs `tests/golden/kinds.yaml`.
fn made() -> BTreeMap<String, Golden> {
    let row = |idx: usize, label: &str| {
        format!("{{\"premise\": \"It rains.\", \"hypothesis\": \"It pours {idx}.\", \"idx\": {idx}{label}}}\n")
    };
    let rows = |label: &str| (0..3).map(|idx| row(idx, label)).collect::<String>();
    let prompt: Vec<u8> = (0..2 * 128_u16).flat_map(|i| (f32::from(i) / 64.0 - 2.0).to_le_bytes()).collect();
    let header = format!("{:<117}\n", "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 128), }");
    let npy = [b"\x93NUMPY\x01\x00".as_slice(), &118_u16.to_le_bytes(), header.as_bytes(), &prompt].concat();
    let shell = Shell::new()
        .write("pipelines/kinds.yaml", std::fs::read(Path::new(PROJECT).join("tests/golden/kinds.yaml")).unwrap())
        .write("corpus.txt", "The river is wide and slow.\nA boat goes down the river to the sea.\n".repeat(8))
        .write("count.sh", "while read -r line; do echo \"${#line} $line\"; done < \"$1\" > \"$SPOT_OUT/count.txt\"\n")
        .write("cb.jsonl", rows(", \"label\": \"neutral\""))
        .write("cb_test.jsonl", rows(""))
        .write("new.jsonl", NEW)
        .write("prompt.npy", npy);
    shell.spot("run kinds --device cpu").ok();
    let status = shell.spot("status kinds --format json").ok().json();
    let mut kinds: BTreeMap<String, (u64, String, String)> = BTreeMap::new();
    for job in status["jobs"].as_array().unwrap() {
        let key = job["key"].as_str().unwrap();
        let entry: Value =
            serde_json::from_str(&shell.read(&format!("cache/v1/entries/{}/{key}.json", &key[..2]))).unwrap();
        let (_, keys, outputs) = kinds
            .entry(job["kind"].as_str().unwrap().to_owned())
            .or_insert_with(|| (entry["recipe"]["version"].as_u64().unwrap(), String::new(), String::new()));
        *keys += &format!("{} {key}\n", job["job"]);
        for artifact in entry["artifacts"].as_array().unwrap() {
            *outputs += &format!("{} {} {}\n", job["job"], artifact["name"], artifact["digest"]);
        }
    }
    let digest = |text: &str| blake3::hash(text.as_bytes()).to_hex().to_string();
    let golden = |(version, keys, outputs): (u64, String, String)| Golden {
        version,
        recipes: digest(&keys),
        outputs: digest(&outputs),
    };
    kinds.into_iter().map(|(kind, made)| (kind, golden(made))).collect()
}

/// What is wrong with a kind; `None` if nothing is.
fn wrong(kind: &str, kept: Option<&Golden>, made: &Golden) -> Option<String> {
    let Some(kept) = kept else { return Some(format!("`{kind}` is new: {HOW}")) };
    match made {
        made if made == kept => None,
        made if made.version != kept.version => {
            Some(format!("`{kind}` is at version {}, the file at {}: {HOW}", made.version, kept.version))
        }
        made if made.recipes == kept.recipes => Some(bump(kind, made.version)),
        made if made.outputs == kept.outputs => Some(format!("the recipes of `{kind}` are others: {HOW}")),
        _ => Some(format!("`{kind}` reads other bytes or has other parameters than when the file was written: {HOW}")),
    }
}

fn bump(kind: &str, version: u64) -> String {
    format!(
        "`{kind}` gives other bytes for the same recipe, which every cache in the world would serve as version {version}: bump \
         its VERSION or restore the bytes"
    )
}

#[test]
fn bytes_of_a_kind_change_only_with_its_version() {
    let Some(class) = class() else {
        println!("skipped: no golden digests for this class of CPU");
        return;
    };
    let text = std::fs::read_to_string(file()).unwrap_or_else(|_| "{}".to_owned());
    let mut kept: Map<String, Value> = serde_json::from_str(&text).unwrap();
    let golden: BTreeMap<String, Golden> =
        kept.get(class).map(|kinds| serde_json::from_value(kinds.clone()).unwrap()).unwrap_or_default();
    let writes = std::env::var("SPOT_GOLDEN").is_ok_and(|what| what == "write");
    if golden.is_empty() && !writes {
        println!("skipped: no golden digests for `{class}`; {HOW}");
        return;
    }
    let made = made();
    let found: Vec<String> = made.iter().filter_map(|(kind, made)| wrong(kind, golden.get(kind), made)).collect();
    if writes {
        let refused: Vec<&String> = found.iter().filter(|wrong| wrong.contains("bump its VERSION")).collect();
        assert!(refused.is_empty(), "{refused:#?}");
        kept.insert("how".to_owned(), json!(HOW));
        kept.insert(class.to_owned(), json!(made));
        std::fs::write(file(), format!("{:#}\n", Value::Object(kept))).unwrap();
        return;
    }
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn every_kind_has_golden_digests() {
    let kept: Map<String, Value> = serde_json::from_str(&std::fs::read_to_string(file()).unwrap()).unwrap();
    for (class, kinds) in kept.iter().filter(|(name, _)| *name != "how") {
        for kind in spot::stages::ALL {
            assert!(kinds.get(kind.name).is_some(), "`{class}` has no `{}`: {HOW}", kind.name);
        }
    }
}

#[test]
fn what_is_wrong_with_a_kind_is_told_apart() {
    let golden =
        |version, recipes: &str, outputs: &str| Golden { version, recipes: recipes.into(), outputs: outputs.into() };
    let kept = golden(3, "r", "o");
    assert_eq!(wrong("tune", Some(&kept), &golden(3, "r", "o")), None);
    let told = |made: Golden| wrong("tune", Some(&kept), &made).unwrap();
    assert!(told(golden(3, "r", "x")).contains("bump its VERSION or restore the bytes"));
    assert!(told(golden(4, "x", "x")).contains("is at version 4, the file at 3"));
    assert!(told(golden(3, "x", "x")).contains("reads other bytes"));
    assert!(told(golden(3, "x", "o")).contains("recipes of `tune` are others"));
    assert!(wrong("new", None, &kept).unwrap().contains("`new` is new"));
}
