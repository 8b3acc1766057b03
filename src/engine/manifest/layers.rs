//! The stages of a manifest as what is said of them, one layer over the other, and which of them are like others.

use super::node::{Key, LARGEST, Node, Value, overlay};
use super::problem::{Place, Problem, clipped, suggestion};
use std::collections::BTreeSet;

/// Stages before they are read.
#[derive(Default)]
pub(super) struct Layers {
    stages: Vec<Layered>,
}

/// What is said of a stage.
struct Layered {
    key: Key,
    /// The first defines it, the others change it.
    layers: Vec<Node>,
    /// Whether it was set to null. What is like it still takes its words from it.
    removed: bool,
}

/// Stages that say all of themselves.
pub(super) struct Whole {
    /// A mapping of them, without those that were removed.
    pub(super) stages: Node,
    /// Those that are like something which is not there.
    pub(super) broken: BTreeSet<String>,
}

/// The field that names the stage from which another starts.
const LIKE: &str = "like";
/// How far `like` may lead.
const LONGEST_CHAIN: usize = 32;

impl Layers {
    /// The stages that a section defines.
    pub(super) fn of(section: Option<&Node>) -> Self {
        let entries = section.map_or(&[][..], Node::entries);
        Self { stages: entries.iter().map(|(key, node)| Layered::new(key, node)).collect() }
    }

    /// Lays a section over the stages: one that is null is removed, and changes of one that is removed say nothing.
    pub(super) fn lay(&mut self, section: &Node, found: &mut Vec<Problem>) {
        for (key, over) in section.entries() {
            let is_null = over.value == Value::Null;
            match self.stages.iter_mut().find(|stage| stage.key.text == key.text) {
                Some(stage) if is_null => stage.removed = true,
                Some(stage) if stage.removed && !defines(over) => {}
                Some(stage) if stage.removed => *stage = Layered::new(key, over),
                Some(stage) => stage.layers.push(over.clone()),
                None if is_null => found.push(Problem::new(key.place, self.none_to_remove(&key.text))),
                None => self.stages.push(Layered::new(key, over)),
            }
        }
    }

    /// The names of those that were removed.
    pub(super) fn removed(&self) -> BTreeSet<String> {
        self.stages.iter().filter(|stage| stage.removed).map(|stage| stage.key.text.clone()).collect()
    }

    /// The stages with what they are like.
    pub(super) fn whole(&self, found: &mut Vec<Problem>) -> Whole {
        let (mut entries, mut broken, mut size) = (Vec::new(), BTreeSet::new(), 0);
        for (at, Layered { key, .. }) in self.stages.iter().enumerate().filter(|(_, stage)| !stage.removed) {
            let whole = self.stage(at, &mut Vec::new());
            size += whole.as_ref().map_or(0, Node::weight);
            match whole {
                _ if size > LARGEST => {
                    let message = format!("more than {LARGEST} values after `like` is replaced");
                    found.push(Problem::new(key.place, message));
                    break;
                }
                Ok(node) => entries.push((key.clone(), node)),
                Err(problem) => {
                    broken.insert(key.text.clone());
                    found.push(problem);
                }
            }
        }
        Whole { stages: Node::new(Value::Map(entries), Place::default()), broken }
    }

    /// A stage with what it is like; `trail` are the stages that led here.
    fn stage(&self, at: usize, trail: &mut Vec<usize>) -> Result<Node, Problem> {
        let Layered { layers, .. } = &self.stages[at];
        trail.push(at);
        let (mut whole, rest) = match self.like(at) {
            Some(like) => {
                let mut other = self.stage(self.place_of(like, trail)?, trail)?;
                other.mark_used(like.place);
                other.place = layers[0].place;
                (other, &layers[..])
            }
            None => (own(&layers[0]), &layers[1..]),
        };
        rest.iter().for_each(|layer| overlay(&mut whole, &own(layer)));
        Ok(whole)
    }

    /// What a stage is like, by the last of its layers that says so.
    fn like(&self, at: usize) -> Option<&Node> {
        let said = self.stages[at].layers.iter().rev().find_map(|layer| layer.get(LIKE));
        said.filter(|like| like.value != Value::Null)
    }

    /// The stage that a `like` names.
    fn place_of(&self, like: &Node, trail: &[usize]) -> Result<usize, Problem> {
        let Some(name) = like.text() else {
            return Err(Problem::new(
                like.place,
                format!("`{LIKE}` is {}, expected the name of a stage", like.describe()),
            ));
        };
        let Some(at) = self.stages.iter().position(|stage| stage.key.text == name) else {
            let known = self.stages.iter().map(|stage| stage.key.text.as_str());
            return Err(Problem::new(like.place, format!("no stage `{}`{}", clipped(name), suggestion(name, known))));
        };
        if let Some(first) = trail.iter().position(|before| *before == at) {
            return Err(self.cycle(&trail[first..], like));
        }
        if trail.len() == LONGEST_CHAIN {
            let message = format!("`{LIKE}` leads through more than {LONGEST_CHAIN} stages");
            return Err(Problem::new(like.place, message));
        }
        Ok(at)
    }

    /// Stages that are like each other, from the first of them on, so that the cycle is told once from wherever it is entered.
    fn cycle(&self, members: &[usize], like: &Node) -> Problem {
        let mut members = members.to_vec();
        let first = members.iter().enumerate().min_by_key(|(_, stage)| **stage).map_or(0, |(place, _)| place);
        members.rotate_left(first);
        let place = members.last().and_then(|last| self.like(*last)).unwrap_or(like).place;
        let names: Vec<&str> =
            members.iter().chain(members.first()).map(|at| self.stages[*at].key.text.as_str()).collect();
        Problem::new(place, format!("stages are `{LIKE}` each other in a cycle: {}", names.join(" -> ")))
    }

    fn none_to_remove(&self, name: &str) -> String {
        let known = self.stages.iter().map(|stage| stage.key.text.as_str());
        format!("no stage `{}` that could be removed{}", clipped(name), suggestion(name, known))
    }
}

impl Layered {
    fn new(key: &Key, node: &Node) -> Self {
        Self { key: key.clone(), layers: vec![node.clone()], removed: false }
    }
}

/// Whether a stage can be made of this alone.
fn defines(layer: &Node) -> bool {
    ["kind", LIKE].into_iter().any(|key| layer.get(key).is_some())
}

/// A layer without what it is like.
fn own(layer: &Node) -> Node {
    let mut own = layer.clone();
    if let Value::Map(entries) = &mut own.value {
        entries.retain(|(key, _)| key.text != LIKE);
    }
    own
}
