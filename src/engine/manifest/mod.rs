//! From the text of a manifest to a [`Plan`]: profiles, variables, matrices and references, every problem with its place.

mod draft;
mod issue;
mod link;
mod matrix;
pub mod node;
pub mod problem;
mod profile;
pub(super) mod reference;
pub mod schema;
#[cfg(test)]
mod tests;
pub mod typed;
mod variables;

use super::plan::Plan;
use super::stage::Kind;
use draft::Drafts;
pub use issue::read_value;
use link::link;
use node::{Node, Value, parse};
use problem::{Problem, Problems, clipped, suggestion};
use profile::Overlays;
use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read};
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

/// Bytes of the longest manifest.
const LONGEST: u64 = 1 << 20;
/// Bytes of the longest name of a pipeline.
const LONGEST_NAME: usize = 100;

const TOP: [&str; 6] = ["version", "name", "environment", "profiles", "vars", "stages"];

/// Reads the manifest at `path` and resolves it.
///
/// # Errors
/// All its problems at once.
pub fn load(path: &Path, kinds: &[Kind], options: &Options<'_>) -> Result<Plan, LoadError> {
    let text = read(path).map_err(|error| LoadError::Io { path: path.to_owned(), error })?;
    resolve(path, &text, kinds, options).map_err(|problems| Problems::new(path, &text, problems).into())
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

/// Reads the outline of the manifest at `path`. What is wrong with the rest of it is not looked for.
///
/// # Errors
/// If it cannot be read or is not YAML.
pub fn outline(path: &Path) -> Result<Outline, LoadError> {
    let text = read(path).map_err(|error| LoadError::Io { path: path.to_owned(), error })?;
    let root = parse(&text).map_err(|problems| Problems::new(path, &text, problems))?;
    let profiles = root.get("profiles").map_or(&[][..], Node::entries);
    let mut environment: BTreeMap<String, bool> = BTreeMap::new();
    for section in [&root].into_iter().chain(profiles.iter().map(|(_, profile)| profile)) {
        for (name, default) in section.get("environment").map_or(&[][..], Node::entries) {
            *environment.entry(name.text.clone()).or_default() |= default.value != Value::Null;
        }
    }
    let name = root.get("name").and_then(Node::text).map(str::to_owned);
    Ok(Outline { name, profiles: profiles.iter().map(|(name, _)| name.text.clone()).collect(), environment })
}

fn read(path: &Path) -> io::Result<String> {
    let invalid =
        |what: String| io::Error::new(io::ErrorKind::InvalidData, format!("manifest `{}` {what}", path.display()));
    let mut bytes = Vec::new();
    fs_err::File::open(path)?.take(LONGEST + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LONGEST {
        return Err(invalid("is longer than 1 MiB; a manifest is a page or two".to_owned()));
    }
    let text = String::from_utf8(bytes).map_err(|error| {
        let line =
            error.as_bytes()[..error.utf8_error().valid_up_to()].iter().filter(|byte| **byte == b'\n').count() + 1;
        invalid(format!("is not UTF-8 text in line {line}"))
    })?;
    Ok(text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text))
}

fn resolve(path: &Path, text: &str, kinds: &[Kind], options: &Options<'_>) -> Result<Plan, Vec<Problem>> {
    let mut root = parse(text)?;
    let mut found = Vec::new();
    top(&root, &mut found)?;
    let mut overlays = Overlays { root: &mut root, removed: BTreeSet::new(), found: &mut found };
    let profile = overlays.profile(options.profile);
    for (at, value) in options.set {
        overlays.set(at, value);
    }
    let removed = overlays.removed;
    let name = name(&root, &mut found);
    let environment = environment(&root, options.environment, &mut found);
    let nothing = Node::new(Value::Map(Vec::new()), root.place);
    let scope = Scope {
        vars: section(&root, "vars", &mut found).unwrap_or(&nothing),
        environment: &environment,
        matrix: &[],
        budget: &Cell::new(LARGEST),
    };
    let stages = match section(&root, "stages", &mut found) {
        Some(stages) if !stages.entries().is_empty() => stages,
        Some(stages) => {
            found.push(Problem::new(stages.place, "`stages` is empty; a manifest needs at least one stage"));
            return Err(found);
        }
        None => return Err(found),
    };
    let drafts = Drafts::read(stages, kinds, &scope, &mut found);
    let graph = link(&drafts, &removed, &mut found);
    if !found.is_empty() {
        return Err(found);
    }
    let stages = drafts.stages.into_iter().map(|stage| stage.name).collect();
    Ok(Plan { name, profile, path: path.to_owned(), stages, graph })
}

/// Checks the keys of the manifest and its version. What follows would be noise where it is not a mapping, or of a version
/// with another grammar.
fn top(root: &Node, found: &mut Vec<Problem>) -> Result<(), Vec<Problem>> {
    if root.value == Value::Null {
        return Err(vec![Problem::new(root.place, "an empty manifest; expected `version: 1`, `name` and `stages`")]);
    }
    if !matches!(root.value, Value::Map(_)) {
        let message =
            format!("a manifest is a mapping with `version`, `name` and `stages`, but this is {}", root.describe());
        return Err(vec![Problem::new(root.place, message)]);
    }
    match root.get("version") {
        Some(Node { value: Value::Int(1), .. }) => {}
        Some(other) => {
            let message = format!("`version` is {}, but this program reads version 1", other.describe());
            return Err(vec![Problem::new(other.place, message)]);
        }
        None => found.push(Problem::new(root.place, "no `version`; expected `version: 1`")),
    }
    for (key, _) in root.entries().iter().filter(|(key, _)| !TOP.contains(&key.text.as_str())) {
        let hint = suggestion(&key.text, TOP);
        found.push(Problem::new(key.place, format!("unknown key `{}` of a manifest{hint}", clipped(&key.text))));
    }
    Ok(())
}

fn name(root: &Node, found: &mut Vec<Problem>) -> String {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_');
    let expected = "expected small letters, digits, `-` and `_`, since it names a folder";
    let problem = match root.get("name") {
        None => Problem::new(root.place, "no `name`; expected one such as `name: spot_glue`"),
        Some(node) => match node.text() {
            Some(name) if name.len() > LONGEST_NAME => {
                Problem::new(node.place, format!("`name` is longer than {LONGEST_NAME} bytes"))
            }
            Some(name) if !name.is_empty() && name.chars().all(plain) => return name.to_owned(),
            _ => Problem::new(node.place, format!("`name` is {}; {expected}", node.describe())),
        },
    };
    found.push(problem);
    String::new()
}

/// A section that is a mapping, if it is there. `stages` must be.
fn section<'n>(root: &'n Node, name: &str, found: &mut Vec<Problem>) -> Option<&'n Node> {
    let Some(node) = root.get(name) else {
        if name == "stages" {
            found.push(Problem::new(root.place, "no `stages`; a manifest needs at least one stage"));
        }
        return None;
    };
    match &node.value {
        Value::Map(_) | Value::Null => Some(node),
        _ => {
            found.push(Problem::new(node.place, format!("`{name}` is {}, expected a mapping", node.describe())));
            None
        }
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
    for (key, default) in section(root, "environment", found).map_or(&[][..], Node::entries) {
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
