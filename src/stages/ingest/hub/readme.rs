//! What the `README.md` of a data set says between its first two lines of `---`: its configs, and the names of its labels.

use crate::data::MOST_NAMES;
use crate::engine::manifest::node::{Node, Value, parse};
use std::collections::BTreeMap;

/// The front matter of a `README.md`.
#[derive(Debug)]
pub(super) struct Readme(Node);

/// A config as the front matter lists it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Config {
    pub(super) name: String,
    /// Whether it is meant where nobody names one.
    pub(super) is_default: bool,
    /// Where its files are, if not everywhere.
    pub(super) folder: Option<String>,
    /// Its splits in their order, with the patterns of their files; `None` if their names tell.
    pub(super) splits: Option<Vec<(String, Vec<String>)>>,
}

/// Bytes of a front matter that are read.
const LONGEST: usize = 4 << 20;
/// The name of a config that has none.
pub(super) const DEFAULT: &str = "default";

impl Readme {
    /// Reads the front matter, if there is one.
    ///
    /// # Errors
    /// What is wrong with it, and in which line.
    pub(super) fn parse(bytes: &[u8]) -> Result<Option<Self>, String> {
        let Some(front) = front_matter(bytes) else { return Ok(None) };
        if front.len() > LONGEST {
            return Err(format!("front matter is {} bytes long, expected at most {LONGEST}", front.len()));
        }
        let text = std::str::from_utf8(front).map_err(|error| error.to_string())?;
        let node = parse(text).map_err(|problems| match problems.first() {
            // The line of `---` is before it.
            Some(problem) => format!("line {}: {}", problem.place.line + 1, problem.message),
            None => "its front matter is not YAML".to_owned(),
        })?;
        Ok(Some(Self(node)))
    }

    /// The configs, in their order; none if there is no list of them.
    ///
    /// # Errors
    /// What is wrong with one.
    pub(super) fn configs(&self) -> Result<Vec<Config>, String> {
        let Some(configs) = self.0.get("configs") else { return Ok(Vec::new()) };
        let Value::List(items) = &configs.value else {
            return Err(expected("configs", "a list", configs));
        };
        items.iter().map(config).collect()
    }

    /// The names of the numbers in a column, as `dataset_info` has them of a config.
    ///
    /// # Errors
    /// If they are not what `datasets` writes.
    pub(super) fn class_names(&self, config: &str, column: &str) -> Result<Option<Vec<String>>, String> {
        let Some(info) = self.0.get("dataset_info") else { return Ok(None) };
        let of_config = |info: &&Node| info.get("config_name").is_none_or(|name| name.text() == Some(config));
        let info = match &info.value {
            // Files that are named by patterns are of no config.
            Value::List(infos) if infos.len() == 1 && config == DEFAULT => infos.first(),
            Value::List(infos) => infos.iter().find(of_config),
            _ => Some(info).filter(|info| config == DEFAULT || of_config(info)),
        };
        let features = info.and_then(|info| info.get("features"));
        let Some(Node { value: Value::List(features), .. }) = features else { return Ok(None) };
        let feature = features.iter().find(|feature| feature.get("name").and_then(Node::text) == Some(column));
        let label = feature.and_then(|feature| feature.get("dtype")?.get("class_label"));
        label.map(|label| names_of(label.get("names").unwrap_or(label))).transpose()
    }
}

/// The lines between the first, which is `---`, and the next of that kind.
fn front_matter(bytes: &[u8]) -> Option<&[u8]> {
    let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let text = text.strip_prefix(b"---\n").or_else(|| text.strip_prefix(b"---\r\n"))?;
    let mut end = 0;
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        if line.trim_ascii_end() == b"---" {
            return Some(&text[..end]);
        }
        end += line.len();
    }
    None
}

fn expected(field: &str, expected: &str, found: &Node) -> String {
    format!("line {}: `{field}` is {}, expected {expected}", found.place.line + 1, found.describe())
}

fn config(node: &Node) -> Result<Config, String> {
    let name = match node.get("config_name") {
        Some(name) => word("config_name", name)?,
        None => DEFAULT.to_owned(),
    };
    let is_default = node.get("default").is_some_and(|flag| flag.value == Value::Bool(true));
    let folder = node.get("data_dir").map(|folder| word("data_dir", folder)).transpose()?;
    let splits = node.get("data_files").map(splits).transpose()?;
    Ok(Config { name, is_default, folder, splits })
}

/// `data_files`: patterns of one split, a list of splits with their `path`, or a mapping of them.
fn splits(node: &Node) -> Result<Vec<(String, Vec<String>)>, String> {
    let one_split = |patterns: Vec<String>| Ok(vec![("train".to_owned(), patterns)]);
    match &node.value {
        Value::Map(entries) => {
            entries.iter().map(|(split, paths)| Ok((split.text.clone(), patterns(paths)?))).collect()
        }
        Value::List(items) if items.iter().any(|item| item.text().is_none()) => items.iter().map(split).collect(),
        _ => one_split(patterns(node)?),
    }
}

fn split(node: &Node) -> Result<(String, Vec<String>), String> {
    match (node.get("split"), node.get("path")) {
        (Some(split), Some(path)) => Ok((word("split", split)?, patterns(path)?)),
        _ => Err(expected("data_files", "splits with a `path`", node)),
    }
}

fn patterns(node: &Node) -> Result<Vec<String>, String> {
    match &node.value {
        Value::List(items) => items.iter().map(|item| word("path", item)).collect(),
        _ => Ok(vec![word("path", node)?]),
    }
}

/// A text. What is a number or a truth value in YAML may have been written otherwise.
fn word(field: &str, node: &Node) -> Result<String, String> {
    node.text().map(str::to_owned).ok_or_else(|| expected(field, "a text", node))
}

/// Names as a list, or under their numbers.
fn names_of(node: &Node) -> Result<Vec<String>, String> {
    let name = |node: &Node| word("names", node);
    let names = match &node.value {
        Value::List(items) => items.iter().map(name).collect::<Result<Vec<_>, _>>()?,
        Value::Map(entries) => {
            let number =
                |text: &str| text.parse::<usize>().map_err(|_| expected("names", "names under their numbers", node));
            let named = entries.iter().map(|(key, value)| Ok((number(&key.text)?, name(value)?)));
            let named: BTreeMap<usize, String> = named.collect::<Result<_, String>>()?;
            if named.keys().copied().ne(0..entries.len()) {
                return Err(expected(
                    "names",
                    &format!("the numbers from 0 to {}", entries.len().saturating_sub(1)),
                    node,
                ));
            }
            named.into_values().collect()
        }
        _ => return Err(expected("names", "names under their numbers", node)),
    };
    if names.len() > MOST_NAMES {
        return Err(expected("names", &format!("at most {MOST_NAMES} names"), node));
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn readme(front: &str) -> Readme {
        Readme::parse(format!("---\n{front}---\n# A data set\n---\n").as_bytes()).unwrap().unwrap()
    }

    #[test]
    fn configs_are_read_in_every_form() {
        let front = "license: other\nconfigs:\n- config_name: rte\n  default: true\n  data_files:\n  - split: train\n    path: rte/train-*\n  \
                     - split: test\n    path:\n    - rte/a.csv\n    - rte/b.csv\n- config_name: all\n  data_files: \"*.csv\"\n- config_name: \
                     some\n  data_dir: part\n- data_files: {train: x.json}\n";
        let configs = readme(front).configs().unwrap();
        let pattern =
            |split: &str, patterns: &[&str]| (split.to_owned(), patterns.iter().map(|p| (*p).to_owned()).collect());
        let rte = vec![pattern("train", &["rte/train-*"]), pattern("test", &["rte/a.csv", "rte/b.csv"])];
        assert_eq!(configs.iter().map(|config| &*config.name).collect::<Vec<_>>(), ["rte", "all", "some", "default"]);
        assert_eq!((configs[0].is_default, configs[0].splits.as_ref().unwrap()), (true, &rte));
        assert_eq!(configs[1].splits, Some(vec![pattern("train", &["*.csv"])]));
        assert_eq!((configs[2].folder.as_deref(), &configs[2].splits), (Some("part"), &None));
        assert_eq!(configs[3].splits, Some(vec![pattern("train", &["x.json"])]));
    }

    #[test]
    fn what_is_no_front_matter_is_passed_over() {
        for text in ["", "# Title\n---\na: 1\n---\n", "---\na: 1\n", "--- \na: 1\n---\n"] {
            assert!(Readme::parse(text.as_bytes()).unwrap().is_none(), "{text}");
        }
        let windows = Readme::parse(b"\xef\xbb\xbf---\r\nconfigs:\r\n- config_name: a\r\n---\r\n").unwrap().unwrap();
        assert_eq!(windows.configs().unwrap()[0].name, "a");
        assert_eq!(readme("license: mit\n").configs().unwrap(), []);
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line() {
        let told = |front: &str| readme(front).configs().unwrap_err();
        assert_eq!(told("configs: 3\n"), "line 2: `configs` is the number 3, expected a list");
        assert_eq!(told("configs:\n- config_name: 2.0\n"), "line 3: `config_name` is the number 2.0, expected a text");
        assert!(told("configs:\n- data_files:\n  - split: a\n").starts_with("line 4: `data_files` is a mapping"));
        let broken = Readme::parse(b"---\na: [1\n---\n").unwrap_err();
        assert!(broken.starts_with("line ") && broken.contains("not YAML"), "{broken}");
        let deep = format!("---\na: {}{}\n---\n", "[".repeat(200), "]".repeat(200));
        let deep = Readme::parse(deep.as_bytes()).unwrap_err();
        assert!(deep.contains("nested deeper"), "{deep}");
        let long = format!("---\na: {}\n---\n", "x".repeat(LONGEST));
        assert!(Readme::parse(long.as_bytes()).unwrap_err().contains("bytes long"));
    }

    #[test]
    fn names_of_labels_are_found_by_config_and_column() {
        let names =
            "dtype:\n      class_label:\n        names:\n          '0': entailment\n          '1': not_entailment\n";
        let front = format!(
            "dataset_info:\n- config_name: rte\n  features:\n  - name: text\n    dtype: string\n  - name: label\n    {names}\
             - config_name: x\n  features: []\n"
        );
        let readme_of = readme(&front);
        let found = |config: &str, column: &str| readme_of.class_names(config, column).unwrap();
        assert_eq!(found("rte", "label").unwrap(), ["entailment", "not_entailment"]);
        assert_eq!(
            [found("rte", "text"), found("rte", "other"), found("x", "label"), found("y", "label")],
            [None, None, None, None]
        );
        let single = "dataset_info:\n  features:\n  - name: y\n    dtype: {class_label: {names: [a, b]}}\n";
        assert_eq!(readme(single).class_names("any", "y").unwrap().unwrap(), ["a", "b"]);
        let told = |names: &str| {
            let front =
                format!("dataset_info:\n  features:\n  - name: y\n    dtype: {{class_label: {{names: {names}}}}}\n");
            readme(&front).class_names("any", "y").unwrap_err()
        };
        assert!(told("{'0': a, '2': b}").contains("expected the numbers from 0 to 1"));
        assert!(told("{'0': a, x: b}").contains("expected names under their numbers"));
        assert!(told("{'0': true, '1': b}").contains("`names` is `true`, expected a text"));
        assert!(told("3").contains("expected names under their numbers"));
    }
}
