//! Tasks of a user's own, from tables that people have: `from: {table: …}`.

use super::description::{Recipe, Tables, described};
use super::laid::{Laid, check_files, is_table};
use super::rows::Part;
use super::{Left, stem};
use crate::data::Layout;
use crate::engine::context::Cx;
use crate::engine::files_input::FilesInput;
use crate::engine::stage::{Input, Issue, Type};
use crate::ml::tasks::{Example, Mistake, Own, Split};
use anyhow::{Context, anyhow};
use serde::{Serialize, Serializer};

described! {
    /// Tables of your own, as `.csv`, `.tsv`, `.jsonl`, `.ndjson`, `.json`, `.parquet` or `.arrow` files: paths, outputs of a `command` as
    /// `{output: stage.name.csv}`, folders (`data/rte/`), patterns (`data/train-*.parquet`), or lists of them, whose rows follow each other.
    /// A table has a header, or names in its objects; `columns` names those of a file without. JSON may be an object on each line, an
    /// array, or objects over several lines. Files packed with gzip, zstd, bzip2 or xz (`.csv.gz`, `.jsonl.zst`) are unpacked.
    ///
    /// Where a column is named, a part of a nested one may be: `options[0]`, `answers.text[0]`, `len(options)`, `options|join(", ")`.
    Table {
        /// Training rows.
        train: FilesInput,
        /// Rows on which checkpoints are chosen. Without them a part of the training rows is split off, drawn by the seed, with
        /// groups in one piece and labels in proportion.
        #[serde(default)]
        validation: Option<FilesInput>,
        /// Held-out rows. They may hide their answers: by empty cells, null, NaN, `NA` and the like, by -1, or without the column. Rows
        /// without an answer are predicted and not scored.
        #[serde(default)]
        test: Option<FilesInput>,
    }
}

impl Serialize for Table {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.recipe().serialize(serializer)
    }
}

impl Table {
    pub(super) fn inputs(&self) -> impl Iterator<Item = Input> {
        let inputs =
            |(split, files): (Split, Option<&FilesInput>)| Some(files?.inputs(&role(split), Type::FILE, is_table));
        self.files().into_iter().filter_map(inputs).flatten().chain(self.description.inputs(FIELD))
    }

    /// Looks for contradictions; a field's path is from `from.table`.
    ///
    /// # Errors
    /// The first field that contradicts another or is out of its range.
    pub(super) fn check(&self) -> Result<(), Issue> {
        let issue = |field: &str, message: String| Issue::new(format!("{FIELD}.{field}"), message);
        let wrong = |field: &str, message: String| Err(issue(field, message));
        for (split, files) in self.files() {
            files.map_or(Ok(()), check_files).map_err(|message| issue(split.name(), message))?;
        }
        self.check_dialect().map_err(|(field, message)| issue(field, message))?;
        if self.description.name.is_none() && self.train.is_several() {
            return wrong(
                "name",
                "is needed, since the training rows are in several files, none of which is called as the task"
                    .to_owned(),
            );
        }
        self.description.check(self.validation.is_some()).map_err(|(field, message)| issue(field, message))?;
        self.own().and_then(|own| own.check()).map_err(|(field, message)| issue(field, message))
    }

    /// All that decides the data set but the paths.
    fn recipe(&self) -> Recipe<'_, [Option<Laid>; 3]> {
        let layouts = self.files().map(|(_, files)| Laid::of(files?));
        self.description.recipe(self.name(), Some(layouts), self.validation.is_some())
    }

    /// Whether what is said of delimited text fits the files.
    fn check_dialect(&self) -> Result<(), Mistake> {
        let files: Vec<Laid> = self.files().into_iter().filter_map(|(_, files)| Laid::of(files?)).collect();
        let may_be = |layouts: &[Layout]| {
            files
                .iter()
                .any(|laid| matches!(laid, Laid::ByName(_)) || layouts.iter().any(|layout| *laid == Laid::As(*layout)))
        };
        self.description.check_dialect(may_be)
    }

    /// The examples by split, of which none are in memory.
    ///
    /// # Errors
    /// If a file is damaged, a row is not one of the task, or too few rows are left to split off a validation set.
    pub(super) fn read<'o>(
        &self,
        cx: &Cx<'_>,
        own: &'o Own,
        way: (bool, u64),
    ) -> anyhow::Result<(Vec<Part<'o>>, Left)> {
        let mut files: Vec<(Split, Tables<'_>)> = Vec::new();
        for (split, said) in self.files() {
            if let Some(said) = said {
                files.push((split, said.files(cx, &role(split))?));
            }
        }
        let others = self.description.others(cx, FIELD)?;
        self.description.read(cx, own, files, others, &format!("`{}`", self.train), way)
    }

    /// The training examples of a file, by its name and content.
    ///
    /// # Errors
    /// If a row is not one of the task.
    pub(super) fn examples_in(&self, name: &str, bytes: &[u8], prefix: bool) -> anyhow::Result<Vec<Example>> {
        let own = self.own().map_err(|(field, message)| anyhow!("`{field}` {message}"))?;
        let layout = Layout::of(name).with_context(|| format!("`{name}`: expected {}", Layout::ENDINGS))?;
        let wanted = own.wanted(Split::Train);
        let sheet = match self.description.asked(Vec::new())? {
            Some(mut asked) => asked.sheet(
                layout.read_whole(name, bytes, self.description.dialect())?,
                Split::Train,
                &wanted,
                &|_| (),
            )?,
            None => layout.read(name, bytes, self.description.dialect(), &wanted)?,
        };
        Ok(own.examples(sheet, Split::Train, prefix)?.examples)
    }

    /// The template with the word in front, if inputs have it.
    pub(super) fn template(&self, prefix: bool) -> String {
        self.description.template(&self.name(), prefix)
    }

    fn files(&self) -> [(Split, Option<&FilesInput>); 3] {
        [
            (Split::Train, Some(&self.train)),
            (Split::Validation, self.validation.as_ref()),
            (Split::Test, self.test.as_ref()),
        ]
    }

    /// How rows become examples.
    pub(super) fn own(&self) -> Result<Own, Mistake> {
        self.description.own(self.name(), self.description.written_labels())
    }

    pub(super) fn name(&self) -> String {
        self.description.name.clone().unwrap_or_else(|| stem(self.train.names().next().unwrap_or_default()).to_owned())
    }
}

/// Where the manifest has it, and so the beginning of its roles.
const FIELD: &str = "from.table";

fn role(split: Split) -> String {
    format!("{FIELD}.{}", split.name())
}
