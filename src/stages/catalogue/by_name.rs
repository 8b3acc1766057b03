//! `from: {task: …}`: a name in the place of what the catalogue says.

use super::row::{Later, Row};
use super::{Of, find};
use crate::data::Layout;
use crate::engine::files_input::FilesInput;
use crate::engine::library::Library;
use crate::engine::manifest::node::{Key, Node, Value};
use crate::engine::manifest::read_value;
use crate::engine::stage::Issue;
use crate::ml::tasks::Split;
use schemars::JsonSchema;
use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::borrow::Cow;
use std::fmt;

/// A task of the catalogue: its name, or its name with what is to be different.
#[derive(Clone, Debug)]
pub(in crate::stages) struct ByName(Asked);

#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Asked {
    /// Its name: `rte`. `spot tasks` lists them.
    name: String,
    /// Whose it is, where the program and the project have one of this name.
    #[serde(default)]
    of: Option<Of>,
    /// One of its variants: `spot` where the paper's public code differs from T5's.
    #[serde(default)]
    variant: Option<String>,
    /// Training rows, if they are not to be fetched: the benchmark's own files, or tables with the columns that the hub has.
    #[serde(default)]
    train: Option<FilesInput>,
    /// Rows on which checkpoints are chosen.
    #[serde(default)]
    validation: Option<FilesInput>,
    /// Held-out rows.
    #[serde(default)]
    test: Option<FilesInput>,
}

/// Files of a split: what they are, and how they were named.
struct Given<'n> {
    split: Split,
    files: FilesInput,
    node: &'n Node,
}

impl ByName {
    /// The task's name.
    pub(in crate::stages) fn name(&self) -> &str {
        &self.0.name
    }

    /// The row that is meant.
    ///
    /// # Errors
    /// As [`find`], or if it has no such variant; what is to be put behind the name of the field.
    pub(in crate::stages) fn row(&self, library: &Library) -> Result<Row, (&'static str, String)> {
        let entry = find(library, &self.0.name, self.0.of).map_err(|message| ("", message))?;
        match &self.0.variant {
            Some(name) => entry.row.variant(name).map_err(|message| (".variant", message)),
            None => Ok(entry.row),
        }
    }

    /// What the name stands for: the value of `from` that says the same. `task` is what the manifest has.
    ///
    /// # Errors
    /// What is missing, or contradicts the row.
    pub(in crate::stages) fn written_out(&self, row: &Row, task: &Node) -> Result<Node, Issue> {
        let issue = |field: &str, message: String| {
            let field = if field.is_empty() { "from.task".to_owned() } else { format!("from.task.{field}") };
            Issue::new(field, message)
        };
        // What the row says stands where the name is.
        let row = &row.at_place(task.place);
        if let Some(later) = &row.later {
            return Ok(row.as_later(later));
        }
        let given = self.given(row, task);
        if let Some(first) = given.first().filter(|first| first.split != Split::Train) {
            let split = first.split.name();
            return Err(issue(
                split,
                "is given, but `train` is not; give the files of all splits, or of none".to_owned(),
            ));
        }
        let out = if given.is_empty() { from_hub(row) } else { from_files(row, &given) };
        out.map_err(|(field, message)| issue(field, message))
    }

    /// The files of the manifest, or else those of the row.
    fn given<'n>(&self, row: &'n Row, task: &'n Node) -> Vec<Given<'n>> {
        let asked = [&self.0.train, &self.0.validation, &self.0.test];
        let named = Split::ALL
            .into_iter()
            .zip(asked)
            .filter_map(|(split, files)| Some(Given { split, files: files.clone()?, node: task.get(split.name())? }));
        let named: Vec<Given<'_>> = named.collect();
        if !named.is_empty() {
            return named;
        }
        let own = Split::ALL.into_iter().filter_map(|split| {
            let node = row.file(split)?;
            Some(Given { split, files: read_value(node).ok()?, node })
        });
        own.collect()
    }
}

/// Why files cannot be what was asked for: the field, and a message.
type Refusal = (&'static str, String);

fn from_hub(row: &Row) -> Result<Node, Refusal> {
    let Some(hub) = row.as_hub() else {
        let message = format!(
            "names `{}`, whose data are on no hub that is known; give its files as `train` and `validation`",
            row.name
        );
        return Err(("", message));
    };
    if row.has_template() {
        return Ok(hub);
    }
    let dataset = row.hub.as_ref().map_or_else(String::new, |hub| hub.dataset.clone());
    let reader = row.format.as_deref().unwrap_or("text");
    let because = format!(
        "no template makes examples of its rows; `{reader}` reads the files of its authors, as `train` and `validation`"
    );
    Ok(row.as_later(&Later { files: vec![dataset], because }))
}

fn from_files(row: &Row, given: &[Given<'_>]) -> Result<Node, Refusal> {
    let entries =
        || given.iter().map(|given| (row.key(given.split.name()), given.node.clone())).collect::<Vec<(Key, Node)>>();
    if row.is_text() {
        let train = given.iter().filter(|given| given.split == Split::Train);
        let nodes = train.flat_map(|given| match &given.node.value {
            Value::List(files) => files.clone(),
            _ => vec![given.node.clone()],
        });
        return row.as_text(nodes.collect()).ok_or_else(|| ("", "is text".to_owned()));
    }
    let Some(format) = &row.format else { return Ok(row.as_table(entries())) };
    let columnar = |given: &Given<'_>| given.files.names().any(is_columnar);
    let (tables, own): (Vec<&Given<'_>>, Vec<&Given<'_>>) = given.iter().partition(|given| columnar(given));
    match (&tables[..], &own[..]) {
        (_, []) if row.has_template() => Ok(row.as_table(entries())),
        ([], _) => match own.iter().find(|given| given.files.is_several()) {
            Some(several) => Err((
                several.split.name(),
                format!(
                    "is several files, but `{format}` reads one of each split as its authors publish it; give one, or Parquet files"
                ),
            )),
            None => row.as_format(entries()).ok_or_else(|| ("", "has no format".to_owned())),
        },
        ([table, ..], []) => {
            Err((table.split.name(), format!("is a table, but `{format}` reads only the files of its authors")))
        }
        ([table, ..], [own, ..]) => Err((
            own.split.name(),
            format!(
                "is `{}`, a file as its authors publish it, but `{}` is `{}`, a table as the hub has it; give all splits in one form",
                own.files,
                table.split.name(),
                table.files
            ),
        )),
    }
}

fn is_columnar(name: &str) -> bool {
    matches!(Layout::of(name), Some(Layout::Parquet | Layout::Arrow))
}

impl Serialize for ByName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.name.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for ByName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NameOrMore;
        impl<'de> Visitor<'de> for NameOrMore {
            type Value = ByName;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the name of a task, or a mapping with `name` and files: `{name: rte, train: FILE, validation: FILE}`")
            }

            fn visit_str<E: serde::de::Error>(self, name: &str) -> Result<ByName, E> {
                Ok(ByName(Asked { name: name.to_owned(), ..Asked::default() }))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<ByName, A::Error> {
                Asked::deserialize(MapAccessDeserializer::new(map)).map(ByName)
            }
        }
        deserializer.deserialize_any(NameOrMore)
    }
}

impl JsonSchema for ByName {
    fn schema_name() -> Cow<'static, str> {
        "Task by name".into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "description": "A task of the catalogue, which `spot tasks` lists, or of a file `tasks/NAME.yaml` of the project: its name, or a \
                            mapping with its name and files.",
            "anyOf": [{"type": "string"}, generator.subschema_for::<Asked>()],
        })
    }
}
