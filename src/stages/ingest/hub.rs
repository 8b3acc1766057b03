//! Tasks of data sets that the Hugging Face hub has: `from: {hub: {dataset: nyu-mll/glue, config: rte, …}}`.

mod layout;
mod names;
mod readme;
mod wanted;

use super::Left;
use super::description::{Recipe, Tables, Texts, described};
use super::rows::Part;
use crate::data::{Layout, class_names};
use crate::engine::context::{Artifact, Cx, Progress};
use crate::engine::remote::{Presence, Remote};
use crate::engine::stage::{Input, Issue};
use crate::hub::{Extent, Kind, Repo, check_id, check_revision};
use crate::ml::tasks::{Labels, Own, Split, shortened};
use crate::stages::hub::Files;
use anyhow::{Context, anyhow, ensure};
use names::Held;
use readme::Readme;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize, Serializer};
use std::path::PathBuf;
use std::sync::Arc;
use wanted::{README, Wanted};

described! {
    /// A data set of the Hugging Face hub: its Parquet files, or else those of other layouts that tables may have. What is not in the
    /// cache that the Python tools share is downloaded by `spot run`. Content counts: not the name, nor the revision.
    Hub {
        /// Its name: `nyu-mll/glue`.
        dataset: String,
        /// The part of it that is meant, such as `rte`, if it has several.
        #[serde(default)]
        config: Option<String>,
        /// What our splits are called there. Without it those are taken that are called `train`, `validation` and `test`.
        #[serde(default)]
        splits: Option<SplitNames>,
        /// Its branch, tag, commit or reference; `main` if it is not said. `refs/convert/parquet` is what the hub itself makes of data sets
        /// that have no Parquet files.
        #[serde(default)]
        revision: Option<String>,
    }
}

/// Splits by the names that a data set has for them, or by files: `data/train-*.json.gz`; or a list of these.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SplitNames {
    /// Training rows.
    pub(crate) train: Texts,
    /// Rows on which checkpoints are chosen. Without them a part of the training rows is split off.
    #[serde(default)]
    pub(crate) validation: Option<Texts>,
    /// Held-out rows; they may hide their answers.
    #[serde(default)]
    pub(crate) test: Option<Texts>,
}

/// Role of the files.
const ROLE: &str = "from.hub";
const MAIN: &str = "main";

impl Serialize for Hub {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.recipe().serialize(serializer)
    }
}

impl Hub {
    /// All that decides the data set but the files, which enter by their content.
    fn recipe(&self) -> Recipe<'_, ()> {
        self.description.recipe(self.name(), None, self.names_validation()).open(&self.description)
    }

    pub(super) fn inputs(&self) -> impl Iterator<Item = Input> {
        self.files().into_iter().chain(self.description.inputs(ROLE))
    }

    fn files(&self) -> Option<Input> {
        // What is not a name was refused by `check`.
        let repo = self.repo().ok()?;
        let files = Files { repo, choose: Arc::new(self.wanted()) };
        let names_labels = self.description.answer.is_none() && self.description.choices.is_none();
        Some(Input::remote(ROLE, Arc::new(Parts { files, wanted: self.wanted(), names_labels })))
    }

    /// Looks for contradictions; a field's path is from `from.hub`.
    ///
    /// # Errors
    /// The first field that contradicts another or is out of its range.
    pub(super) fn check(&self) -> Result<(), Issue> {
        let issue = |field: &str, message: String| Issue::new(format!("{ROLE}.{field}"), message);
        check_id(&self.dataset).map_err(|message| issue("dataset", message))?;
        check_revision(self.revision()).map_err(|message| issue("revision", message))?;
        if self.config.as_ref().is_some_and(|config| config.trim().is_empty()) {
            return Err(issue(
                "config",
                "is empty, expected the name of a config; leave it out if there is only one".to_owned(),
            ));
        }
        for (split, names) in self.splits() {
            if names.is_empty() || names.iter().any(|name| name.trim().is_empty()) {
                let message = "is empty, expected the name of a split of the data set, or of files of it";
                return Err(issue(&format!("splits.{}", split.name()), message.to_owned()));
            }
        }
        let of_field = |(field, message): (&'static str, String)| issue(field, message);
        self.description.check(self.names_validation()).map_err(of_field)?;
        // What they are, only the files say.
        self.description.check_dialect(|_| true).map_err(of_field)?;
        let own = self.own(self.description.written_labels()).map_err(of_field)?;
        match own.check() {
            // Whether they fit the answers is known once the files are.
            Err(("metrics", _)) if self.description.is_open() => Ok(()),
            checked => checked.map_err(of_field),
        }
    }

    /// How rows become examples, as far as the files say it too.
    ///
    /// # Errors
    /// If a file is damaged, or its names of labels contradict what is written.
    pub(super) fn own_of(&self, cx: &Cx<'_>) -> anyhow::Result<Own> {
        let shown = || format!("`{}`", self.dataset);
        let labels = self.labels(cx).with_context(shown)?;
        let in_field = |(field, message): (&str, String)| anyhow!("`{field}` {message}");
        let own = self.own(labels.as_ref()).map_err(in_field)?;
        own.check().map_err(in_field)?;
        Ok(own)
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
        let shown = || format!("`{}`", self.dataset);
        let in_field = |(field, message): (&str, String)| anyhow!("`{field}` {message}");
        let files = files(cx);
        let layouts: Vec<Layout> =
            files.iter().flat_map(|(_, files)| files).filter_map(|(name, _)| Layout::of(name)).collect();
        self.description.check_dialect(|some| layouts.iter().any(|layout| some.contains(layout))).map_err(in_field)?;
        let train = format!("the training rows of {}", shown());
        let others = self.description.others(cx, ROLE)?;
        self.description.read(cx, own, files, others, &train, way).with_context(shown)
    }

    /// The words of the answers: as they are written, as the names of the column say, or none.
    fn labels(&self, cx: &Cx<'_>) -> anyhow::Result<Option<Labels>> {
        let (written, column) = (self.description.written_labels(), &self.description.label);
        if self.description.choices.is_some() {
            return Ok(None);
        }
        let Some((names, held)) = self.class_names(cx)? else { return Ok(written.cloned()) };
        let shown = shortened(column);
        if self.description.query.is_some() {
            // What the query calls so may be something else.
            ensure!(
                !self.description.is_open(),
                "the numbers of `{shown}` have names, but with `query` nobody knows whether its `{shown}` is that column; say by `labels` \
                 what its values mean, or by `answer` that they are text or numbers"
            );
            return Ok(written.cloned());
        }
        if held == Held::Numbers {
            self.check_drop(&names)?;
        }
        match self.description.answer {
            None => {}
            Some(super::description::Kind::Number) => return Ok(None),
            Some(super::description::Kind::Text) => {
                let name = names.first().map_or("", String::as_str);
                return Err(anyhow!(
                    "`answer` is `text`, but the numbers of `{shown}` have names: 0 can be read in two ways, as the text `0` or as `{}`; leave \
                     out `answer` for the names, or say by `labels` what the words are",
                    shortened(name)
                ));
            }
        }
        let labels = names::labels(written, &names, held).map_err(|why| anyhow!("`labels` {why}"))?;
        labels.check().map_err(|why| match written {
            Some(_) => anyhow!("`labels` {why}"),
            None => anyhow!("`labels` is not given, and what the data set's metadata have of `{shown}` will not do: it {why}; give `labels`"),
        })?;
        Ok(Some(labels))
    }

    /// Whether no condition compares numbers with a name of theirs, which none is equal to.
    fn check_drop(&self, names: &[String]) -> anyhow::Result<()> {
        let own = self.own(None).map_err(|(field, message)| anyhow!("`{field}` {message}"))?;
        for condition in own.drop.iter().filter(|condition| condition.field == self.description.label) {
            let number = names.iter().position(|name| Some(name.as_str()) == condition.text_compared());
            ensure!(
                number.is_none(),
                "`drop` has `{}`, but the column has numbers, for which that is a name; compare with {}",
                shortened(&condition.text),
                number.unwrap_or_default()
            );
        }
        Ok(())
    }

    /// The names of the numbers in the column of answers, if the files or the `README.md` have some.
    fn class_names(&self, cx: &Cx<'_>) -> anyhow::Result<Option<(Vec<String>, Held)>> {
        let column = &self.description.label;
        if let Some(readme) = cx.folder(ROLE).into_iter().find(|(name, _)| *name == README).map(|(_, file)| file) {
            let bytes = readme.bytes()?;
            let names: Vec<String> = files(cx).into_iter().flat_map(|(_, files)| files).map(|(name, _)| name).collect();
            let config = self.wanted().find(&names, Extent::Whole, Some(&bytes)).map_err(|why| anyhow!(why))?.config;
            let readme = Readme::parse(&bytes).map_err(|why| anyhow!("`{README}`: {why}"))?;
            let names = readme.map_or(Ok(None), |readme| readme.class_names(&config, column));
            let names = names.map_err(|why| anyhow!("`{README}`: {why}"))?;
            return Ok(names.map(|names| (names, Held::Either)));
        }
        let mut found: Option<(Option<Vec<String>>, String)> = None;
        for (name, file) in files(cx).into_iter().flat_map(|(_, files)| files) {
            let layout = Layout::of(&name).with_context(|| format!("`{name}`: expected {}", Layout::ENDINGS))?;
            let names = class_names(layout, &file.open()?, column).with_context(|| format!("`{name}`"))?;
            match &found {
                Some((others, other)) => ensure!(
                    *others == names,
                    "`{other}` and `{name}` have different names for the numbers of `{}`: {} and {}; take files of one version by `splits`",
                    shortened(column),
                    listed(others.as_deref()),
                    listed(names.as_deref())
                ),
                None => found = Some((names, name)),
            }
        }
        Ok(found.and_then(|(names, _)| names).map(|names| (names, Held::Numbers)))
    }

    /// The template with the task's name in front, if inputs have it.
    pub(super) fn template(&self, prefix: bool) -> String {
        self.description.template(&self.name(), prefix)
    }

    /// The config is the task; a data set without is one itself.
    pub(super) fn name(&self) -> String {
        let last = || self.dataset.rsplit('/').next().unwrap_or_default();
        let name = self.description.name.as_deref().or(self.config.as_deref());
        name.unwrap_or_else(last).to_owned()
    }

    fn own(&self, labels: Option<&Labels>) -> Result<Own, (&'static str, String)> {
        self.description.own(self.name(), labels)
    }

    fn revision(&self) -> &str {
        self.revision.as_deref().unwrap_or(MAIN)
    }

    fn repo(&self) -> Result<Repo, String> {
        Repo::new(Kind::Dataset, &self.dataset, self.revision())
    }

    /// What splits are called, as far as it is written.
    fn splits(&self) -> Vec<(Split, Vec<String>)> {
        let Some(SplitNames { train, validation, test }) = &self.splits else { return Vec::new() };
        let all = [(Split::Train, Some(train)), (Split::Validation, validation.as_ref()), (Split::Test, test.as_ref())];
        all.into_iter().filter_map(|(split, names)| Some((split, names?.all().to_vec()))).collect()
    }

    fn names_validation(&self) -> bool {
        self.splits.as_ref().is_some_and(|splits| splits.validation.is_some())
    }

    fn wanted(&self) -> Wanted {
        Wanted { config: self.config.clone(), splits: self.splits.as_ref().map(|_| self.splits()) }
    }
}

fn listed(names: Option<&[String]>) -> String {
    let Some(names) = names else { return "none".to_owned() };
    crate::engine::manifest::problem::listed(names.iter().map(String::as_str))
}

/// The files of a job by split, each by the name that it has in the data set.
fn files<'c>(cx: &'c Cx<'_>) -> Vec<(Split, Tables<'c>)> {
    let mut splits: Vec<(Split, Tables<'c>)> = Vec::new();
    for split in Split::ALL {
        let own = |(name, file): (&str, &'c Artifact)| {
            Some((name.strip_prefix(split.name())?.strip_prefix('/')?.to_owned(), file))
        };
        let files: Tables<'c> = cx.folder(ROLE).into_iter().filter_map(own).collect();
        if !files.is_empty() {
            splits.push((split, files));
        }
    }
    splits
}

/// The files of a data set, each called after the split that it is of: `train/rte/train-00000-of-00001.parquet`.
#[derive(Debug)]
struct Parts {
    files: Files,
    wanted: Wanted,
    /// Whether answers may be labels with names.
    names_labels: bool,
}

impl Parts {
    /// The files by split. That which describes the data set is read for names of labels where the others have none, and else is
    /// none of the job's inputs: another word in it would change keys.
    fn by_split(&self, files: &[(String, PathBuf)]) -> anyhow::Result<Vec<(String, PathBuf)>> {
        let path = |name: &str| files.iter().find(|(known, _)| known == name).map(|(_, path)| path.clone());
        let names: Vec<String> = files.iter().map(|(name, _)| name.clone()).filter(|name| name != README).collect();
        let readme = path(README).map(fs_err::read).transpose()?;
        let found = self.wanted.find(&names, Extent::Whole, readme.as_deref()).map_err(|why| anyhow!(why))?;
        let mut parts = Vec::new();
        let mut says_names = false;
        for (split, names) in found.files {
            says_names |= names.iter().any(|name| matches!(Layout::of(name), Some(Layout::Parquet | Layout::Arrow)));
            let part = |name: String| Some((format!("{}/{name}", split.name()), path(&name)?));
            parts.extend(names.into_iter().filter_map(part));
        }
        if self.names_labels && !says_names {
            parts.extend(path(README).map(|path| (README.to_owned(), path)));
        }
        Ok(parts)
    }
}

impl Remote for Parts {
    fn look(&self) -> anyhow::Result<Presence> {
        Ok(match self.files.look()? {
            Presence::Here { files, version } => Presence::Here { files: self.by_split(&files)?, version },
            Presence::Away(why) => Presence::Away(why),
        })
    }

    fn fetch(&self, progress: &dyn Progress, stopped: &dyn Fn() -> bool) -> anyhow::Result<()> {
        self.files.fetch(progress, stopped)
    }
}
