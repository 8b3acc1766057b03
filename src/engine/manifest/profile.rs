//! What is laid over each other before a manifest is read: what it extends, itself, profiles, then `--set`.

use super::layers::Layers;
use super::node::{DEEPEST, Key, Node, Value, overlay, parse};
use super::problem::{Place, Problem, clipped, suggestion};
use super::source::Family;

/// Sections that a profile, another manifest and `--set` may change.
pub(super) const SECTIONS: [&str; 3] = ["environment", "vars", "stages"];

/// A manifest with what it extends and what was laid over it.
pub(super) struct Overlays<'a> {
    /// Its environment and variables.
    pub(super) root: Node,
    /// Its stages.
    pub(super) stages: Layers,
    pub(super) found: &'a mut Vec<Problem>,
}

impl<'a> Overlays<'a> {
    /// Lays the manifests over each other, the oldest first, and over each of them what it says of the profiles that are asked
    /// for: so what a manifest says is stronger than all that it inherits. The first profile is taken if none is asked for, and of
    /// several with commas between their names each is laid over those before it. Says which profile that is, too.
    pub(super) fn of(family: &Family, asked: Option<&str>, found: &'a mut Vec<Problem>) -> (Self, Option<String>) {
        let profiles = Profiles::read(family, found);
        let (asked, names) = profiles.asked(asked, found);
        let root = Node::new(Value::Map(Vec::new()), family.root().place);
        let mut overlays = Self { root, stages: Layers::default(), found };
        for (generation, manifest) in family.oldest_first().enumerate() {
            if generation == 0 {
                overlays.root.value = manifest.value.clone();
                overlays.stages = Layers::of(manifest.get("stages"));
            } else {
                overlays.lay_all(manifest);
            }
            names.iter().filter_map(|name| profiles.part(name, generation)).for_each(|part| overlays.lay_all(part));
        }
        (overlays, asked)
    }

    /// Lays one value of `--set` over the manifest.
    pub(super) fn set(&mut self, at: &str, value: &str) {
        if let Err(message) = self.try_set(at, value) {
            self.found.push(Problem::new(Place::default(), message));
        }
    }

    /// Lays the sections of a manifest or a profile over those that are there.
    fn lay_all(&mut self, over: &Node) {
        let sections = over.entries().iter().filter(|(key, _)| SECTIONS.contains(&key.text.as_str()));
        sections.for_each(|(section, over)| self.lay(section, over));
    }

    fn lay(&mut self, section: &Key, over: &Node) {
        if section.text == "stages" {
            return self.stages.lay(over, self.found);
        }
        if self.root.get(&section.text).is_none() {
            put(&mut self.root, section, &Node::new(Value::Map(Vec::new()), over.place));
        }
        let Some(base) = self.root.get_mut(&section.text) else { return };
        if base.value == Value::Null {
            base.value = Value::Map(Vec::new());
        }
        for (key, value) in over.entries() {
            // Null is a value here: a variable that is nothing, an environment variable without default.
            match base.get_mut(&key.text) {
                Some(old) => overlay(old, value),
                None => put(base, key, value),
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
        let stages;
        let mut node = if parts[0] == "stages" {
            stages = self.stages.whole(&mut Vec::new()).stages;
            &stages
        } else {
            self.root.get(parts[0]).unwrap_or(&none)
        };
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

/// The profiles of a manifest and of those that it extends, in the order in which they appear.
pub(super) struct Profiles<'f> {
    all: Vec<Profile<'f>>,
    /// Where profiles are written, or would be.
    place: Place,
}

/// What the manifests say of a profile, with the generation of each, 0 for the oldest.
struct Profile<'f> {
    name: &'f str,
    parts: Vec<(usize, &'f Node)>,
}

impl<'f> Profiles<'f> {
    /// Gathers the profiles; null takes out one that is inherited.
    pub(super) fn read(family: &'f Family, found: &mut Vec<Problem>) -> Self {
        let written = family.oldest_first().rev().find_map(|root| root.get("profiles"));
        let mut profiles = Self { all: Vec::new(), place: written.unwrap_or(family.root()).place };
        let sections = family.oldest_first().enumerate().filter_map(|(at, root)| Some((at, root.get("profiles")?)));
        for (_, section) in sections.clone() {
            if !matches!(section.value, Value::Null | Value::Map(_)) {
                let message = format!("`profiles` is {}, expected a mapping", section.describe());
                found.push(Problem::new(section.place, message));
            }
        }
        for (generation, (name, node)) in
            sections.clone().flat_map(|(at, all)| all.entries().iter().map(move |one| (at, one)))
        {
            profiles.add(generation, &name.text, node);
        }
        for (name, node) in sections.flat_map(|(_, section)| section.entries()) {
            profiles.check(name, node, found);
        }
        profiles
    }

    /// The names, the default first.
    pub(super) fn names(&self) -> impl Iterator<Item = &'f str> + Clone {
        self.all.iter().map(|profile| profile.name)
    }

    /// What is said of profiles, in all manifests.
    pub(super) fn parts(&self) -> impl Iterator<Item = &'f Node> {
        self.all.iter().flat_map(|profile| profile.parts.iter().map(|(_, part)| *part))
    }

    fn add(&mut self, generation: usize, name: &'f str, node: &'f Node) {
        match self.all.iter().position(|profile| profile.name == name) {
            Some(at) if node.value == Value::Null => drop(self.all.remove(at)),
            Some(at) => self.all[at].parts.push((generation, node)),
            None => self.all.push(Profile { name, parts: vec![(generation, node)] }),
        }
    }

    fn get(&self, name: &str) -> Option<&Profile<'f>> {
        self.all.iter().find(|profile| profile.name == name)
    }

    /// What the manifest of a generation says of a profile.
    fn part(&self, name: &str, generation: usize) -> Option<&'f Node> {
        self.get(name)?.parts.iter().find(|(of, _)| *of == generation).map(|(_, node)| *node)
    }

    /// The profiles that are meant by what was asked, and those that they are like, in the order in which they apply.
    fn asked(&self, asked: Option<&str>, found: &mut Vec<Problem>) -> (Option<String>, Vec<&'f str>) {
        let Some(asked) = asked.or(self.names().next()) else { return (None, Vec::new()) };
        // A name that is there is meant, whatever commas it has.
        let names = if self.get(asked).is_some() { vec![asked] } else { asked.split(',').map(str::trim).collect() };
        let mut order = Vec::new();
        for name in names {
            let Some(chain) = self.chain(name, found) else { return (None, Vec::new()) };
            order.extend(chain.into_iter().rev());
        }
        (Some(asked.to_owned()), order)
    }

    fn check(&self, name: &Key, profile: &Node, found: &mut Vec<Problem>) {
        if !matches!(profile.value, Value::Null | Value::Map(_)) {
            let message = format!("profile `{}` is {}, expected a mapping", name.text, profile.describe());
            return found.push(Problem::new(profile.place, message));
        }
        for (key, value) in profile.entries() {
            let known = SECTIONS.into_iter().chain(["like"]);
            let message = match (key.text.as_str(), &value.value) {
                ("like", Value::Text(like)) if self.get(like).is_some() => continue,
                ("like", Value::Text(like)) => self.no_profile(like),
                ("like", _) => format!("`like` is {}, expected the name of a profile", value.describe()),
                (section, Value::Null | Value::Map(_)) if SECTIONS.contains(&section) => continue,
                (section, _) if SECTIONS.contains(&section) => {
                    format!("`{section}` is {}, expected a mapping", value.describe())
                }
                (other, _) => {
                    let hint = suggestion(other, known);
                    found.push(Problem::new(key.place, format!("unknown key `{other}` of a profile{hint}")));
                    continue;
                }
            };
            found.push(Problem::new(value.place, message));
        }
    }

    /// A profile and those that it is like, one after the other.
    fn chain(&self, name: &str, found: &mut Vec<Problem>) -> Option<Vec<&'f str>> {
        let mut names: Vec<&'f str> = vec![];
        let (mut name, mut place) = (name, self.place);
        loop {
            let Some(profile) = self.get(name) else {
                found.push(Problem::new(place, self.no_profile(name)));
                return None;
            };
            if names.contains(&profile.name) {
                let message =
                    format!("profiles refer to each other by `like` in a cycle: {} -> {name}", names.join(" -> "));
                found.push(Problem::new(place, message));
                return None;
            }
            names.push(profile.name);
            // The last manifest that says what it is like is right.
            let like = profile.parts.iter().rev().find_map(|(_, part)| part.get("like"));
            match like.and_then(|like| like.text().map(|text| (text, like.place))) {
                Some(like) => (name, place) = like,
                None => return Some(names),
            }
        }
    }

    fn no_profile(&self, name: &str) -> String {
        match self.all[..] {
            [] => format!("no profile `{}`; the manifest has none", clipped(name)),
            _ => format!("no profile `{}`{}", clipped(name), suggestion(name, self.names())),
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
