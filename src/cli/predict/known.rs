//! The prompts that answer rows, each with what is known of its task.

use crate::cli::prompt::given::{self, Given};
use crate::data::read_dataset;
use crate::engine::store::Store;
use crate::engine::store::catalog::Catalog;
use crate::engine::store::digest::Digest;
use crate::ml::batcher::{Batcher, Client};
use crate::ml::prompt::Prompt;
use crate::ml::tasks::{Task, Template};
use crate::stages::backbone::Model;
use anyhow::Context as _;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

/// A prompt, ready to answer.
pub(super) struct Known {
    pub(super) client: Client,
    pub(super) prompt: Prompt,
    /// What makes an input of columns, if that is known.
    pub(super) template: Option<Template>,
    /// The answers to choose among, and their ids with eos; empty if answers are free.
    pub(super) labels: Vec<(String, Vec<u32>)>,
}

/// What the command line says of all prompts.
pub(super) struct Said {
    /// In place of the tasks' own.
    pub(super) template: Option<Template>,
    /// Inputs are complete, whatever the task's template.
    pub(super) complete: bool,
    /// In place of the tasks' own.
    pub(super) labels: Option<Vec<String>>,
}

/// All prompts that were named so far, for one model.
pub(super) struct Prompts<'a> {
    store: Arc<Store>,
    catalog: Catalog,
    batcher: &'a Batcher,
    model: &'a Model,
    /// Digest of the backbone artifact, where the model is from one.
    backbone: Option<Digest>,
    said: Said,
    known: HashMap<String, Rc<Known>>,
}

/// Different prompts that one call holds in memory.
const MOST: usize = 4096;

impl<'a> Prompts<'a> {
    pub(super) fn new(
        (store, catalog): (Arc<Store>, Catalog),
        batcher: &'a Batcher,
        (model, backbone): (&'a Model, Option<Digest>),
        said: Said,
    ) -> Self {
        Self { store, catalog, batcher, model, backbone, said, known: HashMap::new() }
    }

    /// The prompt of this name, read when it is named for the first time.
    ///
    /// # Errors
    /// If there is no such prompt, or it is not one of this model.
    pub(super) fn get(&mut self, name: &str) -> anyhow::Result<Rc<Known>> {
        if let Some(known) = self.known.get(name) {
            return Ok(known.clone());
        }
        anyhow::ensure!(
            self.known.len() < MOST,
            "more than {MOST} different prompts; answer the rows of some at a time"
        );
        let given = given::read(name, &self.store, &self.catalog)?;
        let known = Rc::new(self.ready(given).with_context(|| format!("prompt `{name}`"))?);
        self.known.insert(name.to_owned(), known.clone());
        Ok(known)
    }

    fn ready(&self, given: Given) -> anyhow::Result<Known> {
        given.prompt.fits(self.model.weights.dims.width)?;
        self.check_backbone(&given)?;
        let task = self.task(&given)?;
        let (labels, template) = task.map_or_else(Default::default, |(task, template)| (task.labels, template));
        let labels = self.said.labels.clone().unwrap_or(labels);
        let ids = labels.into_iter().map(|label| {
            let ids = self.model.tokens.encode(&label, usize::MAX)?;
            Ok((label, ids))
        });
        let template = match &self.said {
            Said { complete: true, .. } => None,
            Said { template: Some(template), .. } => Some(template.clone()),
            Said { .. } => template.and_then(|template| Template::parse(&template).ok()),
        };
        let client = self.batcher.client(&given.name);
        Ok(Known { client, prompt: given.prompt, template, labels: ids.collect::<anyhow::Result<_>>()? })
    }

    /// A prompt means nothing to another model than that it was tuned on.
    fn check_backbone(&self, given: &Given) -> anyhow::Result<()> {
        let tuned_on = given.about.backbone.as_ref().and_then(|digest| digest.parse::<Digest>().ok());
        let (Some(tuned_on), Some(backbone)) = (tuned_on, self.backbone) else { return Ok(()) };
        anyhow::ensure!(
            tuned_on == backbone,
            "it was tuned on the backbone {}, but this one is {}; name its own by `--backbone`",
            tuned_on.short(),
            backbone.short()
        );
        Ok(())
    }

    /// The task of a prompt and its template, by the data that the prompt was tuned on, if they are in the cache. A name alone would
    /// not do: it says neither whether inputs began with it nor what the labels were.
    fn task(&self, given: &Given) -> anyhow::Result<Option<(Task, Option<String>)>> {
        let Some(name) = &given.about.task else { return Ok(None) };
        let entries = given.digest.iter().flat_map(|digest| self.catalog.makers(digest)).map(|(entry, _)| entry);
        for (_, input) in entries.flat_map(|entry| &entry.recipe.inputs) {
            let is_data = |(_, made): &(&_, &str)| *made == "dataset";
            if !self.catalog.makers(input).any(|maker| is_data(&maker)) {
                continue;
            }
            let dataset = read_dataset(&self.store.read(input, "dataset")?)?;
            if dataset.task.name == *name {
                return Ok(Some((dataset.task, Some(dataset.template).filter(|template| !template.is_empty()))));
            }
        }
        Ok(None)
    }
}
