//! What `spot doctor` says of machines, caches and manifests.

use super::checkpoints;
use super::shell::{Shell, smoke};
use serde_json::Value;

fn check<'a>(said: &'a Value, name: &str) -> &'a Value {
    let checks = said["checks"].as_array().unwrap();
    checks
        .iter()
        .find(|check| check["check"].as_str().unwrap().starts_with(name))
        .unwrap_or_else(|| panic!("{name}: {said}"))
}

#[test]
fn a_fit_machine_passes_and_nothing_is_written() {
    let shell = Shell::new().write("pipelines/smoke.yaml", smoke());
    let said = shell.spot("doctor --format json").ok().json();
    assert_eq!(said["version"], 1);
    for name in ["program", "machine", "threads", "memory", "CPU", "devices", "cache", "disk", "runs"] {
        assert_ne!(check(&said, name)["state"], "fail");
        assert!(!check(&said, name)["found"].as_str().unwrap().is_empty());
    }
    assert!(check(&said, "cache")["found"].as_str().unwrap().contains("to be made"));
    assert_eq!(check(&said, "manifest `pipelines/smoke.yaml`")["state"], "ok");
    assert!(!shell.path("cache").exists());
    assert_eq!(std::fs::read_dir(shell.path(".")).unwrap().count(), 1);
    shell.spot("doctor").ok().prints("ok    program: spot ").prints("ok    runs: none is at work");
}

#[test]
fn a_cache_that_cannot_be_made_fails_with_what_to_do() {
    let shell = Shell::new().write("file", "");
    let done = shell.spot("doctor --cache /proc/none").exits_with(5);
    done.prints("fail  cache `/proc/none/v1`").prints("name another with `--cache FOLDER` or SPOT_CACHE");
    shell.spot("doctor").env("SPOT_CACHE", "/proc/none").exits_with(5);
}

#[test]
fn variables_that_manifests_name_are_looked_at() {
    let manifest = "version: 1\nname: p\nenvironment: {GLUE_DIR: glue, MODELS: null}\nprofiles:\n  a: {}\n  \
                    b: {environment: {CORPUS: null}}\nstages: {b: {kind: backbone, from: {builtin: nano}}}\n";
    let shell = Shell::new().write("pipelines/p.yaml", manifest);
    let said = shell.spot("doctor --format json").env("MODELS", "/no/models").ok().json();
    assert_eq!(check(&said, "variable `GLUE_DIR`")["state"], "ok");
    assert_eq!(check(&said, "variable `CORPUS`")["state"], "warn");
    let models = check(&said, "variable `MODELS`");
    assert_eq!(
        (&models["state"], &models["found"]),
        (&"warn".into(), &"`/no/models`, which is not a file or folder here".into())
    );
    shell.put("pipelines/p.yaml", "version: 1\nname: p\nstages: {b: {kind: backbon}}\n");
    shell.spot("doctor").exits_with(5).prints("fail  manifest `pipelines/p.yaml`: ").prints("`spot status` shows all");
}

#[test]
fn a_run_at_work_shows() {
    let shell = Shell::finished();
    let hold = std::fs::File::open(shell.path("cache/v1/locks/store")).unwrap();
    hold.lock_shared().unwrap();
    shell.spot("doctor").ok().prints("ok    runs: one is at work");
    drop(hold);
    shell.spot("doctor").ok().prints("ok    runs: none is at work");
}

#[test]
fn rates_at_which_prompts_do_not_learn_are_named() {
    let with = |training: &str| {
        format!(
            "version: 1\nname: p\nstages:\n  b: {{kind: backbone, from: {{builtin: nano}}}}\n  \
             d: {{kind: ingest, backbone: b, from: {{builtin: w_nli}}}}\n  \
             s: {{kind: tune, backbone: b, data: d, seed: 0, training: {{{training}}}}}\n"
        )
    };
    let shell = Shell::new().write("pipelines/p.yaml", with("learning_rate: 0.001"));
    let said = shell.spot("doctor --format json").ok().json();
    let rates = check(&said, "learning rates of manifest `pipelines/p.yaml`");
    assert_eq!(rates["state"], "warn");
    assert_eq!(rates["found"], "1 jobs, `s` the first, tune prompts with Adafactor at a rate of 0.001");
    // What AdamW or a scaled Adafactor learns at says nothing about that.
    for fine in ["learning_rate: 0.3", "learning_rate: 0.001, optimizer: {adamw: {}}"] {
        shell.put("pipelines/p.yaml", with(fine));
        let said = shell.spot("doctor --format json").ok().json();
        assert!(!said.to_string().contains("learning rates"), "{said}");
    }
}

#[test]
fn a_model_is_looked_at_and_its_gradient_compared_with_its_losses() {
    let shell = checkpoints::shell();
    let said = shell.spot("doctor --backbone model --device cpu --format json").ok().json();
    let found = |name: &str| check(&said, name)["found"].as_str().unwrap().to_owned();
    assert!(found("backbone `model`").contains(" layers of width 8, "));
    assert!(found("tokenizer").contains(" rows of the embedding; "));
    assert!(
        found("memory of a step").contains("; activations of a step (32 examples, prompt 100, inputs 128, targets 4) ")
    );
    assert!(found("time of a step").contains(" on `cpu`, the median of 3 ("));
    assert_eq!(check(&said, "gradient")["state"], "ok", "{said}");

    // The built-in model has learnt, and its gradients are large enough to be compared.
    shell.put("pipelines/b.yaml", "version: 1\nname: b\nstages: {nano: {kind: backbone, from: {builtin: nano}}}\n");
    shell.spot("run b").ok();
    let said = shell.spot("doctor --backbone nano --device cpu --format json").ok().json();
    let found = check(&said, "gradient")["found"].as_str().unwrap();
    assert!(found.ends_with("% at most, in 5 directions of the prompt"), "{found}");

    let away = shell.spot("doctor --backbone org/name").env("HF_HOME", shell.path("hub").to_str().unwrap());
    away.exits_with(5).prints("fail  backbone `org/name`: ").prints("hf download org/name");
    shell.spot("doctor --backbone nothing").exits_with(5).prints("fail  backbone `nothing`: ");
}
