//! Mistakes of all sorts: one clear message each, the documented exit code, nothing lost.

use super::edits::files;
use super::shell::{Shell, smoke};

const MANIFEST: &str = "pipelines/smoke.yaml";

/// After `from` in the smoke manifest became `to`, nothing is planned, and the message is this.
#[track_caller]
fn refused(from: &str, to: &str, message: &str) {
    let shell = Shell::finished();
    let before = shell.blobs();
    shell.edit(MANIFEST, from, to);
    for command in ["run", "status", "graph"] {
        shell
            .spot(&format!("{command} smoke"))
            .exits_with(2)
            .complains("error: pipelines/smoke.yaml:")
            .complains(message);
    }
    shell.put(MANIFEST, smoke());
    assert_eq!(shell.executed_by("run smoke"), [""; 0]);
    assert_eq!(shell.blobs(), before);
}

#[test]
fn a_misspelt_key_is_underlined_with_the_nearest_known() {
    refused("metric: average_tokens", "metrc: average_tokens", "unknown key `metrc`; did you mean `metric`?");
    refused("keep_at: [2]", "keep_att: [2]", "unknown key `keep_att`; did you mean `keep_at`?");
    refused("vars:\n", "varss:\n", "unknown key `varss` of a manifest; did you mean `vars`?");
}

#[test]
fn more_sources_than_there_are_cannot_be_asked_for() {
    let message = "`strategy` asks for 9 sources, but `prompts` are 2";
    refused("{best_of_top_k: \"${k}\"}", "{best_of_top_k: 9}", message);
}

#[test]
fn an_unknown_kind_or_value_is_refused_with_the_nearest_known() {
    refused("kind: rank", "kind: rnk", "no kind `rnk`; did you mean `rank`?");
    refused("metric: average_tokens", "metric: average_token", "did you mean `average_tokens`?");
    refused("[w_sum, w_topic]", "[w_sum, w_topik]", "no built-in task `w_topik`; did you mean `w_topic`?");
}

#[test]
fn a_reference_to_something_of_another_type_names_both_types() {
    refused(
        "prompt: target[${task},${seed}]\n    at",
        "prompt: data[${task}]\n    at",
        "`data` makes no checkpoints, which is needed here; it makes `dataset` (dataset)",
    );
}

#[test]
fn a_reference_to_an_unknown_stage_or_job_is_refused_with_the_nearest_known() {
    refused(
        "target: target_embedding[",
        "target: target_embeding[",
        "no stage `target_embeding`; did you mean `target_embedding`?",
    );
    refused(
        "prompt: source[${task},${seed}]",
        "prompt: source[w_sun,0]",
        "`source` has no job with `task` `w_sun`; did you mean `w_sum`?",
    );
}

#[test]
fn a_cycle_is_shown_as_a_path() {
    let tune = |name: &str, from: &str| {
        format!("  {name}: {{kind: tune, backbone: backbone, data: data, init: {{prompt: {from}}}, length: 2}}\n")
    };
    let manifest = "version: 1\nname: cycle\nstages:\n  backbone: {kind: backbone, from: {builtin: nano}}\n  data: {kind: ingest, backbone: backbone, from: {builtin: w_sum}}\n";
    let manifest = [manifest, &tune("one", "two"), &tune("two", "three"), &tune("three", "one")].concat();
    let shell = Shell::new().write("pipelines/cycle.yaml", manifest);
    shell.spot("run cycle").exits_with(2).complains("a cycle: one -> three -> two -> one");
    assert!(!shell.path("cache").exists());
}

#[test]
fn a_duplicate_key_is_refused_with_both_places() {
    refused("version: 1\n", "version: 1\nname: twice\n", "`name` appears here a second time; first in line 3");
}

#[test]
fn all_problems_are_told_at_once() {
    let shell = Shell::new().write(MANIFEST, smoke());
    shell.edit(MANIFEST, "metric: average_tokens", "metrc: average_tokens");
    shell.edit(MANIFEST, "split: test", "splt: test");
    let done = shell.spot("status smoke").exits_with(2);
    done.complains("unknown key `metrc`").complains("unknown key `splt`");
}

#[test]
fn numbers_out_of_range_are_refused_before_anything_runs() {
    refused("learning_rate: 0.3", "learning_rate: -0.3", "`learning_rate` is -0.3, expected above 0");
    refused("keep_at: [2]", "keep_at: [9]", "`keep_at` asks for step 9, but tuning ends after 2");
    refused("best_of_top_k: \"${k}\"", "best_of_top_k: 0", "k is 0, expected at least 1");
}

#[test]
fn text_that_is_no_yaml_is_refused_with_its_place() {
    let shell = Shell::new().write("pipelines/x.yaml", "version: 1\nname: [x\n");
    shell.spot("run x").exits_with(2).complains("pipelines/x.yaml:").complains("not YAML: ");
    let shell = Shell::new().write("pipelines/x.yaml", [0xff, 0xfe, 0x00]);
    shell.spot("run x").exits_with(2).complains("manifest `pipelines/x.yaml` is not UTF-8 text in line 1");
}

#[test]
fn a_required_environment_variable_must_be_set() {
    let shell = files();
    shell.edit("pipelines/files.yaml", "version: 1\n", "version: 1\nenvironment: {DATA: null}\n");
    shell.edit("pipelines/files.yaml", "train: data/sst2.tsv", "train: \"${DATA}/sst2.tsv\"");
    shell.spot("status files").exits_with(2).complains("`DATA`").complains("environment");
    shell.spot("status files").env("DATA", shell.path("data")).ok();
}

#[test]
fn a_path_out_of_the_project_needs_a_named_variable() {
    for path in ["../secret.tsv", "/etc/passwd", "data/../../secret.tsv"] {
        let shell = files();
        let origin = format!("from: {{files: {{format: glue/sst2, train: {path}}}}}");
        shell.edit("pipelines/files.yaml", "from: ${origins.${task}}", &origin);
        let done = shell.spot("status files").exits_with(2);
        done.complains(&format!(
            "`{path}` leads out of the project; an absolute path outside is allowed through a variable"
        ));
    }
}

#[test]
fn an_unknown_profile_is_refused_with_the_known() {
    let shell = Shell::new().write(MANIFEST, format!("profiles: {{fast: {{}}, full: {{}}}}\n{}", smoke()));
    shell.spot("status smoke --profile ful").exits_with(2).complains("no profile `ful`; did you mean `full`?");
    shell.spot("status smoke --profile full").ok();
    shell.spot("status smoke --profile full,ful").exits_with(2).complains("no profile `ful`; did you mean `full`?");
    shell.spot("status smoke --profile full,").exits_with(2).complains("no profile ``");
}

/// A run of the pipeline on files fails in `data[…]` with this message, and after the mend only what is missing runs.
#[track_caller]
fn fails_at_the_file(file: &str, from: &str, to: &str, message: &str) {
    let shell = files();
    shell.edit(file, from, to);
    let done = shell.spot("run files --keep-going").exits_with(1);
    done.complains("error: job `data[").complains(message);
    let cached = shell.states("files").values().filter(|state| *state == "cached").count();
    assert_eq!(cached, 4, "the backbone and the other task's jobs are kept");
    shell.edit(file, to, from);
    assert_eq!(shell.executed_by("run files").len(), 3);
}

#[test]
fn a_table_with_a_short_row_is_refused_with_its_line() {
    let message = "`data/sst2.tsv`: line 3: 1 tab-separated fields, expected 2 (`sentence`, `label`); correct the row or leave it out";
    fails_at_the_file("data/sst2.tsv", "a dull film\t0", "a dull film", message);
}

#[test]
fn a_label_outside_the_label_set_is_refused_with_its_line() {
    let message = "`data/sst2.tsv`: line 3: column `label` is `7`, which is not a label of `sst2`";
    fails_at_the_file("data/sst2.tsv", "a dull film\t0", "a dull film\t7", message);
    let message = "`data/cb.jsonl`: line 1: column `label` is `entailmnt`, which is not a label of `cb` (did you mean `entailment`?)";
    fails_at_the_file("data/cb.jsonl", "\"label\": \"entailment\"", "\"label\": \"entailmnt\"", message);
}

#[test]
fn a_broken_line_of_json_is_refused_with_its_line() {
    fails_at_the_file(
        "data/cb.jsonl",
        "\"hypothesis\": \"entailment\",",
        "\"hypothesis\": \"entailment\"",
        "`data/cb.jsonl`: line 1, column ",
    );
}

#[test]
fn a_missing_file_blocks_its_task_and_is_named() {
    let shell = files();
    std::fs::remove_file(shell.path("data/cb.jsonl")).unwrap();
    let done = shell.spot("run files --keep-going").exits_with(1);
    done.complains("error: job `data[cb]` failed: input `from.files.train`: there is no file `")
        .complains("/data/cb.jsonl`; put it there, or change the path");
    let states = shell.states("files");
    assert_eq!(
        (&*states["scores[sst2]"], &*states["data[cb]"], &*states["scores[cb]"]),
        ("cached", "blocked", "blocked")
    );
}

/// A pipeline on a backbone in the folder `model`.
fn on_a_folder() -> Shell {
    let manifest = "version: 1\nname: folder\nstages:\n  backbone: {kind: backbone, from: {path: model}}\n  data: {kind: ingest, backbone: backbone, from: {builtin: w_sum}, rows: {train: 2, validation: 1, test: 1}, input_length: 16}\n  prompt: {kind: tune, backbone: backbone, data: data, length: 2, training: {steps: 1, batch_size: 2, evaluate_every: 1}}\n";
    let shell = Shell::new().write("pipelines/folder.yaml", manifest);
    shell.put_backbone("model", 8);
    shell
}

#[test]
fn a_folder_with_a_model_is_a_backbone() {
    let shell = on_a_folder();
    assert_eq!(shell.executed_by("run folder"), ["backbone", "data", "prompt"]);
    shell.spot("show prompt").ok().prints("prompt: F32 [2, 8]");
    shell.spot("audit folder").ok().prints("they lead to 3 source files");
}

#[test]
fn safetensors_whose_header_lies_are_refused() {
    let lie = |bytes: &mut Vec<u8>| bytes[..8].copy_from_slice(&u64::MAX.to_le_bytes());
    let cut = |bytes: &mut Vec<u8>| bytes.truncate(bytes.len() - 100);
    let shape = |bytes: &mut Vec<u8>| {
        let at = bytes.windows(7).position(|window| window == b"shape\":").unwrap() + 8;
        bytes[at] = b'9';
    };
    for change in [&lie as &dyn Fn(&mut Vec<u8>), &cut, &shape] {
        let shell = on_a_folder();
        let mut bytes = std::fs::read(shell.path("model/model.safetensors")).unwrap();
        change(&mut bytes);
        shell.put("model/model.safetensors", bytes);
        let done = shell.spot("run folder").exits_with(1);
        done.complains("error: job `backbone` failed: model in `model`: safetensors: ");
        shell.put_backbone("model", 8);
        shell.spot("run folder").ok();
    }
}

#[test]
fn a_model_without_its_parts_is_refused_with_what_is_expected() {
    for part in ["config.json", "tokenizer.json", "model.safetensors"] {
        let shell = on_a_folder();
        std::fs::remove_file(shell.path("model").join(part)).unwrap();
        let done = shell.spot("run folder").exits_with(1);
        done.complains(&format!("`model` has no `{part}`; expected a folder in Hugging Face's layout"));
    }
}

#[test]
fn a_configuration_that_does_not_fit_the_weights_is_refused() {
    let shell = on_a_folder();
    shell.edit("model/config.json", "\"d_ff\": 8", "\"d_ff\": 9");
    shell.spot("run folder").exits_with(1).complains("weights: tensor `").complains("expected ");
}

#[test]
fn a_prompt_of_another_width_than_the_backbone_is_refused() {
    let shell = on_a_folder();
    shell.put_backbone("wide", 12);
    let more = "  wide: {kind: backbone, from: {path: wide}}\n  moved: {kind: tune, backbone: wide, data: data, init: {prompt: prompt}, length: 2, training: {steps: 1}}\n";
    shell.edit("pipelines/folder.yaml", "  prompt: {", &format!("{more}  prompt: {{"));
    let done = shell.spot("run folder --keep-going").exits_with(1);
    done.complains("error: job `moved` failed: ").complains("8").complains("12");
    assert_eq!(shell.states("folder")["prompt"], "cached");
}
