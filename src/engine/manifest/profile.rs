//! What is laid over a manifest before it is read: its profile, then `--set`.

use super::node::{DEEPEST, Key, Node, Value, overlay, parse};
use super::problem::{Place, Problem, clipped, suggestion};
use std::collections::BTreeSet;

/// Sections that a profile and `--set` may change.
const SECTIONS: [&str; 3] = ["environment", "vars", "stages"];

/// A manifest and what was laid over it.
pub(super) struct Overlays<'a> {
    pub(super) root: &'a mut Node,
    /// Stages that were set to null.
    pub(super) removed: BTreeSet<String>,
    pub(super) found: &'a mut Vec<Problem>,
}

impl Overlays<'_> {
    /// Lays a profile over the manifest, the first if none is asked for, or several with commas between their names, each
    /// over those before it; what was asked for.
    pub(super) fn profile(&mut self, asked: Option<&str>) -> Option<String> {
        let none = Node::new(Value::Null, self.root.place);
        let profiles = self.root.get("profiles").cloned().unwrap_or(none);
        if !matches!(profiles.value, Value::Null | Value::Map(_)) {
            let message = format!("`profiles` is {}, expected a mapping", profiles.describe());
            self.found.push(Problem::new(profiles.place, message));
        }
        for (name, profile) in profiles.entries() {
            self.check(name, profile, &profiles);
        }
        let asked = asked.or(profiles.entries().first().map(|(key, _)| key.text.as_str()))?;
        // A name that is there is meant, whatever commas it has.
        let names = if profiles.get(asked).is_some() { vec![asked] } else { asked.split(',').map(str::trim).collect() };
        for name in names {
            for profile in self.chain(&profiles, name)?.into_iter().rev() {
                let sections = profile.entries().iter().filter(|(key, _)| SECTIONS.contains(&key.text.as_str()));
                sections.for_each(|(section, over)| self.lay(section, over));
            }
        }
        Some(asked.to_owned())
    }

    /// Lays one value of `--set` over the manifest.
    pub(super) fn set(&mut self, at: &str, value: &str) {
        if let Err(message) = self.try_set(at, value) {
            self.found.push(Problem::new(Place::default(), message));
        }
    }

    fn check(&mut self, name: &Key, profile: &Node, profiles: &Node) {
        if !matches!(profile.value, Value::Null | Value::Map(_)) {
            let message = format!("profile `{}` is {}, expected a mapping", name.text, profile.describe());
            return self.found.push(Problem::new(profile.place, message));
        }
        for (key, value) in profile.entries() {
            let known = SECTIONS.into_iter().chain(["like"]);
            let message = match (key.text.as_str(), &value.value) {
                ("like", Value::Text(like)) if profiles.get(like).is_some() => continue,
                ("like", Value::Text(like)) => no_profile(like, profiles),
                ("like", _) => format!("`like` is {}, expected the name of a profile", value.describe()),
                (section, Value::Null | Value::Map(_)) if SECTIONS.contains(&section) => continue,
                (section, _) if SECTIONS.contains(&section) => {
                    format!("`{section}` is {}, expected a mapping", value.describe())
                }
                (other, _) => {
                    let hint = suggestion(other, known);
                    self.found.push(Problem::new(key.place, format!("unknown key `{other}` of a profile{hint}")));
                    continue;
                }
            };
            self.found.push(Problem::new(value.place, message));
        }
    }

    /// A profile and those that it is like, one after the other.
    fn chain<'p>(&mut self, profiles: &'p Node, name: &str) -> Option<Vec<&'p Node>> {
        let mut names: Vec<&str> = vec![];
        let mut chain: Vec<&Node> = vec![];
        let (mut name, mut place) = (name, profiles.place);
        loop {
            let Some(profile) = profiles.get(name) else {
                self.found.push(Problem::new(place, no_profile(name, profiles)));
                return None;
            };
            if names.contains(&name) {
                let message =
                    format!("profiles refer to each other by `like` in a cycle: {} -> {name}", names.join(" -> "));
                self.found.push(Problem::new(place, message));
                return None;
            }
            names.push(name);
            chain.push(profile);
            match profile.get("like").and_then(|like| like.text().map(|text| (text, like.place))) {
                Some(like) => (name, place) = like,
                None => return Some(chain),
            }
        }
    }

    /// Lays a section over that of the manifest.
    fn lay(&mut self, section: &Key, over: &Node) {
        if self.root.get(&section.text).is_none() {
            put(self.root, section, &Node::new(Value::Map(Vec::new()), over.place));
        }
        let Some(base) = self.root.get_mut(&section.text) else { return };
        if base.value == Value::Null {
            base.value = Value::Map(Vec::new());
        }
        for (key, value) in over.entries() {
            let stage = section.text == "stages";
            match base.get_mut(&key.text) {
                // Elsewhere null is a value: a variable that is nothing, an environment variable without default.
                Some(_) if stage && value.value == Value::Null => {
                    self.removed.insert(key.text.clone());
                    let gone = Node::new(Value::Map(vec![(key.clone(), value.clone())]), value.place);
                    overlay(base, &gone);
                }
                None if stage && value.value == Value::Null => {
                    let hint = suggestion(&key.text, base.entries().iter().map(|(key, _)| key.text.as_str()));
                    let message = format!("no stage `{}` that could be removed{hint}", key.text);
                    self.found.push(Problem::new(key.place, message));
                }
                Some(old) => overlay(old, value),
                None => {
                    self.removed.remove(&key.text);
                    put(base, key, value);
                }
            }
        }
    }

    fn try_set(&mut self, at: &str, value: &str) -> Result<(), String> {
        let parts: Vec<&str> = at.split('.').collect();
        let section = parts[0];
        if !SECTIONS.contains(&section) {
            let hint = suggestion(section, SECTIONS);
            return Err(format!("`{at}` cannot be set{hint}"));
        }
        if parts.len() < 2 || parts.iter().any(|part| part.is_empty()) {
            return Err(format!("`{at}` is not a path; expected one such as `vars.steps` or `stages.source.length`"));
        }
        if parts.len() > DEEPEST {
            return Err(format!("`{at}` is longer than {DEEPEST} keys"));
        }
        self.reachable(&parts)?;
        let mut node = parse(value).map_err(|problems| format!("`{at}={value}`: {}", problems[0].message))?;
        forget_places(&mut node);
        for part in parts[1..].iter().rev() {
            let key = Key { text: (*part).to_owned(), place: Place::default() };
            node = Node::new(Value::Map(vec![(key, node)]), Place::default());
        }
        self.lay(&Key { text: section.to_owned(), place: Place::default() }, &node);
        Ok(())
    }

    /// Whether a path leads to a place that exists or can be made: a misspelt name must not be set in silence.
    fn reachable(&self, parts: &[&str]) -> Result<(), String> {
        let none = Node::new(Value::Null, Place::default());
        let mut node = self.root.get(parts[0]).unwrap_or(&none);
        for (depth, part) in parts.iter().enumerate().skip(1) {
            let path = parts[..depth].join(".");
            match &node.value {
                Value::Map(_) | Value::Null => match node.get(part) {
                    Some(next) => node = next,
                    None if depth == 1 => {
                        let known = node.entries().iter().map(|(key, _)| key.text.as_str());
                        return Err(format!("`{path}` has no `{part}`{}", suggestion(part, known)));
                    }
                    None => return Ok(()),
                },
                _ => {
                    let what = node.describe();
                    return Err(format!("`{path}` is {what}, so `{part}` in it cannot be set; set all of `{path}`"));
                }
            }
        }
        Ok(())
    }
}

fn no_profile(name: &str, profiles: &Node) -> String {
    match profiles.entries() {
        [] => format!("no profile `{name}`; the manifest has none"),
        entries => {
            let hint = suggestion(name, entries.iter().map(|(key, _)| key.text.as_str()));
            format!("no profile `{}`{hint}", clipped(name))
        }
    }
}

fn put(node: &mut Node, key: &Key, value: &Node) {
    if let Value::Map(entries) = &mut node.value {
        entries.push((key.clone(), value.clone()));
    }
}

fn forget_places(node: &mut Node) {
    node.place = Place::default();
    match &mut node.value {
        Value::List(items) => items.iter_mut().for_each(forget_places),
        Value::Map(entries) => {
            for (key, value) in entries {
                key.place = Place::default();
                forget_places(value);
            }
        }
        _ => {}
    }
}
