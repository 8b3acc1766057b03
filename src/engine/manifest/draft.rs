//! The stages of a manifest as jobs whose references are not resolved yet.

use super::issue::{self, OF_EVERY_STAGE};
use super::matrix::Matrix;
use super::node::{Key, Node, Value};
use super::problem::{Place, Problem, Spot, clipped, listed, suggestion};
use super::reference;
use super::variables::Scope;
use crate::engine::library::Library;
use crate::engine::resources::Resources;
use crate::engine::stage::{Asked, Input, Job, Kind, Promise, Ref, Source};
use serde::Deserialize;
use std::collections::{BTreeSet, HashMap};
use std::path::{Component, Path};
use std::sync::Arc;

/// A stage of the manifest.
pub(super) struct Stage {
    pub(super) name: String,
    pub(super) place: Place,
    pub(super) kind: Kind,
    pub(super) matrix: Matrix,
    /// Index of its first job; the others follow.
    pub(super) first: usize,
}

/// A job before its references are resolved.
pub(super) struct Draft {
    pub(super) name: String,
    pub(super) stage: usize,
    pub(super) job: Arc<dyn Job>,
    pub(super) inputs: Vec<Input>,
    /// Of each input, where its references stand.
    pub(super) places: Vec<Vec<Spot>>,
    pub(super) outputs: Vec<Promise>,
    pub(super) resources: Resources,
}

/// What a stage says that is no parameter of its kind, and may differ from job to job.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Beside {
    resources: Resources,
}

/// All stages and jobs.
pub(super) struct Drafts {
    pub(super) stages: Vec<Stage>,
    pub(super) jobs: Vec<Draft>,
    /// Names of all stages, those with mistakes too.
    pub(super) names: Vec<String>,
    /// Stages without mistakes by name.
    pub(super) by_name: HashMap<String, usize>,
    /// Stages with mistakes; references to them are not judged.
    pub(super) broken: BTreeSet<String>,
}

const MOST_JOBS: usize = 100_000;
/// Mistakes of one stage that are looked for.
const MOST_PROBLEMS: usize = 50;
/// Bytes of the name of a job, which is the name of a folder.
const LONGEST_NAME: usize = 200;

impl Drafts {
    /// Reads the stages; everything that is wrong with them goes to `found`. `broken` are others, which cannot be read.
    pub(super) fn read(
        stages: &Node,
        broken: BTreeSet<String>,
        kinds: &[Kind],
        scope: &Scope<'_>,
        found: &mut Vec<Problem>,
    ) -> Self {
        let names = stages.entries().iter().map(|(key, _)| key.text.clone()).chain(broken.iter().cloned()).collect();
        let mut drafts = Self { stages: Vec::new(), jobs: Vec::new(), names, by_name: HashMap::new(), broken };
        for (name, node) in stages.entries() {
            let before = found.len();
            drafts.stage(name, node, kinds, scope, found);
            if found.len() > before {
                drafts.broken.insert(name.text.clone());
            }
        }
        drafts
    }

    fn stage(&mut self, name: &Key, node: &Node, kinds: &[Kind], scope: &Scope<'_>, found: &mut Vec<Problem>) {
        let plain = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_');
        if name.text.is_empty() || !name.text.chars().all(plain) {
            let message =
                format!("`{}` cannot name a stage; expected letters, digits, `-` and `_`", clipped(&name.text));
            return found.push(Problem::new(name.place, message));
        }
        if !matches!(node.value, Value::Map(_)) {
            let message = format!("stage `{}` is {}, expected a mapping with a `kind`", name.text, node.describe());
            return found.push(Problem::new(node.place, message));
        }
        // Both are read, so that mistakes in both are seen.
        let kind = kind(name, node, kinds).map_err(|problem| found.push(problem));
        let matrix = match node.get("matrix") {
            Some(matrix) => Matrix::read(matrix, scope, found),
            None => Some(Matrix::default()),
        };
        let (Ok(kind), Some(matrix)) = (kind, matrix) else { return };
        let Some(count) = matrix.count().filter(|count| count.saturating_add(self.jobs.len()) <= MOST_JOBS) else {
            let message = format!("stage `{}` takes the plan beyond {MOST_JOBS} jobs", name.text);
            return found.push(Problem::new(name.place, message));
        };
        let stage = Stage { name: name.text.clone(), place: name.place, kind, matrix, first: self.jobs.len() };
        self.jobs_of(&stage, count, node, scope, found);
        self.by_name.insert(name.text.clone(), self.stages.len());
        self.stages.push(stage);
    }

    fn jobs_of(&mut self, stage: &Stage, count: usize, node: &Node, scope: &Scope<'_>, found: &mut Vec<Problem>) {
        let of_kind = |(key, _): &&(Key, Node)| !OF_EVERY_STAGE.contains(&key.text.as_str());
        let params: Vec<&(Key, Node)> = node.entries().iter().filter(of_kind).collect();
        let resources = node.entries().iter().find(|(key, _)| key.text == "resources");
        let mut seen: BTreeSet<Problem> = BTreeSet::new();
        for index in 0..count {
            let name = format!("{}{}", stage.name, stage.matrix.suffix(index));
            if name.len() > LONGEST_NAME {
                let message = format!("the name of a job, `{}`, is longer than {LONGEST_NAME} bytes", clipped(&name));
                seen.insert(Problem::new(stage.place, message));
                break;
            }
            let row = stage.matrix.row(index);
            let mut problems = Vec::new();
            let scope = Scope { matrix: &row, ..*scope };
            let beside = beside(resources, &scope, &mut problems);
            match job(name, (stage, self.stages.len()), &self.names, &params, &scope, &mut problems) {
                Some(draft) if problems.is_empty() => self.jobs.push(Draft { resources: beside.resources, ..draft }),
                _ => seen.extend(problems.into_iter().map(|problem| problem.in_stage(&stage.name))),
            }
            if seen.len() >= MOST_PROBLEMS {
                break;
            }
        }
        found.extend(seen);
    }
}

fn kind(name: &Key, node: &Node, kinds: &[Kind]) -> Result<Kind, Problem> {
    let known = || kinds.iter().map(|kind| kind.name);
    let Some(written) = node.get("kind") else {
        return Err(Problem::new(
            name.place,
            format!("stage `{}` has no `kind`; known: {}", name.text, listed(known())),
        ));
    };
    let Some(text) = written.text() else {
        let message = format!("`kind` is {}, expected one of {}", written.describe(), listed(known()));
        return Err(Problem::new(written.place, message));
    };
    kinds
        .iter()
        .find(|kind| kind.name == text)
        .copied()
        .ok_or_else(|| Problem::new(written.place, format!("no kind `{}`{}", clipped(text), suggestion(text, known()))))
}

/// One job of a stage, which has this index.
fn job(
    name: String,
    (stage, index): (&Stage, usize),
    names: &[String],
    params: &[&(Key, Node)],
    scope: &Scope<'_>,
    found: &mut Vec<Problem>,
) -> Option<Draft> {
    let mut expanded = Vec::with_capacity(params.len());
    let mut missing = BTreeSet::new();
    for (key, value) in params {
        match scope.expand(value) {
            Ok(value) => expanded.push((key.clone(), value)),
            Err(problem) => {
                found.push(Problem { used: problem.used.or(value.used), ..problem });
                missing.insert(key.text.clone());
            }
        }
    }
    let params = Node::new(Value::Map(expanded), stage.place);
    let params = match (stage.kind.written_out)(&params, &Library::of(".")) {
        Ok(written_out) => written_out.unwrap_or(params),
        Err(issue) => {
            found.push(issue::problem_of(&issue, &params));
            return None;
        }
    };
    let job = issue::read(&stage.kind, &params, missing, found)?;
    let (mut inputs, mut places) = (Vec::new(), Vec::new());
    for input in job.inputs().into_iter().map(|input| settled(input, names)) {
        places.push(places_of(&input, &params).unwrap_or_else(|problem| {
            found.push(problem);
            Vec::new()
        }));
        inputs.push(input);
    }
    let outputs = job.outputs();
    Some(Draft { name, stage: index, job: job.into(), inputs, places, outputs, resources: Resources::default() })
}

/// What stands beside the parameters of a job.
fn beside(resources: Option<&(Key, Node)>, scope: &Scope<'_>, found: &mut Vec<Problem>) -> Beside {
    let Some((key, value)) = resources else { return Beside::default() };
    let read = scope
        .expand(value)
        .map_err(|problem| Problem { used: problem.used.or(value.used), ..problem })
        .and_then(|value| issue::read_value(&Node::new(Value::Map(vec![(key.clone(), value)]), key.place)));
    read.unwrap_or_else(|problem| {
        found.push(problem);
        Beside::default()
    })
}

/// An input that is either, as the reference or the file that it is.
fn settled(input: Input, names: &[String]) -> Input {
    match input.from {
        Source::Made(Asked { refs, or_file: true, .. })
            if !refs.iter().any(|reference| names_stage(reference, names)) =>
        {
            Input::file(input.role, refs.into_iter().map(|Ref(path)| path).collect::<String>())
        }
        from => Input { role: input.role, from },
    }
}

fn names_stage(Ref(text): &Ref, names: &[String]) -> bool {
    reference::parse(text).is_ok_and(|known| names.iter().any(|name| name == known.stage))
}

/// Where the references of an input stand; a path is checked instead.
fn places_of(input: &Input, params: &Node) -> Result<Vec<Spot>, Problem> {
    let node = params.at(&input.role);
    match &input.from {
        Source::Made(asked) if asked.many && node.value == Value::List(Vec::new()) => {
            let message = format!("`{}` is an empty list, expected at least one reference", input.role);
            Err(Problem::of(node, message))
        }
        Source::Made(asked) => Ok(asked.refs.iter().map(|Ref(text)| place_of_text(node, text)).collect()),
        Source::File(path) | Source::Folder(path, _) => within_reach(node, path).map(|()| Vec::new()),
        Source::Remote(_) => Ok(Vec::new()),
    }
}

/// The place of a text in a field that may be a list, or a mapping such as `{output: text}`.
fn place_of_text(node: &Node, text: &str) -> Spot {
    let says = |item: &&Node| item.text() == Some(text);
    let found = match &node.value {
        Value::List(items) => items.iter().find(says),
        Value::Map(entries) => entries.iter().map(|(_, item)| item).find(says),
        _ => None,
    };
    Spot::of(found.unwrap_or(node))
}

/// Whether a job may read a path: within the current folder, or supplied by a variable that somebody named.
fn within_reach(node: &Node, path: &Path) -> Result<(), Problem> {
    if path == Path::new("") {
        return Err(Problem::of(node, "an empty path"));
    }
    if !node.from_variable && leaves(path) {
        let path = clipped(&path.to_string_lossy());
        let message = format!(
            "`{path}` leads out of the project; an absolute path outside is allowed through a variable: `${{DATA}}/file`, with \
             `DATA` in `environment` or in `vars`"
        );
        return Err(Problem::of(node, message));
    }
    Ok(())
}

/// Whether a path leads out of the current folder, by its text.
fn leaves(path: &Path) -> bool {
    let mut depth = 0i64;
    path.components().any(|component| {
        match component {
            Component::Normal(_) => depth += 1,
            Component::ParentDir => depth -= 1,
            Component::CurDir => {}
            Component::RootDir | Component::Prefix(_) => depth = -1,
        }
        depth < 0
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_leaves_the_folder_where_its_text_climbs_above_it() {
        for inside in ["a", "a/b", "./a", "a/../b", "a/b/../../c", "..a", "a..b/c"] {
            assert!(!leaves(Path::new(inside)), "{inside}");
        }
        for outside in ["..", "../a", "/a", "a/../../b", "./../a", "a/../../a/b"] {
            assert!(leaves(Path::new(outside)), "{outside}");
        }
    }
}
