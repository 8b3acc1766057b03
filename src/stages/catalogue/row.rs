//! A row of the catalogue: what a task's data are, how they become examples, and where each of that is known from.

use crate::engine::manifest::node::{self, Key, Node, Value, overlay};
use crate::engine::manifest::problem::{Place, Problem, suggestion};
use crate::engine::manifest::read_value;
use crate::ml::tasks::{self, Metric, Split};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A task as a file describes it. Beside these fields a file has those of `from: {table: …}` but for the files: `template`, `label`,
/// `labels`, `choices`, `metrics` and so on.
#[derive(Clone, Debug)]
pub struct Row {
    /// Its name, which is that of its file.
    pub name: String,
    /// What it is, in a sentence.
    pub about: Option<String>,
    /// Its parts in the paper.
    pub roles: Vec<Role>,
    /// Where the hub has it.
    pub hub: Option<Hub>,
    /// The reader of the benchmark's own files, if there is one: `superglue/rte`.
    pub format: Option<String>,
    /// Examples of its splits.
    pub rows: Counts,
    /// The licence of its data, as their authors state it.
    pub licence: Option<String>,
    /// Whose template it has.
    pub template_from: Option<Origin>,
    /// What is not known for certain, and so left out.
    pub unverified: Vec<String>,
    /// What to know before using it.
    pub notes: Vec<String>,
    /// Why its data cannot be read, if that is so.
    pub later: Option<Later>,
    /// All of the file.
    node: Node,
    /// The file, for messages.
    path: String,
}

/// What of a file is no field of a table.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "some are read as they are written, and are here so that they are checked")]
struct Head {
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    about: Option<String>,
    #[serde(default)]
    roles: Vec<Role>,
    #[serde(default)]
    hub: Option<Hub>,
    #[serde(default)]
    files: Option<BTreeMap<Split, serde_json::Value>>,
    #[serde(default)]
    format: Option<String>,
    #[serde(default)]
    text: Option<serde_json::Value>,
    #[serde(default)]
    rows: Counts,
    #[serde(default)]
    licence: Option<String>,
    #[serde(default)]
    template_from: Option<Origin>,
    #[serde(default)]
    unverified: Vec<String>,
    #[serde(default)]
    notes: Vec<String>,
    #[serde(default)]
    later: Option<Later>,
    #[serde(default)]
    example: Option<serde_json::Value>,
    #[serde(default)]
    variants: Option<BTreeMap<String, serde_json::Value>>,
}

/// The keys of [`Head`].
const HEAD: [&str; 15] = [
    "name",
    "about",
    "roles",
    "hub",
    "files",
    "format",
    "text",
    "rows",
    "licence",
    "template_from",
    "unverified",
    "notes",
    "later",
    "example",
    "variants",
];

/// A data set of the hub.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hub {
    /// Its name: `aps/super_glue`.
    pub dataset: String,
    /// One of its configurations.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<String>,
    /// What it calls the splits.
    pub splits: BTreeMap<Split, String>,
    /// The state of the repository.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
}

/// A part in the paper: of the study of section 3, or a mixture of section 2.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// One of the 16 sources.
    Source,
    /// One of the 10 targets.
    Target,
    /// Of the mixture GLUE.
    Glue,
    /// Of the mixture SuperGLUE.
    Superglue,
    /// Of the mixture of natural language inference.
    Nli,
    /// Of the mixture of paraphrase and similarity.
    Paraphrase,
    /// Of the mixture of sentiment.
    Sentiment,
    /// Of the mixture MRQA.
    Mrqa,
    /// Of the mixture RAINBOW.
    Rainbow,
    /// Of the mixture of translation.
    Translation,
    /// Of the mixture of summarisation.
    Summarization,
    /// Of the mixture GEM.
    Gem,
}

/// Numbers of examples.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Counts {
    /// For training.
    #[serde(default)]
    pub train: Option<u64>,
    /// For the choice of checkpoints.
    #[serde(default)]
    pub validation: Option<u64>,
    /// Held out.
    #[serde(default)]
    pub test: Option<u64>,
}

/// Where a template is from, and where it stands there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// The paper's code.
    Spot(String),
    /// T5's code.
    T5(String),
    /// Neither of them has one; why it is as it is.
    Ours(String),
}

/// Files that no reader understands yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Later {
    /// Their names, as they are published.
    pub files: Vec<String>,
    /// What keeps them from being read.
    pub because: String,
}

impl Role {
    /// The name used in files and lists.
    pub fn name(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Target => "target",
            Self::Glue => "glue",
            Self::Superglue => "superglue",
            Self::Nli => "nli",
            Self::Paraphrase => "paraphrase",
            Self::Sentiment => "sentiment",
            Self::Mrqa => "mrqa",
            Self::Rainbow => "rainbow",
            Self::Translation => "translation",
            Self::Summarization => "summarization",
            Self::Gem => "gem",
        }
    }
}

/// Whether a text can name a task, and so a file.
pub(super) fn is_name(text: &str) -> bool {
    !text.is_empty() && text.len() <= 100 && text.chars().all(|c| c.is_alphanumeric() || matches!(c, '-' | '_'))
}

impl Row {
    /// Reads the file of a task.
    ///
    /// # Errors
    /// What is wrong with it first, after its path and place.
    pub(super) fn read(name: &str, path: &str, text: &str) -> Result<Self, String> {
        let node = node::parse(text).map_err(|problems| told(path, &problems[0]))?;
        Self::of(name, path, node).map_err(|problem| told(path, &problem))
    }

    fn of(stem: &str, path: &str, node: Node) -> Result<Self, Problem> {
        if !matches!(node.value, Value::Map(_)) {
            let message = format!("a task is a mapping with `template` and `label`, but this is {}", node.describe());
            return Err(Problem::new(node.place, message));
        }
        let (head, _) = parted(&node);
        let head: Head = read_value(&head)?;
        let row = Self {
            name: stem.to_owned(),
            about: head.about,
            roles: head.roles,
            hub: head.hub,
            format: head.format,
            rows: head.rows,
            licence: head.licence,
            template_from: head.template_from,
            unverified: head.unverified,
            notes: head.notes,
            later: head.later,
            node,
            path: path.to_owned(),
        };
        row.check(head.name.as_deref())?;
        Ok(row)
    }

    /// Whether its fields fit each other.
    fn check(&self, name: Option<&str>) -> Result<(), Problem> {
        let wrong = |field: &str, message: String| Err(Problem::new(self.node.at(field).place, message));
        if let Some(name) = name.filter(|name| *name != self.name) {
            return wrong(
                "name",
                format!("`name` is `{}`, expected `{}`, as the file is called", name.escape_debug(), self.name),
            );
        }
        if let Some(format) = self.format.as_ref().filter(|format| tasks::task(format).is_none()) {
            let known: Vec<&str> = tasks::formats().collect();
            return wrong(
                "format",
                format!("no data set format `{format}`{}", suggestion(format, known.iter().copied())),
            );
        }
        let ways = ["template", "text", "later"].map(|way| self.node.get(way).is_some());
        match ways.into_iter().filter(|way| *way).count() {
            0 if self.format.is_none() => {
                wrong("", "neither `template` nor `format`, so it does not say how rows become examples".to_owned())
            }
            0 | 1 => Ok(()),
            _ => wrong("", "has several of `template`, `text` and `later`; leave all but one out".to_owned()),
        }
    }

    /// The row as if all of it stood at one place.
    pub(super) fn at_place(&self, place: Place) -> Self {
        Self { node: self.node.clone().at_place(place), ..self.clone() }
    }

    /// The names of its variants.
    pub fn variants(&self) -> impl Iterator<Item = &str> {
        self.node.get("variants").map_or(&[][..], Node::entries).iter().map(|(key, _)| key.text.as_str())
    }

    /// The row with what a variant of it says laid over it.
    ///
    /// # Errors
    /// If there is no such variant, or it makes no row.
    pub fn variant(&self, name: &str) -> Result<Self, String> {
        let Some(over) = self.node.get("variants").and_then(|variants| variants.get(name)) else {
            let hint = match self.variants().next() {
                None => "; it has none".to_owned(),
                Some(_) => suggestion(name, self.variants().collect::<Vec<_>>().iter().copied()),
            };
            return Err(format!("`{}` has no variant `{}`{hint}", self.name, name.escape_debug()));
        };
        let mut node = self.node.clone();
        if let Value::Map(entries) = &mut node.value {
            // These are wholes: others take their place.
            let replaced = |name: &str| ["example", "template_from"].contains(&name) && over.get(name).is_some();
            entries.retain(|(key, _)| key.text != "variants" && !replaced(&key.text));
        }
        overlay(&mut node, over);
        Self::of(&self.name, &self.path, node).map_err(|problem| told(&self.path, &problem))
    }

    /// Whether a template makes examples of its rows.
    pub fn has_template(&self) -> bool {
        self.node.get("template").is_some()
    }

    /// Whether it is text to be continued.
    pub(super) fn is_text(&self) -> bool {
        self.node.get("text").is_some()
    }

    /// The metrics that it names, or that its format has.
    pub fn metrics(&self) -> Vec<Metric> {
        let named = self.node.get("metrics").and_then(|metrics| read_value(metrics).ok());
        let of_format = || Some(tasks::task(self.format.as_ref()?)?.metrics);
        named.or_else(of_format).unwrap_or_default()
    }

    /// A value of a field as it is written, for people.
    pub fn field(&self, name: &str) -> Option<serde_json::Value> {
        read_value(self.node.get(name)?).ok()
    }

    /// A row of the data, in the form of the hub, or of the benchmark's own files if only these can be read.
    pub fn example(&self) -> Option<serde_json::Value> {
        self.field("example")
    }

    /// A file that the row itself names for a split.
    pub(super) fn file(&self, split: Split) -> Option<&Node> {
        self.node.get("files")?.get(split.name())
    }

    /// What is wrong with a field, with the file and the place in it.
    pub(crate) fn wrong(&self, field: &str, message: &str) -> String {
        told(&self.path, &Problem::new(self.node.at(field).place, message))
    }

    /// A problem in the file.
    pub(crate) fn told(&self, problem: &Problem) -> String {
        told(&self.path, problem)
    }

    /// The row without a field.
    #[cfg(test)]
    pub(super) fn without(&self, field: &str) -> Self {
        let entries = self.node.entries().iter().filter(|(key, _)| key.text != field).cloned().collect();
        Self { node: Node::new(Value::Map(entries), self.node.place), ..self.clone() }
    }

    /// `{table: …}` over such files.
    pub(super) fn as_table(&self, files: Vec<(Key, Node)>) -> Node {
        self.with_fields("table", files)
    }

    /// `{hub: …}`.
    pub(super) fn as_hub(&self) -> Option<Node> {
        Some(self.with_fields("hub", self.node.get("hub")?.entries().to_vec()))
    }

    fn with_fields(&self, source: &str, mut entries: Vec<(Key, Node)>) -> Node {
        let (_, fields) = parted(&self.node);
        entries.push(self.entry("name", &self.name));
        entries.extend(fields);
        self.one(source, entries)
    }

    /// `{files: …}` by the reader of the benchmark's own files.
    pub(super) fn as_format(&self, files: Vec<(Key, Node)>) -> Option<Node> {
        let format = self.format.as_ref()?;
        let mut entries = vec![self.entry("format", format)];
        if tasks::task(format).is_some_and(|task| task.name != self.name) {
            entries.push(self.entry("name", &self.name));
        }
        entries.extend(files);
        Some(self.one("files", entries))
    }

    /// `{text: …}` of such files.
    pub(super) fn as_text(&self, files: Vec<Node>) -> Option<Node> {
        let mut entries = self.node.get("text")?.entries().to_vec();
        entries.push((self.key("files"), Node::new(Value::List(files), self.node.place)));
        entries.push(self.entry("name", &self.name));
        Some(self.one("text", entries))
    }

    /// `{later: …}`: a stage that is blocked, and says why.
    pub(super) fn as_later(&self, later: &Later) -> Node {
        let text = |text: &String| Node::new(Value::Text(text.clone()), self.node.place);
        let files = Node::new(Value::List(later.files.iter().map(text).collect()), self.node.place);
        let entries =
            vec![self.entry("name", &self.name), (self.key("files"), files), self.entry("because", &later.because)];
        self.one("later", entries)
    }

    fn one(&self, key: &str, entries: Vec<(Key, Node)>) -> Node {
        let inner = Node::new(Value::Map(entries), self.node.place);
        Node::new(Value::Map(vec![(self.key(key), inner)]), self.node.place)
    }

    fn entry(&self, key: &str, text: &str) -> (Key, Node) {
        (self.key(key), Node::new(Value::Text(text.to_owned()), self.node.place))
    }

    pub(super) fn key(&self, text: &str) -> Key {
        Key { text: text.to_owned(), place: self.node.place }
    }

    /// The row over a file that stands for any: for looking at the row alone.
    pub(crate) fn alone(&self) -> Node {
        let has = |field: &str| self.node.get(field).is_some();
        let name = match (has("quotes"), has("columns")) {
            (true, _) => "rows.tsv",
            (false, true) => "rows.csv",
            (false, false) => "rows.jsonl",
        };
        self.as_table(vec![self.entry("train", name)])
    }
}

/// The head of a file, and the fields of a table.
fn parted(node: &Node) -> (Node, Vec<(Key, Node)>) {
    let is_head = |(key, _): &&(Key, Node)| HEAD.contains(&key.text.as_str());
    let head = node.entries().iter().filter(is_head).cloned().collect();
    let fields = node.entries().iter().filter(|entry| !is_head(entry)).cloned().collect();
    (Node::new(Value::Map(head), node.place), fields)
}

fn told(path: &str, problem: &Problem) -> String {
    let Place { line, column, .. } = problem.place;
    format!("{path}:{line}:{column}: {}", problem.message)
}

impl Counts {
    /// Of a split.
    pub fn of(&self, split: Split) -> Option<u64> {
        match split {
            Split::Train => self.train,
            Split::Validation => self.validation,
            Split::Test => self.test,
        }
    }
}
