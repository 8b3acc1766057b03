//! Files that together are one input of a stage: shards, in the order in which they are named.

use super::context::{Artifact, Cx};
use super::input::FileInput;
use super::stage::{Input, Pick, Type};
use anyhow::ensure;
use glob::{MatchOptions, Pattern};
use schemars::JsonSchema;
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{IntoDeserializer, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;

/// One file or several: a path, `{output: stage.name}`, a folder (`data/rte/`), a pattern (`data/train-*.parquet`), or a list of
/// these.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilesInput {
    /// What is said, in its order.
    pub said: Vec<FileInput>,
    is_list: bool,
}

/// What a path stands for.
#[derive(Debug, PartialEq, Eq)]
enum Place<'p> {
    File,
    /// All files of a folder.
    Folder(&'p str),
    /// The files of a folder whose names fit a pattern.
    Pattern(&'p str, &'p str),
}

/// Letters that stand for others in a pattern.
const WILD: [char; 2] = ['*', '?'];

impl Place<'_> {
    fn of(file: &FileInput) -> Place<'_> {
        let FileInput::Path(path) = file else { return Place::File };
        let (folder, name) = path.rsplit_once('/').map_or((".", path.as_str()), |(folder, name)| (folder, name));
        match name {
            "" => Place::Folder(path),
            name if name.contains(WILD) => Place::Pattern(if folder.is_empty() { "/" } else { folder }, name),
            _ => Place::File,
        }
    }
}

impl FilesInput {
    /// The inputs that these are: an output must be of the type `of`, and of a folder only files are read whose names `is_one`
    /// takes.
    pub fn inputs(&self, field: &str, of: Type, is_one: fn(&str) -> bool) -> Vec<Input> {
        let input = |(at, file): (usize, &FileInput)| {
            let role = self.role(field, at);
            match Place::of(file) {
                Place::File => file.input(role, of),
                Place::Folder(path) => Input::folder(role, path, Pick::by(move |names| all(names, is_one))),
                Place::Pattern(folder, pattern) => {
                    let pattern = pattern.to_owned();
                    Input::folder(role, folder, Pick::by(move |names| matching(names, &pattern)))
                }
            }
        };
        self.said.iter().enumerate().map(input).collect()
    }

    /// Looks for what stands for nothing.
    ///
    /// # Errors
    /// What is wrong, in words.
    pub fn check(&self) -> Result<(), String> {
        if self.said.is_empty() {
            return Err("is an empty list, expected at least one file".to_owned());
        }
        for file in &self.said {
            let FileInput::Path(path) = file else { continue };
            if path.rsplit_once('/').is_some_and(|(folder, _)| folder.contains(WILD)) {
                return Err(format!(
                    "is `{file}`, with a wildcard in the name of a folder; `*` and `?` stand in names of files, so name each folder in a list"
                ));
            }
        }
        Ok(())
    }

    /// The names of files as far as they are known without looking: a pattern by its own name, a folder without one.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.said.iter().map(FileInput::name)
    }

    /// Whether these may be several files.
    pub fn is_several(&self) -> bool {
        self.is_list || self.said.iter().any(|file| Place::of(file) != Place::File)
    }

    /// The files and their names, in their order.
    ///
    /// # Errors
    /// If the job has no such input, or two of them are one file.
    pub fn files<'c>(&'c self, cx: &'c Cx<'_>, field: &str) -> anyhow::Result<Vec<(String, &'c Artifact)>> {
        let mut files = Vec::new();
        for (at, file) in self.said.iter().enumerate() {
            let role = self.role(field, at);
            match Place::of(file) {
                Place::File => files.push((file.name().to_owned(), cx.one(&role)?)),
                Place::Folder(folder) | Place::Pattern(folder, _) => {
                    let named = |(name, artifact): (&str, &'c Artifact)| {
                        (format!("{}/{name}", folder.trim_end_matches('/')), artifact)
                    };
                    files.extend(cx.folder(&role).into_iter().map(named));
                }
            }
        }
        // Outputs of different jobs may have one name.
        let mut seen = HashSet::new();
        for (name, file) in &files {
            ensure!(
                seen.insert((name, file.digest)),
                "`{field}` has `{name}` twice, so that its rows would count twice; name it once"
            );
        }
        Ok(files)
    }

    fn role(&self, field: &str, at: usize) -> String {
        if self.is_list { format!("{field}[{at}]") } else { field.to_owned() }
    }
}

/// For messages.
impl fmt::Display for FilesInput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, file) in self.said.iter().enumerate() {
            f.write_str(if at == 0 { "" } else { "`, `" })?;
            write!(f, "{file}")?;
        }
        Ok(())
    }
}

/// The files of a folder that are read.
fn all(names: &[String], is_one: fn(&str) -> bool) -> Result<Vec<String>, String> {
    let chosen: Vec<String> =
        names.iter().filter(|name| !name.starts_with(['.', '_']) && is_one(name)).cloned().collect();
    if chosen.is_empty() { Err(format!("no file in it can be read; {}", found(names))) } else { complete(chosen) }
}

/// The files whose names fit a pattern.
fn matching(names: &[String], pattern: &str) -> Result<Vec<String>, String> {
    if names.iter().any(|name| name == pattern) {
        return Err(format!(
            "`{pattern}` can be read in two ways: as the file of that name, and as a pattern; rename the file"
        ));
    }
    // Brackets are letters like any other.
    let plain = |letter: char| {
        if WILD.contains(&letter) { letter.to_string() } else { Pattern::escape(letter.encode_utf8(&mut [0; 4])) }
    };
    let fits = Pattern::new(&pattern.chars().map(plain).collect::<String>()).map_err(|error| error.to_string())?;
    let options = MatchOptions { require_literal_leading_dot: true, ..MatchOptions::new() };
    let chosen: Vec<String> = names.iter().filter(|name| fits.matches_with(name, options)).cloned().collect();
    if chosen.is_empty() { Err(format!("no file is called `{pattern}`; {}", found(names))) } else { complete(chosen) }
}

fn found(names: &[String]) -> String {
    const SHOWN: usize = 5;
    let shown: Vec<String> = names.iter().take(SHOWN).map(|name| format!("`{name}`")).collect();
    match names.len() {
        0 => "it is empty".to_owned(),
        count if count > SHOWN => format!("found {} and {} more", shown.join(", "), count - SHOWN),
        _ => format!("found {}", shown.join(", ")),
    }
}

/// The names, if none of a series `name-00000-of-00005` is missing among them.
///
/// # Errors
/// Which one is missing.
pub fn complete(names: Vec<String>) -> Result<Vec<String>, String> {
    let mut series: Vec<(String, usize, Vec<usize>)> = Vec::new();
    for (rest, number, count) in names.iter().filter_map(|name| shard(name)) {
        match series.iter_mut().find(|(known, of, _)| *known == rest && *of == count) {
            Some((.., numbers)) => numbers.push(number),
            None => series.push((rest, count, vec![number])),
        }
    }
    for (rest, count, numbers) in &series {
        // Hub data sets count from 0, and some programs from 1.
        let first = usize::from(!numbers.contains(&0) && numbers.contains(count));
        if let Some(missing) = (first..first + count).find(|number| !numbers.contains(number)) {
            return Err(format!(
                "shard {missing} of {count} of `{rest}` is missing, {} are there; complete them",
                numbers.len()
            ));
        }
    }
    Ok(names)
}

/// A name with the number of its shard and their count taken out: `train-00003-of-00005.parquet`.
fn shard(name: &str) -> Option<(String, usize, usize)> {
    let (before, after) = name.split_once("-of-")?;
    let (stem, number) = before.rsplit_once(['-', '.', '_'])?;
    let end = after.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(after.len());
    let count: usize = after[..end].parse().ok().filter(|count| *count <= 1 << 20)?;
    let is_number = number.bytes().all(|byte| byte.is_ascii_digit());
    Some((format!("{stem}-*{}", without_hash(&after[end..])), number.parse().ok().filter(|_| is_number)?, count))
}

/// What follows the count of a series, without the hash of the content that data sets of a hub had there for a while:
/// `train-00000-of-00002-b42a775f407cee45.parquet`.
fn without_hash(ending: &str) -> &str {
    const DIGITS: usize = 16;
    let is_hash = |text: &str| text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let split = ending.strip_prefix('-').and_then(|rest| rest.split_at_checked(DIGITS));
    split.filter(|(hash, _)| is_hash(hash)).map_or(ending, |(_, rest)| rest)
}

impl<'de> Deserialize<'de> for FilesInput {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OneOrMore;
        impl<'de> Visitor<'de> for OneOrMore {
            type Value = FilesInput;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a path, a folder (`data/`), a pattern (`data/*.parquet`), `{output: stage.name}`, or a list of these")
            }

            fn visit_str<E: serde::de::Error>(self, path: &str) -> Result<FilesInput, E> {
                Ok(FilesInput { said: vec![FileInput::deserialize(path.into_deserializer())?], is_list: false })
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<FilesInput, A::Error> {
                let file = FileInput::deserialize(MapAccessDeserializer::new(map))?;
                Ok(FilesInput { said: vec![file], is_list: false })
            }

            fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<FilesInput, A::Error> {
                Ok(FilesInput { said: Vec::deserialize(SeqAccessDeserializer::new(items))?, is_list: true })
            }
        }
        deserializer.deserialize_any(OneOrMore)
    }
}

impl JsonSchema for FilesInput {
    fn schema_name() -> Cow<'static, str> {
        "Files of one input".into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "description": "A file, or shards: a path within the project, a folder (`data/rte/`), a pattern (`data/train-*.parquet`), an \
                            output of another job (`{output: stage.name}`), or a list of these. Shards are read in the order of the list, \
                            those of a folder in the order of their names; of a series `-00000-of-00005` none may be missing.",
            "anyOf": [
                generator.subschema_for::<FileInput>(),
                {"type": "array", "items": generator.subschema_for::<FileInput>()},
            ],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(path: &str) -> FileInput {
        FileInput::Path(path.to_owned())
    }

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn the_form_of_a_path_says_what_it_is() {
        assert_eq!(Place::of(&path("a/b[1].csv")), Place::File);
        assert_eq!(Place::of(&path("a/b/")), Place::Folder("a/b/"));
        assert_eq!(Place::of(&path("a/b-*.csv")), Place::Pattern("a", "b-*.csv"));
        assert_eq!(Place::of(&path("b?.csv")), Place::Pattern(".", "b?.csv"));
        assert_eq!(Place::of(&path("/b?.csv")), Place::Pattern("/", "b?.csv"));
    }

    #[test]
    fn patterns_choose_by_name() {
        let all = names(&[".hidden.csv", "a[1].csv", "b-1.csv", "b-2.csv", "c.txt"]);
        assert_eq!(matching(&all, "b-*.csv").unwrap(), ["b-1.csv", "b-2.csv"]);
        assert_eq!(matching(&all, "a[?].csv").unwrap(), ["a[1].csv"]);
        assert_eq!(matching(&all, "*.csv").unwrap().len(), 3);
        assert_eq!(
            matching(&all, "d*").unwrap_err(),
            "no file is called `d*`; found `.hidden.csv`, `a[1].csv`, `b-1.csv`, `b-2.csv`, `c.txt`"
        );
        assert!(matching(&names(&["a*"]), "a*").unwrap_err().contains("can be read in two ways"));
    }

    #[test]
    fn of_a_series_nothing_may_be_missing() {
        let series = |numbers: &[usize], count: usize| {
            let name = |number: &usize| format!("train-{number:05}-of-{count:05}.parquet");
            complete(numbers.iter().map(name).collect())
        };
        assert!(series(&[0, 1, 2], 3).is_ok() && series(&[1, 2, 3], 3).is_ok());
        assert_eq!(
            series(&[0, 2], 3).unwrap_err(),
            "shard 1 of 3 of `train-*.parquet` is missing, 2 are there; complete them"
        );
        assert!(series(&[0, 1], 3).is_err() && series(&[2], 3).is_err());
        assert!(complete(names(&["c4-train.00000-of-00002.json.gz"])).is_err());
        assert!(complete(names(&["best-of-2.csv", "x-of-y.csv"])).is_ok());
        let hashed = ["train-00000-of-00002-b42a775f407cee45.parquet", "train-00001-of-00002-0123456789abcdef.parquet"];
        assert!(complete(names(&hashed)).is_ok() && complete(names(&hashed[1..])).is_err());
    }
}
