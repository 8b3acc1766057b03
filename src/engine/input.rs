//! A file that a stage reads: one of the project, or one that another job makes.

use super::manifest::reference;
use super::stage::{Input, Ref, Type};
use schemars::JsonSchema;
use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::borrow::Cow;
use std::fmt;

/// A file of the project by its path, or an output of another job as `{output: stage.name}`. Serialises as nothing: its
/// content enters a recipe by digest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileInput {
    /// A path, relative to the current folder.
    Path(String),
    /// What another job makes.
    Output(Ref),
}

/// What a mapping may say.
#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Named {
    Output(Ref),
}

impl FileInput {
    /// The input that this is; an output must be of the type `of`.
    pub fn input(&self, field: impl Into<String>, of: Type) -> Input {
        match self {
            Self::Path(path) => Input::file(field, path),
            Self::Output(reference) => Input::one(field, reference, of),
        }
    }

    /// The same where an output may be named in short too, as `stage` or `stage[value]`, if a stage has that name.
    pub fn input_or_stage(&self, field: impl Into<String>, of: Type) -> Input {
        match self {
            Self::Path(path) if is_short(path) => Input::one_or_file(field, &Ref(path.clone()), of),
            Self::Path(_) | Self::Output(_) => self.input(field, of),
        }
    }

    /// The path, or the name of the output as far as the reference says it. What is read from its ending is part of a recipe,
    /// so the name of the stage is not in it.
    pub fn name(&self) -> &str {
        match self {
            Self::Path(path) => path,
            Self::Output(Ref(text)) => reference::parse(text).ok().and_then(|known| known.output).unwrap_or_default(),
        }
    }
}

/// Whether a path may be a reference: to the only output of a job, or with values in brackets. `stage.name` would be the name of
/// many a file.
fn is_short(path: &str) -> bool {
    reference::parse(path).is_ok_and(|known| known.pattern.is_some() || known.output.is_none())
}

/// For messages.
impl fmt::Display for FileInput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(text) | Self::Output(Ref(text)) => f.write_str(text),
        }
    }
}

impl Serialize for FileInput {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_unit()
    }
}

impl<'de> Deserialize<'de> for FileInput {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct PathOrOutput;
        impl<'de> Visitor<'de> for PathOrOutput {
            type Value = FileInput;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a path, or `{output: stage.name}`")
            }

            fn visit_str<E: serde::de::Error>(self, path: &str) -> Result<FileInput, E> {
                Ok(FileInput::Path(path.to_owned()))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<FileInput, A::Error> {
                let Named::Output(reference) = Named::deserialize(MapAccessDeserializer::new(map))?;
                Ok(FileInput::Output(reference))
            }
        }
        deserializer.deserialize_any(PathOrOutput)
    }
}

impl JsonSchema for FileInput {
    fn schema_name() -> Cow<'static, str> {
        "FileInput".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": ["string", "object"],
            "description": "A path within the project, or an output of another job: `{output: stage.name}`.",
            "properties": {"output": {"type": "string"}},
            "required": ["output"],
            "additionalProperties": false,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_a_path_or_the_output_of_a_reference() {
        let output = |text: &str| FileInput::Output(Ref(text.to_owned()));
        assert_eq!(FileInput::Path("a/b.c.csv".to_owned()).name(), "a/b.c.csv");
        assert_eq!(output("clean.rows.csv").name(), "rows.csv");
        assert_eq!(output("clean[a.b,0].rows.csv").name(), "rows.csv");
        assert_eq!(output("clean").name(), "");
    }
}
