//! The model that a command line names: a job, a folder, or the one that a prompt was tuned on.

use super::prompt::given::Given;
use super::show;
use crate::engine::store::Store;
use crate::engine::store::catalog::Catalog;
use crate::engine::store::content::Content;
use crate::engine::store::digest::Digest;
use crate::engine::store::entry::{Entry, Record};
use crate::error::Usage;
use crate::stages::backbone::{Model, Parts, repository};
use anyhow::Context as _;
use std::path::Path;

/// A model, what it is called, and the digest of its artifact if it is known.
pub(super) struct Backbone {
    pub(super) name: String,
    pub(super) model: Model,
    pub(super) digest: Option<Digest>,
}

/// Where models are looked for.
#[derive(Clone, Copy)]
pub(super) struct Backbones<'a> {
    pub(super) store: &'a Store,
    pub(super) catalog: &'a Catalog,
}

impl Backbones<'_> {
    /// The model of that name: a folder in Hugging Face's layout, a repository of the hub that is on this machine
    /// (`google/t5-base-lm-adapt`, `google/t5-base-lm-adapt@refs/pr/2`), or a job. Of a folder's model there is one for each
    /// precision; `wanted` says which, if it is one of them.
    ///
    /// # Errors
    /// If nothing has that name, or it is not a model.
    pub(super) fn named(&self, name: &str, wanted: Option<Digest>) -> anyhow::Result<Backbone> {
        if Path::new(name).is_dir() {
            let (model, digest) = Model::from_folder(Path::new(name), wanted)?;
            return Ok(Backbone { name: name.to_owned(), model, digest: Some(digest) });
        }
        if let Some((id, revision)) = repository(name) {
            let away = || format!("there is no folder `{name}` here; as a repository of the hub");
            let (model, digest) = Model::from_hub(id, revision, wanted).with_context(away)?;
            return Ok(Backbone { name: name.to_owned(), model, digest: Some(digest) });
        }
        let found = show::find(self.store, self.catalog, name)?;
        let records = found.entries.iter().flat_map(|entry| entry.artifacts.iter().map(move |record| (*entry, record)));
        let mut backbones = records.filter(|(_, record)| record.r#type == "backbone");
        let backbone = backbones.next();
        let (entry, record) = backbone.ok_or_else(|| Usage(format!("`{name}` made nothing of type backbone")))?;
        if backbones.any(|(_, other)| other.digest != record.digest) {
            return Err(Usage(format!("`{name}` is several jobs; name one as `pipeline:job`")).into());
        }
        self.of_entry(entry, record.digest)
    }

    /// The model of this digest, if it is in the cache or part of the program.
    ///
    /// # Errors
    /// If what is there of it is damaged.
    pub(super) fn of_digest(&self, digest: Digest) -> anyhow::Result<Option<Backbone>> {
        if let Some((entry, _)) = self.catalog.makers(&digest).next() {
            return self.of_entry(entry, digest).map(Some);
        }
        let nano = Model::nano_with(digest)?;
        Ok(nano.map(|model| Backbone { name: "nano".to_owned(), model, digest: Some(digest) }))
    }

    /// The model that is `named`, or else the one that a prompt was tuned on.
    ///
    /// # Errors
    /// If none is named, and the prompt does not say on which it was tuned or that one is not here.
    pub(super) fn of_prompt(&self, given: &Given, named: Option<&str>) -> anyhow::Result<Backbone> {
        let own = given.about.backbone.as_deref().map(str::parse::<Digest>).transpose();
        let own = own.map_err(|error| Usage(format!("`{}`: its `backbone` {error}", given.name)))?;
        if let Some(named) = named {
            return self.named(named, own);
        }
        if let Some(known) = own.map(|digest| self.of_digest(digest)).transpose()?.flatten() {
            return Ok(known);
        }
        // What PEFT calls a model is its name on the hub.
        let base_model = given.about.base_model.as_deref().filter(|model| repository(model).is_some());
        if let Some(Ok(found)) = base_model.map(|model| self.named(model, own))
            && own.is_none_or(|own| found.digest == Some(own))
        {
            return Ok(found);
        }
        let why = match (own, &given.about.base_model) {
            (Some(digest), _) => format!("was tuned on the backbone {}, which is not in the cache", digest.short()),
            (None, Some(model)) => format!("was tuned on `{model}`, which is not on this machine"),
            (None, None) => "does not say on which model it was tuned".to_owned(),
        };
        let message = format!(
            "`{}` {why}; name the model by `--backbone`: a job, a folder in Hugging Face's layout, or a repository of the hub that is \
             on this machine",
            given.name
        );
        Err(Usage(message).into())
    }

    fn of_entry(&self, entry: &Entry, digest: Digest) -> anyhow::Result<Backbone> {
        let name = entry.provenance.job.clone();
        let record = entry.artifacts.iter().find(|record| record.digest == digest);
        let record = record.with_context(|| format!("`{name}` has no artifact `{}`", digest.short()))?;
        let parts: Parts = serde_json::from_slice(&self.store.read(&digest, &name)?).context("a backbone artifact")?;
        let names: Vec<(&str, Digest)> = record.parts.iter().map(|part| (part.name.as_str(), part.digest)).collect();
        let model = parts.model(&names, |digest| self.part(record, digest))?;
        Ok(Backbone { name, model, digest: Some(digest) })
    }

    /// A part of an artifact, in the store or outside.
    fn part(&self, record: &Record, digest: &Digest) -> anyhow::Result<Content> {
        let external = record.parts.iter().find(|part| part.digest == *digest).and_then(|part| part.external.as_ref());
        match external {
            Some(path) => Ok(Content::of(path)?),
            None => self.store.map(digest, &record.name),
        }
    }
}
