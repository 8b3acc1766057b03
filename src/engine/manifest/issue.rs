//! From YAML to a typed job, and what is wrong with it as problems of the manifest: what was found, what was expected, where.

use super::node::{Key, Node, Value};
use super::problem::{Problem, Spot, clipped, listed, nearest};
use super::typed::{self, Mistake, Step, What, path_in_words};
use crate::engine::stage::{Issue, Job, Kind};
use serde::Deserialize;
use std::collections::BTreeSet;

/// Keys of every stage besides the parameters of its kind.
pub(super) const OF_EVERY_STAGE: [&str; 4] = ["kind", "like", "matrix", "resources"];
/// Mistakes of one job that are looked for.
const MOST: usize = 20;

/// Reads the parameters of a job. Serde stops at the first mistake, so what was wrong is left out and the rest read again.
/// `missing` are the paths of parameters that are not there because something was wrong with them.
pub(super) fn read(
    kind: &Kind,
    params: &Node,
    mut missing: BTreeSet<String>,
    found: &mut Vec<Problem>,
) -> Option<Box<dyn Job>> {
    let mut rest = params.clone();
    for path in kind.words {
        if let Some(words) = at_mut(&mut rest, path) {
            words.spell_words();
        }
    }
    let mut good = missing.is_empty();
    for _ in 0..MOST {
        let mistake = match (kind.parse)(&rest) {
            Ok(_) if !good => return None,
            Ok(job) => match job.check() {
                Ok(()) => return Some(job),
                Err(issue) => {
                    found.push(problem_of(&issue, params));
                    return None;
                }
            },
            Err(mistake) => mistake,
        };
        if !is_told(&mistake, &missing) {
            found.push(problem(&mistake, params, &STAGE));
        }
        if !leave_out(&mut rest, &mistake, &mut missing) {
            return None;
        }
        good = false;
    }
    None
}

/// What a kind says of parameters, and where they stand.
pub(super) fn problem_of(Issue { field, message }: &Issue, params: &Node) -> Problem {
    Problem::of(params.at(field), told(field, message))
}

/// A value that is no parameter of a stage as a type.
///
/// # Errors
/// What is wrong with it first, and where.
pub fn read_value<'n, T: Deserialize<'n>>(node: &'n Node) -> Result<T, Problem> {
    typed::read(node).map_err(|mistake| problem(&mistake, node, &NO_STAGE))
}

/// Whether a mistake is that something lacks which was left out.
fn is_told(mistake: &Mistake, missing: &BTreeSet<String>) -> bool {
    matches!(mistake.what, What::Missing(key) if missing.contains(&join(&path_in_words(&mistake.path), key)))
}

/// Removes what a mistake is about; `false` if that is not there.
fn leave_out(params: &mut Node, mistake: &Mistake, missing: &mut BTreeSet<String>) -> bool {
    if let What::UnknownKey { written, known } = &mistake.what {
        // A misspelt parameter is not called missing as well.
        let parent = path_in_words(&mistake.path);
        missing.extend(nearest(written, known.iter().copied()).map(|meant| join(&parent, meant)));
        return along_mut(params, &mistake.path).is_some_and(|node| remove(node, written));
    }
    let Some(Step::Key(first)) = mistake.path.first() else { return false };
    missing.insert(first.clone());
    remove(params, first)
}

fn along_mut<'n>(node: &'n mut Node, path: &[Step]) -> Option<&'n mut Node> {
    path.iter().try_fold(node, |node, step| match (&mut node.value, step) {
        (Value::List(items), Step::Item(at)) => items.get_mut(*at),
        (Value::Map(entries), Step::Key(name)) => value_of(entries, name),
        _ => None,
    })
}

/// The value at the end of a path; the deepest that exists.
fn along<'n>(node: &'n Node, path: &[Step]) -> &'n Node {
    let mut node = node;
    for step in path {
        let next = match (&node.value, step) {
            (Value::List(items), Step::Item(at)) => items.get(*at),
            (_, Step::Key(key)) => node.get(key),
            _ => None,
        };
        match next {
            Some(next) => node = next,
            None => break,
        }
    }
    node
}

fn value_of<'n>(entries: &'n mut [(Key, Node)], name: &str) -> Option<&'n mut Node> {
    entries.iter_mut().find(|(key, _)| key.text == name).map(|(_, node)| node)
}

fn at_mut<'n>(node: &'n mut Node, path: &str) -> Option<&'n mut Node> {
    path.split('.').try_fold(node, |node, part| match &mut node.value {
        Value::Map(entries) => value_of(entries, part),
        _ => None,
    })
}

fn remove(node: &mut Node, key: &str) -> bool {
    let Value::Map(entries) = &mut node.value else { return false };
    let before = entries.len();
    entries.retain(|(known, _)| known.text != key);
    entries.len() < before
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

/// What values are the parameters of, for messages.
struct Whole {
    name: &'static str,
    /// Keys that it has besides them.
    more: &'static [&'static str],
}

const STAGE: Whole = Whole { name: "the stage", more: &OF_EVERY_STAGE };
const NO_STAGE: Whole = Whole { name: "this", more: &[] };

/// Where a mistake in parameters stands, and what it says.
fn problem(mistake: &Mistake, params: &Node, whole: &Whole) -> Problem {
    let (node, field) = (along(params, &mistake.path), path_in_words(&mistake.path));
    let spot_of = |written: &str| {
        let key = node.entries().iter().find(|(key, _)| key.text == written);
        key.map_or(Spot::of(node), |(key, value)| Spot { place: key.place, used: value.used })
    };
    let subject = if field.is_empty() { whole.name.to_owned() } else { format!("`{field}`") };
    let message = match &mistake.what {
        What::Expected(words) => format!("{subject} is {}, expected {words}", node.describe()),
        What::NotOneKey => format!("{subject} is {}, expected a mapping with one key{}", keys(node), inherited(node)),
        What::Missing(key) => format!("`{}` is missing; it has no default", join(&field, key)),
        What::UnknownKey { written, known } => {
            return Problem::at(spot_of(written), unknown_key(written, &field, known, whole.more));
        }
        What::UnknownChoice { written, known } => {
            return Problem::at(
                spot_of(written),
                format!("{subject} cannot be `{}`{}", clipped(written), hint(written, known)),
            );
        }
        What::Other(message) => told(&field, message),
    };
    Problem::of(node, message)
}

fn unknown_key(written: &str, parent: &str, known: &[&str], more: &[&str]) -> String {
    let root = if parent.is_empty() { more } else { &[] };
    let known: Vec<&str> = known.iter().chain(root).copied().collect();
    let inside = if parent.is_empty() { String::new() } else { format!(" in `{parent}`") };
    format!("unknown key `{}`{inside}{}", clipped(written), hint(written, &known))
}

/// What a kind says of a field: a sentence that begins with its verb, or a remark.
fn told(field: &str, message: &str) -> String {
    let says = ["is ", "are ", "has ", "asks ", "sum"].iter().any(|verb| message.starts_with(verb));
    match field {
        "" => message.to_owned(),
        field if says => format!("`{field}` {message}"),
        field => format!("`{field}`: {message}"),
    }
}

fn hint(written: &str, known: &[&str]) -> String {
    match nearest(written, known.iter().copied()) {
        Some(near) => format!("; did you mean `{near}`?"),
        None if known.is_empty() => "; no keys are known here".to_owned(),
        None => format!("; known: {}", listed(known.iter().copied())),
    }
}

/// What to do where a mapping has a key too many.
fn inherited(node: &Node) -> &'static str {
    if node.entries().len() > 1 { "; set to null what is inherited and not meant" } else { "" }
}

fn keys(node: &Node) -> String {
    match node.entries() {
        [] => node.describe(),
        entries => format!("a mapping with {}", listed(entries.iter().map(|(key, _)| key.text.as_str()))),
    }
}
