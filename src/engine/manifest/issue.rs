//! From YAML to a typed job, and serde's complaints as problems of the manifest: what was found, what was expected, where.

use super::node::{Key, Node, Value};
use super::problem::{Place, Problem, clipped, listed, nearest};
use crate::engine::stage::{Issue, Job, Kind};
use std::collections::BTreeSet;

/// Keys of every stage besides the parameters of its kind.
pub(super) const OF_EVERY_STAGE: [&str; 2] = ["kind", "matrix"];
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
        let issue = match (kind.parse)(rest.to_yaml()) {
            Ok(job) if good => match job.check() {
                Ok(()) => return Some(job),
                Err(issue) => issue,
            },
            Ok(_) => return None,
            Err(issue) => issue,
        };
        let absent = quoted(&issue.message, "missing field").map(|name| join(&issue.field, name));
        if absent.is_none_or(|path| !missing.contains(&path)) {
            found.push(problem(&issue, params));
        }
        if !leave_out(&mut rest, &issue, &mut missing) {
            return None;
        }
        good = false;
    }
    None
}

/// Removes what an issue is about; `false` if that is not there.
fn leave_out(params: &mut Node, issue: &Issue, missing: &mut BTreeSet<String>) -> bool {
    if let Some(written) = quoted(&issue.message, "unknown field") {
        let (parent, last) = split(&issue.field);
        // A misspelt parameter is not called missing as well.
        missing.extend(nearest(written, expected(&issue.message)).map(|meant| join(parent, meant)));
        return at_mut(params, parent).is_some_and(|node| remove(node, last));
    }
    let end = issue.field.find(['.', '[']).unwrap_or(issue.field.len());
    let first = &issue.field[..end];
    missing.insert(first.to_owned());
    remove(params, first)
}

fn at_mut<'n>(node: &'n mut Node, path: &str) -> Option<&'n mut Node> {
    let mut parts = path.split(['.', '[', ']']).filter(|part| !part.is_empty());
    parts.try_fold(node, |node, part| match &mut node.value {
        Value::List(items) => items.get_mut(part.parse::<usize>().ok()?),
        Value::Map(entries) => entries.iter_mut().find(|(key, _)| key.text == part).map(|(_, node)| node),
        _ => None,
    })
}

fn remove(node: &mut Node, key: &str) -> bool {
    let Value::Map(entries) = &mut node.value else { return false };
    let before = entries.len();
    entries.retain(|(known, _)| known.text != key);
    entries.len() < before
}

/// Everything before the last key of a path, and that key.
fn split(path: &str) -> (&str, &str) {
    path.rsplit_once('.').unwrap_or(("", path))
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

/// Where a mistake in parameters stands, and what it says.
fn problem(issue: &Issue, params: &Node) -> Problem {
    let Issue { field, message } = issue;
    let node = params.at(field);
    let (parent, last) = split(field);
    let key = params.at(parent).entries().iter().map(|(key, _)| key).find(|key| key.text == last);
    if let Some(written) = quoted(message, "unknown field") {
        return unknown_field(written, parent, message, key.map_or(node.place, |key| key.place));
    }
    if let Some(written) = quoted(message, "unknown variant") {
        return unknown_variant(written, field, node, key, message);
    }
    if let Some(name) = quoted(message, "missing field") {
        return Problem::new(node.place, format!("`{}` is missing; it has no default", join(field, name)));
    }
    let told = message.strip_prefix("invalid type: ").or_else(|| message.strip_prefix("invalid value: "));
    let told = match told.and_then(|rest| rest.rsplit_once(", expected ")) {
        Some((_, "map with a single key")) => format!("{}, expected a mapping with one key", keys(node)),
        Some((_, expected)) => format!("{}, expected {}", node.describe(), in_words(expected)),
        None => {
            let says = ["is ", "are ", "has ", "asks ", "sum"].iter().any(|verb| message.starts_with(verb));
            let prefix = match field.as_str() {
                "" => String::new(),
                field if says => format!("`{field}` "),
                field => format!("`{field}`: "),
            };
            return Problem::new(node.place, format!("{prefix}{message}"));
        }
    };
    let subject = if field.is_empty() { "the stage".to_owned() } else { format!("`{field}`") };
    Problem::new(node.place, format!("{subject} is {told}"))
}

fn unknown_field(written: &str, parent: &str, message: &str, place: Place) -> Problem {
    let root: &[&str] = if parent.is_empty() { &OF_EVERY_STAGE } else { &[] };
    let known: Vec<&str> = expected(message).into_iter().chain(root.iter().copied()).collect();
    let inside = if parent.is_empty() { String::new() } else { format!(" in `{parent}`") };
    Problem::new(place, format!("unknown key `{}`{inside}{}", clipped(written), hint(written, &known)))
}

/// A choice that does not exist: a word (`metric: wrong`) or the key of a mapping (`from: {wrong: …}`).
fn unknown_variant(written: &str, field: &str, node: &Node, key: Option<&Key>, message: &str) -> Problem {
    let key = key.filter(|key| key.text == written && node.text() != Some(written));
    let (place, field) = key.map_or((node.place, field), |key| (key.place, split(field).0));
    let known = expected(message);
    Problem::new(place, format!("`{field}` cannot be `{}`{}", clipped(written), hint(written, &known)))
}

/// The name in backticks after the beginning of a message.
fn quoted<'m>(message: &'m str, beginning: &str) -> Option<&'m str> {
    let rest = message.strip_prefix(beginning)?.strip_prefix(" `")?;
    // The name is what somebody wrote, and may have backticks itself.
    let end = rest.find("`, expected").or_else(|| rest.find("`, there are no")).or_else(|| rest.rfind('`'))?;
    Some(&rest[..end])
}

/// The names that serde lists.
fn expected(message: &str) -> Vec<&str> {
    let list = message.rfind("`, expected ").map_or("", |at| &message[at + 1..]);
    list.split('`').skip(1).step_by(2).collect()
}

fn hint(written: &str, known: &[&str]) -> String {
    match nearest(written, known.iter().copied()) {
        Some(near) => format!("; did you mean `{near}`?"),
        None if known.is_empty() => "; no keys are known here".to_owned(),
        None => format!("; known: {}", listed(known.iter().copied())),
    }
}

fn keys(node: &Node) -> String {
    match node.entries() {
        [] => node.describe(),
        entries => format!("a mapping with {}", listed(entries.iter().map(|(key, _)| key.text.as_str()))),
    }
}

/// What serde expects, for people who know YAML and not Rust.
fn in_words(expected: &str) -> &str {
    match expected {
        "u8" | "u16" | "u32" | "u64" | "usize" => "a whole number, 0 or more",
        "i8" | "i16" | "i32" | "i64" | "isize" => "a whole number",
        "f32" | "f64" => "a number",
        "a boolean" => "true or false",
        "a string" | "a borrowed string" => "a text",
        "a character" => "one character",
        "a sequence" => "a list",
        "a map" => "a mapping",
        "string or singleton map" => "a word or a mapping with one key",
        "unit" => "nothing",
        other if other.starts_with("struct ") => "a mapping",
        other if other.starts_with("enum ") => "a word or a mapping with one key",
        other => other,
    }
}
