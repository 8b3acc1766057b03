//! Manifests over toy kinds: what they give, and what is said where they are wrong.

use super::node::parse;
use super::schema::schema;
use super::{LoadError, Options, load, typed};
use crate::engine::context::Cx;
use crate::engine::plan::graph::{Format, Level, render, render_with};
use crate::engine::plan::{Linked, Plan};
use crate::engine::stage::{Input, Issue, Kind, Made, Output, Pick, Ref, Refs, Source, Stage, Type};
use petgraph::algo::toposort;
use petgraph::graph::NodeIndex;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt::Write;
use std::path::{Path, PathBuf};

const DATASET: Type = Type::new("dataset", "parquet");
const PROMPT: Type = Type::new("prompt", "safetensors");

/// Reads a file.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Read {
    /// The file.
    #[serde(skip_serializing)]
    path: String,
    #[serde(default)]
    rows: Option<usize>,
    #[serde(default)]
    format: Layout,
}

#[derive(Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Layout {
    #[default]
    Tsv,
    Jsonl,
}

impl Stage for Read {
    const KIND: &'static str = "read";
    const VERSION: u32 = 1;
    const OUTPUTS: &'static [Output] = &[Output { name: "data", of: DATASET }];

    fn inputs(&self) -> Vec<Input> {
        vec![Input::file("path", &self.path)]
    }

    fn run(&self, _: &mut Cx<'_>) -> anyhow::Result<()> {
        Ok(())
    }
}

/// Reads a folder.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Load {
    #[serde(skip_serializing)]
    folder: String,
}

impl Stage for Load {
    const KIND: &'static str = "load";
    const VERSION: u32 = 1;
    const OUTPUTS: &'static [Output] = &[Output { name: "data", of: DATASET }];

    fn inputs(&self) -> Vec<Input> {
        let (field, path) = ("folder".to_owned(), self.folder.clone());
        vec![Input::folder(field, path, Pick::by(|names| Ok(names.to_vec())))]
    }

    fn run(&self, _: &mut Cx<'_>) -> anyhow::Result<()> {
        Ok(())
    }
}

/// Learns.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Learn {
    /// From what.
    data: Ref,
    #[serde(default)]
    init: Init,
    training: Training,
    #[serde(default)]
    seed: u64,
    #[serde(default)]
    keep_at: Vec<u64>,
    #[serde(default)]
    shuffle: bool,
}

#[derive(Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum Init {
    #[default]
    Random,
    Text(String),
    Prompt(Ref),
}

#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Training {
    steps: u64,
    #[serde(default)]
    rate: f64,
}

impl Stage for Learn {
    const KIND: &'static str = "learn";
    const VERSION: u32 = 1;
    const OUTPUTS: &'static [Output] =
        &[Output { name: "prompt", of: PROMPT }, Output { name: "curve", of: Type::new("curve", "parquet") }];

    fn inputs(&self) -> Vec<Input> {
        let mut inputs = vec![Input::one("data", &self.data, DATASET)];
        if let Init::Prompt(prompt) = &self.init {
            inputs.push(Input::one("init.prompt", prompt, PROMPT));
        }
        inputs
    }

    fn check(&self) -> Result<(), Issue> {
        match self.training.steps {
            0 => Err(Issue::new("training.steps", "is 0, expected at least one step")),
            _ => Ok(()),
        }
    }

    fn run(&self, _: &mut Cx<'_>) -> anyhow::Result<()> {
        Ok(())
    }
}

/// Compares prompts.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Compare {
    prompts: Refs,
    #[serde(default)]
    more: Refs,
}

impl Stage for Compare {
    const KIND: &'static str = "compare";
    const VERSION: u32 = 1;
    const OUTPUTS: &'static [Output] = &[
        Output { name: "best", of: PROMPT },
        Output { name: "worst", of: PROMPT },
        Output { name: "table", of: Type::new("report", "txt") },
    ];

    fn inputs(&self) -> Vec<Input> {
        vec![Input::many("prompts", &self.prompts, PROMPT), Input::many("more", &self.more, PROMPT)]
    }

    fn run(&self, _: &mut Cx<'_>) -> anyhow::Result<()> {
        Ok(())
    }
}

/// Improves a prompt.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Polish {
    prompt: Ref,
}

impl Stage for Polish {
    const KIND: &'static str = "polish";
    const VERSION: u32 = 1;
    const OUTPUTS: &'static [Output] = &[Output { name: "prompt", of: PROMPT }];

    fn inputs(&self) -> Vec<Input> {
        vec![Input::one("prompt", &self.prompt, PROMPT)]
    }

    fn run(&self, _: &mut Cx<'_>) -> anyhow::Result<()> {
        Ok(())
    }
}

static KINDS: &[Kind] =
    &[Kind::of::<Read>(), Kind::of::<Load>(), Kind::of::<Learn>(), Kind::of::<Compare>(), Kind::of::<Polish>()];

/// What the comments at the top of a manifest say: `# profile: p`, `# set: a.b=v`, `# environment: NAME=value`.
#[derive(Default)]
struct Asked {
    profile: Option<String>,
    set: Vec<(String, String)>,
    environment: Vec<(String, String)>,
}

impl Asked {
    fn in_comments(text: &str) -> Self {
        let mut asked = Self::default();
        let pair = |text: &str| text.split_once('=').map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
        for line in text.lines().map_while(|line| line.strip_prefix("# ")) {
            match line.split_once(": ") {
                Some(("profile", name)) => asked.profile = Some(name.to_owned()),
                Some(("set", set)) => asked.set.push(pair(set)),
                Some(("environment", variable)) => asked.environment.push(pair(variable)),
                _ => {}
            }
        }
        asked
    }

    fn load(&self, path: &Path) -> Result<Plan, LoadError> {
        let environment =
            |name: &str| self.environment.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone());
        load(path, KINDS, &Options { profile: self.profile.as_deref(), set: &self.set, environment: &environment })
    }
}

fn load_bytes(bytes: &[u8]) -> Result<Plan, LoadError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("p.yaml");
    fs_err::write(&path, bytes).unwrap();
    Asked::in_comments(&String::from_utf8_lossy(bytes)).load(&path)
}

fn plan(text: &str) -> Plan {
    load_bytes(text.as_bytes()).unwrap_or_else(|error| panic!("{error}"))
}

/// What is said about a manifest, without the lines of the manifest.
fn complaints(text: &str) -> Vec<String> {
    match load_bytes(text.as_bytes()) {
        Ok(_) => Vec::new(),
        Err(LoadError::Problems(problems)) => problems.found().iter().map(|problem| problem.message.clone()).collect(),
        Err(error) => vec![error.to_string()],
    }
}

/// Jobs, parameters and inputs, as text.
fn described(plan: &Plan) -> String {
    let mut out = format!("{} {}\n", plan.name, plan.profile.as_deref().unwrap_or("(no profile)"));
    for job in plan.graph.node_weights() {
        writeln!(out, "{}  {:?}  {}", job.name, job.kind, job.job.params()).unwrap();
        for (input, asked) in job.inputs.iter().zip(job.job.inputs()) {
            let source = shape(input, &asked, &|job| plan.graph[job].name.clone());
            writeln!(out, "  {}: {source}", input.role).unwrap();
        }
    }
    out
}

/// Where an input comes from, as text; a set is in braces.
fn shape(input: &Linked, asked: &Input, name: &dyn Fn(NodeIndex) -> String) -> String {
    let named = |made: &Made<NodeIndex>| match made {
        Made::Output(job, output) => format!("{}.{output}", name(*job)),
        Made::Artifact(artifact) => artifact.origin(),
    };
    match &input.from {
        Source::Made(made) => {
            let made = made.iter().map(named).collect::<Vec<_>>().join(" ");
            if asked.made().unwrap().many { format!("{{{made}}}") } else { made }
        }
        Source::File(path) => format!("file {}", path.display()),
        Source::Folder(path, _) => format!("folder {}", path.display()),
        Source::Remote(remote) => format!("remote {remote:?}"),
    }
}

/// The jobs of a plan, each after those that it reads from.
fn order(plan: &Plan) -> Vec<NodeIndex> {
    toposort(&plan.graph, None).unwrap()
}

/// Manifests whose names begin so, with what is expected of each.
fn examples(beginning: &str) -> Vec<(PathBuf, String)> {
    let mut paths: Vec<PathBuf> = fs_err::read_dir("tests/manifests")
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
        .filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with(beginning))
        .collect();
    paths.sort();
    assert!(paths.len() > 2, "{beginning}: {paths:?}");
    paths.into_iter().map(|path| (path.clone(), fs_err::read_to_string(&path).unwrap())).collect()
}

/// Compares with the text beside a manifest; with `SPOT_UPDATE_EXPECTED` set, writes that text.
fn compare(path: &Path, actual: &str) -> bool {
    let expected_path = path.with_extension("txt");
    if std::env::var_os("SPOT_UPDATE_EXPECTED").is_some() {
        fs_err::write(&expected_path, actual).unwrap();
    }
    let expected = fs_err::read_to_string(&expected_path).unwrap_or_default();
    if expected != actual {
        println!("---- {}: expected\n{expected}---- but got\n{actual}", path.display());
    }
    expected == actual
}

#[test]
fn wrong_manifests_are_told_what_is_wrong() {
    let equal = examples("err_").into_iter().map(|(path, text)| {
        let error = Asked::in_comments(&text).load(&path).err();
        let error = error.unwrap_or_else(|| panic!("{} has no problem", path.display()));
        compare(&path, &format!("{error}\n"))
    });
    let unequal = equal.filter(|equal| !equal).count();
    assert_eq!(unequal, 0, "SPOT_UPDATE_EXPECTED=1 rewrites what is expected");
}

#[test]
fn good_manifests_give_these_plans() {
    let equal = examples("ok_").into_iter().map(|(path, text)| {
        let plan = Asked::in_comments(&text).load(&path).unwrap_or_else(|error| panic!("{error}"));
        compare(&path, &described(&plan))
    });
    let unequal = equal.filter(|equal| !equal).count();
    assert_eq!(unequal, 0, "SPOT_UPDATE_EXPECTED=1 rewrites what is expected");
}

const GOOD: &str = "\
version: 1
name: good
vars: {tasks: [a, b], training: {steps: 3, rate: 0.5}}
stages:
  data:
    kind: read
    matrix: {task: \"${tasks}\"}
    path: data/${task}.tsv
    rows: 10
  source:
    kind: learn
    matrix: {task: \"${tasks}\", seed: [0, 1]}
    data: data[${task}]
    training: ${training}
    seed: ${seed}
  all:
    kind: compare
    prompts: source[*]
";

/// Parameters and shape of inputs of each job, without names.
fn essence(plan: &Plan) -> Vec<String> {
    let job = |job: &crate::engine::plan::Planned| {
        let shape =
            |(i, asked): (&Linked, Input)| format!("{} {}", i.role, shape(i, &asked, &|job| job.index().to_string()));
        let inputs: Vec<String> = job.inputs.iter().zip(job.job.inputs()).map(shape).collect();
        format!("{:?} {} {inputs:?}", job.kind, job.job.params())
    };
    plan.graph.node_weights().map(job).collect()
}

#[test]
fn names_of_stages_order_of_keys_comments_and_formatting_do_not_matter() {
    let original = essence(&plan(GOOD));
    assert_eq!(original.len(), 7);
    let renamed = GOOD.replace("source:", "learned:").replace("source[", "learned[").replace("data[", "read[");
    let renamed = renamed.replace("  data:\n    kind", "  read:\n    kind");
    assert_ne!(renamed, GOOD);
    assert_eq!(essence(&plan(&renamed)), original);
    let reordered =
        GOOD.replace("    data: data[${task}]\n    training: ${training}\n    seed: ${seed}\n", "").replace(
            "    kind: learn\n",
            "    seed: ${seed}\n    training: ${training}\n    kind: learn\n    data: data[${task}]\n",
        );
    assert_ne!(reordered, GOOD);
    assert_eq!(essence(&plan(&reordered)), original);
    let commented: String = GOOD.lines().map(|line| format!("# a comment\n{line}  # and one\n\n")).collect();
    assert_eq!(essence(&plan(&commented)), original);
    let formatted = GOOD
        .replace(
            "    path: data/${task}.tsv\n    rows: 10\n",
            "    \"path\": >-\n      data/${task}.tsv\n    rows: +10\n",
        )
        .replace("{steps: 3, rate: 0.5}", "{\n  rate: 5e-1,\n  steps: 3,\n}")
        .replace('\n', "\r\n");
    assert_eq!(essence(&plan(&formatted)), original);
    let json = serde_json::to_string(&typed::read::<serde_json::Value>(&parse(GOOD).unwrap()).unwrap()).unwrap();
    assert_eq!(essence(&plan(&json)).len(), original.len());
}

#[test]
fn a_default_written_out_does_not_matter_and_a_value_does() {
    let original = essence(&plan(GOOD));
    let written = GOOD.replace("    rows: 10\n", "    rows: 10\n    format: tsv\n");
    assert_eq!(essence(&plan(&written)), original);
    let changed = essence(&plan(&GOOD.replace("steps: 3", "steps: 4")));
    let different = original.iter().zip(&changed).filter(|(a, b)| a != b).count();
    assert_eq!(different, 4);
}

#[test]
fn stages_may_stand_in_any_order() {
    let text = "\
version: 1
name: p
stages:
  all: {kind: compare, prompts: one}
  one: {kind: learn, data: d, training: {steps: 1}}
  d: {kind: read, path: x}
";
    let plan = plan(text);
    let names: Vec<&str> = order(&plan).into_iter().map(|job| plan.graph[job].name.as_str()).collect();
    assert_eq!(names, ["d", "one", "all"]);
}

#[test]
fn the_order_of_a_plan_respects_every_edge() {
    let plan = plan(GOOD);
    let order = order(&plan);
    assert_eq!(order.len(), plan.graph.node_count());
    let at = |job: NodeIndex| order.iter().position(|other| *other == job).unwrap();
    assert_eq!(plan.graph.edge_count(), 8);
    for edge in plan.graph.edge_indices() {
        let (from, to) = plan.graph.edge_endpoints(edge).unwrap();
        assert!(at(from) < at(to));
    }
}

fn names(plan: &Plan, jobs: impl IntoIterator<Item = NodeIndex>) -> Vec<String> {
    jobs.into_iter().map(|job| plan.graph[job].name.clone()).collect()
}

#[test]
fn jobs_are_found_by_name_and_pattern() {
    let plan = plan(GOOD);
    let select = |pattern: &str| plan.select(pattern).map(|jobs| names(&plan, jobs));
    assert_eq!(select("source[a,1]").unwrap(), ["source[a,1]"]);
    assert_eq!(select("source").unwrap().len(), 4);
    assert_eq!(select("source[*]").unwrap().len(), 4);
    assert_eq!(select("source[*,0]").unwrap(), ["source[a,0]", "source[b,0]"]);
    assert_eq!(select("source[ a , * ]").unwrap(), ["source[a,0]", "source[a,1]"]);
    assert_eq!(select("all").unwrap(), ["all"]);
    assert_eq!(select("sorce").unwrap_err(), "no stage `sorce`; did you mean `source`?");
    assert_eq!(select("source[a]").unwrap_err(), "no job `source[a]`; did you mean `source[a,0]`?");
    assert_eq!(select("source[c,0]").unwrap_err(), "no job `source[c,0]`; did you mean `source[a,0]`?");
    assert_eq!(select("all[*]").unwrap_err(), "no job `all[*]`; known: `all`");
    assert_eq!(plan.find("data[c]").unwrap_err(), "no job `data[c]`; did you mean `data[a]`?");
}

// ---- the environment and --set ------------------------------------------------------------------------------------------

#[test]
fn only_environment_variables_that_the_manifest_names_are_asked_for() {
    let asked = std::cell::RefCell::new(Vec::new());
    let environment = |name: &str| {
        asked.borrow_mut().push(name.to_owned());
        Some("/elsewhere".to_owned())
    };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("p.yaml");
    let text = "version: 1\nname: p\nenvironment: {DIR: here}\nstages: {d: {kind: read, path: \"${DIR}/x\"}}\n";
    fs_err::write(&path, text).unwrap();
    let plan = load(&path, KINDS, &Options { profile: None, set: &[], environment: &environment }).unwrap();
    assert!(described(&plan).contains("file /elsewhere/x"));
    assert_eq!(asked.into_inner(), ["DIR"]);
}

#[test]
fn an_environment_variable_that_is_empty_counts_as_not_set() {
    let text = "# environment: DIR=\nversion: 1\nname: p\nenvironment: {DIR: here}\nstages: {d: {kind: read, path: \"${DIR}/x\"}}\n";
    assert!(described(&plan(text)).contains("file here/x"));
    let required = text.replace("DIR: here", "DIR: null");
    assert_eq!(
        complaints(&required),
        ["the environment variable `DIR` is not set; set it, or give it a default in `environment`"]
    );
}

#[test]
fn set_reaches_variables_and_stages() {
    let set = |lines: &str| plan(&format!("{lines}{GOOD}"));
    assert!(described(&set("# set: vars.training.steps=7\n")).contains(r#""steps":7"#));
    assert!(described(&set("# set: stages.data.rows=7\n")).contains(r#""rows":7"#));
    assert_eq!(set("# set: vars.tasks=[x, y, z]\n").graph.node_count(), 10);
    let without = set("# set: stages.source.init={text: hello}\n# set: stages.all=\n");
    assert!(described(&without).contains("hello"));
    assert_eq!(without.stages, ["data", "source"]);
}

// ---- hostile input ------------------------------------------------------------------------------------------------------

#[test]
fn a_byte_order_mark_is_skipped() {
    assert_eq!(plan(&format!("\u{feff}{GOOD}")).graph.node_count(), 7);
}

#[test]
fn files_that_are_no_manifest_are_refused_by_name() {
    let check = |bytes: &[u8], expected: &str| {
        let error = load_bytes(bytes).err().unwrap().to_string();
        assert!(error.contains("p.yaml") && error.contains(expected), "{error}");
    };
    check(b"version: 1\nname: \xff\n", "is not UTF-8 text in line 2");
    check(&vec![b'#'; (1 << 20) + 1], "is longer than 1 MiB");
    check(b"", "an empty manifest");
    check(b"\0\0\0", "not YAML");
    check(b"just a text", "a manifest is a mapping");
    let missing = Asked::default().load("no/such/manifest.yaml".as_ref()).err().unwrap().to_string();
    assert!(missing.contains("no/such/manifest.yaml"), "{missing}");
    assert_eq!(missing.matches("manifest.yaml").count(), 1, "{missing}");
    let folder = Asked::default().load("tests".as_ref()).err().unwrap().to_string();
    assert!(folder.contains("tests"), "{folder}");
}

#[test]
fn too_many_jobs_are_refused_before_they_are_made() {
    let numbers = (0..400).map(|i| i.to_string()).collect::<Vec<_>>().join(", ");
    let text = format!(
        "version: 1\nname: p\nvars: {{n: [{numbers}]}}\nstages:\n  d:\n    kind: read\n    path: x\n    matrix: {{a: \"${{n}}\", b: \"${{n}}\"}}\n"
    );
    assert_eq!(complaints(&text), ["stage `d` takes the plan beyond 100000 jobs"]);
    let keys = (0..16).map(|i| format!("k{i}: \"${{n}}\"")).collect::<Vec<_>>().join(", ");
    let text = text.replace("a: \"${n}\", b: \"${n}\"", &keys);
    assert_eq!(complaints(&text), ["stage `d` takes the plan beyond 100000 jobs"]);
    let text = text.replace("k0:", "more: [1], k0:");
    assert_eq!(complaints(&text), ["a matrix of 17 keys; 16 at most"]);
}

#[test]
fn too_many_references_are_refused() {
    let numbers = (0..2000).map(|i| i.to_string()).collect::<Vec<_>>().join(", ");
    let text = format!(
        "version: 1\nname: p\nvars: {{n: [{numbers}]}}\nstages:\n  d: {{kind: read, path: x}}\n  \
         l: {{kind: learn, matrix: {{i: \"${{n}}\"}}, data: d, training: {{steps: 1}}}}\n  \
         c: {{kind: compare, matrix: {{i: \"${{n}}\"}}, prompts: \"l[*]\"}}\n"
    );
    assert_eq!(complaints(&text), ["more than 2000000 references in the plan"]);
}

#[test]
fn a_long_chain_of_jobs_and_a_long_cycle_are_followed() {
    let mut text = String::from("version: 1\nname: p\nstages:\n  d: {kind: read, path: x}\n");
    text += "  s0: {kind: learn, data: d, training: {steps: 1}}\n";
    for i in 1..20_000 {
        writeln!(text, "  s{i}: {{kind: polish, prompt: s{}}}", i - 1).unwrap();
    }
    // Mappings hold at most 10,000 keys.
    assert_eq!(complaints(&text), ["more than 10000 keys in one mapping"]);
    let text: String = text.lines().take(9_000).map(|line| format!("{line}\n")).collect();
    let chain = plan(&text);
    assert_eq!(order(&chain).len(), 8_997);
    let text = text.replace("s0: {kind: learn, data: d, training: {steps: 1}}", "s0: {kind: polish, prompt: s8995}");
    let found = complaints(&text);
    assert!(found.len() == 1 && found[0].starts_with("jobs wait for each other in a cycle: s0 -> s1 -> "), "{found:?}");
}

#[test]
fn a_name_that_is_too_long_for_a_folder_is_refused() {
    let text = GOOD
        .replace("[a, b]", &format!("[a, {}]", "b".repeat(90)))
        .replace("  source:", &format!("  {}:", "s".repeat(150)));
    let text = text.replace("source[*]", &format!("{}[*]", "s".repeat(150)));
    let found = complaints(&text);
    assert!(found.len() == 1 && found[0].contains("is longer than 200 bytes"), "{found:?}");
}

#[test]
fn thousands_of_problems_are_counted_and_not_all_shown() {
    let stages: String = (0..2000).map(|i| format!("  s{i}: {{kind: wrong{i}}}\n")).collect();
    let error = load_bytes(format!("version: 1\nname: p\nstages:\n{stages}").as_bytes()).err().unwrap().to_string();
    assert!(error.ends_with("… and 1900 more problems"), "{}", &error[error.len() - 100..]);
}

fn plan_of(text: &str) -> Option<Plan> {
    load_bytes(text.as_bytes()).ok()
}

/// Small deterministic numbers: Knuth's 64-bit generator.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) as usize) % bound
    }
}

/// Pieces that have a meaning somewhere.
const PIECES: &[&str] = &[
    "${", "}", "${tasks}", "$", "[", "]", "{", "}", "*", ",", ":", ": ", "\n", "  ", "- ", "&a ", "*a", "<<: *a",
    "!!str ", "null", "0", "-1", "1e999", "'", "\"", "|", "#", "\t", "\r", "\u{feff}", "\u{1b}", "ä", "kind", "matrix",
    "like: x", "[*]", "[seed=0]", ".prompt", "..", "/", "%", "---\n", "...\n", "? ", "\u{85}", "\u{2028}", "~",
];

/// One change: something left out, put in, repeated, or exchanged.
fn mutated(text: &str, other: &str, dice: &mut Dice) -> String {
    let chars: Vec<char> = text.chars().collect();
    if chars.is_empty() {
        return other.to_owned();
    }
    let from = dice.below(chars.len());
    let to = (from + 1 + dice.below(12)).min(chars.len());
    let string = |part: &[char]| part.iter().collect::<String>();
    let (before, cut, after) = (string(&chars[..from]), string(&chars[from..to]), string(&chars[to..]));
    match dice.below(6) {
        0 => before + &after,
        1 => before + PIECES[dice.below(PIECES.len())] + &cut + &after,
        2 => before + PIECES[dice.below(PIECES.len())] + &after,
        3 => before + &cut + &cut + &after,
        4 => {
            let lines: Vec<&str> = other.lines().collect();
            before + "\n" + lines[dice.below(lines.len())] + "\n" + &cut + &after
        }
        _ => before,
    }
}

#[test]
fn no_manifest_makes_the_program_panic() {
    let examples: Vec<String> = ["err_", "ok_"].into_iter().flat_map(examples).map(|(_, text)| text).collect();
    let (wrong, right): (Vec<_>, Vec<_>) = examples.iter().partition(|text| plan_of(text).is_none());
    let mut dice = Dice(1);
    let (mut good, mut bad) = (0, 0);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("p.yaml");
    for _ in 0..2500 {
        let from = if dice.below(2) == 0 { &wrong } else { &right };
        let mut text = from[dice.below(from.len())].clone();
        for _ in 0..=dice.below(2) {
            text = mutated(&text, &examples[dice.below(examples.len())], &mut dice);
        }
        fs_err::write(&path, &text).unwrap();
        match Asked::default().load(&path) {
            Ok(plan) => {
                assert_eq!(order(&plan).len(), plan.graph.node_count(), "a plan with a cycle:\n{text}");
                good += 1;
            }
            Err(error) => {
                assert!(!error.to_string().is_empty(), "{text}");
                bad += 1;
            }
        }
    }
    assert!(good > 20 && bad > 100, "the changes are too wild or too tame: {good} good, {bad} bad");
}

// ---- drawings and the schema --------------------------------------------------------------------------------------------

#[test]
fn a_plan_is_drawn_by_stage_and_by_job() {
    let plan = plan(GOOD);
    let state = |job: NodeIndex| if job.index() % 2 == 0 { "cached" } else { "stale" }.to_owned();
    let stages = render_with(&plan, Format::Text, Some(Level::Stages), Some(&state));
    assert_eq!(
        stages,
        "data ×2    read     1 cached, 1 stale\n\
         source ×4  learn    2 cached, 2 stale  ← data\n\
         all        compare  cached             ← source\n"
    );
    let jobs = render(&plan, Format::Text);
    assert_eq!(jobs.lines().count(), 7);
    assert!(jobs.contains("source[a,1]  learn    ← data[a]\n"), "{jobs}");
    let mermaid = render_with(&plan, Format::Mermaid, Some(Level::Stages), Some(&state));
    assert_eq!(
        mermaid,
        "flowchart TD\n    n0[\"data ×2<br/>1 cached, 1 stale\"]\n    n1[\"source ×4<br/>2 cached, 2 stale\"]\n    \
         n2[\"all<br/>cached\"]\n    n0 --> n1\n    n1 --> n2\n"
    );
    let dot = render_with(&plan, Format::Dot, Some(Level::Stages), Some(&state));
    assert!(dot.contains("n0 [label=\"data ×2\\n1 cached, 1 stale\"]\n"), "{dot}");
    let json: serde_json::Value = serde_json::from_str(&render(&plan, Format::Json)).unwrap();
    assert_eq!(json["nodes"].as_array().unwrap().len(), 7);
    assert_eq!(json["edges"].as_array().unwrap().len(), 8);
    assert!(json["nodes"][0].get("states").is_none());
}

#[test]
fn a_plan_of_many_jobs_is_drawn_by_stage() {
    let many = GOOD
        .replace("seed: [0, 1]", &format!("seed: [{}]", (0..30).map(|i| i.to_string()).collect::<Vec<_>>().join(", ")));
    assert_eq!(render(&plan(&many), Format::Text).lines().count(), 3);
}

#[test]
fn the_schema_knows_every_kind_and_lets_variables_stand_for_values() {
    let schema = schema(KINDS);
    let stages = schema["properties"]["stages"]["additionalProperties"]["then"]["oneOf"].as_array().unwrap();
    let kinds: Vec<&str> = stages.iter().map(|stage| stage["properties"]["kind"]["const"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["read", "load", "learn", "compare", "polish"]);
    for stage in stages {
        assert_eq!(stage["additionalProperties"], false);
        assert!(stage["required"].as_array().unwrap().iter().any(|key| key == "kind"));
        assert!(stage["properties"]["matrix"].is_object());
    }
    let rows = &stages[0]["properties"]["rows"]["anyOf"];
    assert_eq!(rows[1], serde_json::json!({"type": "string", "pattern": "\\$\\{"}));
    let item = &stages[2]["properties"]["keep_at"]["anyOf"][0]["items"]["anyOf"];
    assert_eq!(item[0]["type"], "integer");
    assert_eq!(item[1]["type"], "string");
    assert_eq!(stages[0]["properties"]["path"]["description"], "The file.");
    assert!(schema["$defs"]["Training"]["properties"]["steps"]["anyOf"].is_array());
}
