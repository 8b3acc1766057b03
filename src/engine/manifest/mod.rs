//! From the text of a manifest to a [`Plan`]: profiles, variables, matrices and references, every problem with its place.

mod draft;
mod issue;
mod layers;
mod link;
mod matrix;
pub mod node;
pub mod problem;
mod profile;
pub mod project;
pub(super) mod reference;
pub mod schema;
mod source;
#[cfg(test)]
mod tests;
pub mod typed;
mod variables;

use super::plan::Plan;
use super::stage::Kind;
use super::store::digest::Digest;
use super::store::provenance::Manifest;
use draft::Drafts;
pub use issue::read_value;
use layers::Whole;
use link::link;
use node::{Node, Value};
use problem::{Problem, Problems, clipped};
use profile::{Overlays, Profiles, SECTIONS};
use source::Family;
use std::cell::Cell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use variables::{LARGEST, Scope};

/// What the command line says about a manifest.
pub struct Options<'a> {
    /// The profile, or several with commas between them; the first of the manifest if `None`.
    pub profile: Option<&'a str>,
    /// Paths and YAML values laid over the manifest: `vars.steps`, `10`.
    pub set: &'a [(String, String)],
    /// Reads an environment variable; asked only for those that the manifest names.
    pub environment: &'a dyn Fn(&str) -> Option<String>,
}

/// Why a manifest gives no plan.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// It cannot be read.
    #[error("{error}")]
    Io {
        /// The manifest.
        path: PathBuf,
        /// What is wrong; names the manifest.
        error: std::io::Error,
    },
    /// It says something impossible.
    #[error(transparent)]
    Problems(#[from] Problems),
}

/// Bytes of the longest name of a pipeline.
const LONGEST_NAME: usize = 100;

const TOP: [&str; 7] = ["version", "name", "extends", "environment", "profiles", "vars", "stages"];

/// Reads the manifest at `path`, with what it extends, and resolves it.
///
/// # Errors
/// All its problems at once.
pub fn load(path: &Path, kinds: &[Kind], options: &Options<'_>) -> Result<Plan, LoadError> {
    let family = Family::read(path)?;
    resolve(&family, kinds, options).map_err(|problems| Problems::new(family.files, problems).into())
}

/// What a manifest says about itself before a profile is chosen.
#[derive(Debug, PartialEq, Eq)]
pub struct Outline {
    /// The name of its pipeline, if it has one.
    pub name: Option<String>,
    /// Names of its profiles, the default first.
    pub profiles: Vec<String>,
    /// The environment variables that it names, in any of its profiles, and whether each has a default.
    pub environment: BTreeMap<String, bool>,
}

/// Reads the outline of the manifest at `path`, with what it extends. What is wrong with the rest of it is not looked for.
///
/// # Errors
/// If one of the files cannot be read or is not a manifest.
pub fn outline(path: &Path) -> Result<Outline, LoadError> {
    let family = Family::read(path)?;
    let profiles = Profiles::read(&family, &mut Vec::new());
    let mut environment: BTreeMap<String, bool> = BTreeMap::new();
    for section in family.oldest_first().chain(profiles.parts()) {
        for (name, default) in section.get("environment").map_or(&[][..], Node::entries) {
            *environment.entry(name.text.clone()).or_default() |= default.value != Value::Null;
        }
    }
    let name = family.root().get("name").and_then(Node::text).map(str::to_owned);
    Ok(Outline { name, profiles: profiles.names().map(str::to_owned).collect(), environment })
}

fn resolve(family: &Family, kinds: &[Kind], options: &Options<'_>) -> Result<Plan, Vec<Problem>> {
    let mut found = family.found.clone();
    for root in &family.roots {
        SECTIONS.iter().for_each(|name| check_section(root, name, &mut found));
    }
    let (mut overlays, profile) = Overlays::of(family, options.profile, &mut found);
    for (at, value) in options.set {
        overlays.set(at, value);
    }
    let Overlays { root, stages, .. } = overlays;
    let Whole { stages: whole, broken } = stages.whole(&mut found);
    let name = name(family, &mut found);
    let environment = environment(&root, options.environment, &mut found);
    let nothing = Node::new(Value::Map(Vec::new()), root.place);
    let scope = Scope {
        vars: root.get("vars").unwrap_or(&nothing),
        environment: &environment,
        matrix: &[],
        budget: &Cell::new(LARGEST),
    };
    if whole.entries().is_empty() && broken.is_empty() {
        found.extend(no_stages(&root));
        return Err(found);
    }
    let drafts = Drafts::read(&whole, broken, kinds, &scope, &mut found);
    let graph = link(&drafts, &stages.removed(), &mut found);
    if !found.is_empty() {
        return Err(found);
    }
    let stages = drafts.stages.into_iter().map(|stage| stage.name).collect();
    let manifests = family.files.iter().map(|file| Manifest::new(&file.path, Digest::of(file.text.as_bytes())));
    Ok(Plan { name, profile, path: family.files[0].path.clone(), manifests: manifests.collect(), stages, graph })
}

/// That there is nothing to do; told already where `stages` is something else than a mapping.
fn no_stages(root: &Node) -> Option<Problem> {
    match root.get("stages") {
        None => Some(Problem::new(root.place, "no `stages`; a manifest needs at least one stage")),
        Some(Node { value: Value::Map(_) | Value::Null, place, .. }) => {
            Some(Problem::new(*place, "`stages` is empty; a manifest needs at least one stage"))
        }
        Some(_) => None,
    }
}

fn name(family: &Family, found: &mut Vec<Problem>) -> String {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_');
    let expected = "expected small letters, digits, `-` and `_`, since it names a folder";
    let root = family.root();
    let others = &family.roots[1..];
    let problem = match root.get("name") {
        None if others.is_empty() => Problem::new(root.place, "no `name`; expected one such as `name: spot_glue`"),
        None => Problem::new(root.place, "no `name`; a manifest that extends another has a name of its own"),
        Some(node) => match node.text() {
            Some(name) if name.len() > LONGEST_NAME => {
                Problem::new(node.place, format!("`name` is longer than {LONGEST_NAME} bytes"))
            }
            Some(name) if others.iter().any(|other| other.get("name").and_then(Node::text) == Some(name)) => {
                let message = "which is the name of a manifest that this one extends; expected another, since runs are kept by name";
                Problem::new(node.place, format!("`name` is `{}`, {message}", clipped(name)))
            }
            Some(name) if !name.is_empty() && name.chars().all(plain) => return name.to_owned(),
            _ => Problem::new(node.place, format!("`name` is {}; {expected}", node.describe())),
        },
    };
    found.push(problem);
    String::new()
}

/// Checks that a section is a mapping, if it is there.
fn check_section(root: &Node, name: &str, found: &mut Vec<Problem>) {
    if let Some(node) = root.get(name)
        && !matches!(node.value, Value::Map(_) | Value::Null)
    {
        found.push(Problem::new(node.place, format!("`{name}` is {}, expected a mapping", node.describe())));
    }
}

/// The environment variables that the manifest names. One that is set to nothing counts as not set, since `GLUE_DIR= spot …`
/// and an empty variable of make mean that.
fn environment(
    root: &Node,
    read: &dyn Fn(&str) -> Option<String>,
    found: &mut Vec<Problem>,
) -> BTreeMap<String, Option<String>> {
    let mut variables = BTreeMap::new();
    for (key, default) in root.get("environment").map_or(&[][..], Node::entries) {
        let name = &key.text;
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if name.is_empty() || !name.chars().all(plain) {
            let message = format!("`{}` cannot name an environment variable", clipped(name));
            found.push(Problem::new(key.place, message));
            continue;
        }
        if root.get("vars").is_some_and(|vars| vars.get(name).is_some()) {
            let message = format!("`{name}` is in `vars` and in `environment`; `${{{name}}}` could be either");
            found.push(Problem::new(key.place, message));
        }
        let default = match (&default.value, default.scalar()) {
            (Value::Null, _) => None,
            (_, Some(text)) => Some(text),
            (_, None) => {
                let message = format!("the default of `{name}` is {}, expected a text", default.describe());
                found.push(Problem::new(default.place, message));
                // So that its uses are not called unset too.
                Some(String::new())
            }
        };
        variables.insert(name.clone(), read(name).filter(|value| !value.is_empty()).or(default));
    }
    variables
}
